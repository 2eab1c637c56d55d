//! Calls of both services as values, so that a network can repeat them.

use autorep_coordinator::simulation::Services;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::fleet_server::Fleet as _;
use autorep_proto::v1::lab_server::Lab as _;
use futures::StreamExt as _;
use tonic::Request as Envelope;

/// A call.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Register(v1::RegisterRequest),
    Acquire(v1::AcquireRequest),
    Renew(v1::RenewRequest),
    Commit(v1::CommitRequest),
    Finish(v1::FinishRequest),
    Fail(v1::FailRequest),
    Release(v1::ReleaseRequest),
    Submit(v1::SubmitRequest),
    Pause(v1::PauseRequest),
    Resume(v1::ResumeRequest),
    Cancel(v1::CancelRequest),
    List(v1::ListRequest),
    Front(v1::WatchFrontRequest),
}

/// What an answer holds that somebody reads.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Terms(v1::RegisterResponse),
    Work(Box<v1::AcquireResponse>),
    /// With where a member is to go.
    Directive(v1::Directive, String),
    Adoption(v1::Adoption),
    WillRetry(bool),
    Finished(Box<v1::FinishResponse>),
    Sweeps(Vec<v1::SweepSummary>),
    Front(v1::Front),
    Done,
}

impl Request {
    /// The claim that it is made under.
    pub(crate) fn claim(&self) -> Option<LeaseClaim> {
        self.part().map(|part| part.claim)
    }

    /// The part of a lease that it is made under.
    pub(crate) fn part(&self) -> Option<LeasePart> {
        let claim = match self {
            Self::Renew(request) => &request.claim,
            Self::Commit(request) => &request.claim,
            Self::Finish(request) => &request.claim,
            Self::Fail(request) => &request.claim,
            Self::Release(request) => &request.claim,
            Self::Register(_)
            | Self::Acquire(_)
            | Self::Submit(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Cancel(_)
            | Self::List(_)
            | Self::Front(_) => return None,
        };
        claim.clone()?.try_into().ok()
    }

    /// Whether it is a person's order that changes something.
    pub(crate) const fn is_order(&self) -> bool {
        matches!(
            self,
            Self::Submit(_) | Self::Pause(_) | Self::Resume(_) | Self::Cancel(_)
        )
    }

    /// One short line for the trace.
    pub(crate) fn line(&self) -> String {
        let name = match self {
            Self::Register(_) => "register",
            Self::Acquire(_) => "acquire",
            Self::Renew(_) => "renew",
            Self::Commit(_) => "commit",
            Self::Finish(_) => "finish",
            Self::Fail(_) => "fail",
            Self::Release(_) => "release",
            Self::Submit(_) => "submit",
            Self::Pause(request) => return format!("pause {}", request.sweep),
            Self::Resume(request) => return format!("resume {}", request.sweep),
            Self::Cancel(request) => return format!("cancel {}", request.sweep),
            Self::List(_) => "list",
            Self::Front(_) => "front",
        };
        let Some(LeasePart { claim, node }) = self.part() else {
            return name.to_owned();
        };
        let node = if node > 0 {
            format!(" node {node}")
        } else {
            String::new()
        };
        let more = match self {
            Self::Commit(request) => request.checkpoint.as_ref().map_or(String::new(), |it| {
                format!(
                    " {}@{}",
                    if it.output.is_empty() {
                        "resume"
                    } else {
                        &it.output
                    },
                    it.step
                )
            }),
            Self::Fail(request) => format!(" {:?}", request.class()),
            Self::Finish(request) if request.take_next => " and next".to_owned(),
            Self::Register(_)
            | Self::Acquire(_)
            | Self::Renew(_)
            | Self::Finish(_)
            | Self::Release(_)
            | Self::Submit(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Cancel(_)
            | Self::List(_)
            | Self::Front(_) => String::new(),
        };
        let LeaseClaim { task, generation } = claim;
        format!("{name} {} g{generation}{node}{more}", task.short())
    }

    /// Calls the service: everything but HTTP.
    pub(crate) async fn serve(self, services: &Services) -> Result<Answer, Refusal> {
        let (fleet, lab) = (services.fleet(), services.lab());
        Ok(match self {
            Self::Register(it) => {
                Answer::Terms(fleet.register(Envelope::new(it)).await?.into_inner())
            }
            Self::Acquire(it) => {
                let response = fleet.acquire(Envelope::new(it)).await?;
                Answer::Work(Box::new(response.into_inner()))
            }
            Self::Renew(it) => {
                let response = fleet.renew(Envelope::new(it)).await?.into_inner();
                Answer::Directive(response.directive(), response.rendezvous)
            }
            Self::Commit(it) => {
                let response = fleet.commit(Envelope::new(it)).await?.into_inner();
                Answer::Adoption(response.adoption())
            }
            Self::Finish(it) => {
                let response = fleet.finish(Envelope::new(it)).await?;
                Answer::Finished(Box::new(response.into_inner()))
            }
            Self::Fail(it) => {
                let response = fleet.fail(Envelope::new(it)).await?.into_inner();
                Answer::WillRetry(response.will_retry)
            }
            Self::Release(it) => {
                fleet.release(Envelope::new(it)).await?;
                Answer::Done
            }
            Self::Submit(it) => {
                services.submit(it).await?;
                Answer::Done
            }
            Self::Pause(it) => {
                lab.pause(Envelope::new(it)).await?;
                Answer::Done
            }
            Self::Resume(it) => {
                lab.resume(Envelope::new(it)).await?;
                Answer::Done
            }
            Self::Cancel(it) => {
                lab.cancel(Envelope::new(it)).await?;
                Answer::Done
            }
            Self::List(it) => {
                Answer::Sweeps(lab.list(Envelope::new(it)).await?.into_inner().sweeps)
            }
            Self::Front(it) => {
                let fronts = lab.watch_front(Envelope::new(it)).await?.into_inner();
                let mut fronts = std::pin::pin!(fronts);
                let Some(front) = fronts.next().await else {
                    return Err(Refusal::Internal("expected a front, found none".to_owned()));
                };
                Answer::Front(front?)
            }
        })
    }
}
