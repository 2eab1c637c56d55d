//! A net with the activations at its sites: what is trained, measured and saved.

use autorep_core::observation::Accuracy;
use autorep_core::recipe::{CoefficientRates, Precision, Schedule};
use tch::{Device, Kind, Tensor};

use crate::activation::Mixed;
use crate::data::{BatchError, Skipped, Subset, batches, skips};
use crate::error::TrainError;
use crate::nets::{Net, Phase};
use crate::optim::Trainable;
use crate::precision::compute;
use crate::running::{Watch, Watched};
use crate::sites::Sites;
use crate::tensors::{Named, with_prefix};

/// Images per batch when a net is measured.
pub(crate) const MEASURE_BATCH: usize = 125;

/// What is applied at a net's sites.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Activations {
    /// The full net's activation everywhere.
    Full,
    /// Indicators with straight-through gradients to their latents.
    Searching,
    /// Constant indicators.
    Frozen {
        /// By site, whether no ReLU is left there.
        replaced: Vec<bool>,
    },
}

/// A net with the activations at its sites.
#[derive(Debug)]
pub struct MaskedNet {
    /// Everything but the activations.
    pub net: Net,
    /// The state of the activations.
    pub sites: Sites,
    /// What is applied.
    pub activations: Activations,
    /// Where it is.
    pub device: Device,
    /// In which numbers it computes.
    pub precision: Precision,
}

/// The result of a training forward pass.
#[derive(Debug)]
pub struct Forward {
    /// Of shape [batch, classes].
    pub logits: Tensor,
    /// ReLUs kept, with a straight-through gradient; in a search only.
    pub count: Option<Tensor>,
}

impl MaskedNet {
    /// A full net.
    pub fn full(net: Net, device: Device) -> Self {
        let sites = Sites::full(net.sites(), device);
        Self {
            net,
            sites,
            activations: Activations::Full,
            device,
            precision: Precision::Fp32,
        }
    }

    /// Makes the present indicators constant from now on.
    pub fn freeze(&mut self) {
        self.activations = Activations::Frozen {
            replaced: self.sites.replaced_sites(),
        };
    }

    /// The forward pass of a training step; `watch` says what looks at the pre-activations of
    /// a search.
    pub fn train(&self, images: &Tensor, watch: Option<Watch<'_>>) -> Forward {
        compute(self.precision, self.device, || {
            self.training_forward(images, watch)
        })
    }

    fn training_forward(&self, images: &Tensor, watch: Option<Watch<'_>>) -> Forward {
        let searching = match self.activations {
            Activations::Searching => self.sites.searching(),
            Activations::Full | Activations::Frozen { .. } => None,
        };
        if let Some(mut searching) = searching {
            let logits = match watch {
                Some(watch) => {
                    let mut watched = Watched {
                        searching: &mut searching,
                        sites: &self.sites,
                        ranks: self.net.ranks(),
                        watch,
                    };
                    self.net.forward(images, Phase::Train, &mut watched)
                }
                None => self.net.forward(images, Phase::Train, &mut searching.mixed),
            };
            return Forward {
                logits,
                count: Some(searching.count),
            };
        }
        Forward {
            logits: self.constant_forward(images, Phase::Train),
            count: None,
        }
    }

    /// Logits without gradients, with running statistics.
    pub fn measure(&self, images: &Tensor) -> Tensor {
        let forward = || self.constant_forward(images, Phase::Eval);
        tch::no_grad(|| compute(self.precision, self.device, forward))
    }

    /// How many of the images are classified correctly, of those that decode; the others are
    /// returned with it. `threads` decode pictures. Each rank measures its part of the images.
    pub fn accuracy(
        &self,
        images: &Subset,
        inputs: autorep_core::data::Inputs,
        threads: usize,
    ) -> Result<(Accuracy, Vec<Skipped>), TrainError> {
        let ranks = self.net.ranks();
        self.net.share_statistics()?;
        let own = images.part(ranks.share().places(images.len()));
        let mut correct = Tensor::zeros([], (Kind::Int64, self.device));
        let mut skipped = Vec::new();
        for batch in batches::unchanged(&own, inputs, MEASURE_BATCH, threads, self.device)? {
            let batch = batch?;
            skipped.extend(batch.skipped);
            if batch.labels.numel() == 0 {
                continue;
            }
            let classes = self.measure(&batch.images).argmax(1, false);
            correct += classes.eq_tensor(&batch.labels).sum(Kind::Int64);
        }
        let [correct] = ranks.agree([correct.int64_value(&[])])?;
        let mut skipped = skips::of_all(ranks, skipped)?;
        let measured = images.len().saturating_sub(skipped.len());
        if let (0, Some(last)) = (measured, skipped.pop()) {
            return Err(TrainError::Batches(BatchError::NoneDecodes {
                name: last.name,
                why: last.why,
            }));
        }
        let accuracy = Accuracy {
            correct: u64::try_from(correct).unwrap_or(0),
            images: measured as u64,
        };
        Ok((accuracy, skipped))
    }

    fn constant_forward(&self, images: &Tensor, phase: Phase) -> Tensor {
        let mut mixed: Mixed = match &self.activations {
            Activations::Full => return self.net.full(images, phase),
            Activations::Searching => self.sites.shares().unwrap_or_else(|| {
                let replaced = vec![false; self.sites.sites().len()];
                self.sites.fixed(&replaced)
            }),
            Activations::Frozen { replaced } => self.sites.fixed(replaced),
        };
        self.net.forward(images, phase, &mut mixed)
    }

    /// The live tensors under their checkpoint keys: `net.` and `site.`.
    pub fn named(&self) -> Named {
        let params = self.net.params().iter();
        let net = params
            .map(|param| (param.name.clone(), param.tensor.detach()))
            .collect();
        let mut all = with_prefix("net.", net);
        all.extend(self.sites.named());
        all
    }

    /// As [`Self::named`], with coefficients as a forward pass sees them: what
    /// an output holds.
    pub fn named_output(&self) -> Named {
        let mut all = self.named();
        all.retain(|(name, _)| name.starts_with("net."));
        all.extend(self.sites.named_plain());
        all
    }

    /// What a moving average of the weights is of: the net's tensors and the coefficients.
    pub fn averaged(&self) -> Named {
        let mut all = self.named();
        all.retain(|(name, _)| name.starts_with("net.") || name.ends_with(".coefficients"));
        all
    }

    /// What the weights' optimizer trains: weights with decay; biases and batch normalisation with
    /// decay if the schedule says so; polynomials without, at rates of their own.
    pub fn trainables(&self, schedule: &Schedule, rates: CoefficientRates) -> Vec<Trainable> {
        use crate::nets::Role;
        let decay = |role| match role {
            Role::Weight => Some(schedule.weight_decay),
            Role::Affine if schedule.decay_all => Some(schedule.weight_decay),
            Role::Affine => Some(0.0),
            Role::Statistic => None,
        };
        let params = self.net.params().iter().filter_map(|param| {
            Some(Trainable {
                name: param.name.clone(),
                tensor: param.tensor.shallow_clone(),
                weight_decay: decay(param.role)?,
                lr_scale: None,
            })
        });
        let sites = self.sites.sites().iter();
        let polynomials = sites
            .zip(self.sites.coefficients())
            .filter(|_| rates.lr_scale != 0.0)
            .map(|(site, coefficients)| Trainable {
                name: format!("{}.coefficients", site.name),
                tensor: coefficients.shallow_clone(),
                weight_decay: 0.0,
                lr_scale: row_rates(rates, coefficients),
            });
        params.chain(polynomials).collect()
    }
}

/// The learning rates' factors of a site's coefficients, of shape [powers, 1]; `None` where all of
/// them are 1.
fn row_rates(rates: CoefficientRates, coefficients: &Tensor) -> Option<Tensor> {
    let powers = coefficients.size()[0];
    let rows: Vec<f64> = (0..powers)
        .map(|power| {
            let quadratic = if power == 2 {
                rates.quadratic_lr_scale
            } else {
                1.0
            };
            rates.lr_scale * quadratic
        })
        .collect();
    if rows.iter().all(|row| row.to_bits() == 1.0_f64.to_bits()) {
        return None;
    }
    let rows = Tensor::from_slice(&rows).to_kind(Kind::Float);
    Some(rows.to_device(coefficients.device()).view([powers, 1]))
}
