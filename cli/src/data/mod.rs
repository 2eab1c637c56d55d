//! `autorep data`: gets and checks data sets.

pub mod check;
mod fetch;
mod source;
mod tool;

use anyhow::Result;
use autorep_core::data::DataSet;
use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};

use crate::args::DataRoot;
use crate::exit::Exit;

pub use check::{missing_file, verified_by, verify};

/// Arguments of `autorep data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What can be done with data sets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Get a data set and verify it. What is there already is only verified.
    Fetch(FetchArgs),
    /// Verify every file of a data set and count its images per class.
    Check(CheckArgs),
}

/// Arguments of `autorep data fetch`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep data fetch fashion-mnist
  autorep data fetch fashion-mnist --from /mnt/datasets/fashion-mnist
  autorep data fetch cifar-10 --from cifar-10-binary.tar.gz

Without --from, fashion-mnist comes from the Debian package dataset-fashion-mnist, which is \
downloaded and unpacked without being installed: no root is needed. The CIFAR sets have no such \
package; their authors publish the binary versions at https://www.cs.toronto.edu/~kriz/cifar.html.")]
pub struct FetchArgs {
    /// The data set.
    #[arg(value_name = "NAME")]
    pub set: SetName,
    /// Take it from here: a folder with its files (plain or .gz), a .deb or tar archive of them,
    /// or the URL of an archive, or of such a folder if it ends in a slash.
    #[arg(long, value_name = "PATH|URL")]
    pub from: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataRoot,
}

/// Arguments of `autorep data check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The data set.
    #[arg(value_name = "NAME")]
    pub set: SetName,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataRoot,
}

/// A data set's name as clap reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetName(pub DataSet);

impl ValueEnum for SetName {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [SetName; DataSet::ALL.len()] = {
            let mut names = [SetName(DataSet::ALL[0]); DataSet::ALL.len()];
            let mut index = 0;
            while index < names.len() {
                names[index] = SetName(DataSet::ALL[index]);
                index += 1;
            }
            names
        };
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// Does what the arguments say.
pub fn run(args: DataArgs) -> Result<Exit> {
    match args.command {
        DataCommand::Fetch(args) => fetch::run(&args),
        DataCommand::Check(args) => check::run(&args),
    }
}
