//! The ledger's answers as messages.

use autorep_core::lease::LeasePart;
use autorep_core::ledger::{Adoption, SweepState, SweepView, TaskCounts};
use autorep_proto::v1;

use crate::ask::Lease;

pub(crate) fn summary(sweep: SweepView<'_>) -> v1::SweepSummary {
    let state = match sweep.state() {
        SweepState::Active => v1::SweepState::Active,
        SweepState::Paused => v1::SweepState::Paused,
        SweepState::Done => v1::SweepState::Done,
        SweepState::Partial => v1::SweepState::Partial,
        SweepState::Cancelled => v1::SweepState::Cancelled,
    };
    v1::SweepSummary {
        sweep: sweep.name().to_string(),
        state: state.into(),
        counts: Some(counts(sweep.counts())),
        owner: sweep.terms().owner.to_string(),
        priority: sweep.terms().priority,
        at_limit: sweep.is_at_limit(),
    }
}

const fn counts(counts: TaskCounts) -> v1::TaskCounts {
    let TaskCounts {
        waiting,
        ready,
        leased,
        done,
        gave_up,
        blocked,
        parked,
        cancelled,
    } = counts;
    v1::TaskCounts {
        waiting,
        ready,
        leased,
        done,
        gave_up,
        blocked,
        cancelled,
        parked,
    }
}

pub(crate) fn assignment(lease: Lease) -> v1::Assignment {
    let Lease {
        grant,
        node,
        spec,
        checkpoint_every_s,
        checkpoint_every_steps,
        traceparent,
    } = lease;
    let nodes = grant.nodes();
    v1::Assignment {
        claim: Some(
            (LeasePart {
                node,
                ..grant.claim.into()
            })
            .into(),
        ),
        spec: spec.into_bytes(),
        inputs: grant.inputs.into_iter().map(Into::into).collect(),
        resume: grant.resume.map(Into::into),
        attempt: grant.attempt,
        sweep: grant.sweep.to_string(),
        checkpoint_every_s,
        checkpoint_every_steps,
        stop_after: grant.stop_after,
        nodes,
        ranks: grant.ranks,
        traceparent,
    }
}

pub(crate) const fn adoption(adoption: Adoption) -> v1::Adoption {
    match adoption {
        Adoption::Adopted => v1::Adoption::Adopted,
        Adoption::Repeated => v1::Adoption::Repeated,
        Adoption::Older => v1::Adoption::Older,
    }
}
