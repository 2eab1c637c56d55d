//! Whoever a task is worked on for: gives commands, takes events.

use autorep_core::observation::{Interim, Observation};
use autorep_proto::v1::trainer_event::Event;

/// What may be asked of a running task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Write a resume checkpoint and go on.
    CheckpointNow,
    /// Write a resume checkpoint and stop.
    Stop,
}

/// How work on a task ended, if not by an error.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// All outputs have been reported.
    Done(Observation),
    /// It can be taken up again from the last checkpoint reported.
    /// What the epochs so far measured is what the coordinator decides by.
    Stopped(Interim),
}

/// The host can no longer be reached.
#[derive(Debug, thiserror::Error)]
#[error("the worker is gone: {0}")]
pub struct HostGone(pub String);

/// Gives commands and takes events.
pub trait Host {
    /// The next command, if there is one; never waits.
    fn command(&mut self) -> Result<Option<Command>, HostGone>;

    /// Delivers an event.
    fn report(&mut self, event: Event) -> Result<(), HostGone>;
}
