//! The process of a coordinator, and what the kernel says of it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

/// A coordinator on a store in a folder, killed when dropped.
pub(crate) struct Coordinator {
    pub(crate) url: String,
    pub(crate) began: Instant,
    child: Child,
    log: PathBuf,
    store: PathBuf,
    address: SocketAddr,
}

/// Where `make bench` wants stores: it removes them all when everything is measured.
const STORES: &str = "AUTOREP_BENCH_STORES";

/// A folder for a store. In the build folder's file system rather than in one in memory, where a
/// write that lasts costs nothing.
pub(crate) fn folder() -> Result<TempDir> {
    if let Some(stores) = std::env::var_os(STORES) {
        let mut folders = tempfile::Builder::new();
        return Ok(folders.disable_cleanup(true).tempdir_in(stores)?);
    }
    let exe = std::env::current_exe()?;
    let beside = exe.parent().context("a folder of this program")?;
    Ok(tempfile::tempdir_in(beside)?)
}

impl Coordinator {
    /// Starts one; it need not answer yet.
    pub(crate) fn start(autorep: &Path, store: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_at(autorep, store, address)
    }

    fn start_at(autorep: &Path, store: &Path, address: SocketAddr) -> Result<Self> {
        let log = store.with_extension("log");
        let began = Instant::now();
        let child = Command::new(autorep)
            .args(["coordinator", "--store"])
            .arg(store)
            .arg("--listen")
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", autorep.display()))?;
        Ok(Self {
            url: format!("http://{address}"),
            began,
            child,
            log,
            store: store.to_owned(),
            address,
        })
    }

    /// Ends it with SIGKILL and starts another at its place.
    pub(crate) async fn kill_and_restart(&mut self, autorep: &Path) -> Result<()> {
        self.child.kill().await?;
        *self = Self::start_at(autorep, &self.store, self.address)?;
        Ok(())
    }

    /// A connection of one's own, as soon as there can be one.
    pub(crate) async fn channel(&mut self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.url.clone())?;
        loop {
            if let Ok(channel) = endpoint.connect().await {
                return Ok(channel);
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(&self.log)?;
                bail!("the coordinator ended with {status}: {log}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn proc(&self, file: &str) -> Result<String> {
        let id = self.child.id().context("a process that runs")?;
        Ok(fs::read_to_string(format!("/proc/{id}/{file}"))?)
    }

    /// Bytes in memory now.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most that it ever had.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib
            .with_context(|| format!("{name} of a process"))?
            .parse()?;
        Ok(kib * 1024)
    }

    /// Seconds of processor time so far.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        // The name, which may hold anything, ends with the last parenthesis.
        let (_, rest) = stat.rsplit_once(')').context("a process's stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| -> Result<f64> {
            Ok(fields
                .get(at)
                .context("a process's times")?
                .parse::<f64>()?)
        };
        Ok((ticks(11)? + ticks(12)?) / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// The middle one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
