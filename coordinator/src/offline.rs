//! Reading a store's state without a coordinator, and without disturbing one that runs.

use std::sync::Arc;

use autorep_core::front::FrontReport;
use autorep_core::id::SweepName;
use autorep_core::ledger::{Quotas, SweepState, TaskCounts};
use object_store::ObjectStore;

use crate::restore::{RestoreError, Restored, restore};
use crate::state::{ReadError, read_offline};

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

/// The front of a sweep as the store has it.
pub async fn read_front(
    store: Arc<dyn ObjectStore>,
    sweep: &SweepName,
) -> Result<FrontReport, OfflineError> {
    let mut records = read_offline(store).await?;
    let known = |records: &crate::state::Records| {
        let names = records.sweeps.iter().map(|record| &record.manifest.name);
        names.map(ToString::to_string).collect()
    };
    let all = known(&records);
    // The other sweeps' plans are not needed.
    (records.sweeps).retain(|record| record.manifest.name == *sweep);
    match restore(records, 0, Quotas::default(), 0)?.fronts.first() {
        Some(front) => Ok(front.report()),
        None => Err(OfflineError::UnknownSweep {
            sweep: sweep.clone(),
            known: all,
        }),
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
