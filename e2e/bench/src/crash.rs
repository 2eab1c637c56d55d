//! What a coordinator's sudden end costs: the figure that others are measured by as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use autorep_core::id::TaskId;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::sweep;
use crate::worker::{Held, Worker};

/// Trainings at the same time.
const WORKERS: usize = 2;

/// How long each takes.
const TRAINING: Duration = Duration::from_millis(500);

/// Before a call that failed is made again.
const PAUSE: Duration = Duration::from_millis(50);

/// What the workers know.
#[derive(Default)]
struct Seen {
    /// How often each task was trained to its end.
    trained: BTreeMap<TaskId, u32>,
    /// Tasks whose results were acknowledged.
    acknowledged: BTreeSet<TaskId>,
    /// Acknowledged tasks that were handed out again.
    lost: BTreeSet<TaskId>,
    /// Whether nothing is left to do.
    idle: bool,
}

type Shared = Arc<Mutex<Seen>>;

/// Kills the coordinator with SIGKILL when so many tasks are done, starts it again, and lets the
/// workers, who are not told, go on to the end.
pub(crate) async fn measure(autorep: &Path, tasks: u64, kill_after: usize) -> Result<Value> {
    let mut lab = Lab::start(autorep, &sweep::manifest("crash", tasks)).await?;
    let seen = Shared::default();
    let mut working = Vec::new();
    for worker in lab.workers(WORKERS).await? {
        working.push(tokio::spawn(work(worker, Arc::clone(&seen))));
    }
    while look(&seen, |seen| seen.acknowledged.len()) < kill_after {
        ensure!(working.iter().all(|it| !it.is_finished()), "a worker ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let killed = Instant::now();
    lab.coordinator.kill_and_restart(autorep).await?;
    drop(lab.coordinator.channel().await?);
    let down = killed.elapsed();
    for worker in working {
        worker.await??;
    }
    Ok(look(&seen, |seen| {
        json!({
            "tasks": seen.acknowledged.len(),
            "run_twice": seen.trained.values().filter(|&&times| times > 1).count(),
            "lost": seen.lost.len(),
            "down_s": down.as_secs_f64(),
        })
    }))
}

fn look<T>(seen: &Shared, read: impl FnOnce(&mut Seen) -> T) -> T {
    read(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
}

/// As a worker does: what is held is trained to its end, and every call is made until it is
/// answered.
async fn work(mut worker: Worker, seen: Shared) -> Result<()> {
    while !look(&seen, |seen| seen.idle) {
        let Some(held) = acquire(&mut worker, &seen).await? else {
            continue;
        };
        let task = held.claim.task;
        look(&seen, |seen| {
            if seen.acknowledged.contains(&task) {
                seen.lost.insert(task);
            }
        });
        tokio::time::sleep(TRAINING).await;
        look(&seen, |seen| *seen.trained.entry(task).or_default() += 1);
        let began = Instant::now();
        while let Err(error) = worker.complete(&held).await {
            ensure!(
                began.elapsed() < Duration::from_mins(1),
                "finish {task:?}: {error}"
            );
            tokio::time::sleep(PAUSE).await;
        }
        look(&seen, |seen| seen.acknowledged.insert(task));
    }
    Ok(())
}

async fn acquire(worker: &mut Worker, seen: &Shared) -> Result<Option<Held>> {
    match worker.ask().await {
        Ok(answer) if answer.idle => {
            look(seen, |seen| seen.idle = true);
            Ok(None)
        }
        Ok(answer) => answer.assignment.map(Held::of).transpose(),
        // Away, or it has forgotten who we are.
        Err(_) => {
            tokio::time::sleep(PAUSE).await;
            drop(worker.greet().await.context("register again"));
            Ok(None)
        }
    }
}
