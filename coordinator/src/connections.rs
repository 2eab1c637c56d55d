//! A bounded number of connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use autorep_transport::{Secured, ServerTls};
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::measure;

/// How often an overload is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A connection that counts while it lives.
pub(crate) struct Counted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// The connections of `incoming`, as long as there are fewer than `limit`: more are closed at once.
/// Whoever called tries again, as after any broken connection; those that are served stay so.
pub(crate) fn limited<E>(
    incoming: impl Stream<Item = Result<TcpStream, E>>,
    limit: usize,
) -> impl Stream<Item = Result<Counted, E>> {
    let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let mut last = None::<Instant>;
    incoming.filter_map(move |accepted| {
        let counted = accepted.map(|stream| {
            let permit = Arc::clone(&permits).try_acquire_owned().ok()?;
            Some(Counted {
                stream,
                _permit: permit,
            })
        });
        if let Ok(None) = counted {
            crate::measure::connection_refused();
            // Of many at once, one is told.
            if last.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                last = Some(Instant::now());
                tracing::warn!(
                    limit,
                    "a connection was closed: there are as many as there may be"
                );
            }
        }
        std::future::ready(counted.transpose())
    })
}

/// `incoming` under TLS, where it is wanted. Who agrees on none holds nobody up: at most `limit` do so
/// at a time, each on a task of its own.
pub(crate) fn secured(
    incoming: impl Stream<Item = std::io::Result<Counted>>,
    tls: Option<ServerTls>,
    limit: usize,
) -> impl Stream<Item = std::io::Result<Secured<Counted>>> {
    let shaking = incoming.map(move |accepted| {
        let tls = tls.clone();
        async move {
            let (connection, tls) = match (accepted?, tls) {
                (connection, None) => return Ok(Ok(Secured::Plain(connection))),
                (connection, Some(tls)) => (connection, tls),
            };
            let peer = connection.stream.peer_addr();
            let shaken = tokio::spawn(async move { tls.accept(connection).await }).await;
            let shaken = shaken.map_err(std::io::Error::other)?;
            Ok(shaken.map_err(|error| (peer, error)))
        }
    });
    let shaken = shaking.buffer_unordered(limit.max(1));
    shaken.filter_map(|shaken| {
        let secured = match shaken {
            Ok(Ok(connection)) => Some(Ok(connection)),
            // Nobody else is concerned.
            Ok(Err((peer, error))) => {
                measure::handshake_failed();
                tracing::debug!(?peer, %error, "a connection was closed: no TLS");
                None
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(secured)
    })
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
