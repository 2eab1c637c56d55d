//! Where a data set comes from: this machine, the Debian package, an archive or a URL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use autorep_core::data::{DataSet, Part};

use super::tool::{self, ToolError};
use crate::output;

/// The Debian and Ubuntu package that holds Fashion-MNIST, and where its files lie.
const FASHION_PACKAGE: &str = "dataset-fashion-mnist";
const FASHION_INSTALLED: &str = "usr/share/datasets/fashion-mnist";

/// What `--from` takes, for messages.
const KINDS: &str =
    "a folder with its files (plain or .gz), a .deb or .tar.gz of them, or the URL of one";

/// A place that a data set's files are taken from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A folder that holds the files.
    Folder(PathBuf),
    /// A file that holds them packed.
    Archive(PathBuf),
    /// The URL of an archive, or of a folder if it ends in a slash.
    Url(String),
    /// The Debian package, by the machine's package client.
    Package(&'static str),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) | Self::Archive(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
            Self::Package(name) => write!(f, "the Debian package {name}"),
        }
    }
}

impl Source {
    /// The place that `--from` names; without it the one that needs least.
    pub(super) fn choose(set: DataSet, from: Option<&str>) -> Result<Self> {
        match from {
            Some(text) => Self::parse(set, text),
            None => Self::default_for(set),
        }
    }

    fn parse(set: DataSet, text: &str) -> Result<Self> {
        if ["http://", "https://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Ok(Self::Url(text.to_owned()));
        }
        let path = PathBuf::from(text.strip_prefix("file://").unwrap_or(text));
        if path.is_dir() {
            Ok(Self::Folder(path))
        } else if path.is_file() {
            Ok(Self::Archive(path))
        } else {
            bail!(
                "expected {} as {KINDS}; found nothing at {text:?}",
                set.name()
            )
        }
    }

    fn default_for(set: DataSet) -> Result<Self> {
        match set {
            DataSet::FashionMnist => {
                let installed = Path::new("/").join(FASHION_INSTALLED);
                if installed.is_dir() {
                    Ok(Self::Folder(installed))
                } else {
                    Ok(Self::Package(FASHION_PACKAGE))
                }
            }
            DataSet::Cifar10 | DataSet::Cifar100 => bail!(
                "no package holds {name}: download {name}-binary.tar.gz, which its authors publish \
                 at https://www.cs.toronto.edu/~kriz/cifar.html, and run `autorep data fetch \
                 {name} --from {name}-binary.tar.gz`",
                name = set.name()
            ),
            DataSet::TinyImagenet | DataSet::Imagenet => bail!(
                "{name} is one JPEG per image and is not fetched: unpack what its authors publish \
                 at {place} into the data folder under {name}, then `autorep data check {name}`",
                name = set.name(),
                place = if set == DataSet::Imagenet {
                    "https://image-net.org"
                } else {
                    "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
                },
            ),
        }
    }

    /// Makes the files available in a folder, which is returned; what must be downloaded or
    /// unpacked goes into `work`.
    pub(super) fn obtain(&self, set: DataSet, work: &Path) -> Result<PathBuf> {
        match self {
            Self::Folder(folder) => Ok(folder.clone()),
            Self::Archive(archive) => unpack(archive, &work.join("unpacked")),
            Self::Url(url) if url.ends_with('/') => download_folder(set, url, &work.join("files")),
            Self::Url(url) => {
                let archive = work.join(archive_name(url)?);
                download(url, &archive)?;
                unpack(&archive, &work.join("unpacked"))
            }
            Self::Package(name) => {
                let package = download_package(name, &work.join("package"))?;
                unpack(&package, &work.join("unpacked"))
            }
        }
    }
}

/// Copies the data set's files from a folder, in which they may lie flat, under the paths of
/// their archive or under those of the Debian package, to where they belong.
pub(super) fn copy_files(set: DataSet, from: &Path, to: &Path) -> Result<()> {
    for file in Part::ALL.iter().flat_map(|part| set.files(*part)) {
        let Some((found, suffix)) = find(from, file.name) else {
            bail!(
                "expected {} or {}.gz, found neither in {}",
                file.name,
                file.name,
                from.display()
            );
        };
        let target = to.join(format!("{}{suffix}", file.name));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::copy(&found, &target)
            .with_context(|| format!("copy {} to {}", found.display(), target.display()))?;
    }
    Ok(())
}

fn find(folder: &Path, name: &str) -> Option<(PathBuf, &'static str)> {
    let flat = name.rsplit('/').next().unwrap_or(name);
    let places = [folder.to_path_buf(), folder.join(FASHION_INSTALLED)];
    for place in &places {
        for name in [name, flat] {
            for suffix in ["", ".gz"] {
                let path = place.join(format!("{name}{suffix}"));
                if path.is_file() {
                    return Some((path, suffix));
                }
            }
        }
    }
    None
}

/// Unpacks a Debian package or a tar archive into a new folder.
fn unpack(archive: &Path, into: &Path) -> Result<PathBuf> {
    fs::create_dir_all(into).with_context(|| format!("make {}", into.display()))?;
    let name = archive.to_string_lossy().to_lowercase();
    let archive = std::path::absolute(archive)?;
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if ends(&[".deb"]) {
        tool::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(into))
            .with_context(|| format!("unpack {}", archive.display()))?;
    } else if ends(&[".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2"]) {
        let mut tar = Command::new("tar");
        tar.args(["-x", "--no-same-owner", "-f"]).arg(&archive);
        tool::run(tar.arg("-C").arg(into))
            .with_context(|| format!("unpack {}", archive.display()))?;
    } else {
        bail!("expected {KINDS}, found {}", archive.display());
    }
    Ok(into.to_path_buf())
}

/// The file name at the end of a URL, by which its kind is told.
fn archive_name(url: &str) -> Result<String> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    match path.rsplit('/').next() {
        Some(name) if name.contains('.') && !name.starts_with('.') => Ok(name.to_owned()),
        _ => bail!(
            "expected the URL of a .deb or .tar.gz, or of a folder (ending in /), found {url}"
        ),
    }
}

fn download(url: &str, to: &Path) -> Result<()> {
    output::stderr(&format!("downloading {url}\n"));
    let mut curl = Command::new("curl");
    curl.args(["-fsSL", "--retry", "3", "--connect-timeout", "30", "-o"])
        .arg(to)
        .arg(url);
    let result = match tool::run(&mut curl) {
        Err(ToolError::Missing { .. }) => {
            let mut wget = Command::new("wget");
            wget.args(["-nv", "-t", "3", "-T", "30", "-O"])
                .arg(to)
                .arg(url);
            tool::run(&mut wget)
        }
        result => result,
    };
    match result {
        Err(ToolError::Missing { .. }) => bail!(
            "neither curl nor wget is on this machine: `apt-get install curl` (as root), or \
             download {url} elsewhere and name the file with --from"
        ),
        result => result.with_context(|| format!("download {url}")),
    }
}

fn download_folder(set: DataSet, url: &str, into: &Path) -> Result<PathBuf> {
    fs::create_dir_all(into).with_context(|| format!("make {}", into.display()))?;
    for file in Part::ALL.iter().flat_map(|part| set.files(*part)) {
        let flat = file.name.rsplit('/').next().unwrap_or(file.name);
        if let Err(zipped) = download(&format!("{url}{flat}.gz"), &into.join(format!("{flat}.gz")))
        {
            download(&format!("{url}{flat}"), &into.join(flat)).context(zipped.to_string())?;
        }
    }
    Ok(into.to_path_buf())
}

/// Downloads a Debian package without installing it. If the machine's package lists do not know
/// it, as on a fresh container, fresh lists are fetched into the folder: none of this needs root.
fn download_package(name: &str, into: &Path) -> Result<PathBuf> {
    fs::create_dir_all(into).with_context(|| format!("make {}", into.display()))?;
    output::stderr(&format!("downloading the Debian package {name} (31 MB)\n"));
    let mut plain = Command::new("apt-get");
    plain.args(["-q", "download", name]).current_dir(into);
    match tool::run(&mut plain) {
        Ok(()) => {}
        Err(ToolError::Missing { .. }) => bail!(
            "apt-get is not on this machine: get the four .gz files of fashion-mnist \
             (https://github.com/zalandoresearch/fashion-mnist lists them) and name their folder \
             with --from; it takes {KINDS}"
        ),
        Err(first) => {
            output::stderr(&format!("{first}\ntrying again with fresh package lists\n"));
            download_with_own_lists(name, into).with_context(|| {
                format!(
                    "get {name}: run `apt-get update` as root and try again, or name another \
                     source with --from; it takes {KINDS}"
                )
            })?;
        }
    }
    let package = fs::read_dir(into)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    package.with_context(|| format!("apt-get downloaded no {name}"))
}

fn download_with_own_lists(name: &str, into: &Path) -> Result<()> {
    let (state, cache) = (into.join("state"), into.join("cache"));
    fs::create_dir_all(state.join("lists/partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    for action in [&["update"][..], &["download", name]] {
        let mut apt = Command::new("apt-get");
        apt.arg("-q")
            .arg(format!("-oDir::State={}", state.display()))
            .arg("-oDir::State::status=/var/lib/dpkg/status")
            .arg(format!("-oDir::Cache={}", cache.display()))
            // Never as the user _apt, who may not write here.
            .arg("-oAPT::Sandbox::User=")
            .args(action)
            .current_dir(into);
        tool::run(&mut apt)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("x.tar.gz");
        fs::write(&archive, "").unwrap();
        let parse = |text: &str| Source::parse(DataSet::Cifar10, text);
        let text = archive.to_str().unwrap();
        assert_eq!(parse(text).unwrap(), Source::Archive(archive.clone()));
        let url = format!("file://{text}");
        assert_eq!(parse(&url).unwrap(), Source::Archive(archive.clone()));
        assert_eq!(
            parse(folder.path().to_str().unwrap()).unwrap(),
            Source::Folder(folder.path().to_owned())
        );
        assert_eq!(
            parse("https://host/x.deb").unwrap(),
            Source::Url("https://host/x.deb".to_owned())
        );
        let error = parse("/no/where").unwrap_err().to_string();
        assert!(error.contains("found nothing at \"/no/where\""), "{error}");
    }

    #[test]
    fn a_set_without_a_package_says_where_its_authors_publish_it() {
        let error = Source::choose(DataSet::Cifar100, None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("https://www.cs.toronto.edu/~kriz/cifar.html"),
            "{error}"
        );
        assert!(
            error.contains("`autorep data fetch cifar-100 --from cifar-100-binary.tar.gz`"),
            "{error}"
        );
    }

    #[test]
    fn a_urls_archive_is_named_without_its_query() {
        assert_eq!(
            archive_name("https://h/a/b.tar.gz?x=/y#z").unwrap(),
            "b.tar.gz"
        );
        assert!(archive_name("https://host/a/b").is_err());
    }

    #[test]
    fn files_are_found_flat_in_their_folder_or_as_the_package_lays_them_out() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        let name = "cifar-10-batches-bin/test_batch.bin";
        assert_eq!(find(root.path(), name), None);
        put("usr/share/datasets/fashion-mnist/test_batch.bin.gz");
        assert_eq!(find(root.path(), name).unwrap().1, ".gz");
        put("test_batch.bin.gz");
        assert_eq!(
            find(root.path(), name).unwrap().0,
            root.path().join("test_batch.bin.gz")
        );
        put(name);
        assert_eq!(
            find(root.path(), name).unwrap(),
            (root.path().join(name), "")
        );
    }

    #[test]
    fn a_file_that_is_no_archive_is_refused_with_what_would_do() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cifar.zip");
        fs::write(&path, "PK").unwrap();
        let error = unpack(&path, &root.path().join("out"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("expected a folder with its files"),
            "{error}"
        );
    }
}
