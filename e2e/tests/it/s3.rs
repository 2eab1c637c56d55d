//! An S3 server on loopback, which keeps its objects in a folder: real requests, real signatures.
//! It has bad moments: it answers some requests with 503, as a busy service does.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const KEY: &str = "somebody";
const SECRET: &str = "something";

/// The server. It ends when it is dropped.
pub(crate) struct S3 {
    folder: TempDir,
    address: SocketAddr,
    moments: Arc<Moments>,
    _runtime: Runtime,
}

/// What the server has answered.
#[derive(Debug)]
pub(crate) struct Moments {
    /// One request in so many is answered with 503.
    bad_every: u64,
    requests: AtomicU64,
    refused: AtomicU64,
}

impl Moments {
    /// Bad moments for one request in `bad_every`.
    pub(crate) fn new(bad_every: u64) -> Self {
        Self {
            bad_every,
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// How many requests came, and how many of them were refused.
    pub(crate) fn requests(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.requests), of(&self.refused))
    }

    /// Counts a request; whether it is to be refused.
    pub(crate) fn is_bad(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let bad = number.is_multiple_of(self.bad_every);
        if bad {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        bad
    }
}

impl S3 {
    /// A server with one empty bucket, which refuses one request in `bad_every`.
    pub(crate) fn start(bucket: &str, bad_every: u64) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join(bucket)).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let moments = Arc::new(Moments::new(bad_every));
        let runtime = Runtime::new().unwrap();
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, service.build(), Arc::clone(&moments)));
        Self {
            folder,
            address,
            moments,
            _runtime: runtime,
        }
    }

    /// Lets a program use the server as it would any other S3.
    pub(crate) fn give<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
    }

    /// The file of an object, or the folder of those below a prefix.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.path().join(bucket).join(key)
    }

    /// How many requests came, and how many of them were refused.
    pub(crate) fn requests(&self) -> (u64, u64) {
        self.moments.requests()
    }
}

async fn serve(listener: TcpListener, service: S3Service, moments: Arc<Moments>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (service, moments) = (service.clone(), Arc::clone(&moments));
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<hyper::body::Incoming>| {
                let bad = moments.is_bad();
                let service = service.clone();
                async move {
                    if bad {
                        // A client that is still sending would take the answer for a lost line.
                        drop(request.into_body().collect().await);
                        Ok(busy())
                    } else {
                        service.call(request.map(Body::from)).await
                    }
                }
            });
            // A client may go in the middle of an answer.
            let _gone = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}

fn busy() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
