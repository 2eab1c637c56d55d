//! How fast tasks are handed out and taken back.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::disk::Disk;
use crate::lab::Lab;
use crate::process::median;
use crate::sweep;

/// Tasks of a sweep that lasts longer than any count.
const PLENTY: u64 = 90_010;

/// Work before the count begins.
const WARM_UP: Duration = Duration::from_secs(1);

/// Tasks per second, each from its lease to durable Finish with its commits between.
pub(crate) async fn rate(
    autorep: &Path,
    workers: usize,
    seconds: f64,
    take_next: bool,
) -> Result<Value> {
    let mut lab = Lab::start(autorep, &sweep::manifest("load", PLENTY)).await?;
    let mut workers = lab.workers(workers).await?;
    let first = workers.first_mut().context("at least one worker")?;
    lab.open_up(first).await?;

    work(&mut workers, WARM_UP, take_next).await?;
    let disk = Disk::watch(lab.folder.path())?;
    let cpu = lab.coordinator.cpu_s()?;
    let began = Instant::now();
    let done = work(&mut workers, Duration::from_secs_f64(seconds), take_next).await?;
    let took = seconds.min(began.elapsed().as_secs_f64());
    let cpu = lab.coordinator.cpu_s()? - cpu;
    Ok(json!({
        "tasks_per_s": done as f64 / took,
        "tasks": done,
        "fdatasync_ms": disk.fdatasync_ms()?,
        "coordinator_cores": cpu / took,
    }))
}

async fn work(
    workers: &mut [crate::worker::Worker],
    time: Duration,
    take_next: bool,
) -> Result<usize> {
    let end = Instant::now() + time;
    let all = workers.iter_mut().map(|worker| {
        let mut worker = worker.clone();
        async move {
            let work = async move { worker.race_until(end, take_next).await };
            tokio::spawn(work).await?
        }
    });
    Ok(try_join_all(all).await?.iter().sum())
}

/// Seconds from the start of the process to the first lease on an empty store.
pub(crate) async fn first_lease(autorep: &Path, runs: usize) -> Result<Value> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut lab = Lab::start(autorep, &sweep::manifest("first", 100)).await?;
        let mut workers = lab.workers(1).await?;
        let first = workers.first_mut().context("one worker")?;
        first.acquire().await?.context("a task")?;
        times.push(lab.coordinator.began.elapsed());
    }
    let all: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    Ok(json!({ "first_lease_s": median(times).as_secs_f64(), "runs": all }))
}
