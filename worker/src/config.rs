//! What a worker is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

use autorep_core::data::DataRoot;
use autorep_core::lease::is_host;
use autorep_core::offer::{LABEL, Offer, is_label};
use autorep_measure::Health;
use autorep_transport::Credentials;
use tonic::transport::Uri;

use crate::machine::{host_name, plain};

/// Why a worker is not ready before its coordinator has answered it.
pub const UNREGISTERED: &str = "it has not registered with its coordinator";

/// How a worker works. [`Config::new`] fills in what most workers share.
#[derive(Clone, Debug)]
pub struct Config {
    /// The coordinator's address, as in `https://autorep:7070`, or `http://127.0.0.1:7070` without TLS.
    pub coordinator: Uri,
    /// By what it knows the coordinator, and that one it.
    pub credentials: Credentials,
    /// The worker's name, unique among living workers: letters, digits, `-`, `_` and `.`, and no
    /// `.` at the beginning. See [`default_name`].
    pub name: String,
    /// Where to train: `cpu` or `cuda:N`.
    pub device: String,
    /// The machine that the worker is on: letters, digits, `-`, `_`, `.` and `:`. Attempts that keep
    /// failing exclude a machine with all its workers.
    pub machine: String,
    /// What it has, for sweeps that need something of their workers.
    pub offer: Offer,
    /// The name or number under which other workers reach this one, for tasks that are spread over
    /// several; a number of IPv6 in brackets.
    pub advertise: String,
    /// Ranks that train one task together, each in a trainer of its own: on `cuda:N` the GPUs from
    /// the Nth on, on `cpu` as many processes.
    pub ranks: u32,
    /// How long a rank may wait for another one before the group has failed.
    pub rank_deadline: Duration,
    /// CPU threads of each trainer; 0 leaves the choice to libtorch, or shares the cores out to the
    /// ranks.
    pub threads: u32,
    /// The `autorep-trainer` binary.
    pub trainer: PathBuf,
    /// Where data sets lie, each under its
    /// [`DataSet::name`](autorep_core::data::DataSet::name).
    pub data_root: DataRoot,
    /// The folder for whole shards of data sets in a bucket. Workers may share one.
    pub data_cache_folder: Option<PathBuf>,
    /// Bytes that all files in it may have together.
    pub data_cache_bytes: u64,
    /// The folder for inputs, checkpoints and logs in flight. Workers may share one: each has a
    /// folder of its own in it.
    pub scratch: PathBuf,
    /// A folder of shared libraries that the trainer must find before others of the same name:
    /// that of a CUDA build of libtorch.
    pub library_path: Option<PathBuf>,
    /// Whether to return when the coordinator says that every sweep is done.
    pub exit_when_idle: bool,
    /// How long a trainer may take to stop when told to; then it is killed.
    pub grace: Duration,
    /// How long a store that answers with errors is tried again before the attempt fails.
    pub store_patience: Duration,
    /// Where the worker says whether it has registered and its coordinator answers.
    pub health: Health,
}

impl Config {
    /// A worker on the CPU under its default name: 25 s of grace (Kubernetes kills after 30), two
    /// minutes of patience with the store.
    pub fn new(
        coordinator: Uri,
        trainer: impl Into<PathBuf>,
        data_root: impl Into<DataRoot>,
        scratch: impl Into<PathBuf>,
    ) -> Self {
        let device = "cpu".to_owned();
        let advertise = default_advertise(&coordinator);
        Self {
            coordinator,
            credentials: Credentials::default(),
            name: default_name(&device),
            device,
            machine: host_name(),
            offer: Offer::default(),
            advertise,
            ranks: 1,
            rank_deadline: Duration::from_mins(5),
            threads: 0,
            trainer: trainer.into(),
            data_root: data_root.into(),
            data_cache_folder: None,
            data_cache_bytes: 0,
            scratch: scratch.into(),
            library_path: None,
            exit_when_idle: false,
            grace: Duration::from_secs(25),
            store_patience: Duration::from_mins(2),
            health: Health::new(UNREGISTERED),
        }
    }

    /// The coordinator has answered: this worker is ready, unless that does not come again.
    pub(crate) fn answered(&self) {
        let then = "its coordinator has not answered for a minute";
        self.health.ready_for(Duration::from_mins(1), then);
    }

    /// Ranks for a task whose sweep asks for so many: as many, but none that is not there; all where
    /// it leaves that to the worker (0).
    pub(crate) fn ranks_for(&self, asked: u32) -> u32 {
        match asked {
            0 => self.ranks,
            asked => asked.min(self.ranks),
        }
    }

    /// Where a rank trains.
    pub(crate) fn device_of(&self, rank: u32) -> String {
        let first = self.device.strip_prefix("cuda:");
        match first.and_then(|first| first.parse::<u32>().ok()) {
            Some(first) => format!("cuda:{}", first + rank),
            None => self.device.clone(),
        }
    }

    /// Threads of each of so many ranks. Left to libtorch, each would take every core.
    pub(crate) fn threads_each(&self, ranks: u32) -> u32 {
        if self.threads > 0 || ranks == 1 {
            return self.threads;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (u32::try_from(cores).unwrap_or(1) / ranks).max(1)
    }

    /// The configuration, if every field can work; paths are made absolute, because the trainer
    /// has another working directory.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        let name_fits = (1..=128).contains(&self.name.len())
            && !self.name.starts_with('.')
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !name_fits {
            return Err(ConfigError::Name { found: self.name });
        }
        let schemed = matches!(self.coordinator.scheme_str(), Some("http" | "https"));
        // It would be passed over.
        let has_path = !matches!(self.coordinator.path(), "" | "/");
        if !schemed || has_path || self.coordinator.authority().is_none() {
            return Err(ConfigError::Coordinator {
                found: self.coordinator,
            });
        }
        let machine_fits = (1..=128).contains(&self.machine.len())
            && (self.machine.bytes())
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        if !machine_fits {
            return Err(ConfigError::Machine {
                found: self.machine,
            });
        }
        if let Some(label) = self.offer.labels.iter().find(|label| !is_label(label)) {
            let found = label.clone();
            return Err(ConfigError::Label { found });
        }
        if !is_host(&self.advertise) {
            let found = self.advertise;
            return Err(ConfigError::Advertise { found });
        }
        if self.ranks == 0 {
            return Err(ConfigError::Ranks);
        }
        if !is_device(&self.device) {
            return Err(ConfigError::Device { found: self.device });
        }
        let mut paths = vec![&mut self.trainer, &mut self.scratch];
        paths.extend(self.library_path.as_mut());
        paths.extend(self.data_cache_folder.as_mut());
        if let DataRoot::Folder(folder) = &mut self.data_root {
            paths.push(folder);
        }
        for path in paths {
            *path = std::path::absolute(&*path).map_err(|source| ConfigError::Path {
                path: path.clone(),
                source,
            })?;
        }
        if !self.trainer.is_file() {
            return Err(ConfigError::Trainer { path: self.trainer });
        }
        Ok(self)
    }
}

/// A worker cannot work like this.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The machine's name would garble logs and tables.
    #[error(
        "machine: expected 1 to 128 letters, digits, dashes, underscores, dots and colons, found {found:?}"
    )]
    Machine {
        /// The name as it was given.
        found: String,
    },
    /// A label is none.
    #[error("label: expected {LABEL}, found {found:?}")]
    Label {
        /// The label as it was given.
        found: String,
    },
    /// The name cannot name a worker.
    #[error(
        "worker name: expected 1 to 128 letters, digits, dashes, underscores and dots that do not begin with a dot, found {found:?}"
    )]
    Name {
        /// The name as it was given.
        found: String,
    },
    /// The address is none, or not one that can be spoken to.
    #[error(
        "coordinator: expected an address as in https://autorep:7070 or http://127.0.0.1:7070, found {found}"
    )]
    Coordinator {
        /// The address as it was given.
        found: Uri,
    },
    /// Nobody could be told to come there.
    #[error(
        "advertise: expected a name or number under which other workers reach this one, as in worker-3 or [fd00::7], found {found:?}"
    )]
    Advertise {
        /// The host as it was given.
        found: String,
    },
    /// Nobody would train.
    #[error("ranks: expected at least 1, found 0")]
    Ranks,
    /// The device is none.
    #[error("device: expected cpu or cuda:N, found {found:?}")]
    Device {
        /// The device as it was given.
        found: String,
    },
    /// A path has no absolute form.
    #[error("the path {path:?} cannot be made absolute")]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no trainer.
    #[error(
        "expected the autorep-trainer binary at {path:?}, found none; build it or name another"
    )]
    Trainer {
        /// Where it should be.
        path: PathBuf,
    },
}

fn is_device(text: &str) -> bool {
    text == "cpu"
        || text.strip_prefix("cuda:").is_some_and(|index| {
            (1..=3).contains(&index.len()) && index.bytes().all(|b| b.is_ascii_digit())
        })
}

/// Under which name other workers reach this one, if nobody says: the loopback where the coordinator is
/// on it, and all workers are on one machine; else the host's name.
pub fn default_advertise(coordinator: &Uri) -> String {
    let host = coordinator.host().unwrap_or_default();
    let number = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    if host == "localhost" || number.is_ok_and(|it| it.is_loopback()) {
        return "127.0.0.1".to_owned();
    }
    host_name()
}

/// The host's name, this process and the device: unique where process ids are not shared.
pub fn default_name(device: &str) -> String {
    format!("{}-{}-{}", host_name(), std::process::id(), plain(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let here = std::env::current_exe().unwrap();
        Config::new(
            Uri::from_static("http://127.0.0.1:1"),
            here,
            PathBuf::from("data"),
            "scratch",
        )
    }

    #[test]
    fn the_default_configuration_is_good_and_its_paths_become_absolute() {
        let checked = config().checked().unwrap();
        assert!(checked.data_root.folder().unwrap().is_absolute());
        assert!(checked.scratch.is_absolute());
    }

    #[test]
    fn a_bucket_is_no_path_to_be_made_absolute() {
        let url = DataRoot::parse("s3://bucket/sets").unwrap();
        let config = Config {
            data_root: url.clone(),
            ..config()
        };
        assert_eq!(config.checked().unwrap().data_root, url);
    }

    #[test]
    fn a_name_that_could_leave_the_scratch_folder_is_refused() {
        for name in ["", ".", "..", ".hidden", "a/b", "a b", &"x".repeat(129)] {
            let config = Config {
                name: name.to_owned(),
                ..config()
            };
            assert!(
                matches!(config.checked(), Err(ConfigError::Name { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn an_address_that_would_never_answer_is_refused_instead_of_waited_for() {
        for address in [
            "127.0.0.1:7070",
            "/path",
            "ftp://127.0.0.1:7070",
            "http://lab:7070/x",
        ] {
            let config = Config {
                coordinator: address.parse().unwrap(),
                ..config()
            };
            assert!(
                matches!(config.checked(), Err(ConfigError::Coordinator { .. })),
                "{address}"
            );
        }
    }

    #[test]
    fn only_cpu_and_numbered_cuda_devices_are_devices() {
        for good in ["cpu", "cuda:0", "cuda:15"] {
            assert!(is_device(good), "{good}");
        }
        for bad in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:0000"] {
            assert!(!is_device(bad), "{bad}");
        }
    }

    #[test]
    fn workers_of_a_coordinator_on_the_loopback_are_reached_there() {
        let at = |uri: &str| default_advertise(&uri.parse().unwrap());
        for here in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert_eq!(at(here), "127.0.0.1");
        }
        assert_eq!(at("http://10.0.0.5:7070"), host_name());
        let config = Config {
            advertise: "a b".to_owned(),
            ..config()
        };
        assert!(matches!(
            config.checked(),
            Err(ConfigError::Advertise { .. })
        ));
    }

    #[test]
    fn ranks_take_one_gpu_after_the_other_and_share_the_cores_out() {
        let config = Config {
            device: "cuda:2".to_owned(),
            ranks: 4,
            ..config()
        };
        let devices: Vec<String> = (0..2).map(|rank| config.device_of(rank)).collect();
        assert_eq!(devices, ["cuda:2", "cuda:3"]);
        assert_eq!(
            [0, 1, 4, 8].map(|asked| config.ranks_for(asked)),
            [4, 1, 4, 4]
        );
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(config.threads_each(1), 0);
        assert_eq!(config.threads_each(2) as usize, (cores / 2).max(1));
        let named = Config {
            threads: 3,
            ..config
        };
        assert_eq!(named.threads_each(2), 3);
        let none = Config { ranks: 0, ..named };
        assert!(matches!(none.checked(), Err(ConfigError::Ranks)));
    }

    #[test]
    fn a_missing_trainer_is_found_out_before_any_lease() {
        let config = Config {
            trainer: PathBuf::from("/nowhere/autorep-trainer"),
            ..config()
        };
        assert!(matches!(config.checked(), Err(ConfigError::Trainer { .. })));
    }
}
