//! What goes wrong in a world, and how often: drawn once per seed.
//!
//! A world in which everything fails all the time gets nowhere, and one in which everything fails
//! a little hides what needs two faults at once. So each kind of fault is off in many worlds and
//! frequent in some.

use std::time::Duration;

use autorep_core::strategy::Strategy;

use autorep_coordinator::Config;

use crate::chance::Chance;

/// Shares are of a thousand, times milliseconds of the world's clock.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) config: Config,
    pub(crate) workers: u64,
    /// How long faults go on.
    pub(crate) fault_ms: u64,

    pub(crate) drop_request: u64,
    pub(crate) drop_answer: u64,
    pub(crate) reset: u64,
    pub(crate) duplicate: u64,
    pub(crate) slow_call: u64,
    pub(crate) partitions: u64,

    pub(crate) write_ms: u64,
    pub(crate) write_fails: u64,
    pub(crate) write_unheard: u64,
    pub(crate) read_fails: u64,

    /// Mean life of a coordinator; 0 for one that lives to the end.
    pub(crate) coordinator_life_ms: u64,
    /// Share of coordinators that crash at a certain poll.
    pub(crate) crash_at_poll: u64,
    /// Share of coordinators that are stopped in an orderly way.
    pub(crate) stopped: u64,
    /// Share of coordinators that go on while the next one is started.
    pub(crate) overlap: u64,

    pub(crate) worker_life_ms: u64,
    pub(crate) zombie: u64,
    pub(crate) freeze: u64,
    /// Share of workers that believe in their lease for ten times as long.
    pub(crate) trusting: u64,
    /// Share of workers whose clock runs up to three times as fast or as slow.
    pub(crate) skewed: u64,
    /// Share of workers that come back under another name.
    pub(crate) renamed: u64,

    pub(crate) bucket_fails: u64,
    pub(crate) damage: u64,
    /// Share of the nets that searches hand out which go bad, beside those: who reads one may find that
    /// out while its search is still at work, which damage of everything rarely comes to.
    pub(crate) damage_handed_out: u64,
    /// Share of training steps that fail.
    pub(crate) trainer_fails: u64,
    pub(crate) step_ms: u64,
    /// What a person does.
    pub(crate) orders: u64,
    pub(crate) attempts: u64,
    /// The longest wait between two collections of garbage; 0 for none.
    pub(crate) collect_every_ms: u64,
    /// Whether only the nets of the front are kept.
    pub(crate) keep_front: bool,
    /// What the sweeps are like.
    pub(crate) sweeps: Sweeps,
    /// Which of them are for two workers at a time, where there are two.
    pub(crate) groups: Groups,
}

/// What a world's sweeps are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweeps {
    /// How searches are laid out: in a ladder only where neither halving nor refinement rules it out.
    pub(crate) strategy: Strategy,
    /// Whether searches are stopped at rungs.
    pub(crate) halving: bool,
    /// Whether seeds are added where they say something.
    pub(crate) adaptive: bool,
    /// Which of them hold back what they have in common.
    pub(crate) holding_back: HoldingBack,
    /// Which budgets those that hold back measure.
    pub(crate) budgets: Budgets,
    /// Milliseconds of work that each may cost; 0 for any.
    pub(crate) limit_ms: u64,
}

/// Which sweeps' tasks are for two workers at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Groups {
    /// Neither's.
    None,
    /// Those of the second alone, with which the first has tasks in common.
    Second,
    /// Those of both.
    Both,
}

impl Groups {
    fn draw(later: &Chance) -> Self {
        match later.below(8) {
            0 => Self::Second,
            1 => Self::Both,
            _ => Self::None,
        }
    }
}

/// Which of a sweep's budgets are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Budgets {
    /// All of a list.
    Listed,
    /// Those of a range that the front gains by.
    Refined,
}

/// Which sweeps of a world hold tasks back, if any does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HoldingBack {
    /// Both.
    Both,
    /// The first alone.
    First,
}

impl Sweeps {
    /// What sweeps grew by later than the rest comes from a source of its own, so that worlds without it
    /// are what they were.
    fn draw(chance: &Chance, later: &Chance) -> Self {
        let descent = chance.permille(500);
        let halving = chance.permille(350);
        let adaptive = chance.permille(200);
        let holding_back = if chance.permille(500) {
            HoldingBack::First
        } else {
            HoldingBack::Both
        };
        let budgets = if later.permille(300) {
            Budgets::Refined
        } else {
            Budgets::Listed
        };
        let limit_ms = if later.permille(250) {
            later.within(1, 60_000)
        } else {
            0
        };
        let ladder = later.permille(300) && !halving && budgets == Budgets::Listed;
        let strategy = match (descent, ladder) {
            (true, _) => Strategy::Descent,
            (false, true) => Strategy::Ladder,
            (false, false) => Strategy::Independent,
        };
        Self {
            strategy,
            halving,
            adaptive,
            holding_back,
            budgets,
            limit_ms,
        }
    }
}

impl Profile {
    pub(crate) fn draw(chance: &Chance, later: &Chance) -> Self {
        let some = |odds: u64, most: u64| {
            if chance.permille(odds) {
                chance.within(1, most)
            } else {
                0
            }
        };
        let short = chance.permille(500);
        let (ttl_s, renew_s) = if short { (10, 3) } else { (30, 5) };
        let mut profile = Self {
            config: Config {
                lease_ttl: Duration::from_secs(ttl_s),
                renew_every: Duration::from_secs(renew_s),
                batch: if chance.permille(250) { 1 } else { 64 },
                queue: if chance.permille(150) { 1 } else { 64 },
                ..Config::default()
            },
            workers: chance.within(1, 4),
            fault_ms: chance.within(40_000, 240_000),
            drop_request: some(500, 150),
            drop_answer: some(500, 200),
            reset: some(400, 150),
            duplicate: some(500, 250),
            slow_call: some(500, 200),
            partitions: some(350, 4),
            write_ms: chance.within(2, 40) * if chance.permille(200) { 40 } else { 1 },
            write_fails: some(300, 40),
            write_unheard: some(300, 40),
            read_fails: some(200, 200),
            coordinator_life_ms: some(700, 60_000),
            crash_at_poll: some(500, 1000),
            stopped: some(300, 500),
            overlap: some(400, 700),
            worker_life_ms: some(600, 90_000),
            zombie: some(500, 700),
            freeze: some(350, 300),
            trusting: some(300, 1000),
            skewed: some(400, 1000),
            renamed: some(400, 600),
            bucket_fails: some(400, 150),
            damage: some(400, 120),
            damage_handed_out: 0,
            trainer_fails: some(500, 80),
            step_ms: chance.within(50, 6000),
            orders: some(700, 10),
            attempts: chance.within(1, 4),
            collect_every_ms: some(500, 40_000),
            keep_front: chance.permille(500),
            sweeps: Sweeps::draw(chance, later),
            groups: Groups::draw(later),
        };
        profile.config.gather = later.ms(0, 60_000);
        if later.permille(40) {
            profile.hands_out_damage(later);
        }
        profile
    }

    /// Has searches go slowly and hand out nets that go bad, while little else happens: they rarely
    /// live to their end otherwise.
    fn hands_out_damage(&mut self, later: &Chance) {
        self.damage_handed_out = later.within(100, 500);
        self.sweeps.strategy = Strategy::Descent;
        self.workers = 4;
        self.step_ms = 6000;
        self.worker_life_ms = 0;
        self.coordinator_life_ms = 0;
    }

    /// Workers that a task of this sweep is for.
    pub(crate) fn nodes(&self, sweep: &str) -> u32 {
        let is_for_two = match self.groups {
            Groups::None => false,
            Groups::Second => sweep == "b",
            Groups::Both => true,
        };
        1 + u32::from(is_for_two && self.workers > 1)
    }

    pub(crate) fn lease_ttl_ms(&self) -> u64 {
        u64::try_from(self.config.lease_ttl.as_millis()).unwrap_or(u64::MAX)
    }
}
