use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::strategy::Strategy;

use serde_json::Value as Json;

use super::*;
use crate::cost::{Cost, task_cost};
use crate::manifest::parse;
use crate::task::TaskKind;

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

/// The tasks of a kind, in order.
fn of_kind(plan: &Plan, kind: TaskKind) -> Vec<&PlannedTask> {
    let tasks = plan.tasks.iter();
    tasks.filter(|task| task.spec.kind() == kind).collect()
}

fn ladder(budgets: &str, seeds: &str, finetune: u32, grid: &str) -> Manifest {
    Manifest {
        strategy: crate::strategy::Strategy::Ladder,
        ..manifest(budgets, seeds, finetune, grid)
    }
}

#[test]
fn a_ladders_searches_start_from_the_finetuned_net_of_the_next_larger_budget() {
    let ways = "finetune.lr: [1.0e-3, 1.0e-2]";
    let plan = Plan::expand(&ladder("[1K, 3K, 50%]", "[0, 1]", 4, ways));
    // Per seed: 1 baseline; 1 search at the largest budget and 2 at each other one; 2 ways to train
    // on after every budget.
    assert_eq!(counts(&plan), kinds(2, 2 * (1 + 2 * 2), 12, 14));
    check_order(&plan);
    let finetunes: HashMap<TaskId, (u64, f64)> = (of_kind(&plan, TaskKind::Finetune).iter())
        .map(|task| match &task.spec.work {
            Work::Finetune { budget, recipe, .. } => (task.id, (*budget, recipe.schedule.lr)),
            Work::Baseline { .. } | Work::Replace { .. } | Work::Evaluate { .. } => {
                panic!("no finetune task")
            }
        })
        .collect();
    let mut starts = Vec::new();
    for task in of_kind(&plan, TaskKind::Replace) {
        let Work::Replace { start, budgets, .. } = &task.spec.work else {
            panic!("a search");
        };
        let inputs = task.spec.inputs();
        let above = start.as_ref().map(|start| {
            assert_eq!((inputs.len(), inputs[1]), (2, start), "after the teacher");
            assert_eq!(start.output, NET_OUTPUT);
            finetunes[&start.task]
        });
        starts.push((budgets.clone(), above));
    }
    let of_a_seed = [
        (vec![12_000], None),
        (vec![3_000], Some((12_000, 1e-3))),
        (vec![3_000], Some((12_000, 1e-2))),
        (vec![1_000], Some((3_000, 1e-3))),
        (vec![1_000], Some((3_000, 1e-2))),
    ];
    assert_eq!(starts, [of_a_seed.clone(), of_a_seed].concat());
    // The tasks that measure a candidate are of its own ladder: the same way to train on all along.
    for candidate in &plan.candidates {
        let way = (candidate.label.split(' ')).find_map(|it| it.strip_prefix("finetune.lr="));
        let chains = chains(&plan.tasks, std::slice::from_ref(candidate));
        for place in chains.iter().flatten().flatten() {
            let task = &plan.tasks[*place as usize];
            if let Some((_, lr)) = finetunes.get(&task.id) {
                assert_eq!(Some(lr.to_string().as_str()), way, "{}", candidate.label);
            }
        }
    }
}

#[test]
fn without_finetuning_a_ladder_goes_from_search_to_search() {
    let plan = Plan::expand(&ladder("[1K, 3K]", "1", 0, ""));
    assert_eq!(counts(&plan), kinds(1, 2, 0, 3));
    check_order(&plan);
    let searches = of_kind(&plan, TaskKind::Replace);
    let from = searches[1].spec.inputs();
    assert_eq!(
        (from[1].task, from[1].output.as_str()),
        (searches[0].id, "b3000")
    );
}

#[test]
fn the_points_of_a_ladder_are_candidates_of_their_own_and_depend_on_larger_budgets_alone() {
    let replaced = |manifest: &Manifest| -> Vec<Candidate> {
        let all = Plan::expand(manifest).candidates.into_iter();
        all.filter(|it| it.kind == PointKind::Replaced).collect()
    };
    let ids = |manifest: &Manifest| -> BTreeSet<CandidateId> {
        replaced(manifest).iter().map(|it| it.id).collect()
    };
    let ours = replaced(&ladder("[1K, 3K]", "1", 2, ""));
    for one in &ours {
        assert_eq!(one.strategy, crate::strategy::Strategy::Ladder);
        assert_eq!(one.label, "strategy=ladder");
    }
    let ours: BTreeSet<CandidateId> = ours.iter().map(|it| it.id).collect();
    // Also at the top, where both strategies have the same tasks.
    assert!(ours.is_disjoint(&ids(&manifest("[1K, 3K]", "1", 2, ""))));
    assert!(ours.is_subset(&ids(&ladder("[500, 1K, 3K]", "1", 2, ""))));
    assert_eq!(
        ours.intersection(&ids(&ladder("[1K, 2K, 3K]", "1", 2, "")))
            .count(),
        1
    );
    let tasks = |manifest: &Manifest| -> BTreeSet<TaskId> {
        let tasks = Plan::expand(manifest).tasks;
        tasks.iter().map(|task| task.id).collect()
    };
    let top = tasks(&manifest("[3K]", "1", 2, ""));
    assert!(top.is_subset(&tasks(&ladder("[1K, 3K]", "1", 2, ""))));
}

#[test]
fn a_seed_more_for_a_ladders_point_brings_all_that_leads_down_to_it_and_no_other_evaluation() {
    let manifest = ladder("[500, 1K, 3K]", "{min: 2, max: 3}", 2, "");
    let plan = Plan::expand(&manifest);
    let seeds = plan.growth.seeds.as_ref().unwrap();
    let kinds_of = |candidate: usize| -> Vec<TaskKind> {
        let places = seeds.chains[candidate][2].iter();
        places
            .map(|place| plan.tasks[*place as usize].spec.kind())
            .collect()
    };
    let with_baseline = [TaskKind::Baseline, TaskKind::Evaluate];
    let trained = [TaskKind::Replace, TaskKind::Finetune];
    for (candidate, budgets) in [(1, 1), (2, 2), (3, 3)] {
        let wanted = [
            &with_baseline[..],
            &trained.repeat(budgets),
            &[TaskKind::Evaluate],
        ];
        assert_eq!(kinds_of(candidate), wanted.concat(), "{budgets} budgets");
    }
}

#[test]
fn alone_each_point_of_a_ladder_needs_all_that_leads_down_to_it() {
    let manifest = ladder("[500, 1K, 3K]", "[0, 1]", 4, "finetune.epochs: [0, 4]");
    let summary = PlanSummary::new(&manifest, &Plan::expand(&manifest));
    let of = |kind: TaskKind| {
        let kind = summary.kinds.iter().find(|it| it.kind == kind).unwrap();
        (kind.tasks, kind.tasks_without_sharing)
    };
    assert_eq!(of(TaskKind::Baseline), (2, 2 * 7));
    assert_eq!(of(TaskKind::Replace), (2 * 5, 2 * 2 * 6));
    assert_eq!(of(TaskKind::Finetune), (2 * 3, 2 * 6));
    assert_eq!(of(TaskKind::Evaluate), (2 * 7, 2 * 7));
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
fn nothing_is_left_of_a_plan_that_was_done() {
    let manifest = manifest("[1K]", "[0]", 2, "");
    let plan = Plan::expand(&manifest);
    let summary = PlanSummary::knowing(&manifest, &plan, &done(&plan, |_| true, false));
    assert_eq!(summary.forecast.reused, plan.tasks.len() as u64);
    assert!(summary.table().ends_with("nothing is left to do\n"));
}
