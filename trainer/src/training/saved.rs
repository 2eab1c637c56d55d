//! What is saved of a stage: resume checkpoints, outputs, what was observed.

use std::path::Path;

use autorep_core::observation::{EpochPoint, Interim, LearningCurve, Observation};
use autorep_core::task::{NET_OUTPUT, budget_output};

use super::{Output, Training};
use crate::checkpoint::{
    CheckpointError, FORMAT, LIBTORCH_VERSION, OutputDocument, Passed, ResumeDocument,
    TRAINER_VERSION, Tensors, Validated, read_document, read_metrics,
};
use crate::masked::Activations;
use crate::methods::replace::Search;
use crate::metrics::EpochSums;
use crate::tensors::{Named, shared, snapshot, with_prefix};

impl Training {
    /// The tensors of a resume checkpoint, live.
    pub fn resume_tensors(&self) -> Named {
        let mut all = self.masked.named();
        all.extend(with_prefix("optim.weights.", self.optimizer.named()));
        if let Some(search) = &self.search {
            if self.masked.activations == Activations::Searching {
                all.extend(with_prefix("optim.latents.", search.optimizer_tensors()));
            }
            all.extend(search.snapshot_tensors());
            if let Some(watch) = search.watches(self.progress.step) {
                all.extend(watch.running.named(&self.masked.sites));
            }
        }
        if let Some(ema) = &self.ema {
            all.extend(with_prefix("ema.", ema.named()));
        }
        if let Some((_, tensors)) = &self.progress.best {
            all.extend(with_prefix("best.", shared(tensors)));
        }
        all
    }

    /// The document of a resume checkpoint.
    pub fn resume_document(&self) -> ResumeDocument {
        ResumeDocument {
            format: FORMAT,
            spec: self.spec.clone(),
            trainer: TRAINER_VERSION.to_owned(),
            libtorch: LIBTORCH_VERSION.to_owned(),
            step: self.progress.step,
            steps_per_epoch: self.steps_per_epoch(),
            last: self.progress.last,
            best: self.progress.best.as_ref().map(|(validated, _)| *validated),
            searched_count: self.search.as_ref().and_then(Search::searched_count),
            passed: self.search.as_ref().map_or_else(Vec::new, Search::passed),
            search: self.search.as_ref().map(Search::state),
            loss_scale: self.loss_scale,
            sums: self.progress.sums.saved(),
            seconds: self.progress.seconds(),
            skipped: self.skips.positions(),
        }
    }

    /// Goes on from the resume checkpoint in `folder`. Called on a stage that was set up from the
    /// same inputs.
    pub fn resume(&mut self, folder: &Path) -> Result<(), CheckpointError> {
        let document: ResumeDocument = read_document(folder)?;
        self.check_document(folder, &document)?;
        if let Some(search) = &mut self.search {
            search.restore_standing(&self.masked, document.searched_count, &document.passed);
            if let Some(state) = document.search {
                search.restore_state(state);
            }
        }
        self.loss_scale = document.loss_scale;
        self.progress.sums = EpochSums::restored(document.sums, self.masked.device);
        self.progress.metrics = read_metrics(folder)?;
        if document.searched_count.is_some() {
            self.masked.freeze();
        }
        self.progress.step = document.step;
        self.progress.last = document.last;
        self.progress.best = document
            .best
            .map(|validated| (validated, snapshot(&self.masked.named_output())));
        self.progress.seconds_before = document.seconds;
        self.skips.restore(&document.skipped);
        Tensors::read(folder)?.restore(&self.resume_tensors(), |_| false)?;
        if document.searched_count.is_some() {
            // Which sites are left without a ReLU follows from the restored indicators.
            self.masked.freeze();
        }
        Ok(())
    }

    fn check_document(
        &self,
        folder: &Path,
        document: &ResumeDocument,
    ) -> Result<(), CheckpointError> {
        let differs = |expected: String, found: String| CheckpointError::Other {
            path: folder.to_owned(),
            expected,
            found,
        };
        if document.format != FORMAT {
            return Err(differs(
                format!("a checkpoint of format {FORMAT}"),
                format!("format {}", document.format),
            ));
        }
        if document.spec != self.spec {
            return Err(differs(
                format!("a checkpoint of task {}", self.spec.id()),
                format!("one of task {}", document.spec.id()),
            ));
        }
        if document.steps_per_epoch != self.steps_per_epoch() || document.step > self.steps() {
            return Err(differs(
                format!(
                    "{} steps of {} per epoch",
                    self.steps(),
                    self.steps_per_epoch()
                ),
                format!(
                    "step {} of {} per epoch",
                    document.step, document.steps_per_epoch
                ),
            ));
        }
        Ok(())
    }

    /// Budgets that a search has passed on its way to the last.
    pub fn passed(&self) -> usize {
        (self.search.as_ref()).map_or(0, |search| search.snapshots().len())
    }

    /// The snapshots at those budgets as outputs, without the first so many.
    pub fn snapshots(&self, without: usize) -> Vec<Output> {
        let snapshots = self.search.iter().flat_map(Search::snapshots);
        snapshots
            .skip(without)
            .map(|(passed, tensors)| self.search_output(*passed, shared(tensors), None))
            .collect()
    }

    /// The outputs of the finished stage.
    pub fn outputs(&self) -> Vec<Output> {
        if let Some(search) = &self.search {
            let mut outputs = self.snapshots(0);
            let last = Passed {
                budget: search.budget(),
                kept: self.masked.sites.count(),
                searched_count: search.searched_count().unwrap_or(search.budget()),
                step: self.progress.step,
                effect: None,
            };
            if let Some(ema) = &self.ema {
                ema.swap();
            }
            let tensors = snapshot(&self.masked.named_output());
            if let Some(ema) = &self.ema {
                ema.swap();
            }
            outputs.push(self.search_output(last, tensors, self.progress.last));
            return outputs;
        }
        let best = self.progress.best.iter();
        best.map(|(validated, tensors)| {
            let relus = self.masked.sites.count();
            let document = self.document(NET_OUTPUT.to_owned(), relus, Some(*validated));
            Output {
                relus,
                step: self.progress.step,
                tensors: shared(tensors),
                document,
            }
        })
        .collect()
    }

    fn search_output(
        &self,
        passed: Passed,
        tensors: Named,
        validation: Option<Validated>,
    ) -> Output {
        let mut document = self.document(budget_output(passed.budget), passed.kept, validation);
        document.searched_count = Some(passed.searched_count);
        Output {
            relus: passed.kept,
            step: passed.step,
            tensors,
            document,
        }
    }

    fn document(
        &self,
        output: String,
        relu_count: u64,
        validation: Option<Validated>,
    ) -> OutputDocument {
        OutputDocument {
            format: FORMAT,
            spec: self.spec.clone(),
            output,
            trainer: TRAINER_VERSION.to_owned(),
            libtorch: LIBTORCH_VERSION.to_owned(),
            relu_count,
            relu_total: self.masked.sites.total(),
            searched_count: None,
            validation,
        }
    }

    /// What the finished stage measured; `relu_count` as counted in its saved output.
    pub fn observation(&self, relu_count: u64) -> Observation {
        let best = self.progress.best.as_ref().map(|(validated, _)| *validated);
        let selected = best.or(self.progress.last);
        Observation {
            relu_count,
            relu_total: self.masked.sites.total(),
            validation: selected.map(|validated| validated.accuracy),
            test: None,
            searched_count: self.search.as_ref().and_then(Search::searched_count),
            selected_epoch: selected.map(|validated| validated.epoch),
            epochs: self.schedule.epochs,
            seconds: self.progress.seconds(),
            skipped_images: self.skips.count(),
            curve: self.curve(),
            searched: (self.search.as_ref())
                .and_then(|it| it.report(&self.progress.metrics, self.steps_per_epoch())),
        }
    }

    /// What the stage has come to.
    pub fn interim(&self) -> Interim {
        Interim {
            curve: self.curve(),
            seconds: self.progress.seconds(),
        }
    }

    /// What the epochs so far measured.
    fn curve(&self) -> LearningCurve {
        let epochs = &self.progress.metrics;
        LearningCurve {
            images: epochs.first().map_or(0, |it| it.validation.images),
            epochs: epochs
                .iter()
                .map(|epoch| EpochPoint {
                    relu_count: epoch.relus,
                    correct: epoch.validation.correct,
                })
                .collect(),
        }
    }
}
