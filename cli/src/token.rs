//! `autorep token`: makes tokens.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use autorep_core::id::OwnerName;
use autorep_transport::{Role, Secret, Tokens};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::output;

/// Arguments of `autorep token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token: it goes to a file that only you can read, its entry for the coordinator's
    /// --tokens file to stdout.
    New(NewArgs),
}

/// Arguments of `autorep token new`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep token new --name workers --role worker --out worker.token >> tokens.yaml
  autorep token new --name alice-laptop --role submitter --owner alice --out alice.token >> tokens.yaml

The coordinator's file holds digests only: whoever reads it has no token. To revoke a token take its \
entry out; the coordinator reads the file again within a second or two.")]
pub struct NewArgs {
    /// By which logs and refusals call it, unique in the file.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// What it may do: read sweeps; submit, steer and read an owner's; work; or all of that but work.
    #[arg(long, value_parser = PossibleValuesParser::new(Role::NAMES))]
    pub role: String,
    /// Whose sweeps it reaches: needed for a submitter; a viewer without one reads all.
    #[arg(long, value_name = "OWNER")]
    pub owner: Option<OwnerName>,
    /// The file for the token, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Does what was asked.
pub fn run(args: &TokenArgs) -> Result<Exit> {
    match &args.command {
        TokenCommand::New(new) => make(new),
    }
}

fn make(args: &NewArgs) -> Result<Exit> {
    let token = Secret::generate()?;
    let owner = args.owner.as_ref();
    let owner = owner.map_or(String::new(), |owner| format!("owner: {owner}, "));
    let entry = format!(
        "- {{ name: {}, role: {}, {owner}sha256: {} }}\n",
        args.name,
        args.role,
        token.digest()
    );
    // What the coordinator would refuse is refused here.
    if let Err(problem) = Tokens::parse(&entry) {
        bail!("{problem}");
    }
    create(&args.out, format!("{}\n", token.expose()).as_bytes())?;
    output::stdout(entry.as_bytes())?;
    Ok(Exit::Done)
}

/// Makes a file that only its owner can read.
fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| {
        format!(
            "make the file {} for the token, which must not be there yet",
            path.display()
        )
    })?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("write {}", path.display()))
}
