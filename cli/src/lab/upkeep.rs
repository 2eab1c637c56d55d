//! `autorep workers`, `checkpoint`, `pin` and `gc`: what platform engineers ask of a coordinator.

use std::fmt::Write as _;

use anyhow::Result;
use autorep_core::text::grouped;
use autorep_proto::v1;
use clap::Args;

use super::address::Address;
use super::{change_refused, connect, refused};
use crate::args::{ListArgs, SweepArgs};
use crate::exit::Exit;
use crate::output;

/// Arguments of `autorep pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The task's id, or a unique beginning of it, as `autorep show` prints.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Take the pin back.
    #[arg(long)]
    pub remove: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
}

/// Arguments of `autorep gc`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Kept is what a task may go on from or a later one may read: the two latest checkpoints of every \
unfinished task, the results of done ones, and whatever is pinned (autorep pin). Of sweeps with \
checkpoint: {keep: front} in their manifests that have ended, only the results of the front's points and of \
baselines are kept. The coordinator does the same by itself every ten minutes (--gc-every).")]
pub struct GcArgs {
    /// Only say what would be deleted.
    #[arg(long)]
    pub dry_run: bool,
    /// Spare what was written less than so long ago, as in 30s, 10m or 2h. Default: the
    /// coordinator's --gc-min-age.
    #[arg(long, value_name = "TIME", value_parser = crate::values::time)]
    pub min_age: Option<std::time::Duration>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
}

/// Prints the workers that the coordinator knows.
pub async fn workers(args: &ListArgs) -> Result<Exit> {
    let mut lab = connect(&args.address.resolve()?).await?;
    let answer = lab.list_workers(v1::ListWorkersRequest {}).await;
    let workers = answer
        .map_err(|status| refused(&status))?
        .into_inner()
        .workers;
    let width = |name: fn(&v1::WorkerSummary) -> usize, least: usize| {
        workers.iter().map(name).max().unwrap_or(0).max(least)
    };
    let (names, machines, tasks) = (
        width(|it| it.worker.len(), 6),
        width(|it| it.machine.len(), 7),
        width(|it| held(it).len(), 8),
    );
    let mut table = format!(
        "{:names$}  {:machines$}  {:7}  {:tasks$}  {:16}  OFFERS\n",
        "WORKER", "MACHINE", "DEVICE", "TASK", "HEARD OF"
    );
    for worker in &workers {
        let heard = match worker.excluded_ms {
            0 => format!("{} s ago", worker.silent_ms / 1000),
            excluded => format!("excluded {} s", excluded.div_ceil(1000)),
        };
        let _ = writeln!(
            table,
            "{:names$}  {:machines$}  {:7}  {:tasks$}  {heard:16}  {}",
            worker.worker,
            worker.machine,
            worker.device,
            held(worker),
            worker.offer
        );
    }
    output::stdout(table.as_bytes())?;
    Ok(Exit::Done)
}

/// The task that a worker holds, and which of several workers it is for it.
fn held(worker: &v1::WorkerSummary) -> String {
    let task = worker.task.get(..8).unwrap_or("-");
    match worker.nodes {
        0 | 1 => task.to_owned(),
        nodes => format!("{task} (node {} of {nodes})", worker.node),
    }
}

/// Asks the trainers of a sweep's running tasks for checkpoints.
pub async fn checkpoint(args: &SweepArgs) -> Result<Exit> {
    let mut lab = connect(&args.address.resolve()?).await?;
    let sweep = args.sweep.clone();
    let answer = lab.checkpoint(v1::CheckpointRequest { sweep }).await;
    let tasks = answer
        .map_err(|status| change_refused(&status))?
        .into_inner()
        .tasks;
    let text = match tasks {
        0 => format!("{}: none of its tasks is running\n", args.sweep),
        some => format!(
            "{}: {} asked for a checkpoint, which comes with the next renewal\n",
            args.sweep,
            crate::progress::text::tasks(some.into())
        ),
    };
    output::stdout(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Keeps a task's checkpoints, or not any more.
pub async fn pin(args: &PinArgs) -> Result<Exit> {
    let mut lab = connect(&args.address.resolve()?).await?;
    let request = v1::PinRequest {
        task: args.task.clone(),
        pinned: !args.remove,
    };
    let answer = lab.pin(request).await;
    let task = answer
        .map_err(|status| change_refused(&status))?
        .into_inner()
        .task;
    let what = if args.remove {
        "no longer pinned"
    } else {
        "pinned: its results stay whatever becomes of its sweeps"
    };
    output::stdout(format!("{task}: {what}\n").as_bytes())?;
    Ok(Exit::Done)
}

/// Deletes what nothing can reach, or says what it would.
pub async fn gc(args: &GcArgs) -> Result<Exit> {
    let mut lab = connect(&args.address.resolve()?).await?;
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = v1::CollectGarbageRequest {
        dry_run: args.dry_run,
        min_age_ms: args.min_age.map(millis),
    };
    let refused = if args.dry_run {
        refused
    } else {
        change_refused
    };
    let answer = lab.collect_garbage(request).await;
    let mut told = answer.map_err(|status| refused(&status))?.into_inner();
    let (mut checkpoints, mut bytes) = (0, 0);
    while let Some(dead) = told.message().await.map_err(|status| refused(&status))? {
        checkpoints += 1;
        bytes += dead.bytes;
        let line = format!(
            "{}  {} bytes in {} objects: {}\n",
            dead.folder,
            grouped(dead.bytes),
            dead.objects,
            dead.reason
        );
        output::stdout(line.as_bytes())?;
    }
    let what = if args.dry_run {
        "would be deleted; nothing was"
    } else {
        "deleted"
    };
    let sum = format!(
        "{} checkpoints, {} bytes: {what}\n",
        grouped(checkpoints),
        grouped(bytes)
    );
    output::stdout(sum.as_bytes())?;
    Ok(Exit::Done)
}
