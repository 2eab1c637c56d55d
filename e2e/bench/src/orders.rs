//! What halving finds of a full grid, whatever the order in which its results arrive.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use autorep_core::growth::Halving;
use autorep_core::manifest;
use autorep_core::plan::Plan;
use serde_json::{Value, json};

use crate::replay::{Outcome, replay};
use crate::table::{Table, Traces};

/// What is replayed.
pub(crate) struct Setting {
    /// The table.
    pub(crate) table: Table,
    /// The manifest of the full grid.
    pub(crate) manifest: String,
    /// How its searches are halved.
    pub(crate) halving: Halving,
}

impl Setting {
    pub(crate) fn read(table: &Path, manifest: &Path, halving: Halving) -> Result<Self> {
        let text = std::fs::read_to_string(manifest);
        Ok(Self {
            table: Table::read(table)?,
            manifest: text.with_context(|| format!("reading {}", manifest.display()))?,
            halving,
        })
    }

    fn plan(&self) -> Result<Plan> {
        let read = manifest::parse(&self.manifest).map_err(|problems| {
            anyhow!(
                "{}",
                manifest::render(&problems, "manifest", &self.manifest)
            )
        })?;
        Ok(Plan::expand(&read))
    }

    /// The manifest with its searches halved.
    fn halved(&self) -> Result<String> {
        let Halving {
            grace,
            reduction,
            rungs,
        } = self.halving;
        let (head, spec) = (self.manifest.split_once("\nspec:\n"))
            .context("expected a line `spec:` in the manifest, found none")?;
        Ok(format!(
            "{head}\nspec:\n  halving: {{ grace: {grace}, reduction: {reduction}, rungs: {rungs} }}\n{spec}"
        ))
    }

    /// Replays the full grid, and for each number of workers so many orders of arrival. One worker
    /// knows one order: that of the plan.
    pub(crate) async fn measure(&self, orders: u64, workers: &[usize]) -> Result<Value> {
        ensure!(orders > 0, "expected at least one order, found none");
        let plan = self.plan()?;
        let traces = self.table.traces(&plan)?;
        let full = replay(&self.manifest, &traces, 4, 0).await?;
        let halved = self.halved()?;
        let mut by_workers = Vec::new();
        for &count in workers {
            let orders = if count == 1 { 1 } else { orders };
            let found = in_orders(&halved, &traces, count, orders).await?;
            by_workers.push(summary(count, full, &found)?);
        }
        let Halving {
            grace,
            reduction,
            rungs,
        } = self.halving;
        Ok(json!({
            "candidates": plan.candidates.len(),
            "full": { "epochs": full.epochs, "hypervolume": full.hypervolume },
            "halving": { "grace": grace, "reduction": reduction, "rungs": rungs },
            "by_workers": by_workers,
        }))
    }
}

async fn in_orders(
    manifest: &str,
    traces: &Traces,
    workers: usize,
    orders: u64,
) -> Result<Vec<Outcome>> {
    let mut found = Vec::new();
    for order in 0..orders {
        found.push(replay(manifest, traces, workers, order).await?);
    }
    Ok(found)
}

/// What the orders have in common. A table in which nothing is found tells nothing.
fn summary(workers: usize, full: Outcome, found: &[Outcome]) -> Result<Value> {
    ensure!(
        full.hypervolume > 0.0 && full.epochs > 0,
        "expected a full grid with a front, found {full:?}"
    );
    let sorted = |of: fn(&Outcome, &Outcome) -> f64| {
        let mut shares: Vec<f64> = found.iter().map(|it| of(it, &full)).collect();
        shares.sort_unstable_by(f64::total_cmp);
        shares
    };
    let hypervolume = sorted(|it, full| it.hypervolume / full.hypervolume);
    let epochs = sorted(|it, full| it.epochs as f64 / full.epochs as f64);
    let orders: Vec<Value> = (found.iter())
        .map(|it| json!([it.epochs, it.hypervolume]))
        .collect();
    Ok(json!({
        "workers": workers,
        "hypervolume_share": { "median": median(&hypervolume), "least": hypervolume.first() },
        "epochs_share": { "median": median(&epochs), "most": epochs.last() },
        "orders": orders,
    }))
}

/// The middle of sorted numbers, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use autorep_core::digest::Digest;
    use autorep_core::observation::{Accuracy, EpochPoint, LearningCurve, Observation};
    use autorep_core::task::{TaskSpec, Work};
    use object_store::local::LocalFileSystem;

    use super::*;
    use crate::replay::replay_on;
    use crate::table::{epochs, hypervolume, tabulate};

    const MANIFEST: &str = "\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: tabulated }
spec:
  data: { name: fashion-mnist }
  net: { name: resnet9, width: 8 }
  budgets: [500, 2K]
  seeds: [0]
  baseline: { epochs: 2 }
  replace: { epochs: 4 }
  finetune: { epochs: 1 }
  grid:
    replace.penalty: [1.0e-4, 2.0e-4, 3.0e-4, 4.0e-4]
    replace.lr: [1.0e-3, 1.0e-2]
";

    /// What a task might measure: searches that gain as they learn, some more than others.
    fn made_up(spec: &TaskSpec, total: u64) -> Observation {
        let luck = u64::from(Digest::of(spec.canonical_json().as_bytes()).as_bytes()[0]);
        let (budget, epochs) = match &spec.work {
            Work::Baseline { recipe } => (total, recipe.schedule.epochs),
            Work::Replace {
                budgets, recipe, ..
            } => (budgets[0], recipe.schedule.epochs),
            Work::Finetune { budget, recipe, .. } => (*budget, recipe.schedule.epochs),
            Work::Evaluate { budget, .. } => (*budget, 0),
        };
        let correct = |epoch: u32| 700 + luck / 2 + 10 * u64::from(epoch);
        let epoch = |epoch: u32| EpochPoint {
            relu_count: budget + 10 * u64::from(epochs - epoch),
            correct: correct(epoch),
        };
        let accuracy = Accuracy {
            correct: correct(epochs),
            images: 1000,
        };
        Observation {
            searched: None,
            relu_count: budget,
            relu_total: total,
            validation: Some(accuracy),
            test: matches!(spec.work, Work::Evaluate { .. }).then_some(accuracy),
            searched_count: None,
            selected_epoch: None,
            epochs,
            seconds: 1.0,
            skipped_images: 0,
            curve: LearningCurve {
                images: if epochs == 0 { 0 } else { 1000 },
                epochs: (1..=epochs).map(epoch).collect(),
            },
        }
    }

    fn made_up_setting() -> (Setting, Plan, Traces) {
        let plan = Plan::expand(&manifest::parse(MANIFEST).unwrap());
        let total = plan.candidates[0].relu_total;
        let results: Traces = (plan.tasks.iter())
            .map(|task| (task.id, made_up(&task.spec, total)))
            .collect();
        let setting = Setting {
            table: Table::of("tabulated".parse().unwrap(), &plan, &results).unwrap(),
            manifest: MANIFEST.to_owned(),
            halving: Halving {
                grace: 1,
                reduction: 2,
                rungs: 2,
            },
        };
        (setting, plan, results)
    }

    #[tokio::test]
    async fn the_full_grid_is_found_as_the_table_has_it() {
        let (setting, plan, results) = made_up_setting();
        assert_eq!(setting.table.traces(&plan).unwrap(), results);
        let found = replay(MANIFEST, &results, 3, 7).await.unwrap();
        assert_eq!(found.epochs, epochs(&results));
        assert_eq!(found.epochs, 2 + 8 * 2 * 5);
        let sweep = "tabulated".parse().unwrap();
        let straight = hypervolume(&sweep, &plan, &results);
        assert!(straight > 0.5, "{straight}");
        assert_eq!(found.hypervolume.to_bits(), straight.to_bits());
    }

    #[tokio::test]
    async fn the_table_that_is_measured_is_of_its_manifest() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let setting = Setting::read(
            &folder.join("data/fashion-grid.json"),
            &folder.join("../../manifests/fashion-grid.yaml"),
            Halving::default(),
        )
        .unwrap();
        let plan = setting.plan().unwrap();
        let traces = setting.table.traces(&plan).unwrap();
        let found = replay(&setting.manifest, &traces, 2, 0).await.unwrap();
        let straight = hypervolume(&"fashion-grid".parse().unwrap(), &plan, &traces);
        assert_eq!(found.hypervolume.to_bits(), straight.to_bits());
        assert_eq!(found.epochs, 30 + 96 * (12 + 3));
    }

    #[tokio::test]
    async fn a_finished_sweep_is_tabulated_as_it_was_trained() {
        let (setting, _, results) = made_up_setting();
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        replay_on(Arc::new(store), MANIFEST, &results, 2, 0)
            .await
            .unwrap();
        let out = folder.path().join("table.json");
        let found = tabulate(folder.path(), "tabulated", &out).await.unwrap();
        assert_eq!(found["epochs"], epochs(&results));
        assert_eq!(Table::read(&out).unwrap(), setting.table);
    }

    #[tokio::test]
    async fn halving_spends_fewer_epochs_and_the_same_in_the_same_order() {
        let (setting, ..) = made_up_setting();
        let found = setting.measure(3, &[1, 4]).await.unwrap();
        assert_eq!(found, setting.measure(3, &[1, 4]).await.unwrap());
        // Per budget 8 searches of one epoch, 4 of another one, and 2 of the last two and one more.
        let one_worker = &found["by_workers"][0];
        assert_eq!(one_worker["orders"][0][0], 2 + 2 * (8 + 4 + 2 * 3));
        for order in found["by_workers"][1]["orders"].as_array().unwrap() {
            assert!(
                order[0].as_u64() < found["full"]["epochs"].as_u64(),
                "{found}"
            );
            assert!(
                order[1].as_f64() <= found["full"]["hypervolume"].as_f64(),
                "{found}"
            );
        }
    }

    #[tokio::test]
    async fn a_table_without_a_task_says_which() {
        let (setting, ..) = made_up_setting();
        let manifest = MANIFEST.replace("[500, 2K]", "[500, 3K]");
        let other = Setting {
            manifest,
            ..setting
        };
        let found = format!("{:#}", other.measure(1, &[1]).await.unwrap_err());
        assert!(
            found.contains("at 3000 ReLUs with seed 0 in the table"),
            "{found}"
        );
    }
}
