//! Observers from outside: they see what is said on the wire and what is durable, and nothing of
//! what a coordinator thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autorep_core::digest::Digest;
use autorep_core::growth::{ALL_EPOCHS, Entrant};
use autorep_core::id::{Generation, TaskId};
use autorep_core::lease::LeaseClaim;
use autorep_core::ledger::{RecordedState, TaskRecord};
use autorep_core::observation::{Accuracy, EpochPoint, LearningCurve, Observation};
use autorep_core::plan::Plan;
use autorep_core::searched::{Effect, Projection, Searched};
use autorep_core::task::{TaskSpec, Work};

use crate::Figures;
use crate::wire::Request;
use crate::world::World;

mod answers;
mod durable;
mod knowledge;
mod reads;

use knowledge::Knowledge;

/// What has been seen.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    knowledge: Mutex<Knowledge>,
    events: AtomicU64,
    deleted: AtomicU64,
}

/// A request that was sent, for as long as it may still have an effect.
#[derive(Debug)]
pub(crate) struct Sent {
    world: Arc<World>,
    is_order: bool,
    again: bool,
    /// The latest generation of its claim's task that anybody had been told when it was sent.
    newest_told: u64,
    /// Sweeps whose cancellation had been acknowledged when it was sent, and not been taken back.
    during_cancel: BTreeSet<String>,
}

impl Sent {
    /// The same request, sent once more.
    pub(crate) fn again(&self, world: &Arc<World>) -> Self {
        if self.is_order {
            world.observer.know().open_orders += 1;
        }
        Self {
            world: Arc::clone(world),
            is_order: self.is_order,
            again: true,
            newest_told: self.newest_told,
            during_cancel: self.during_cancel.clone(),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if self.is_order {
            self.world.observer.know().open_orders -= 1;
        }
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.again { " again" } else { "" })
    }
}

impl Observer {
    fn know(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counted_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a person's order may still arrive.
    pub(crate) fn orders_are_open(&self) -> bool {
        self.know().open_orders > 0
    }

    /// A checkpoint was deleted.
    pub(crate) fn deleted(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a claim's lease is durable and has not ended.
    pub(crate) fn is_live(&self, claim: LeaseClaim) -> bool {
        (self.know().durable.get(&claim.task)).is_some_and(|record| {
            record.generation == claim.generation
                && matches!(record.state, RecordedState::Leased { .. })
        })
    }

    /// Whether an object belongs to a checkpoint that a worker has reported as bad.
    pub(crate) fn is_reported_bad(&self, key: &str) -> bool {
        let folders = &self.know().bad_folders;
        folders.iter().any(|folder| key.starts_with(folder))
    }

    /// A request is sent.
    pub(crate) fn sent(&self, world: &Arc<World>, request: &Request) -> Sent {
        let mut know = self.know();
        let is_order = request.is_order();
        if is_order {
            know.open_orders += 1;
        }
        let newest_told = (request.claim())
            .and_then(|claim| know.newest_told.get(&claim.task).copied())
            .unwrap_or(0);
        Sent {
            world: Arc::clone(world),
            is_order,
            again: false,
            newest_told,
            during_cancel: know.frozen.keys().cloned().collect(),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let know = self.know();
        Figures {
            events: self.events.load(Ordering::Relaxed),
            grants: know.told.len() as u64,
            writes: know.writes,
            restarts: know.starts.saturating_sub(1),
            deleted: self.deleted.load(Ordering::Relaxed),
            set_aside: know.reopened.values().sum(),
        }
    }

    /// What is not done, for people.
    pub(crate) fn unfinished(&self) -> String {
        let know = self.know();
        let open = (know.durable.iter()).filter(|(_, record)| !knowledge::is_done(record));
        let open: Vec<String> = open
            .map(|(task, record)| {
                format!("{} g{} {:?}", task.short(), record.generation, record.state)
            })
            .collect();
        format!("not done: {}", open.join(", "))
    }

    /// Every task of a sweep's plan that it lets train to the end has its result, and the right one.
    pub(crate) fn check_done(&self, world: &World, sweep: &str, plan: &Plan) {
        let know = self.know();
        if know.sweeps.get(sweep).is_some_and(|row| row.at_limit) {
            return; // What did not fit is not done.
        }
        let grown = know.sweeps.get(sweep).map(|row| row.grown.as_slice());
        let allowed = plan.growth.allowances(grown.unwrap_or_default());
        for (place, task) in (0..).zip(&plan.tasks) {
            if allowed
                .get(&place)
                .is_some_and(|&epochs| epochs < ALL_EPOCHS)
            {
                continue;
            }
            let record = know.durable.get(&task.id);
            let seen = record.and_then(knowledge::result);
            let right = seen.is_some_and(|seen| {
                record.is_some_and(|record| *seen == observation(&task.spec, record.generation))
            });
            if !right {
                world.violate(
                    "at the end all is done",
                    format!("{}: {record:?}", task.id.short()),
                );
            }
        }
    }

    /// Of the searches that are compared at least one went to its end.
    pub(crate) fn check_survivors(&self, world: &World, sweep: &str, plan: &Plan) {
        let know = self.know();
        if know.sweeps.get(sweep).is_some_and(|row| row.at_limit) {
            return;
        }
        let grown = know.sweeps.get(sweep).map(|row| row.grown.as_slice());
        let allowed = plan.growth.allowances(grown.unwrap_or_default());
        for heat in &plan.growth.heats {
            let survives = |entrant: &Entrant| {
                (entrant.tasks.iter().chain(&entrant.followers))
                    .all(|place| allowed.get(place) == Some(&ALL_EPOCHS))
            };
            if !heat.entrants.iter().any(survives) {
                world.violate("of the searches that are compared one goes on", sweep);
            }
        }
    }

    /// The results of a plan's tasks that are durably there, in the plan's order.
    pub(crate) fn results(&self, plan: &Plan) -> Vec<(TaskId, Observation)> {
        let know = self.know();
        let result = |id: TaskId| Some((id, knowledge::result(know.durable.get(&id)?)?.clone()));
        plan.tasks
            .iter()
            .filter_map(|task| result(task.id))
            .collect()
    }

    /// No task was finished more often than it was opened again.
    pub(crate) fn check_finishes(&self, world: &World) {
        let know = self.know();
        for (task, generations) in &know.finished {
            let reopened = know.reopened.get(task).copied().unwrap_or(0);
            if generations.len() as u64 > 1 + reopened {
                world.violate(
                    "each task is finished once",
                    format!(
                        "{}: under {generations:?}, set aside {reopened} times",
                        task.short()
                    ),
                );
            }
        }
    }
}

/// What a trainer measures for `spec`, wherever and however often: a function of the task. The
/// seconds tell under which lease.
pub(crate) fn observation(spec: &TaskSpec, generation: Generation) -> Observation {
    let total = spec.net.relu_total(spec.data.name.input());
    let count = match &spec.work {
        Work::Baseline { .. } => total,
        Work::Replace { budgets, .. } => budgets.first().copied().unwrap_or(0),
        Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => *budget,
    };
    let digest: Digest = spec.id().0;
    let correct = digest
        .as_bytes()
        .iter()
        .take(4)
        .map(|&byte| u64::from(byte))
        .sum();
    let accuracy = Accuracy {
        correct,
        images: 1024,
    };
    Observation {
        relu_count: count,
        relu_total: total,
        validation: Some(accuracy),
        test: matches!(spec.work, Work::Evaluate { .. }).then_some(accuracy),
        searched_count: None,
        selected_epoch: Some(1),
        epochs: 1,
        seconds: generation.0 as f64,
        skipped_images: 0,
        curve: match &spec.work {
            Work::Replace { recipe, .. } => curve(spec, recipe.schedule.epochs.into()),
            Work::Baseline { .. } | Work::Finetune { .. } | Work::Evaluate { .. } => {
                LearningCurve::default()
            }
        },
        searched: searched(spec),
    }
}

/// What a search reports of itself: a function of the task.
fn searched(spec: &TaskSpec) -> Option<Searched> {
    let Work::Replace {
        budgets, recipe, ..
    } = &spec.work
    else {
        return None;
    };
    let total = spec.net.relu_total(spec.data.name.input());
    let id: Digest = spec.id().0;
    let accuracy = |byte: u8| Accuracy {
        correct: byte.into(),
        images: 1024,
    };
    let projections = budgets.iter().zip(id.as_bytes().iter().cycle());
    let projections = projections.map(|(&budget, &byte)| Projection {
        budget,
        searched_count: (budget + u64::from(byte % 2) * budget).min(total),
        epochs: u32::from(byte) % (recipe.schedule.epochs + 1),
        effect: Some(Effect::Change {
            before: accuracy(byte),
            after: accuracy(byte / 2),
        }),
    });
    Some(Searched {
        epochs: recipe.schedule.epochs,
        turned_off: total,
        turned_on: u64::from(id.as_bytes()[0]),
        projections: projections.collect(),
    })
}

/// What the first epochs of a task measure: a function of the task.
pub(crate) fn curve(spec: &TaskSpec, epochs: u64) -> LearningCurve {
    let total = spec.net.relu_total(spec.data.name.input());
    let id: Digest = spec.id().0;
    let bytes = id.as_bytes().iter().cycle();
    let point = |(epoch, &byte): (u64, &u8)| EpochPoint {
        relu_count: total / epoch,
        correct: u64::from(byte),
    };
    LearningCurve {
        images: 1024,
        epochs: (1..=epochs).zip(bytes).map(point).collect(),
    }
}

/// Tasks with what is written down of them.
type Tasks = BTreeMap<TaskId, TaskRecord>;
