//! A line to a server that delays what goes over it, and that can hold back what is sent to the
//! server until it is let go: late, in order, and whole.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Chunks that are under way in one direction of a connection.
const UNDER_WAY: usize = 1024;

/// Without a word for so long, a message is not in the middle.
const QUIET: Duration = Duration::from_millis(30);

/// The line. It ends when it is dropped.
pub(crate) struct Wire {
    address: SocketAddr,
    held: watch::Sender<bool>,
    traffic: Arc<Traffic>,
    _runtime: Runtime,
}

/// What has come to the line, whether it was carried on or not.
#[derive(Debug, Default)]
struct Traffic {
    from_clients: Mutex<Vec<u8>>,
    /// When clients have sent something last.
    latest: Mutex<Option<Instant>>,
    from_server: Mutex<Vec<u8>>,
}

impl Wire {
    /// A line to `server` on which everything takes `delay`, in both directions.
    pub(crate) fn to(server: SocketAddr, delay: Duration) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let (held, hold) = watch::channel(false);
        let traffic = Arc::new(Traffic::default());
        let carried = Arc::clone(&traffic);
        runtime.spawn(async move {
            let (_never, free) = watch::channel(false);
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let there = carry(to_server, delay, hold.clone());
                let back = carry(to_client, delay, free.clone());
                let traffic = Arc::clone(&carried);
                tokio::spawn(async move {
                    let there = take(from_client, there, delay, |bytes| {
                        traffic.from_clients.lock().unwrap().extend(bytes);
                        *traffic.latest.lock().unwrap() = Some(Instant::now());
                    });
                    let back = take(from_server, back, delay, |bytes| {
                        traffic.from_server.lock().unwrap().extend(bytes);
                    });
                    tokio::join!(there, back);
                });
            }
        });
        Self {
            address,
            held,
            traffic,
            _runtime: runtime,
        }
    }

    /// Where clients connect.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back what clients send from now on, and forgets what they have sent.
    pub(crate) fn hold(&self) {
        self.traffic.from_clients.lock().unwrap().clear();
        self.held.send_replace(true);
    }

    /// Lets go what was held back.
    pub(crate) fn let_go(&self) {
        self.held.send_replace(false);
    }

    /// Whether clients have sent these bytes since [`Self::hold`].
    pub(crate) fn has_come(&self, bytes: &[u8]) -> bool {
        let sent = self.traffic.from_clients.lock().unwrap();
        sent.windows(bytes.len()).any(|it| it == bytes)
    }

    /// Whether clients have sent nothing for a while: what they had to say is said.
    pub(crate) fn is_quiet(&self) -> bool {
        let latest = *self.traffic.latest.lock().unwrap();
        latest.is_some_and(|latest| latest.elapsed() > QUIET)
    }

    /// How many bytes the server has answered with.
    pub(crate) fn answered(&self) -> usize {
        self.traffic.from_server.lock().unwrap().len()
    }
}

type Chunk = (Instant, Vec<u8>);

/// Takes what one side of a connection sends, until it ends.
async fn take(
    mut from: OwnedReadHalf,
    to: mpsc::Sender<Chunk>,
    delay: Duration,
    heard: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let chunk = buffer[..read].to_vec();
        heard(&chunk);
        if to.send((Instant::now() + delay, chunk)).await.is_err() {
            return;
        }
    }
}

/// Carries what is put into the channel to the other side, each chunk when it is due.
fn carry(
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut hold: watch::Receiver<bool>,
) -> mpsc::Sender<Chunk> {
    let (sender, mut under_way) = mpsc::channel::<Chunk>(UNDER_WAY);
    tokio::spawn(async move {
        while let Some((due, chunk)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if hold.wait_for(|held| !held).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The end is carried over when all before it is. A side that is gone needs none.
        tokio::time::sleep(delay).await;
        drop(to.shutdown().await);
    });
    sender
}
