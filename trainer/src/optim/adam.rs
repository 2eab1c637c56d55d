//! Adam (Kingma and Ba 2015, arXiv:1412.6980) with betas 0.9 and 0.999 and epsilon 1e-8; weight decay
//! is added to the gradient.

use tch::Tensor;

use super::{Trainable, buffers, groups, named};
use crate::fused::updates::{self, AdamStep};
use crate::tensors::Named;

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// The update rule with its moments.
#[derive(Debug)]
pub struct Adam {
    trainables: Vec<Trainable>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl Adam {
    /// With moments of zero.
    pub fn new(trainables: Vec<Trainable>) -> Self {
        let first = buffers(&trainables);
        let second = buffers(&trainables);
        Self {
            trainables,
            first,
            second,
        }
    }

    pub(super) fn trainables(&self) -> &[Trainable] {
        &self.trainables
    }

    /// One step; `gradients` in the order of the trainables, `done` steps made before.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64, done: u64) {
        let count = done as f64 + 1.0;
        for group in groups(&self.trainables) {
            let constants = AdamStep {
                lr,
                betas: BETAS,
                weight_decay: group.weight_decay,
                epsilon: EPSILON,
                step: count,
            };
            updates::adam(
                &group.tensors(&self.trainables),
                &group.of(gradients),
                &group.of(&self.first),
                &group.of(&self.second),
                constants,
            );
        }
        let [first_bias, second_bias] = BETAS.map(|beta| 1.0 - beta.powf(count));
        tch::no_grad(|| {
            let moments = self.first.iter_mut().zip(&mut self.second);
            let state = self.trainables.iter_mut().zip(moments);
            for ((trainable, (first, second)), gradient) in state.zip(gradients) {
                if trainable.lr_scale.is_none() {
                    continue;
                }
                let gradient = trainable.penalised(gradient);
                let _in_place = first.lerp_(&gradient, 1.0 - BETAS[0]);
                let _in_place = second.lerp_(&gradient.square(), 1.0 - BETAS[1]);
                let root = second.sqrt() / second_bias.sqrt() + EPSILON;
                trainable.step(&*first / root, lr / first_bias);
            }
        });
    }

    pub(super) fn named(&self) -> Named {
        let mut all = named("first", &self.trainables, &self.first);
        all.extend(named("second", &self.trainables, &self.second));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adam(x: &Tensor) -> Adam {
        Adam::new(vec![Trainable::plain("x".to_owned(), x.shallow_clone())])
    }

    /// With a constant gradient both bias-corrected moments are exact, so that each step is the
    /// learning rate whatever the gradient's size.
    #[test]
    fn under_a_constant_gradient_each_step_is_the_learning_rate() {
        let x = Tensor::from_slice(&[1.0_f64, 1.0]).set_requires_grad(true);
        let mut adam = adam(&x);
        for done in 0..5 {
            adam.step(&[Tensor::from_slice(&[100.0_f64, -0.01])], 0.1, done);
        }
        assert!((x.double_value(&[0]) - 0.5).abs() < 1e-6);
        assert!((x.double_value(&[1]) - 1.5).abs() < 1e-5);
    }

    /// Two different gradients, by hand.
    #[test]
    fn two_steps_equal_those_made_by_hand() {
        let x = Tensor::from_slice(&[0.0_f64]).set_requires_grad(true);
        let mut adam = adam(&x);
        adam.step(&[Tensor::from_slice(&[1.0_f64])], 0.1, 0);
        adam.step(&[Tensor::from_slice(&[-2.0_f64])], 0.1, 1);
        let first = (0.9 * 0.1 - 0.1 * 2.0) / (1.0 - 0.81);
        let second: f64 = (0.999 * 0.001 + 0.001 * 4.0) / (1.0 - 0.998_001);
        let wanted = -0.1 / (1.0 + 1e-8) - 0.1 * first / (second.sqrt() + 1e-8);
        assert!((x.double_value(&[0]) - wanted).abs() < 1e-9);
    }

    #[test]
    fn moments_travel_under_their_names() {
        let x = Tensor::from_slice(&[0.0_f64]).set_requires_grad(true);
        let names: Vec<String> = adam(&x).named().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["first.x", "second.x"]);
    }
}
