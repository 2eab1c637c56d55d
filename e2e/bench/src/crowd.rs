//! Many workers at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::disk::{Disk, millis};
use crate::lab::Lab;
use crate::sweep;
use crate::worker::Worker;

/// How long requests for work take while all workers are busy with tasks of a certain length.
pub(crate) async fn acquire(
    autorep: &Path,
    workers: usize,
    task_ms: u64,
    seconds: f64,
) -> Result<Value> {
    let mut lab = Lab::start(autorep, &sweep::manifest("load", 90_010)).await?;
    let mut workers = lab.workers(workers).await?;
    lab.open_up(workers.first_mut().context("at least one worker")?)
        .await?;
    let disk = Disk::watch(lab.folder.path())?;
    let task = Duration::from_millis(task_ms);
    let end = Instant::now() + task + Duration::from_secs_f64(seconds);
    let count = workers.len();
    let all = (0..)
        .zip(workers)
        .map(|(at, mut worker): (u32, _)| async move {
            // Machines do not start in step.
            let delay = task * at / u32::try_from(count)?;
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                worker.work_until(end, task).await
            })
            .await?
        });
    let mut waits: Vec<Duration> = try_join_all(all).await?.into_iter().flatten().collect();
    waits.sort_unstable();
    let at = |percent: usize| {
        let index = waits.len() * percent / 100;
        waits.get(index).copied().map_or(f64::NAN, millis)
    };
    Ok(json!({
        "p50_ms": at(50),
        "p99_ms": at(99),
        "acquires": waits.len(),
        "acquires_per_s": waits.len() as f64 / seconds,
        "fdatasync_ms": disk.fdatasync_ms()?,
    }))
}

/// What a coordinator needs while its workers train: each holds a lease and renews it.
pub(crate) async fn renew(
    autorep: &Path,
    workers: usize,
    renew_every_ms: u64,
    seconds: f64,
) -> Result<Value> {
    // Each holds a task; the grid's searches are what may run at the same time.
    let tasks = 90 * (workers as u64 / 30 + 1) + 10;
    let mut lab = Lab::start(autorep, &sweep::manifest("load", tasks)).await?;
    let mut some = lab.workers(1).await?;
    lab.open_up(some.first_mut().context("one worker")?).await?;
    drop(some);
    let idle = lab.coordinator.resident_bytes()?;
    let every = Duration::from_millis(renew_every_ms);
    let renewals = Arc::new(AtomicU64::new(0));
    let mut renewing = Vec::new();
    for worker in lab.workers(workers).await? {
        let renewals = Arc::clone(&renewals);
        renewing.push(tokio::spawn(hold(worker, every, renewals)));
    }
    // Until everybody has renewed once.
    while renewals.load(Ordering::Relaxed) < workers as u64 {
        anyhow::ensure!(
            !renewing.iter().any(tokio::task::JoinHandle::is_finished),
            "a worker ended: {:?}",
            ended(renewing).await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (cpu, count) = (lab.coordinator.cpu_s()?, renewals.load(Ordering::Relaxed));
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let took = began.elapsed().as_secs_f64();
    let found = json!({
        "rss_mib": lab.coordinator.resident_bytes()? as f64 / f64::from(1 << 20),
        "peak_mib": lab.coordinator.peak_bytes()? as f64 / f64::from(1 << 20),
        "without_workers_mib": idle as f64 / f64::from(1 << 20),
        "cpu_cores": (lab.coordinator.cpu_s()? - cpu) / took,
        "renewals_per_s": (renewals.load(Ordering::Relaxed) - count) as f64 / took,
    });
    for task in &renewing {
        task.abort();
    }
    Ok(found)
}

async fn ended(workers: Vec<tokio::task::JoinHandle<Result<()>>>) -> Vec<String> {
    let mut said = Vec::new();
    for worker in workers
        .into_iter()
        .filter(tokio::task::JoinHandle::is_finished)
    {
        said.push(format!("{:?}", worker.await));
    }
    said.truncate(3);
    said
}

/// Takes a task and keeps it.
async fn hold(mut worker: Worker, every: Duration, renewals: Arc<AtomicU64>) -> Result<()> {
    let held = worker.acquire().await?.context("a task for each worker")?;
    loop {
        worker.renew(&held).await?;
        renewals.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(every).await;
    }
}
