//! A moving average of a net's weights, which is validated and kept in their place.

use tch::Tensor;

use crate::tensors::{Named, shared, snapshot};

/// The average beside the tensors that it is of.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    live: Named,
    average: Named,
}

impl Ema {
    /// From the present values of `live`, whose handles it keeps.
    pub fn new(decay: f64, live: Named) -> Self {
        Self {
            decay,
            average: snapshot(&live),
            live,
        }
    }

    /// Takes in the values after `done` steps. At first the average forgets faster, so that the
    /// start does not weigh on it.
    pub fn update(&self, done: u64) {
        let done = done as f64;
        let decay = self.decay.min((1.0 + done) / (10.0 + done));
        tch::no_grad(|| {
            for ((_, average), (_, live)) in self.average.iter().zip(&self.live) {
                let _in_place = average.shallow_clone().lerp_(live, 1.0 - decay);
            }
        });
    }

    /// Exchanges the average and the live values. Twice is not at all.
    pub fn swap(&self) {
        tch::no_grad(|| {
            for ((_, average), (_, live)) in self.average.iter().zip(&self.live) {
                let kept: Tensor = live.copy();
                live.shallow_clone().copy_(average);
                average.shallow_clone().copy_(&kept);
            }
        });
    }

    /// The average's live tensors.
    pub fn named(&self) -> Named {
        shared(&self.average)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_and_changes_places() {
        let x = Tensor::from_slice(&[0.0_f64]);
        let ema = Ema::new(0.5, vec![("x".to_owned(), x.shallow_clone())]);
        let _in_place = x.shallow_clone().fill_(1.0);
        // After 90 steps the decay is its own, 0.5; after none it is 0.1.
        ema.update(90);
        assert!((ema.named()[0].1.double_value(&[0]) - 0.5).abs() < 1e-12);
        ema.update(0);
        assert!((ema.named()[0].1.double_value(&[0]) - 0.95).abs() < 1e-12);
        ema.swap();
        assert!((x.double_value(&[0]) - 0.95).abs() < 1e-12);
        ema.swap();
        assert!((x.double_value(&[0]) - 1.0).abs() < 1e-12);
    }
}
