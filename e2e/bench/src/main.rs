//! Load for the coordinator: what `make bench` measures of it. Each command prints one JSON object
//! of figures; `scripts/bench.py` knows their names, units and targets.

mod crash;
mod crowd;
mod curve;
mod disk;
mod dispatch;
mod fill;
mod grow;
mod lab;
mod ledger;
mod orders;
mod process;
mod reclaim;
mod replay;
mod sweep;
mod table;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use autorep_core::growth::Halving;
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::orders::Setting;

#[derive(Debug, Parser)]
#[command(about = "Measures the coordinator under load")]
struct Args {
    /// The binary `autorep` to measure.
    #[arg(long, env = "AUTOREP_BIN", default_value = "autorep")]
    autorep: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tasks per second from Acquire to durable Finish.
    Dispatch {
        /// Workers that ask at the same time.
        #[arg(long, default_value_t = 64)]
        workers: usize,
        /// How long to count.
        #[arg(long, default_value_t = 8.0)]
        seconds: f64,
        /// Ask for each task with a call of its own, not with the result of the one before.
        #[arg(long)]
        acquire_each: bool,
    },
    /// From the start of a process on an empty store to the first lease.
    FirstLease {
        /// Starts; the median counts.
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// From the last renewal of a worker that is killed to the next lease of its task.
    Reclaim,
    /// Holds a lease, for Reclaim to kill.
    Hold {
        /// The coordinator.
        #[arg(long)]
        url: String,
    },
    /// How long Acquire takes while many workers are busy.
    Acquire {
        /// Workers.
        #[arg(long, default_value_t = 1000)]
        workers: usize,
        /// How long each works on a task.
        #[arg(long, default_value_t = 1000)]
        task_ms: u64,
        /// How long to count.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
    /// Memory and processor time of a coordinator whose workers only renew.
    Crowd {
        /// Workers, each with its own connection and lease.
        #[arg(long, default_value_t = 10_000)]
        workers: usize,
        /// How often each renews.
        #[arg(long, default_value_t = 15_000)]
        renew_every_ms: u64,
        /// How long to count.
        #[arg(long, default_value_t = 30.0)]
        seconds: f64,
    },
    /// Tasks that run twice because the coordinator was killed.
    Crash {
        /// Tasks of the sweep, each of half a second.
        #[arg(long, default_value_t = 190)]
        tasks: u64,
        /// It is killed when so many are done.
        #[arg(long, default_value_t = 114)]
        kill_after: usize,
    },
    /// Makes a store in which a sweep's tasks are done.
    Fill {
        /// The store.
        #[arg(long)]
        store: PathBuf,
        /// Tasks of the sweep.
        #[arg(long)]
        tasks: u64,
        /// Of them, those that are left to do.
        #[arg(long, default_value_t = 0)]
        open: u64,
    },
    /// From the start of a process to its first answer, on a store that holds much.
    Restart {
        /// The store.
        #[arg(long)]
        store: PathBuf,
    },
    /// What an event costs the ledger, by its size.
    Ledger,
    /// What it costs to decide what a sweep runs next, with 10,000 candidates.
    Grow,
    /// How a sweep's front grew with the epochs spent on it.
    Curve {
        /// The store, a folder.
        #[arg(long)]
        store: PathBuf,
        /// The sweep.
        sweep: String,
    },
    /// Writes down what every task of a finished sweep measured, epoch by epoch.
    Tabulate {
        /// The store, a folder.
        #[arg(long)]
        store: PathBuf,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        /// The sweep.
        sweep: String,
    },
    /// What halving finds of a full grid whose learning curves are known, by order of arrival.
    Table(TableArgs),
}

#[derive(Debug, clap::Args)]
struct TableArgs {
    /// What `tabulate` wrote.
    #[arg(long)]
    table: PathBuf,
    /// The full grid's manifest.
    #[arg(long)]
    manifest: PathBuf,
    /// Epochs of the first rung.
    #[arg(long, default_value_t = 1)]
    grace: u32,
    /// Of so many searches one goes on.
    #[arg(long, default_value_t = 10)]
    reduction: u32,
    /// Rungs at most.
    #[arg(long, default_value_t = 1)]
    rungs: u32,
    /// Orders of arrival for each number of workers.
    #[arg(long, default_value_t = 50)]
    orders: u64,
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    workers: Vec<usize>,
}

impl TableArgs {
    async fn measure(self) -> Result<Value> {
        let halving = Halving {
            grace: self.grace,
            reduction: self.reduction,
            rungs: self.rungs,
        };
        let setting = Setting::read(&self.table, &self.manifest, halving)?;
        setting.measure(self.orders, &self.workers).await
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let Args { autorep, command } = Args::parse();
    let found = match command {
        Command::Dispatch {
            workers,
            seconds,
            acquire_each,
        } => dispatch::rate(&autorep, workers, seconds, !acquire_each).await?,
        Command::FirstLease { runs } => dispatch::first_lease(&autorep, runs).await?,
        Command::Reclaim => reclaim::measure(&autorep).await?,
        Command::Hold { url } => return reclaim::hold(&url).await,
        Command::Acquire {
            workers,
            task_ms,
            seconds,
        } => crowd::acquire(&autorep, workers, task_ms, seconds).await?,
        Command::Crowd {
            workers,
            renew_every_ms,
            seconds,
        } => crowd::renew(&autorep, workers, renew_every_ms, seconds).await?,
        Command::Crash { tasks, kill_after } => crash::measure(&autorep, tasks, kill_after).await?,
        Command::Fill { store, tasks, open } => fill::fill(&store, tasks, open).await?,
        Command::Restart { store } => fill::restart(&autorep, &store).await?,
        Command::Ledger => ledger::cost()?,
        Command::Grow => grow::cost()?,
        Command::Curve { store, sweep } => curve::read(&store, &sweep).await?,
        Command::Tabulate { store, out, sweep } => table::tabulate(&store, &sweep, &out).await?,
        Command::Table(arguments) => arguments.measure().await?,
    };
    print(&found)
}

fn print(found: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{found:#}")?;
    Ok(())
}
