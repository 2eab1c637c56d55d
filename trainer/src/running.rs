//! Running averages of pre-activations, from which the reference's code starts its polynomials
//! during the first steps of a search.
//!
//! Each training step moves mean and variance (unbiased) of every channel by a tenth towards those
//! of its batch, from (0, 1), over the first `refresh_until` steps (500 in the reference). In every
//! forward pass whose number is a multiple of `refresh_every` (10) the coefficients are computed from
//! them before they are used, each site's when the pass comes to it. In between, and by those steps'
//! own updates, the coefficients are trained like the rest. The reference also counts forward passes
//! that only measure; here training steps alone count.

use autorep_core::recipe::{ReplaceRecipe, Sharing};
use tch::{Device, Kind, Tensor};

use crate::calibrate::{Statistics, mean_statistics, set_damped};
use crate::dapa;
use crate::nets::{Activate, Normalised};
use crate::ranks::Ranks;
use crate::rng::Rng;
use crate::sites::{Searching, Sites};
use crate::tensors::Named;

/// Weight of a batch.
const MOMENTUM: f64 = 0.1;

/// Width of the noise around the identity from which coefficients start.
const NOISE: f64 = 1e-4;

/// Running averages at every site.
#[derive(Debug)]
pub struct Running {
    /// By site, f32 of shape [2, channels]: means, then variances.
    sites: Vec<Tensor>,
}

impl Running {
    /// Means of 0 and variances of 1.
    pub fn new(sites: &Sites, device: Device) -> Self {
        let of = |channels: u32| {
            let options = (Kind::Float, device);
            let shape = [i64::from(channels)];
            let parts = [Tensor::zeros(shape, options), Tensor::ones(shape, options)];
            Tensor::stack(&parts, 0)
        };
        let sites = sites.sites().iter();
        Self {
            sites: sites.map(|site| of(site.channels)).collect(),
        }
    }

    /// Whether they are needed in the step after `done` steps.
    pub fn is_active(recipe: &ReplaceRecipe, done: u64) -> bool {
        done < u64::from(recipe.refresh_until)
    }

    /// Sets the coefficients that hold before the first refresh: the identity, with noise.
    pub fn set_identity(sites: &Sites, degree: u32, seed: u64) {
        for (at, (site, coefficients)) in sites.sites().iter().zip(sites.coefficients()).enumerate()
        {
            let mut rng = Rng::keyed("identity-noise", &[seed, at as u64]);
            let columns = coefficients.size()[1];
            let rows: Vec<Vec<f64>> = (0..=degree)
                .map(|power| {
                    let start = if power == 1 { 1.0 } else { 0.0 };
                    (0..columns).map(|_| start + NOISE * rng.unit()).collect()
                })
                .collect();
            debug_assert!(columns == 1 || columns == i64::from(site.channels));
            sites.set_coefficients(at, &rows);
        }
    }

    /// Whether the forward pass after `done` steps computes coefficients anew.
    fn refreshes(recipe: &ReplaceRecipe, done: u64) -> bool {
        Self::is_active(recipe, done) && (done + 1).is_multiple_of(recipe.refresh_every.into())
    }

    /// Computes a site's coefficients anew.
    fn refresh(&self, sites: &Sites, recipe: &ReplaceRecipe, at: usize) {
        let rows = [0, 1].map(|row| {
            let row = self.sites[at].select(0, row).to_kind(Kind::Double);
            Vec::<f64>::try_from(row.to_device(Device::Cpu)).expect("one-dimensional f64")
        });
        let [means, variances] = rows;
        let channels: Vec<Statistics> = means.into_iter().zip(variances).collect();
        let channels = match recipe.sharing {
            Sharing::Channel => channels,
            Sharing::Site => vec![mean_statistics(&channels)],
        };
        let coefficients: Vec<[f64; 3]> = channels
            .into_iter()
            .map(|(mean, variance)| dapa::reference_coefficients(mean, variance, recipe.degree))
            .collect();
        set_damped(sites, at, &coefficients, recipe);
    }

    /// Moves the averages towards what all ranks see together.
    ///
    /// # Panics
    ///
    /// If the group of ranks fails: see [`Ranks::batch_norm`].
    fn watch(&self, site: usize, x: &Tensor, ranks: &Ranks) {
        tch::no_grad(|| {
            let x = x.detach().to_kind(Kind::Float);
            let over = &[0_i64, 2, 3][..];
            let mean = x.mean_dim(over, false, Kind::Float);
            let (mean, variance) = if ranks.are_one() {
                (mean, x.var_dim(over, true, false))
            } else {
                let count = x.numel() as f64 / x.size()[1] as f64;
                let moments = ranks.moments(count, &mean, &x.var_dim(over, false, false));
                let (mean, variance, all) = moments.unwrap_or_else(|error| panic!("{error}"));
                let unbiased = variance * (&all / (&all - 1.0));
                (mean.to_kind(Kind::Float), unbiased.to_kind(Kind::Float))
            };
            self.take(site, &Tensor::stack(&[mean, variance], 0));
        });
    }

    /// Moves a site's averages towards those of a batch, of shape [2, channels].
    fn take(&self, site: usize, batch: &Tensor) {
        let averages = &self.sites[site];
        let _in_place = tch::no_grad(|| averages.shallow_clone().lerp_(batch, MOMENTUM));
    }

    /// The live tensors under `running.NAME`.
    pub fn named(&self, sites: &Sites) -> Named {
        let both = sites.sites().iter().zip(&self.sites);
        both.map(|(site, tensor)| (format!("running.{}", site.name), tensor.shallow_clone()))
            .collect()
    }
}

/// What one step of a search has to watch.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// What sites see goes here.
    pub running: &'a Running,
    /// How coefficients come from it.
    pub recipe: &'a ReplaceRecipe,
    /// Steps done before.
    pub done: u64,
}

/// Activations that are watched.
#[derive(Debug)]
pub struct Watched<'a> {
    /// What is applied.
    pub searching: &'a mut Searching,
    /// Whose polynomials are computed anew when it is time.
    pub sites: &'a Sites,
    /// Whose batch it is.
    pub ranks: &'a Ranks,
    /// What is watched.
    pub watch: Watch<'a>,
}

impl Activate for Watched<'_> {
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
        let Watch {
            running,
            recipe,
            done,
        } = self.watch;
        running.watch(site, x, self.ranks);
        if Running::refreshes(recipe, done) {
            running.refresh(self.sites, recipe, site);
            self.searching.renew(self.sites, site);
        }
        self.searching.mixed.activate(site, x)
    }

    fn activate_normalised(&mut self, site: usize, x: &Normalised<'_>) -> Tensor {
        let Watch {
            running,
            recipe,
            done,
        } = self.watch;
        // Coefficients that come from this very batch are needed before they are applied to it, and
        // the operator sees the images of one rank.
        if Running::refreshes(recipe, done) || !self.ranks.are_one() {
            return self.activate(site, &x.compute());
        }
        let batch = running.sites[site].zeros_like();
        let mixture = &self.searching.mixed.sites[site];
        if let Some(y) = x.activated(mixture, Some(&batch)) {
            running.take(site, &batch);
            return y;
        }
        let x = x.compute();
        match mixture.apply_watched(&x, &batch) {
            Some(y) => {
                running.take(site, &batch);
                y
            }
            None => self.activate(site, &x),
        }
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::net::Site;
    use autorep_core::recipe::{Granularity, PolynomialStart};

    use super::*;
    use crate::sites::{Quadratic, Turning};

    fn sites() -> Sites {
        let site = Site {
            name: "a".to_owned(),
            channels: 1,
            height: 1,
            width: 2,
        };
        Sites::with_polynomials(&[site], 2, &[Sharing::Channel], Device::Cpu)
    }

    /// The start of the reference's CIFAR scripts, by hand: after ten steps on a batch with mean 3
    /// and unbiased variance 2, the averages are 3 (1 - 0.9^10) and 0.9^10 + 2 (1 - 0.9^10).
    #[test]
    fn ten_steps_give_the_references_start() {
        let sites = sites();
        let running = Running::new(&sites, Device::Cpu);
        let recipe = ReplaceRecipe {
            polynomial_start: PolynomialStart::Running,
            c0_damping: 0.2,
            c2_damping: 0.1,
            ..ReplaceRecipe::default()
        };
        let batch = Tensor::from_slice(&[2.0_f32, 4.0]).view([1, 1, 1, 2]);
        for _pass in 0..10 {
            running.watch(0, &batch, &Ranks::alone());
        }
        running.refresh(&sites, &recipe, 0);
        let kept = 0.9_f64.powi(10);
        let (mean, variance) = (3.0 * (1.0 - kept), kept + 2.0 * (1.0 - kept));
        let a = mean / variance;
        let density = (-0.5 * a * a).exp() / std::f64::consts::TAU.sqrt();
        let coefficients = &sites.coefficients()[0];
        let c0 = 0.5 * variance * (1.0 + a * a) * density / 5.0;
        let c2 = density / (2.0 * variance) / 10.0;
        assert!((coefficients.double_value(&[0, 0]) - c0).abs() < 1e-5);
        assert!((coefficients.double_value(&[2, 0]) - c2).abs() < 1e-6);
    }

    #[test]
    fn every_tenth_pass_up_to_the_five_hundredth_uses_the_coefficients_that_it_computes() {
        let mut sites = sites();
        sites.set_latents(&Tensor::from_slice(&[-1.0_f32, -1.0]));
        sites.prepare_search(Granularity::Pixel, Turning::Band(0.003), Quadratic::PLAIN);
        sites.update();
        let running = Running::new(&sites, Device::Cpu);
        Running::set_identity(&sites, 2, 7);
        let recipe = ReplaceRecipe {
            polynomial_start: PolynomialStart::Running,
            refresh_every: 10,
            refresh_until: 500,
            ..ReplaceRecipe::default()
        };
        let x = Tensor::from_slice(&[2.0_f32, 4.0]).view([1, 1, 1, 2]);
        // Far from the identity only if the pass has computed its own coefficients.
        let pass = |done| {
            let mut searching = sites.searching().unwrap();
            let mut watched = Watched {
                searching: &mut searching,
                sites: &sites,
                ranks: &Ranks::alone(),
                watch: Watch {
                    running: &running,
                    recipe: &recipe,
                    done,
                },
            };
            let y = watched.activate(0, &x);
            (y - &x).abs().max().double_value(&[])
        };
        for done in [0, 8, 10, 509] {
            assert!(pass(done) < 1e-2, "after {done} steps");
        }
        assert!(pass(9) > 0.1);
        Running::set_identity(&sites, 2, 7);
        assert!(pass(499) > 0.1);
        assert!(Running::is_active(&recipe, 499) && !Running::is_active(&recipe, 500));
    }
}
