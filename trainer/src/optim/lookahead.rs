//! Lookahead (Zhang et al. 2019, arXiv:1907.08610): every `k` steps the slow weights go a share of
//! the way to the fast ones, which then start again from there.

use autorep_core::recipe::Schedule;
use tch::Tensor;

use super::{Trainable, named};
use crate::tensors::Named;

/// The slow weights.
#[derive(Debug)]
pub struct Lookahead {
    every: u64,
    alpha: f64,
    slow: Vec<Tensor>,
}

impl Lookahead {
    /// From the present weights; `None` if the schedule asks for none.
    pub(super) fn of(schedule: &Schedule, trainables: &[Trainable]) -> Option<Self> {
        let every = u64::from(schedule.lookahead_steps);
        (every > 0).then(|| Self {
            every,
            alpha: schedule.lookahead_alpha,
            slow: trainables
                .iter()
                .map(|trainable| trainable.tensor.detach().copy())
                .collect(),
        })
    }

    /// Looks back if it is time, after `done` steps of the fast weights.
    pub(super) fn after_step(&self, trainables: &[Trainable], done: u64) {
        if !done.is_multiple_of(self.every) {
            return;
        }
        tch::no_grad(|| {
            for (trainable, slow) in trainables.iter().zip(&self.slow) {
                let mut slow = slow.shallow_clone();
                let _in_place = slow.lerp_(&trainable.tensor, self.alpha);
                trainable.tensor.shallow_clone().copy_(&slow);
            }
        });
    }

    pub(super) fn named(&self, trainables: &[Trainable]) -> Named {
        named("slow", trainables, &self.slow)
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::recipe::OptimizerKind;

    use super::*;
    use crate::optim::Optimizer;

    /// Steps of -1 from 0, looking back half the way every second one: 0, -1, -2 -> -1, -2, -3 -> -2.
    #[test]
    fn every_second_step_goes_half_the_way_back() {
        let x = Tensor::from_slice(&[0.0_f64]).set_requires_grad(true);
        let schedule = Schedule {
            optimizer: OptimizerKind::Sgd,
            momentum: 0.0,
            lookahead_steps: 2,
            lookahead_alpha: 0.5,
            ..Schedule::default()
        };
        let trainable = Trainable::plain("x".to_owned(), x.shallow_clone());
        let mut optimizer = Optimizer::new(&schedule, vec![trainable]);
        let mut seen = Vec::new();
        for done in 0..4 {
            optimizer.step(&[Tensor::from_slice(&[1.0_f64])], 1.0, done);
            seen.push(x.double_value(&[0]));
        }
        for (got, wanted) in seen.iter().zip([-1.0, -1.0, -2.0, -2.0]) {
            assert!((got - wanted).abs() < 1e-12, "{seen:?}");
        }
        let names: Vec<String> = optimizer
            .named()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["momentum.x", "slow.x"]);
    }
}
