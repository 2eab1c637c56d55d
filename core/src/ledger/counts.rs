//! How many tasks are in which state.

use serde::{Deserialize, Serialize};

use super::StateName;

/// Tasks by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Waiting for other tasks.
    pub waiting: u64,
    /// Ready to be leased.
    pub ready: u64,
    /// Leased to a worker.
    pub leased: u64,
    /// Done, with a result.
    pub done: u64,
    /// Given up after too many failures.
    pub gave_up: u64,
    /// Needing a task that gave up.
    pub blocked: u64,
    /// Not let go further by the sweep.
    #[serde(default)]
    pub parked: u64,
    /// Cancelled with the sweep.
    pub cancelled: u64,
}

impl TaskCounts {
    /// The count of one state.
    pub const fn of(&mut self, state: StateName) -> &mut u64 {
        match state {
            StateName::Waiting => &mut self.waiting,
            StateName::Ready => &mut self.ready,
            StateName::Leased => &mut self.leased,
            StateName::Done => &mut self.done,
            StateName::GaveUp => &mut self.gave_up,
            StateName::Blocked => &mut self.blocked,
            StateName::Parked => &mut self.parked,
            StateName::Cancelled => &mut self.cancelled,
        }
    }

    /// Tasks in all states.
    pub const fn total(&self) -> u64 {
        self.unfinished() + self.done + self.gave_up + self.blocked + self.parked + self.cancelled
    }

    /// Tasks that are running or will run: waiting, ready and leased ones.
    pub const fn unfinished(&self) -> u64 {
        self.waiting + self.ready + self.leased
    }
}
