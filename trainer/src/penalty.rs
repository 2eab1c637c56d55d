//! The budget's pull: one hinge over the ReLUs of all sites, and how many it allows when.

use autorep_core::recipe::{BudgetSchedule, PenaltySchedule, ReplaceRecipe};
use tch::Tensor;

/// Share of the steps before freezing after which an annealed budget is the final one.
const ANNEAL_SHARE: f64 = 0.75;

/// How many ReLUs the hinge allows in the course of a search.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// How it falls.
    pub schedule: BudgetSchedule,
    /// With which power of the time its logarithm falls where it is annealed.
    pub power: f64,
    /// ReLUs that the search begins with: the full net's, unless it starts from another one.
    pub first: u64,
    /// ReLUs allowed in the end.
    pub budget: u64,
    /// Steps until indicators freeze.
    pub steps: u64,
}

impl Allowance {
    /// ReLUs allowed in the step after `done` steps; need not be a whole number.
    pub fn at(&self, done: u64) -> f64 {
        let budget = self.budget as f64;
        match self.schedule {
            BudgetSchedule::Constant => budget,
            BudgetSchedule::Anneal => {
                let span = ANNEAL_SHARE * self.steps as f64;
                if done as f64 >= span {
                    return budget;
                }
                // A logarithm has no zero to end in: it aims at one ReLU instead.
                let (first, aim) = (self.first as f64, budget.max(1.0));
                let way = (done as f64 / span).powf(self.power);
                (first * (aim / first).powf(way)).max(budget)
            }
        }
    }
}

/// Share of the steps before freezing over which a ramp rises.
const RAMP_SHARE: f64 = 0.25;

/// The penalty per ReLU in the course of a search.
#[derive(Clone, Debug)]
pub struct Strength {
    schedule: PenaltySchedule,
    full: f64,
    growth: f64,
    checks: u64,
    grace: u64,
    steps: u64,
    /// How often it has grown, as a factor.
    pub factor: f64,
}

impl Strength {
    /// As `recipe` says, over a search of `steps` steps until indicators freeze.
    pub fn new(recipe: &ReplaceRecipe, steps: u64) -> Self {
        Self {
            schedule: recipe.penalty_schedule,
            full: recipe.penalty,
            growth: recipe.penalty_growth,
            checks: u64::from(recipe.penalty_checks),
            grace: u64::from(recipe.penalty_grace),
            steps,
            factor: 1.0,
        }
    }

    /// The penalty in the step after `done` steps.
    pub fn at(&self, done: u64) -> f64 {
        match self.schedule {
            PenaltySchedule::Constant => self.full,
            PenaltySchedule::Ramp => {
                let span = RAMP_SHARE * self.steps as f64;
                self.full * ((done as f64 + 1.0) / span.max(1.0)).min(1.0)
            }
            PenaltySchedule::Grow => self.full * self.factor,
        }
    }

    /// Checks that have come up within the first `done` steps.
    fn passed(&self, done: u64) -> u128 {
        u128::from(done) * u128::from(self.checks) / u128::from(self.steps.max(1))
    }

    /// Whether one of the checks falls on the end of the step that makes `done` of them.
    pub fn check_is_due(&self, done: u64) -> bool {
        done > 0 && self.passed(done) > self.passed(done - 1)
    }

    /// Lets it grow at the check after `done` steps, if its schedule says that it may.
    pub fn grow(&mut self, done: u64) {
        if self.schedule == PenaltySchedule::Grow && self.passed(done) > u128::from(self.grace) {
            self.factor *= self.growth;
        }
    }
}

/// `per_relu * max(0, count - allowed)`, where `count` is a scalar with a gradient.
pub fn hinge(count: &Tensor, allowed: f64, per_relu: f64) -> Tensor {
    (count - allowed).relu() * per_relu
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() < 1e-6, "{got} against {wanted}");
    }

    #[test]
    fn a_ramp_rises_over_a_quarter_and_growth_comes_at_evenly_spread_checks() {
        let recipe = |penalty_schedule| ReplaceRecipe {
            penalty: 2.0,
            penalty_schedule,
            penalty_growth: 1.5,
            penalty_checks: 4,
            ..ReplaceRecipe::default()
        };
        let ramp = Strength::new(&recipe(PenaltySchedule::Ramp), 400);
        close(ramp.at(0), 0.02);
        close(ramp.at(49), 1.0);
        close(ramp.at(99), 2.0);
        close(ramp.at(399), 2.0);
        let mut growing = Strength::new(&recipe(PenaltySchedule::Grow), 10);
        let due: Vec<u64> = (0..=10)
            .filter(|done| growing.check_is_due(*done))
            .collect();
        assert_eq!(due, [3, 5, 8, 10]);
        growing.grow(3);
        growing.grow(5);
        close(growing.at(0), 4.5);
        let late = ReplaceRecipe {
            penalty_grace: 2,
            ..recipe(PenaltySchedule::Grow)
        };
        let mut late = Strength::new(&late, 10);
        for (done, wanted) in [(3, 2.0), (5, 2.0), (8, 3.0), (10, 4.5)] {
            late.grow(done);
            close(late.at(0), wanted);
        }
        let mut constant = Strength::new(&recipe(PenaltySchedule::Constant), 10);
        constant.grow(3);
        close(constant.at(9), 2.0);
    }

    fn allowance(schedule: BudgetSchedule, budget: u64) -> Allowance {
        Allowance {
            schedule,
            power: 1.0,
            first: 10_000,
            budget,
            steps: 400,
        }
    }

    #[test]
    fn a_constant_budget_is_asked_for_at_once() {
        let allowance = allowance(BudgetSchedule::Constant, 100);
        for done in [0, 200, 400] {
            close(allowance.at(done), 100.0);
        }
    }

    #[test]
    fn an_annealed_budget_falls_geometrically_over_three_quarters_of_the_steps() {
        let falling = allowance(BudgetSchedule::Anneal, 100);
        close(falling.at(0), 10_000.0);
        // Half way is the geometric mean.
        close(falling.at(150), 1000.0);
        close(falling.at(300), 100.0);
        close(falling.at(399), 100.0);
        for done in 0..400 {
            assert!(falling.at(done + 1) <= falling.at(done));
        }
        let late = Allowance {
            power: 2.0,
            ..falling
        };
        // Half way a quarter of the way, which is two orders of magnitude.
        close(late.at(150), 10_000.0 / 10_f64.sqrt());
        close(late.at(300), 100.0);
        let to_zero = allowance(BudgetSchedule::Anneal, 0);
        assert!(to_zero.at(299) > 0.9);
        close(to_zero.at(300), 0.0);
    }

    #[test]
    fn a_budget_that_is_not_below_the_first_count_is_allowed_at_once() {
        for first in [0, 80, 100] {
            let allowance = Allowance {
                first,
                ..allowance(BudgetSchedule::Anneal, 100)
            };
            for done in [0, 1, 200, 400] {
                close(allowance.at(done), 100.0);
            }
        }
    }

    #[test]
    fn the_hinge_pulls_above_the_budget_and_not_at_it() {
        for (count, value, slope) in [(120.0, 0.02, 1e-3), (100.0, 0.0, 0.0), (80.0, 0.0, 0.0)] {
            let count = Tensor::from(count).set_requires_grad(true);
            let hinge = hinge(&count, 100.0, 1e-3);
            assert!((hinge.double_value(&[]) - value).abs() < 1e-9);
            hinge.backward();
            assert!((count.grad().double_value(&[]) - slope).abs() < 1e-12);
        }
    }
}
