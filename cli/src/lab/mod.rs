//! The coordinator as people talk to it: the connection, and the commands that need one.

pub mod address;
pub mod commands;
pub mod logs;
pub mod upkeep;

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use autorep_core::front::FrontReport;
use autorep_proto::status::{Refusal, innermost, is_unanswered};
use autorep_proto::v1;
use autorep_proto::v1::lab_client::LabClient;
use autorep_transport::Bearer;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use self::address::Target;

/// A connection to a coordinator.
pub type Lab = LabClient<InterceptedService<Channel, Bearer>>;

/// Fronts of large sweeps come in one message.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Connects to a coordinator.
pub async fn connect(target: &Target) -> Result<Lab> {
    let url = &target.url;
    let tune = |endpoint: Endpoint| {
        endpoint
            .connect_timeout(Duration::from_secs(5))
            // Reading the largest manifest takes a part of it.
            .timeout(Duration::from_mins(1))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
    };
    let connected = target.credentials.connect(&target.uri()?, tune).await?;
    let (channel, bearer) = connected.map_err(|error| {
        let cause = innermost(&error).unwrap_or(&error);
        let io = cause.downcast_ref::<std::io::Error>();
        // Where TLS is refused there is one, and the cause says what to do.
        let advice = match io.map(std::io::Error::kind) {
            Some(ErrorKind::InvalidData) => "",
            _ => {
                "; start one with `autorep coordinator`, or name another with --coordinator or \
                 AUTOREP_COORDINATOR"
            }
        };
        anyhow!("{cause}").context(format!(
            "expected a coordinator at {url}, found none that can be talked to{advice}"
        ))
    })?;
    Ok(LabClient::with_interceptor(channel, bearer)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}

/// The error of a refused call: what the coordinator said, without the protocol's wrapping.
pub fn refused(status: &Status) -> anyhow::Error {
    let refusal = Refusal::from(status);
    if let Refusal::UnknownSweep(sweep) = &refusal {
        return anyhow!(
            "expected a sweep or task that the coordinator knows, found {sweep:?}; `autorep list` \
             prints the sweeps"
        );
    }
    anyhow::Error::new(refusal)
}

/// As [`refused`], of a call that changes something.
pub fn change_refused(status: &Status) -> anyhow::Error {
    let error = refused(status);
    if !is_unanswered(status) {
        return error;
    }
    error.context(
        "expected an answer from the coordinator, found none: what was asked may be done or not; \
         `autorep list` and `autorep show` tell once it answers",
    )
}

/// What whoever follows something is told while a coordinator is away.
fn waits_for(url: &str, why: &anyhow::Error) -> String {
    format!("no answer from the coordinator at {url} ({why:#}); waiting for it")
}

/// Whether what was asked may be answered later without anything else being done.
pub fn is_transient(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(Refusal::is_transient)
}

/// The front of `sweep` now.
pub async fn front(lab: &mut Lab, sweep: &str) -> Result<FrontReport> {
    let request = v1::WatchFrontRequest {
        sweep: sweep.to_owned(),
        follow: false,
    };
    let answer = lab.watch_front(request).await;
    let mut fronts = answer.map_err(|status| refused(&status))?.into_inner();
    let front = fronts.message().await.map_err(|status| refused(&status))?;
    let front = front.context("expected a front from the coordinator, found none")?;
    FrontReport::try_from(front).context("read the front that the coordinator sent")
}
