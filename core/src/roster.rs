//! The workers that are known, what they offer, and the machines that are better left alone for a
//! while.
//!
//! Nothing of it is written down: workers register again after a restart, and a machine that is
//! broken shows it again. It decides who is asked next, never who is right.
//!
//! A machine is excluded after [`STREAK`] attempts in a row have failed on it, of two tasks at
//! least: a single bad task must not take machines away from the others, which is why it is given
//! up. It is excluded only while another machine is there: a broken fleet of one is for a person to
//! mend, and the task's own limits tell them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::failure::FailureClass;
use crate::id::{TaskId, WorkerId};
use crate::offer::Offer;

/// Failed attempts in a row that exclude a machine.
pub const STREAK: usize = 3;

/// How long the first exclusion lasts; each further one is twice as long, if nothing has gone well
/// on the machine in between.
pub const EXCLUSION_MS: u64 = 300_000;

/// The longest exclusion.
pub const MAX_EXCLUSION_MS: u64 = 3_600_000;

/// A worker that was not heard of for so long does not count as being there.
pub const PRESENT_MS: u64 = 120_000;

/// A worker that was not heard of for so long is forgotten when room is needed.
const MEMORY_MS: u64 = 3_600_000;

/// The workers that are known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    workers: BTreeMap<WorkerId, Registered>,
    /// Processes that take over a known worker's name with their first request for work.
    successors: BTreeMap<WorkerId, Registered>,
    machines: BTreeMap<String, Health>,
}

/// One worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// What it trains on, for people: `cpu` or `cuda:0`.
    pub device: String,
    /// The machine that it is on.
    pub machine: String,
    /// When its process started, by its machine's clock: tells it from others of its name. Zero if it
    /// does not say.
    pub started_unix_ns: u64,
    /// What it has.
    pub offer: Arc<Offer>,
    /// When it was last heard of.
    pub seen_ms: u64,
}

impl Registered {
    /// Whether the one that is known is surely not this process.
    const fn is_another_process(&self, started_unix_ns: u64) -> bool {
        self.started_unix_ns != 0 && started_unix_ns != 0 && self.started_unix_ns != started_unix_ns
    }
}

/// How a machine has done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Health {
    /// The tasks of the attempts that have failed in a row, newest last; at most [`STREAK`].
    failed: Vec<TaskId>,
    /// Exclusions since something last went well.
    exclusions: u32,
    excluded_until_ms: u64,
}

/// Why a worker is not made known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterRefusal {
    /// No more workers can be known.
    #[error(
        "expected at most {limit} workers, found one more; stop workers that are not needed, or wait: those not heard of for an hour are forgotten"
    )]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// Another process has the name, and may be living.
    #[error(
        "expected a worker's name to be its own, found another process that is called {worker} on {machine} and was heard of {silent_s} s ago; start this one under another --name, or wait until that one has been silent for {living_s} s"
    )]
    Taken {
        /// The name.
        worker: WorkerId,
        /// The other's machine.
        machine: String,
        /// Seconds since it was last heard of.
        silent_s: u64,
        /// Seconds after which it is taken to be gone.
        living_s: u64,
    },
}

/// What a roster keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Workers that can be known.
    pub workers: usize,
    /// Milliseconds for which a worker may be silent and living.
    pub living_ms: u64,
}

impl Roster {
    /// Makes a worker known, or known anew; or, where another process has the name, lets this one take
    /// it over with its first request for work ([`succeed`](Self::succeed)): whether that is so. Of more
    /// workers than there may be, those that have not been heard of for an hour are forgotten.
    ///
    /// Of two processes with one name on one machine, the one that started later is the worker: that
    /// is what a restart looks like. An earlier one, or one on another machine, whose clock may be
    /// another, waits until the worker has been silent for longer than a living one is.
    pub fn register(
        &mut self,
        worker: WorkerId,
        registered: Registered,
        limits: Limits,
    ) -> Result<bool, RegisterRefusal> {
        let now_ms = registered.seen_ms;
        if self.may_succeed(&worker, &registered, limits.living_ms)? {
            self.successors.insert(worker, registered);
            return Ok(true);
        }
        let limit = limits.workers;
        if self.workers.len() >= limit && !self.workers.contains_key(&worker) {
            (self.workers).retain(|_, other| other.seen_ms + MEMORY_MS > now_ms);
            let there: BTreeSet<&str> = (self.workers.values())
                .map(|other| other.machine.as_str())
                .collect();
            (self.machines).retain(|machine, _| there.contains(machine.as_str()));
            (self.successors).retain(|worker, _| self.workers.contains_key(worker));
            if self.workers.len() >= limit {
                return Err(RegisterRefusal::Full { limit });
            }
        }
        self.workers.insert(worker, registered);
        Ok(false)
    }

    /// Whether a new process would take the name of another one, if it may.
    fn may_succeed(
        &self,
        worker: &WorkerId,
        new: &Registered,
        living_ms: u64,
    ) -> Result<bool, RegisterRefusal> {
        let Some(known) = self.workers.get(worker) else {
            return Ok(false);
        };
        if !known.is_another_process(new.started_unix_ns) {
            return Ok(false);
        }
        let silent_ms = new.seen_ms.saturating_sub(known.seen_ms);
        let is_its_restart =
            known.machine == new.machine && known.started_unix_ns < new.started_unix_ns;
        if is_its_restart || silent_ms >= living_ms {
            return Ok(true);
        }
        Err(RegisterRefusal::Taken {
            worker: worker.clone(),
            machine: known.machine.clone(),
            silent_s: silent_ms / 1000,
            living_s: living_ms.div_ceil(1000),
        })
    }

    /// Lets a process that asks for work take over the name from an earlier one, if it has registered for
    /// that: whether it has. Not before: one that finds that it cannot work keeps nobody from it.
    pub fn succeed(&mut self, worker: &WorkerId, started_unix_ns: u64) -> bool {
        let next = self.successors.get(worker);
        if next.is_none_or(|next| next.started_unix_ns != started_unix_ns) {
            return false;
        }
        let next = self.successors.remove(worker);
        self.workers.extend(next.map(|next| (worker.clone(), next)));
        true
    }

    /// Whether a process is the worker that is known under a name.
    pub fn knows(&self, worker: &WorkerId, started_unix_ns: u64) -> bool {
        let known = self.workers.get(worker);
        known.is_some_and(|known| !known.is_another_process(started_unix_ns))
    }

    /// A worker has said something.
    pub fn heard(&mut self, worker: &WorkerId, now_ms: u64) {
        if let Some(known) = self.workers.get_mut(worker) {
            known.seen_ms = known.seen_ms.max(now_ms);
        }
    }

    /// One worker.
    pub fn get(&self, worker: &WorkerId) -> Option<&Registered> {
        self.workers.get(worker)
    }

    /// All workers by name.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerId, &Registered)> + Clone {
        self.workers.iter()
    }

    /// An attempt has ended well on a worker's machine.
    pub fn succeeded(&mut self, worker: &WorkerId) {
        if let Some(known) = self.workers.get(worker) {
            self.machines.remove(&known.machine);
        }
    }

    /// An attempt has failed on a worker's machine. Returns until when the machine is excluded, if
    /// this has brought it about.
    pub fn failed(
        &mut self,
        worker: &WorkerId,
        task: TaskId,
        class: FailureClass,
        now_ms: u64,
    ) -> Option<u64> {
        if !may_be_the_machines(class) {
            return None;
        }
        let machine = &self.workers.get(worker)?.machine;
        let health = self.machines.entry(machine.clone()).or_default();
        if health.failed.len() >= STREAK {
            health.failed.remove(0);
        }
        health.failed.push(task);
        let tells = health.failed.len() >= STREAK && health.failed.iter().any(|it| *it != task);
        if !tells || health.excluded_until_ms > now_ms {
            return None;
        }
        let doublings = health.exclusions.min(32);
        let lasts_ms = EXCLUSION_MS
            .saturating_mul(1 << doublings)
            .min(MAX_EXCLUSION_MS);
        health.exclusions += 1;
        health.failed.clear();
        health.excluded_until_ms = now_ms.saturating_add(lasts_ms);
        Some(health.excluded_until_ms)
    }

    /// Until when a worker gets no task because of its machine: none if it may have one.
    pub fn excluded_until_ms(&self, worker: &WorkerId, now_ms: u64) -> Option<u64> {
        let own = &self.workers.get(worker)?.machine;
        let until_ms = self.machine_excluded_until_ms(own, now_ms)?;
        let another_is_there = (self.workers.values()).any(|other| {
            other.machine != *own
                && other.seen_ms + PRESENT_MS > now_ms
                && (self.machine_excluded_until_ms(&other.machine, now_ms)).is_none()
        });
        another_is_there.then_some(until_ms)
    }

    fn machine_excluded_until_ms(&self, machine: &str, now_ms: u64) -> Option<u64> {
        let until_ms = self.machines.get(machine)?.excluded_until_ms;
        (until_ms > now_ms).then_some(until_ms)
    }

    /// The next time at which an exclusion ends.
    pub fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let ends = self.machines.values().map(|it| it.excluded_until_ms);
        ends.filter(|&until_ms| until_ms > now_ms).min()
    }
}

/// Whether another machine might have done better: not so where the task's own numbers or file are to
/// blame. A checkpoint that is found damaged may have been damaged by the machine that read it.
const fn may_be_the_machines(class: FailureClass) -> bool {
    match class {
        FailureClass::TrainerCrashed
        | FailureClass::OutOfMemory
        | FailureClass::BadData
        | FailureClass::BadCheckpoint
        | FailureClass::StoreUnavailable
        | FailureClass::NoScratch
        | FailureClass::TrainerError
        | FailureClass::WorkerLost => true,
        FailureClass::Diverged | FailureClass::BudgetUnreached | FailureClass::BadWeights => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn worker(name: &str) -> WorkerId {
        WorkerId(name.to_owned())
    }

    fn task(number: u8) -> TaskId {
        TaskId(Digest::of(&[number]))
    }

    fn limits(workers: usize) -> Limits {
        Limits {
            workers,
            living_ms: 30_000,
        }
    }

    /// Workers by name with their machines, heard of at the time zero.
    fn roster(workers: &[(&str, &str)]) -> Roster {
        let mut roster = Roster::default();
        for (name, machine) in workers {
            let registered = Registered {
                device: "cpu".to_owned(),
                machine: (*machine).to_owned(),
                started_unix_ns: 0,
                offer: Arc::default(),
                seen_ms: 0,
            };
            roster
                .register(worker(name), registered, limits(9))
                .unwrap();
        }
        roster
    }

    #[test]
    fn a_machine_whose_scratch_folder_has_no_room_is_excluded() {
        let mut roster = roster(&[("a", "full"), ("b", "other")]);
        let mut fail = |number| {
            let class = FailureClass::NoScratch;
            roster.failed(&worker("a"), task(number), class, 0)
        };
        assert_eq!([1, 2, 3].map(&mut fail), [None, None, Some(EXCLUSION_MS)]);
    }

    fn crash(roster: &mut Roster, name: &str, number: u8, now_ms: u64) -> Option<u64> {
        let class = FailureClass::TrainerCrashed;
        roster.failed(&worker(name), task(number), class, now_ms)
    }

    #[test]
    fn a_machine_on_which_attempts_keep_failing_is_excluded_and_comes_back() {
        let mut roster = roster(&[("a", "bad"), ("b", "bad"), ("c", "good")]);
        assert_eq!(crash(&mut roster, "a", 1, 0), None);
        assert_eq!(crash(&mut roster, "b", 2, 0), None);
        assert_eq!(crash(&mut roster, "a", 1, 10), Some(10 + EXCLUSION_MS));
        for name in ["a", "b"] {
            let until = roster.excluded_until_ms(&worker(name), 11);
            assert_eq!(until, Some(10 + EXCLUSION_MS), "{name}");
        }
        assert_eq!(roster.excluded_until_ms(&worker("c"), 11), None);
        let over_ms = 10 + EXCLUSION_MS;
        assert_eq!(roster.next_deadline_ms(11), Some(over_ms));
        assert_eq!(roster.excluded_until_ms(&worker("a"), over_ms), None);
        for number in 1..STREAK {
            let number = u8::try_from(number).unwrap();
            assert_eq!(crash(&mut roster, "a", number, over_ms), None);
        }
        let again = crash(&mut roster, "b", 9, over_ms);
        assert_eq!(again, Some(over_ms + 2 * EXCLUSION_MS));
    }

    #[test]
    fn one_bad_task_takes_no_machine_away() {
        let mut roster = roster(&[("a", "m"), ("b", "n")]);
        for _ in 0..10 {
            assert_eq!(crash(&mut roster, "a", 1, 0), None);
        }
        assert_eq!(crash(&mut roster, "a", 2, 0), Some(EXCLUSION_MS));
    }

    #[test]
    fn what_goes_well_in_between_and_what_is_the_tasks_own_fault_do_not_count() {
        let mut roster = roster(&[("a", "m"), ("b", "n")]);
        for number in 0..10 {
            assert_eq!(crash(&mut roster, "a", number, 0), None);
            let own = FailureClass::Diverged;
            assert_eq!(roster.failed(&worker("a"), task(number), own, 0), None);
            if number % 2 == 1 {
                roster.succeeded(&worker("a"));
            }
        }
    }

    #[test]
    fn the_only_machine_that_is_there_is_never_excluded() {
        let mut roster = roster(&[("a", "m"), ("b", "n")]);
        for number in 0..3 {
            crash(&mut roster, "a", number, 0);
        }
        assert!(roster.excluded_until_ms(&worker("a"), 1).is_some());
        assert_eq!(roster.excluded_until_ms(&worker("a"), PRESENT_MS), None);
        roster.heard(&worker("b"), PRESENT_MS);
        assert!(roster.excluded_until_ms(&worker("a"), PRESENT_MS).is_some());
    }

    #[test]
    fn a_full_roster_forgets_who_was_not_heard_of_for_an_hour() {
        let mut roster = roster(&[("a", "m"), ("b", "n")]);
        roster.heard(&worker("b"), MEMORY_MS);
        let new = |seen_ms| Registered {
            device: "cpu".to_owned(),
            machine: "o".to_owned(),
            started_unix_ns: 0,
            offer: Arc::default(),
            seen_ms,
        };
        let full = roster.register(worker("c"), new(1), limits(2));
        assert_eq!(full, Err(RegisterRefusal::Full { limit: 2 }));
        let there_is_room = roster.register(worker("c"), new(MEMORY_MS), limits(2));
        assert_eq!(there_is_room, Ok(false));
        assert!(roster.get(&worker("a")).is_none());
        assert!(roster.get(&worker("b")).is_some());
    }

    /// Registers as the worker `a`, in a process that started then, on a machine, at a time.
    fn begin(
        roster: &mut Roster,
        started_unix_ns: u64,
        machine: &str,
        seen_ms: u64,
    ) -> Result<bool, RegisterRefusal> {
        let registered = Registered {
            device: "cpu".to_owned(),
            machine: machine.to_owned(),
            started_unix_ns,
            offer: Arc::default(),
            seen_ms,
        };
        roster.register(worker("a"), registered, limits(9))
    }

    fn taken(silent_s: u64) -> RegisterRefusal {
        RegisterRefusal::Taken {
            worker: worker("a"),
            machine: "m".to_owned(),
            silent_s,
            living_s: 30,
        }
    }

    #[test]
    fn a_process_that_is_started_again_takes_the_place_of_the_one_before() {
        let mut roster = Roster::default();
        assert_eq!(begin(&mut roster, 1, "m", 0), Ok(false));
        assert_eq!(begin(&mut roster, 2, "m", 1), Ok(true));
        let knows = |roster: &Roster, started| roster.knows(&worker("a"), started);
        // Not before it asks for work: it may find that it cannot work.
        assert!(knows(&roster, 1) && !knows(&roster, 2));
        assert_eq!(begin(&mut roster, 1, "m", 2), Ok(false));
        assert!(!roster.succeed(&worker("a"), 1));
        assert!(roster.succeed(&worker("a"), 2));
        assert!(knows(&roster, 2) && !knows(&roster, 1));
        assert!(!roster.succeed(&worker("a"), 2), "it has the name");
        assert_eq!(begin(&mut roster, 2, "m", 3), Ok(false));
        // The earlier one, or a late request of it, takes nothing back from one that lives.
        assert_eq!(begin(&mut roster, 1, "m", 30_002), Err(taken(29)));
        assert!(knows(&roster, 2));
        // A clock that was put back keeps nobody out for long.
        assert_eq!(begin(&mut roster, 1, "m", 30_003), Ok(true));
        assert!(roster.succeed(&worker("a"), 1) && knows(&roster, 1));
        // Workers of older releases do not say, and nobody can tell.
        assert!(knows(&roster, 0));
        assert_eq!(begin(&mut roster, 0, "n", 30_004), Ok(false));
    }

    #[test]
    fn a_process_that_cannot_work_keeps_the_one_before_from_nothing() {
        let mut roster = Roster::default();
        begin(&mut roster, 1, "m", 0).unwrap();
        // It is started again and again, and never asks for work.
        for started in 2..9 {
            let at_ms = started * 5000;
            assert_eq!(begin(&mut roster, started, "m", at_ms), Ok(true));
            assert!(roster.knows(&worker("a"), 1));
            assert_eq!(begin(&mut roster, 1, "m", at_ms), Ok(false));
        }
    }

    #[test]
    fn a_name_that_lives_on_another_machine_is_taken() {
        let mut roster = Roster::default();
        begin(&mut roster, 1, "m", 0).unwrap();
        roster.heard(&worker("a"), 5000);
        let mut begin = |started, at_ms| begin(&mut roster, started, "n", at_ms);
        assert_eq!(begin(2, 34_999), Err(taken(29)));
        // It may move, and another may come when it has gone.
        assert_eq!(begin(1, 6000), Ok(false));
        assert_eq!(begin(2, 36_000), Ok(true));
    }
}
