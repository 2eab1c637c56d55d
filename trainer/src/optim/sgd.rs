//! Stochastic gradient descent with momentum: `v <- momentum v + g`, `x <- x - lr v`.

use tch::Tensor;

use super::{Trainable, buffers, groups, named};
use crate::fused::updates;
use crate::tensors::Named;

/// The update rule with its velocities.
#[derive(Debug)]
pub struct Sgd {
    momentum: f64,
    trainables: Vec<Trainable>,
    velocity: Vec<Tensor>,
}

impl Sgd {
    /// At rest.
    pub fn new(momentum: f64, trainables: Vec<Trainable>) -> Self {
        let velocity = buffers(&trainables);
        Self {
            momentum,
            trainables,
            velocity,
        }
    }

    pub(super) fn trainables(&self) -> &[Trainable] {
        &self.trainables
    }

    /// One step; `gradients` in the order of the trainables.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64) {
        for group in groups(&self.trainables) {
            updates::sgd(
                &group.tensors(&self.trainables),
                &group.of(gradients),
                &group.of(&self.velocity),
                lr,
                self.momentum,
                group.weight_decay,
            );
        }
        tch::no_grad(|| {
            let state = self.trainables.iter_mut().zip(&mut self.velocity);
            for ((trainable, velocity), gradient) in state.zip(gradients) {
                if trainable.lr_scale.is_none() {
                    continue;
                }
                let gradient = trainable.penalised(gradient);
                *velocity *= self.momentum;
                *velocity += gradient;
                trainable.step(velocity.shallow_clone(), lr);
            }
        });
    }

    pub(super) fn named(&self) -> Named {
        named("momentum", &self.trainables, &self.velocity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps by hand on f(x) = 3x with decay 0.1, momentum 0.5, rate 0.1 from x = 2.
    #[test]
    fn two_steps_equal_those_made_by_hand() {
        let x = Tensor::from_slice(&[2.0_f64]).set_requires_grad(true);
        let trainable = Trainable {
            name: "x".to_owned(),
            tensor: x.shallow_clone(),
            weight_decay: 0.1,
            lr_scale: None,
        };
        let mut sgd = Sgd::new(0.5, vec![trainable]);
        let gradient = [Tensor::from_slice(&[3.0_f64])];
        sgd.step(&gradient, 0.1);
        // v = 3.2, x = 1.68
        assert!((x.double_value(&[0]) - 1.68).abs() < 1e-12);
        sgd.step(&gradient, 0.1);
        // v = 1.6 + 3.168 = 4.768, x = 1.2032
        assert!((x.double_value(&[0]) - 1.2032).abs() < 1e-12);
        let buffers = sgd.named();
        assert_eq!(buffers[0].0, "momentum.x");
        assert!((buffers[0].1.double_value(&[0]) - 4.768).abs() < 1e-12);
    }
}
