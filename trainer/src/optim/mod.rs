//! Optimizers whose whole state is named tensors and the number of steps done, so that it travels
//! in a checkpoint.

mod adam;
mod sgd;

use autorep_core::recipe::OptimizerKind;
use tch::Tensor;

use crate::tensors::Named;

pub use adam::Adam;
pub use sgd::Sgd;

/// One tensor to train.
#[derive(Debug)]
pub struct Trainable {
    /// Its name, which its buffers carry too.
    pub name: String,
    /// A leaf that requires a gradient; shares storage with the layer that uses it.
    pub tensor: Tensor,
    /// The L2 penalty: this times the value is added to the gradient.
    pub weight_decay: f64,
}

impl Trainable {
    /// The gradient with the L2 penalty's.
    fn penalised(&self, gradient: &Tensor) -> Tensor {
        if self.weight_decay == 0.0 {
            gradient.shallow_clone()
        } else {
            gradient + self.tensor.detach() * self.weight_decay
        }
    }
}

/// An update rule with its buffers.
#[derive(Debug)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
}

impl Optimizer {
    /// With empty buffers. `momentum` is for SGD alone.
    pub fn new(kind: OptimizerKind, momentum: f64, trainables: Vec<Trainable>) -> Self {
        match kind {
            OptimizerKind::Sgd => Self::Sgd(Sgd::new(momentum, trainables)),
            OptimizerKind::Adam => Self::Adam(Adam::new(trainables)),
        }
    }

    /// What is trained, in the order in which [`Self::step`] takes gradients.
    pub fn trainables(&self) -> &[Trainable] {
        match self {
            Self::Sgd(sgd) => sgd.trainables(),
            Self::Adam(adam) => adam.trainables(),
        }
    }

    /// Moves every tensor against its gradient. `done` steps were made before this one.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64, done: u64) {
        match self {
            Self::Sgd(sgd) => sgd.step(gradients, lr),
            Self::Adam(adam) => adam.step(gradients, lr, done),
        }
    }

    /// The live buffers under their keys, which begin with `momentum.`, `first.` or `second.`.
    pub fn named(&self) -> Named {
        match self {
            Self::Sgd(sgd) => sgd.named(),
            Self::Adam(adam) => adam.named(),
        }
    }
}

/// A buffer of zeros per trainable.
fn buffers(trainables: &[Trainable]) -> Vec<Tensor> {
    trainables
        .iter()
        .map(|trainable| trainable.tensor.detach().zeros_like())
        .collect()
}

/// Buffers under keys with a prefix.
fn named(prefix: &str, trainables: &[Trainable], buffers: &[Tensor]) -> Named {
    trainables
        .iter()
        .zip(buffers)
        .map(|(trainable, buffer)| {
            (
                format!("{prefix}.{}", trainable.name),
                buffer.shallow_clone(),
            )
        })
        .collect()
}
