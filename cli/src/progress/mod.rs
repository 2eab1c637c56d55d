//! Shows a sweep while it runs: bars on a terminal, plain lines elsewhere. On stderr, unless the
//! lines are what a command is asked for.

pub mod bars;
pub mod changes;
pub mod lines;
pub mod text;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use autorep_proto::v1;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use bars::Bars;
use changes::{Change, Changes};
use lines::{Lines, To};

/// One look at a running sweep.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What the coordinator says.
    pub show: v1::ShowResponse,
    /// Candidates on the front now.
    pub front_points: usize,
    /// Since the watching began.
    pub elapsed: Duration,
}

impl Look {
    /// Tasks that are done, and all that the sweep lets run: more as it grows.
    pub fn done_of(&self) -> (u64, u64) {
        let counts = self.counts();
        let all = counts.waiting
            + counts.ready
            + counts.leased
            + counts.done
            + counts.gave_up
            + counts.blocked
            + counts.cancelled;
        (counts.done, all)
    }

    /// Tasks by state.
    pub fn counts(&self) -> v1::TaskCounts {
        self.show
            .summary
            .as_ref()
            .and_then(|summary| summary.counts)
            .unwrap_or_default()
    }
}

/// Shows looks to people.
#[derive(Debug)]
pub struct Reporter {
    changes: Changes,
    pace: Pace,
    screen: Screen,
}

#[derive(Debug)]
enum Screen {
    Bars(Bars),
    Lines(Lines),
}

impl Reporter {
    /// For a command whose stdout is for something else: bars if stderr is a terminal that can draw
    /// them, lines on stderr otherwise.
    pub fn beside(sweep: &str) -> Self {
        Self::new(sweep, true, To::Stderr)
    }

    /// For a command that is asked for nothing else: bars if stdout is such a terminal, too, lines on
    /// stdout otherwise.
    pub fn alone(sweep: &str) -> Self {
        Self::new(sweep, std::io::stdout().is_terminal(), To::Stdout)
    }

    fn new(sweep: &str, may_draw: bool, to: To) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let screen = if may_draw && std::io::stderr().is_terminal() && !dumb {
            Screen::Bars(Bars::new(sweep))
        } else {
            Screen::Lines(Lines::new(to))
        };
        Self {
            changes: Changes::default(),
            pace: Pace::default(),
            screen,
        }
    }

    /// Where logs have to go so that they do not tear the bars.
    pub fn log_writer(&self) -> BoxMakeWriter {
        match &self.screen {
            Screen::Bars(bars) => bars.log_writer(),
            Screen::Lines(_) => BoxMakeWriter::new(std::io::stderr),
        }
    }

    /// Shows a look.
    pub fn show(&mut self, look: &Look) {
        let left = self.pace.left(look);
        for change in self.changes.take(&look.show) {
            match &mut self.screen {
                // The bars show starts better than a line can.
                Screen::Bars(bars) => {
                    if !matches!(change, Change::Started { .. }) {
                        bars.line(&change.line());
                    }
                }
                Screen::Lines(lines) => lines.change(&change.line(), look),
            }
        }
        match &mut self.screen {
            Screen::Bars(bars) => bars.draw(look, left),
            Screen::Lines(lines) => lines.heartbeat(look, left),
        }
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) {
        match &mut self.screen {
            Screen::Bars(bars) => bars.line(text),
            Screen::Lines(lines) => lines.line(text),
        }
    }

    /// Whether anybody reads what is shown, or why it cannot be written.
    pub fn is_read(&mut self) -> Result<bool> {
        match &mut self.screen {
            Screen::Bars(_) => Ok(true),
            Screen::Lines(lines) => lines.are_read(),
        }
    }

    /// Takes the bars away.
    pub fn close(&mut self) {
        match &mut self.screen {
            Screen::Bars(bars) => bars.clear(),
            Screen::Lines(_) => {}
        }
    }
}

impl Change {
    fn line(&self) -> String {
        match self {
            Self::Started {
                task,
                worker,
                attempt: 1,
            } => format!("start   {task}  ({worker})"),
            Self::Started {
                task,
                worker,
                attempt,
            } => format!("start   {task}  ({worker}, attempt {attempt})"),
            Self::Stopped {
                task,
                epochs: Some((epoch, epochs)),
            } => format!("stopped {task}  in epoch {epoch} of {epochs}"),
            Self::Stopped { task, epochs: None } => format!("stopped {task}"),
            Self::Finished { task, result } => format!("done    {task}  {result}"),
            Self::Failed {
                task,
                why,
                gave_up: false,
            } => format!("failed  {task}  {why}; it will be tried again"),
            Self::Failed {
                task,
                why,
                gave_up: true,
            } => format!("gave up {task}  {why}"),
        }
    }
}

/// Estimates the time left from the tasks done since the watching began.
#[derive(Debug, Default)]
struct Pace {
    start: Option<(f64, Duration)>,
}

impl Pace {
    /// Every task counts the same, and a running one by its share of steps: rough, and honest
    /// only once some tasks are done, so nothing is said before.
    fn left(&mut self, look: &Look) -> Option<Duration> {
        let (done, all) = look.done_of();
        let running: f64 = look
            .show
            .running
            .iter()
            .filter_map(|task| task.progress.as_ref())
            .filter(|progress| progress.steps > 0)
            .map(|progress| (progress.step as f64 / progress.steps as f64).min(1.0))
            .sum();
        let now = done as f64 + running;
        let (start, since) = *self.start.get_or_insert((now, look.elapsed));
        let gained = now - start;
        if gained < 0.5 {
            return None;
        }
        let spent = look.elapsed.saturating_sub(since).as_secs_f64();
        Duration::try_from_secs_f64(spent / gained * (all as f64 - now)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(done: u64, step: u64, elapsed_s: u64) -> Look {
        Look {
            show: v1::ShowResponse {
                summary: Some(v1::SweepSummary {
                    counts: Some(v1::TaskCounts {
                        done,
                        leased: 1,
                        waiting: 7 - done,
                        ..v1::TaskCounts::default()
                    }),
                    ..v1::SweepSummary::default()
                }),
                running: vec![v1::RunningTask {
                    progress: Some(v1::Progress {
                        step,
                        steps: 10,
                        ..v1::Progress::default()
                    }),
                    ..v1::RunningTask::default()
                }],
                ..v1::ShowResponse::default()
            },
            front_points: 0,
            elapsed: Duration::from_secs(elapsed_s),
        }
    }

    #[test]
    fn the_time_left_follows_from_the_pace_since_the_first_look() {
        let mut pace = Pace::default();
        assert_eq!(pace.left(&look(2, 0, 5)), None, "nothing is done yet");
        let left = pace.left(&look(3, 5, 20)).unwrap();
        // One and a half tasks in 15 s; four and a half of eight are left.
        assert!((left.as_secs_f64() - 45.0).abs() < 1e-6, "{left:?}");
    }
}
