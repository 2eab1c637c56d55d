//! The front of a sweep: from observations of tasks to rows, whatever their order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::candidate::{Candidate, PointKind};
use crate::data::DataSet;
use crate::digest::Digest;
use crate::front::{
    FrontChange, FrontReport, FrontRow, Refusal, SelectionBias, Standing, SweepFront, hypervolume,
};
use crate::id::{CandidateId, SweepName, TaskId};
use crate::net::Family;
use crate::observation::{Accuracy, LearningCurve, Observation};
use crate::plan::Plan;
use crate::searched::{Convergence, Effect, Projection, Searched};
use crate::task::{TaskKind, Work};

const TOTAL: u64 = 50;

fn task(number: u8) -> TaskId {
    TaskId(Digest::of(&[number]))
}

fn id(number: u8) -> CandidateId {
    CandidateId(Digest::of(&[number, 0]))
}

fn name() -> SweepName {
    "some-sweep".parse().unwrap()
}

/// A candidate measured by the tasks of these numbers, seed by seed.
fn candidate(number: u8, kind: PointKind, budget: u64, tasks: &[u8]) -> Candidate {
    Candidate {
        id: id(number),
        label: format!("label {}", number % 3),
        kind,
        strategy: crate::strategy::Strategy::Descent,
        data: DataSet::Cifar100,
        net: Family::Resnet18,
        budget,
        relu_total: TOTAL,
        least_seeds: u32::try_from(tasks.len()).unwrap(),
        evaluations: (0..).zip(tasks.iter().copied().map(task)).collect(),
    }
}

fn observation(relu_count: u64, correct: u64, images: u64) -> Observation {
    Observation {
        relu_count,
        relu_total: TOTAL,
        validation: (correct > 3).then_some(Accuracy {
            correct: correct - correct % 3,
            images,
        }),
        test: Some(Accuracy { correct, images }),
        searched_count: None,
        selected_epoch: None,
        epochs: 1,
        seconds: 1.0,
        skipped_images: 0,
        curve: LearningCurve::default(),
        searched: None,
    }
}

fn bytes(report: &FrontReport) -> Vec<u8> {
    serde_json::to_vec(report).unwrap()
}

/// The report by its definition, from each task's latest observation.
fn brute_force(candidates: &[Candidate], latest: &BTreeMap<TaskId, Observation>) -> FrontReport {
    let rows = candidates
        .iter()
        .map(|candidate| brute_force_row(candidate, latest));
    let mut rows: Vec<FrontRow> = rows.flatten().collect();
    let better = |a: &FrontRow, b: &FrontRow| {
        let more = a.accuracy_mean > b.accuracy_mean + 1e-9;
        let same = (a.accuracy_mean - b.accuracy_mean).abs() <= 1e-9;
        (a.relu_count <= b.relu_count && more) || (a.relu_count < b.relu_count && same)
    };
    let rivals: Vec<FrontRow> = rows.clone();
    for row in &mut rows {
        let mut rivals = rivals
            .iter()
            .filter(|rival| rival.kind == PointKind::Replaced);
        row.on_front = row.kind == PointKind::Replaced && !rivals.any(|rival| better(rival, row));
    }
    let points: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row.on_front)
        .map(|row| {
            (
                row.relu_count as f64 / TOTAL as f64,
                row.accuracy_mean / 100.0,
            )
        })
        .collect();
    FrontReport {
        sweep: name(),
        hypervolume: hypervolume(&points),
        rows,
    }
}

fn brute_force_row(
    candidate: &Candidate,
    latest: &BTreeMap<TaskId, Observation>,
) -> Option<FrontRow> {
    let seeds: Vec<&Observation> = candidate
        .evaluations
        .iter()
        .filter_map(|(_, task)| latest.get(task))
        .filter(|seed| seed.relu_count <= candidate.budget)
        .collect();
    let percents: Vec<f64> = seeds
        .iter()
        .map(|seed| seed.test.unwrap().percent())
        .collect();
    let n = percents.len() as f64;
    let mean = percents.iter().sum::<f64>() / n;
    let squares: f64 = percents
        .iter()
        .map(|percent| (percent - mean).powi(2))
        .sum();
    let validations: Option<Vec<f64>> = seeds
        .iter()
        .map(|seed| seed.validation.map(Accuracy::percent))
        .collect();
    let differences = |validations: &[f64]| -> Vec<f64> {
        let both = validations.iter().zip(&percents);
        both.map(|(validation, test)| validation - test).collect()
    };
    let bias = |validations: &[f64]| differences(validations).iter().sum::<f64>() / n;
    let bias_error = |validations: &[f64]| {
        let mean = bias(validations);
        let squares = differences(validations)
            .into_iter()
            .map(|it| (it - mean).powi(2));
        (squares.sum::<f64>() / (n - 1.0) / n).sqrt()
    };
    Some(FrontRow {
        id: candidate.id,
        candidate: candidate.label.clone(),
        kind: candidate.kind,
        strategy: candidate.strategy,
        data: "cifar-100".to_owned(),
        net: "resnet18".to_owned(),
        budget: candidate.budget,
        relu_count: seeds.iter().map(|seed| seed.relu_count).max()?,
        relu_total: TOTAL,
        accuracy_mean: mean,
        accuracy_std: if seeds.len() < 2 {
            0.0
        } else {
            (squares / (n - 1.0)).sqrt()
        },
        accuracy_se: (seeds.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()),
        p_on_front: None,
        front_low: None,
        front_high: None,
        selection_bias: validations.as_ref().map(|percents| bias(percents)),
        selection_bias_se: (validations.as_ref())
            .filter(|_| seeds.len() > 1)
            .map(|percents| bias_error(percents)),
        validation_mean: validations.map(|percents| percents.iter().sum::<f64>() / n),
        lies_under: None,
        convergence: None,
        projection_cost: None,
        seeds: u32::try_from(seeds.len()).unwrap(),
        seeds_planned: u32::try_from(candidate.evaluations.len()).unwrap(),
        on_front: false,
    })
}

/// Equal but for the rounding of means and the order of rows.
fn assert_agree(mut found: FrontReport, mut expected: FrontReport) {
    assert!((found.hypervolume - expected.hypervolume).abs() < 1e-9);
    for report in [&mut found, &mut expected] {
        report.hypervolume = 0.0;
        report.rows.sort_by_key(|row| row.id);
        for row in &mut report.rows {
            row.accuracy_mean = rounded(row.accuracy_mean);
            row.accuracy_std = rounded(row.accuracy_std);
            row.accuracy_se = row.accuracy_se.map(rounded);
            row.validation_mean = row.validation_mean.map(rounded);
            row.selection_bias = row.selection_bias.map(rounded);
            row.selection_bias_se = row.selection_bias_se.map(rounded);
            // See their own tests.
            row.lies_under = None;
            (row.p_on_front, row.front_low, row.front_high) = (None, None, None);
        }
    }
    assert_eq!(found, expected);
}

fn rounded(number: f64) -> f64 {
    // Adding zero makes negative zero positive.
    (number * 1e5).round() / 1e5 + 0.0
}

/// Candidates whose tasks are drawn from a small pool, so that some tasks measure several.
fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (
        0_u8..5,
        5_u64..40,
        prop::collection::btree_set(0_u8..9, 1..4),
    );
    prop::collection::vec(one, 1..8).prop_map(|drawn| {
        (0_u8..)
            .zip(drawn)
            .map(|(number, (kind, budget, tasks))| {
                let tasks: Vec<u8> = tasks.into_iter().collect();
                if kind == 0 {
                    candidate(number, PointKind::Baseline, TOTAL, &tasks)
                } else {
                    candidate(number, PointKind::Replaced, budget, &tasks)
                }
            })
            .collect()
    })
}

fn any_observation() -> impl Strategy<Value = Observation> {
    (
        0_u64..45,
        0_u64..=16,
        prop::sample::select(vec![16_u64, 32]),
    )
        .prop_map(|(count, correct, images)| observation(count, correct, images))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_report_is_the_brute_force_one_in_any_order_with_redone_and_forgotten_tasks(
        candidates in any_candidates(),
        changes in prop::collection::vec((0_u8..10, prop::option::weighted(0.85, any_observation())), 0..40),
        order in any::<u64>(),
    ) {
        let mut front = SweepFront::new(&name(), &candidates);
        let mut latest = BTreeMap::new();
        for (number, change) in changes {
            let before = front.report();
            let told = match &change {
                Some(seen) => front.observe(task(number), seen),
                None => front.forget(task(number)),
            };
            match change {
                Some(seen) => latest.insert(task(number), seen),
                None => latest.remove(&task(number)),
            };
            let after = front.report();
            assert_told_the_difference(&told, &before, &after);
            assert_standing(&front.standing(), &after);
            assert_agree(after, brute_force(&candidates, &latest));
        }

        let mut shuffled: Vec<_> = latest.into_iter().collect();
        let key = |task: &TaskId| Digest::of(format!("{order} {task}").as_bytes());
        shuffled.sort_by_key(|(task, _)| key(task));
        let mut again = SweepFront::new(&name(), &candidates);
        for (task, seen) in &shuffled {
            again.observe(*task, seen);
        }
        prop_assert_eq!(bytes(&again.report()), bytes(&front.report()));
    }
}

/// The few numbers are the report's.
fn assert_standing(standing: &Standing, report: &FrontReport) {
    let of_kind = |kind| report.rows.iter().filter(move |row| row.kind == kind);
    let on_front: Vec<&FrontRow> = report.rows.iter().filter(|row| row.on_front).collect();
    assert_eq!(standing.size, on_front.len());
    assert!((standing.hypervolume - report.hypervolume).abs() < 1e-12);
    let best = |rows: &mut dyn Iterator<Item = &FrontRow>| {
        rows.map(|row| row.accuracy_mean).max_by(f64::total_cmp)
    };
    let baseline = best(&mut of_kind(PointKind::Baseline));
    assert_eq!(standing.baseline, baseline);
    for budget in 0..=TOTAL {
        let within = |row: &&FrontRow| row.relu_count <= budget;
        let expected = best(&mut of_kind(PointKind::Replaced).filter(within));
        assert_eq!(standing.best_within(budget), expected, "within {budget}");
    }
}

fn assert_told_the_difference(told: &FrontChange, before: &FrontReport, after: &FrontReport) {
    let members = |report: &FrontReport| -> std::collections::BTreeSet<CandidateId> {
        let on = report.rows.iter().filter(|row| row.on_front);
        on.map(|row| row.id).collect()
    };
    let (before, after) = (members(before), members(after));
    let joined: std::collections::BTreeSet<_> = told.joined.iter().copied().collect();
    let left: std::collections::BTreeSet<_> = told.left.iter().copied().collect();
    assert_eq!(joined, &after - &before);
    assert_eq!(left, &before - &after);
}

#[test]
fn an_observation_above_its_budget_is_refused_and_never_a_point() {
    let candidates = [candidate(1, PointKind::Replaced, 20, &[1])];
    let mut front = SweepFront::new(&name(), &candidates);
    let change = front.observe(task(1), &observation(21, 15, 16));
    let refused = change.refused.first().unwrap();
    assert_eq!((refused.candidate, refused.seed), (id(1), 0));
    let (budget, found) = (20, 21);
    assert_eq!(refused.refusal, Refusal::AboveBudget { budget, found });
    assert_eq!(front.report().rows, []);

    assert!(
        front
            .observe(task(1), &observation(20, 15, 16))
            .refused
            .is_empty()
    );
    assert_eq!(front.report().rows.len(), 1);
}

#[test]
fn a_refused_result_of_a_redone_task_also_takes_the_old_one_away() {
    let candidates = [candidate(1, PointKind::Replaced, 20, &[1])];
    let mut front = SweepFront::new(&name(), &candidates);
    front.observe(task(1), &observation(20, 15, 16));
    let change = front.observe(task(1), &observation(21, 16, 16));
    assert_eq!((change.left, change.refused.len()), (vec![id(1)], 1));
    assert_eq!(front.report().rows, []);
}

#[test]
fn results_that_measure_something_else_are_refused_with_the_reason() {
    let candidates = [candidate(1, PointKind::Replaced, 20, &[1])];
    let good = observation(20, 15, 16);
    let cases = [
        (
            Observation {
                relu_total: 51,
                ..good.clone()
            },
            "expected a net with 50 ReLUs in full, found one with 51",
        ),
        (
            Observation {
                test: None,
                ..good.clone()
            },
            "expected an accuracy on the test set, found none",
        ),
        (
            observation(20, 17, 16),
            "expected at most as many correct images as images, and at least one, found 17 of 16",
        ),
        (
            observation(20, 0, 0),
            "expected at most as many correct images as images, and at least one, found 0 of 0",
        ),
    ];
    for (bad, reason) in cases {
        let mut front = SweepFront::new(&name(), &candidates);
        let change = front.observe(task(1), &bad);
        assert_eq!(change.refused[0].refusal.to_string(), reason);
        assert_eq!(front.report().rows, []);
    }
}

#[test]
fn an_unknown_task_and_a_repeated_observation_change_nothing() {
    let candidates = [candidate(1, PointKind::Replaced, 20, &[1, 2])];
    let mut front = SweepFront::new(&name(), &candidates);
    assert_eq!(
        front.observe(task(1), &observation(20, 15, 16)).joined,
        [id(1)]
    );
    let before = bytes(&front.report());
    for number in [1, 9] {
        let change = front.observe(task(number), &observation(20, 15, 16));
        assert_eq!(change, FrontChange::default());
    }
    assert_eq!(front.forget(task(9)), FrontChange::default());
    assert_eq!(bytes(&front.report()), before);
}

#[test]
fn one_task_serves_every_candidate_that_it_measures() {
    let candidates = [
        candidate(1, PointKind::Replaced, 20, &[1]),
        candidate(2, PointKind::Replaced, 30, &[1]),
    ];
    let mut front = SweepFront::new(&name(), &candidates);
    let change = front.observe(task(1), &observation(20, 15, 16));
    assert_eq!(change.joined, [id(1), id(2)]);
}

#[test]
fn a_baseline_is_first_and_never_on_the_front() {
    let candidates = [
        candidate(1, PointKind::Replaced, 20, &[1]),
        candidate(2, PointKind::Baseline, TOTAL, &[2]),
    ];
    let mut front = SweepFront::new(&name(), &candidates);
    front.observe(task(1), &observation(20, 10, 16));
    let change = front.observe(task(2), &observation(TOTAL, 16, 16));
    assert_eq!(change, FrontChange::default());
    let report = front.report();
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.kind, row.on_front))
        .collect();
    assert_eq!(
        rows,
        [(PointKind::Baseline, false), (PointKind::Replaced, true)]
    );
    // The baseline dominates nothing: the area is the replaced candidate's alone.
    assert!((report.hypervolume - (1.0 - 20.0 / 50.0) * 10.0 / 16.0).abs() < 1e-12);
}

#[test]
fn rows_are_by_count_then_accuracy_then_label_then_identity() {
    let numbers = [1_u8, 2, 3, 4, 6];
    let measured = [(20, 9), (10, 9), (10, 12), (10, 9), (10, 9)];
    let candidates = numbers.map(|n| candidate(n, PointKind::Replaced, 20, &[n]));
    let mut front = SweepFront::new(&name(), &candidates);
    for (number, (count, correct)) in numbers.into_iter().zip(measured) {
        front.observe(task(number), &observation(count, correct, 16));
    }
    // Labels: 1 and 4 have "label 1", 2 has "label 2", 3 and 6 have "label 0".
    let order: Vec<CandidateId> = front.report().rows.iter().map(|row| row.id).collect();
    assert_eq!(order, [3, 6, 4, 2, 1].map(id));
}

/// A search's result: passed `budget` with a count, after which an epoch ended with another.
fn search(budget: u64, at: u64, after: u64, lost: u64) -> Observation {
    let accuracy = |correct| Accuracy {
        correct,
        images: 200,
    };
    let change = Effect::Change {
        before: accuracy(100),
        after: accuracy(100 - lost),
    };
    Observation {
        curve: LearningCurve {
            images: 200,
            epochs: vec![(TOTAL, 90).into(), (after, 95).into()],
        },
        searched: Some(Searched {
            epochs: 2,
            turned_off: 40,
            turned_on: 5,
            projections: vec![Projection {
                budget,
                searched_count: at,
                epochs: 1,
                effect: Some(change),
            }],
        }),
        ..observation(budget, 10, 16)
    }
}

const SEARCHED: &str = "apiVersion: autorep/v1
kind: Sweep
metadata: { name: searched }
spec:
  data: { name: fashion-mnist, train_limit: 100, validation: 10 }
  net: { name: resnet9, width: 8 }
  budgets: [20, 10]
  seeds: [0, 1]
  strategy: descent
  baseline: { epochs: 1, batch: 10 }
  replace: { epochs: 2, batch: 10 }
  finetune: { epochs: 1, batch: 10 }
";

#[test]
fn a_row_says_the_worst_of_what_its_searches_say_once_all_of_them_have() {
    let plan = Plan::expand(&crate::manifest::parse(SEARCHED).unwrap());
    let mut front = SweepFront::of(&name(), &plan);
    let kind = |wanted: TaskKind| {
        let tasks = plan.tasks.iter();
        tasks.filter(move |task| task.spec.kind() == wanted)
    };
    let searches: Vec<TaskId> = kind(TaskKind::Replace).map(|task| task.id).collect();
    assert_eq!(searches.len(), 2, "one per seed");
    let wanted = front.tasks();
    assert_eq!(wanted.len(), kind(TaskKind::Evaluate).count() + 2);
    assert!(searches.iter().all(|search| wanted.contains(search)));
    for task in kind(TaskKind::Evaluate) {
        let Work::Evaluate { budget, .. } = task.spec.work else {
            panic!("an evaluation");
        };
        let measured = Observation {
            relu_total: task.spec.net.relu_total(task.spec.data.name.input()),
            ..observation(budget, 12, 16)
        };
        front.observe(task.id, &measured);
    }
    let said = |front: &SweepFront| -> Vec<(u64, Option<Convergence>, Option<f64>)> {
        let rows = front.report().rows.into_iter();
        rows.filter(|row| row.kind == PointKind::Replaced)
            .map(|row| (row.budget, row.convergence, row.projection_cost))
            .collect()
    };
    let nothing = [(10, None, None), (20, None, None)];
    assert_eq!(said(&front), nothing);
    let change = front.observe(searches[0], &search(20, 19, 18, 2));
    assert_eq!(change, FrontChange::default());
    assert_eq!(said(&front), nothing, "the other seed has not said");
    front.observe(searches[1], &search(20, 19, 30, 5));
    let (left, mean) = (Some(Convergence::Left), Some(1.75));
    assert_eq!(said(&front), [(10, None, None), (20, left, mean)]);
    front.forget(searches[1]);
    assert_eq!(said(&front), nothing);
}

#[test]
fn selection_bias_is_a_mean_of_points_not_of_seeds() {
    let candidates = [
        candidate(1, PointKind::Replaced, 20, &[1, 2]),
        candidate(2, PointKind::Replaced, 30, &[3]),
        candidate(3, PointKind::Baseline, TOTAL, &[4]),
    ];
    let mut front = SweepFront::new(&name(), &candidates);
    assert_eq!(front.report().selection_bias(), None);
    let seed = |relus, validation, correct| Observation {
        validation: Some(Accuracy {
            correct: validation,
            images: 100,
        }),
        ..observation(relus, correct, 100)
    };
    front.observe(task(1), &seed(20, 84, 80));
    front.observe(task(2), &seed(20, 82, 80));
    // Dominated.
    front.observe(task(3), &seed(30, 76, 75));
    front.observe(task(4), &seed(TOTAL, 99, 90));
    let report = front.report();
    let biases: Vec<_> = (report.rows.iter())
        .map(|row| (row.selection_bias, row.selection_bias_se))
        .collect();
    // 4 and 2 points differ by root 2 standard deviations from their mean.
    let expected = [(9.0, None), (3.0, Some(1.0)), (1.0, None)];
    assert_eq!(biases, expected.map(|(mean, error)| (Some(mean), error)));
    let expected = SelectionBias {
        on_front: Some(3.0),
        all: 2.0,
    };
    assert_eq!(report.selection_bias(), Some(expected));
}
