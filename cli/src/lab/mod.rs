//! The coordinator as people talk to it: the connection, and the commands that need one.

pub mod commands;
pub mod upkeep;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use autorep_core::front::FrontReport;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::lab_client::LabClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A connection to a coordinator.
pub type Lab = LabClient<Channel>;

/// Fronts of large sweeps come in one message.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Connects to the coordinator at `url`.
pub async fn connect(url: &str) -> Result<Lab> {
    let channel = Endpoint::from_shared(url.to_owned())
        .with_context(|| {
            format!("expected a coordinator's address like http://127.0.0.1:7070, found {url:?}")
        })?
        .connect_timeout(Duration::from_secs(5))
        // Reading the largest manifest takes a part of it.
        .timeout(Duration::from_mins(1))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .connect()
        .await
        .map_err(|error| {
            anyhow!("{}", innermost(&error)).context(format!(
                "expected a coordinator at {url}, found none; start one with `autorep \
                 coordinator`, or name another with --coordinator or AUTOREP_COORDINATOR"
            ))
        })?;
    Ok(LabClient::new(channel)
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
    anyhow!("{refusal}")
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

/// The cause that says most: transports wrap it in layers that say "transport error".
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
