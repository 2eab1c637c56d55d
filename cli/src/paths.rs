//! Where things lie when nobody says: data sets and the trainer.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use autorep_core::data::DataRoot;

use crate::args::{CacheArgs, DataArg, TrainerPath};

/// The trainer's file name.
pub const TRAINER: &str = "autorep-trainer";

impl DataArg {
    /// Where data sets lie: as given, else `autorep/data` in the user's cache folder.
    pub fn resolve(&self) -> Result<DataRoot> {
        if let Some(root) = &self.data {
            return Ok(root.clone());
        }
        let Some(cache) = user_cache() else {
            bail!(
                "expected a folder for data sets, found none: neither HOME nor XDG_CACHE_HOME is \
                 set; name one with --data or AUTOREP_DATA"
            );
        };
        Ok(DataRoot::Folder(cache.join("autorep/data")))
    }

    /// As [`Self::resolve`] for a command that needs a folder.
    pub fn folder(&self) -> Result<PathBuf> {
        match self.resolve()? {
            DataRoot::Folder(folder) => Ok(folder),
            DataRoot::Bucket(url) => bail!(
                "expected a folder for data sets, found {url}: only `autorep data shard --to` \
                 writes into a bucket, and images are packed from folders; name a folder with \
                 --data or --from"
            ),
        }
    }
}

impl CacheArgs {
    /// The folder for shards: as given, else `autorep/shards` in the user's cache folder, or in
    /// the system's temporary folder for users who have none.
    pub fn folder(&self) -> PathBuf {
        self.data_cache_folder.clone().unwrap_or_else(|| {
            let cache = user_cache().unwrap_or_else(std::env::temp_dir);
            cache.join("autorep/shards")
        })
    }
}

/// The user's cache folder, if the environment says who that is.
fn user_cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .filter(|cache| cache.is_absolute())
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")))
}

impl TrainerPath {
    /// The trainer's binary: as given, else the one beside this program. An error says how to
    /// build it.
    pub fn resolve(&self) -> Result<PathBuf> {
        let (path, given) = match &self.trainer {
            Some(path) => (path.clone(), true),
            None => (std::env::current_exe()?.with_file_name(TRAINER), false),
        };
        if path.is_file() {
            // A worker's working folder need not be ours.
            return Ok(std::path::absolute(path)?);
        }
        let path = path.display();
        if given {
            bail!("expected the trainer at {path} (--trainer or AUTOREP_TRAINER), found no file");
        }
        bail!(
            "expected the trainer beside autorep at {path}, found no file; build it with `cargo \
             build --release -p autorep-trainer` (`make demo` gets libtorch first), or name it \
             with --trainer"
        )
    }
}

/// The loader's search path with a folder put first.
pub fn library_path(first: &Path) -> Result<std::ffi::OsString> {
    let rest = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let rest = std::env::split_paths(&rest).filter(|path| !path.as_os_str().is_empty());
    std::env::join_paths(std::iter::once(first.to_path_buf()).chain(rest))
        .with_context(|| format!("{} cannot be in a search path", first.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_data_folder_is_taken_as_it_is() {
        let data = DataArg {
            data: Some(DataRoot::Folder("x/y".into())),
        };
        assert_eq!(data.resolve().unwrap(), DataRoot::Folder("x/y".into()));
        assert_eq!(data.folder().unwrap(), Path::new("x/y"));
    }

    #[test]
    fn a_bucket_is_refused_where_a_folder_is_needed() {
        let data = DataArg {
            data: Some(DataRoot::parse("s3://b/p").unwrap()),
        };
        let error = data.folder().unwrap_err().to_string();
        assert!(error.contains("found s3://b/p"), "{error}");
    }

    #[test]
    fn a_missing_trainer_is_refused_by_its_path() {
        let trainer = TrainerPath {
            trainer: Some("/nowhere/autorep-trainer".into()),
            torch_lib: None,
        };
        let error = trainer.resolve().unwrap_err().to_string();
        assert!(error.contains("/nowhere/autorep-trainer"), "{error}");
    }
}
