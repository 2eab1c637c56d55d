//! Opens the object store that a path or URL names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use autorep_core::text::redacted;
use autorep_store::{Multipart, Place, connect, folder_store};
use object_store::ObjectStore;
use url::Url;

/// What a `--store` argument names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A place in an object store, as in `s3://BUCKET/PREFIX`.
    Remote(Place),
}

impl Location {
    /// Reads a `--store` argument: a URL where there is a scheme, a folder otherwise.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            bail!("expected a folder or s3://BUCKET/PREFIX as the store, found nothing");
        }
        if !text.contains("://") {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        if text.starts_with("file://") {
            let folder = Url::parse(text)
                .ok()
                .and_then(|url| url.to_file_path().ok());
            return match folder {
                Some(folder) => Ok(Self::Folder(folder)),
                None => bail!(
                    "expected file:///FOLDER as the store, found {:?}",
                    redacted(text)
                ),
            };
        }
        let place = Place::parse(text)?;
        match place.scheme() {
            "s3" | "s3a" => Ok(Self::Remote(place)),
            _ => bail!(
                "expected a folder or s3://BUCKET/PREFIX as the store, found {text:?}; Google's and \
                 Microsoft's buckets hold data sets (--data), not sweeps"
            ),
        }
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Remote(_) => None,
        }
    }
}

/// Reads the `--store` argument of a command that needs a folder.
pub fn local_folder(text: &str) -> Result<PathBuf> {
    match Location::parse(text)? {
        Location::Folder(folder) => Ok(folder),
        Location::Remote(url) => bail!(
            "expected a folder, since everything runs on this machine, found {url}; for a bucket \
             start `autorep coordinator` and `autorep worker`, and `autorep submit` the manifest"
        ),
    }
}

/// Opens the store that a `--store` argument names; a folder is made if it is not there.
///
/// S3 is set up by the usual `AWS_…` variables: `docs/storage.md`.
pub fn open_store(text: &str) -> Result<Arc<dyn ObjectStore>> {
    open(text, Multipart::Overwrites)
}

/// The same for a worker, which never replaces an object.
pub fn open_worker_store(text: &str) -> Result<Arc<dyn ObjectStore>> {
    open(text, Multipart::CreatesOnly)
}

fn open(text: &str, multipart: Multipart) -> Result<Arc<dyn ObjectStore>> {
    match Location::parse(text)? {
        Location::Folder(folder) => open_folder(&folder),
        Location::Remote(place) => {
            let url = place.to_string();
            connect(&url, multipart).with_context(|| format!("open the store {url}"))
        }
    }
}

/// Opens a folder as a store whose writes survive a power cut and which reaches nothing outside it.
pub fn open_folder(folder: &Path) -> Result<Arc<dyn ObjectStore>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("make the store folder {}", folder.display()))?;
    folder_store(folder).with_context(|| format!("open the store folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    #[test]
    fn plain_text_is_a_folder_and_a_scheme_makes_a_url() {
        assert_eq!(
            Location::parse("a/b").unwrap(),
            Location::Folder("a/b".into())
        );
        assert_eq!(
            Location::parse("file:///a/b").unwrap(),
            Location::Folder("/a/b".into())
        );
        let remote = Location::parse("s3://bucket/team/a").unwrap();
        assert_eq!(remote.folder(), None);
    }

    #[test]
    fn what_is_neither_a_folder_nor_s3_is_refused() {
        for text in [
            "",
            "http://host/x",
            "s3:///prefix",
            "gs://bucket",
            "az://bucket",
            "s3://",
            "s3://bucket/a/../b",
            "s3://bucket/%2e%2e/b",
            "file://host/x",
        ] {
            assert!(Location::parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[tokio::test]
    async fn a_folder_is_made_and_keeps_objects_below_itself() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new/store");
        let store = open_store(folder.to_str().unwrap()).unwrap();
        let key = object_store::path::Path::from("a/b");
        store.put(&key, "x".into()).await.unwrap();
        assert_eq!(std::fs::read(folder.join("a/b")).unwrap(), b"x");
    }
}
