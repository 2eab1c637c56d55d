//! Coordinators that come and go on one store.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use autorep_coordinator::simulation::{self, Services, StartError, Witness};
use autorep_coordinator::state::WriteError;
use autorep_core::ledger::invariants;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::disk::Opened;
use crate::garbage;
use crate::world::{World, spawn, text};

/// A fenced coordinator has ended after so long: it notices within a second, or at its next write.
const FENCED_LIFE: Duration = Duration::from_secs(30);

/// A coordinator that is polled more often without any time going by waits for nothing.
const POLLS_AT_ONCE: u32 = 10_000;

/// A coordinator that serves.
#[derive(Debug)]
pub(crate) struct Coordinator {
    /// The number of its opening of the state.
    pub(crate) epoch: u64,
    pub(crate) services: Services,
    alive: AtomicBool,
}

impl Coordinator {
    /// Whether it can still answer.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }
}

/// Those that serve, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Coordinators(Mutex<Vec<Arc<Coordinator>>>);

impl Coordinators {
    /// The one that a call reaches: any of those that listen.
    pub(crate) fn reach(&self, world: &World) -> Option<Arc<Coordinator>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        world.chance.pick(&all).cloned()
    }

    fn add(&self, coordinator: &Arc<Coordinator>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(coordinator));
    }

    fn remove(&self, coordinator: &Arc<Coordinator>) {
        coordinator.alive.store(false, Ordering::Relaxed);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| !Arc::ptr_eq(other, coordinator));
    }
}

/// Starts one coordinator after the other, and sometimes one beside the other.
pub(crate) async fn keep_one_running(world: Arc<World>) {
    let mut older: Vec<JoinHandle<()>> = Vec::new();
    loop {
        older.retain(|life| !life.is_finished());
        let mut life = spawn(&world, live(Arc::clone(&world)));
        let overlap = world.fault(world.profile.overlap);
        let takeover = async {
            if overlap {
                sleep(world.chance.ms(100, 30_000)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            ended = &mut life => drop(ended),
            () = takeover, if !world.is_calm() => {
                world.note("coordinator: another one is started beside it");
                older.push(life);
            }
        }
        if !world.is_calm() && world.chance.permille(500) {
            sleep(world.chance.ms(1, 20_000)).await;
        } else {
            sleep(world.chance.ms(1, 300)).await;
        }
    }
}

/// One coordinator, from its start to its end.
async fn live(world: Arc<World>) {
    let opened = Opened::open(&world).await;
    let epoch = opened.epoch();
    let shutdown = CancellationToken::new();
    world.observer.starting(&world);
    let config = world.profile.config.clone();
    let starting = simulation::start(config, opened, witness(&world), shutdown.clone());
    let started = match AssertUnwindSafe(starting).catch_unwind().await {
        Ok(Ok(started)) => started,
        Ok(Err(StartError::Read(error))) => {
            world.note(format_args!("coordinator {epoch}: no start: {error}"));
            return;
        }
        Ok(Err(error @ (StartError::Config(_) | StartError::Restore(_)))) => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            return world.violate(
                "a coordinator starts on what is durable",
                format!("{error}: {why:?}"),
            );
        }
        Err(panic) => return world.violate("a coordinator does not panic", text(&*panic)),
    };
    let coordinator = Arc::new(Coordinator {
        epoch,
        services: started.services,
        alive: AtomicBool::new(true),
    });
    world.coordinators.add(&coordinator);
    world.note(format_args!("coordinator {epoch}: serves"));
    let life = Mortal {
        world: Arc::clone(&world),
        spinning: (0, 0),
        life: started.life,
        polls: world
            .fault(world.profile.crash_at_poll)
            .then(|| world.chance.within(1, 400)),
    };
    let ended = end_of(&world, &coordinator, life, shutdown).await;
    world.coordinators.remove(&coordinator);
    world.note(format_args!("coordinator {epoch}: {ended}"));
}

/// Waits for the end of a coordinator's life and says how it came.
async fn end_of(
    world: &Arc<World>,
    coordinator: &Coordinator,
    life: Mortal,
    shutdown: CancellationToken,
) -> String {
    let Coordinator {
        epoch, services, ..
    } = coordinator;
    let epoch = *epoch;
    let mean = world.profile.coordinator_life_ms;
    let mortal = mean > 0 && !world.is_calm();
    let killed = async {
        if mortal {
            sleep(world.chance.ms(1, 2 * mean)).await;
            if world.chance.permille(world.profile.stopped) {
                shutdown.cancel();
                sleep(Duration::from_mins(1)).await;
                world.violate("a coordinator that is told to stop does", epoch);
            }
        } else {
            std::future::pending::<()>().await;
        }
    };
    let fenced = async {
        world.disk.taken_from(epoch).await;
        sleep(FENCED_LIFE).await;
        world.violate("a fenced coordinator ends by itself", epoch);
    };
    tokio::select! {
        biased;
        ended = AssertUnwindSafe(life).catch_unwind() => match ended {
            Ok(Some(Ok(()))) => "stopped".to_owned(),
            Ok(Some(Err(error))) => format!("ends: {error}"),
            Ok(None) => "crashes at a poll".to_owned(),
            Err(panic) => {
                world.violate("a coordinator does not panic", text(&*panic));
                "panicked".to_owned()
            }
        },
        () = killed => "crashes".to_owned(),
        () = garbage::collect(world, services) => "goes on".to_owned(),
        () = fenced => "goes on".to_owned(),
    }
}

/// A life that ends before a certain poll: at any await point.
struct Mortal {
    world: Arc<World>,
    /// The last moment at which it was polled, and how often it was then.
    spinning: (u64, u32),
    life: BoxFuture<'static, Result<(), WriteError>>,
    polls: Option<u64>,
}

impl Future for Mortal {
    type Output = Option<Result<(), WriteError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let now_ms = self.world.now_ms();
        self.spinning = match self.spinning {
            (at_ms, polls) if at_ms == now_ms => (at_ms, polls + 1),
            _ => (now_ms, 1),
        };
        if self.spinning.1 > POLLS_AT_ONCE {
            self.world.violate("a coordinator does not spin", now_ms);
            return Poll::Ready(None);
        }
        match &mut self.polls {
            Some(0) => return Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        self.life.poll_unpin(context).map(Some)
    }
}

/// Checks every event in the ledger of one coordinator.
fn witness(world: &Arc<World>) -> Witness {
    let world = Arc::clone(world);
    Box::new(move |before, event, after| {
        world.observer.counted_event();
        let checked =
            invariants::check_step(before, event, after).and_then(|()| invariants::check(after));
        if let Err(violation) = checked {
            world.violate("the ledger's invariants", violation);
        }
    })
}
