//! Where things lie when nobody says: data sets and the trainer.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::args::{DataRoot, TrainerPath};

/// The trainer's file name.
pub const TRAINER: &str = "autorep-trainer";

impl DataRoot {
    /// The folder with one folder per data set: as given, else `autorep/data` in the user's
    /// cache folder.
    pub fn resolve(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.data {
            return Ok(folder.clone());
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(cache), _) if Path::new(&cache).is_absolute() => PathBuf::from(cache),
            (_, Some(home)) => Path::new(&home).join(".cache"),
            (_, None) => bail!(
                "expected a folder for data sets, found none: neither HOME nor XDG_CACHE_HOME is \
                 set; name one with --data or AUTOREP_DATA"
            ),
        };
        Ok(cache.join("autorep/data"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_data_folder_is_taken_as_it_is() {
        let root = DataRoot {
            data: Some("x/y".into()),
        };
        assert_eq!(root.resolve().unwrap(), Path::new("x/y"));
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
