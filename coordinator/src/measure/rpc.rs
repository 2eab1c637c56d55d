//! Every gRPC call, counted, timed and traced where it passes the server.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use autorep_proto::FILE_DESCRIPTOR_SET;
use autorep_transport::trace::{self, TRACE_ONLY};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::table::{RPC_REQUESTS, RPC_TIME};

/// Methods that callers call again and again until there is something: a span for each call would
/// hide the others.
const POLLED: [&str; 3] = ["Acquire", "Renew", "Show"];

/// The methods that are counted by name: those that this server has.
#[derive(Debug)]
struct Methods {
    /// By the path of their requests.
    known: BTreeMap<String, Arc<Method>>,
    /// All others. Whoever asks for them does not make up labels.
    other: Arc<Method>,
}

#[derive(Debug)]
struct Method {
    service: String,
    name: String,
    streams: bool,
    is_traced: bool,
}

impl Method {
    /// The span of a call, in the trace of its caller.
    fn span(&self, headers: &HeaderMap) -> Span {
        if !self.is_traced {
            return Span::none();
        }
        let span = tracing::info_span!(
            target: TRACE_ONLY,
            parent: None,
            "call",
            otel.name = format!("{}/{}", self.service, self.name),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            rpc.system = "grpc",
            rpc.service = self.service,
            rpc.method = self.name,
            rpc.grpc.status_code = tracing::field::Empty,
        );
        trace::continue_call(&span, headers);
        span
    }
}

impl Methods {
    fn new() -> Self {
        let sets = [
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut known = BTreeMap::new();
        // They were compiled in, and what cannot be read is counted as other.
        let files = sets
            .into_iter()
            .filter_map(|set| FileDescriptorSet::decode(set).ok())
            .flat_map(|set| set.file);
        for file in files {
            for service in &file.service {
                let service_name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let path = format!("/{service_name}/{}", method.name());
                    let is_ours = service_name.starts_with("autorep.");
                    let method = Method {
                        is_traced: is_ours && !POLLED.contains(&method.name()),
                        service: service_name.clone(),
                        name: method.name().to_owned(),
                        streams: method.server_streaming() || method.client_streaming(),
                    };
                    known.insert(path, Arc::new(method));
                }
            }
        }
        let other = Arc::new(Method {
            service: "other".to_owned(),
            name: "other".to_owned(),
            streams: false,
            is_traced: false,
        });
        Self { known, other }
    }

    fn of(&self, path: &str) -> Arc<Method> {
        Arc::clone(self.known.get(path).unwrap_or(&self.other))
    }
}

/// The codes that alerts look at, and that of success: a call that never ended with one of them has a
/// counter all the same, so that its first increase can be seen.
const WATCHED: [Code; 6] = [
    Code::Ok,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::Internal,
    Code::Unknown,
    Code::DataLoss,
];

/// Makes the counters of [`WATCHED`] codes appear with 0.
pub(super) fn prepare() {
    let Methods { known, other } = Methods::new();
    for method in known.values().chain([&other]) {
        for code in WATCHED {
            count(method, code, 0);
        }
    }
}

fn count(method: &Method, code: Code, calls: u64) {
    metrics::counter!(
        RPC_REQUESTS,
        "service" => method.service.clone(),
        "method" => method.name.clone(),
        "code" => code_name(code),
    )
    .increment(calls);
}

/// Counts what passes the services behind it.
#[derive(Clone, Debug)]
pub(crate) struct RpcLayer {
    methods: Arc<Methods>,
}

impl RpcLayer {
    pub(crate) fn new() -> Self {
        let methods = Arc::new(Methods::new());
        Self { methods }
    }
}

impl<S> Layer<S> for RpcLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        let methods = Arc::clone(&self.methods);
        Measured { inner, methods }
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub(crate) struct Measured<S> {
    inner: S,
    methods: Arc<Methods>,
}

/// A call that is counted when it ends, or when nobody waits for its end any more.
#[derive(Debug)]
struct Call {
    method: Arc<Method>,
    began: Instant,
    code: Option<Code>,
    span: Span,
}

impl Call {
    fn ends(mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record("rpc.grpc.status_code", i32::from(code));
        if is_servers_fault(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        let method = &self.method;
        if !method.streams {
            let (service, name) = (method.service.clone(), method.name.clone());
            metrics::histogram!(RPC_TIME, "service" => service, "method" => name)
                .record(self.began.elapsed().as_secs_f64());
        }
        count(method, code, 1);
    }
}

type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<Answer<B>>, E>> + Send>>;

impl<S, A, B> Service<Request<A>> for Measured<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Body,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Answering<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let method = self.methods.of(request.uri().path());
        let span = method.span(request.headers());
        let call = Call {
            method,
            began: Instant::now(),
            code: None,
            span: span.clone(),
        };
        let answering = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let answer = match answering.await {
                Ok(answer) => answer,
                Err(error) => {
                    call.ends(Code::Unknown);
                    return Err(error);
                }
            };
            // A refusal has its status in the headers, all else after the message.
            let call = match status(answer.headers()) {
                Some(code) => {
                    call.ends(code);
                    None
                }
                None => Some(call),
            };
            Ok(answer.map(|inner| Answer { inner, call }))
        })
    }
}

/// The body of an answer, whose end tells how the call ended.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    inner: B,
    call: Option<Call>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let code = match &frame {
            Some(Ok(frame)) => frame
                .trailers_ref()
                .map(|trailers| status(trailers).unwrap_or(Code::Unknown)),
            Some(Err(_)) | None => Some(Code::Unknown),
        };
        if let Some(code) = code
            && let Some(call) = self.call.take()
        {
            call.ends(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get("grpc-status")?;
    Some(Code::from_bytes(status.as_bytes()))
}

/// Whether it is the server that has failed, as OpenTelemetry sees it.
const fn is_servers_fault(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// As other gRPC servers name them in metrics.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_this_server_has_a_name_and_nothing_else_has() {
        let methods = Methods::new();
        let acquire = methods.of("/autorep.v1.Fleet/Acquire");
        assert_eq!(
            (acquire.service.as_str(), acquire.streams),
            ("autorep.v1.Fleet", false)
        );
        assert!(methods.of("/autorep.v1.Lab/WatchFront").streams);
        assert_eq!(methods.of("/grpc.health.v1.Health/Check").name, "Check");
        assert_eq!(methods.of("/autorep.v1.Fleet/../made/up").name, "other");
        let traced = |path: &str| methods.of(path).is_traced;
        assert!(traced("/autorep.v1.Lab/Submit") && traced("/autorep.v1.Fleet/Commit"));
        for polled in POLLED {
            let paths = ["Fleet", "Lab"].map(|it| format!("/autorep.v1.{it}/{polled}"));
            assert!(paths.iter().any(|path| methods.known.contains_key(path)));
            assert!(!paths.iter().any(|path| traced(path)), "{polled}");
        }
        assert!(!traced("/grpc.health.v1.Health/Check"));
    }

    #[test]
    fn a_status_is_read_where_it_stands() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", "16".parse().unwrap());
        assert_eq!(status(&headers), Some(Code::Unauthenticated));
    }
}
