//! `autorep doctor`: says what this machine has and what is missing.

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;

/// Arguments of `autorep doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

/// Does what the arguments say.
pub fn run(_args: DoctorArgs) -> Result<Exit> {
    anyhow::bail!("doctor is not there yet")
}
