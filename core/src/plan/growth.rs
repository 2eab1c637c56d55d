//! How a plan may grow: which of its tasks wait for what.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, PlannedTask};
use crate::candidate::{Candidate, PointKind};
use crate::growth::{
    Extension, Growth, Heat, MoreBudgets, MoreSeeds, MoreTraining, Refine, Spot, first_of,
};
use crate::id::TaskId;
use crate::manifest::Manifest;
use crate::task::{TaskKind, Work};

/// How a plan may grow whose searches are compared in these heats.
pub(super) fn growth(
    manifest: &Manifest,
    plan: &Plan,
    mut heats: Vec<Heat>,
    extended: &[usize],
) -> Growth {
    let adaptive = manifest.adaptive_seeds;
    if adaptive.is_none() && manifest.refine.is_none() && extended.is_empty() {
        return Growth {
            heats,
            ..Growth::default()
        };
    }
    let chains = chains(&plan.tasks, &plan.candidates);
    let budgets =
        (manifest.refine).map(|refine| more_budgets(manifest, refine, plan, &chains, extended));
    let training = (!extended.is_empty()).then(|| more_training(plan, &chains, extended));
    // What follows a search for a point that may be added waits for that.
    let held: BTreeSet<u32> = (budgets.iter().flat_map(MoreBudgets::held_back))
        .chain(training.iter().flat_map(MoreTraining::held_back))
        .map(|(place, _)| place)
        .collect();
    for entrant in heats.iter_mut().flat_map(|heat| &mut heat.entrants) {
        entrant.followers.retain(|place| !held.contains(place));
    }
    let seeds = adaptive.map(|adaptive| MoreSeeds { adaptive, chains });
    Growth {
        heats,
        budgets,
        training,
        seeds,
    }
}

/// What candidates have in common that differ only in their budget: one line.
fn line_of(candidate: &Candidate) -> (&str, u64) {
    (&candidate.label, candidate.relu_total)
}

/// The lines of a plan's candidates, with what each budget alone needs.
fn more_budgets(
    manifest: &Manifest,
    refine: Refine,
    plan: &Plan,
    chains: &[Vec<Vec<u32>>],
    extended: &[usize],
) -> MoreBudgets {
    let mut lines: BTreeMap<(&str, u64), Vec<Spot>> = BTreeMap::new();
    let is_extension: BTreeSet<usize> = extended.iter().map(|at| at + 1).collect();
    for (number, (candidate, chains)) in (0..).zip(plan.candidates.iter().zip(chains)) {
        if candidate.kind != PointKind::Replaced || is_extension.contains(&(number as usize)) {
            continue;
        }
        let serves = |place: &&u32| {
            let spec = &plan.tasks[**place as usize].spec;
            spec.own_budget() == Some(candidate.budget)
        };
        let own = (chains.iter()).map(|chain| chain.iter().filter(serves).copied().collect());
        let line = lines.entry(line_of(candidate));
        line.or_default().push(Spot {
            candidate: number,
            own: own.collect(),
            is_first: false,
        });
    }
    let mut lines: Vec<Vec<Spot>> = lines.into_values().collect();
    for line in &mut lines {
        line.reverse(); // They come with falling budgets.
        let first = first_of(line.len(), refine.first as usize);
        for (spot, is_first) in line.iter_mut().zip(first) {
            spot.is_first = is_first;
        }
    }
    MoreBudgets {
        until: refine.until,
        gpus: manifest.resources.gpus.max(1),
        seeds: plan.least_seeds(),
        lines,
    }
}

/// The lines of a plan's points, with what trains each on.
fn more_training(plan: &Plan, chains: &[Vec<Vec<u32>>], extended: &[usize]) -> MoreTraining {
    let mut lines: BTreeMap<(&str, u64), Vec<Extension>> = BTreeMap::new();
    for &at in extended {
        let candidate = &plan.candidates[at];
        let more = |(base, extension): (&Vec<u32>, &Vec<u32>)| {
            let own = extension.iter().filter(|place| !base.contains(place));
            own.copied().collect()
        };
        let points = lines.entry(line_of(candidate));
        points.or_default().push(Extension {
            candidate: u32::try_from(at).unwrap_or(u32::MAX),
            evaluations: chains[at]
                .iter()
                .filter_map(|chain| chain.last().copied())
                .collect(),
            more: chains[at].iter().zip(&chains[at + 1]).map(more).collect(),
        });
    }
    MoreTraining {
        seeds: plan.least_seeds(),
        lines: lines.into_values().collect(),
    }
}

/// For each candidate and seed the places of its evaluation, last, and of all that this needs.
pub(super) fn chains(tasks: &[PlannedTask], candidates: &[Candidate]) -> Vec<Vec<Vec<u32>>> {
    let places: BTreeMap<TaskId, u32> = (tasks.iter().map(|task| task.id)).zip(0..).collect();
    // A baseline that is trained is measured, too: it is the reference.
    let references: BTreeMap<TaskId, u32> = (tasks.iter().zip(0..))
        .filter_map(|(task, place)| match &task.spec.work {
            Work::Evaluate { subject, .. } => Some((subject.task, place)),
            Work::Baseline { .. } | Work::Replace { .. } | Work::Finetune { .. } => None,
        })
        .collect();
    let chain = |evaluation: &TaskId| {
        let mut chain = BTreeSet::new();
        let mut open = vec![*evaluation];
        while let Some(place) = open.pop().and_then(|task| places.get(&task)) {
            let task = &tasks[*place as usize];
            let is_baseline = task.spec.kind() == TaskKind::Baseline;
            chain.extend(references.get(&task.id).filter(|_| is_baseline));
            if chain.insert(*place) {
                let inputs = task.spec.inputs();
                open.extend(inputs.into_iter().map(|input| input.task));
            }
        }
        chain.into_iter().collect()
    };
    (candidates.iter())
        .map(|it| it.evaluations.iter().map(|(_, task)| chain(task)).collect())
        .collect()
}
