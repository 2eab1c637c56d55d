//! The stored logs of a task's attempts. Workers store one when an attempt ends, so following a
//! task means to look again until it is finished.

use std::sync::Arc;
use std::time::Duration;

use autorep_core::id::{Generation, TaskId};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use futures::{Stream, StreamExt as _};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::ask::{Ask, Desk, Found};

/// How often to look for another log.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest message.
const CHUNK_BYTES: usize = 64 << 10;

/// How many attempts to look back for the latest stored log: the last ones may not have ended.
const LOOK_BACK: u64 = 16;

/// The key of an attempt's log.
fn key(task: TaskId, generation: Generation) -> Path {
    Path::from(format!("tasks/{task}/g{generation}/trainer.log"))
}

/// The latest stored log of a task and, if asked to follow, those of later attempts.
pub(super) async fn open(
    desk: Desk,
    store: Arc<dyn ObjectStore>,
    prefix: String,
    follow: bool,
) -> Result<impl Stream<Item = Result<v1::LogChunk, Status>> + Send + use<>, Refusal> {
    let found = find(&desk, &prefix).await?;
    // The one chunk in the channel is the only one in memory.
    let (chunks, stream) = mpsc::channel(1);
    let follower = Follower {
        desk,
        store,
        chunks,
    };
    let first = follower.latest(found).await?;
    if first.is_none() && !follow {
        return Err(Refusal::NotReady(format!(
            "expected a stored log of task {}, found none: it is stored when an attempt ends; follow it to wait for that",
            found.task.short()
        )));
    }
    tokio::spawn(follower.run(found, first, follow));
    Ok(ReceiverStream::new(stream))
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
            if self.exists(found.task, generation).await? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    async fn exists(&self, task: TaskId, generation: Generation) -> Result<bool, Refusal> {
        match self.store.head(&key(task, generation)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Refusal::Unavailable(format!("look for the log: {error}"))),
        }
    }

    async fn run(self, found: Found, first: Option<Generation>, follow: bool) {
        let ended = tokio::select! {
            () = self.chunks.closed() => return,
            ended = self.send_all(found, first, follow) => ended,
        };
        if let Err(refusal) = ended {
            // Nobody listens any more where sending fails.
            drop(self.chunks.send(Err(refusal.into())).await);
        }
    }

    async fn send_all(
        &self,
        found: Found,
        first: Option<Generation>,
        follow: bool,
    ) -> Result<(), Refusal> {
        let mut sent = Generation(0);
        if let Some(generation) = first {
            self.send(found.task, generation).await?;
            sent = generation;
        }
        if !follow {
            return Ok(());
        }
        let prefix = found.task.to_string();
        let mut last_look = !found.unfinished;
        loop {
            let now = find(&self.desk, &prefix).await?;
            for generation in (sent.0 + 1..=now.generation.0).map(Generation) {
                if self.exists(now.task, generation).await? {
                    self.send(now.task, generation).await?;
                    sent = generation;
                }
            }
            // The log is stored around the attempt's end, so look once more after that.
            if last_look && !now.unfinished {
                return Ok(());
            }
            last_look = !now.unfinished;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn send(&self, task: TaskId, generation: Generation) -> Result<(), Refusal> {
        let broken = |error: Error| Refusal::Unavailable(format!("read the log: {error}"));
        let object = self.store.get(&key(task, generation)).await;
        let mut bytes = object.map_err(broken)?.into_stream();
        while let Some(piece) = bytes.next().await {
            let mut piece = piece.map_err(broken)?;
            while !piece.is_empty() {
                let text = piece.split_to(piece.len().min(CHUNK_BYTES)).into();
                if self.chunks.send(Ok(v1::LogChunk { text })).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
