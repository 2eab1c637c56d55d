//! `replace`: searches which ReLUs to keep. Weights, polynomials and latents are trained together
//! under a hinge on the number of ReLUs; then indicators are projected to exactly the budget and
//! frozen.
//!
//! With several budgets the hinge aims at the smallest, and a snapshot, projected to its budget,
//! is kept as the search passes each of the others.
//!
//! A search starts from the full net, or from a net that an earlier search left with more ReLUs: then
//! with that net's weights, polynomials and indicators.

use autorep_core::recipe::{
    BudgetSchedule, Granularity, LatentInit, Method, OnUnreached, PolynomialStart, ReplaceRecipe,
    Ties,
};
use autorep_core::searched::{Effect, reaches};
use autorep_core::task::OutputRef;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Setup, Start, inputs};
use crate::calibrate::Measuring;
use crate::checkpoint::Passed;
use crate::data::{Batches, Stream};
use crate::error::TrainError;
use crate::masked::{Activations, MaskedNet};
use crate::nets::Phase;
use crate::norms;
use crate::optim::{Optimizer, Trainable};
use crate::penalty::{Allowance, Strength, hinge};
use crate::projection::{keep_fitting, keep_largest};
use crate::rng::Rng;
use crate::running::{Running, Watch};
use crate::schedule::latent_learning_rate;
use crate::scoring::{Scores, ranks};
use crate::sites::{Quadratic, Sites, Turning};
use crate::tensors::{Named, shared, snapshot, with_prefix};
use crate::training::{Judge, Lesson, Parts, Training};

mod report;

/// SNL: an element with a larger share of its ReLU counts as one that keeps it.
const LEAST_SHARE: f64 = 1e-2;

/// The part of a `replace` stage that moves indicators.
#[derive(Debug)]
pub struct Search {
    recipe: ReplaceRecipe,
    /// Strictly falling, never empty.
    budgets: Vec<u64>,
    allowance: Allowance,
    strength: Strength,
    optimizer: Optimizer,
    /// One per unit, for ties; empty without them.
    ties: Vec<f32>,
    running: Option<Running>,
    /// The smallest count at any check so far.
    lowest: u64,
    /// Steps in a row within the final budget.
    within: u64,
    searched_count: Option<u64>,
    /// ReLUs that it started from.
    started: u64,
    /// When and how its net was projected to the last budget.
    last: Option<Last>,
    snapshots: Vec<(Passed, Named)>,
}

/// The last projection of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// Optimizer steps done then.
    pub step: u64,
    /// What it did.
    pub effect: Effect,
}

/// What a search has to know beside its tensors to go on.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchState {
    /// Factor by which the penalty has grown.
    pub growth: f64,
    /// The smallest count at any check so far.
    pub lowest: u64,
    /// Steps in a row within the final budget.
    pub within: u64,
    /// ReLUs that it started from; `None` from an older trainer, whose searches start from all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// Its last projection, once that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
}

pub(super) fn training(
    setup: &Setup,
    baseline: &OutputRef,
    from: Option<&OutputRef>,
    budgets: &[u64],
    recipe: &ReplaceRecipe,
    start: Start,
) -> Result<Training, TrainError> {
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let mut masked = match from {
        None => full_net(setup, baseline, recipe)?,
        Some(from) => searched_net(setup, from, budgets, recipe)?,
    };
    let lesson = setup.lesson(&recipe.distillation, 0, baseline)?;
    if from.is_none() {
        set_polynomials(setup, &masked, &stream, recipe, start)?;
    }
    let scores = if needs_scores(recipe, start) {
        Some(score(&masked, &stream, &lesson, recipe)?)
    } else {
        None
    };
    let runs = from.is_none() && recipe.polynomial_start == PolynomialStart::Running;
    if runs && scores.is_some() {
        Running::set_identity(&masked.sites, recipe.degree, setup.spec.seed);
    }
    let running = runs.then(|| Running::new(&masked.sites, masked.device));
    let ties = begin(setup, &mut masked, recipe, scores.as_ref());
    let per_epoch = stream.per_epoch();
    let search = Search::new(recipe, budgets, &masked, per_epoch, ties, running);
    let mut training = Training::new(Parts {
        spec: setup.spec.clone(),
        masked,
        stream,
        validation,
        skips: setup.skips(),
        schedule: recipe.schedule.clone(),
        coefficients: recipe.coefficients,
        lesson: Some(lesson),
        search: Some(search),
        begun: setup.begun,
    });
    if let (Some(search), Start::Anew) = (&mut training.search, start) {
        let judge = Judge::of(&training.validation, &training.spec, &training.stream);
        search.freeze_if_due(&mut training.masked, 0, judge)?;
    }
    Ok(training)
}

/// The baseline with polynomials of zeros, which nothing computes yet.
fn full_net(
    setup: &Setup,
    baseline: &OutputRef,
    recipe: &ReplaceRecipe,
) -> Result<MaskedNet, TrainError> {
    let input = inputs::read(setup, 0, baseline)?;
    let mut masked = input.masked_net(setup)?;
    if masked.activations != Activations::Full {
        return Err(input.mismatch("expected a full-ReLU net, found polynomials".to_owned()));
    }
    masked.sites = blank_sites(setup, &masked, recipe);
    prepare(&mut masked.sites, recipe);
    Ok(masked)
}

/// The net of a search for more ReLUs, as it is: the search for these budgets goes on from it.
fn searched_net(
    setup: &Setup,
    from: &OutputRef,
    budgets: &[u64],
    recipe: &ReplaceRecipe,
) -> Result<MaskedNet, TrainError> {
    let input = inputs::read(setup, 1, from)?;
    let mut masked = input.masked_net(setup)?;
    let largest = budgets.first().copied().unwrap_or(0);
    let counted = masked.sites.count();
    let fits = |above: u64| above > largest && input.fits(above, counted);
    if !input.budget().is_some_and(fits) {
        return Err(input.mismatch(format!(
            "expected a net that was searched for more than {largest} ReLUs, found one with {counted}"
        )));
    }
    let sizes = |sites: &Sites| -> Vec<Vec<i64>> {
        sites.coefficients().iter().map(Tensor::size).collect()
    };
    if sizes(&masked.sites) != sizes(&blank_sites(setup, &masked, recipe)) {
        let problem = "expected polynomials of the search's degree and sharing, found others";
        return Err(input.mismatch(problem.to_owned()));
    }
    prepare(&mut masked.sites, recipe);
    masked.sites.take_up_quadratic();
    if masked.sites.kept_units().is_none() {
        let problem =
            "expected whole channels or sites, found some that keep a part of their ReLUs";
        return Err(input.mismatch(problem.to_owned()));
    }
    Ok(masked)
}

/// The sites of a full net with room for the recipe's polynomials.
fn blank_sites(setup: &Setup, masked: &MaskedNet, recipe: &ReplaceRecipe) -> Sites {
    let sites = masked.net.sites();
    let sharing = vec![recipe.sharing; sites.len()];
    Sites::with_polynomials(sites, recipe.degree, &sharing, setup.device)
}

/// Says how the recipe's search moves indicators.
fn prepare(sites: &mut Sites, recipe: &ReplaceRecipe) {
    let quadratic = Quadratic {
        scale: recipe.quadratic_scale,
        clip: recipe.quadratic_clip,
    };
    let turning = match recipe.method {
        Method::Autorep => Turning::Band(recipe.hysteresis),
        Method::Snl => Turning::Share(LEAST_SHARE),
    };
    sites.prepare_search(recipe.granularity, turning, quadratic);
}

/// Whether a search measures what replacing each ReLU changes.
pub(super) fn scores(recipe: &ReplaceRecipe) -> bool {
    let ranked = [LatentInit::FirstOrder, LatentInit::SecondOrder];
    recipe.ties == Ties::Importance || ranked.contains(&recipe.latent_init)
}

/// Whether they have to be measured now: what a resume checkpoint overwrites is left out.
fn needs_scores(recipe: &ReplaceRecipe, start: Start) -> bool {
    scores(recipe) && (start == Start::Anew || recipe.ties == Ties::Importance)
}

/// Sets a full net's polynomials to their start, or to what scores are measured with. What a resume
/// checkpoint overwrites is left out where it costs anything.
fn set_polynomials(
    setup: &Setup,
    masked: &MaskedNet,
    stream: &Stream,
    recipe: &ReplaceRecipe,
    start: Start,
) -> Result<(), TrainError> {
    if recipe.method == Method::Snl || recipe.polynomial_start == PolynomialStart::Identity {
        set_identity(&masked.sites);
    } else if recipe.polynomial_start == PolynomialStart::Running {
        Running::set_identity(&masked.sites, recipe.degree, setup.spec.seed);
        if needs_scores(recipe, start) {
            // Scores are of the polynomials that the search is going to have.
            calibrate(setup, masked, stream, recipe)?;
        }
    } else if start == Start::Anew || recipe.ties == Ties::Importance {
        calibrate(setup, masked, stream, recipe)?;
    }
    Ok(())
}

/// Sets latents to their start and returns what ties are decided by.
fn begin(
    setup: &Setup,
    masked: &mut MaskedNet,
    recipe: &ReplaceRecipe,
    scores: Option<&Scores>,
) -> Vec<f32> {
    let units = masked.sites.units();
    // An output is checked to have whole units before it comes here.
    let kept = masked.sites.kept_units().unwrap_or_default();
    let mut latents = match (recipe.latent_init, scores) {
        (LatentInit::FirstOrder, Some(scores)) => {
            ranks_of_kept(&units.means(&scores.first_order()), &kept)
        }
        (LatentInit::SecondOrder, Some(scores)) => {
            ranks_of_kept(&units.means(&scores.second_order()), &kept)
        }
        _ => initial_latents(recipe, &masked.sites, setup.spec.seed),
    };
    let replaced = replaced_latent(recipe);
    for (latent, _) in latents
        .iter_mut()
        .zip(&kept)
        .filter(|(_, kept)| **kept == 0)
    {
        *latent = replaced;
    }
    let ties = scores.filter(|_| recipe.ties == Ties::Importance);
    let ties = ties.map(|scores| ranks(&units.means(&scores.first_order())));
    masked.sites.set_latents(&Tensor::from_slice(&latents));
    masked.activations = Activations::Searching;
    ties.unwrap_or_default()
}

/// The ranks of the units that are kept among themselves; the others have a latent of their own.
fn ranks_of_kept(scores: &[f64], kept: &[u8]) -> Vec<f32> {
    let of_kept = scores.iter().zip(kept).filter(|(_, kept)| **kept > 0);
    let of_kept: Vec<f64> = of_kept.map(|(score, _)| *score).collect();
    let mut ranks = ranks(&of_kept).into_iter();
    let latent = |kept: &u8| match kept {
        0 => 0.0,
        _ => ranks.next().unwrap_or(0.0),
    };
    kept.iter().map(latent).collect()
}

/// Where the latents start of what the net replaces that a search starts from. SNL's shares: at none.
/// `AutoReP`'s: as far below the band as the highest of those that are kept starts above zero, so that
/// none comes back before the search has found a reason.
#[expect(clippy::cast_possible_truncation, reason = "latents are f32")]
fn replaced_latent(recipe: &ReplaceRecipe) -> f32 {
    let highest = match recipe.latent_init {
        LatentInit::Constant => recipe.latent_value,
        LatentInit::Uniform => recipe.latent_high,
        LatentInit::FirstOrder | LatentInit::SecondOrder => 1.0,
    };
    match recipe.method {
        Method::Autorep => -(recipe.hysteresis + highest) as f32,
        Method::Snl => 0.0,
    }
}

/// Latents that depend on the recipe and the seed alone, one per unit.
#[expect(clippy::cast_possible_truncation, reason = "latents are f32")]
fn initial_latents(recipe: &ReplaceRecipe, sites: &Sites, seed: u64) -> Vec<f32> {
    let (value, low) = (recipe.latent_value as f32, recipe.latent_low as f32);
    let width = recipe.latent_high as f32 - low;
    let mut latents = Vec::new();
    for site in sites.sites() {
        let mut rng = Rng::keyed(&site.name, &[seed]);
        let units = match recipe.granularity {
            Granularity::Pixel => site.relus(),
            Granularity::Channel => u64::from(site.channels),
            Granularity::Site => 1,
        };
        latents.extend((0..units).map(|_| match recipe.latent_init {
            LatentInit::Uniform => low + width * rng.unit_f32(),
            LatentInit::Constant | LatentInit::FirstOrder | LatentInit::SecondOrder => value,
        }));
    }
    latents
}

/// `g(x) = x`: what SNL puts in a ReLU's place.
fn set_identity(sites: &Sites) {
    for (at, coefficients) in sites.coefficients().iter().enumerate() {
        let (rows, columns) = coefficients.size2().expect("one row per power");
        let columns = usize::try_from(columns).unwrap_or(0);
        let row = |power| vec![if power == 1 { 1.0 } else { 0.0 }; columns];
        sites.set_coefficients(at, &(0..rows).map(row).collect::<Vec<_>>());
    }
}

/// Measures pre-activations over the first batches, with the batch statistics that training will
/// use, and starts every polynomial at the best one for them.
fn calibrate(
    setup: &Setup,
    masked: &MaskedNet,
    stream: &Stream,
    recipe: &ReplaceRecipe,
) -> Result<(), TrainError> {
    // What these batches skip, training meets again at its first steps and notes there.
    let mut batches = Batches::start(stream.clone(), 0, masked.device)?;
    let higher = recipe.polynomial_start == PolynomialStart::Moments;
    let mut measuring = Measuring::new(masked.net.sites().len(), higher);
    for _ in 0..recipe.calibration_batches {
        let batch = batches.take()?;
        let _logits = tch::no_grad(|| {
            let net = &masked.net;
            net.forward(&batch.images, Phase::Measure, &mut measuring)
        });
    }
    let known = if recipe.polynomial_start == PolynomialStart::Bn {
        let set = setup.spec.data.name;
        let blueprint = setup.spec.net.blueprint(set.input(), set.classes());
        norms::before_sites(&masked.net, &blueprint)
    } else {
        Vec::new()
    };
    measuring.set_polynomials(&masked.sites, recipe, &known);
    Ok(())
}

/// Measures what replacing each ReLU changes, over the same batches.
fn score(
    masked: &MaskedNet,
    stream: &Stream,
    lesson: &Lesson,
    recipe: &ReplaceRecipe,
) -> Result<Scores, TrainError> {
    let mut batches = Batches::start(stream.clone(), 0, masked.device)?;
    let mut scores = Scores::new();
    for _ in 0..recipe.calibration_batches {
        scores.add(masked, lesson, &batches.take()?);
    }
    Ok(scores)
}

/// Whether a check that finds `count` ReLUs, at least `lowest` at any check before and `allowed` by
/// now, lets the penalty grow. SNL's authors look for a new minimum alone: in hundreds of epochs any
/// fall arrives. An annealed budget also asks for one that arrives in the epochs that there are.
fn is_slow(recipe: &ReplaceRecipe, count: u64, lowest: u64, allowed: f64) -> bool {
    let above = count as f64 > allowed;
    match recipe.method {
        Method::Autorep => above,
        Method::Snl => {
            let paced = recipe.budget_schedule == BudgetSchedule::Anneal;
            count >= lowest || (paced && above)
        }
    }
}

impl Search {
    fn new(
        recipe: &ReplaceRecipe,
        budgets: &[u64],
        masked: &MaskedNet,
        per_epoch: u64,
        ties: Vec<f32>,
        running: Option<Running>,
    ) -> Self {
        let steps = u64::from(recipe.schedule.epochs) * per_epoch;
        let steps = share_of(steps, recipe.freeze_at);
        let latents = masked.sites.latents().into_iter();
        let latents =
            latents.map(|latents| Trainable::plain("flat".to_owned(), latents.shallow_clone()));
        let first = masked.sites.count();
        Self {
            budgets: budgets.to_vec(),
            allowance: Allowance {
                schedule: recipe.budget_schedule,
                first,
                budget: budgets.last().copied().unwrap_or(0),
                steps,
            },
            strength: Strength::new(recipe, steps),
            optimizer: Optimizer::adam(&recipe.schedule, latents.collect()),
            ties,
            running,
            lowest: first,
            within: 0,
            searched_count: None,
            started: masked.sites.count(),
            last: None,
            snapshots: Vec::new(),
            recipe: recipe.clone(),
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

    /// The penalty per ReLU after `done` steps.
    pub fn strength(&self, done: u64) -> f64 {
        self.strength.at(done)
    }

    /// ReLUs allowed after `done` steps.
    pub fn allowed(&self, done: u64) -> f64 {
        self.allowance.at(done)
    }

    /// The latents' learning rate of the step after `done` steps, when an epoch has `per_epoch`.
    pub fn latent_lr(&self, per_epoch: u64, done: u64) -> f64 {
        latent_learning_rate(&self.recipe, per_epoch, done)
    }

    /// What the step after `done` steps has to watch, as long as that is needed.
    pub fn watches(&self, done: u64) -> Option<Watch<'_>> {
        let running = self.running.as_ref()?;
        let needed = Running::is_active(&self.recipe, done) && self.searched_count.is_none();
        needed.then_some(Watch {
            running,
            recipe: &self.recipe,
            done,
        })
    }

    /// The part of the loss that pulls towards the budget, after `done` steps. `count` is the
    /// number of ReLUs with its gradient; for SNL the sum of its shares, with no floor.
    pub fn penalty(&self, count: &Tensor, done: u64) -> Tensor {
        match self.recipe.method {
            Method::Autorep => hinge(count, self.allowed(done), self.strength(done)),
            Method::Snl => count * self.strength(done),
        }
    }

    /// Moves latents and indicators after the step that follows `done` steps; `gradients` holds
    /// the latents' one; an epoch has `per_epoch` steps. Takes the snapshots that are due and
    /// freezes once the budget is met for good; `judge` measures what that costs. Returns how many
    /// indicators changed.
    pub fn step(
        &mut self,
        masked: &mut MaskedNet,
        gradients: &[Tensor],
        per_epoch: u64,
        done: u64,
        judge: Judge<'_>,
    ) -> Result<Option<Tensor>, TrainError> {
        let lr = self.latent_lr(per_epoch, done);
        self.optimizer.step(gradients, lr, done);
        let flips = masked.sites.update();
        let done = done + 1;
        let checks = self.strength.check_is_due(done);
        let passes = self.snapshots.len() + 1 < self.budgets.len();
        let mut met = false;
        if checks || passes || self.recipe.freeze_after > 0 {
            let count = masked.sites.count();
            self.take_snapshots(masked, done, judge, |budget| count <= budget)?;
            met = self.looks_at(count, checks, done);
        }
        if met {
            self.freeze(masked, done, judge)?;
        }
        Ok(flips)
    }

    /// Draws the conclusions from a count after `done` steps; whether the budget is met for good.
    fn looks_at(&mut self, count: u64, checks: bool, done: u64) -> bool {
        let reached = count <= self.budget();
        self.within = if reached { self.within + 1 } else { 0 };
        if checks {
            if is_slow(&self.recipe, count, self.lowest, self.allowed(done)) {
                self.strength.grow(done);
            }
            self.lowest = self.lowest.min(count);
        }
        let stable = u64::from(self.recipe.freeze_after);
        match self.recipe.method {
            Method::Snl => checks && reached,
            Method::Autorep => stable > 0 && self.within >= stable,
        }
    }

    /// Projects to the smallest budget and freezes, if `done` steps are as many as there are to
    /// be before: also where the last of them was left out, so that no search ends unprojected.
    pub fn freeze_if_due(
        &mut self,
        masked: &mut MaskedNet,
        done: u64,
        judge: Judge<'_>,
    ) -> Result<(), TrainError> {
        if done < self.allowance.steps || self.searched_count.is_some() {
            return Ok(());
        }
        self.freeze(masked, done, judge)
    }

    fn freeze(
        &mut self,
        masked: &mut MaskedNet,
        done: u64,
        judge: Judge<'_>,
    ) -> Result<(), TrainError> {
        let (budget, searched) = (self.budget(), masked.sites.count());
        if !reaches(searched, budget) && self.recipe.on_unreached == OnUnreached::Fail {
            return Err(TrainError::BudgetUnreached { budget, searched });
        }
        self.take_snapshots(masked, done, judge, |_| true)?;
        self.searched_count = Some(searched);
        let effect = self.project_and_judge(masked, budget, judge)?;
        self.last = Some(Last { step: done, effect });
        masked.freeze();
        Ok(())
    }

    /// Projects to a budget, and measures the net before and after if that is another net.
    fn project_and_judge(
        &self,
        masked: &mut MaskedNet,
        budget: u64,
        judge: Judge<'_>,
    ) -> Result<Effect, TrainError> {
        let searched = masked.sites.indicators();
        self.project(masked, budget);
        let projected = masked.sites.indicators();
        // Shares of a ReLU become whole ones or none.
        if projected == searched && masked.sites.shares().is_none() {
            return Ok(Effect::Nothing);
        }
        masked.sites.set_indicators(&searched);
        let before = judge.accuracy(masked)?;
        masked.sites.set_indicators(&projected);
        let searching = masked.activations.clone();
        masked.freeze();
        let after = judge.accuracy(masked);
        masked.activations = searching;
        Ok(Effect::Change {
            before,
            after: after?,
        })
    }

    /// Sets the indicators to as many ReLUs as the budget allows: those with the largest latents.
    fn project(&self, masked: &MaskedNet, budget: u64) {
        let Some(latents) = masked.sites.latents() else {
            return;
        };
        let latents = latents.detach().to_kind(Kind::Float);
        let latents: Vec<f32> = Vec::try_from(latents).expect("latents are one-dimensional f32");
        let sizes = masked.sites.units().sizes();
        let kept = if sizes.is_empty() {
            keep_largest(&latents, &self.ties, budget)
        } else {
            keep_fitting(&latents, &self.ties, sizes, budget)
        };
        masked.sites.set_units(&kept);
    }

    /// Takes the snapshots of all but the smallest budget, from the largest not yet taken down to
    /// the last that is `due`, after `done` steps.
    fn take_snapshots(
        &mut self,
        masked: &mut MaskedNet,
        done: u64,
        judge: Judge<'_>,
        due: impl Fn(u64) -> bool,
    ) -> Result<(), TrainError> {
        let others = self.budgets.len() - 1;
        while self.snapshots.len() < others && due(self.budgets[self.snapshots.len()]) {
            let budget = self.budgets[self.snapshots.len()];
            let searched_count = masked.sites.count();
            let searched = masked.sites.indicators();
            let effect = self.project_and_judge(masked, budget, judge)?;
            let passed = Passed {
                budget,
                kept: masked.sites.count(),
                searched_count,
                step: done,
                effect: Some(effect),
            };
            self.snapshots
                .push((passed, snapshot(&masked.named_output())));
            masked.sites.set_indicators(&searched);
        }
        Ok(())
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

    /// What a resume checkpoint's document holds.
    pub fn state(&self) -> SearchState {
        SearchState {
            growth: self.strength.factor,
            lowest: self.lowest,
            within: self.within,
            started: Some(self.started),
            last: self.last,
        }
    }

    /// Goes on from what a resume checkpoint's document holds.
    pub fn restore_state(&mut self, state: SearchState) {
        self.strength.factor = state.growth;
        self.lowest = state.lowest;
        self.within = state.within;
        self.started = state.started.unwrap_or(self.allowance.first);
        self.last = state.last;
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
            .map(|passed| (*passed, snapshot(&masked.named_output())))
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

#[cfg(test)]
mod tests {
    use autorep_core::net::Site;
    use autorep_core::recipe::Sharing;
    use tch::Device;

    use super::*;

    fn sites(degree: u32) -> Sites {
        let site = Site {
            name: "a".to_owned(),
            channels: 2,
            height: 16,
            width: 16,
        };
        Sites::with_polynomials(&[site], degree, &[Sharing::Channel], Device::Cpu)
    }

    #[test]
    fn snls_penalty_grows_without_a_new_minimum_and_where_the_fall_is_too_slow() {
        let slow = |method, budget_schedule, count, lowest, allowed| {
            let recipe = ReplaceRecipe {
                method,
                budget_schedule,
                ..ReplaceRecipe::default()
            };
            is_slow(&recipe, count, lowest, allowed)
        };
        let (constant, anneal) = (BudgetSchedule::Constant, BudgetSchedule::Anneal);
        // The authors' rule: a fall by one ReLU is enough, none is not.
        assert!(!slow(Method::Snl, constant, 899, 900, 100.0));
        assert!(slow(Method::Snl, constant, 900, 900, 100.0));
        assert!(slow(Method::Snl, constant, 90, 90, 100.0));
        // With a pace: also a fall that is behind it.
        assert!(slow(Method::Snl, anneal, 899, 900, 100.0));
        assert!(!slow(Method::Snl, anneal, 100, 900, 100.0));
        assert!(slow(Method::Snl, anneal, 90, 90, 100.0));
        // AutoReP's hinge asks for the count alone.
        assert!(slow(Method::Autorep, constant, 101, 900, 100.0));
        assert!(!slow(Method::Autorep, constant, 100, 90, 100.0));
    }

    #[test]
    fn the_identity_is_a_polynomial_of_either_degree() {
        for degree in [1, 2] {
            let sites = sites(degree);
            set_identity(&sites);
            let coefficients = &sites.coefficients()[0];
            for (power, wanted) in [0.0, 1.0, 0.0]
                .into_iter()
                .enumerate()
                .take(degree as usize + 1)
            {
                let row = coefficients.get(i64::try_from(power).unwrap());
                let row = Vec::<f32>::try_from(row).unwrap();
                assert_eq!(row, [wanted, wanted], "power {power} of degree {degree}");
            }
        }
    }

    #[test]
    fn what_the_start_replaces_begins_below_the_band_and_stays_off_until_its_latent_has_risen() {
        let recipe = |latent_init| ReplaceRecipe {
            latent_init,
            latent_value: 0.5,
            latent_high: 0.75,
            hysteresis: 0.25,
            ..ReplaceRecipe::default()
        };
        for (init, wanted) in [
            (LatentInit::Constant, -0.75_f32),
            (LatentInit::Uniform, -1.0),
            (LatentInit::FirstOrder, -1.25),
            (LatentInit::SecondOrder, -1.25),
        ] {
            let found = replaced_latent(&recipe(init));
            assert_eq!(found.to_bits(), wanted.to_bits(), "{init:?}");
        }
        let snl = ReplaceRecipe {
            method: Method::Snl,
            ..recipe(LatentInit::Constant)
        };
        assert_eq!(replaced_latent(&snl).to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn what_the_start_keeps_is_ranked_among_itself() {
        let ranks = ranks_of_kept(&[3.0, 9.0, 1.0, 2.0], &[1, 0, 1, 1]);
        assert_eq!(ranks[0].to_bits(), (2.5_f32 / 3.0).to_bits());
        assert_eq!(ranks[2].to_bits(), (0.5_f32 / 3.0).to_bits());
        assert_eq!(ranks[3].to_bits(), 0.5_f32.to_bits());
        assert_eq!(ranks[1].to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn uniform_latents_lie_in_their_range_and_by_default_on_the_unit_interval() {
        let start = |low, high| {
            let recipe = ReplaceRecipe {
                latent_init: LatentInit::Uniform,
                latent_low: low,
                latent_high: high,
                ..ReplaceRecipe::default()
            };
            initial_latents(&recipe, &sites(2), 3)
        };
        let reference = start(0.0, 1.0);
        let mut rng = Rng::keyed("a", &[3]);
        assert!(
            reference
                .iter()
                .all(|latent| latent.to_bits() == rng.unit_f32().to_bits())
        );
        let narrow = start(0.2, 0.4);
        assert_eq!(narrow.len(), 512);
        assert!(narrow.iter().all(|latent| (0.2..0.4).contains(latent)));
        let ends = |near: f32| narrow.iter().any(|latent| (latent - near).abs() < 0.005);
        assert!(ends(0.2) && ends(0.4), "the whole width is used");
    }
}
