//! `autorep plan` and `autorep schema`: what a manifest would run, and what it may say.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use autorep_core::id::TaskId;
use autorep_core::manifest;
use autorep_core::plan::{Plan, PlanSummary, Progress};

use crate::args::{PlanArgs, PlanFormat};
use crate::exit::Exit;
use crate::{manifest_file, output, store, weights};

/// Prints a plan. Starts nothing.
pub async fn plan(args: &PlanArgs) -> Result<Exit> {
    let Some(file) = manifest_file::read(&args.manifest)? else {
        return Ok(Exit::Usage);
    };
    let plan = Plan::expand(&file.manifest);
    let known = match &args.store {
        Some(store) => known(store, &plan).await?,
        None => BTreeMap::new(),
    };
    let summary = PlanSummary::knowing(&file.manifest, &plan, &known);
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

/// What a store knows of a plan's tasks; nothing where there is no store yet.
async fn known(store: &str, plan: &Plan) -> Result<BTreeMap<TaskId, Progress>> {
    let location = store::Location::parse(store)?;
    let known = if (location.folder()).is_some_and(|folder| !folder.is_dir()) {
        BTreeMap::new()
    } else {
        let tasks = plan.tasks.iter().map(|task| task.id).collect();
        autorep_coordinator::read_progress(store::open_store(store)?, tasks)
            .await
            .with_context(|| format!("read what the store {store} has already"))?
    };
    if known.is_empty() {
        output::stderr(&format!(
            "note: nothing of this plan is in the store {store}\n"
        ));
    }
    Ok(known)
}

/// Prints the manifest's JSON Schema.
pub fn schema() -> Result<Exit> {
    let mut text = serde_json::to_vec_pretty(&manifest::json_schema())?;
    text.push(b'\n');
    output::stdout(&text)?;
    Ok(Exit::Done)
}
