//! Sweeps of a wanted size.

use anyhow::{Result, anyhow};
use autorep_core::manifest;
use autorep_core::plan::Plan;

/// A manifest of about `tasks` tasks: 5 seeds with a baseline and its evaluation each, and for
/// each grid point and each of 6 budgets a search, a finetune and an evaluation. Exactly as many
/// where `tasks - 10` is 90 times a number.
pub(crate) fn manifest(name: &str, tasks: u64) -> String {
    let points = (tasks.saturating_sub(10) / 90).max(1);
    let second = (1..=300)
        .rev()
        .find(|steps| points.is_multiple_of(*steps))
        .unwrap_or(1);
    let axis = |field: &str, from: &str, to: &str, steps: u64| match steps {
        0 | 1 => format!("    {field}: [{from}]\n"),
        steps => format!("    {field}: {{ from: {from}, to: {to}, steps: {steps}, scale: log }}\n"),
    };
    let first = axis("replace.penalty", "1.0e-5", "1.0e-3", points / second);
    let second = axis("replace.hysteresis", "1.0e-4", "1.0e-1", second);
    format!(
        "\
apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: {name} }}
spec:
  data: {{ name: fashion-mnist, train_limit: 10000 }}
  net: {{ name: resnet9, width: 16 }}
  budgets: [1K, 2K, 4K, 8K, 16K, 50%]
  seeds: 5
  baseline: {{ epochs: 4 }}
  replace: {{ epochs: 4 }}
  finetune: {{ epochs: 2 }}
  retry: {{ attempts: 3, backoff: 0s }}
  grid:
{first}{second}"
    )
}

/// A manifest whose first task is the only one that can be leased before it is done.
pub(crate) fn of_one_baseline() -> String {
    manifest("one", 100).replace("seeds: 5", "seeds: 1")
}

/// The plan of a manifest.
pub(crate) fn plan(text: &str) -> Result<Plan> {
    let read = manifest::parse(text);
    let manifest =
        read.map_err(|problems| anyhow!("{}", manifest::render(&problems, "manifest", text)))?;
    Ok(Plan::expand(&manifest))
}

/// ReLUs of the sweeps' net in full.
pub(crate) fn relu_total() -> Result<u64> {
    let plan = plan(&manifest("one", 100))?;
    let baseline = plan.candidates.first();
    Ok(baseline.map_or(0, |candidate| candidate.relu_total))
}
