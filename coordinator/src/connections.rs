//! A bounded number of connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use autorep_transport::{Secured, ServerTls};
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::Connected;
use tracing::field::display;

use crate::measure;
use crate::plaintext;
use crate::seldom::Seldom;

/// How long to wait after a connection could not be taken: for want of file descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: Option<SocketAddr>,
    admitted: Arc<AtomicBool>,
}

impl Peer {
    /// Where it calls from.
    pub(crate) const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Lets the connection live: a call over it was let in.
    pub(crate) fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

/// A connection that counts while it lives.
pub(crate) struct Counted {
    stream: TcpStream,
    peer: Peer,
    /// When it ends, unless a call over it was let in before.
    until: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

/// The connections of `incoming`, as long as there are fewer than `limit`: more are closed at once.
/// Whoever called tries again, as after any broken connection; those that are served stay so. One over
/// which no call was let in for `first_call_within` ends: whoever may call nothing takes no room for
/// long.
pub(crate) fn limited(
    incoming: impl Stream<Item = io::Result<TcpStream>>,
    limit: usize,
    first_call_within: Duration,
) -> impl Stream<Item = Counted> {
    let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let (too_many, not_taken) = (Seldom::default(), Seldom::default());
    incoming.filter_map(move |accepted| {
        let (counted, pause) = match accepted {
            Ok(stream) => {
                let counted = counted(stream, &permits, first_call_within);
                if counted.is_none() {
                    measure::connection_refused();
                    if let Some(untold) = too_many.tell() {
                        tracing::warn!(
                            limit,
                            untold,
                            "a connection was closed: there are as many as there may be"
                        );
                    }
                }
                (counted, None)
            }
            Err(error) => {
                if let Some(untold) = not_taken.tell() {
                    tracing::warn!(%error, untold, "a connection could not be taken");
                }
                (None, Some(PAUSE))
            }
        };
        async move {
            // The next attempt would fail at once, and so on.
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            counted
        }
    })
}

fn counted(
    stream: TcpStream,
    permits: &Arc<Semaphore>,
    first_call_within: Duration,
) -> Option<Counted> {
    let permit = Arc::clone(permits).try_acquire_owned().ok()?;
    let peer = Peer {
        address: stream.peer_addr().ok(),
        admitted: Arc::default(),
    };
    Some(Counted {
        stream,
        peer,
        until: Some(Box::pin(tokio::time::sleep(first_call_within))),
        _permit: permit,
    })
}

/// `incoming` under TLS, where it is wanted. Who agrees on none holds nobody up: at most `limit` do so
/// at a time, each on a task of its own.
pub(crate) fn secured(
    incoming: impl Stream<Item = Counted>,
    tls: Option<ServerTls>,
    limit: usize,
) -> impl Stream<Item = io::Result<Secured<Counted>>> {
    let shaking = incoming.map(move |connection| {
        let tls = tls.clone();
        async move {
            let Some(tls) = tls else {
                return Ok(Ok(Secured::Plain(connection)));
            };
            let peer = connection.peer.address;
            let shaken = tokio::spawn(shaken(tls, connection)).await;
            let shaken = shaken.map_err(io::Error::other)?;
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
                tracing::debug!(peer = peer.map(display), %error, "a connection was closed: no TLS");
                None
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(secured)
    })
}

async fn shaken(tls: ServerTls, mut connection: Counted) -> io::Result<Secured<Counted>> {
    plaintext::refuse(&mut connection.stream).await?;
    tls.accept(connection).await
}

impl Connected for Counted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.peer.admitted.load(Ordering::Relaxed) {
            self.until = None;
        }
        if let Some(until) = &mut self.until
            && until.as_mut().poll(context).is_ready()
        {
            let peer = self.peer.address.map(display);
            tracing::debug!(peer, "a connection was closed: no call in time");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_taken_is_waited_for_a_little_and_ends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        let _here = here.unwrap();
        let none_left = || Err(io::Error::other("too many open files"));
        let incoming = stream::iter([none_left(), none_left(), Ok(there.unwrap().0)]);
        let began = Instant::now();
        let mut taken = Box::pin(limited(incoming, 1, Duration::from_secs(1)));
        assert!(taken.next().await.is_some());
        assert_eq!(began.elapsed(), 2 * PAUSE);
    }
}
