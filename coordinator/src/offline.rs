//! Reading a store's state without a coordinator, and without disturbing one that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use autorep_core::candidate::Candidate;
use autorep_core::front::{FrontReport, SweepFront, hypervolume};
use autorep_core::id::{CandidateId, SweepName, TaskId};
use autorep_core::ledger::{Quotas, RecordedState, SweepState, TaskCounts, TaskRecord};
use autorep_core::observation::Observation;
use autorep_core::plan::{Plan, Progress};
use autorep_core::task::{TaskKind, Work};
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

/// What a front had come to when so many epochs had been trained.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CurvePoint {
    /// Epochs of training up to here, baselines and searches included.
    pub epochs: u64,
    /// The front's hypervolume by then.
    pub hypervolume: f64,
}

/// How a sweep's front grew, and what single seeds say of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// A point for each evaluation.
    pub points: Vec<CurvePoint>,
    /// The hypervolume of the front's candidates by each seed's own measurements, by rising seed.
    pub of_seeds: Vec<f64>,
}

/// How a sweep's front grew with the epochs that were spent on it, if one worker does the plan's tasks
/// in their order. Tasks without a result count the epochs after which
/// they were stopped, and searches all of theirs whose nets were read.
pub async fn read_curve(
    store: Arc<dyn ObjectStore>,
    sweep: &SweepName,
) -> Result<Curve, OfflineError> {
    let choose = |sweeps: &[SweepRecord]| {
        let plan = expand(named(sweeps, sweep)?)?;
        Ok::<_, OfflineError>((plan, BTreeMap::new(), BTreeMap::new()))
    };
    let (plan, results, stopped) = read_chosen(
        store,
        choose,
        |_, _| true,
        |(_, results, stopped), task, record: TaskRecord| {
            if let RecordedState::Done { observation, .. } = record.state {
                results.insert(task, observation);
            } else {
                let interim = record.interim;
                stopped.insert(task, interim.map_or(0, |it| it.curve.reached()));
            }
        },
    )
    .await?;
    let mut front = SweepFront::new(sweep, &plan.candidates);
    // A search that missed its last budget has no result, and yet its nets are points.
    let read: BTreeSet<TaskId> = (plan.tasks.iter())
        .filter(|task| results.contains_key(&task.id))
        .flat_map(|task| task.spec.inputs().into_iter().map(|input| input.task))
        .collect();
    let mut epochs = 0;
    let mut points = Vec::new();
    for task in &plan.tasks {
        let Some(observation) = results.get(&task.id) else {
            if let (Work::Replace { recipe, .. }, true) = (&task.spec.work, read.contains(&task.id))
            {
                epochs += u64::from(recipe.schedule.epochs);
            } else {
                epochs += u64::from(stopped.get(&task.id).copied().unwrap_or(0));
            }
            continue;
        };
        if task.spec.kind() == TaskKind::Evaluate {
            front.observe(task.id, observation);
            let hypervolume = front.report().hypervolume;
            points.push(CurvePoint {
                epochs,
                hypervolume,
            });
        } else {
            epochs += u64::from(observation.epochs);
        }
    }
    Ok(Curve {
        points,
        of_seeds: hypervolumes_of_seeds(&front, &plan.candidates, &results),
    })
}

/// The hypervolume of the candidates on a front by each seed's own results, by rising seed.
fn hypervolumes_of_seeds(
    front: &SweepFront,
    candidates: &[Candidate],
    results: &BTreeMap<TaskId, Box<Observation>>,
) -> Vec<f64> {
    let rows = front.report().rows.into_iter().filter(|row| row.on_front);
    let on_front: BTreeSet<CandidateId> = rows.map(|row| row.id).collect();
    let mut of_seeds: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for candidate in (candidates.iter()).filter(|it| on_front.contains(&it.id)) {
        for (seed, task) in &candidate.evaluations {
            if let Some((result, test)) = results.get(task).and_then(|it| Some((it, it.test?))) {
                let share = result.relu_count as f64 / result.relu_total.max(1) as f64;
                let points = of_seeds.entry(*seed).or_default();
                points.push((share, test.percent() / 100.0));
            }
        }
    }
    of_seeds
        .values()
        .map(|points| hypervolume(points))
        .collect()
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
