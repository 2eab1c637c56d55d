//! Requests put to the ledger, with every invariant checked after every event.

use std::sync::Arc;

use autorep_core::id::WorkerId;
use autorep_core::lease::LeasePart;
use autorep_core::ledger::{Decision, Event, FailureReport, Ledger, Submission, invariants};
use autorep_core::offer::Offer;
use autorep_core::retry::Retry;
use autorep_core::terms::Terms;
use autorep_proto::convert::{BadMessage, failure_class, interim, required};
use autorep_proto::v1;

use super::{Request, plan, requests};

const TTL_MS: u64 = 10_000;

struct World {
    ledger: Ledger,
    now_ms: u64,
}

pub(crate) fn body(input: &[u8]) {
    let submission = Submission {
        sweep: "tiny".parse().expect("a sweep's name"),
        plan: Arc::new(plan().clone()),
        terms: Terms {
            retry: Retry::new(2, 0),
            ..Terms::default()
        },
    };
    let mut world = World {
        ledger: Ledger::new(TTL_MS),
        now_ms: 1,
    };
    let submitted = world.ledger.submit(submission);
    world.apply(&submitted.expect("a good plan"));
    for request in requests(input) {
        // A message that does not convert is refused, and the next one comes.
        drop(world.ask(request));
    }
}

impl World {
    /// Whether the request was taken does not matter here: only what it leaves.
    fn ask(&mut self, request: Request) -> Result<(), BadMessage> {
        let now_ms = self.now_ms;
        match request {
            Request::Register(_) => {}
            Request::Acquire(v1::AcquireRequest { worker, .. }) => {
                let decision = (self.ledger).acquire(&WorkerId(worker), &Offer::default(), now_ms);
                self.apply(&decision);
            }
            Request::Renew(v1::RenewRequest { claim, .. }) => {
                let claim: LeasePart = required("claim", claim)?.try_into()?;
                let decision = self.ledger.renew(claim, now_ms);
                self.try_apply(decision);
            }
            Request::Commit(v1::CommitRequest { claim, checkpoint }) => {
                let claim = required("claim", claim)?.try_into()?;
                let checkpoint = required("checkpoint", checkpoint)?.try_into()?;
                let decision = self.ledger.commit(claim, checkpoint);
                self.try_apply(decision);
            }
            Request::Finish(v1::FinishRequest {
                claim, observation, ..
            }) => {
                let claim = required("claim", claim)?.try_into()?;
                let observation = required("observation", observation)?.try_into()?;
                let decision = self.ledger.finish(claim, observation);
                self.try_apply(decision);
            }
            Request::Fail(fail) => {
                let claim: LeasePart = required("claim", fail.claim)?.try_into()?;
                let bad = fail.bad_checkpoint.map(TryInto::try_into).transpose()?;
                let report = FailureReport {
                    class: failure_class("class", fail.class)?,
                    message: fail.message,
                    stderr_tail: fail.stderr_tail,
                    bad_checkpoint: bad,
                };
                let decision = self.ledger.fail(claim, report, now_ms);
                self.try_apply(decision);
            }
            Request::Release(v1::ReleaseRequest {
                claim,
                curve,
                seconds,
            }) => {
                let claim: LeasePart = required("claim", claim)?.try_into()?;
                let interim = interim("seconds", curve, seconds)?;
                let decision = self.ledger.stop(claim, interim);
                self.try_apply(decision);
            }
            Request::Wait { ms } => {
                self.now_ms += ms;
                let decision = self.ledger.expire(self.now_ms);
                self.apply(&decision);
            }
        }
        Ok(())
    }

    fn try_apply<T, E>(&mut self, decision: Result<Decision<T>, E>) {
        if let Ok(decision) = decision {
            self.apply(&decision);
        }
    }

    fn apply<T>(&mut self, decision: &Decision<T>) {
        for event in &decision.events {
            self.step(event);
        }
    }

    fn step(&mut self, event: &Event) {
        let before = self.ledger.clone();
        self.ledger.apply(event);
        let checked = invariants::check(&self.ledger)
            .and_then(|()| invariants::check_step(&before, event, &self.ledger));
        assert!(checked.is_ok(), "{event:?}: {checked:?}");
    }
}
