//! Plain lines, for logs and pipes.

use std::time::Duration;

use anyhow::Result;
use autorep_core::text::counted;

use super::{Look, text};
use crate::output;

/// At most one line of progress in this time.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// Where lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// Beside what a command is asked for.
    Stderr,
    /// They are what it is asked for.
    Stdout,
}

/// Prints lines.
#[derive(Debug)]
pub struct Lines {
    to: To,
    /// When something was printed last, on the clock of the looks.
    last: Duration,
    /// What became of the last one: whether anybody reads them.
    read: Result<bool>,
}

impl Lines {
    /// Before the first one.
    pub const fn new(to: To) -> Self {
        Self {
            to,
            last: Duration::ZERO,
            read: Ok(true),
        }
    }

    /// Whether anybody still reads them, or why they cannot be written, which is said once. Nobody
    /// needs to read stderr.
    pub fn are_read(&mut self) -> Result<bool> {
        match &self.read {
            Ok(read) => Ok(*read),
            Err(_) => std::mem::replace(&mut self.read, Ok(false)),
        }
    }

    /// Prints what changed, with how far the sweep is.
    pub fn change(&mut self, text: &str, look: &Look) {
        self.last = look.elapsed;
        let (done, all) = look.done_of();
        let width = all.to_string().len();
        self.line(&format!(
            "{:>6} [{done:>width$}/{all}] {text}",
            text::duration(look.elapsed)
        ));
    }

    /// Says where the running tasks are, if nothing else was said for a while.
    pub fn heartbeat(&mut self, look: &Look, left: Option<Duration>) {
        if look.elapsed < self.last + HEARTBEAT_EVERY {
            return;
        }
        let left = left.map_or_else(String::new, |left| {
            format!(", about {} left", text::duration(left))
        });
        let points = counted(look.front_points as u64, "point");
        self.change(&format!("at work; front has {points}{left}"), look);
        for task in &look.show.running {
            let name = text::task(&task.kind, &task.label);
            let progress = match &task.progress {
                Some(progress) => {
                    let left = text::left(progress).unwrap_or_default();
                    format!("{}  {left}", text::progress(progress))
                }
                None => "starting".to_owned(),
            };
            self.line(&format!("       {}: {name}  {progress}", task.worker));
        }
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) {
        let line = format!("{text}\n");
        match (self.to, &self.read) {
            (To::Stderr, _) => output::stderr(&line),
            (To::Stdout, Ok(true)) => self.read = output::stdout_goes_on(line.as_bytes()),
            (To::Stdout, Ok(false) | Err(_)) => {}
        }
    }
}
