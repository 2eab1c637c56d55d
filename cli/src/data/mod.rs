//! `autorep data`: gets and checks data sets.

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;

/// Arguments of `autorep data`.
#[derive(Debug, Args)]
pub struct DataArgs {}

/// Does what the arguments say.
pub fn run(_args: DataArgs) -> Result<Exit> {
    anyhow::bail!("the data commands are not there yet")
}
