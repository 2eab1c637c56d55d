//! `autorep data shard`: converts a data set of pictures from folders to tar shards.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use autorep_core::data::{Check, DataRoot, DataSet, Layout, Part};
use autorep_data::shards::{INDEX_FILE, INDEX_FORMAT, Index, write};
use autorep_data::{Bucket, Pictures};

use super::ShardArgs;
use super::check::asked_for;
use crate::exit::Exit;
use crate::output;

pub(super) fn run(args: &ShardArgs) -> Result<Exit> {
    let set = args.set.0;
    let from = match &args.from {
        Some(folder) => folder.clone(),
        None => args.data.folder()?.join(set.name()),
    };
    let check = asked_for();
    let bytes = args.shard_size << 20;
    let line = shard(set, &from, &args.to, bytes, check)?;
    output::stdout(line.as_bytes())?;
    Ok(Exit::Done)
}

/// Where shards go.
enum Target {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Target {
    /// The folder, made if need be, or the place in a bucket; neither may hold anything.
    fn open(to: &DataRoot) -> Result<Self> {
        match to {
            DataRoot::Folder(folder) => {
                fs::create_dir_all(folder).with_context(|| format!("make {to}"))?;
                let mut there = fs::read_dir(folder).with_context(|| format!("list {to}"))?;
                if there.next().is_some() {
                    bail!("expected an empty folder for the shards, found files in {to}");
                }
                Ok(Self::Folder(folder.clone()))
            }
            DataRoot::Bucket(url) => {
                let bucket = Bucket::open(url)?;
                let there = bucket.sizes().with_context(|| format!("list {to}"))?;
                if let Some(file) = there.keys().next() {
                    bail!(
                        "expected a place for the shards where nothing lies, found {file} in {to}; \
                         name another prefix"
                    );
                }
                Ok(Self::Bucket(bucket))
            }
        }
    }

    /// A folder for the file that is being written: beside its place if that is a folder.
    fn work(&self) -> Result<tempfile::TempDir> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(".shard-");
        match self {
            Self::Folder(folder) => builder.tempdir_in(folder),
            Self::Bucket(_) => builder.tempdir(),
        }
        .context("make a folder for the shard that is being written")
    }

    fn put(&self, name: &str, path: &Path) -> io::Result<()> {
        match self {
            Self::Folder(folder) => fs::rename(path, folder.join(name)),
            Self::Bucket(bucket) => bucket.put(name, path),
        }
    }

    /// Makes sure that the names, too, are there after a power cut.
    fn sync(&self) -> io::Result<()> {
        match self {
            Self::Folder(folder) => File::open(folder)?.sync_all(),
            Self::Bucket(_) => Ok(()),
        }
    }
}

/// Writes both parts as shards where nothing lies yet; the index comes last, so that a
/// conversion that was cut off is not taken for a whole one.
fn shard(set: DataSet, from: &Path, to: &DataRoot, bytes: u64, check: Check) -> Result<String> {
    if set.layout() == Layout::Packed {
        bail!(
            "{} is packed into a few files already; expected a set of one JPEG per image",
            set.name()
        );
    }
    let target = Target::open(to)?;
    // Both parts are listed before anything is written: problems show in seconds, not hours.
    let open = |part| Pictures::open(set, part, from, check);
    let parts = [
        (Part::Train, open(Part::Train)?),
        (Part::Test, open(Part::Test)?),
    ];
    let work = target.work()?;
    let mut index = Index {
        format: INDEX_FORMAT,
        set: set.name().to_owned(),
        classes: parts[0].1.classes().to_vec(),
        parts: BTreeMap::new(),
    };
    let (mut images, mut total, mut count) = (0, 0, 0);
    for (part, pictures) in &parts {
        output::stderr(&format!(
            "writing {} images of the {} part\n",
            pictures.len(),
            part.name()
        ));
        let mut put = |name: &str, path: &Path| target.put(name, path);
        let written = write(pictures, *part, bytes, work.path(), &mut put)?;
        images += written.images;
        total += written.bytes;
        count += written.shards.len();
        index.parts.insert(part.name().to_owned(), written.shards);
    }
    save(&index, work.path(), &target).with_context(|| format!("write the index in {to}"))?;
    Ok(format!(
        "{}: {images} images in {count} shards of {total} bytes in all in {to}\n",
        set.name()
    ))
}

fn save(index: &Index, work: &Path, target: &Target) -> io::Result<()> {
    let path = work.join(INDEX_FILE);
    let file = File::create(&path)?;
    let mut writer = io::BufWriter::new(file);
    serde_json::to_writer(&mut writer, index)?;
    let file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    target.put(INDEX_FILE, &path)?;
    target.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pictures::{report, report_bucket};

    /// Two classes of two pictures in each part, the last of the test part damaged if asked.
    fn made_up(folder: &Path, damaged: bool) {
        for (part, name) in [("train", "a"), ("train", "b"), ("val", "c"), ("val", "d")] {
            for class in ["n1", "n0"] {
                let path = folder.join(format!("{part}/{class}/{name}.JPEG"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let mut bytes = Vec::new();
                jpeg_encoder::Encoder::new(&mut bytes, 90)
                    .encode(&[90; 32 * 24 * 3], 32, 24, jpeg_encoder::ColorType::Rgb)
                    .unwrap();
                if damaged && name == "d" {
                    bytes.truncate(bytes.len() / 2);
                }
                fs::write(path, bytes).unwrap();
            }
        }
    }

    #[test]
    fn shards_are_written_checked_and_told_when_they_are_damaged() {
        let from = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let to = root.path().join("shards");
        made_up(from.path(), false);
        let (set, check) = (DataSet::Imagenet, Check::Format);
        let line = shard(set, from.path(), &to.as_path().into(), 1, check).unwrap();
        assert!(line.starts_with("imagenet: 8 images in 8 shards"), "{line}");
        let mut names: Vec<_> = fs::read_dir(&to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 9, "{names:?}");
        assert_eq!(names[0], INDEX_FILE);

        let good = report(set, &to, check).unwrap();
        assert_eq!(good.problems, [""; 0]);
        assert!(
            good.text.contains("imagenet test: 4 shards; 0 are"),
            "{}",
            good.text
        );
        fs::write(to.join("test-000001.tar"), "no tar").unwrap();
        let bad = report(set, &to, check).unwrap();
        assert!(bad.problems.len() >= 3, "{:?}", bad.problems);
        assert!(
            bad.problems
                .iter()
                .any(|line| line.contains("expected the sha256"))
        );

        let again = shard(set, from.path(), &to.as_path().into(), 1, check).unwrap_err();
        assert!(
            again.to_string().contains("expected an empty folder"),
            "{again}"
        );
    }

    #[test]
    fn shards_in_a_bucket_are_written_once_and_checked() {
        let from = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        made_up(from.path(), true);
        let url = format!("file://{}", root.path().display());
        let to = DataRoot::parse(&url).unwrap().of(DataSet::Imagenet);
        fs::create_dir(root.path().join("imagenet")).unwrap();
        let (set, check) = (DataSet::Imagenet, Check::Format);
        let line = shard(set, from.path(), &to, 1, check).unwrap();
        assert!(line.ends_with(&format!("in all in {to}\n")), "{line}");
        let report = report_bucket(set, &to.to_string(), check).unwrap();
        assert!(
            report
                .text
                .contains("4 images in 2 classes, 2 do not decode; 4 shards, 0 are not"),
            "{}",
            report.text
        );
        assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
        let again = shard(set, from.path(), &to, 1, check)
            .unwrap_err()
            .to_string();
        assert!(
            again.contains("where nothing lies, found shards.json"),
            "{again}"
        );
    }

    #[test]
    fn a_check_of_folders_names_every_picture_that_does_not_decode() {
        let from = tempfile::tempdir().unwrap();
        made_up(from.path(), true);
        let report = report(DataSet::Imagenet, from.path(), Check::Format).unwrap();
        assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
        assert!(report.problems[0].contains("val/n0/d.JPEG: expected a complete JPEG"));
        assert!(report.problems[1].contains("val/n1/d.JPEG"));
        assert!(
            report
                .text
                .contains("imagenet test: 4 images in 2 classes of 2 to 2; 2 do not")
        );
    }

    #[test]
    fn a_packed_set_and_an_unpublished_one_are_refused_before_anything_is_written() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        made_up(from.path(), false);
        let refused =
            |set, check| shard(set, from.path(), &to.path().into(), 1, check).unwrap_err();
        let packed = refused(DataSet::Cifar10, Check::Format).to_string();
        assert!(
            packed.contains("packed into a few files already"),
            "{packed}"
        );
        let other = refused(DataSet::Imagenet, Check::Published).to_string();
        assert!(other.contains("expected 1000 classes, found 2"), "{other}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }
}
