//! Manifests as files: read, and problems shown where they are.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use autorep_core::manifest::{self, Manifest, Rehearsal};
use autorep_proto::v1;

use crate::args::ManifestArgs;
use crate::output;

/// A manifest with the text that it was read from.
#[derive(Debug)]
pub struct ManifestFile {
    /// The YAML text.
    text: String,
    /// How far it is cut down, if it is.
    rehearsal: Option<Rehearsal>,
    /// What that means.
    pub manifest: Manifest,
}

impl ManifestFile {
    /// Whether the sweep is only rehearsed.
    pub const fn is_rehearsal(&self) -> bool {
        self.rehearsal.is_some()
    }

    /// What submits it.
    pub fn submission(&self, dry_run: bool) -> v1::SubmitRequest {
        v1::SubmitRequest {
            manifest: self.text.clone(),
            dry_run,
            rehearsal: self.rehearsal.map(v1::Rehearsal::from),
        }
    }
}

/// Reads the manifest that is asked for; nothing, once what is wrong with it has been shown on stderr.
pub fn read(args: &ManifestArgs) -> Result<Option<ManifestFile>> {
    let path = args.path.as_path();
    let rehearsal = args.rehearsal();
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            output::stderr(&format!("error: {error:#}; nothing was started\n"));
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match manifest::parse_bytes(&bytes) {
        Ok(manifest) => Ok(Some(ManifestFile {
            text,
            rehearsal,
            manifest: match rehearsal {
                Some(rehearsal) => rehearsal.of(manifest),
                None => manifest,
            },
        })),
        Err(problems) => {
            let name = path.display().to_string();
            output::stderr(&manifest::render(&problems, &name, &text));
            let count = match problems.len() {
                1 => "1 problem".to_owned(),
                many => format!("{many} problems"),
            };
            output::stderr(&format!("error: {count} in {name}; nothing was started\n"));
            Ok(None)
        }
    }
}

/// The content of the file at `path`, up to one byte more than a manifest may have: the parser
/// says what is wrong with that.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let found = |what: &str| format!("expected a manifest at {}, found {what}", path.display());
    let file = File::open(path).with_context(|| found("no readable file"))?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        bail!(found("a folder"));
    }
    let mut bytes = Vec::new();
    file.take(manifest::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| found("no readable file"))?;
    Ok(bytes)
}
