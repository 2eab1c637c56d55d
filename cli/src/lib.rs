//! The command line: wires the coordinator, workers and figures together for people.
//!
//! The binary `autorep` is [`main`]. Commands live in modules named after them; each turns its
//! arguments into an [`exit::Exit`] or an error that says what was expected, what was found and
//! what to do.

pub mod args;
pub mod context;
pub mod daemon;
pub mod data;
pub mod descriptors;
pub mod doctor;
pub mod exit;
pub mod figure;
pub mod front;
pub mod lab;
pub mod lock;
pub mod logging;
pub mod manifest_file;
pub mod nets;
pub mod output;
pub mod paths;
pub mod plan;
pub mod progress;
pub mod run;
pub mod signal;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod traces;
pub mod trainer_probe;
pub mod values;
pub mod weights;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::lab::{commands, logs, upkeep};
use crate::logging::Logs;

/// Reads the process's arguments, does what they say and reports errors to stderr.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let name = matches.subcommand_name().unwrap_or_default();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let logs = Logs::of(&cli.command);
    let code = match dispatch(cli.command, name, logs) {
        Ok(exit) => exit.into(),
        Err(error) => {
            logs.report(&error);
            ExitCode::from(Exit::FAILED)
        }
    };
    traces::flush();
    code
}

fn dispatch(command: Command, name: &str, logs: Logs) -> Result<Exit> {
    // `run` sets logging and tracing up itself: it has to pass its progress bars by.
    let is_run = matches!(command, Command::Run(_));
    if !is_run {
        logs.init(BoxMakeWriter::new(std::io::stderr));
    }
    if is_run || logs.is_of_a_daemon() {
        carry_out(command)
    } else {
        traces::traced(name, || carry_out(command))
    }
}

fn carry_out(command: Command) -> Result<Exit> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => wait(plan::plan(&args)),
        Command::Nets(args) => nets::nets(&args),
        Command::Schema => plan::schema(),
        Command::Context(args) => context::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Data(args) => data::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Front(args) => wait(front::front(&args)),
        Command::Submit(args) => wait(commands::submit(&args)),
        Command::List(args) => wait(commands::list(&args)),
        Command::Show(args) => wait(commands::show(&args)),
        Command::Watch(args) => wait(commands::watch(&args)),
        Command::Pause(args) => wait(commands::pause(&args)),
        Command::Resume(args) => wait(commands::resume(&args)),
        Command::Cancel(args) => wait(commands::cancel(&args)),
        Command::Logs(args) => wait(logs::logs(&args)),
        Command::Workers(args) => wait(upkeep::workers(&args)),
        Command::Checkpoint(args) => wait(upkeep::checkpoint(&args)),
        Command::Pin(args) => wait(upkeep::pin(&args)),
        Command::Gc(args) => wait(upkeep::gc(&args)),
        Command::Coordinator(args) => wait(daemon::coordinator(&args)),
        Command::Worker(args) => wait(daemon::worker(&args)),
    }
}

/// Runs an asynchronous command to its end.
fn wait(command: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    let exit = runtime.block_on(command);
    // A thread that still reads or writes must not keep a process that is done.
    runtime.shutdown_timeout(Duration::from_secs(2));
    exit
}
