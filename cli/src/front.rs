//! `autorep front`: prints or draws a sweep's front, from its store or from a coordinator.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use autorep_core::front::FrontReport;
use autorep_core::id::SweepName;
use clap::ValueEnum as _;

use crate::args::FrontArgs;
use crate::exit::Exit;
use crate::figure::{self, Format, Overlay, published};
use crate::lab::address::Target;
use crate::{lab, output, store};

/// The store that `autorep run` uses when nobody names one.
pub const DEFAULT_STORE: &str = "./autorep-store";

/// Prints or draws.
pub async fn front(args: &FrontArgs) -> Result<Exit> {
    let format = format(args)?;
    let binary = matches!(format, Format::Png | Format::Parquet);
    if binary && args.output.is_none() && std::io::stdout().is_terminal() {
        bail!("expected a file for this format, found a terminal; name a file with -o FILE");
    }
    let drawn = matches!(format, Format::Table | Format::Svg | Format::Png);
    if args.overlay.is_some() && !drawn {
        bail!(
            "expected one of the formats table, svg and png with --overlay, found one that holds \
             the sweep's own figures only; the published ones are in `--overlay published \
             --format table`"
        );
    }
    let report = read(args).await?;
    let published = match args.overlay {
        Some(Overlay::Published) => published::beside(&report)?,
        None => vec![],
    };
    let bytes = figure::render_with(&report, &published, format)?;
    match &args.output {
        Some(path) => output::file(path, &bytes)?,
        None => output::stdout(&bytes)?,
    }
    Ok(Exit::Done)
}

/// What was asked for, else what the file's ending stands for.
fn format(args: &FrontArgs) -> Result<Format> {
    let ending = (args.output.as_ref()).and_then(|file| file.extension()?.to_str());
    match (args.format, ending) {
        (Some(format), _) => Ok(format),
        (None, None | Some("txt")) => Ok(Format::Table),
        (None, Some(ending)) => Format::from_str(ending, true).map_err(|_unknown| {
            anyhow!(
                "expected a file that ends with .csv, .json, .svg, .png, .parquet or .txt, found \
                 .{ending}; name another, or say the format with --format"
            )
        }),
    }
}

/// The store that `autorep run` would use.
fn default_store() -> String {
    std::env::var("AUTOREP_STORE").unwrap_or_else(|_| DEFAULT_STORE.to_owned())
}

/// The coordinator to ask, unless a store is to be read.
fn coordinator(args: &FrontArgs) -> Result<Option<Target>> {
    if args.store.is_some() {
        return Ok(None);
    }
    if let Some(target) = args.address.named()? {
        return Ok(Some(target));
    }
    if std::env::var_os("AUTOREP_STORE").is_some() || Path::new(DEFAULT_STORE).is_dir() {
        return Ok(None);
    }
    args.address.current()
}

async fn read(args: &FrontArgs) -> Result<FrontReport> {
    let sweep: SweepName = args.sweep.parse().context("read the sweep's name")?;
    if let Some(target) = coordinator(args)? {
        let mut lab = lab::connect(&target).await?;
        return lab::front(&mut lab, sweep.as_str()).await;
    }
    let text = &args.store.clone().unwrap_or_else(default_store);
    let location = store::Location::parse(text)?;
    if let Some(folder) = location.folder()
        && !folder.is_dir()
    {
        bail!(
            "expected a store at {}, found no folder; `autorep run` makes one, --store names \
             another",
            folder.display()
        );
    }
    let store = store::open_store(text)?;
    autorep_coordinator::read_front(store, &sweep)
        .await
        .with_context(|| format!("read the front of {sweep} from the store {text}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn the_format_is_the_one_asked_for_else_the_one_that_the_files_ending_names() {
        for (arguments, expected) in [
            ("", Format::Table),
            ("-o front.svg", Format::Svg),
            ("-o ./a.png/FRONT.PARQUET", Format::Parquet),
            ("-o front.csv --format json", Format::Json),
            ("-o front.txt", Format::Table),
            ("-o svg", Format::Table),
            ("--format csv", Format::Csv),
        ] {
            let words = ["autorep", "front", "tiny"];
            let parsed = Cli::parse_from(words.into_iter().chain(arguments.split_whitespace()));
            let Command::Front(args) = parsed.command else {
                panic!("another command");
            };
            assert_eq!(format(&args).unwrap(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn an_ending_that_names_no_format_is_refused() {
        let parsed = Cli::parse_from(["autorep", "front", "tiny", "-o", "front.pdf"]);
        let Command::Front(args) = parsed.command else {
            panic!("another command");
        };
        let refused = format(&args).unwrap_err().to_string();
        assert!(refused.contains("found .pdf"), "{refused}");
    }
}
