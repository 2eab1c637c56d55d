//! Who has asked for what: a line in the log for each call that changes something.

use std::fmt::Display;
use std::net::SocketAddr;

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

    /// Writes down what they ask for, which is not done yet and may be refused.
    pub(super) fn asks(&self, method: &'static str, about: impl Display) {
        tracing::info!(
            caller = self.caller,
            peer = self.address.map(tracing::field::display),
            method,
            %about,
            "asked for a change"
        );
    }
}
