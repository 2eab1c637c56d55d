//! Rehearsals: a sweep cut down to a few steps of every stage, to see it through to its end before
//! it is given days of GPUs.

use std::num::NonZeroU32;

use super::{Axis, AxisValue, CheckpointPolicy, Manifest};
use crate::digest::Digest;
use crate::id::{LONGEST_LABEL, SweepName};
use crate::recipe::{OnUnreached, Schedule};

/// What a sweep's name ends in when it is a rehearsal.
const SUFFIX: &str = "-rehearsal";

/// How far a sweep is cut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rehearsal {
    /// Optimizer steps of the stage with the largest batch, at most an epoch's; the others have at
    /// least as many.
    pub steps: NonZeroU32,
    /// The most images that a step may have, for machines that hold fewer than the sweep is made
    /// for; `None` leaves the manifest's.
    pub batch: Option<NonZeroU32>,
    /// Stands for the manifest's first seed, the next number for its second, and so on. With one that no
    /// other run has, such as the time, no task is one that was done before: a rehearsal tries, and
    /// leaves nothing that a real sweep would take for its own.
    pub first_seed: u64,
}

impl Rehearsal {
    /// The manifest of the rehearsal: the same tasks of the same nets on the same data with the same
    /// needs, in a sweep of its own, so that nothing of it can be taken for a result.
    ///
    /// Every stage that trains at any point of the grid has one epoch of [`Self::steps`] steps,
    /// validates on as many images as it trains on at most, and writes a resume checkpoint after each
    /// step. A search that is not down at its budget is projected. Axes that would vary what is cut are
    /// left out, and so are arms that are the same without it; nothing is halved or trained on, and the
    /// measurement on the test part stays whole.
    #[must_use]
    pub fn of(self, manifest: Manifest) -> Manifest {
        let mut cut = manifest;
        cut.name = name(&cut.name);
        cut.seeds = (self.first_seed..).take(cut.seeds.len()).collect();
        self.shorten(
            "baseline",
            &mut cut.baseline.schedule,
            &cut.grid,
            cut.resources.gpus,
        );
        for arm in &mut cut.arms {
            self.shorten(
                "replace",
                &mut arm.replace.schedule,
                &cut.grid,
                cut.resources.gpus,
            );
            self.shorten(
                "finetune",
                &mut arm.finetune.schedule,
                &cut.grid,
                cut.resources.gpus,
            );
        }
        cut.grid.retain(|axis| !self.decides(axis.field()));
        let batch = largest_batch(&cut);
        cut.data.train = cut.data.train.min(batch.saturating_mul(self.steps.get()));
        cut.data.validation = cut.data.validation.min(cut.data.train);
        // There may have been fewer images than that.
        let steps = (cut.data.train / batch).max(1);
        for arm in &mut cut.arms {
            let replace = &mut arm.replace;
            replace.on_unreached = OnUnreached::Project;
            replace.refresh_every = replace.refresh_every.min(steps);
            replace.calibration_batches = replace.calibration_batches.min(steps);
        }
        cut.halving = None;
        cut.train_on = 0;
        cut.checkpoint = CheckpointPolicy {
            every_steps: 1,
            ..cut.checkpoint
        };
        cut
    }

    /// Cuts a stage down to an epoch, if it trains anywhere in the grid. Every GPU of a task gets an
    /// image of each batch.
    fn shorten(self, stage: &str, schedule: &mut Schedule, grid: &[Axis], gpus: u32) {
        let epochs = values(grid, stage, "epochs")
            .max()
            .unwrap_or(schedule.epochs);
        schedule.epochs = epochs.min(1);
        schedule.warmup_epochs = schedule.warmup_epochs.min(1.0);
        if let Some(most) = self.batch {
            schedule.batch = schedule.batch.min(most.get().max(gpus));
        }
    }

    /// Whether the rehearsal decides a field by itself.
    fn decides(self, field: &str) -> bool {
        const DECIDED: [&str; 6] = [
            "epochs",
            "warmup_epochs",
            "train_limit",
            "refresh_every",
            "calibration_batches",
            "on_unreached",
        ];
        let key = field.rsplit('.').next().unwrap_or(field);
        DECIDED.contains(&key) || (self.batch.is_some() && is_batch(field))
    }
}

fn is_batch(field: &str) -> bool {
    field.rsplit('.').next() == Some("batch")
}

/// The counts that a grid has for a key of a stage; none where it does not vary it.
fn values<'a>(grid: &'a [Axis], stage: &str, key: &str) -> impl Iterator<Item = u32> + use<'a> {
    let field = format!("{stage}.{key}");
    let axes = grid.iter().filter(move |axis| axis.field() == field);
    axes.flat_map(Axis::values).filter_map(AxisValue::count)
}

/// Images in the largest step of any stage that trains and of any grid point.
fn largest_batch(manifest: &Manifest) -> u32 {
    let of_stage = |stage: &'static str, schedule: &Schedule| {
        let trains = schedule.epochs > 0;
        let own = values(&manifest.grid, stage, "batch").max();
        own.unwrap_or(schedule.batch) * u32::from(trains)
    };
    let arms = manifest.arms.iter().flat_map(|arm| {
        [
            of_stage("replace", &arm.replace.schedule),
            of_stage("finetune", &arm.finetune.schedule),
        ]
    });
    let baseline = of_stage("baseline", &manifest.baseline.schedule);
    arms.fold(baseline, u32::max).max(1)
}

/// The sweep's name with [`SUFFIX`]. Where that is too long, a part of the name and of its digest, so
/// that long names stay apart.
fn name(of: &SweepName) -> SweepName {
    let mut text = of.to_string();
    if text.len() + SUFFIX.len() > LONGEST_LABEL {
        let digest = Digest::of(text.as_bytes()).short();
        text.truncate(LONGEST_LABEL - SUFFIX.len() - digest.len());
        text.push_str(&digest);
    }
    let name = text + SUFFIX;
    name.parse()
        .expect("the start of a label with a label's end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse;
    use crate::plan::Plan;
    use crate::task::TaskKind;

    const EVERYTHING: &str = "\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: full }
spec:
  data: { name: cifar-10 }
  net: { name: resnet9, width: 8 }
  strategy: descent
  budgets: [10%, 50%]
  seeds: [0, 1]
  baseline: { epochs: 40, batch: 512, warmup_epochs: 5 }
  replace: { epochs: 20, polynomial_start: running }
  finetune: { epochs: 10, warmup_epochs: 0.5 }
  grid:
    replace.epochs: [20, 40]
    replace.batch: [64, 1024]
    replace.penalty: [1.0e-4, 3.0e-4]
  halving: { grace: 2 }
  under_trained: { epochs: 3 }
  resources: { gpus: 8 }
";

    fn steps(steps: u32, batch: Option<u32>) -> Rehearsal {
        Rehearsal {
            steps: NonZeroU32::new(steps).unwrap(),
            batch: batch.map(|it| NonZeroU32::new(it).unwrap()),
            first_seed: 1_000,
        }
    }

    #[test]
    fn a_rehearsal_is_the_same_sweep_in_a_few_steps_under_a_name_of_its_own() {
        let full = parse(EVERYTHING).unwrap();
        let cut = steps(2, None).of(full.clone());
        assert_eq!(cut.name.to_string(), "full-rehearsal");
        // The largest batch of the grid, twice.
        assert_eq!((cut.data.train, cut.data.validation), (2048, 2048));
        let arm = &cut.arms[0];
        let stages = [
            &cut.baseline.schedule,
            &arm.replace.schedule,
            &arm.finetune.schedule,
        ];
        assert_eq!(stages.map(|it| it.epochs), [1, 1, 1]);
        assert!(stages.iter().all(|it| it.warmup_epochs <= 1.0));
        assert_eq!(arm.replace.on_unreached, OnUnreached::Project);
        assert_eq!(
            (arm.replace.refresh_every, arm.replace.calibration_batches),
            (2, 2)
        );
        let varied: Vec<&str> = cut.grid.iter().map(Axis::field).collect();
        assert_eq!(varied, ["replace.batch", "replace.penalty"]);
        assert_eq!(
            (cut.halving, cut.train_on, cut.checkpoint.every_steps),
            (None, 0, 1)
        );
        assert_eq!(
            (&cut.resources, &cut.budgets, &cut.seeds[..]),
            (&full.resources, &full.budgets, &[1_000, 1_001][..])
        );
        // Two penalties, two batches, two seeds: a search and two nets each, and a baseline by seed.
        let searches = Plan::expand(&cut)
            .tasks
            .iter()
            .filter(|it| it.spec.kind() == TaskKind::Replace)
            .count();
        assert_eq!(searches, 8);
    }

    #[test]
    fn a_rehearsal_on_a_small_machine_has_smaller_steps() {
        let fewer = steps(3, Some(2)).of(parse(EVERYTHING).unwrap());
        assert_eq!(
            fewer.baseline.schedule.batch, 8,
            "one for each of eight GPUs"
        );
        let cut = steps(3, Some(16)).of(parse(EVERYTHING).unwrap());
        assert_eq!(
            (
                cut.baseline.schedule.batch,
                cut.data.train,
                cut.data.validation
            ),
            (16, 48, 48)
        );
        let varied: Vec<&str> = cut.grid.iter().map(Axis::field).collect();
        assert_eq!(varied, ["replace.penalty"]);
    }

    #[test]
    fn a_stage_that_trains_anywhere_in_the_grid_is_rehearsed() {
        let text = EVERYTHING
            .replace(
                "finetune: { epochs: 10, warmup_epochs: 0.5 }",
                "finetune: {}",
            )
            .replace("  grid:\n", "  grid:\n    finetune.epochs: [0, 20]\n")
            .replace("  under_trained: { epochs: 3 }\n", "");
        let cut = steps(2, None).of(parse(&text).unwrap());
        assert_eq!(cut.arms[0].finetune.schedule.epochs, 1);
    }

    #[test]
    fn batches_of_stages_that_do_not_train_ask_for_no_images_and_few_images_for_few_steps() {
        let text = EVERYTHING
            .replace("batch: 512", "batch: 32")
            .replace("    replace.batch: [64, 1024]\n", "")
            .replace(
                "replace: { epochs: 20,",
                "replace: { epochs: 20, batch: 32,",
            )
            .replace(
                "finetune: { epochs: 10, warmup_epochs: 0.5 }",
                "finetune: { epochs: 0 }",
            )
            .replace("  under_trained: { epochs: 3 }\n", "");
        let cut = steps(2, None).of(parse(&text).unwrap());
        assert_eq!(cut.data.train, 64);
        let few = text.replace(
            "name: cifar-10",
            "name: cifar-10, train_limit: 40, validation: 9",
        );
        let few = few.replace(
            "polynomial_start: running",
            "polynomial_start: running, refresh_every: 1",
        );
        let cut = steps(2, None).of(parse(&few).unwrap());
        assert_eq!((cut.data.train, cut.data.validation), (40, 9));
        assert_eq!(cut.arms[0].replace.refresh_every, 1);
        assert_eq!(cut.arms[0].replace.calibration_batches, 1);
    }

    #[test]
    fn stages_that_train_nothing_and_names_that_are_long_stay_so() {
        let name = "a".repeat(52) + "-" + &"b".repeat(10);
        let text = EVERYTHING.replace("name: full", &format!("name: {name}"));
        let text = text.replace(
            "finetune: { epochs: 10, warmup_epochs: 0.5 }",
            "finetune: { epochs: 0 }",
        );
        let text = text.replace("  under_trained: { epochs: 3 }\n", "");
        let cut = steps(1, None).of(parse(&text).unwrap());
        assert_eq!(cut.arms[0].finetune.schedule.epochs, 0);
        let cut_name = cut.name.to_string();
        assert_eq!(cut_name.len(), LONGEST_LABEL);
        let other = text.replace(&name, &name.replace("bbb", "bbc"));
        let other = steps(1, None).of(parse(&other).unwrap());
        assert_ne!(other.name.to_string(), cut_name);
    }
}
