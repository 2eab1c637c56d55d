//! What a trainer sees on this machine, by asking it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::paths::library_path;

/// A trainer that takes longer than this to say what it sees is stuck, most likely in a driver.
pub const LIMIT: Duration = Duration::from_mins(1);

/// What `autorep-trainer --probe` prints.
#[derive(Debug, Deserialize)]
pub struct Probe {
    /// Its version.
    pub trainer: String,
    /// That of libtorch.
    pub libtorch: String,
    /// Threads that libtorch takes if it is told nothing.
    pub cpu_threads: i64,
    /// GPUs that it can train on.
    pub cuda_devices: i64,
    /// Why it sees none.
    pub cuda_problem: Option<String>,
}

/// Asks a trainer what it sees. It is killed if it does not answer in time.
pub async fn probe(path: &Path, torch_lib: Option<&Path>, limit: Duration) -> Result<Probe> {
    let mut command = tokio::process::Command::new(path);
    if let Some(folder) = torch_lib {
        command.env("LD_LIBRARY_PATH", library_path(folder)?);
    }
    let child = command
        .arg("--probe")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot be started")?;
    let Ok(output) = tokio::time::timeout(limit, child.wait_with_output()).await else {
        bail!("did not answer --probe within {} s", limit.as_secs());
    };
    let output = output.context("did not answer --probe")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.lines().last().unwrap_or("no word why");
    if !output.status.success() {
        bail!("--probe ended with {}: {said}", output.status);
    }
    serde_json::from_slice(&output.stdout)
        .context("answered --probe with something that is not this version's answer")
}

impl Probe {
    /// Fails if a worker on `device` with so many ranks could train nothing: each of its attempts
    /// would be one of a task's few.
    pub fn require(&self, device: &str, ranks: u32) -> Result<()> {
        let Some(index) = device.strip_prefix("cuda:") else {
            return Ok(());
        };
        let first: i64 = index
            .parse()
            .with_context(|| format!("expected cpu or cuda:N as --device, found {device}"))?;
        if first.saturating_add(i64::from(ranks)) <= self.cuda_devices {
            return Ok(());
        }
        match &self.cuda_problem {
            Some(problem) => bail!("expected a GPU for --device {device}, found none: {problem}"),
            None => bail!(
                "expected GPUs {first} to {} for --device {device} and {ranks} ranks, found {} that \
                 the trainer sees; give others with --device or CUDA_VISIBLE_DEVICES",
                first.saturating_add(i64::from(ranks)) - 1,
                self.cuda_devices,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(cuda_devices: i64, cuda_problem: Option<&str>) -> Probe {
        Probe {
            trainer: "0".to_owned(),
            libtorch: "2".to_owned(),
            cpu_threads: 2,
            cuda_devices,
            cuda_problem: cuda_problem.map(str::to_owned),
        }
    }

    #[test]
    fn a_worker_on_gpus_needs_all_of_its_ranks() {
        sees(4, None).require("cuda:2", 2).unwrap();
        let few = sees(4, None).require("cuda:2", 3).unwrap_err().to_string();
        assert!(
            few.contains("GPUs 2 to 4") && few.contains("found 4"),
            "{few}"
        );
        let none = sees(0, Some("no driver")).require("cuda:0", 1);
        assert!(none.unwrap_err().to_string().contains("no driver"));
        sees(0, Some("no driver")).require("cpu", 1).unwrap();
    }
}
