//! `replace`: searches which ReLUs to keep. Weights, polynomials and latents are trained together
//! under a hinge on the number of ReLUs; then indicators are projected to exactly the budget and
//! frozen.
//!
//! With several budgets the hinge aims at the smallest, and a snapshot, projected to its budget,
//! is kept as the search passes each of the others.

use autorep_core::recipe::{LatentInit, ReplaceRecipe};
use autorep_core::task::OutputRef;
use tch::{Kind, Tensor};

use super::{Setup, Start, inputs};
use crate::calibrate::Measuring;
use crate::checkpoint::Passed;
use crate::data::{Batches, Stream};
use crate::error::TrainError;
use crate::masked::{Activations, MaskedNet};
use crate::nets::Phase;
use crate::optim::{Adam, Optimizer, Trainable};
use crate::penalty::{Allowance, hinge};
use crate::projection::keep_largest;
use crate::rng::Rng;
use crate::sites::Sites;
use crate::tensors::{Named, shared, snapshot, with_prefix};
use crate::training::{Standing, Training};

/// Where constant latents start.
const CONSTANT_LATENT: f32 = 0.5;

/// The part of a `replace` stage that moves indicators.
#[derive(Debug)]
pub struct Search {
    recipe: ReplaceRecipe,
    /// Strictly falling, never empty.
    budgets: Vec<u64>,
    allowance: Allowance,
    optimizer: Optimizer,
    searched_count: Option<u64>,
    snapshots: Vec<(Passed, Named)>,
}

pub(super) fn training(
    setup: &Setup,
    baseline: &OutputRef,
    budgets: &[u64],
    recipe: &ReplaceRecipe,
    start: Start,
) -> Result<Training, TrainError> {
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let input = inputs::read(setup, 0, baseline)?;
    let mut masked = input.masked_net(setup)?;
    if masked.activations != Activations::Full {
        return Err(input.mismatch("expected a full-ReLU net, found polynomials".to_owned()));
    }
    masked.sites = Sites::with_polynomials(masked.net.sites(), recipe.degree, setup.device);
    let latents = initial_latents(recipe.latent_init, &masked.sites, setup.spec.seed);
    masked.sites.set_latents(&latents);
    masked.activations = Activations::Searching;
    if start == Start::Anew {
        calibrate(&masked, &stream, recipe)?;
    }
    let search = Search::new(recipe, budgets, &masked, stream.per_epoch());
    let schedule = recipe.schedule.clone();
    let trainables = masked.trainables(schedule.weight_decay);
    let mut training = Training {
        spec: setup.spec.clone(),
        optimizer: Optimizer::new(schedule.optimizer, schedule.momentum, trainables),
        masked,
        stream,
        validation,
        skips: setup.skips(),
        schedule,
        lesson: Some(setup.lesson(&recipe.distillation, 0, baseline)?),
        search: Some(search),
        progress: Standing::begun(setup.begun),
    };
    if let (Some(search), Start::Anew) = (&mut training.search, start) {
        search.freeze_if_due(&mut training.masked, 0);
    }
    Ok(training)
}

/// Flat latents of shape [total].
fn initial_latents(init: LatentInit, sites: &Sites, seed: u64) -> Tensor {
    let mut latents = Vec::new();
    for site in sites.sites() {
        let mut rng = Rng::keyed(&site.name, &[seed]);
        latents.extend((0..site.relus()).map(|_| match init {
            LatentInit::Constant => CONSTANT_LATENT,
            LatentInit::Uniform => rng.unit_f32(),
        }));
    }
    Tensor::from_slice(&latents)
}

/// Measures pre-activations over the first batches, with the batch statistics that training will
/// use, and starts every polynomial at the best one for them.
fn calibrate(
    masked: &MaskedNet,
    stream: &Stream,
    recipe: &ReplaceRecipe,
) -> Result<(), TrainError> {
    // What these batches skip, training meets again at its first steps and notes there.
    let mut batches = Batches::start(stream.clone(), 0, masked.device)?;
    let mut measuring = Measuring::new(masked.net.sites().len());
    for _ in 0..recipe.calibration_batches {
        let batch = batches.take()?;
        let _logits = tch::no_grad(|| {
            let net = &masked.net;
            net.forward(&batch.images, Phase::Measure, &mut measuring)
        });
    }
    measuring.set_polynomials(&masked.sites, recipe.degree);
    Ok(())
}

impl Search {
    fn new(recipe: &ReplaceRecipe, budgets: &[u64], masked: &MaskedNet, per_epoch: u64) -> Self {
        let steps = u64::from(recipe.schedule.epochs) * per_epoch;
        let latents = masked.sites.latents().into_iter();
        let latents = latents.map(|latents| Trainable {
            name: "flat".to_owned(),
            tensor: latents.shallow_clone(),
            weight_decay: 0.0,
        });
        Self {
            recipe: recipe.clone(),
            budgets: budgets.to_vec(),
            allowance: Allowance {
                schedule: recipe.budget_schedule,
                total: masked.sites.total(),
                budget: budgets.last().copied().unwrap_or(0),
                steps: share_of(steps, recipe.freeze_at),
            },
            optimizer: Optimizer::Adam(Adam::new(latents.collect())),
            searched_count: None,
            snapshots: Vec::new(),
        }
    }

    /// The smallest budget.
    pub fn budget(&self) -> u64 {
        self.allowance.budget
    }

    /// ReLUs left when indicators froze; `None` before.
    pub fn searched_count(&self) -> Option<u64> {
        self.searched_count
    }

    /// The part of the loss that pulls towards the budget, after `done` steps. `count` is the
    /// number of ReLUs with its gradient.
    pub fn penalty(&self, count: &Tensor, done: u64) -> Tensor {
        hinge(count, self.allowance.at(done), self.recipe.penalty)
    }

    /// Moves latents and indicators after the step that follows `done` steps; `gradients` holds
    /// the latents' one. Takes the snapshots that are due and freezes if it is time.
    pub fn step(&mut self, masked: &mut MaskedNet, gradients: &[Tensor], done: u64) {
        self.optimizer.step(gradients, self.recipe.latent_lr, done);
        masked.sites.update(self.recipe.hysteresis);
        if self.snapshots.len() + 1 < self.budgets.len() {
            let count = masked.sites.count();
            self.take_snapshots(masked, |budget| count <= budget);
        }
        self.freeze_if_due(masked, done + 1);
    }

    /// Projects to the smallest budget and freezes, if `done` steps are as many as there are to
    /// be before.
    fn freeze_if_due(&mut self, masked: &mut MaskedNet, done: u64) {
        if done < self.allowance.steps || self.searched_count.is_some() {
            return;
        }
        self.take_snapshots(masked, |_| true);
        self.searched_count = Some(masked.sites.count());
        project(masked, self.budget());
        masked.freeze();
    }

    /// Takes the snapshots of all but the smallest budget, from the largest not yet taken down to
    /// the last that is `due`.
    fn take_snapshots(&mut self, masked: &MaskedNet, due: impl Fn(u64) -> bool) {
        let others = self.budgets.len() - 1;
        while self.snapshots.len() < others && due(self.budgets[self.snapshots.len()]) {
            let budget = self.budgets[self.snapshots.len()];
            let searched_count = masked.sites.count();
            let searched = masked.sites.indicators();
            project(masked, budget);
            let passed = Passed {
                budget,
                searched_count,
            };
            self.snapshots.push((passed, snapshot(&masked.named())));
            masked.sites.set_indicators(&searched);
        }
    }

    /// The snapshots taken so far with what they passed.
    pub fn snapshots(&self) -> &[(Passed, Named)] {
        &self.snapshots
    }

    /// The budgets passed so far.
    pub fn passed(&self) -> Vec<Passed> {
        self.snapshots.iter().map(|(passed, _)| *passed).collect()
    }

    /// The latents' optimizer's live buffers.
    pub fn optimizer_tensors(&self) -> Named {
        self.optimizer.named()
    }

    /// The snapshots' tensors under `snapshot.bB.`.
    pub fn snapshot_tensors(&self) -> Named {
        let mut all = Named::new();
        for (passed, tensors) in &self.snapshots {
            let prefix = format!("snapshot.b{}.", passed.budget);
            all.extend(with_prefix(&prefix, shared(tensors)));
        }
        all
    }

    /// Makes room for what a resume checkpoint holds; the tensors are restored afterwards.
    pub fn restore_standing(
        &mut self,
        masked: &MaskedNet,
        searched_count: Option<u64>,
        passed: &[Passed],
    ) {
        self.searched_count = searched_count;
        self.snapshots = passed
            .iter()
            .map(|passed| (*passed, snapshot(&masked.named())))
            .collect();
    }
}

/// The whole number nearest to `share` of `steps`; the share is between 0 and 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and at most the number of steps"
)]
fn share_of(steps: u64, share: f64) -> u64 {
    ((steps as f64 * share).round() as u64).min(steps)
}

/// Sets the indicators to exactly `budget` ReLUs: those with the largest latents.
fn project(masked: &MaskedNet, budget: u64) {
    if let Some(latents) = masked.sites.latents() {
        let latents = latents.detach().to_kind(Kind::Float);
        let latents: Vec<f32> = Vec::try_from(latents).expect("latents are one-dimensional f32");
        masked.sites.set_indicators(&keep_largest(&latents, budget));
    }
}
