//! `autorep plan` and `autorep schema`: what a manifest would run, and what it may say.

use anyhow::Result;
use autorep_core::manifest;
use autorep_core::plan::{Plan, PlanSummary};

use crate::args::{PlanArgs, PlanFormat};
use crate::exit::Exit;
use crate::{manifest_file, output, weights};

/// Prints a plan. Starts nothing.
pub fn plan(args: &PlanArgs) -> Result<Exit> {
    let Some(file) = manifest_file::read(&args.manifest)? else {
        return Ok(Exit::Usage);
    };
    let plan = Plan::expand(&file.manifest);
    let summary = PlanSummary::new(&file.manifest, &plan);
    let text = match args.format {
        PlanFormat::Table => summary.table(),
        PlanFormat::Json => serde_json::to_string_pretty(&summary)? + "\n",
    };
    output::stdout(text.as_bytes())?;
    for (_, weights) in file.manifest.weights() {
        // Plans are also made where nothing is trained, and where no bucket is reached.
        let found = args.data.resolve();
        if found.as_ref().is_ok_and(|data| data.folder().is_none()) {
            continue;
        }
        if let Err(error) = found.and_then(|data| weights::require(weights, &data)) {
            output::stderr(&format!("note: to run this here: {error:#}\n"));
        }
    }
    Ok(Exit::Done)
}

/// Prints the manifest's JSON Schema.
pub fn schema() -> Result<Exit> {
    let mut text = serde_json::to_vec_pretty(&manifest::json_schema())?;
    text.push(b'\n');
    output::stdout(&text)?;
    Ok(Exit::Done)
}
