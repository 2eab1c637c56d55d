//! The coordinator as a worker sees it: each call once, or until it is answered.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use autorep_core::checkpoint::CheckpointRef;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::observation::{Interim, Observation};
use autorep_core::offer::Offer;
use autorep_proto::convert::BadMessage;
use autorep_proto::status::Refusal;
use autorep_proto::v1::fleet_client::FleetClient;
use autorep_proto::{PROTOCOL_VERSION, v1};
use autorep_transport::{Bearer, CredentialsError};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::backoff::Backoff;
use crate::config::Config;

/// How long an answer may take that does not wait for anything but the store.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What a worker agrees to when it registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    /// How long a lease lives without a renewal.
    pub(crate) lease_ttl: Duration,
    /// How often to renew; less than the time to live.
    pub(crate) renew_every: Duration,
}

impl TryFrom<v1::RegisterResponse> for Terms {
    type Error = BadMessage;

    fn try_from(terms: v1::RegisterResponse) -> Result<Self, BadMessage> {
        let (every, ttl) = (terms.renew_every_ms, terms.lease_ttl_ms);
        if every == 0 || every >= ttl {
            return Err(BadMessage::new(
                "RegisterResponse.renew_every_ms",
                format!("more than 0 and less than lease_ttl_ms, which is {ttl}"),
                every.to_string(),
            ));
        }
        Ok(Self {
            lease_ttl: Duration::from_millis(ttl),
            renew_every: Duration::from_millis(every),
        })
    }
}

/// Why an attempt failed, as the coordinator is told.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) class: v1::FailureClass,
    pub(crate) message: String,
    pub(crate) bad_checkpoint: Option<CheckpointRef>,
}

/// What a worker says when it renews.
#[derive(Clone, Debug, Default)]
pub(crate) struct Says {
    /// Where the trainer is.
    pub(crate) progress: Option<v1::Progress>,
    /// Where a group's ranks meet; empty from all but a leader that knows.
    pub(crate) rendezvous: String,
    /// Whether a member is to stop.
    pub(crate) leaving: bool,
}

/// The service behind what puts the worker's token into each call.
type Client = FleetClient<InterceptedService<Channel, Bearer>>;

/// A client of the coordinator's `Fleet` service. The connection is made when it is first needed
/// and again whenever it was lost.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    client: Client,
    worker: String,
    /// When this process began to be a worker, so that another of its name is not taken for it.
    started_unix_ns: u64,
    device: String,
    machine: String,
    offer: Offer,
}

impl Fleet {
    pub(crate) fn new(config: &Config) -> Result<Self, CredentialsError> {
        let tune = |endpoint: Endpoint| {
            endpoint
                .connect_timeout(Duration::from_secs(5))
                // A coordinator whose machine vanished closes nothing: pings find out.
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true)
        };
        let (channel, bearer) = config.credentials.channel(&config.coordinator, tune)?;
        Ok(Self {
            client: FleetClient::with_interceptor(channel, bearer),
            worker: config.name.clone(),
            started_unix_ns: now_unix_ns(),
            device: config.device.clone(),
            machine: config.machine.clone(),
            offer: config.offer.clone(),
        })
    }

    /// Makes this worker known.
    pub(crate) async fn register(&self) -> Result<v1::RegisterResponse, Refusal> {
        let mut client = self.client.clone();
        let request = v1::RegisterRequest {
            worker: self.worker.clone(),
            protocol_version: PROTOCOL_VERSION,
            device: self.device.clone(),
            machine: self.machine.clone(),
            gpus: self.offer.gpus,
            gpu_type: self.offer.gpu_type.clone(),
            gpu_memory_mib: self.offer.gpu_memory_mib,
            memory_mib: self.offer.memory_mib,
            labels: self.offer.labels.iter().cloned().collect(),
            started_unix_ns: self.started_unix_ns,
        };
        answer(client.register(Request::new(request)), ANSWER_WITHIN).await
    }

    /// Asks for a task and waits for one at most `wait`.
    pub(crate) async fn acquire(&self, wait: Duration) -> Result<v1::AcquireResponse, Refusal> {
        let mut client = self.client.clone();
        let request = v1::AcquireRequest {
            worker: self.worker.clone(),
            started_unix_ns: self.started_unix_ns,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        answer(client.acquire(Request::new(request)), wait + ANSWER_WITHIN).await
    }

    /// Keeps a part of a lease; asks once.
    pub(crate) async fn renew(
        &self,
        part: LeasePart,
        says: Says,
        within: Duration,
    ) -> Result<v1::RenewResponse, Refusal> {
        let mut client = self.client.clone();
        let request = v1::RenewRequest {
            claim: Some(part.into()),
            progress: says.progress,
            rendezvous: says.rendezvous,
            leaving: says.leaving,
        };
        let call = client.renew(Request::new(request));
        answer(call, within).await
    }

    /// Makes a stored checkpoint the task's own.
    pub(crate) async fn commit(
        &self,
        claim: LeaseClaim,
        checkpoint: &CheckpointRef,
    ) -> Result<(), Refusal> {
        let request = v1::CommitRequest {
            claim: Some(claim.into()),
            checkpoint: Some(checkpoint.clone().into()),
        };
        self.insist(|mut client| {
            let request = request.clone();
            async move { answer(client.commit(Request::new(request)), ANSWER_WITHIN).await }
        })
        .await
        .map(|v1::CommitResponse { .. }| ())
    }

    /// Ends a task with what it measured; returns the next one, if one is ready and to be taken.
    pub(crate) async fn finish(
        &self,
        claim: LeaseClaim,
        observation: &Observation,
        take_next: bool,
    ) -> Result<Option<v1::Assignment>, Refusal> {
        let request = v1::FinishRequest {
            claim: Some(claim.into()),
            observation: Some(observation.clone().into()),
            take_next,
            started_unix_ns: self.started_unix_ns,
        };
        self.insist(|mut client| {
            let request = request.clone();
            async move { answer(client.finish(Request::new(request)), ANSWER_WITHIN).await }
        })
        .await
        .map(|answer| answer.next)
    }

    /// Ends an attempt without a result; returns whether the task is tried again.
    pub(crate) async fn fail(
        &self,
        part: LeasePart,
        failure: &Failure,
        stderr_tail: &str,
    ) -> Result<bool, Refusal> {
        let request = v1::FailRequest {
            claim: Some(part.into()),
            class: failure.class.into(),
            message: failure.message.clone(),
            stderr_tail: stderr_tail.to_owned(),
            bad_checkpoint: failure.bad_checkpoint.clone().map(Into::into),
        };
        self.insist(|mut client| {
            let request = request.clone();
            async move { answer(client.fail(Request::new(request)), ANSWER_WITHIN).await }
        })
        .await
        .map(|answer| answer.will_retry)
    }

    /// Gives a lease back, with what the task has come to.
    pub(crate) async fn release(&self, part: LeasePart, interim: &Interim) -> Result<(), Refusal> {
        let request = v1::ReleaseRequest {
            claim: Some(part.into()),
            curve: (!interim.is_empty()).then(|| interim.curve.clone().into()),
            seconds: interim.seconds,
        };
        self.insist(|mut client| {
            let request = request.clone();
            async move { answer(client.release(Request::new(request)), ANSWER_WITHIN).await }
        })
        .await
        .map(|v1::ReleaseResponse {}| ())
    }

    /// Repeats a call until it gets an answer that another try would not change. Whoever calls
    /// sets the limit by dropping the future.
    async fn insist<T, C, F>(&self, call: C) -> Result<T, Refusal>
    where
        C: Fn(Client) -> F,
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut backoff = Backoff::new();
        loop {
            let refusal = match call(self.client.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            if let Refusal::UnknownWorker(_) = refusal {
                // The coordinator started anew.
                if let Err(refusal) = self.register().await
                    && !passes(&refusal)
                {
                    return Err(refusal);
                }
            } else if !passes(&refusal) {
                return Err(refusal);
            }
            tracing::debug!(%refusal, "coordinator does not answer; trying again");
            backoff.wait_at_least(refusal.retry_after()).await;
        }
    }
}

/// Whether what a registered worker was refused may be granted later. Its token may just be changed: the
/// two sides need not learn of that at the same time.
pub(crate) const fn passes(refusal: &Refusal) -> bool {
    refusal.is_transient() || matches!(refusal, Refusal::Unauthenticated(_))
}

/// Zero, which says nothing, on a machine whose clock is before 1970.
fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0))
}

/// The answer of a call, if it comes in time.
async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
    within: Duration,
) -> Result<T, Refusal> {
    match tokio::time::timeout(within, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_elapsed) => Err(Refusal::Unavailable(format!(
            "no answer within {} s",
            within.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_under_which_a_lease_cannot_be_kept_are_refused() {
        let terms = |renew_every_ms, lease_ttl_ms| {
            Terms::try_from(v1::RegisterResponse {
                lease_ttl_ms,
                renew_every_ms,
                store_id: String::new(),
            })
        };
        assert!(terms(1000, 3000).is_ok());
        for (every, ttl) in [(0, 1000), (1000, 1000), (1001, 1000), (0, 0)] {
            assert!(terms(every, ttl).is_err(), "{every} of {ttl}");
        }
    }
}
