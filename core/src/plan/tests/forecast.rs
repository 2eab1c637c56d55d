//! What is left of a plan of which some has been done.

use super::*;

/// What a store knows that has done these tasks, ten seconds each.
fn done(
    plan: &Plan,
    of: impl Fn(&TaskSpec) -> bool,
    is_readable: bool,
) -> BTreeMap<TaskId, Progress> {
    (plan.tasks.iter().filter(|task| of(&task.spec)))
        .map(|task| {
            let progress = Progress {
                seconds: 10.0,
                epochs: 1,
                is_done: true,
                is_readable,
            };
            (task.id, progress)
        })
        .collect()
}

#[test]
fn a_grid_over_finetune_reuses_baselines_and_searches() {
    let first = Plan::expand(&manifest("[1K, 2K]", "[0]", 2, ""));
    let second = manifest("[1K, 2K]", "[0]", 2, "finetune.lr: [0.002, 0.004]");
    let plan = Plan::expand(&second);
    let forecast =
        |known: &BTreeMap<TaskId, Progress>| PlanSummary::knowing(&second, &plan, known).forecast;
    let of_first = forecast(&done(&first, |_| true, true));
    // Baseline and its evaluation, and two searches.
    assert_eq!((of_first.reused, of_first.reused_trained), (4, 3));
    assert!((of_first.saved_gpu_hours - 40.0 / 3600.0).abs() < 1e-9);
    assert_eq!(of_first.left.work.epochs, 2 * 2 * 2);
    let kinds = [TaskKind::Finetune, TaskKind::Evaluate];
    assert_eq!(of_first.critical_path.kinds, kinds);
    assert!(of_first.critical_path.hours.unwrap() < of_first.left.gpu_hours.unwrap());
    // Where the nets are gone, the searches that made them are done again; what has its result and
    // whose net nobody needs is not.
    let of_dropped = forecast(&done(&first, |_| true, false));
    assert_eq!((of_dropped.reused, of_dropped.reused_trained), (1, 0));
    let nothing = forecast(&BTreeMap::new());
    assert_eq!((nothing.reused, nothing.left.gpu_hours), (0, None));
    assert_eq!(nothing.critical_path.kinds.len(), 4);
    assert_eq!(nothing.critical_path.work.epochs, 7);
}

#[test]
fn somebody_comes_to_the_end_of_a_heat() {
    let grid = "replace.penalty: [1.0e-4, 2.0e-4]}\n  halving: {grace: 1";
    let manifest = manifest("[1K, 2K]", "[0]", 2, grid);
    let plan = Plan::expand(&manifest);
    let forecast = PlanSummary::knowing(&manifest, &plan, &BTreeMap::new()).forecast;
    // Two epochs for the baseline; of two heats one search to its end with its finetuning, and one
    // epoch of the other.
    assert_eq!(forecast.left.work.epochs, 2 + 2 * (3 + 2 + 1));
    let path = forecast.critical_path;
    assert_eq!((path.kinds.len(), path.work.epochs), (4, 2 + 3 + 2));
    // Once one has, the others stay where they are, and what they would read need not be there.
    let mut lost = BTreeSet::new();
    for task in &plan.tasks {
        let is_lost = match &task.spec.work {
            Work::Replace { recipe, .. } => recipe.penalty > 1.5e-4,
            Work::Baseline { .. } | Work::Finetune { .. } | Work::Evaluate { .. } => {
                (task.spec.inputs().iter()).any(|input| lost.contains(&input.task))
            }
        };
        if is_lost {
            lost.insert(task.id);
        }
    }
    let mut known = done(&plan, |spec| !lost.contains(&spec.id()), false);
    for task in (plan.tasks.iter()).filter(|it| lost.contains(&it.id)) {
        if task.spec.kind() == TaskKind::Replace {
            let stopped = Progress {
                seconds: 5.0,
                epochs: 1,
                is_done: false,
                is_readable: false,
            };
            known.insert(task.id, stopped);
        }
    }
    let table = PlanSummary::knowing(&manifest, &plan, &known).table();
    let end = "nothing is left to do\n";
    assert!(table.ends_with(end) && !table.contains("\nleft"), "{table}");
    // Two searches of which one epoch is done, two finetunings, and the baseline that they read.
    assert!(table.contains("\nparked: 10 epochs"), "{table}");
    // While what follows the search that went on is still to be done, that is left.
    let is_last =
        |task: &&PlannedTask| !lost.contains(&task.id) && task.spec.kind() == TaskKind::Finetune;
    let finetune = plan.tasks.iter().rev().find(is_last).unwrap().id;
    known.remove(&finetune);
    let forecast = PlanSummary::knowing(&manifest, &plan, &known).forecast;
    // Its search left no net, nor did the baseline.
    assert_eq!(forecast.left.work.epochs, 2 + 3 + 2);
    assert_eq!(forecast.critical_path.work.epochs, 2 + 3 + 2);
}

#[test]
fn a_limit_is_said() {
    let manifest = manifest("[1K]", "[0]", 2, "}\n  limit: {gpu_hours: 2, hours: 0.5");
    let plan = Plan::expand(&manifest);
    let table = PlanSummary::new(&manifest, &plan).table();
    let said = "\nlimit: 2.0 h of a GPU and 30 min from its submission on; what is not expected to";
    assert!(table.contains(said), "{table}");
}

#[test]
fn nothing_is_left_of_a_plan_that_was_done() {
    let manifest = manifest("[1K]", "[0]", 2, "");
    let plan = Plan::expand(&manifest);
    let summary = PlanSummary::knowing(&manifest, &plan, &done(&plan, |_| true, false));
    assert_eq!(summary.forecast.reused, plan.tasks.len() as u64);
    let left = summary.forecast.left.gpu_hours;
    assert_eq!(left.map(f64::to_bits), Some(0.0_f64.to_bits()));
    let table = summary.table();
    assert!(
        table.ends_with("nothing is left to do\n") && !table.contains("left: "),
        "{table}"
    );
}
