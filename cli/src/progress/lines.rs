//! Plain lines, for logs and pipes.

use std::io::Write as _;
use std::time::Duration;

use autorep_core::text::counted;

use super::{Look, text};

/// At most one line of progress in this time.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// Prints lines to stderr.
#[derive(Debug, Default)]
pub struct Lines {
    /// When something was printed last, on the clock of the looks.
    last: Duration,
}

impl Lines {
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

    /// Prints a line. A closed stderr stops nobody.
    pub fn line(&self, text: &str) {
        drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
    }
}
