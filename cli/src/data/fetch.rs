//! `autorep data fetch`: gets a data set into the data folder, whole and verified or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use autorep_core::data::{DataSet, Layout};

use super::FetchArgs;
use super::check::{verified_by, verify};
use super::source::{Source, copy_files};
use crate::exit::Exit;
use crate::output;

pub(super) fn run(args: &FetchArgs) -> Result<Exit> {
    let root = args.data.folder()?;
    let line = fetch(args.set.0, args.from.as_deref(), &root)?;
    output::stdout(line.as_bytes())?;
    Ok(Exit::Done)
}

/// Gets a data set, unless a verified one is there, and returns the line that tells which.
fn fetch(set: DataSet, from: Option<&str>, root: &Path) -> Result<String> {
    if set.layout() != Layout::Packed {
        // Only says where its authors publish it: nothing is copied, it may be very large.
        Source::choose(set, None)?;
    }
    let folder = root.join(set.name());
    if folder.exists() {
        match verify(set, &folder) {
            Ok(()) => {
                return Ok(format!(
                    "{}: already in {}; {}\n",
                    set.name(),
                    folder.display(),
                    verified_by(set)
                ));
            }
            Err(error) => output::stderr(&format!(
                "{} in {} is not usable and will be replaced: {error}\n",
                set.name(),
                folder.display()
            )),
        }
    }
    let source = Source::choose(set, from)?;
    fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
    // Beside its final place, so that a rename puts it there.
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(root)
        .with_context(|| format!("make a folder in {}", root.display()))?;
    let obtained = source.obtain(set, work.path())?;
    let fresh = work.path().join("verified");
    copy_files(set, &obtained, &fresh)
        .and_then(|()| Ok(verify(set, &fresh)?))
        .with_context(|| format!("{source} does not hold {}", set.name()))?;
    put_in_place(set, &fresh, &folder, work.path())?;
    Ok(format!(
        "{}: fetched from {source} into {}; {}\n",
        set.name(),
        folder.display(),
        verified_by(set)
    ))
}

fn put_in_place(set: DataSet, fresh: &Path, folder: &Path, work: &Path) -> Result<()> {
    let context = || format!("put {} in place at {}", set.name(), folder.display());
    if folder.exists() {
        fs::rename(folder, work.join("replaced")).with_context(context)?;
    }
    match fs::rename(fresh, folder) {
        // Another fetch may have been quicker: what it put there is as good if it verifies.
        Err(_) if verify(set, folder).is_ok() => Ok(()),
        result => result.with_context(context),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    /// A test part and five training parts of black images in the right sizes and numbers,
    /// gzipped, lying flat in a folder.
    fn black_cifar_10(folder: &Path) {
        let mut plain = Vec::with_capacity(10_000 * 3073);
        for image in 0..10_000_u32 {
            plain.push(u8::try_from(image % 10).unwrap());
            plain.resize(plain.len() + 3072, 0);
        }
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(&plain).unwrap();
        let zipped = zipped.finish().unwrap();
        for part in [
            "data_batch_1",
            "data_batch_2",
            "data_batch_3",
            "data_batch_4",
            "data_batch_5",
            "test_batch",
        ] {
            fs::write(folder.join(format!("{part}.bin.gz")), &zipped).unwrap();
        }
    }

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_set_is_fetched_once_verified_and_mended_when_damaged() {
        let source = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        black_cifar_10(source.path());
        let from = source.path().to_str().unwrap();
        let fetch = || fetch(DataSet::Cifar10, Some(from), root.path()).unwrap();
        let batch = root
            .path()
            .join("cifar-10/cifar-10-batches-bin/data_batch_3.bin.gz");
        let inode = || fs::metadata(&batch).unwrap().ino();

        let first = fetch();
        assert!(first.starts_with("cifar-10: fetched from "), "{first}");
        assert_eq!(entries(root.path()), ["cifar-10"]);
        let before = inode();
        let second = fetch();
        assert!(second.starts_with("cifar-10: already in "), "{second}");
        assert_eq!(inode(), before, "a second fetch wrote the files again");

        fs::write(&batch, "damaged").unwrap();
        assert!(fetch().starts_with("cifar-10: fetched from "));
        assert_ne!(inode(), before);
        assert_eq!(entries(root.path()), ["cifar-10"]);
    }

    #[test]
    fn a_source_that_does_not_verify_leaves_nothing_behind_and_is_named() {
        let source = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        black_cifar_10(source.path());
        fs::remove_file(source.path().join("test_batch.bin.gz")).unwrap();
        let from = source.path().to_str().unwrap();
        let error = fetch(DataSet::Cifar10, Some(from), root.path()).unwrap_err();
        assert!(
            format!("{error:#}").contains("cifar-10-batches-bin/test_batch.bin"),
            "{error:#}"
        );
        fs::write(source.path().join("test_batch.bin"), "short").unwrap();
        let error = fetch(DataSet::Cifar10, Some(from), root.path()).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!(
                "{from} does not hold cifar-10: cifar-10-batches-bin/test_batch.bin should hold \
                 30730000 bytes, found 5; fetch it again"
            )
        );
        assert!(entries(root.path()).is_empty());
    }

    #[test]
    fn a_tar_archive_as_published_is_unpacked() {
        let source = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let folder = source.path().join("cifar-10-batches-bin");
        fs::create_dir(&folder).unwrap();
        black_cifar_10(&folder);
        let archive = source.path().join("cifar-10-binary.tar.gz");
        let packed = Command::new("tar")
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(source.path())
            .arg("cifar-10-batches-bin")
            .status()
            .unwrap();
        assert!(packed.success());
        let line = fetch(DataSet::Cifar10, archive.to_str(), root.path()).unwrap();
        assert!(line.contains("cifar-10-binary.tar.gz"), "{line}");
        assert_eq!(
            entries(&root.path().join("cifar-10")),
            ["cifar-10-batches-bin"]
        );
    }
}
