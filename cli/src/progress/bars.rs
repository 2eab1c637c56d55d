//! Progress bars, for terminals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use autorep_proto::v1;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::{Look, text};

/// Redraws in a second at most: enough to look alive, little enough for a slow connection.
const REDRAWS_PER_SECOND: u8 = 5;

const CHARACTERS: &str = "━╸─";

/// One bar for the sweep and one for each worker that has a task.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    sweep: ProgressBar,
    workers: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// Draws on stderr.
    pub fn new(sweep: &str) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let all = MultiProgress::with_draw_target(target);
        let bar = all.add(ProgressBar::new(1).with_style(style(
            "{prefix:.bold} {bar:24.green/dim} {msg}",
            "{prefix} {msg}",
        )));
        bar.set_prefix(sweep.to_owned());
        Self {
            all,
            sweep: bar,
            workers: BTreeMap::new(),
        }
    }

    /// Where logs have to go: above the bars.
    pub fn log_writer(&self) -> BoxMakeWriter {
        let all = self.all.clone();
        BoxMakeWriter::new(move || Above { all: all.clone() })
    }

    /// Shows where everything is.
    pub fn draw(&mut self, look: &Look, left: Option<Duration>) {
        let (done, all) = look.done_of();
        self.sweep.set_length(all);
        self.sweep.set_position(done);
        let mut message = format!(
            "{done}/{all} tasks  front {}  {}",
            look.front_points,
            text::duration(look.elapsed)
        );
        if let Some(left) = left {
            let _ = write!(message, "  about {} left", text::duration(left));
        }
        let gave_up = look.counts().gave_up;
        if gave_up > 0 {
            let _ = write!(message, "  {gave_up} gave up");
        }
        self.sweep.set_message(message);
        for task in &look.show.running {
            self.draw_worker(task);
        }
        let all = &self.all;
        self.workers.retain(|worker, bar| {
            let busy = look.show.running.iter().any(|task| task.worker == *worker);
            if !busy {
                bar.finish_and_clear();
                all.remove(bar);
            }
            busy
        });
    }

    fn draw_worker(&mut self, task: &v1::RunningTask) {
        let all = &self.all;
        let bar = self.workers.entry(task.worker.clone()).or_insert_with(|| {
            let style = style("  {prefix} {bar:12.cyan/dim} {wide_msg}", "{prefix} {msg}");
            let bar = ProgressBar::new(1).with_style(style);
            all.add(bar.with_prefix(task.worker.clone()))
        });
        let name = text::task(&task.kind, &task.label);
        if let Some(progress) = &task.progress {
            bar.set_length(progress.steps.max(1));
            bar.set_position(progress.step);
            // What matters most comes first: a narrow terminal cuts the end.
            let left = text::left(progress).unwrap_or_else(|| "at work".to_owned());
            let rest = text::progress(progress);
            bar.set_message(format!("{left:>9}  {name}  {rest}"));
        } else {
            bar.set_length(1);
            bar.set_position(0);
            bar.set_message(format!("{:>9}  {name}", "starting"));
        }
    }

    /// Prints a line above the bars.
    pub fn line(&self, text: &str) {
        drop(self.all.println(text));
    }

    /// Takes the bars away.
    pub fn clear(&mut self) {
        for bar in self.workers.values() {
            bar.finish_and_clear();
        }
        self.workers.clear();
        self.sweep.finish_and_clear();
        drop(self.all.clear());
    }
}

/// The style of `template`; of `plain` should the template be wrong, which a test rules out.
fn style(template: &str, plain: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .or_else(|_| ProgressStyle::with_template(plain))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars(CHARACTERS)
}

/// Writes above the bars.
#[derive(Debug)]
struct Above {
    all: MultiProgress,
}

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.all.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
