//! The ledger's refusals as the wire's: one table.

use autorep_core::id::SweepName;
use autorep_core::ledger::{
    CancelRefusal, CommitRefusal, FailRefusal, FinishRefusal, NotHeld, PauseRefusal, PinRefusal,
    ReleaseRefusal, RenewRefusal, SubmitRefusal,
};
use autorep_core::roster::RegisterRefusal;
use autorep_proto::status::Refusal;

/// A refusal that has a form on the wire.
pub(crate) trait OnTheWire: ToString {
    /// That form.
    fn on_the_wire(&self) -> Refusal;
}

impl OnTheWire for NotHeld {
    fn on_the_wire(&self) -> Refusal {
        match *self {
            Self::UnknownTask(task) => Refusal::UnknownTask(task),
            Self::Stale { held, current } => Refusal::Stale { held, current },
            Self::NoPart { .. } => Refusal::BadRequest(self.to_string()),
        }
    }
}

impl OnTheWire for RegisterRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::Full { .. } => limit(self.to_string()),
            // The other may be gone: time tells.
            Self::Taken { .. } => Refusal::Unavailable(self.to_string()),
        }
    }
}

impl OnTheWire for RenewRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::NotHeld(not_held) => not_held.on_the_wire(),
        }
    }
}

impl OnTheWire for CommitRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::NotHeld(not_held) => not_held.on_the_wire(),
            Self::NotTheClaims { .. } | Self::UnknownOutput { .. } | Self::Different { .. } => {
                Refusal::BadRequest(self.to_string())
            }
        }
    }
}

impl OnTheWire for FinishRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::NotHeld(not_held) => not_held.on_the_wire(),
            Self::OutputsMissing { .. } => Refusal::NotReady(self.to_string()),
            Self::WrongReluCount { .. }
            | Self::NoBudgetsReluCount { .. }
            | Self::WrongReluTotal { .. }
            | Self::WrongTestAccuracy => Refusal::BadRequest(self.to_string()),
        }
    }
}

impl OnTheWire for FailRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::NotHeld(not_held) => not_held.on_the_wire(),
        }
    }
}

impl OnTheWire for ReleaseRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::NotHeld(not_held) => not_held.on_the_wire(),
        }
    }
}

impl OnTheWire for SubmitRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::TooManyTasks { .. } => limit(self.to_string()),
            // Plans are made here, from manifests that were checked.
            Self::ParentMissing { .. } | Self::OutputMissing { .. } | Self::TaskTwice { .. } => {
                Refusal::Internal(self.to_string())
            }
        }
    }
}

impl OnTheWire for PauseRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::UnknownSweep(sweep) => unknown_sweep(sweep),
            Self::Cancelled(_) => Refusal::NotReady(self.to_string()),
        }
    }
}

impl OnTheWire for CancelRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::UnknownSweep(sweep) => unknown_sweep(sweep),
        }
    }
}

impl OnTheWire for PinRefusal {
    fn on_the_wire(&self) -> Refusal {
        match self {
            Self::UnknownTask(task) => Refusal::UnknownTask(*task),
            Self::Gone(_) => Refusal::NotReady(self.to_string()),
        }
    }
}

/// A limit is reached that time alone does not lift.
pub(crate) const fn limit(what: String) -> Refusal {
    Refusal::Overloaded {
        what,
        retry_after_ms: 0,
    }
}

/// No sweep has this name.
pub(crate) fn unknown_sweep(sweep: &SweepName) -> Refusal {
    Refusal::UnknownSweep(sweep.to_string())
}
