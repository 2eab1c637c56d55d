//! Reading a store's state without a coordinator, and without disturbing one that runs.

use std::sync::Arc;

use autorep_core::front::{FrontReport, SweepFront};
use autorep_core::id::{SweepName, TaskId};
use autorep_core::ledger::{Quotas, RecordedState, SweepState, TaskCounts, TaskRecord};
use object_store::ObjectStore;

use crate::restore::{RestoreError, Restored, expand, restore};
use crate::state::{ReadError, SweepRecord, read_chosen, read_offline};

/// Why a store's state cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The records do not make a ledger.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// No sweep has this name.
    #[error("expected one of the sweeps [{}], found {sweep}", known.join(", "))]
    UnknownSweep {
        /// The name.
        sweep: SweepName,
        /// The names there are.
        known: Vec<String>,
    },
}

/// One sweep as the store has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SweepStatus {
    /// Its name.
    pub name: SweepName,
    /// What has become of it.
    pub state: SweepState,
    /// Its tasks by state. Leased ones may be held by nobody any more.
    pub counts: TaskCounts,
}

/// The front of a sweep as the store has it. Of its plan only the candidates are kept, and of its
/// records only those of evaluations are read, one after the other.
pub async fn read_front(
    store: Arc<dyn ObjectStore>,
    sweep: &SweepName,
) -> Result<FrontReport, OfflineError> {
    let choose = |sweeps: &[SweepRecord]| Candidates::of(sweeps, sweep);
    let wants = |candidates: &Candidates, task| candidates.tasks.binary_search(&task).is_ok();
    let take = |candidates: &mut Candidates, task, record: TaskRecord| {
        if let RecordedState::Done { observation, .. } = record.state {
            candidates.front.observe(task, &observation);
        }
    };
    let candidates = read_chosen(store, choose, wants, take).await?;
    Ok(candidates.front.report())
}

/// What a front is made from.
struct Candidates {
    front: SweepFront,
    /// The evaluations that it waits for, in rising order.
    tasks: Vec<TaskId>,
}

impl Candidates {
    fn of(sweeps: &[SweepRecord], sweep: &SweepName) -> Result<Self, OfflineError> {
        let named = |record: &SweepRecord| record.manifest.name == *sweep;
        let Some(record) = sweeps.iter().find(|record| named(record)) else {
            let names = sweeps.iter().map(|record| record.manifest.name.to_string());
            return Err(OfflineError::UnknownSweep {
                sweep: sweep.clone(),
                known: names.collect(),
            });
        };
        let plan = expand(record)?;
        let evaluations = plan.candidates.iter().flat_map(|it| &it.evaluations);
        let mut tasks: Vec<TaskId> = evaluations.map(|&(_, task)| task).collect();
        tasks.sort_unstable();
        Ok(Self {
            front: SweepFront::new(sweep, &plan.candidates),
            tasks,
        })
    }
}

/// Every sweep as the store has it, in the order of submission.
pub async fn read_sweeps(store: Arc<dyn ObjectStore>) -> Result<Vec<SweepStatus>, OfflineError> {
    let Restored { ledger, .. } = restore(read_offline(store).await?, 0, Quotas::default(), 0)?;
    let status = |sweep: autorep_core::ledger::SweepView<'_>| SweepStatus {
        name: sweep.name().clone(),
        state: sweep.state(),
        counts: sweep.counts(),
    };
    Ok(ledger.sweeps().map(status).collect())
}
