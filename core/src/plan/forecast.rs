//! What a plan still has to do where some of it has been done already: what is reused, what is left,
//! and the longest chain of work, which no number of workers makes shorter.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::summary::WorkSummary;
use crate::cost::{Cost, task_costs};
use crate::growth::ALL_EPOCHS;
use crate::id::TaskId;
use crate::pace::{Done, Pace, hours, millis};
use crate::task::TaskKind;

/// What is known of a task, whoever asked for it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Progress {
    /// Seconds that trainers worked on it.
    pub seconds: f64,
    /// Epochs that need not be trained again.
    pub epochs: u32,
    /// Whether it has its result.
    pub is_done: bool,
    /// Whether its outputs can be read.
    pub is_readable: bool,
}

/// What is left of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Forecast {
    /// Tasks that need not be done: they are, whichever sweep asked for them.
    pub reused: u64,
    /// Those of them that train.
    pub reused_trained: u64,
    /// GPU-hours that they took.
    pub saved_gpu_hours: f64,
    /// What is left if nothing is added that the sweep may add.
    pub left: Left,
    /// What is left if all of the plan is run.
    pub most_left: Left,
    /// The longest chain of what is left, parents first.
    pub critical_path: CriticalPath,
}

/// An amount of work that is left.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Left {
    /// Training work.
    pub work: WorkSummary,
    /// GPU-hours, at the pace of what has been done; absent where nothing has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_hours: Option<f64>,
}

/// A chain of tasks of which each needs the one before.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CriticalPath {
    /// The kinds of its tasks.
    pub kinds: Vec<TaskKind>,
    /// Its work.
    pub work: WorkSummary,
    /// Hours that it takes, at the pace of what has been done; absent where nothing has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
}

impl Forecast {
    /// What is left of a plan whose tasks have a GPU count of `gpus` (at least one is counted), where
    /// `known` has what was done.
    pub fn of(plan: &Plan, gpus: u32, known: &BTreeMap<TaskId, Progress>) -> Self {
        let costs: Vec<Cost> = task_costs(plan.tasks.iter().map(|task| &task.spec)).collect();
        let pace = pace(plan, &costs, known);
        let places: BTreeMap<TaskId, usize> =
            (plan.tasks.iter().map(|task| task.id)).zip(0..).collect();
        let allowed = at_least(plan, known);
        let is_reused = reused(plan, &places, known, &allowed);
        let least = left(plan, known, &costs, &allowed, &is_reused);
        let all = vec![ALL_EPOCHS; costs.len()];
        let is_reused_by_all = reused(plan, &places, known, &all);
        let most = left(plan, known, &costs, &all, &is_reused_by_all);
        let gpus = f64::from(gpus.max(1));
        let kind = |place: usize| plan.tasks[place].spec.kind();
        let saved_ms: u64 = (plan.tasks.iter().zip(&is_reused))
            .filter(|(_, is_reused)| **is_reused)
            .filter_map(|(task, _)| Some(millis(known.get(&task.id)?.seconds)))
            .sum();
        let is_trained =
            |(place, is_reused): &(usize, &bool)| **is_reused && kind(*place) != TaskKind::Evaluate;
        Self {
            reused: is_reused.iter().filter(|it| **it).count() as u64,
            reused_trained: is_reused.iter().enumerate().filter(is_trained).count() as u64,
            saved_gpu_hours: hours(saved_ms as f64) * gpus,
            left: sum(plan, &least, &pace, gpus),
            most_left: sum(plan, &most, &pace, gpus),
            critical_path: critical_path(plan, &places, &least, &pace),
        }
    }
}

/// At what pace the known tasks were done.
fn pace(plan: &Plan, costs: &[Cost], known: &BTreeMap<TaskId, Progress>) -> Pace {
    let mut pace = Pace::default();
    for (task, &cost) in plan.tasks.iter().zip(costs) {
        if let Some(progress) = known.get(&task.id) {
            let all = progress.is_done.then_some(ALL_EPOCHS);
            let epochs = all.unwrap_or(progress.epochs);
            pace.add(task.spec.kind(), Done::of(cost, epochs, progress.seconds));
        }
    }
    pace
}

/// The epochs that tasks are let train for at least, as far as they have come: what was begun was let,
/// and of each heat those go on that have come farthest, no more than must.
fn at_least(plan: &Plan, known: &BTreeMap<TaskId, Progress>) -> Vec<u32> {
    let came = |place: u32| match known.get(&plan.tasks[place as usize].id) {
        Some(progress) if progress.is_done => ALL_EPOCHS,
        Some(progress) => progress.epochs,
        None => 0,
    };
    let mut allowed = vec![ALL_EPOCHS; plan.tasks.len()];
    for (place, epochs) in plan.growth.allowances(&[]) {
        allowed[place as usize] = if epochs == 0 && came(place) > 0 {
            ALL_EPOCHS
        } else {
            epochs
        };
    }
    for heat in &plan.growth.heats {
        let mut farthest: Vec<(u32, u32)> = (0..)
            .zip(&heat.entrants)
            .map(|(number, entrant)| {
                let farthest = entrant.tasks.iter().map(|&place| came(place)).max();
                (farthest.unwrap_or(0), number)
            })
            .collect();
        farthest.sort_by_key(|&(came, number)| (Reverse(came), number));
        let going_on = heat.going_on();
        for (at, (came, entrant)) in farthest.into_iter().enumerate() {
            let must = going_on.iter().take_while(|&&most| at < most).count();
            let has = heat.rungs.iter().take_while(|&&rung| came > rung).count();
            for rung in (0_u32..).take(must.max(has)) {
                for (place, epochs) in heat.allowed_after(entrant, rung) {
                    let known = &mut allowed[place as usize];
                    *known = epochs.max(*known);
                }
            }
        }
    }
    allowed
}

/// What is left of each task that is let train for so many epochs, where these are reused.
fn left(
    plan: &Plan,
    known: &BTreeMap<TaskId, Progress>,
    costs: &[Cost],
    allowed: &[u32],
    is_reused: &[bool],
) -> Vec<Cost> {
    let left = |(place, &cost): (usize, &Cost)| {
        if is_reused[place] {
            return Cost::default();
        }
        let trained = trained(&plan.tasks[place].id, known);
        cost.up_to(allowed[place]).without(cost.up_to(trained))
    };
    costs.iter().enumerate().map(left).collect()
}

/// Epochs from which a task goes on that is not reused: none where it is done and made again.
fn trained(task: &TaskId, known: &BTreeMap<TaskId, Progress>) -> u32 {
    let progress = known.get(task).filter(|progress| !progress.is_done);
    progress.map_or(0, |progress| progress.epochs)
}

/// Which tasks are done and stay so, where these are the epochs that tasks are let train for: the
/// outputs of the others are gone, and something that is to train reads them.
fn reused(
    plan: &Plan,
    places: &BTreeMap<TaskId, usize>,
    known: &BTreeMap<TaskId, Progress>,
    allowed: &[u32],
) -> Vec<bool> {
    let mut is_needed = vec![false; plan.tasks.len()];
    let mut is_reused = vec![false; plan.tasks.len()];
    // Children before their parents.
    for (place, task) in plan.tasks.iter().enumerate().rev() {
        let progress = known.get(&task.id);
        is_reused[place] =
            progress.is_some_and(|it| it.is_done && (it.is_readable || !is_needed[place]));
        let trains = allowed[place] > trained(&task.id, known);
        if !is_reused[place] && trains {
            for input in task.spec.inputs() {
                if let Some(&parent) = places.get(&input.task) {
                    is_needed[parent] = true;
                }
            }
        }
    }
    is_reused
}

fn sum(plan: &Plan, left: &[Cost], pace: &Pace, gpus: f64) -> Left {
    let work = (left.iter()).fold(Cost::default(), |sum, &cost| sum + cost);
    let ms: Option<f64> = (plan.tasks.iter().zip(left))
        .filter(|(_, cost)| cost.macs > 0)
        .map(|(task, cost)| pace.foresee_ms(task.spec.kind(), cost.macs))
        .sum();
    Left {
        work: work.into(),
        // The sum of nothing is -0.0, which people would be shown.
        gpu_hours: ms.map(|ms| hours(ms) * gpus + 0.0),
    }
}

/// The longest chain, by time where that can be foreseen, else by MACs.
fn critical_path(
    plan: &Plan,
    places: &BTreeMap<TaskId, usize>,
    left: &[Cost],
    pace: &Pace,
) -> CriticalPath {
    // For each task the length of the longest chain that ends with it, and the one before it there.
    let mut chains: Vec<(f64, Option<usize>)> = Vec::with_capacity(left.len());
    for (task, cost) in plan.tasks.iter().zip(left) {
        let own = match pace.foresee_ms(task.spec.kind(), cost.macs) {
            Some(ms) => ms,
            None => cost.macs as f64,
        };
        let parents = task.spec.inputs().into_iter();
        let longest = parents
            .filter_map(|input| places.get(&input.task).copied())
            .max_by(|&one, &other| chains[one].0.total_cmp(&chains[other].0));
        let before = longest.map_or(0.0, |parent| chains[parent].0);
        chains.push((before + own, longest));
    }
    let last = (0..chains.len())
        .max_by(|&one, &other| (chains[one].0.total_cmp(&chains[other].0)).then(other.cmp(&one)));
    let way = std::iter::successors(last, |&place| chains[place].1);
    let mut way: Vec<usize> = way
        .filter(|&place| left[place] != Cost::default())
        .collect();
    way.reverse();
    let work = way.iter().fold(Cost::default(), |sum, &at| sum + left[at]);
    let ms: Option<f64> = (way.iter())
        .map(|&at| pace.foresee_ms(plan.tasks[at].spec.kind(), left[at].macs))
        .sum();
    CriticalPath {
        kinds: way.iter().map(|&at| plan.tasks[at].spec.kind()).collect(),
        work: work.into(),
        hours: ms.map(|ms| hours(ms) + 0.0),
    }
}
