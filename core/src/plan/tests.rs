use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::strategy::Strategy;

use serde_json::Value as Json;

use super::*;
use crate::cost::{Cost, task_cost};
use crate::manifest::parse;
use crate::task::TaskKind;

mod forecast;
mod ladder;

use ladder::{ladder, of_kind};

/// A manifest with the given lists and grid.
fn manifest(budgets: &str, seeds: &str, finetune: u32, grid: &str) -> Manifest {
    let text = format!(
        "apiVersion: autorep/v1
kind: Sweep
metadata: {{name: plan}}
spec:
  data: {{name: fashion-mnist, train_limit: 1000}}
  net: {{name: resnet9, width: 8}}
  budgets: {budgets}
  seeds: {seeds}
  baseline: {{epochs: 2}}
  replace: {{epochs: 3}}
  finetune: {{epochs: {finetune}}}
  grid: {{{grid}}}
"
    );
    parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn counts(plan: &Plan) -> BTreeMap<TaskKind, usize> {
    let mut counts = BTreeMap::new();
    for task in &plan.tasks {
        *counts.entry(task.spec.kind()).or_default() += 1;
    }
    counts
}

fn kinds(
    baseline: usize,
    replace: usize,
    finetune: usize,
    evaluate: usize,
) -> BTreeMap<TaskKind, usize> {
    let all = [
        (TaskKind::Baseline, baseline),
        (TaskKind::Replace, replace),
        (TaskKind::Finetune, finetune),
        (TaskKind::Evaluate, evaluate),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Every task follows those it reads from, reads outputs that they have, and is there once.
fn check_order(plan: &Plan) {
    let mut outputs: HashMap<TaskId, Vec<String>> = HashMap::new();
    for task in &plan.tasks {
        assert_eq!(task.id, task.spec.id());
        for input in task.spec.inputs() {
            let made = outputs.get(&input.task).expect("the input comes first");
            assert!(made.contains(&input.output), "{input:?}");
        }
        let earlier = outputs.insert(task.id, task.spec.outputs());
        assert!(earlier.is_none(), "{} is there twice", task.id);
    }
}

#[test]
fn one_baseline_serves_every_budget_and_every_later_grid_point() {
    let grid = "replace.penalty: [1.0e-4, 3.0e-4], finetune.lr: [1.0e-3, 1.0e-2, 1.0e-1]";
    let plan = Plan::expand(&manifest("[1K, 3K]", "[0, 1]", 4, grid));
    // Per seed: 1 baseline, 2 penalties x 2 budgets, each finetuned in 3 ways.
    assert_eq!(counts(&plan), kinds(2, 8, 24, 26));
    check_order(&plan);
}

#[test]
fn a_grid_over_baselines_or_nets_shares_nothing_between_them() {
    let plan = Plan::expand(&manifest(
        "[1K]",
        "1",
        1,
        "net.width: [8, 16], baseline.lr: [0.1, 0.2]",
    ));
    assert_eq!(counts(&plan), kinds(4, 4, 4, 8));
    check_order(&plan);
}

#[test]
fn without_finetune_epochs_the_search_itself_is_measured() {
    let plan = Plan::expand(&manifest("[1K, 50%]", "1", 0, ""));
    assert_eq!(counts(&plan), kinds(1, 2, 0, 3));
    check_order(&plan);
    let subjects: Vec<&str> = plan
        .tasks
        .iter()
        .filter(|task| task.spec.kind() == TaskKind::Evaluate)
        .flat_map(|task| task.spec.inputs())
        .map(|input| input.output.as_str())
        .collect();
    assert_eq!(subjects, ["net", "b12000", "b1000"]);
}

#[test]
fn a_descent_searches_once_for_all_budgets_and_its_points_are_candidates_of_their_own() {
    let independent = manifest(
        "[1K, 3K, 50%]",
        "[0, 1]",
        4,
        "finetune.lr: [1.0e-3, 1.0e-2]",
    );
    let descent = Manifest {
        strategy: crate::strategy::Strategy::Descent,
        ..independent.clone()
    };
    let plan = Plan::expand(&descent);
    // Per seed: 1 baseline, 1 search, 3 budgets finetuned in 2 ways each.
    assert_eq!(counts(&plan), kinds(2, 2, 12, 14));
    check_order(&plan);
    let searches: Vec<Vec<String>> = (plan.tasks.iter())
        .filter(|task| task.spec.kind() == TaskKind::Replace)
        .map(|task| task.spec.outputs())
        .collect();
    assert_eq!(
        searches,
        [["b12000", "b3000", "b1000"], ["b12000", "b3000", "b1000"]]
    );
    let replaced = |plan: &Plan| -> Vec<Candidate> {
        let all = plan.candidates.iter();
        all.filter(|it| it.kind == PointKind::Replaced)
            .cloned()
            .collect()
    };
    let (ours, theirs) = (replaced(&plan), replaced(&Plan::expand(&independent)));
    assert_eq!(ours.len(), theirs.len());
    for (one, other) in ours.iter().zip(&theirs) {
        assert_eq!(one.budget, other.budget);
        assert_ne!(one.id, other.id, "never averaged");
        assert_eq!(one.strategy, crate::strategy::Strategy::Descent);
        assert_eq!(one.label, format!("strategy=descent {}", other.label));
    }
    // The reference is the same for both.
    let baselines = |plan: &Plan| plan.candidates[0].clone();
    assert_eq!(baselines(&plan), baselines(&Plan::expand(&independent)));
}

#[test]
fn a_search_from_the_baseline_says_nothing_of_another_start() {
    let plan = Plan::expand(&ladder("[1K, 3K]", "1", 2, ""));
    let starts = (of_kind(&plan, TaskKind::Replace).into_iter())
        .map(|task| task.spec.canonical_json().contains("\"start\""));
    assert_eq!(starts.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn zero_finetune_epochs_can_be_one_of_the_grids_values() {
    let plan = Plan::expand(&manifest("[1K]", "1", 3, "finetune.epochs: [0, 3]"));
    assert_eq!(counts(&plan), kinds(1, 1, 1, 3));
}

#[test]
fn candidates_carry_their_assignments_and_one_evaluation_per_seed() {
    let plan = Plan::expand(&manifest(
        "[1K, 3K]",
        "[0, 4]",
        1,
        "replace.penalty: [1.0e-4], baseline.lr: [0.2]",
    ));
    let labels: Vec<(&str, PointKind, u64)> = plan
        .candidates
        .iter()
        .map(|candidate| (candidate.label.as_str(), candidate.kind, candidate.budget))
        .collect();
    let full = "baseline.lr=0.2 replace.penalty=0.0001";
    assert_eq!(
        labels,
        [
            ("baseline.lr=0.2", PointKind::Baseline, 24_000),
            (full, PointKind::Replaced, 3_000),
            (full, PointKind::Replaced, 1_000),
        ]
    );
    let specs: HashMap<TaskId, &TaskSpec> = plan
        .tasks
        .iter()
        .map(|task| (task.id, &task.spec))
        .collect();
    for candidate in &plan.candidates {
        assert_eq!(candidate.relu_total, 24_000);
        let seeds: Vec<u64> = candidate
            .evaluations
            .iter()
            .map(|(seed, _)| *seed)
            .collect();
        assert_eq!(seeds, [0, 4]);
        for (seed, task) in &candidate.evaluations {
            assert_eq!(specs[task].seed, *seed);
            let Work::Evaluate { budget, .. } = specs[task].work else {
                panic!("{task} does not evaluate");
            };
            assert_eq!(budget, candidate.budget);
        }
    }
}

#[test]
fn without_a_grid_candidates_are_called_default() {
    let plan = Plan::expand(&manifest("[1K]", "1", 1, ""));
    assert!(
        plan.candidates
            .iter()
            .all(|candidate| candidate.label == "default")
    );
}

#[test]
fn a_seeds_tasks_are_the_same_in_a_sweep_with_more_seeds_or_budgets() {
    let ids = |budgets: &str, seeds: &str| -> BTreeSet<TaskId> {
        let plan = Plan::expand(&manifest(budgets, seeds, 2, ""));
        plan.tasks.iter().map(|task| task.id).collect()
    };
    let small = ids("[3K]", "[1]");
    assert!(small.is_subset(&ids("[1K, 3K, 50%]", "[0, 1, 2]")));
    assert!(small.is_disjoint(&ids("[3K]", "[2]")));
}

#[test]
fn candidates_are_recognised_over_sweeps_whatever_their_seeds() {
    let ids = |seeds: &str, finetune: u32| -> Vec<CandidateId> {
        let plan = Plan::expand(&manifest("[3K]", seeds, finetune, ""));
        plan.candidates
            .iter()
            .map(|candidate| candidate.id)
            .collect()
    };
    assert_eq!(ids("[0]", 2), ids("[5, 6]", 2));
    assert_eq!(ids("[0]", 2)[0], ids("[0]", 3)[0], "the same baseline");
    assert_ne!(ids("[0]", 2)[1], ids("[0]", 3)[1]);
}

#[test]
fn a_setting_without_effect_changes_nothing() {
    let plan = |grid: &str| Plan::expand(&manifest("[3K]", "1", 2, grid));
    let of = |plan: &Plan| -> Vec<TaskId> { plan.tasks.iter().map(|task| task.id).collect() };
    assert_eq!(of(&plan("")), of(&plan("replace.momentum: [0.5]")));
    assert_ne!(of(&plan("")), of(&plan("baseline.momentum: [0.5]")));
    let one = plan("replace.kd_weight: [0], replace.temperature: [2]");
    assert_eq!(of(&one), of(&plan("replace.kd_weight: [0]")));
    // What starts uniform or running latents and polynomials is for those alone.
    for (key, with) in [
        ("latent_low: [0.25]", "latent_init: [uniform]"),
        ("latent_high: [0.75]", "latent_init: [uniform]"),
        ("refresh_every: [5]", "polynomial_start: [running]"),
        ("refresh_until: [50]", "polynomial_start: [running]"),
    ] {
        let key = format!("replace.{key}");
        assert_eq!(of(&plan(&key)), of(&plan("")), "{key}");
        let started = format!("replace.{with}");
        let both = format!("{started}, {key}");
        assert_ne!(of(&plan(&both)), of(&plan(&started)), "{both}");
    }
    let identity = "replace.polynomial_start: [identity]";
    let damped = format!("{identity}, replace.c0_damping: [0.5], replace.calibration_batches: [3]");
    assert_eq!(of(&plan(&damped)), of(&plan(identity)));
    assert_ne!(of(&plan(identity)), of(&plan("")));
}

/// The paths of all leaves of a JSON value, as pointers.
fn leaves(value: &Json, path: &str, found: &mut Vec<String>) {
    match value {
        Json::Object(map) => {
            for (key, below) in map {
                leaves(below, &format!("{path}/{key}"), found);
            }
        }
        Json::Array(list) => {
            for (index, below) in list.iter().enumerate() {
                leaves(below, &format!("{path}/{index}"), found);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            found.push(path.to_owned());
        }
    }
}

/// Another value that could stand in the same place.
fn other_values(leaf: &Json) -> Vec<Json> {
    match leaf {
        Json::Bool(value) => vec![Json::from(!value)],
        Json::Number(number) if number.is_u64() => {
            vec![Json::from(number.as_u64().unwrap() + 1)]
        }
        Json::Number(number) => vec![Json::from(number.as_f64().unwrap() + 0.125)],
        Json::String(text) if text.len() == 64 => {
            let first = if text.starts_with('0') { '1' } else { '0' };
            vec![Json::from(format!("{first}{}", &text[1..]))]
        }
        // Names: of those, the ones that fit their place are tried.
        Json::String(text) => [
            "fashion-mnist",
            "cifar-10",
            "resnet9",
            "resnet18",
            "sgd",
            "adam",
            "constant",
            "uniform",
            "anneal",
            "bf16",
            "snl",
            "schedule",
            "ramp",
            "site",
            "importance",
            "fail",
            "moments",
            "another-output",
        ]
        .into_iter()
        .filter(|name| name != text)
        .map(Json::from)
        .collect(),
        Json::Null | Json::Array(_) | Json::Object(_) => panic!("{leaf} is no leaf of a spec"),
    }
}

#[test]
fn any_changed_field_of_a_spec_changes_the_tasks_id() {
    let plan = Plan::expand(&ladder("[1K, 3K]", "[0]", 2, ""));
    let mut changed = BTreeMap::<String, BTreeSet<TaskId>>::new();
    for task in &plan.tasks {
        let kind = task.spec.kind();
        let json: Json = serde_json::from_str(&task.spec.canonical_json()).unwrap();
        let again: TaskSpec = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(again.id(), task.id, "equal specs share their id");
        let mut paths = Vec::new();
        leaves(&json, "", &mut paths);
        for path in paths.into_iter().filter(|path| path != "/work/kind") {
            for value in other_values(json.pointer(&path).unwrap()) {
                let mut mutant = json.clone();
                *mutant.pointer_mut(&path).unwrap() = value;
                // Names that do not fit the place are no specs.
                let Ok(mutant) = serde_json::from_value::<TaskSpec>(mutant) else {
                    continue;
                };
                assert_ne!(mutant.id(), task.id, "{kind}{path}");
                changed
                    .entry(format!("{kind}{path}"))
                    .or_default()
                    .insert(mutant.id());
            }
            assert!(
                changed.contains_key(&format!("{kind}{path}")),
                "{kind}{path} was not changed"
            );
        }
    }
    for field in [
        "replace/work/recipe/latent_init",
        "replace/work/budgets/0",
        "replace/work/start/task",
        "finetune/work/start/output",
        "baseline/data/augment",
        "evaluate/version",
    ] {
        assert!(changed.contains_key(field), "{field} was not tried");
    }
}

#[test]
fn the_summary_counts_shared_tasks_and_their_work() {
    let manifest = manifest("[1K, 3K]", "[0, 1]", 4, "replace.penalty: [1.0e-4, 3.0e-4]");
    let plan = Plan::expand(&manifest);
    let summary = PlanSummary::new(&manifest, &plan);
    assert_eq!(summary.tasks, plan.tasks.len() as u64);
    // Per seed: the baseline and its evaluation, and four chains of four tasks.
    assert_eq!(summary.tasks_without_sharing, 2 * (2 + 4 * 4));
    assert_eq!((summary.candidates, summary.baselines), (5, 1));
    let expected: Cost = plan
        .tasks
        .iter()
        .fold(Cost::default(), |sum, task| sum + task_cost(&task.spec));
    assert_eq!(summary.work, WorkSummary::from(expected));
    assert_eq!(summary.work.epochs, 2 * (2 + 4 * (3 + 4)));
    assert_eq!(
        summary.work_without_sharing.epochs,
        2 * (5 * 2 + 4 * (3 + 4))
    );
    assert_eq!(summary.nets.len(), 1);
    let net = &summary.nets[0];
    assert_eq!(net.relu_total, 24_000);
    let budgets: Vec<(u64, f64)> = net
        .budgets
        .iter()
        .map(|budget| (budget.relus, budget.percent))
        .collect();
    assert_eq!(budgets, [(3_000, 12.5), (1_000, 100.0 / 24.0)]);
}

#[test]
fn the_table_names_the_total_the_shares_and_what_sharing_saves() {
    let manifest = manifest("[1K, 50%]", "[0]", 4, "");
    let table = PlanSummary::new(&manifest, &Plan::expand(&manifest)).table();
    for part in [
        "T = 24,000 ReLUs",
        "12,000 (50.00 %), 1,000 (4.17 %)",
        "8 tasks instead of 10",
    ] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}

fn some_axes() -> impl Strategy<Value = String> {
    let axis = prop::sample::select(vec![
        "data.augment: [true, false]",
        "net.width: [8, 4]",
        "net.stem_relu: [false, true]",
        "baseline.lr: [0.1, 0.2, 0.3]",
        "replace.penalty: {from: 1.0e-4, to: 1.0e-2, steps: 3, scale: log}",
        "replace.degree: [1, 2]",
        "finetune.epochs: [0, 2]",
        "finetune.lr: [0.01]",
    ]);
    prop::collection::btree_set(axis, 0..5)
        .prop_map(|axes| axes.into_iter().collect::<Vec<_>>().join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counting_equals_expanding_and_every_plan_is_in_order(
        axes in some_axes(),
        seeds in 1usize..4,
        budgets in 1usize..4,
        finetune in 0u32..2,
        strategy in prop::sample::select(&crate::strategy::Strategy::ALL[..]),
    ) {
        let list = ["500", "1K", "25%", "50%"][..budgets].join(", ");
        let manifest = Manifest {
            strategy,
            ..manifest(&format!("[{list}]"), &seeds.to_string(), finetune, &axes)
        };
        let plan = Plan::expand(&manifest);
        check_order(&plan);
        let parts = Parts::of(&manifest);
        prop_assert!(parts.twins.is_empty());
        let trains_on = manifest.train_on > 0;
        let sizes = PartSizes::of(&parts);
        let counted = TaskCounts::of(&sizes, manifest.strategy, budgets, seeds, trains_on);
        let found = counts(&plan);
        let of = |kind| found.get(&kind).copied().unwrap_or(0) as u128;
        prop_assert_eq!(counted.baseline, of(TaskKind::Baseline));
        prop_assert_eq!(counted.replace, of(TaskKind::Replace));
        prop_assert_eq!(counted.finetune, of(TaskKind::Finetune));
        prop_assert_eq!(counted.evaluate, of(TaskKind::Evaluate));
        let ids: BTreeSet<CandidateId> = plan.candidates.iter().map(|candidate| candidate.id).collect();
        prop_assert_eq!(ids.len(), plan.candidates.len());
        let evaluations: usize = plan.candidates.iter().map(|one| one.evaluations.len()).sum();
        prop_assert_eq!(evaluations as u128, counted.evaluate);
    }
}
