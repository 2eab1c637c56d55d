//! The backward pass of a step, over all ranks.

use tch::Tensor;

use crate::optim::Trainable;
use crate::ranks::{Gradients, Ranks, RanksError, Traffic};

/// What takes gradients.
#[derive(Debug)]
pub(super) struct Backward {
    ranks: Ranks,
    buckets: Option<Buckets>,
    /// Of buckets that are gone.
    before: Traffic,
}

/// Where the gradients of some leaves are summed over ranks.
#[derive(Debug)]
struct Buckets {
    gradients: Gradients,
    /// Places of the leaves in the order of the buckets.
    order: Vec<usize>,
}

impl Backward {
    pub(super) fn new(ranks: &Ranks) -> Self {
        Self {
            ranks: ranks.clone(),
            buckets: None,
            before: Traffic::default(),
        }
    }

    /// The gradients of what is trained and then of `latents`, summed over the ranks. A tensor that
    /// the loss does not reach has a gradient of zero.
    pub(super) fn run(
        &mut self,
        loss: &Tensor,
        trainables: &[Trainable],
        latents: Option<&Tensor>,
    ) -> Result<Vec<Tensor>, RanksError> {
        let weights = trainables.iter().map(|trainable| &trainable.tensor);
        let leaves: Vec<&Tensor> = weights.chain(latents).collect();
        if self.ranks.are_one() {
            return Ok(alone(loss, &leaves));
        }
        let Some(buckets) = self.buckets(trainables, &leaves)? else {
            return Ok(alone(loss, &leaves));
        };
        let pass = || Tensor::f_run_backward(&[loss], &leaves, false, false);
        let summed = buckets.gradients.during(pass)?;
        let mut gradients: Vec<Option<Tensor>> = leaves.iter().map(|_| None).collect();
        for (at, gradient) in buckets.order.iter().zip(summed) {
            gradients[*at] = Some(gradient);
        }
        Ok(gradients.into_iter().flatten().collect())
    }

    /// The buckets for these leaves. They change once, when a search's latents are left out.
    fn buckets(
        &mut self,
        trainables: &[Trainable],
        leaves: &[&Tensor],
    ) -> Result<Option<&mut Buckets>, RanksError> {
        let fits = |buckets: &Buckets| buckets.order.len() == leaves.len();
        if !self.buckets.as_ref().is_some_and(fits) {
            self.before = self.traffic();
            self.buckets = None;
            let order = order(trainables, leaves.len());
            let ordered: Vec<&Tensor> = order.iter().map(|at| leaves[*at]).collect();
            let gradients = Gradients::of(&self.ranks, &ordered)?;
            self.buckets = gradients.map(|gradients| Buckets { gradients, order });
        }
        Ok(self.buckets.as_mut())
    }

    /// What summing has cost so far.
    pub(super) fn traffic(&self) -> Traffic {
        let now = self.buckets.as_ref();
        let now = now.map_or_else(Traffic::default, |buckets| buckets.gradients.traffic);
        self.before.and(now)
    }
}

fn alone(loss: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
    let gradients = Tensor::run_backward(&[loss], leaves, false, false);
    let both = gradients.into_iter().zip(leaves);
    both.map(|(gradient, leaf)| {
        if gradient.defined() {
            gradient
        } else {
            leaf.detach().zeros_like()
        }
    })
    .collect()
}

/// About the order in which the backward pass comes to the leaves: the net's tensors from the last
/// to the first. Coefficients are few, and latents are one tensor for all sites, whose gradient is
/// whole at the very end: both come last.
fn order(trainables: &[Trainable], leaves: usize) -> Vec<usize> {
    let (mut order, late): (Vec<usize>, Vec<usize>) = (0..trainables.len())
        .rev()
        .partition(|at| !trainables[*at].name.ends_with(".coefficients"));
    order.extend(late);
    order.extend(trainables.len()..leaves);
    order
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn buckets_fill_from_the_last_layer_and_end_with_coefficients_and_latents() {
        let names = [
            "stem.weight",
            "a.coefficients",
            "b.coefficients",
            "fc.weight",
        ];
        let trainables = names.map(|name| {
            let tensor = Tensor::zeros([1], (Kind::Float, Device::Cpu));
            Trainable::plain(name.to_owned(), tensor)
        });
        assert_eq!(order(&trainables, 5), [3, 0, 2, 1, 4]);
        assert_eq!(order(&trainables, 4), [3, 0, 2, 1]);
    }
}
