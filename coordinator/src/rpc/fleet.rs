//! The service for workers.

use std::collections::BTreeSet;

use autorep_core::failure::FailureClass;
use autorep_core::id::WorkerId;
use autorep_core::lease::{BadRendezvous, LeaseClaim, LeasePart, Rendezvous};
use autorep_core::ledger::{AfterFailure, FailureReport};
use autorep_core::offer::{LABEL, Offer, is_label};
use autorep_proto::PROTOCOL_VERSION;
use autorep_proto::convert::{BadMessage, failure_class, interim, required};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::fleet_server::Fleet;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::{beginning_of, end_of};
use crate::ask::{Ask, Desk, OfGroup, Registration, Work};
use crate::config::{Config, millis};
use crate::wire;

/// The longest name of a worker or device.
const NAME_BYTES: usize = 128;

/// The most labels that a worker may have.
const MAX_LABELS: usize = 64;

/// Bytes of a failure's message that are kept.
const MESSAGE_BYTES: usize = 4 << 10;

/// Bytes of a trainer's last words that are kept.
const STDERR_BYTES: usize = 16 << 10;

#[derive(Clone, Debug)]
pub(crate) struct FleetService {
    desk: Desk,
    config: Config,
    /// By which workers know the store; empty where it is none that they could have.
    store_id: String,
}

impl FleetService {
    pub(crate) const fn new(desk: Desk, config: Config, store_id: String) -> Self {
        Self {
            desk,
            config,
            store_id,
        }
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let v1::RegisterRequest {
            worker,
            protocol_version,
            device,
            machine,
            gpus,
            gpu_type,
            gpu_memory_mib,
            memory_mib,
            labels,
            started_unix_ns,
        } = request.into_inner();
        if protocol_version != PROTOCOL_VERSION {
            return Err(Refusal::ProtocolVersion {
                caller: protocol_version,
                callee: PROTOCOL_VERSION,
            }
            .into());
        }
        let worker = worker_id("RegisterRequest.worker", worker)?;
        let device = name("RegisterRequest.device", device)?;
        let machine = match machine.as_str() {
            // A worker that does not say is on a machine of its own.
            "" => worker.0.clone(),
            _ => name("RegisterRequest.machine", machine)?,
        };
        let offer = Offer {
            gpus,
            gpu_type: beginning_of(&gpu_type, NAME_BYTES).replace(char::is_control, " "),
            gpu_memory_mib,
            memory_mib,
            labels: checked_labels(labels)?,
        };
        let registration = Box::new(Registration {
            device,
            machine,
            started_unix_ns,
            offer,
        });
        (self.desk)
            .ask(|reply| Ask::Register {
                worker,
                registration,
                reply,
            })
            .await?;
        Ok(Response::new(v1::RegisterResponse {
            lease_ttl_ms: millis(self.config.lease_ttl),
            renew_every_ms: millis(self.config.renew_every),
            store_id: self.store_id.clone(),
        }))
    }

    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let v1::AcquireRequest {
            worker,
            wait_ms,
            started_unix_ns,
        } = request.into_inner();
        let worker = worker_id("AcquireRequest.worker", worker)?;
        let work = (self.desk)
            .poll(|reply| Ask::Acquire {
                worker,
                started_unix_ns,
                wait_ms,
                reply,
            })
            .await?;
        Ok(Response::new(match work {
            Work::Lease(lease) => v1::AcquireResponse {
                assignment: Some(wire::assignment(*lease)),
                idle: false,
            },
            Work::Nothing { idle } => v1::AcquireResponse {
                assignment: None,
                idle,
            },
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let v1::RenewRequest {
            claim,
            progress,
            rendezvous,
            leaving,
        } = request.into_inner();
        let part = lease_part("RenewRequest.claim", claim)?;
        let progress = progress.map(plausible);
        let group = OfGroup {
            rendezvous: checked_rendezvous(&rendezvous)?,
            leaving,
        };
        let mut answer = (self.desk)
            .ask(|reply| Ask::Renew {
                part,
                progress,
                group,
                reply,
            })
            .await?;
        let task = part.claim.task;
        answer.store_log = part.is_leaders() && self.desk.followed().contains(task);
        Ok(Response::new(answer))
    }

    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        let v1::CommitRequest { claim, checkpoint } = request.into_inner();
        let claim = lease_claim("CommitRequest.claim", claim)?;
        let checkpoint = required("CommitRequest.checkpoint", checkpoint)?.try_into()?;
        let adoption = (self.desk)
            .ask(|reply| Ask::Commit {
                claim,
                checkpoint,
                reply,
            })
            .await?;
        Ok(Response::new(v1::CommitResponse {
            adoption: wire::adoption(adoption).into(),
        }))
    }

    async fn finish(
        &self,
        request: Request<v1::FinishRequest>,
    ) -> Result<Response<v1::FinishResponse>, Status> {
        let v1::FinishRequest {
            claim,
            observation,
            take_next,
            started_unix_ns,
        } = request.into_inner();
        let claim = lease_claim("FinishRequest.claim", claim)?;
        let observation = required("FinishRequest.observation", observation)?.try_into()?;
        let (next, given) = oneshot::channel();
        (self.desk)
            .ask(|reply| Ask::Finish {
                claim,
                observation,
                next: take_next.then_some((started_unix_ns, next)),
                reply,
            })
            .await?;
        // Whatever stands against a next task does not stand against the result.
        let next = match given.await {
            Ok(Ok(Work::Lease(lease))) => Some(wire::assignment(*lease)),
            Ok(Ok(Work::Nothing { .. }) | Err(_)) | Err(_) => None,
        };
        Ok(Response::new(v1::FinishResponse { next }))
    }

    async fn fail(
        &self,
        request: Request<v1::FailRequest>,
    ) -> Result<Response<v1::FailResponse>, Status> {
        let v1::FailRequest {
            claim,
            class,
            message,
            stderr_tail,
            bad_checkpoint,
        } = request.into_inner();
        let part = lease_part("FailRequest.claim", claim)?;
        let report = FailureReport {
            class: reported_class(class)?,
            message: beginning_of(&message, MESSAGE_BYTES),
            stderr_tail: end_of(&stderr_tail, STDERR_BYTES),
            bad_checkpoint: bad_checkpoint.map(TryInto::try_into).transpose()?,
        };
        let after = (self.desk)
            .ask(|reply| Ask::Fail {
                part,
                report,
                reply,
            })
            .await?;
        Ok(Response::new(v1::FailResponse {
            will_retry: after == AfterFailure::WillRetry,
        }))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let v1::ReleaseRequest {
            claim,
            curve,
            seconds,
        } = request.into_inner();
        let part = lease_part("ReleaseRequest.claim", claim)?;
        let interim = interim("ReleaseRequest.seconds", curve, seconds)?;
        (self.desk)
            .ask(|reply| Ask::Release {
                part,
                interim,
                reply,
            })
            .await?;
        Ok(Response::new(v1::ReleaseResponse {}))
    }
}

/// The claim of a worker that speaks for all that hold its lease.
fn lease_claim(
    field: &'static str,
    claim: Option<v1::LeaseClaim>,
) -> Result<LeaseClaim, BadMessage> {
    required(field, claim)?.try_into()
}

/// The claim of any of them.
fn lease_part(field: &'static str, claim: Option<v1::LeaseClaim>) -> Result<LeasePart, BadMessage> {
    required(field, claim)?.try_into()
}

fn checked_rendezvous(text: &str) -> Result<Option<Rendezvous>, BadMessage> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse().map(Some);
    read.map_err(|bad: BadRendezvous| {
        let expected = "a host and a port, as in worker-3:29400, or nothing";
        BadMessage::new(
            "RenewRequest.rendezvous",
            expected,
            format!("{:?}", bad.found),
        )
    })
}

/// What a worker may say of its own attempt: that it was lost is the coordinator's to say.
fn reported_class(class: i32) -> Result<FailureClass, BadMessage> {
    let field = "FailRequest.class";
    let class = failure_class(field, class)?;
    if class == FailureClass::WorkerLost {
        let expected = "a failure that a worker can report";
        return Err(BadMessage::new(field, expected, "WORKER_LOST"));
    }
    Ok(class)
}

fn worker_id(field: &'static str, worker: String) -> Result<WorkerId, BadMessage> {
    name(field, worker).map(WorkerId)
}

fn checked_labels(labels: Vec<String>) -> Result<BTreeSet<String>, BadMessage> {
    let field = "RegisterRequest.labels";
    if labels.len() > MAX_LABELS {
        let expected = format!("at most {MAX_LABELS} labels");
        return Err(BadMessage::new(field, expected, labels.len().to_string()));
    }
    match labels.iter().find(|label| !is_label(label)) {
        Some(bad) => {
            let found = format!("{:?}", beginning_of(bad, NAME_BYTES));
            Err(BadMessage::new(field, LABEL, found))
        }
        None => Ok(labels.into_iter().collect()),
    }
}

/// Names end up in logs, tables and records.
fn name(field: &'static str, text: String) -> Result<String, BadMessage> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text);
    }
    let expected = "1 to 128 letters, digits, dashes, underscores, dots and colons";
    let found = format!("{:?}", beginning_of(&text, NAME_BYTES));
    Err(BadMessage::new(field, expected, found))
}

/// Progress is only shown to people: numbers that make no sense are left out.
fn plausible(progress: v1::Progress) -> v1::Progress {
    let finite = |number: Option<f64>| number.filter(|it| it.is_finite());
    v1::Progress {
        loss: finite(progress.loss),
        images_per_second: finite(progress.images_per_second),
        seconds_left: finite(progress.seconds_left),
        data_wait_share: finite(progress.data_wait_share),
        validation: progress.validation.filter(|it| it.images > 0),
        ..progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_garble_a_log_is_refused() {
        for good in ["worker-0", "gpu.node_7:1"] {
            assert_eq!(name("x", good.to_owned()).unwrap(), good);
        }
        for bad in ["", "a b", "a\nb", "é", &"x".repeat(129)] {
            assert!(name("x", bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn last_words_keep_their_end_and_messages_their_beginning() {
        assert_eq!(end_of("aéb", 3), "éb");
        assert_eq!(end_of("aéb", 2), "b");
        assert_eq!(end_of("ab", 9), "ab");
        assert_eq!(beginning_of("aéb", 2), "a");
        assert_eq!(beginning_of("aéb", 3), "aé");
    }
}
