//! What a worker did and where its time went.

use std::time::Duration;

use serde::Serialize;

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The task is done.
    Finished,
    /// The attempt failed and the coordinator knows.
    Failed,
    /// The lease was given back.
    Released,
    /// The coordinator said that nobody wants the task any more.
    Cancelled,
    /// This worker was a member of a group whose lease ended; how, its leader knows.
    Attended,
    /// The lease ended, or had to be assumed to have ended.
    Lost,
}

impl Outcome {
    /// Every way to end.
    pub(crate) const ALL: [Self; 6] = [
        Self::Finished,
        Self::Failed,
        Self::Released,
        Self::Cancelled,
        Self::Attended,
        Self::Lost,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::Attended => "attended",
            Self::Lost => "lost",
        }
    }
}

/// Where an attempt's time went. The three do not overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Times {
    /// From the lease to the trainer's start: inputs are fetched and verified.
    pub fetching: Duration,
    /// From the trainer's start to its end. Checkpoints are stored meanwhile.
    pub training: Duration,
    /// From the trainer's end to the coordinator's last answer: the last checkpoints and the log
    /// are stored.
    pub storing: Duration,
}

/// What a worker did from its start to its end.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// Tasks finished.
    pub finished: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Leases given back.
    pub released: u64,
    /// Attempts that were cancelled.
    pub cancelled: u64,
    /// Attempts of groups of which this worker was a member.
    pub attended: u64,
    /// Leases that ended under this worker.
    pub lost: u64,
    /// Where the attempts' time went, in sum.
    pub times: Times,
    /// Time between attempts: waiting for a task or for the coordinator.
    pub waiting: Duration,
}

impl Summary {
    pub(crate) fn log(&self, worker: &str) {
        tracing::info!(
            worker,
            finished = self.finished,
            failed = self.failed,
            released = self.released,
            cancelled = self.cancelled,
            attended = self.attended,
            lost = self.lost,
            fetching_s = self.times.fetching.as_secs_f64(),
            training_s = self.times.training.as_secs_f64(),
            storing_s = self.times.storing.as_secs_f64(),
            waiting_s = self.waiting.as_secs_f64(),
            "worker ends"
        );
    }

    pub(crate) fn add(&mut self, outcome: Outcome, times: Times) {
        match outcome {
            Outcome::Finished => self.finished += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Released => self.released += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Attended => self.attended += 1,
            Outcome::Lost => self.lost += 1,
        }
        self.times.fetching += times.fetching;
        self.times.training += times.training;
        self.times.storing += times.storing;
    }
}
