//! An HTTP server that answers as S3 does to uploads in parts, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use object_store::ObjectStore;
use tokio::net::TcpListener;

use crate::{Multipart, Variables, connect_with};

/// What the server holds and was asked.
#[derive(Default)]
pub(crate) struct Held {
    /// Whole objects by path.
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Pieces of uploads that are not over, by number.
    pub(crate) pieces: BTreeMap<u32, Bytes>,
    pub(crate) uploads_begun: u32,
    pub(crate) uploads_forgotten: u32,
    /// Of each request: its method, path and query, and headers.
    pub(crate) requests: Vec<(Method, String, HeaderMap)>,
    /// Answers that are given instead, to the next requests of a kind.
    pub(crate) instead: Vec<(Kind, StatusCode, &'static str)>,
    /// Whether what ends an upload is done before it is answered instead.
    pub(crate) answer_is_lost: bool,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Begin,
    Piece(u32),
    Complete,
    Abort,
    Put,
    Get,
}

/// The server. It ends with its runtime.
#[derive(Clone)]
pub(crate) struct Stub {
    held: Arc<Mutex<Held>>,
    address: SocketAddr,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stub = Self {
            address: listener.local_addr().unwrap(),
            held: Arc::default(),
        };
        let serving = stub.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let stub = serving.clone();
                let answer = service_fn(move |request| stub.clone().answer(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), answer);
                tokio::spawn(connection);
            }
        });
        stub
    }

    /// The bucket `bucket` of the server, with these variables beside those that lead there.
    pub(crate) fn store(&self, more: &[(&str, &str)]) -> Arc<dyn ObjectStore> {
        let endpoint = format!("http://{}", self.address);
        let variables: Variables = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
        connect_with("s3://bucket/team", &variables, Multipart::CreatesOnly).unwrap()
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query());
        let query = query.unwrap_or_default().to_owned();
        let kind = kind(&parts.method, &query);
        let mut held = self.held();
        let asked = format!("{path}?{query}");
        held.requests
            .push((parts.method.clone(), asked, parts.headers.clone()));
        let instead = held.instead.iter().position(|(it, _, _)| *it == kind);
        if let Some(index) = instead {
            let (_, status, code) = held.instead.remove(index);
            if held.answer_is_lost {
                held.act(kind, &path, body, &parts.headers);
            }
            let text = format!("<Error><Code>{code}</Code></Error>");
            return Ok(respond(status, text.into()));
        }
        let (status, answer) = held.act(kind, &path, body, &parts.headers);
        Ok(respond(status, answer))
    }
}

fn respond(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let tag = http::HeaderValue::from_static("\"tag\"");
    response.headers_mut().insert(http::header::ETAG, tag);
    response
}

fn kind(method: &Method, query: &str) -> Kind {
    let number = query
        .split('&')
        .find_map(|it| it.strip_prefix("partNumber="));
    match (method.as_str(), number) {
        ("POST", None) if query.starts_with("uploads") => Kind::Begin,
        ("POST", None) => Kind::Complete,
        ("PUT", Some(number)) => Kind::Piece(number.parse().unwrap()),
        ("PUT", None) => Kind::Put,
        ("DELETE", None) => Kind::Abort,
        _ => Kind::Get,
    }
}

impl Held {
    fn act(
        &mut self,
        kind: Kind,
        path: &str,
        body: Bytes,
        headers: &HeaderMap,
    ) -> (StatusCode, Bytes) {
        let ok = |text: &'static str| (StatusCode::OK, Bytes::from_static(text.as_bytes()));
        let taken = self.objects.contains_key(path) && headers.contains_key("if-none-match");
        match kind {
            Kind::Complete | Kind::Put if taken => (StatusCode::PRECONDITION_FAILED, Bytes::new()),
            Kind::Begin => {
                self.uploads_begun += 1;
                ok("<I><Bucket>b</Bucket><Key>k</Key><UploadId>id</UploadId></I>")
            }
            Kind::Piece(number) => {
                self.pieces.insert(number, body);
                ok("")
            }
            Kind::Complete => {
                let pieces = std::mem::take(&mut self.pieces);
                let whole = pieces.into_values().collect::<Vec<_>>().concat();
                self.objects.insert(path.to_owned(), whole);
                ok("<C><Location>l</Location><ETag>\"tag\"</ETag></C>")
            }
            Kind::Put => {
                self.objects.insert(path.to_owned(), body.to_vec());
                ok("")
            }
            Kind::Abort => {
                self.uploads_forgotten += 1;
                self.pieces.clear();
                (StatusCode::NO_CONTENT, Bytes::new())
            }
            Kind::Get => match self.objects.get(path) {
                Some(object) => (StatusCode::OK, object.clone().into()),
                None => (StatusCode::NOT_FOUND, Bytes::new()),
            },
        }
    }
}
