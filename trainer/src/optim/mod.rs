//! Optimizers whose whole state is named tensors and the number of steps done, so that it travels
//! in a checkpoint.

mod adam;
mod lookahead;
mod sgd;

use autorep_core::recipe::{OptimizerKind, Schedule};
use tch::Tensor;

use crate::tensors::Named;

pub use adam::Adam;
pub use lookahead::Lookahead;
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
    /// The learning rate's factor, of a shape that broadcasts to the tensor's; `None` for 1.
    pub lr_scale: Option<Tensor>,
}

impl Trainable {
    /// A tensor with the optimizer's own learning rate and no penalty.
    pub fn plain(name: String, tensor: Tensor) -> Self {
        Self {
            name,
            tensor,
            weight_decay: 0.0,
            lr_scale: None,
        }
    }

    /// The gradient with the L2 penalty's.
    fn penalised(&self, gradient: &Tensor) -> Tensor {
        if self.weight_decay == 0.0 {
            gradient.shallow_clone()
        } else {
            gradient + self.tensor.detach() * self.weight_decay
        }
    }

    /// Moves the tensor by `-lr * direction`, each element at its own rate.
    fn step(&mut self, direction: Tensor, lr: f64) {
        self.tensor -= match &self.lr_scale {
            Some(scale) => direction * lr * scale,
            None => direction * lr,
        };
    }
}

/// An update rule with its buffers.
#[derive(Debug)]
enum Rule {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
}

/// An update rule, which may look back.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    lookahead: Option<Lookahead>,
}

impl Optimizer {
    /// With empty buffers, as a stage's schedule says.
    pub fn new(schedule: &Schedule, trainables: Vec<Trainable>) -> Self {
        let lookahead = Lookahead::of(schedule, &trainables);
        let rule = match schedule.optimizer {
            OptimizerKind::Sgd => Rule::Sgd(Sgd::new(schedule.momentum, trainables)),
            OptimizerKind::Adam => Rule::Adam(Adam::new(trainables)),
        };
        Self { rule, lookahead }
    }

    /// Adam whatever the schedule says, looking back as it says.
    pub fn adam(schedule: &Schedule, trainables: Vec<Trainable>) -> Self {
        let lookahead = Lookahead::of(schedule, &trainables);
        let rule = Rule::Adam(Adam::new(trainables));
        Self { rule, lookahead }
    }

    /// What is trained, in the order in which [`Self::step`] takes gradients.
    pub fn trainables(&self) -> &[Trainable] {
        match &self.rule {
            Rule::Sgd(sgd) => sgd.trainables(),
            Rule::Adam(adam) => adam.trainables(),
        }
    }

    /// Moves every tensor against its gradient. `done` steps were made before this one.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64, done: u64) {
        match &mut self.rule {
            Rule::Sgd(sgd) => sgd.step(gradients, lr),
            Rule::Adam(adam) => adam.step(gradients, lr, done),
        }
        if let Some(lookahead) = &self.lookahead {
            lookahead.after_step(self.trainables(), done + 1);
        }
    }

    /// The live buffers under their keys, which begin with `momentum.`, `first.`, `second.` or
    /// `slow.`.
    pub fn named(&self) -> Named {
        let mut all = match &self.rule {
            Rule::Sgd(sgd) => sgd.named(),
            Rule::Adam(adam) => adam.named(),
        };
        if let Some(lookahead) = &self.lookahead {
            all.extend(lookahead.named(self.trainables()));
        }
        all
    }
}

/// Scales gradients, in place of which their products are returned, so that their common norm is
/// at most `limit`.
pub fn clipped(gradients: Vec<Tensor>, limit: f64) -> Vec<Tensor> {
    if limit == 0.0 || gradients.is_empty() {
        return gradients;
    }
    tch::no_grad(|| {
        let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
        let norm = Tensor::stack(&norms, 0).norm();
        let factor = (limit / (norm + 1e-6)).clamp_max(1.0);
        let scaled = gradients.iter().map(|gradient| gradient * &factor);
        scaled.collect()
    })
}

/// Of the trainables that move at the optimizer's own rate, groups with one weight decay, by their
/// places: what one fused step can move.
fn groups(trainables: &[Trainable]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, trainable) in trainables.iter().enumerate() {
        if trainable.lr_scale.is_some() {
            continue;
        }
        let decay = trainable.weight_decay;
        let same = |group: &&mut Group| group.weight_decay.to_bits() == decay.to_bits();
        match groups.iter_mut().find(same) {
            Some(group) => group.places.push(place),
            None => groups.push(Group {
                weight_decay: decay,
                places: vec![place],
            }),
        }
    }
    groups
}

/// Trainables with one weight decay.
#[derive(Debug)]
struct Group {
    weight_decay: f64,
    /// Among the optimizer's.
    places: Vec<usize>,
}

impl Group {
    /// What belongs to its members.
    fn of<'a>(&self, all: &'a [Tensor]) -> Vec<&'a Tensor> {
        self.places.iter().map(|place| &all[*place]).collect()
    }

    fn tensors<'a>(&self, trainables: &'a [Trainable]) -> Vec<&'a Tensor> {
        let members = self.places.iter();
        members.map(|place| &trainables[*place].tensor).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_scaled_together_to_the_limit_and_only_down() {
        let gradients = || {
            vec![
                Tensor::from_slice(&[3.0_f64, 0.0]),
                Tensor::from_slice(&[-4.0_f64]),
            ]
        };
        let scaled = clipped(gradients(), 1.0);
        assert!((scaled[0].double_value(&[0]) - 0.6).abs() < 1e-6);
        assert!((scaled[1].double_value(&[0]) + 0.8).abs() < 1e-6);
        for limit in [0.0, 6.0] {
            let same = clipped(gradients(), limit);
            assert!((same[1].double_value(&[0]) + 4.0).abs() < 1e-12);
        }
    }

    /// A rate of its own for each row, as quadratic coefficients have one.
    #[test]
    fn each_row_moves_at_its_own_rate() {
        let x =
            Tensor::zeros([2, 2], (tch::Kind::Double, tch::Device::Cpu)).set_requires_grad(true);
        let mut trainable = Trainable::plain("x".to_owned(), x.shallow_clone());
        trainable.lr_scale = Some(Tensor::from_slice(&[1.0_f64, 0.5]).view([2, 1]));
        let schedule = Schedule {
            optimizer: OptimizerKind::Sgd,
            momentum: 0.0,
            ..Schedule::default()
        };
        let mut optimizer = Optimizer::new(&schedule, vec![trainable]);
        optimizer.step(&[x.detach().ones_like()], 0.1, 0);
        assert!((x.double_value(&[0, 1]) + 0.1).abs() < 1e-12);
        assert!((x.double_value(&[1, 1]) + 0.05).abs() < 1e-12);
    }

    /// A convolution's gradient may lie channels last where its weight does not.
    #[test]
    fn a_gradient_in_another_layout_moves_the_same_elements() {
        let options = (tch::Kind::Double, tch::Device::Cpu);
        let gradient = Tensor::arange(2 * 3 * 2 * 2, options).view([2, 3, 2, 2]) - 11.0;
        let last = crate::nets::Layout::ChannelsLast.arrange(&gradient);
        for kind in [OptimizerKind::Sgd, OptimizerKind::Adam] {
            let moved = |gradient: &Tensor| {
                let x = Tensor::ones([2, 3, 2, 2], options).set_requires_grad(true);
                let schedule = Schedule {
                    optimizer: kind,
                    ..Schedule::default()
                };
                let trainable = Trainable::plain("x".to_owned(), x.shallow_clone());
                let mut optimizer = Optimizer::new(&schedule, vec![trainable]);
                optimizer.step(&[gradient.shallow_clone()], 0.1, 0);
                optimizer.step(&[gradient * gradient], 0.1, 1);
                x.detach()
            };
            assert!(moved(&last).equal(&moved(&gradient)), "{kind:?}");
        }
    }
}
