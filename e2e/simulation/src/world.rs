//! One world: a store, a bucket, coordinators, workers and a person, on one thread with one clock
//! and one source of chance.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bucket::Bucket;
use crate::chance::Chance;
use crate::coordinators::{self, Coordinators};
use crate::disk::Disk;
use crate::ending;
use crate::groups::Groups;
use crate::network::Partitions;
use crate::observer::Observer;
use crate::profile::Profile;
use crate::trace::Trace;
use crate::{Run, Violation, person, worker};

/// Everything that the inhabitants of a world share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) profile: Profile,
    pub(crate) chance: Chance,
    pub(crate) disk: Disk,
    pub(crate) bucket: Bucket,
    pub(crate) coordinators: Coordinators,
    pub(crate) partitions: Partitions,
    pub(crate) observer: Observer,
    pub(crate) groups: Groups,
    /// Set when nothing fails any more.
    calm: AtomicBool,
    /// Cancelled when nothing fails any more: whoever must not live on then ends.
    pub(crate) calmed: CancellationToken,
    trace: Trace,
    start: Instant,
    violation: Mutex<Option<Violation>>,
    /// Cancelled with the first violation.
    broken: CancellationToken,
}

/// Nothing may take longer once nothing fails: 120 rounds of the longest lease.
const PATIENCE: Duration = Duration::from_hours(1);

impl World {
    fn new(seed: u64, print: bool) -> Self {
        let chance = Chance::new(seed);
        Self {
            profile: Profile::draw(&chance, &Chance::new(!seed)),
            chance,
            disk: Disk::new(),
            bucket: Bucket::default(),
            coordinators: Coordinators::default(),
            partitions: Partitions::default(),
            observer: Observer::default(),
            groups: Groups::default(),
            calm: AtomicBool::new(false),
            calmed: CancellationToken::new(),
            trace: Trace::new(print),
            start: Instant::now(),
            violation: Mutex::new(None),
            broken: CancellationToken::new(),
        }
    }

    /// Milliseconds since the world began.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a fault with this share strikes now.
    pub(crate) fn fault(&self, permille: u64) -> bool {
        !self.is_calm() && self.chance.permille(permille)
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.trace.note(self.now_ms(), &what.to_string());
    }

    /// A rule does not hold. The first one counts.
    pub(crate) fn violate(&self, rule: &'static str, what: impl fmt::Display) {
        let what = what.to_string();
        self.note(format_args!("VIOLATION of {rule}: {what}"));
        let mut violation = (self.violation.lock()).unwrap_or_else(PoisonError::into_inner);
        if violation.is_none() {
            *violation = Some(Violation { rule, what });
        }
        self.broken.cancel();
    }

    fn calm_down(&self) {
        self.note("calm: nothing fails from now on");
        self.calm.store(true, Ordering::Relaxed);
        self.calmed.cancel();
        self.partitions.heal();
    }
}

/// Lets something live beside the rest. A panic in it is a finding, not an end that nobody sees.
pub(crate) fn spawn(
    world: &Arc<World>,
    life: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        if let Err(panic) = AssertUnwindSafe(life).catch_unwind().await {
            world.violate("nothing panics", text(&*panic));
        }
    })
}

/// What a panic says.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// Runs the world of a seed from its beginning to its end, or to the first violation.
pub(crate) async fn run(seed: u64, print: bool) -> Run {
    let world = Arc::new(World::new(seed, print));
    world.note(format_args!("seed {seed}: {:?}", world.profile));
    let living = live(&world);
    if world.broken.run_until_cancelled(living).await.is_none() {
        world.note("the world ends here");
    }
    let violation = (world.violation.lock())
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Run {
        seed,
        digest: world.trace.digest(),
        virtual_ms: world.now_ms(),
        figures: world.observer.figures(),
        violation,
    }
}

async fn live(world: &Arc<World>) {
    spawn(world, coordinators::keep_one_running(Arc::clone(world)));
    for number in 0..world.profile.workers {
        spawn(world, worker::live(Arc::clone(world), number));
    }
    spawn(world, crate::network::cut_now_and_then(Arc::clone(world)));
    let faults = async {
        person::live(world).await;
        let left = world.profile.fault_ms.saturating_sub(world.now_ms());
        sleep(Duration::from_millis(left)).await;
    };
    // A person whose calls get nowhere must not keep the faults up.
    let most = Duration::from_millis(world.profile.fault_ms * 4);
    drop(timeout(most, faults).await);
    world.calm_down();
    if timeout(PATIENCE, ending::bring_about(world)).await.is_err() {
        let rest = world.observer.unfinished();
        world.violate("everything ends once nothing fails", rest);
    }
}
