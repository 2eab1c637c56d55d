//! `autorep token`: makes tokens.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
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
    /// --tokens file to stdout. If the entry cannot be printed there is no file either.
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
        TokenCommand::New(new) => make(new, output::stdout_goes_on),
    }
}

/// Makes a token and prints its entry by `print`, which says whether anybody reads it.
fn make(args: &NewArgs, print: impl FnOnce(&[u8]) -> Result<bool>) -> Result<Exit> {
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
    let printed = match print(entry.as_bytes()) {
        Ok(true) => return Ok(Exit::Done),
        Ok(false) => Err(anyhow!("whoever was to read it is gone")),
        Err(error) => Err(error),
    };
    // A token whose entry nobody has lets nobody in, and its file would be in the next one's way.
    let path = args.out.display();
    let is_there = match std::fs::remove_file(&args.out) {
        Ok(()) => format!("{path} was taken away again"),
        Err(error) => format!("{path} is of no use, but stays ({error}): remove it"),
    };
    printed.with_context(|| {
        format!("expected to print the token's entry, found nowhere to (a part of it may be there); the token's file {is_there}")
    })
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
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of a token is none.
        drop(std::fs::remove_file(path));
    }
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_only_if_its_entry_was_printed() {
        let folder = tempfile::tempdir().unwrap();
        let args = NewArgs {
            name: "w".to_owned(),
            role: "worker".to_owned(),
            owner: None,
            out: folder.path().join("w.token"),
        };
        for printed in [|| Err(anyhow!("no space left")), || Ok(false)] {
            let error = make(&args, |_entry| printed()).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.contains("w.token was taken away again: "), "{said}");
            assert!(!args.out.exists(), "{said}");
        }
        let mut printed = Vec::new();
        let print = |entry: &[u8]| {
            printed.extend_from_slice(entry);
            Ok(true)
        };
        assert_eq!(make(&args, print).unwrap(), Exit::Done);
        let token = Secret::parse(&std::fs::read_to_string(&args.out).unwrap()).unwrap();
        let entries = Tokens::parse(std::str::from_utf8(&printed).unwrap()).unwrap();
        assert!(entries.caller(&token).is_some());
    }
}
