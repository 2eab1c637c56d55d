//! A proxy before an S3 server that has bad moments: it answers some requests with 503, as a busy
//! service does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::s3::Moments;

/// The proxy. It ends when it is dropped.
pub(crate) struct Moody {
    address: SocketAddr,
    moments: Arc<Moments>,
    _runtime: Runtime,
}

impl Moody {
    /// A proxy before `server`, which refuses one request in `bad_every` in its place.
    pub(crate) fn before(server: (Ipv4Addr, u16), bad_every: u64) -> Self {
        let moments = Arc::new(Moments::new(bad_every));
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listener).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, server, Arc::clone(&moments)));
        Self {
            address,
            moments,
            _runtime: runtime,
        }
    }

    /// Where to ask.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came, and how many of them were refused.
    pub(crate) fn requests(&self) -> (u64, u64) {
        self.moments.requests()
    }
}

async fn serve(listener: TcpListener, server: (Ipv4Addr, u16), moments: Arc<Moments>) {
    while let Ok((socket, _)) = listener.accept().await {
        let moments = Arc::clone(&moments);
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let bad = moments.is_bad();
                async move {
                    if bad {
                        // A client that is still sending would take the answer for a lost line.
                        drop(request.into_body().collect().await);
                        let mut busy = Response::new(Either::Left(Empty::<Bytes>::new()));
                        *busy.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                        return Ok(busy);
                    }
                    forward(request, server).await
                }
            });
            // A client may go in the middle of an answer.
            let _gone = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}

type Answer = Response<Either<Empty<Bytes>, Incoming>>;

/// Passes a request on as it is: its signature is over the address that the client knows.
async fn forward(request: Request<Incoming>, server: (Ipv4Addr, u16)) -> io::Result<Answer> {
    let socket = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    Ok(answer.map(Either::Right))
}
