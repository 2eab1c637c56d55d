//! Stores that hold much.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result, anyhow};
use autorep_coordinator::{Config, embedded};
use autorep_core::lease::LeaseClaim;
use autorep_core::task::TaskSpec;
use autorep_proto::v1::fleet_server::Fleet;
use autorep_proto::v1::lab_client::LabClient;
use autorep_proto::v1::lab_server::Lab;
use autorep_proto::{PROTOCOL_VERSION, v1};
use futures::future::try_join_all;
use object_store::local::LocalFileSystem;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::process::Coordinator;
use crate::sweep;
use crate::worker::{observation, output};

/// Workers that fill.
const WORKERS: usize = 512;

/// Makes a store in which all but `open` of a sweep's tasks are done, by way of the coordinator's
/// own services, without a network and without waiting for the disk.
pub(crate) async fn fill(store: &Path, tasks: u64, open: u64) -> Result<Value> {
    std::fs::create_dir_all(store)?;
    let folder = LocalFileSystem::new_with_prefix(store)?;
    let stop = CancellationToken::new();
    let config = Config::default();
    let (fleet, lab, owner) = embedded::services(config, Arc::new(folder), stop.clone()).await?;
    let owner = tokio::spawn(owner);
    let manifest = sweep::manifest("filled", tasks);
    let request = v1::SubmitRequest {
        manifest,
        dry_run: false,
        rehearsal: None,
    };
    let submitted = lab.submit(Request::new(request)).await?.into_inner();
    let left = AtomicI64::new(i64::try_from(submitted.tasks.saturating_sub(open))?);
    let relu_total = sweep::relu_total()?;
    let workers = (0..WORKERS).map(|at| work(&fleet, format!("f{at}"), &left, relu_total));
    let done: u64 = try_join_all(workers).await?.iter().sum();
    stop.cancel();
    owner.await??;
    Ok(json!({ "tasks": submitted.tasks, "done": done, "candidates": candidates(tasks)? }))
}

fn candidates(tasks: u64) -> Result<usize> {
    Ok(sweep::plan(&sweep::manifest("filled", tasks))?
        .candidates
        .len())
}

async fn work(
    fleet: &impl Fleet,
    worker: String,
    left: &AtomicI64,
    relu_total: u64,
) -> Result<u64> {
    let request = v1::RegisterRequest {
        worker: worker.clone(),
        protocol_version: PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        ..v1::RegisterRequest::default()
    };
    fleet.register(Request::new(request)).await?;
    let mut done = 0;
    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
        let assignment = loop {
            let request = v1::AcquireRequest {
                worker: worker.clone(),
                wait_ms: 60_000,
                ..v1::AcquireRequest::default()
            };
            let answer = fleet.acquire(Request::new(request)).await?.into_inner();
            match answer.assignment {
                Some(assignment) => break assignment,
                None if answer.idle => return Ok(done),
                None => {}
            }
        };
        let mut given = Some(assignment);
        while let Some(assignment) = given {
            given = complete(fleet, &assignment, relu_total).await?;
            done += 1;
        }
    }
    Ok(done)
}

/// Does a task; returns the next one, if one is ready.
async fn complete(
    fleet: &impl Fleet,
    assignment: &v1::Assignment,
    relu_total: u64,
) -> Result<Option<v1::Assignment>> {
    let claim = assignment.claim.clone().context("a claim")?;
    let claim = LeaseClaim::try_from(claim)?;
    let spec: TaskSpec = serde_json::from_slice(&assignment.spec)?;
    for name in spec.outputs() {
        let request = v1::CommitRequest {
            claim: Some(claim.into()),
            checkpoint: Some(output(claim, name).into()),
        };
        fleet.commit(Request::new(request)).await?;
    }
    let request = v1::FinishRequest {
        claim: Some(claim.into()),
        observation: Some(observation(&spec, relu_total).into()),
        take_next: true,
        started_unix_ns: 0,
    };
    let answer = fleet.finish(Request::new(request)).await?;
    Ok(answer.into_inner().next)
}

/// From the start of a process to its first answer.
pub(crate) async fn restart(autorep: &Path, store: &Path) -> Result<Value> {
    let mut coordinator = Coordinator::start(autorep, store)?;
    let channel = coordinator.channel().await?;
    let mut people = LabClient::new(channel);
    let listed = people.list(v1::ListRequest {}).await?.into_inner();
    let took = coordinator.began.elapsed();
    let sweep = listed.sweeps.first().ok_or_else(|| anyhow!("a sweep"))?;
    Ok(json!({
        "serving_s": took.as_secs_f64(),
        "peak_gb": coordinator.peak_bytes()? as f64 / 1e9,
        "resident_gb": coordinator.resident_bytes()? as f64 / 1e9,
        "done": sweep.counts.as_ref().map_or(0, |counts| counts.done),
    }))
}
