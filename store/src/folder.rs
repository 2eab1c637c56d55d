//! A folder of this machine as a store: durable, and nothing outside it.
//!
//! A key cannot have `..` in it, but a symbolic link in the folder leads wherever it says: a store that
//! several may write to would let one of them have the coordinator overwrite or delete another's
//! files. So what a link leads out of the folder is neither read, written, deleted nor listed.
//! This is for links that lie there; whoever can exchange a folder for a link between the look and
//! the deed has the rights of the process already, or nearly so.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A link leads out of a store's folder.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected everything of the store below {root:?}, found that {link:?} leads to {target:?}; name that folder itself as the store, or mount it there (`mount --bind`)"
)]
struct Escapes {
    root: PathBuf,
    link: PathBuf,
    target: PathBuf,
}

/// Opens a folder, which must be there, as a store whose writes survive a power cut and which
/// reaches nothing outside the folder.
pub fn folder_store(folder: &FilePath) -> Result<Arc<dyn ObjectStore>> {
    let inner = LocalFileSystem::new_with_prefix(folder)?
        .with_fsync(true)
        .with_automatic_cleanup(true);
    let root = fs::canonicalize(folder).map_err(|source| Error::Generic {
        store: "folder",
        source: source.into(),
    })?;
    Ok(Arc::new(Confined {
        bounds: Arc::new(Bounds { root }),
        inner,
    }))
}

#[derive(Debug)]
struct Confined {
    bounds: Arc<Bounds>,
    inner: LocalFileSystem,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// What a store may reach.
#[derive(Debug)]
struct Bounds {
    /// Without links.
    root: PathBuf,
}

impl Bounds {
    /// That nothing on the way to `key` leads out. What is not there leads nowhere.
    fn check(&self, key: &Path) -> Result<()> {
        let mut path = self.root.clone();
        for part in key.parts() {
            path.push(part.as_ref());
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => self.follow(&path, key)?,
                Ok(_) => {}
                // The operation itself says what is wrong.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn follow(&self, link: &FilePath, key: &Path) -> Result<()> {
        let target = match fs::canonicalize(link) {
            Ok(target) if target.starts_with(&self.root) => return Ok(()),
            Ok(target) => target,
            // A link to nothing: writing through it would make what it names.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::read_link(link).unwrap_or_default()
            }
            Err(_) => PathBuf::new(),
        };
        Err(Error::PermissionDenied {
            path: key.to_string(),
            source: Box::new(Escapes {
                root: self.root.clone(),
                link: link.to_owned(),
                target,
            }),
        })
    }

    fn is_inside(&self, key: &Path) -> bool {
        self.check(key).is_ok()
    }
}

#[async_trait]
impl ObjectStore for Confined {
    async fn put_opts(
        &self,
        key: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.bounds.check(key)?;
        self.inner.put_opts(key, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.bounds.check(key)?;
        self.inner.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.bounds.check(key)?;
        self.inner.get_opts(key, options).await
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.bounds.check(key)?;
        self.inner.get_ranges(key, ranges).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let bounds = Arc::clone(&self.bounds);
        let inside = keys.map(move |key| {
            let key = key?;
            bounds.check(&key)?;
            Ok(key)
        });
        self.inner.delete_stream(inside.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        inside(&self.bounds, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        inside(&self.bounds, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        let bounds = &self.bounds;
        listed
            .objects
            .retain(|object| bounds.is_inside(&object.location));
        listed.common_prefixes.retain(|key| bounds.is_inside(key));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.bounds.check(from)?;
        self.bounds.check(to)?;
        self.inner.copy_opts(from, to, options).await
    }
}

/// What of a listing lies inside. Objects of one folder come one after the other, and the way to
/// them is looked at once.
fn inside(
    bounds: &Arc<Bounds>,
    listed: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let bounds = Arc::clone(bounds);
    let mut known: Option<(String, bool)> = None;
    listed
        .try_filter(move |object| {
            let key = &object.location;
            let folder = key.as_ref().rsplit_once('/').map_or("", |(it, _)| it);
            let is_known = known.as_ref().is_some_and(|(it, _)| it == folder);
            if !is_known {
                let way = Path::parse(folder).is_ok_and(|folder| bounds.is_inside(&folder));
                known = Some((folder.to_owned(), way));
            }
            let way = known.as_ref().is_some_and(|(_, inside)| *inside);
            let is_link = way
                && fs::symlink_metadata(bounds.root.join(key.as_ref()))
                    .is_ok_and(|metadata| metadata.is_symlink());
            let inside = way && (!is_link || bounds.is_inside(key));
            futures::future::ready(inside)
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use object_store::ObjectStoreExt as _;

    use super::*;

    struct Places {
        _folder: tempfile::TempDir,
        outside: PathBuf,
        store: Arc<dyn ObjectStore>,
        root: PathBuf,
    }

    /// A store beside a folder with a secret, and links of every kind from the one into the other.
    fn places() -> Places {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("store"), folder.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::create_dir(root.join("tasks")).unwrap();
        fs::write(root.join("tasks/own"), "own").unwrap();
        symlink(&outside, root.join("away")).unwrap();
        symlink("../outside/secret", root.join("tasks/file")).unwrap();
        symlink("../../outside/new", root.join("tasks/dangling")).unwrap();
        symlink("own", root.join("tasks/inside")).unwrap();
        Places {
            store: folder_store(&root).unwrap(),
            _folder: folder,
            outside,
            root,
        }
    }

    #[tokio::test]
    async fn nothing_that_a_link_leads_out_of_the_folder_is_reached() {
        let Places { store, outside, .. } = &places();
        for key in ["away/secret", "away/new", "tasks/file", "tasks/dangling"] {
            let key = Path::from(key);
            let denied = |result: Result<()>| {
                let told = result.unwrap_err();
                assert!(
                    matches!(told, Error::PermissionDenied { .. }),
                    "{key}: {told:?}"
                );
                assert!(told.to_string().contains("mount --bind"), "{told}");
            };
            denied(store.get(&key).await.map(|_| ()));
            denied(store.get_range(&key, 0..1).await.map(|_| ()));
            denied(store.put(&key, "x".into()).await.map(|_| ()));
            denied(store.put_multipart(&key).await.map(|_| ()));
            denied(store.delete(&key).await);
            denied(store.copy(&key, &Path::from("copy")).await);
            denied(store.copy(&Path::from("tasks/own"), &key).await);
        }
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn only_what_lies_inside_is_listed() {
        let Places { store, .. } = &places();
        let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        let mut keys: Vec<&str> = listed.iter().map(|it| it.location.as_ref()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["tasks/inside", "tasks/own"]);
        let level = store.list_with_delimiter(None).await.unwrap();
        assert_eq!(level.common_prefixes, [Path::from("tasks")]);
        let level = store.list_with_delimiter(Some(&Path::from("tasks"))).await;
        assert_eq!(level.unwrap().objects.len(), 2);
    }

    #[tokio::test]
    async fn a_link_that_stays_inside_and_a_store_that_is_a_link_are_as_good_as_any() {
        let Places { store, root, .. } = &places();
        let inside = store.get(&Path::from("tasks/inside")).await.unwrap();
        assert_eq!(inside.bytes().await.unwrap(), "own");
        let link = root.with_file_name("link");
        symlink(root, &link).unwrap();
        let store = folder_store(&link).unwrap();
        store.put(&Path::from("a/b"), "x".into()).await.unwrap();
        assert_eq!(fs::read(root.join("a/b")).unwrap(), b"x");
    }

    #[tokio::test]
    async fn names_that_look_like_ways_out_are_names() {
        let Places {
            store,
            root,
            outside,
            ..
        } = &places();
        let long = "x".repeat(300);
        for key in [
            "../outside/new",
            "/etc/new",
            "a/../../outside/new",
            "%2e%2e/new",
            "a\0b",
        ] {
            store.put(&Path::from(key), "x".into()).await.unwrap();
        }
        assert!(
            store
                .put(&Path::from(long.as_str()), "x".into())
                .await
                .is_err()
        );
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
        assert!(root.join("%2E%2E/outside/new").is_file());
        assert!(!FilePath::new("/etc/new").exists());
    }
}
