//! Which ready task of a sweep a worker gets next: a total order over its tasks, and the ready ones
//! kept in it. Which sweep's turn it is, the ledger decides ([`crate::ledger`]).
//!
//! The order serves two wishes. The sweep should end early: what has the longest chain of work
//! behind it goes first. And its front should be worth looking at early: the first seed of every
//! candidate goes before the second seed of any, and a net that is ready to be measured is
//! measured, because that takes seconds and puts a point on the front. A sweep that may be ended by
//! its limit goes from coarse to fine instead: the largest and the smallest budget first, then the one
//! in the middle, and so on, and what puts a point on the front soonest first.

use std::collections::{BTreeMap, BTreeSet};

use crate::candidate::PointKind;
use crate::id::TaskId;
use crate::limit::Bounds;
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
    /// How fine a front is whose budgets the task's is one of; 0 where that does not decide.
    pub level: u32,
    /// By the tasks on the longest chain from this one to the plan's end: negative where the longest
    /// go first.
    pub chain: i64,
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

/// What a sweep's order is to serve first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// That the sweep ends early.
    Shortest,
    /// That its front is a useful one whenever it ends.
    CoarseFirst,
}

impl Order {
    /// The order of a sweep within these bounds.
    pub const fn within(bounds: Bounds) -> Self {
        if bounds.is_none() {
            Self::Shortest
        } else {
            Self::CoarseFirst
        }
    }
}

/// How fine the front of each of these rising budgets is: 0 for both ends, 1 for the one in the middle,
/// 2 for those in the middle of the halves, and so on.
fn levels(budgets: &BTreeSet<u64>) -> BTreeMap<u64, u32> {
    let budgets: Vec<u64> = budgets.iter().copied().collect();
    let Some(last) = budgets.len().checked_sub(1) else {
        return BTreeMap::new();
    };
    let mut levels = BTreeMap::from([(budgets[0], 0), (budgets[last], 0)]);
    let mut open = vec![(0, last, 1)];
    while let Some((low, high, level)) = open.pop() {
        let middle = usize::midpoint(low, high);
        if middle > low {
            levels.insert(budgets[middle], level);
            open.extend([(low, middle, level + 1), (middle, high, level + 1)]);
        }
    }
    levels
}

/// For each task the level of its budget among those of its net, if it is an evaluation; the largest for
/// all others, which have the level of the coarsest that needs them.
fn levels_of_evaluations(plan: &Plan, index: &BTreeMap<TaskId, usize>) -> Vec<u32> {
    let replaced = || {
        plan.candidates
            .iter()
            .filter(|it| it.kind == PointKind::Replaced)
    };
    let mut budgets: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for candidate in replaced() {
        let of_net = budgets.entry(candidate.relu_total).or_default();
        of_net.insert(candidate.budget);
    }
    let levels: BTreeMap<u64, BTreeMap<u64, u32>> = (budgets.into_iter())
        .map(|(total, budgets)| (total, levels(&budgets)))
        .collect();
    let mut found = vec![u32::MAX; plan.tasks.len()];
    for candidate in &plan.candidates {
        let level = match candidate.kind {
            PointKind::Baseline => 0,
            PointKind::Replaced => levels[&candidate.relu_total][&candidate.budget],
        };
        for (_, evaluation) in &candidate.evaluations {
            if let Some(&place) = index.get(evaluation) {
                found[place] = level;
            }
        }
    }
    found
}

/// The ranks of a plan's tasks, in the plan's order. Parents must precede their children, as they
/// do in every plan.
pub fn ranks(plan: &Plan, order: Order) -> Vec<Rank> {
    let index: BTreeMap<TaskId, usize> = (plan.tasks.iter().map(|task| task.id).zip(0..)).collect();
    let seeds: BTreeSet<u64> = plan.tasks.iter().map(|task| task.spec.seed).collect();
    let wave: BTreeMap<u64, u32> = seeds.into_iter().zip(0..).collect();
    let mut chain = vec![1_u32; plan.tasks.len()];
    let mut level = match order {
        Order::Shortest => vec![0; plan.tasks.len()],
        Order::CoarseFirst => levels_of_evaluations(plan, &index),
    };
    for (at, task) in plan.tasks.iter().enumerate().rev() {
        for input in task.spec.inputs() {
            if let Some(&parent) = index.get(&input.task) {
                chain[parent] = chain[parent].max(chain[at] + 1);
                level[parent] = level[parent].min(level[at]);
            }
        }
    }
    (plan.tasks.iter().zip(chain.into_iter().zip(level)).zip(0..))
        .map(|((task, (chain, level)), index)| Rank {
            stage: Stage::of(task.spec.kind()),
            wave: wave[&task.spec.seed],
            level,
            chain: match order {
                Order::Shortest => -i64::from(chain),
                Order::CoarseFirst => i64::from(chain),
            },
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

    /// The tasks that may run at this time, in their order.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = u32> {
        let mut due: Vec<(Rank, u32)> = (self.delayed.range(..=(now_ms, u32::MAX)))
            .map(|(&(_, slot), &rank)| (rank, slot))
            .collect();
        due.sort_unstable();
        let (mut due, mut ready) = (due.into_iter().peekable(), self.ready.iter().peekable());
        std::iter::from_fn(move || {
            let is_due_first = match (due.peek(), ready.peek()) {
                (Some(delayed), Some(at_once)) => delayed < *at_once,
                (delayed, _) => delayed.is_some(),
            };
            if is_due_first {
                due.next()
            } else {
                ready.next().copied()
            }
        })
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

    /// The rank of training at a place of the plan, where nothing else tells tasks apart.
    const fn rank(index: u32) -> Rank {
        Rank {
            stage: Stage::Train,
            wave: 0,
            level: 0,
            chain: -1,
            index,
        }
    }

    #[test]
    fn baselines_come_first_then_evaluations_then_the_first_seed_by_its_longest_chain() {
        let plan = tiny_plan(&[0, 1], &[100, 50]);
        let mut order: Vec<(Rank, TaskKind, u64)> = ranks(&plan, Order::Shortest)
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
    fn a_sweep_that_may_be_ended_goes_from_coarse_to_fine_and_finishes_what_it_began() {
        let plan = tiny_plan(&[0], &[500, 400, 300, 200, 100]);
        let mut order: Vec<(Rank, Option<u64>)> = ranks(&plan, Order::CoarseFirst)
            .into_iter()
            .zip(plan.tasks.iter().map(|task| task.spec.own_budget()))
            .collect();
        order.sort();
        let trained = order.iter().filter(|(rank, _)| rank.stage == Stage::Train);
        let budgets: Vec<Option<u64>> = trained.map(|(_, budget)| *budget).collect();
        let finer = [500, 100, 300, 400, 200].map(Some);
        // The finetunes of the coarsest front go before another search.
        assert_eq!(budgets, [&finer[..2], &[None], &finer[2..]].concat());
    }

    #[test]
    fn what_is_due_comes_in_the_order_of_its_ranks() {
        let mut set = ReadySet::default();
        for (slot, not_before_ms) in [(1, 50), (2, 0), (3, 10), (4, 0), (5, 10)] {
            set.insert(slot, rank(slot), not_before_ms);
        }
        assert_eq!(set.due(10).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(set.due(50).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(set.due(10).next(), set.pick(10));
    }

    #[test]
    fn a_delayed_task_waits_and_then_takes_its_place_in_the_order() {
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
