//! The logs of a task's attempts, as workers store them: at an attempt's end, with each checkpoint,
//! and, while somebody follows the log, as it grows. To follow one is to look again at what is stored.

use std::sync::Arc;
use std::time::Duration;

use autorep_core::id::{Generation, TaskId};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use futures::{Stream, StreamExt as _};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::ask::{Ask, Desk, Found, gone};

/// How often to look for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest message.
const CHUNK_BYTES: usize = 64 << 10;

/// How many attempts to look back for the latest stored log: the last ones may not have ended.
const LOOK_BACK: u64 = 16;

/// The key of an attempt's log.
fn key(task: TaskId, generation: Generation) -> Path {
    Path::from(format!("tasks/{task}/g{generation}/trainer.log"))
}

/// What was received of a task's logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// The attempt's.
    pub(super) generation: Generation,
    /// Bytes of its log.
    pub(super) offset: u64,
}

impl Position {
    const fn beginning_of(generation: Generation) -> Self {
        Self {
            generation,
            offset: 0,
        }
    }
}

/// The log of a task from `begin` on, or its latest stored one; if asked to follow, with what is added
/// to it and those of later attempts, until the task is done or `stop` comes.
pub(super) async fn open(
    desk: Desk,
    store: Arc<dyn ObjectStore>,
    request: Request,
    stop: CancellationToken,
) -> Result<impl Stream<Item = Result<v1::LogChunk, Status>> + Send + use<>, Refusal> {
    let Request {
        prefix,
        follow,
        begin,
    } = request;
    let found = find(&desk, &prefix).await?;
    // The one chunk in the channel is the only one in memory.
    let (chunks, stream) = mpsc::channel(1);
    let follower = Follower {
        desk,
        store,
        chunks,
    };
    let latest = match begin {
        Some(position) => Some(position),
        None => (follower.latest(found).await?).map(Position::beginning_of),
    };
    if latest.is_none() && !follow {
        return Err(Refusal::NotReady(format!(
            "expected a stored log of task {}, found none: it is stored with the attempt's checkpoints and \
             at its end; follow it (--follow) to see what is printed meanwhile",
            found.task.short()
        )));
    }
    let begin = latest.unwrap_or(Position::beginning_of(Generation(
        found.generation.0.max(1),
    )));
    tokio::spawn(follower.run(found.task, begin, follow, stop));
    Ok(ReceiverStream::new(stream))
}

/// What somebody wants of a log.
#[derive(Debug)]
pub(super) struct Request {
    /// A beginning of the task's id.
    pub(super) prefix: String,
    /// Whether to go on with what comes.
    pub(super) follow: bool,
    /// Where to go on; the latest stored log where that is not said.
    pub(super) begin: Option<Position>,
}

async fn find(desk: &Desk, prefix: &str) -> Result<Found, Refusal> {
    let prefix = prefix.to_owned();
    desk.ask(|reply| Ask::Find { prefix, reply }).await
}

struct Follower {
    desk: Desk,
    store: Arc<dyn ObjectStore>,
    chunks: mpsc::Sender<Result<v1::LogChunk, Status>>,
}

impl Follower {
    /// The generation of the latest stored log.
    async fn latest(&self, found: Found) -> Result<Option<Generation>, Refusal> {
        let last = found.generation.0;
        let first = last.saturating_sub(LOOK_BACK).max(1);
        for generation in (first..=last).rev().map(Generation) {
            if self.stored(found.task, generation).await?.is_some() {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// Bytes that are stored of an attempt's log, if it is.
    async fn stored(&self, task: TaskId, generation: Generation) -> Result<Option<u64>, Refusal> {
        match self.store.head(&key(task, generation)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Refusal::Unavailable(format!("look for the log: {error}"))),
        }
    }

    async fn run(self, task: TaskId, begin: Position, follow: bool, stop: CancellationToken) {
        let ended = tokio::select! {
            () = self.chunks.closed() => return,
            // Whoever follows has to learn that this is not the task's end.
            () = stop.cancelled() => Err(gone()),
            ended = self.send_all(task, begin, follow) => ended,
        };
        if let Err(refusal) = ended {
            // Nobody listens any more where sending fails.
            drop(self.chunks.send(Err(refusal.into())).await);
        }
    }

    async fn send_all(&self, task: TaskId, begin: Position, follow: bool) -> Result<(), Refusal> {
        let mut at = begin;
        if !follow {
            return self.send(task, &mut at).await;
        }
        let _following = self.desk.followed().follow(task);
        let prefix = task.to_string();
        loop {
            // Before the log: an attempt that finishes, fails or is given back has stored the whole of it.
            // What one stores whose lease ran out comes too late for whoever follows the next.
            let now = find(&self.desk, &prefix).await?;
            self.send(task, &mut at).await?;
            if at.generation < now.generation {
                at = Position::beginning_of(Generation(at.generation.0 + 1));
            } else if now.unfinished {
                tokio::time::sleep(LOOK_EVERY).await;
            } else {
                return Ok(());
            }
        }
    }

    /// Sends what is stored of the log from `at` on, and moves it.
    async fn send(&self, task: TaskId, at: &mut Position) -> Result<(), Refusal> {
        let stored = self.stored(task, at.generation).await?;
        if stored.is_none_or(|bytes| bytes <= at.offset) {
            return Ok(());
        }
        let broken = |error: Error| Refusal::Unavailable(format!("read the log: {error}"));
        // It may be written anew meanwhile, but never to say something else.
        let options = GetOptions {
            range: Some(GetRange::Offset(at.offset)),
            ..GetOptions::default()
        };
        let object = (self.store.get_opts(&key(task, at.generation), options)).await;
        let mut bytes = object.map_err(broken)?.into_stream();
        while let Some(piece) = bytes.next().await {
            let mut piece = piece.map_err(broken)?;
            while !piece.is_empty() {
                let text = piece.split_to(piece.len().min(CHUNK_BYTES));
                at.offset += text.len() as u64;
                let chunk = v1::LogChunk {
                    text: text.into(),
                    generation: at.generation.0,
                };
                if self.chunks.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
