//! Who may call what: the one table of methods and rights, and the layer that holds calls against it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use autorep_core::id::OwnerName;
use autorep_proto::status::Refusal;
use autorep_transport::{Caller, LiveTokens, Right, Secret};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

use super::pass::{Pass, not_in_force};
use crate::connections::Peer;
use crate::seldom::Seldom;

/// What a method needs; `None` where nothing is needed: health checks and reflection tell nothing of
/// sweeps. What is not in the table nobody may call.
fn needs(path: &str) -> Result<Option<Right>, Refusal> {
    let (service, method) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path, ""));
    let right = match (service, method) {
        ("grpc.health.v1.Health" | "grpc.reflection.v1.ServerReflection", _) => return Ok(None),
        (
            "autorep.v1.Fleet",
            "Register" | "Acquire" | "Renew" | "Commit" | "Finish" | "Fail" | "Release",
        ) => Right::Work,
        ("autorep.v1.Lab", "List" | "Show" | "WatchFront" | "Logs" | "ListWorkers") => Right::Read,
        (
            "autorep.v1.Lab",
            // A plan takes the coordinator's time as a submission does.
            "Submit" | "Plan" | "Pause" | "Resume" | "Cancel" | "Checkpoint" | "Pin",
        ) => Right::Submit,
        ("autorep.v1.Lab", "CollectGarbage") => Right::Administer,
        _ => {
            return Err(Refusal::Forbidden(format!(
                "expected a method of this coordinator, found {}",
                super::beginning_of(path, 128)
            )));
        }
    };
    Ok(Some(right))
}

/// Whose sweeps a call reaches, as the guard has found it; all where there is no guard.
pub(crate) fn owner_of<T>(request: &tonic::Request<T>) -> Option<OwnerName> {
    let caller = request.extensions().get::<Caller>();
    caller.and_then(|caller| caller.role.owner()).cloned()
}

/// By what a call is let in, if it may; `None` where nothing is needed.
fn admitted(tokens: &LiveTokens, path: &str, headers: &HeaderMap) -> Result<Option<Pass>, Refusal> {
    let Some(right) = needs(path)? else {
        return Ok(None);
    };
    let token = presented(headers)?;
    let known = tokens.get();
    let caller = known.caller(&token).ok_or_else(not_in_force)?;
    if caller.role.may(right) {
        return Ok(Some(Pass {
            tokens: tokens.clone(),
            token,
            caller: caller.clone(),
        }));
    }
    Err(Refusal::Forbidden(format!(
        "expected a token that may {}, found {:?}, which is for a {}",
        match right {
            Right::Read => "read sweeps",
            Right::Submit => "submit and steer sweeps",
            Right::Administer => "administer (role admin)",
            Right::Work => "work (role worker)",
        },
        caller.name,
        caller.role.name()
    )))
}

fn presented(headers: &HeaderMap) -> Result<Secret, Refusal> {
    let none = || {
        Refusal::Unauthenticated(
            "expected a token, found none: name a file with it by --token-file or \
             AUTOREP_TOKEN_FILE, or set AUTOREP_TOKEN"
                .to_owned(),
        )
    };
    let header = headers.get("authorization").ok_or_else(none)?;
    let text = header.to_str().map_err(|_not_text| none())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(none)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(none());
    }
    Secret::parse(token).map_err(|error| Refusal::Unauthenticated(error.to_string()))
}

/// Lets calls pass that may; without tokens all may.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    tokens: Option<LiveTokens>,
    refusals: Arc<Seldom>,
}

impl Guard {
    pub(crate) fn new(tokens: Option<LiveTokens>) -> Self {
        Self {
            tokens,
            refusals: Arc::default(),
        }
    }

    fn tell(&self, path: &str, peer: Option<&Peer>, refusal: &Refusal) {
        if let Some(untold) = self.refusals.tell() {
            let peer = peer.and_then(Peer::address).map(tracing::field::display);
            let path = super::beginning_of(path, 128);
            tracing::warn!(path, peer, %refusal, untold, "a call was refused");
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, service: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            service,
        }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    guard: Guard,
    service: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let admit = || peer.iter().for_each(Peer::admit);
        let Some(tokens) = &self.guard.tokens else {
            admit();
            return Box::pin(self.service.call(request));
        };
        match admitted(tokens, request.uri().path(), request.headers()) {
            Ok(None) => Box::pin(self.service.call(request)),
            Ok(Some(pass)) => {
                admit();
                request.extensions_mut().insert(pass.caller.clone());
                let answering = self.service.call(request);
                Box::pin(async move { Ok(answering.await?.map(|answer| pass.over(answer))) })
            }
            Err(refusal) => {
                let path = request.uri().path();
                self.guard.tell(path, peer.as_ref(), &refusal);
                let refused = Status::from(refusal).into_http();
                Box::pin(std::future::ready(Ok(refused)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use autorep_proto::FILE_DESCRIPTOR_SET;
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_of_the_protocol_is_in_the_table() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut seen = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(matches!(needs(&path), Ok(Some(_))), "{path}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 15, "{seen} methods");
        assert!(needs("/autorep.v1.Lab/DropEverything").is_err());
        assert!(needs("/autorep.v1.Lab/List/x").is_err());
        assert!(needs("").is_err());
    }
}
