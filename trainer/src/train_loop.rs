//! From the first step to the last: reports progress, writes checkpoints, obeys commands. Of several
//! ranks the first one does so; the others train along.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autorep_core::checkpoint::TENSORS_PART;
use autorep_failpoint::{Point, reached};
use autorep_proto::v1;
use autorep_proto::v1::trainer_event::Event;
use tch::Tensor;

use crate::checkpoint;
use crate::count::count_indicators;
use crate::data::Batches;
use crate::error::TrainError;
use crate::host::{Command, Host, Outcome};
use crate::metrics::EpochMetrics;
use crate::training::{Output, Training};

/// Time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Where checkpoints go, and how often.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The folder in which each checkpoint gets a folder of its own.
    pub scratch: PathBuf,
    /// Time between two resume checkpoints; `None` writes them on command only.
    pub every: Option<Duration>,
    /// Steps between two of them, beside those; `None` for never.
    pub every_steps: Option<NonZeroU64>,
    /// The epoch after which to write one and stop; `None` to train to the end.
    pub stop_after: Option<u32>,
}

/// Trains to the end, to the epoch after which it is to stop, or until it is told to stop.
pub fn run(
    training: &mut Training,
    checkpoints: &Checkpoints,
    host: &mut dyn Host,
) -> Result<Outcome, TrainError> {
    let first = training.progress.step;
    let mut work = Run::new(training, checkpoints, host);
    work.report_progress()?;
    // What an earlier process has passed: it may have been set aside since.
    work.write_each(work.training.snapshots(0))?;
    if !work.training.finished() {
        let stream = work.training.stream.clone();
        let device = work.training.masked.device;
        let mut batches = Batches::start(stream, first, device)?;
        while !work.training.finished() {
            if work.has_come_to_its_stop() {
                if work.training.progress.step > first {
                    work.write_resume()?;
                }
                return Ok(Outcome::Stopped(work.training.interim()));
            }
            work.step(&mut batches)?;
            if work.obey()? == Obeyed::Stopped {
                return Ok(Outcome::Stopped(work.training.interim()));
            }
        }
    } else if work.training.schedule.epochs == 0 {
        work.training.validate_start()?;
    }
    work.write_outputs()
}

/// One process's work on a training stage.
struct Run<'a> {
    training: &'a mut Training,
    checkpoints: &'a Checkpoints,
    host: &'a mut dyn Host,
    first_step: u64,
    started: Instant,
    interval: Interval,
    last_checkpoint: Instant,
    /// Resume checkpoints written, so that two at one step have different folders.
    written: u64,
    /// Outputs written by this process.
    outputs_written: BTreeSet<String>,
}

/// What happened since the last report.
struct Interval {
    since: Instant,
    steps: u64,
    /// For batches.
    waited: Duration,
    /// A scalar on the device: adding to it does not wait.
    loss: Option<Tensor>,
}

impl Interval {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            steps: 0,
            waited: Duration::ZERO,
            loss: None,
        }
    }

    fn add(&mut self, loss: Tensor) {
        self.steps += 1;
        self.loss = Some(match self.loss.take() {
            Some(sum) => sum + loss,
            None => loss,
        });
    }

    /// The share of the time that was waited for batches; `None` without steps.
    fn wait_share(&self) -> Option<f64> {
        let elapsed = self.since.elapsed().as_secs_f64();
        (self.steps > 0 && elapsed > 0.0)
            .then(|| (self.waited.as_secs_f64() / elapsed).clamp(0.0, 1.0))
    }

    /// The mean loss; `None` without steps. Waits for the device.
    fn mean_loss(&self) -> Option<f64> {
        let sum = self.loss.as_ref()?.double_value(&[]);
        Some(sum / self.steps as f64)
    }
}

#[derive(PartialEq, Eq)]
enum Obeyed {
    GoOn,
    Stopped,
}

impl<'a> Run<'a> {
    fn new(
        training: &'a mut Training,
        checkpoints: &'a Checkpoints,
        host: &'a mut dyn Host,
    ) -> Self {
        Self {
            first_step: training.progress.step,
            training,
            checkpoints,
            host,
            started: Instant::now(),
            interval: Interval::new(),
            last_checkpoint: Instant::now(),
            written: 0,
            outputs_written: BTreeSet::new(),
        }
    }

    fn step(&mut self, batches: &mut Batches) -> Result<(), TrainError> {
        let epochs = self.training.epochs_done();
        let passed = self.training.passed();
        let waited = batches.waited();
        let batch = batches.take()?;
        self.interval.waited += batches.waited().saturating_sub(waited);
        let advanced = (self.training.advance(&batch)).map(|loss| self.interval.add(loss));
        // Where the last budget is no point, those that were passed in this very step are.
        let counts = matches!(advanced, Ok(()) | Err(TrainError::BudgetUnreached { .. }));
        if counts && self.training.passed() > passed {
            self.finite_loss()?;
            // Before the next resume checkpoint, which tells that it has been passed. What is
            // trained on from there need not wait for the end.
            self.write_each(self.training.snapshots(passed))?;
        }
        advanced?;
        let epoch_ended = self.training.epochs_done() > epochs;
        if epoch_ended || self.interval.since.elapsed() >= REPORT_EVERY {
            self.report_progress()?;
        }
        let due = |every| self.last_checkpoint.elapsed() >= every;
        let step = self.training.progress.step;
        let at_step = |every: NonZeroU64| step.is_multiple_of(every.get());
        let asked = self.checkpoints.every.is_some_and(due)
            || self.checkpoints.every_steps.is_some_and(at_step);
        if asked && !self.training.finished() {
            self.write_resume()?;
        }
        Ok(())
    }

    /// Whether it is not to train for longer now.
    fn has_come_to_its_stop(&self) -> bool {
        let epochs = self.training.epochs_done();
        self.checkpoints
            .stop_after
            .is_some_and(|stop| epochs >= stop)
    }

    /// Carries out the commands that have come. Bounded: a command that keeps coming cannot hold
    /// up training for more than one checkpoint per step.
    fn obey(&mut self) -> Result<Obeyed, TrainError> {
        let mut checkpoint = false;
        let mut stop = false;
        while let Some(command) = self.host.command()? {
            match command {
                Command::CheckpointNow => checkpoint = true,
                Command::Stop => {
                    stop = true;
                    break;
                }
            }
        }
        // Commands reach rank 0; no other may train on without it.
        let [stop] = self.training.ranks().agree([i64::from(stop)])?;
        let stop = stop > 0;
        if checkpoint || stop {
            self.write_resume()?;
        }
        Ok(if stop { Obeyed::Stopped } else { Obeyed::GoOn })
    }

    /// Reports where training stands, and fails if the loss is not finite.
    fn report_progress(&mut self) -> Result<(), TrainError> {
        if !self.training.ranks().leads() {
            self.interval = Interval::new();
            return Ok(());
        }
        let loss = self.finite_loss()?;
        let training = &*self.training;
        let (step, steps) = (training.progress.step, training.steps());
        let elapsed = self.interval.since.elapsed().as_secs_f64();
        let images = self.interval.steps * training.stream.batch as u64;
        let done_here = step - self.first_step;
        let seconds_left = (done_here > 0).then(|| {
            let per_step = self.started.elapsed().as_secs_f64() / done_here as f64;
            per_step * (steps - step) as f64
        });
        let event = Event::Progress(v1::Progress {
            epoch: (training.epochs_done() + 1).min(training.schedule.epochs),
            epochs: training.schedule.epochs,
            step,
            steps,
            loss,
            relu_count: Some(training.masked.sites.count()),
            relu_budget: Some(training.budget()),
            images_per_second: (images > 0 && elapsed > 0.0).then(|| images as f64 / elapsed),
            validation: training.last_accuracy().map(Into::into),
            seconds_left,
            data_wait_share: self.interval.wait_share(),
        });
        self.interval = Interval::new();
        Ok(self.host.report(event)?)
    }

    /// The interval's mean loss, which must be finite: a net that diverged must not become a
    /// checkpoint that every later attempt starts from.
    fn finite_loss(&self) -> Result<Option<f64>, TrainError> {
        if !self.training.ranks().leads() {
            return Ok(None);
        }
        let loss = self.interval.mean_loss();
        match loss {
            Some(loss) if !loss.is_finite() => Err(TrainError::Diverged {
                loss,
                step: self.training.progress.step,
            }),
            _ => Ok(loss),
        }
    }

    fn write_resume(&mut self) -> Result<(), TrainError> {
        if !self.training.ranks().leads() {
            return Ok(());
        }
        self.finite_loss()?;
        let step = self.training.progress.step;
        let name = format!("resume-{step:010}-{}", self.written);
        let folder = checkpoint::write(
            &self.checkpoints.scratch,
            &name,
            &self.training.resume_tensors(),
            &self.training.resume_document(),
            &self.training.progress.metrics,
        )
        .map_err(TrainError::Write)?;
        self.written += 1;
        self.last_checkpoint = Instant::now();
        self.report_checkpoint(v1::CheckpointRole::Resume, "", step, &folder)
    }

    fn write_outputs(&mut self) -> Result<Outcome, TrainError> {
        let counted = self.write_each(self.training.outputs())?;
        Ok(Outcome::Done(self.training.observation(counted)))
    }

    /// Writes those outputs that this process has not written yet; returns the ReLUs of the last.
    fn write_each(&mut self, outputs: Vec<Output>) -> Result<u64, TrainError> {
        let mut counted = 0;
        if !self.training.ranks().leads() {
            return Ok(counted);
        }
        for output in outputs {
            if self.outputs_written.contains(&output.document.output) {
                continue;
            }
            let name = format!("out-{}", output.document.output);
            // Whenever it is written, it is the same: with the epochs that led to it.
            let finished =
                |epochs: &[EpochMetrics]| epochs.partition_point(|it| it.step <= output.step);
            let epochs = &self.training.progress.metrics;
            let folder = checkpoint::write(
                &self.checkpoints.scratch,
                &name,
                &output.tensors,
                &output.document,
                &epochs[..finished(epochs)],
            )
            .map_err(TrainError::Write)?;
            counted = self.count(&folder, &output)?;
            let role = v1::CheckpointRole::Output;
            self.report_checkpoint(role, &output.document.output, output.step, &folder)?;
            self.outputs_written.insert(output.document.output);
        }
        Ok(counted)
    }

    /// Counts the ReLUs in what was just written.
    fn count(&self, folder: &Path, output: &Output) -> Result<u64, TrainError> {
        let spec = &self.training.spec;
        let path = folder.join(TENSORS_PART);
        let failed = |problem| {
            TrainError::Write(checkpoint::CheckpointError::Mismatch {
                path: path.clone(),
                problems: vec![problem],
            })
        };
        let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let sites = spec.net.sites(spec.data.name.input());
        let counted =
            count_indicators(&bytes, &sites).map_err(|error| failed(error.to_string()))?;
        if counted == output.relus {
            Ok(counted)
        } else {
            let budget = output.relus;
            Err(TrainError::WrongCount { budget, counted })
        }
    }

    fn report_checkpoint(
        &mut self,
        role: v1::CheckpointRole,
        output: &str,
        step: u64,
        folder: &Path,
    ) -> Result<(), TrainError> {
        let event = Event::CheckpointReady(v1::CheckpointReady {
            role: role.into(),
            output: output.to_owned(),
            step,
            folder: folder.display().to_string(),
        });
        self.host.report(event)?;
        reached(Point::TrainerAfterReport);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_waiting_is_of_the_intervals_time_and_none_without_steps() {
        let mut interval = Interval::new();
        assert_eq!(interval.wait_share(), None);
        interval.add(Tensor::from(1.0));
        assert_eq!(interval.wait_share(), Some(0.0));
        // More than the interval has lasted.
        interval.waited = Duration::from_hours(1);
        assert_eq!(interval.wait_share(), Some(1.0));
        let before = Instant::now().checked_sub(Duration::from_secs(1));
        interval.since = before.unwrap();
        interval.waited = Duration::from_millis(500);
        let half = interval.wait_share().unwrap();
        assert!((0.4..=0.5).contains(&half), "{half}");
    }
}
