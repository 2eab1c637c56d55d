//! Manifests as files: read, and problems shown where they are.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use autorep_core::manifest::{self, Manifest};

use crate::output;

/// The largest manifest that is read.
const MAX_BYTES: u64 = 4 << 20;

/// A manifest with the text that it was read from.
#[derive(Debug)]
pub struct ManifestFile {
    /// The YAML text.
    pub text: String,
    /// What it means.
    pub manifest: Manifest,
}

/// The text of the file at `path`.
pub fn text(path: &Path) -> Result<String> {
    let found = |what: &str| format!("expected a manifest at {}, found {what}", path.display());
    let about = std::fs::metadata(path).with_context(|| found("no readable file"))?;
    if about.is_dir() {
        bail!(found("a folder"));
    }
    if about.len() > MAX_BYTES {
        bail!(found("more than 4 MiB"));
    }
    std::fs::read_to_string(path).with_context(|| found("no readable text"))
}

/// Reads the manifest at `path`; nothing, once its problems have been shown on stderr.
pub fn read(path: &Path) -> Result<Option<ManifestFile>> {
    let text = text(path)?;
    match manifest::parse(&text) {
        Ok(manifest) => Ok(Some(ManifestFile { text, manifest })),
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
