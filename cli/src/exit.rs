//! How `autorep` ends: the exit codes that scripts and checks rely on.

use std::process::ExitCode;

/// How a command ended, when it did not fail with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done,
    /// Wrong usage or a manifest with problems; they have been shown.
    Usage,
    /// The sweep came to its end, but some tasks gave up: the front is partial.
    Partial,
    /// A signal asked to stop; what was done is kept.
    Interrupted,
}

impl Exit {
    /// The code for a command that ended with an error.
    pub const FAILED: u8 = 1;

    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
