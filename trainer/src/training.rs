//! One training stage: its state, its step, its checkpoints. What the stages have in common; what
//! sets them apart is in [`crate::methods`].

use std::path::Path;
use std::time::Instant;

use autorep_core::observation::{Accuracy, Observation};
use autorep_core::recipe::{Distillation, Schedule};
use autorep_core::task::{NET_OUTPUT, TaskSpec, budget_output};
use tch::Tensor;

use crate::checkpoint::{
    CheckpointError, FORMAT, LIBTORCH_VERSION, OutputDocument, Passed, ResumeDocument,
    TRAINER_VERSION, Tensors, Validated, read_document,
};
use crate::data::{Batch, Skips, Stream, Subset};
use crate::error::TrainError;
use crate::loss;
use crate::masked::{Activations, MaskedNet};
use crate::methods::replace::Search;
use crate::nets::{Net, Phase};
use crate::optim::Optimizer;
use crate::schedule::learning_rate;
use crate::tensors::{Named, shared, snapshot, with_prefix};

/// What the loss is made of beside the labels.
#[derive(Debug)]
pub struct Lesson {
    /// Weights and temperature.
    pub recipe: Distillation,
    /// The full-ReLU baseline; `None` when the recipe does not ask for it.
    pub teacher: Option<Net>,
}

/// The state of a training stage.
#[derive(Debug)]
pub struct Training {
    /// The task.
    pub spec: TaskSpec,
    /// What is trained.
    pub masked: MaskedNet,
    /// The training images.
    pub stream: Stream,
    /// The images on which choices are made.
    pub validation: Subset,
    /// The images that do not decode.
    pub skips: Skips,
    /// Epochs and learning rate.
    pub schedule: Schedule,
    /// Distillation; `None` trains on labels alone.
    pub lesson: Option<Lesson>,
    /// Trains weights and polynomials.
    pub optimizer: Optimizer,
    /// The search for indicators, in `replace` tasks.
    pub search: Option<Search>,
    /// Where it stands.
    pub progress: Standing,
}

/// Where a stage stands.
#[derive(Debug)]
pub struct Standing {
    /// Optimizer steps done.
    pub step: u64,
    /// The last finished epoch's validation.
    pub last: Option<Validated>,
    /// The best epoch's validation and net.
    best: Option<(Validated, Named)>,
    /// Seconds of earlier attempts.
    seconds_before: f64,
    begun: Instant,
}

impl Standing {
    /// Before the first step of work that began then.
    pub fn begun(begun: Instant) -> Self {
        Self {
            step: 0,
            last: None,
            best: None,
            seconds_before: 0.0,
            begun,
        }
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.begun.elapsed().as_secs_f64()
    }
}

/// One output of a finished stage.
#[derive(Debug)]
pub struct Output {
    /// ReLUs that it keeps.
    pub budget: u64,
    /// Its tensors.
    pub tensors: Named,
    /// Its document.
    pub document: OutputDocument,
}

impl Training {
    /// Optimizer steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.stream.per_epoch()
    }

    /// Optimizer steps of the whole stage.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.schedule.epochs)
    }

    /// Whether the last step is done.
    pub fn finished(&self) -> bool {
        self.progress.step >= self.steps()
    }

    /// Epochs finished.
    pub fn epochs_done(&self) -> u32 {
        u32::try_from(self.progress.step / self.steps_per_epoch().max(1)).unwrap_or(u32::MAX)
    }

    /// ReLUs that the net may keep in the end.
    pub fn budget(&self) -> u64 {
        match &self.search {
            Some(search) => search.budget(),
            None => self.masked.sites.count(),
        }
    }

    /// One optimizer step with all that follows from it: indicators move, and at an epoch's end
    /// the net is validated. Returns the batch's loss, a scalar on the device.
    pub fn advance(&mut self, batch: &Batch) -> Result<Tensor, TrainError> {
        self.skips.note(&batch.skipped)?;
        let loss = self.loss(batch);
        let gradients = self.gradients(&loss);
        let done = self.progress.step;
        let weights = self.optimizer.trainables().len();
        let lr = learning_rate(&self.schedule, self.steps_per_epoch(), done);
        self.optimizer.step(&gradients[..weights], lr, done);
        self.progress.step += 1;
        if let Some(search) = &mut self.search
            && self.masked.activations == Activations::Searching
        {
            search.step(&mut self.masked, &gradients[weights..], done);
        }
        if self.progress.step.is_multiple_of(self.steps_per_epoch()) {
            self.validate()?;
        }
        Ok(loss.detach())
    }

    fn loss(&self, batch: &Batch) -> Tensor {
        let forward = self.masked.train(&batch.images);
        let loss = match &self.lesson {
            None => loss::cross_entropy(&forward.logits, &batch.labels),
            Some(lesson) => {
                let teacher = lesson
                    .teacher
                    .as_ref()
                    .map(|teacher| tch::no_grad(|| teacher.full(&batch.images, Phase::Eval)));
                let (logits, labels) = (&forward.logits, &batch.labels);
                loss::distilled(&lesson.recipe, logits, teacher.as_ref(), labels)
            }
        };
        match (&self.search, forward.count) {
            (Some(search), Some(count)) => loss + search.penalty(&count, self.progress.step),
            _ => loss,
        }
    }

    /// The gradients of the optimizer's tensors, then in a search of the latents. A tensor that
    /// the loss does not reach has a gradient of zero.
    fn gradients(&self, loss: &Tensor) -> Vec<Tensor> {
        let weights = self.optimizer.trainables().iter();
        let mut leaves: Vec<&Tensor> = weights.map(|trainable| &trainable.tensor).collect();
        if self.masked.activations == Activations::Searching {
            leaves.extend(self.masked.sites.latents());
        }
        let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        let both = gradients.into_iter().zip(leaves);
        both.map(|(gradient, leaf)| {
            if gradient.defined() {
                gradient
            } else {
                leaf.detach().zeros_like()
            }
        })
        .collect()
    }

    fn validate(&mut self) -> Result<(), TrainError> {
        let set = self.spec.data.name;
        let threads = self.stream.threads;
        let (accuracy, skipped) = self.masked.accuracy(&self.validation, set, threads)?;
        self.skips.note(&skipped)?;
        let validated = Validated {
            epoch: self.epochs_done(),
            accuracy,
        };
        self.progress.last = Some(validated);
        if self.search.is_some() {
            return Ok(());
        }
        let correct = validated.accuracy.correct;
        let best = self.progress.best.as_ref();
        if best.is_none_or(|(best, _)| correct > best.accuracy.correct) {
            self.progress.best = Some((validated, snapshot(&self.masked.named())));
        }
        Ok(())
    }

    /// The last finished epoch's accuracy.
    pub fn last_accuracy(&self) -> Option<Accuracy> {
        self.progress.last.map(|validated| validated.accuracy)
    }

    /// The tensors of a resume checkpoint, live.
    pub fn resume_tensors(&self) -> Named {
        let mut all = self.masked.named();
        all.extend(with_prefix("optim.weights.", self.optimizer.named()));
        if let Some(search) = &self.search {
            if self.masked.activations == Activations::Searching {
                all.extend(with_prefix("optim.latents.", search.optimizer_tensors()));
            }
            all.extend(search.snapshot_tensors());
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
        }
        if document.searched_count.is_some() {
            self.masked.freeze();
        }
        self.progress.step = document.step;
        self.progress.last = document.last;
        self.progress.best = document
            .best
            .map(|validated| (validated, snapshot(&self.masked.named())));
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

    /// The outputs of the finished stage.
    pub fn outputs(&self) -> Vec<Output> {
        if let Some(search) = &self.search {
            let snapshots = search.snapshots().iter();
            let mut outputs: Vec<Output> = snapshots
                .map(|(passed, tensors)| self.search_output(*passed, shared(tensors), None))
                .collect();
            let last = Passed {
                budget: search.budget(),
                searched_count: search.searched_count().unwrap_or(search.budget()),
            };
            outputs.push(self.search_output(last, self.masked.named(), self.progress.last));
            return outputs;
        }
        let best = self.progress.best.iter();
        best.map(|(validated, tensors)| {
            let budget = self.masked.sites.count();
            let document = self.document(NET_OUTPUT.to_owned(), budget, Some(*validated));
            Output {
                budget,
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
        let budget = passed.budget;
        let mut document = self.document(budget_output(budget), budget, validation);
        document.searched_count = Some(passed.searched_count);
        Output {
            budget,
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
        }
    }
}
