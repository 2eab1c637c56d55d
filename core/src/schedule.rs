//! Which ready task of a sweep a worker gets next: a total order over its tasks, and the ready ones
//! kept in it. Which sweep's turn it is, the ledger decides ([`crate::ledger`]).
//!
//! The order serves two wishes. The sweep should end early: what has the longest chain of work
//! behind it goes first. And its front should be worth looking at early: the first seed of every
//! candidate goes before the second seed of any, and a net that is ready to be measured is
//! measured, because that takes seconds and puts a point on the front.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::TaskId;
use crate::plan::Plan;
use crate::task::TaskKind;

/// A task's place in the order: smaller ranks run first.
///
/// The order of the fields is the order of the criteria.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    /// What everything waits for, then what shows on the front at once, then the rest.
    pub stage: Stage,
    /// The seed's place among the plan's seeds.
    pub wave: u32,
    /// Tasks on the longest chain from this one to the plan's end, itself included.
    pub chain: Reverse<u32>,
    /// The place in the plan, which decides ties.
    pub index: u32,
}

/// The coarse order of a sweep's tasks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Baselines: all other tasks wait for one.
    Baseline,
    /// Evaluations: seconds of work that put a point on the front.
    Evaluate,
    /// All other training.
    Train,
}

impl Stage {
    const fn of(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Baseline => Self::Baseline,
            TaskKind::Evaluate => Self::Evaluate,
            TaskKind::Replace | TaskKind::Finetune => Self::Train,
        }
    }
}

/// The ranks of a plan's tasks, in the plan's order. Parents must precede their children, as they
/// do in every plan.
pub fn ranks(plan: &Plan) -> Vec<Rank> {
    let index: BTreeMap<TaskId, usize> = (plan.tasks.iter().map(|task| task.id).zip(0..)).collect();
    let seeds: BTreeSet<u64> = plan.tasks.iter().map(|task| task.spec.seed).collect();
    let wave: BTreeMap<u64, u32> = seeds.into_iter().zip(0..).collect();
    let mut chain = vec![1_u32; plan.tasks.len()];
    for (at, task) in plan.tasks.iter().enumerate().rev() {
        for input in task.spec.inputs() {
            if let Some(&parent) = index.get(&input.task) {
                chain[parent] = chain[parent].max(chain[at] + 1);
            }
        }
    }
    (plan.tasks.iter().zip(chain).zip(0..))
        .map(|((task, chain), index)| Rank {
            stage: Stage::of(task.spec.kind()),
            wave: wave[&task.spec.seed],
            chain: Reverse(chain),
            index,
        })
        .collect()
}

/// The tasks of one sweep that may be leased, in the order in which they should be.
///
/// Tasks are known by their slots, the ledger's small numbers for them. Every operation takes
/// logarithmic time, but for tasks whose time to wait is over: they are looked at one by one
/// until [`Self::promote`] is called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadySet {
    ready: BTreeSet<(Rank, u32)>,
    /// Tasks that must wait until a time, after a failure.
    delayed: BTreeMap<(u64, u32), Rank>,
}

impl ReadySet {
    /// Adds a task that may run from `not_before_ms` on; zero means at once.
    pub fn insert(&mut self, slot: u32, rank: Rank, not_before_ms: u64) {
        if not_before_ms == 0 {
            self.ready.insert((rank, slot));
        } else {
            self.delayed.insert((not_before_ms, slot), rank);
        }
    }

    /// Takes a task out, with what it was put in with; without effect if it is not in.
    pub fn remove(&mut self, slot: u32, rank: Rank, not_before_ms: u64) {
        self.ready.remove(&(rank, slot));
        self.delayed.remove(&(not_before_ms, slot));
    }

    /// The task to run next.
    pub fn pick(&self, now_ms: u64) -> Option<u32> {
        let due = (self.delayed.range(..=(now_ms, u32::MAX)))
            .map(|(&(_, slot), &rank)| (rank, slot))
            .min();
        (self.ready.first().copied().into_iter().chain(due))
            .min()
            .map(|(_, slot)| slot)
    }

    /// Whether a task is in that need not wait.
    pub fn has_some_at_once(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts the tasks whose time to wait is over among the others.
    pub fn promote(&mut self, now_ms: u64) {
        while let Some(entry) = self.delayed.first_entry() {
            let &(not_before_ms, slot) = entry.key();
            if not_before_ms > now_ms {
                return;
            }
            let rank = entry.remove();
            self.ready.insert((rank, slot));
        }
    }

    /// The first time after `now_ms` at which a delayed task may run.
    pub fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let mut later = self.delayed.range((now_ms.saturating_add(1), 0)..);
        later.next().map(|(&(not_before_ms, _), _)| not_before_ms)
    }

    /// Whether a task is in, delayed or not.
    pub fn contains(&self, slot: u32, rank: Rank, not_before_ms: u64) -> bool {
        self.ready.contains(&(rank, slot)) || self.delayed.contains_key(&(not_before_ms, slot))
    }

    /// How many tasks are in, delayed ones included.
    pub fn len(&self) -> usize {
        self.ready.len() + self.delayed.len()
    }

    /// Whether no task is in.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture::tiny_plan;

    #[test]
    fn baselines_come_first_then_evaluations_then_the_first_seed_by_its_longest_chain() {
        let plan = tiny_plan(&[0, 1], &[100, 50]);
        let mut order: Vec<(Rank, TaskKind, u64)> = ranks(&plan)
            .into_iter()
            .zip(&plan.tasks)
            .map(|(rank, task)| (rank, task.spec.kind(), task.spec.seed))
            .collect();
        order.sort();
        let mut kinds: Vec<(TaskKind, u64)> = order.iter().map(|it| (it.1, it.2)).collect();
        kinds.dedup();
        assert_eq!(
            kinds,
            [
                (TaskKind::Baseline, 0),
                (TaskKind::Baseline, 1),
                (TaskKind::Evaluate, 0),
                (TaskKind::Evaluate, 1),
                (TaskKind::Replace, 0),
                (TaskKind::Finetune, 0),
                (TaskKind::Replace, 1),
                (TaskKind::Finetune, 1),
            ]
        );
    }

    #[test]
    fn a_delayed_task_waits_and_then_takes_its_place_in_the_order() {
        let rank = |index| Rank {
            stage: Stage::Train,
            wave: 0,
            chain: Reverse(1),
            index,
        };
        let mut set = ReadySet::default();
        set.insert(1, rank(1), 50);
        set.insert(2, rank(2), 0);
        assert_eq!(set.pick(49), Some(2));
        assert_eq!(set.pick(50), Some(1));
        assert_eq!(set.next_due_ms(49), Some(50));
        assert_eq!(set.next_due_ms(50), None);
        set.promote(49);
        assert_eq!(set.pick(0), Some(2));
        set.promote(50);
        assert_eq!(set.pick(0), Some(1));
        set.remove(1, rank(1), 50);
        set.remove(2, rank(2), 0);
        assert!(set.is_empty());
        assert_eq!(set.pick(u64::MAX), None);
    }
}
