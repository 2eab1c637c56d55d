//! The state store of the world: rows that whoever opened them last may write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use autorep_coordinator::simulation::{RowStore, Rows, RowsError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{World, spawn};

/// The rows, and who may write them.
#[derive(Debug)]
pub(crate) struct Disk {
    rows: Mutex<Rows>,
    /// The number of the last opening, and when that was.
    opened: watch::Sender<(u64, Instant)>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            rows: Mutex::new(Rows::new()),
            opened: watch::Sender::new((0, Instant::now())),
        }
    }

    /// The number of the last opening.
    pub(crate) fn epoch(&self) -> u64 {
        self.opened.borrow().0
    }

    /// Waits until somebody else has opened the rows; returns when that was.
    pub(crate) async fn taken_from(&self, epoch: u64) -> Option<Instant> {
        let mut opened = self.opened.subscribe();
        let taken = opened.wait_for(|opened| opened.0 > epoch).await;
        taken.ok().map(|opened| opened.1)
    }

    pub(crate) fn rows(&self) -> Rows {
        (self.rows.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes rows for the opening `epoch`, all or none.
    fn apply(
        &self,
        world: &World,
        epoch: u64,
        began_ms: u64,
        new: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), RowsError> {
        if epoch != self.epoch() {
            world.note(format_args!(
                "store: the write of coordinator {epoch} is fenced"
            ));
            return Err(RowsError::Fenced);
        }
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        world.observer.written(world, began_ms, &new);
        rows.extend(new);
        Ok(())
    }
}

/// One opening of the rows.
#[derive(Debug)]
pub(crate) struct Opened {
    world: Arc<World>,
    epoch: u64,
    /// How long it takes to notice that somebody else has opened them, without writing.
    notice: Duration,
}

impl Opened {
    /// Opens the rows, which fences everybody else.
    pub(crate) async fn open(world: &Arc<World>) -> Self {
        sleep(world.chance.ms(1, world.profile.write_ms)).await;
        let epoch = world.disk.epoch() + 1;
        world.disk.opened.send_replace((epoch, Instant::now()));
        world.note(format_args!("store: opened by coordinator {epoch}"));
        Self {
            world: Arc::clone(world),
            epoch,
            notice: world.chance.ms(1, 3000),
        }
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl RowStore for Opened {
    fn read(&self) -> BoxFuture<'_, Result<Rows, RowsError>> {
        async {
            let world = &self.world;
            sleep(world.chance.ms(1, world.profile.write_ms)).await;
            if world.fault(world.profile.read_fails) {
                return Err(RowsError::Failed("the store cannot be read".to_owned()));
            }
            if self.epoch != world.disk.epoch() {
                return Err(RowsError::Fenced);
            }
            Ok(world.disk.rows())
        }
        .boxed()
    }

    fn write(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> BoxFuture<'_, Result<(), RowsError>> {
        async move {
            let world = &self.world;
            if world.fault(world.profile.write_fails) {
                sleep(world.chance.ms(1, world.profile.write_ms)).await;
                world.note(format_args!(
                    "store: a write of coordinator {} fails",
                    self.epoch
                ));
                return Err(RowsError::Failed("the store takes nothing".to_owned()));
            }
            let unheard = world.fault(world.profile.write_unheard);
            let began_ms = world.now_ms();
            let (there, back) = (
                world.chance.ms(1, world.profile.write_ms),
                world.chance.ms(1, world.profile.write_ms),
            );
            let (answer, answered) = oneshot::channel();
            let (inside, epoch) = (Arc::clone(world), self.epoch);
            // What is under way arrives, whether or not who sent it still lives.
            spawn(world, async move {
                let world = inside;
                sleep(there).await;
                let applied = world.disk.apply(&world, epoch, began_ms, rows);
                sleep(back).await;
                drop(answer.send(if unheard {
                    world.note(format_args!(
                        "store: the answer to a write of coordinator {epoch} is lost"
                    ));
                    Err(RowsError::Failed("the store does not answer".to_owned()))
                } else {
                    applied
                }));
            });
            answered
                .await
                .unwrap_or(Err(RowsError::Failed("the world ends".to_owned())))
        }
        .boxed()
    }

    fn lost(&self) -> BoxFuture<'_, RowsError> {
        async {
            if let Some(at) = self.world.disk.taken_from(self.epoch).await {
                sleep_until(at + self.notice).await;
            }
            RowsError::Fenced
        }
        .boxed()
    }
}
