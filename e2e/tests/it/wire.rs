//! A line to a server that delays what goes over it, and that can hold back what is sent to the
//! server until it is let go: late, in order, and whole.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Chunks that are under way in one direction of a connection.
const UNDER_WAY: usize = 1024;

/// The line. It ends when it is dropped.
pub(crate) struct Wire {
    address: SocketAddr,
    held: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Wire {
    /// A line to `server` on which everything takes `delay`, in both directions.
    pub(crate) fn to(server: SocketAddr, delay: Duration) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let (held, hold) = watch::channel(false);
        runtime.spawn(async move {
            let (_never, free) = watch::channel(false);
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                carry(from_client, to_server, delay, hold.clone());
                carry(from_server, to_client, delay, free.clone());
            }
        });
        Self {
            address,
            held,
            _runtime: runtime,
        }
    }

    /// Where clients connect.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back what clients send from now on.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets go what was held back.
    pub(crate) fn let_go(&self) {
        self.held.send_replace(false);
    }
}

/// Carries one direction of a connection to its end.
fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    hold: watch::Receiver<bool>,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let chunk = (Instant::now() + delay, buffer[..read].to_vec());
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    let mut hold = hold;
    tokio::spawn(async move {
        while let Some((due, chunk)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if hold.wait_for(|held| !held).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The end is carried over when all before it is. A side that is gone needs none.
        drop(to.shutdown().await);
    });
}
