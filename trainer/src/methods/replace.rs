//! `replace`: searches which ReLUs to keep. Weights, polynomials and latents are trained together
//! under a hinge on the number of ReLUs; then indicators are projected to exactly the budget and
//! frozen.
//!
//! With several budgets the hinge aims at the smallest, and a snapshot, projected to its budget,
//! is kept as the search passes each of the others.
//!
//! A search starts from the full net, or from a net that an earlier search left with more ReLUs: then
//! with that net's weights, polynomials and indicators.

use autorep_core::recipe::{BudgetSchedule, Method, OnUnreached, PolynomialStart, ReplaceRecipe};
use autorep_core::searched::{Effect, reaches};
use autorep_core::task::OutputRef;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Setup, Start};
use crate::calibrate::set_damped;
use crate::checkpoint::Passed;
use crate::dapa;
use crate::error::TrainError;
use crate::masked::MaskedNet;
use crate::optim::{Optimizer, Trainable};
use crate::penalty::{Allowance, Strength, hinge};
use crate::projection::{keep_fitting, keep_largest};
use crate::running::{Running, Watch};
use crate::schedule::latent_learning_rate;
use crate::tensors::{Named, shared, snapshot, with_prefix};
use crate::training::{Judge, Parts, Training};

mod report;
mod start;

pub(super) use start::scores;
use start::{begin, full_net, needs_scores, score, searched_net, searched_sites, set_polynomials};

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
    })?;
    if let (Some(search), Start::Anew) = (&mut training.search, start) {
        let judge = Judge::of(&training.validation, &training.spec, &training.stream);
        search.freeze_if_due(&mut training.masked, 0, judge)?;
    }
    Ok(training)
}

/// Turns a full net into one that is searched, without looking at any image: polynomials for standard
/// normal pre-activations, latents where the recipe starts them.
pub(super) fn in_memory(
    setup: &Setup,
    masked: &mut MaskedNet,
    recipe: &ReplaceRecipe,
    budgets: &[u64],
    per_epoch: u64,
) -> Search {
    masked.sites = searched_sites(setup, masked, recipe);
    let polynomial = dapa::coefficients(0.0, 1.0, recipe.degree);
    for (at, coefficients) in masked.sites.coefficients().iter().enumerate() {
        let columns = usize::try_from(coefficients.size()[1]).unwrap_or(0);
        set_damped(&masked.sites, at, &vec![polynomial; columns], recipe);
    }
    let ties = begin(setup, masked, recipe, None);
    Search::new(recipe, budgets, masked, per_epoch, ties, None)
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
                power: recipe.anneal_power,
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
    use super::*;

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
}
