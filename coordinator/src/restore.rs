//! From records to a ledger and fronts: what a start does, whether after a crash or not.

use std::sync::Arc;

use autorep_core::digest::Digest;
use autorep_core::front::SweepFront;
use autorep_core::id::SweepName;
use autorep_core::ledger::invariants::{self, Violation};
use autorep_core::ledger::{Ledger, Quotas, RestoredSweep, TaskState};
use autorep_core::plan::Plan;

use crate::state::{Records, SweepRecord, ms_since};

/// The records do not make a ledger.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The manifest means something else to this release.
    #[error(
        "expected the plan {recorded} for the manifest of sweep {sweep}, found {expanded}: this release expands it differently; go on with the release that it was submitted to, or use another store"
    )]
    OtherPlan {
        /// The sweep.
        sweep: SweepName,
        /// The plan's digest when it was submitted.
        recorded: Digest,
        /// The digest of the plan that it is now.
        expanded: Digest,
    },
    /// The records contradict each other.
    #[error("expected records that fit together in the state; it may have been edited by hand")]
    Violation(#[from] Violation),
}

/// What the records say.
pub(crate) struct Restored {
    pub(crate) ledger: Ledger,
    pub(crate) sweeps: Vec<SweepRecord>,
    pub(crate) fronts: Vec<SweepFront>,
}

/// Expands every plan again and puts the records on top. Takes seconds for a million tasks.
pub(crate) fn restore(
    records: Records,
    lease_ttl_ms: u64,
    quotas: Quotas,
    now_ms: u64,
) -> Result<Restored, RestoreError> {
    let mut restored = Vec::new();
    for record in &records.sweeps {
        let plan = expand(record)?;
        restored.push(RestoredSweep {
            name: record.manifest.name.clone(),
            plan: Arc::new(plan),
            terms: (record.manifest).terms(now_ms, ms_since(record.submitted_unix_ms)),
            paused: record.paused,
            cancelled: record.cancelled,
            grown: record.grown.clone(),
            at_limit: record.at_limit,
            before_ms: record.before_ms,
        });
    }
    let ledger = Ledger::restore(lease_ttl_ms, restored, records.tasks, now_ms);
    let ledger = ledger.with_quotas(quotas);
    invariants::check(&ledger)?;
    let fronts = (ledger.sweeps())
        .map(|sweep| front(&ledger, sweep.name(), sweep.plan()))
        .collect();
    Ok(Restored {
        ledger,
        sweeps: records.sweeps,
        fronts,
    })
}

/// The plan of a sweep, if it is still the one that was submitted.
pub(crate) fn expand(record: &SweepRecord) -> Result<Plan, RestoreError> {
    let plan = Plan::expand(&record.manifest);
    let expanded = plan.digest();
    if expanded == record.plan {
        return Ok(plan);
    }
    Err(RestoreError::OtherPlan {
        sweep: record.manifest.name.clone(),
        recorded: record.plan,
        expanded,
    })
}

/// The front of a sweep, made from the results that the ledger has.
pub(crate) fn front(ledger: &Ledger, name: &SweepName, plan: &Plan) -> SweepFront {
    let mut front = SweepFront::of(name, plan);
    for id in front.tasks() {
        if let Some(task) = ledger.task(id)
            && let TaskState::Done(done) = task.state()
        {
            front.observe(id, &done.observation);
        }
    }
    front
}
