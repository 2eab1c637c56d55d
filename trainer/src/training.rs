//! One training stage: its state, its step, its checkpoints. What the stages have in common; what
//! sets them apart is in [`crate::methods`].

use std::time::Instant;

use autorep_core::data::Inputs;
use autorep_core::observation::Accuracy;
use autorep_core::recipe::{CoefficientRates, Schedule};
use autorep_core::task::TaskSpec;
use tch::{Device, Kind, Tensor};

use crate::checkpoint::{OutputDocument, Validated};
use crate::data::{Batch, Skips, Stream, Subset, skips};
use crate::ema::Ema;
use crate::error::TrainError;
use crate::loss::{self, Terms};
use crate::masked::{Activations, MaskedNet};
use crate::methods::replace::Search;
use crate::metrics::{EpochMetrics, EpochSums, SiteRelus};
use crate::optim::{Optimizer, clipped};
use crate::precision::LossScale;
use crate::ranks::{Ranks, RanksError, Traffic};
use crate::schedule::learning_rate;
use crate::tensors::{Named, bits, snapshot};

use backward::Backward;
pub use lesson::Lesson;

mod backward;
mod lesson;
mod saved;

/// What measures a net on the validation images.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    images: &'a Subset,
    inputs: Inputs,
    threads: usize,
}

impl<'a> Judge<'a> {
    /// On these images, which `stream` trains beside.
    pub fn of(images: &'a Subset, spec: &TaskSpec, stream: &Stream) -> Self {
        Self {
            images,
            inputs: spec.data.inputs(),
            threads: stream.threads,
        }
    }

    /// Measures with the weights as they are trained, not their moving average. Changes nothing
    /// about the net but that running statistics become the first rank's on all. Waits for the
    /// device.
    pub fn accuracy(self, masked: &MaskedNet) -> Result<Accuracy, TrainError> {
        // What does not decode is noted at the end of the epoch, which measures the same images.
        let (accuracy, _) = masked.accuracy(self.images, self.inputs, self.threads)?;
        Ok(accuracy)
    }
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
    /// The moving average of the weights, where there is one.
    ema: Option<Ema>,
    /// Takes gradients.
    backward: Backward,
    /// What keeps small gradients in float16.
    loss_scale: Option<LossScale>,
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
    /// The finished epochs.
    pub metrics: Vec<EpochMetrics>,
    /// The epoch under way.
    sums: EpochSums,
    /// Seconds of earlier attempts.
    seconds_before: f64,
    begun: Instant,
}

impl Standing {
    /// Before the first step of work that began then.
    pub fn begun(begun: Instant, device: Device) -> Self {
        Self {
            step: 0,
            last: None,
            best: None,
            metrics: Vec::new(),
            sums: EpochSums::new(device),
            seconds_before: 0.0,
            begun,
        }
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.begun.elapsed().as_secs_f64()
    }
}

/// A batch's loss in its parts.
#[derive(Debug)]
struct Losses {
    terms: Terms,
    /// What pulls towards the budget; in a search.
    penalty: Option<Tensor>,
}

impl Losses {
    fn sum(&self) -> Tensor {
        let loss = self.terms.sum();
        match &self.penalty {
            Some(penalty) => loss + penalty,
            None => loss,
        }
    }

    /// Each term: of the labels, the teacher, the ReLUs.
    fn each(&self) -> [Option<&Tensor>; 3] {
        [
            Some(&self.terms.labels),
            self.terms.teacher.as_ref(),
            self.penalty.as_ref(),
        ]
    }

    /// This rank's share of the loss, when it has so many of the batch's images: the shares of all
    /// ranks sum up to it.
    fn share(self, own: i64, images: i64, ranks: &Ranks) -> Self {
        if ranks.are_one() {
            return self;
        }
        let part = own as f64 / images as f64;
        Self {
            terms: Terms {
                labels: self.terms.labels * part,
                teacher: self.terms.teacher.map(|term| term * part),
            },
            penalty: self.penalty.map(|term| term / f64::from(ranks.count())),
        }
    }

    /// The batch's loss, without its graph, from every rank's share.
    fn of_all(self, ranks: &Ranks) -> Result<Self, RanksError> {
        if ranks.are_one() {
            return Ok(self);
        }
        let terms = self.each().into_iter().flatten();
        let terms: Vec<Tensor> = terms.map(|term| term.detach().reshape([])).collect();
        let sums = Tensor::stack(&terms, 0);
        ranks.sum(&sums)?;
        let mut sums = sums.unbind(0).into_iter();
        let labels = sums.next().unwrap_or_else(|| self.terms.labels.detach());
        let teacher = self.terms.teacher.is_some().then(|| sums.next()).flatten();
        let penalty = self.penalty.is_some().then(|| sums.next()).flatten();
        Ok(Self {
            terms: Terms { labels, teacher },
            penalty,
        })
    }
}

/// One output of a finished stage.
#[derive(Debug)]
pub struct Output {
    /// ReLUs that it keeps.
    pub relus: u64,
    /// Optimizer steps after which it was taken.
    pub step: u64,
    /// Its tensors.
    pub tensors: Named,
    /// Its document.
    pub document: OutputDocument,
}

/// What a stage is made of.
#[derive(Debug)]
pub struct Parts {
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
    /// Learning rates of the coefficients.
    pub coefficients: CoefficientRates,
    /// Distillation; `None` trains on labels alone.
    pub lesson: Option<Lesson>,
    /// The search for indicators, in `replace` tasks.
    pub search: Option<Search>,
    /// When the work began.
    pub begun: Instant,
}

impl Training {
    /// A stage before its first step.
    pub fn new(parts: Parts) -> Result<Self, TrainError> {
        let Parts {
            spec,
            mut masked,
            stream,
            validation,
            skips,
            schedule,
            coefficients,
            mut lesson,
            search,
            begun,
        } = parts;
        if let Some(lesson) = &mut lesson {
            lesson.precision = schedule.precision;
            lesson.remember(&stream, &spec.net, schedule.epochs, &masked)?;
        }
        masked.precision = schedule.precision;
        let trainables = masked.trainables(&schedule, coefficients);
        Ok(Self {
            optimizer: Optimizer::new(&schedule, trainables),
            ema: (schedule.ema > 0.0).then(|| Ema::new(schedule.ema, masked.averaged())),
            backward: Backward::new(masked.net.ranks()),
            loss_scale: LossScale::of(schedule.precision),
            progress: Standing::begun(begun, masked.device),
            spec,
            masked,
            stream,
            validation,
            skips,
            schedule,
            lesson,
            search,
        })
    }

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

    /// The ranks that train it together.
    pub fn ranks(&self) -> &Ranks {
        self.masked.net.ranks()
    }

    /// What summing gradients over them has cost so far.
    pub fn traffic(&self) -> Traffic {
        self.backward.traffic()
    }

    /// Images of a batch over all ranks, from this rank's part of it; notes what any rank skipped.
    fn take_in(&mut self, batch: &Batch) -> Result<i64, TrainError> {
        let own = batch.labels.size()[0];
        if self.ranks().are_one() {
            self.skips.note(&batch.skipped)?;
            return Ok(own);
        }
        let skipped = i64::try_from(batch.skipped.len()).unwrap_or(i64::MAX);
        let [images, skipped] = self.ranks().agree([own, skipped])?;
        if skipped > 0 {
            let skipped = skips::of_all(self.ranks(), batch.skipped.clone())?;
            self.skips.note(&skipped)?;
        }
        Ok(images)
    }

    /// One optimizer step with all that follows from it: indicators move, and at an epoch's end
    /// the net is validated. `batch` is this rank's part of one. Returns the whole batch's loss, a
    /// scalar on the device.
    pub fn advance(&mut self, batch: &Batch) -> Result<Tensor, TrainError> {
        let images = self.take_in(batch)?;
        let losses = self.losses(batch);
        let losses = losses.share(batch.labels.size()[0], images, self.ranks());
        let loss = losses.sum();
        let done = self.progress.step;
        let per_epoch = self.steps_per_epoch();
        let lr = learning_rate(&self.schedule, per_epoch, done);
        self.progress.step += 1;
        let mut flips = None;
        if let Some(gradients) = self.gradients(&loss)? {
            let weights = self.optimizer.trainables().len();
            self.optimizer.step(&gradients[..weights], lr, done);
            self.masked.sites.clip_quadratic();
            if let Some(search) = &mut self.search
                && self.masked.activations == Activations::Searching
            {
                let judge = Judge::of(&self.validation, &self.spec, &self.stream);
                let latents = &gradients[weights..];
                flips = search.step(&mut self.masked, latents, per_epoch, done, judge)?;
            }
            if let Some(ema) = &self.ema {
                ema.update(done);
            }
        }
        if let Some(search) = &mut self.search {
            let judge = Judge::of(&self.validation, &self.spec, &self.stream);
            search.freeze_if_due(&mut self.masked, self.progress.step, judge)?;
        }
        let losses = losses.of_all(self.ranks())?;
        let loss = losses.sum().detach();
        self.progress.sums.add(losses.each(), flips.as_ref());
        if self.progress.step.is_multiple_of(self.steps_per_epoch()) {
            self.finish_epoch(lr)?;
        }
        Ok(loss)
    }

    fn losses(&self, batch: &Batch) -> Losses {
        let done = self.progress.step;
        let watch = self.search.as_ref().and_then(|search| search.watches(done));
        let forward = self.masked.train(&batch.images, watch);
        let smoothing = self.schedule.label_smoothing;
        let terms = match &self.lesson {
            None => {
                let logits = forward.logits.to_kind(Kind::Float);
                Terms {
                    labels: loss::cross_entropy(&logits, &batch.labels, smoothing),
                    teacher: None,
                }
            }
            Some(lesson) => lesson.terms(&forward.logits, batch, smoothing),
        };
        let penalty = match (&self.search, forward.count) {
            (Some(search), Some(count)) => Some(search.penalty(&count, done)),
            _ => None,
        };
        Losses { terms, penalty }
    }

    /// The gradients of the optimizer's tensors, then in a search of the latents. A tensor that
    /// the loss does not reach has a gradient of zero. `None` if they are not finite in float16:
    /// then there is no step.
    fn gradients(&mut self, loss: &Tensor) -> Result<Option<Vec<Tensor>>, RanksError> {
        let trainables = self.optimizer.trainables();
        let searches = self.masked.activations == Activations::Searching;
        let latents = searches.then(|| self.masked.sites.latents()).flatten();
        let gradients = match &self.loss_scale {
            None => self.backward.run(loss, trainables, latents)?,
            Some(scale) => self
                .backward
                .run(&scale.scaled(loss), trainables, latents)?,
        };
        let gradients = match &mut self.loss_scale {
            None => Some(gradients),
            Some(scale) => scale.unscaled(&gradients),
        };
        Ok(gradients.map(|gradients| clipped(gradients, self.schedule.grad_clip)))
    }

    /// Validates the net, of which the best is kept, and notes what the epoch was like.
    fn finish_epoch(&mut self, lr: f64) -> Result<(), TrainError> {
        // Measuring shares the statistics that are in the net then: these are put aside meanwhile.
        self.masked.net.share_statistics()?;
        if let Some(ema) = &self.ema {
            ema.swap();
        }
        let validated = self.validate()?;
        if let Some(ema) = &self.ema {
            ema.swap();
        }
        self.compare_ranks(validated.epoch)?;
        let metrics = self.epoch_metrics(validated, lr);
        self.progress.metrics.push(metrics);
        self.progress.sums = EpochSums::new(self.masked.device);
        Ok(())
    }

    /// Fails if the ranks have come apart. They compute the same from the same sums, so they cannot,
    /// unless a machine or this program is broken.
    fn compare_ranks(&self, epoch: u32) -> Result<(), TrainError> {
        if self.ranks().are_one() {
            return Ok(());
        }
        let own = bits(&self.masked.named());
        let all = self.ranks().gather(&own.to_le_bytes())?;
        match all.iter().position(|rank| *rank != all[0]) {
            None => Ok(()),
            Some(rank) => Err(TrainError::RanksDiffer { epoch, rank }),
        }
    }

    /// Validates a net that is kept as it started, for a stage without epochs.
    pub fn validate_start(&mut self) -> Result<(), TrainError> {
        self.validate().map(|_| ())
    }

    /// Measures the net on the validation images and keeps it if it is the best so far.
    fn validate(&mut self) -> Result<Validated, TrainError> {
        let inputs = self.spec.data.inputs();
        let threads = self.stream.threads;
        let (accuracy, skipped) = self.masked.accuracy(&self.validation, inputs, threads)?;
        self.skips.note(&skipped)?;
        let validated = Validated {
            epoch: self.epochs_done(),
            accuracy,
        };
        self.progress.last = Some(validated);
        let correct = validated.accuracy.correct;
        let best = self.progress.best.as_ref();
        if self.search.is_none() && best.is_none_or(|(best, _)| correct > best.accuracy.correct) {
            self.progress.best = Some((validated, snapshot(&self.masked.named_output())));
        }
        Ok(validated)
    }

    fn epoch_metrics(&self, validated: Validated, lr: f64) -> EpochMetrics {
        let sums = self.progress.sums.saved();
        let [loss_ce, loss_kd, loss_penalty] = sums.means();
        let sites = self
            .masked
            .sites
            .sites()
            .iter()
            .zip(self.masked.sites.counts());
        let relus_by_site: Vec<SiteRelus> = sites
            .map(|(site, relus)| SiteRelus {
                site: site.name.clone(),
                relus,
            })
            .collect();
        let searching = self.masked.activations == Activations::Searching;
        let search = self.search.as_ref().filter(|_| searching);
        let last = self.progress.step - 1;
        let reach = |search: &Search| {
            search.latent_lr(self.steps_per_epoch(), last) * self.steps_per_epoch() as f64
        };
        EpochMetrics {
            epoch: validated.epoch,
            step: self.progress.step,
            lr,
            loss: loss_ce + loss_kd + loss_penalty,
            loss_ce,
            loss_kd,
            loss_penalty,
            penalty: search.map(|search| search.strength(last)),
            allowed: search.map(|search| search.allowed(last)),
            flips: sums.flips(),
            saturated: search.and_then(|search| self.masked.sites.saturation(reach(search))),
            relus: relus_by_site.iter().map(|site| site.relus).sum(),
            relus_by_site,
            validation: validated.accuracy,
        }
    }

    /// The last finished epoch's accuracy.
    pub fn last_accuracy(&self) -> Option<Accuracy> {
        self.progress.last.map(|validated| validated.accuracy)
    }
}
