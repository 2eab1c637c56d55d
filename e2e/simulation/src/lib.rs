//! A seeded world over the real ledger and the real coordinator: see `docs/simulation.md`.
//!
//! One thread, one clock that jumps from one timer to the next, one source of chance: a seed is a
//! world, and the same seed is the same world on any machine.

mod attempt;
mod bucket;
mod chance;
mod coordinators;
mod disk;
mod ending;
mod garbage;
mod groups;
mod network;
mod observer;
mod person;
mod profile;
mod trace;
mod wire;
mod worker;
mod world;

/// A rule that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was seen instead.
    pub what: String,
}

/// What happened in a world, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Events of the ledger, each checked.
    pub events: u64,
    /// Leases that a worker was told of.
    pub grants: u64,
    /// Durable writes.
    pub writes: u64,
    /// Starts of a coordinator after the first.
    pub restarts: u64,
    /// Results that were set aside.
    pub set_aside: u64,
    /// Checkpoints that were deleted.
    pub deleted: u64,
}

impl Figures {
    /// Adds another world's.
    pub const fn add(&mut self, other: Self) {
        self.events += other.events;
        self.grants += other.grants;
        self.writes += other.writes;
        self.restarts += other.restarts;
        self.set_aside += other.set_aside;
        self.deleted += other.deleted;
    }
}

/// One world from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Of everything that happened, in order: equal for equal worlds.
    pub digest: u64,
    /// How long it took by its own clock.
    pub virtual_ms: u64,
    /// In numbers.
    pub figures: Figures,
    /// The first rule that did not hold, if one did not.
    pub violation: Option<Violation>,
}

/// Runs the world of a seed; prints its trace if asked to.
pub fn simulate(seed: u64, print: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread without any device needs nothing that could be missing");
    runtime.block_on(world::run(seed, print))
}
