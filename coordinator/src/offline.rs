//! Reading a store's state without a coordinator, and without disturbing one that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use autorep_core::front::{FrontReport, SweepFront};
use autorep_core::id::{SweepName, TaskId};
use autorep_core::ledger::{Quotas, RecordedState, SweepState, TaskCounts, TaskRecord};
use autorep_core::observation::Observation;
use autorep_core::plan::{Plan, Progress};
use object_store::ObjectStore;

use crate::curve::Curve;
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
/// records only those of evaluations and searches are read, one after the other.
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
    /// The tasks that it waits for, in rising order.
    tasks: Vec<TaskId>,
}

impl Candidates {
    fn of(sweeps: &[SweepRecord], sweep: &SweepName) -> Result<Self, OfflineError> {
        let plan = expand(named(sweeps, sweep)?)?;
        let front = SweepFront::of(sweep, &plan);
        Ok(Self {
            tasks: front.tasks(),
            front,
        })
    }
}

/// How a sweep's front grew with the epochs that were spent on it, if one worker does the plan's tasks
/// in their order. Tasks without a result count the epochs after which they were stopped, and searches
/// all of theirs whose nets were read.
pub async fn read_curve(
    store: Arc<dyn ObjectStore>,
    sweep: &SweepName,
) -> Result<Curve, OfflineError> {
    let choose = |sweeps: &[SweepRecord]| {
        let plan = expand(named(sweeps, sweep)?)?;
        let tasks: BTreeSet<TaskId> = plan.tasks.iter().map(|task| task.id).collect();
        Ok::<_, OfflineError>((plan, tasks, BTreeMap::new(), BTreeMap::new()))
    };
    let (plan, _, results, stopped) = read_chosen(
        store,
        choose,
        |(_, tasks, ..), task| tasks.contains(&task),
        |(_, _, results, stopped), task, record: TaskRecord| {
            if let RecordedState::Done { observation, .. } = record.state {
                results.insert(task, observation);
            } else {
                let interim = record.interim;
                stopped.insert(task, interim.map_or(0, |it| it.curve.reached()));
            }
        },
    )
    .await?;
    Ok(Curve::of(sweep, &plan, &results, &stopped))
}

/// What the store knows of these tasks, whichever sweep asked for them; nothing where no coordinator
/// has run on it.
pub async fn read_progress(
    store: Arc<dyn ObjectStore>,
    tasks: BTreeSet<TaskId>,
) -> Result<BTreeMap<TaskId, Progress>, OfflineError> {
    let choose = |_: &[SweepRecord]| Ok::<_, OfflineError>(BTreeMap::new());
    let wants = |_: &BTreeMap<TaskId, Progress>, task| tasks.contains(&task);
    let take = |known: &mut BTreeMap<TaskId, Progress>, task, record: TaskRecord| {
        if let Some(progress) = progress(&record) {
            known.insert(task, progress);
        }
    };
    match read_chosen(store, choose, wants, take).await {
        Err(OfflineError::Read(ReadError::NoState)) => Ok(BTreeMap::new()),
        answer => answer,
    }
}

fn progress(record: &TaskRecord) -> Option<Progress> {
    match (&record.state, &record.interim) {
        (
            RecordedState::Done {
                observation,
                dropped,
            },
            _,
        ) => Some(Progress {
            seconds: observation.seconds,
            epochs: observation.epochs,
            is_done: true,
            is_readable: !dropped,
        }),
        (_, Some(interim)) => Some(Progress {
            seconds: interim.seconds,
            epochs: interim.curve.reached(),
            is_done: false,
            is_readable: false,
        }),
        (RecordedState::Open | RecordedState::Leased { .. } | RecordedState::GaveUp, None) => None,
    }
}

/// What a sweep's tasks have come to.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepResults {
    /// The plan.
    pub plan: Plan,
    /// The results of its tasks that are done.
    pub results: BTreeMap<TaskId, Observation>,
}

/// The results of a sweep as the store has them.
pub async fn read_results(
    store: Arc<dyn ObjectStore>,
    sweep: &SweepName,
) -> Result<SweepResults, OfflineError> {
    let choose = |sweeps: &[SweepRecord]| {
        let plan = expand(named(sweeps, sweep)?)?;
        let wanted: BTreeSet<TaskId> = plan.tasks.iter().map(|task| task.id).collect();
        let results = BTreeMap::new();
        Ok::<_, OfflineError>((SweepResults { plan, results }, wanted))
    };
    let (found, _wanted) = read_chosen(
        store,
        choose,
        |(_, wanted), task| wanted.contains(&task),
        |(found, _), task, record: TaskRecord| {
            if let RecordedState::Done { observation, .. } = record.state {
                found.results.insert(task, *observation);
            }
        },
    )
    .await?;
    Ok(found)
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

/// The sweep of this name.
fn named<'a>(
    sweeps: &'a [SweepRecord],
    sweep: &SweepName,
) -> Result<&'a SweepRecord, OfflineError> {
    let mut all = sweeps.iter();
    all.find(|record| record.manifest.name == *sweep)
        .ok_or_else(|| {
            let names = sweeps.iter().map(|record| record.manifest.name.to_string());
            OfflineError::UnknownSweep {
                sweep: sweep.clone(),
                known: names.collect(),
            }
        })
}
