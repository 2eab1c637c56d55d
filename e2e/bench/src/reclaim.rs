//! How soon a task is leased again whose worker was killed.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tonic::transport::Endpoint;

use crate::lab::Lab;
use crate::sweep;
use crate::worker::Worker;

/// Renewals before the end comes, at the worst moment: just after one.
const RENEWALS: usize = 3;

/// Kills a worker process and waits for its task.
pub(crate) async fn measure(autorep: &Path) -> Result<Value> {
    let mut lab = Lab::start(autorep, &sweep::of_one_baseline()).await?;
    let relu_total = sweep::relu_total()?;
    let channel = lab.coordinator.channel().await?;
    let (mut other, ttl) = Worker::register(channel, "other".to_owned(), relu_total).await?;
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["hold", "--url", &lab.coordinator.url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(victim.stdout.take().context("its output")?).lines();
    let held = lines.next_line().await?.context("a lease")?;
    for _ in 0..RENEWALS {
        lines.next_line().await?.context("a renewal")?;
    }
    let renewed = Instant::now();
    // SIGKILL.
    victim.kill().await?;
    let again = loop {
        if let Some(again) = other.acquire().await? {
            break again;
        }
    };
    let took = renewed.elapsed();
    let task = again.claim.task.to_string();
    ensure!(task == held, "expected task {held}, found {task}");
    Ok(json!({
        "excess_s": took.as_secs_f64() - ttl.as_secs_f64(),
        "lease_ttl_s": ttl.as_secs_f64(),
        "took_s": took.as_secs_f64(),
    }))
}

/// Takes a task and renews it until killed, saying so line by line.
pub(crate) async fn hold(url: &str) -> Result<()> {
    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    let total = sweep::relu_total()?;
    let (mut worker, ttl) = Worker::register(channel, "victim".to_owned(), total).await?;
    let held = worker.acquire().await?.context("a task")?;
    say(&held.claim.task.to_string())?;
    loop {
        worker.renew(&held).await?;
        say("renewed")?;
        tokio::time::sleep((ttl / 10).min(Duration::from_secs(1))).await;
    }
}

fn say(line: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
