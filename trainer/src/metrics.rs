//! What each epoch of a stage was like: one line of JSON per epoch, beside a checkpoint's tensors.
//! A line holds nothing that differs between two runs of one task.

use autorep_core::observation::Accuracy;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// One epoch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: u32,
    /// Optimizer steps done at its end.
    pub step: u64,
    /// Learning rate of the weights in its last step.
    pub lr: f64,
    /// The mean loss: the sum of the terms below, each with its weight.
    pub loss: f64,
    /// Its term of the labels.
    pub loss_ce: f64,
    /// Its term of the teacher.
    pub loss_kd: f64,
    /// Its term of the ReLUs.
    pub loss_penalty: f64,
    /// The penalty per ReLU in its last step; in a search before indicators freeze.
    pub penalty: Option<f64>,
    /// ReLUs that were allowed in its last step; as `penalty`.
    pub allowed: Option<f64>,
    /// Times that an indicator of an element changed, over its steps; projections do not count.
    pub flips: u64,
    /// Share of the latents that are too far from turning to turn within the next epoch, if each
    /// step moves them by their learning rate; as `penalty`.
    pub saturated: Option<f64>,
    /// ReLUs kept at its end.
    pub relus: u64,
    /// By site, in forward order.
    pub relus_by_site: Vec<SiteRelus>,
    /// On the validation images.
    pub validation: Accuracy,
}

/// ReLUs kept at one site.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRelus {
    /// The site's name.
    pub site: String,
    /// ReLUs that it keeps.
    pub relus: u64,
}

/// Sums over the steps of an epoch that is under way, on the device.
#[derive(Debug)]
pub struct EpochSums {
    steps: u64,
    /// f64 of shape [4]: terms of the labels, the teacher, the ReLUs; flips.
    sums: Tensor,
}

/// As [`EpochSums`], in a checkpoint.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSums {
    /// Steps of the epoch done.
    pub steps: u64,
    /// The sums.
    pub sums: [f64; 4],
}

impl EpochSums {
    /// Before an epoch's first step.
    pub fn new(device: Device) -> Self {
        Self::restored(SavedSums::default(), device)
    }

    /// Takes in a step: scalars of the loss's terms and the number of flips.
    pub fn add(&mut self, terms: [Option<&Tensor>; 3], flips: Option<&Tensor>) {
        let device = self.sums.device();
        let [labels, teacher, penalty] = terms;
        let values: Vec<Tensor> = [labels, teacher, penalty, flips]
            .into_iter()
            .map(|value| match value {
                Some(value) => value.detach().to_kind(Kind::Double).reshape([]),
                None => Tensor::zeros([], (Kind::Double, device)),
            })
            .collect();
        self.steps += 1;
        self.sums += Tensor::stack(&values, 0);
    }

    /// What a checkpoint keeps. Waits for the device.
    pub fn saved(&self) -> SavedSums {
        let values = self.sums.to_device(Device::Cpu);
        let values = Vec::<f64>::try_from(values).expect("sums are one-dimensional f64");
        let mut sums = [0.0; 4];
        sums.copy_from_slice(&values);
        SavedSums {
            steps: self.steps,
            sums,
        }
    }

    /// From a checkpoint.
    pub fn restored(saved: SavedSums, device: Device) -> Self {
        Self {
            steps: saved.steps,
            sums: Tensor::from_slice(&saved.sums).to_device(device),
        }
    }
}

impl SavedSums {
    /// Means of the terms of the labels, the teacher and the ReLUs.
    pub fn means(&self) -> [f64; 3] {
        let steps = self.steps.max(1) as f64;
        let [labels, teacher, penalty, _] = self.sums;
        [labels, teacher, penalty].map(|sum| sum / steps)
    }

    /// Flips, a whole number below 2^53.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of counts"
    )]
    pub fn flips(&self) -> u64 {
        self.sums[3] as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_survive_a_checkpoint_exactly() {
        let mut sums = EpochSums::new(Device::Cpu);
        let flips = Tensor::from(3_i64);
        for step in 0..3 {
            let labels = Tensor::from(0.1 + f64::from(step)).to_kind(Kind::Float);
            let penalty = Tensor::from_slice(&[0.3_f32]);
            sums.add([Some(&labels), None, Some(&penalty)], Some(&flips));
        }
        let saved = sums.saved();
        let text = serde_json::to_string(&saved).unwrap();
        let read: SavedSums = serde_json::from_str(&text).unwrap();
        assert_eq!(read, saved);
        let restored = EpochSums::restored(read, Device::Cpu).saved();
        assert_eq!(restored, saved);
        let [labels, teacher, penalty] = saved.means();
        assert!((labels - 1.1).abs() < 1e-6 && (penalty - 0.3).abs() < 1e-6);
        assert!(teacher.abs() < 1e-12);
        assert_eq!((saved.steps, saved.flips()), (3, 9));
    }
}
