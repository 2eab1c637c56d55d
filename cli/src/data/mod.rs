//! `autorep data`: gets and checks data sets.

pub mod check;
mod fetch;
mod pictures;
mod shard;
mod source;
mod tool;

use std::path::PathBuf;

use anyhow::Result;
use autorep_core::data::{DataRoot, DataSet};
use clap::builder::{OsStringValueParser, PossibleValue, TypedValueParser as _};
use clap::{Args, Subcommand, ValueEnum};

use crate::args::DataArg;
use crate::exit::Exit;

pub use check::{missing_file, verified_by, verify};
pub use pictures::verify_listed;

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
    /// Convert a data set of one JPEG per image from folders to tar shards.
    Shard(ShardArgs),
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
    pub data: DataArg,
}

/// Arguments of `autorep data check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The data set.
    #[arg(value_name = "NAME")]
    pub set: SetName,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataArg,
}

/// Arguments of `autorep data shard`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep data shard imagenet --from /mnt/imagenet --to /mnt/shards/imagenet
  autorep data shard imagenet --from /mnt/imagenet --to s3://sets/shards/imagenet

The shards follow the WebDataset convention (KEY.jpg and KEY.cls); shards.json beside them says \
where each picture lies and what each shard's sha256 is. Training on shards gives the same results \
as training on the folders: put them in the data folder under the data set's name, or name the \
prefix above them with --data (s3://sets/shards).")]
pub struct ShardArgs {
    /// The data set.
    #[arg(value_name = "NAME")]
    pub set: SetName,
    /// The folder that holds it; by default its folder in the data folder.
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// A new or empty folder for the shards, or a place in a bucket where nothing lies.
    #[arg(
        long,
        value_name = "DIR|URL",
        value_parser = OsStringValueParser::new().try_map(DataRoot::parse)
    )]
    pub to: DataRoot,
    /// Size of a shard in MiB, from which on the next one is begun.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub shard_size: u64,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataArg,
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
        DataCommand::Shard(args) => shard::run(&args),
    }
}
