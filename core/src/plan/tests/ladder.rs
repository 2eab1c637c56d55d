//! Plans in which each search starts from the net above it.

use super::*;

/// The tasks of a kind, in order.
pub(super) fn of_kind(plan: &Plan, kind: TaskKind) -> Vec<&PlannedTask> {
    let tasks = plan.tasks.iter();
    tasks.filter(|task| task.spec.kind() == kind).collect()
}

pub(super) fn ladder(budgets: &str, seeds: &str, finetune: u32, grid: &str) -> Manifest {
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
        let chains = growth::chains(&plan.tasks, std::slice::from_ref(candidate));
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
