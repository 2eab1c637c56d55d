//! Who has asked for what: a line in the log for each call that changes something.

use std::fmt::Display;
use std::net::SocketAddr;

use autorep_proto::status::Refusal;
use autorep_transport::Caller;
use tonic::Request;

use crate::connections::Peer;

/// Who makes a call.
#[derive(Debug)]
pub(super) struct Who {
    /// The name of their token, where there are tokens.
    caller: Option<String>,
    address: Option<SocketAddr>,
}

impl Who {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let extensions = request.extensions();
        Self {
            caller: extensions.get().map(|caller: &Caller| caller.name.clone()),
            address: extensions.get().and_then(Peer::address),
        }
    }

    /// Writes down what they ask for, and if it is refused, that. What is done has lines of its own.
    pub(super) async fn change<T>(
        &self,
        method: &'static str,
        about: impl Display,
        change: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let caller = self.caller.as_deref();
        let peer = self.address.map(tracing::field::display);
        tracing::info!(caller, peer, method, %about, "asked for a change");
        let changed = change.await;
        if let Err(refusal) = &changed {
            tracing::info!(caller, peer, method, %about, %refusal, "the change was refused");
        }
        changed
    }
}
