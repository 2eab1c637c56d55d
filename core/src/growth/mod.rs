//! Growth: which of a plan's tasks a sweep really runs, and how far.
//!
//! A plan holds everything that a sweep may come to. Each task has an *allowance*, the epochs that
//! the sweep lets it train for now: none, as many as up to a rung, or all. What grows is the
//! allowances, by [`Step`]s that the ledger takes when a worker asks and nothing that is allowed is
//! left to lease. A step follows from the plan and from what its tasks have measured, whatever the
//! order in which that came in.

mod halving;
mod outlook;
mod ranking;
mod refine;
mod seeds;
mod sight;
#[cfg(test)]
mod tests;
mod training;

pub use halving::{Entrant, Halving, Heat};
pub use outlook::Outlook;
pub use refine::{MoreBudgets, Refine, Spot, first_of};
pub use seeds::{AdaptiveSeeds, MoreSeeds};
pub use training::{Extension, MoreTraining};

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::observation::{LearningCurve, Observation};

/// The allowance of a task that may run to its end.
pub const ALL_EPOCHS: u32 = u32::MAX;

/// The part of a plan that tells how the sweep may grow.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Growth {
    /// Groups of candidates of which only some are trained to the end.
    pub heats: Vec<Heat>,
    /// Budgets that are only added where the front gains by them.
    pub budgets: Option<MoreBudgets>,
    /// Points that are only trained on where they lie under others.
    pub training: Option<MoreTraining>,
    /// Seeds that are only given where they say something.
    pub seeds: Option<MoreSeeds>,
}

/// One step of a sweep's growth, in the numbers of its plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// An entrant of a heat goes on to its next rung, or to the end and to what follows.
    Promote {
        /// The heat.
        heat: u32,
        /// The entrant.
        entrant: u32,
        /// The rung that it has left, counted from 0.
        rung: u32,
    },
    /// A candidate's budget is added.
    Refine {
        /// The candidate.
        candidate: u32,
    },
    /// A candidate that lies under one with fewer ReLUs is trained on.
    TrainOn {
        /// The candidate.
        candidate: u32,
    },
    /// A candidate is measured with another seed.
    Seed {
        /// The candidate.
        candidate: u32,
        /// The seed's place among the sweep's.
        seed: u32,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promote {
                heat,
                entrant,
                rung,
            } => write!(
                f,
                "promote entrant {entrant} of heat {heat} from rung {rung}"
            ),
            Self::Refine { candidate } => write!(f, "refine to candidate {candidate}"),
            Self::TrainOn { candidate } => write!(f, "train candidate {candidate} on"),
            Self::Seed { candidate, seed } => {
                write!(f, "give seed {seed} to candidate {candidate}")
            }
        }
    }
}

/// What is known of one task of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Epochs that the sweep lets it train for.
    pub allowed: u32,
    /// What its epochs have measured.
    pub curve: &'a LearningCurve,
    /// Its result, if it is done.
    pub result: Option<&'a Observation>,
    /// Whether it gave up or needs a task that did.
    pub lost: bool,
}

/// What is known of a plan's tasks.
pub trait Standings {
    /// Of the task at this place of the plan.
    fn of(&self, place: u32) -> Standing<'_>;
}

impl Growth {
    /// Whether the sweep runs its whole plan.
    pub const fn is_none(&self) -> bool {
        self.heats.is_empty()
            && self.budgets.is_none()
            && self.training.is_none()
            && self.seeds.is_none()
    }

    /// The allowances, by place, of those tasks that do not begin with all epochs.
    pub fn held_back(&self) -> impl Iterator<Item = (u32, u32)> {
        let seeds = self.seeds.iter().flat_map(MoreSeeds::held_back);
        let budgets = (self.budgets.iter()).flat_map(MoreBudgets::held_back);
        let heats = self.heats.iter().flat_map(Heat::held_back);
        let training = (self.training.iter()).flat_map(MoreTraining::held_back);
        heats.chain(budgets).chain(training).chain(seeds)
    }

    /// The tasks, by place, that a step allows more epochs, each with its new allowance. A step that
    /// does not belong to this plan allows nothing.
    pub fn allowed_by(&self, step: Step) -> Vec<(u32, u32)> {
        match step {
            Step::Promote {
                heat,
                entrant,
                rung,
            } => (self.heats.get(heat as usize))
                .map_or_else(Vec::new, |heat| heat.allowed_after(entrant, rung)),
            Step::Refine { candidate } => (self.budgets.as_ref())
                .map_or_else(Vec::new, |budgets| budgets.allowed_by(candidate)),
            Step::TrainOn { candidate } => (self.training.as_ref())
                .map_or_else(Vec::new, |training| training.allowed_by(candidate)),
            Step::Seed { candidate, seed } => (self.seeds.as_ref())
                .map_or_else(Vec::new, |seeds| seeds.allowed_by(candidate, seed)),
        }
    }

    /// The allowances, by place, of the tasks that do not begin with all epochs, after these steps.
    pub fn allowances(&self, steps: &[Step]) -> BTreeMap<u32, u32> {
        let mut allowances: BTreeMap<u32, u32> = self.held_back().collect();
        for (place, epochs) in steps.iter().flat_map(|&step| self.allowed_by(step)) {
            let known = allowances.entry(place).or_default();
            *known = epochs.max(*known);
        }
        allowances
    }

    /// The steps to take now, by what is known of the plan's tasks: none while what is allowed
    /// decides nothing.
    pub fn next(&self, outlook: &Outlook) -> Vec<Step> {
        for ((number, heat), field) in (0..).zip(&self.heats).zip(&outlook.heats) {
            let promoted = heat.promotions(field);
            if !promoted.is_empty() {
                let step = |(entrant, rung)| Step::Promote {
                    heat: number,
                    entrant,
                    rung,
                };
                return promoted.into_iter().map(step).collect();
            }
        }
        let budgets = outlook.budgets.as_ref();
        if let Some(candidate) = budgets.and_then(refine::Outlook::next) {
            return vec![Step::Refine { candidate }];
        }
        let training = self.training.as_ref().zip(outlook.training.as_ref());
        if let Some(candidate) = training.and_then(|(training, known)| training.next(known)) {
            return vec![Step::TrainOn { candidate }];
        }
        let seed = self.seeds.as_ref().zip(outlook.seeds.as_ref());
        let seed = seed.and_then(|(seeds, known)| seeds.next(known));
        let step = |(candidate, seed)| Step::Seed { candidate, seed };
        seed.map(step).into_iter().collect()
    }
}
