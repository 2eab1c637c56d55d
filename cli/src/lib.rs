//! The command line: wires the coordinator, workers and figures together for people.
//!
//! The binary `autorep` is [`main`]. Commands live in modules named after them; each turns its
//! arguments into an [`exit::Exit`] or an error that says what was expected, what was found and
//! what to do.

pub mod args;
pub mod data;
pub mod doctor;
pub mod exit;
pub mod figure;
pub mod lock;
pub mod logging;
pub mod output;
pub mod paths;
pub mod progress;
pub mod signal;
pub mod store;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::exit::Exit;

/// Reads the process's arguments, does what they say and reports errors to stderr.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error);
            ExitCode::from(Exit::FAILED)
        }
    }
}

fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Data(args) => data::run(args),
        Command::Doctor(args) => doctor::run(args),
        other => anyhow::bail!("{other:?} is not there yet"),
    }
}

/// Prints an error with its causes, one a line.
fn report(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  because: {cause}");
    }
    output::stderr(&text);
}
