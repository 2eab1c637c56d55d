//! The state of every activation site of a net: indicators, latents, polynomial coefficients.
//!
//! Indicators and latents of all sites lie in one flat tensor each, in forward order, so that an
//! optimizer step, a hysteresis step or a count is one operation whatever the net.

use autorep_core::net::Site;
use autorep_core::recipe::{Granularity, Sharing};
use tch::{Device, Kind, Tensor};

use crate::activation::{Mixed, Mixture, hysteresis_step, straight_through};
use crate::tensors::Named;
use crate::units::Units;

/// How latents decide about indicators.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Turning {
    /// `AutoReP`: with a band of this half-width around zero in which nothing changes; an
    /// activation is a ReLU or a polynomial.
    Band(f64),
    /// SNL: latents are shares of the ReLU in its mixture with the polynomial; an indicator says
    /// whether the share is above this.
    Share(f64),
}

/// What is done to quadratic coefficients in a search. The saved ones are those that result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quadratic {
    /// Their factor in every forward pass.
    pub scale: f64,
    /// Their largest size before that; zero for any.
    pub clip: f64,
}

impl Quadratic {
    /// Nothing.
    pub const PLAIN: Self = Self {
        scale: 1.0,
        clip: 0.0,
    };
}

/// The state of the activation sites of one net.
#[derive(Debug)]
pub struct Sites {
    /// In forward order.
    places: Vec<Site>,
    /// u8, 0 or 1, of shape [total].
    indicators: Tensor,
    /// f32 of shape [units], a leaf that requires a gradient.
    latents: Option<Tensor>,
    units: Units,
    turning: Turning,
    /// By site, f32 of shape [degree + 1, channels], or [degree + 1, 1] where a site's channels
    /// share a polynomial; leaves that require gradients. Empty for a full-ReLU net.
    coefficients: Vec<Tensor>,
    quadratic: Quadratic,
}

/// One batch's view of sites whose indicators are being searched.
#[derive(Debug)]
pub struct Searching {
    /// The activations.
    pub mixed: Mixed,
    /// The number of ReLUs kept, a scalar with a straight-through gradient to every latent; where
    /// latents are shares, the sum of their sizes.
    pub count: Tensor,
    /// The indicators by site, of shape [channels, height, width], from which `mixed` was made.
    keeps: Vec<Tensor>,
}

impl Searching {
    /// Takes a site's coefficients as they are now.
    pub fn renew(&mut self, sites: &Sites, site: usize) {
        let coefficients = sites.effective(&sites.coefficients[site]);
        self.mixed.sites[site] = Mixture::new(&self.keeps[site], &coefficients);
    }
}

impl Sites {
    /// Every ReLU kept, no polynomials.
    pub fn full(sites: &[Site], device: Device) -> Self {
        let total: i64 = sites.iter().map(numel).sum();
        Self {
            places: sites.to_vec(),
            indicators: Tensor::ones([total], (Kind::Uint8, device)),
            latents: None,
            units: Units::new(sites, Granularity::Pixel, device),
            turning: Turning::Band(0.0),
            coefficients: Vec::new(),
            quadratic: Quadratic::PLAIN,
        }
    }

    /// Every ReLU kept, with polynomials of zeros to be set: by power up to `degree` one
    /// coefficient per channel, or one for all.
    pub fn with_polynomials(
        sites: &[Site],
        degree: u32,
        sharing: &[Sharing],
        device: Device,
    ) -> Self {
        let mut this = Self::full(sites, device);
        this.coefficients = sites
            .iter()
            .zip(sharing)
            .map(|(site, sharing)| {
                let columns = match sharing {
                    Sharing::Channel => i64::from(site.channels),
                    Sharing::Site => 1,
                };
                let shape = [i64::from(degree) + 1, columns];
                Tensor::zeros(shape, (Kind::Float, device)).set_requires_grad(true)
            })
            .collect();
        this
    }

    /// Before a search: what shares a latent, how latents decide, what quadratic terms become.
    pub fn prepare_search(
        &mut self,
        granularity: Granularity,
        turning: Turning,
        quadratic: Quadratic,
    ) {
        let device = self.indicators.device();
        self.units = Units::new(&self.places, granularity, device);
        self.turning = turning;
        self.quadratic = quadratic;
    }

    /// What shares a latent.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The indicators by unit, before a search; `None` where elements of one unit differ. Waits for
    /// the device.
    pub fn kept_units(&self) -> Option<Vec<u8>> {
        let kept = self.units.to_units(&self.indicators);
        let is_whole = self.units.to_elements(&kept, &self.places);
        let kept = kept.to_device(Device::Cpu);
        let kept = || Vec::try_from(kept).expect("indicators are one-dimensional u8");
        is_whole.equal(&self.indicators).then(kept)
    }

    /// The indicators by site, of shape [channels, height, width].
    pub fn indicators_by_site(&self) -> Vec<Tensor> {
        self.split(&self.indicators)
    }

    /// Turns quadratic coefficients as outputs hold them into those that a search with a factor
    /// trains, so that it begins with the same polynomials.
    pub fn take_up_quadratic(&self) {
        let scale = self.quadratic.scale;
        for coefficients in &self.coefficients {
            // Under a factor of zero outputs hold zeros.
            if scale > 0.0 && coefficients.size()[0] > 2 {
                let _in_place = tch::no_grad(|| coefficients.select(0, 2).divide_scalar_(scale));
            }
            self.clip(coefficients);
        }
    }

    /// Starts a search from latents of shape `[units]`.
    pub fn set_latents(&mut self, latents: &Tensor) {
        let latents = latents.to_device(self.indicators.device());
        self.latents = Some(latents.detach().copy().set_requires_grad(true));
    }

    /// The sites in forward order.
    pub fn sites(&self) -> &[Site] {
        &self.places
    }

    /// Activation elements of the net: the total `T`.
    pub fn total(&self) -> u64 {
        self.places.iter().map(Site::relus).sum()
    }

    /// ReLUs kept now. Waits for the device.
    pub fn count(&self) -> u64 {
        let sum = self.indicators.sum(Kind::Int64).int64_value(&[]);
        u64::try_from(sum).unwrap_or(0)
    }

    /// The flat latents of a search.
    pub fn latents(&self) -> Option<&Tensor> {
        self.latents.as_ref()
    }

    /// The coefficients by site.
    pub fn coefficients(&self) -> &[Tensor] {
        &self.coefficients
    }

    /// Sets a site's coefficients: by power, then by channel.
    pub fn set_coefficients(&self, site: usize, values: &[Vec<f64>]) {
        let rows: Vec<Tensor> = values.iter().map(|row| Tensor::from_slice(row)).collect();
        let values = Tensor::stack(&rows, 0).to_kind(Kind::Float);
        tch::no_grad(|| self.coefficients[site].shallow_clone().copy_(&values));
        self.clip(&self.coefficients[site]);
    }

    /// The indicators in flat order, each 0 or 1. Waits for the device.
    pub fn indicators(&self) -> Vec<u8> {
        let flat = self.indicators.to_device(Device::Cpu);
        Vec::try_from(flat).expect("indicators are one-dimensional u8")
    }

    /// Overwrites the indicators with `kept`, one per activation element in flat order.
    pub fn set_indicators(&self, kept: &[u8]) {
        let kept = Tensor::from_slice(kept);
        tch::no_grad(|| self.indicators.shallow_clone().copy_(&kept));
    }

    /// Overwrites the indicators with `kept`, one per unit.
    pub fn set_units(&self, kept: &[u8]) {
        let device = self.indicators.device();
        let kept = Tensor::from_slice(kept).to_device(device);
        let kept = self.units.to_elements(&kept, &self.places);
        tch::no_grad(|| self.indicators.shallow_clone().copy_(&kept));
    }

    /// Lets the latents move the indicators. Called once per optimizer step, not per forward pass,
    /// so that a state always belongs to one set of latents. Returns how many elements changed, an
    /// i64 scalar on the device.
    pub fn update(&self) -> Option<Tensor> {
        let latents = self.latents.as_ref()?;
        Some(tch::no_grad(|| {
            let next = match self.turning {
                Turning::Band(width) => {
                    let before = self.units.to_units(&self.indicators);
                    hysteresis_step(&before, latents, width)
                }
                Turning::Share(least) => latents.gt(least).to_kind(Kind::Uint8),
            };
            let next = self.units.to_elements(&next, &self.places);
            let flips = next.not_equal_tensor(&self.indicators).sum(Kind::Int64);
            self.indicators.shallow_clone().copy_(&next);
            flips
        }))
    }

    /// The activations of a search that is measured by its shares rather than by its indicators.
    pub fn shares(&self) -> Option<Mixed> {
        let searching = match self.turning {
            Turning::Share(_) => self.searching()?,
            Turning::Band(_) => return None,
        };
        Some(searching.mixed)
    }

    /// The share of latents further than `distance` from the band in which indicators stay, or
    /// from the share that decides. Waits for the device.
    pub fn saturation(&self, distance: f64) -> Option<f64> {
        let latents = self.latents.as_ref()?.detach();
        let far = match self.turning {
            Turning::Band(width) => latents.abs().gt(width + distance),
            Turning::Share(least) => (latents - least).abs().gt(distance),
        };
        Some(
            far.to_kind(Kind::Double)
                .mean(Kind::Double)
                .double_value(&[]),
        )
    }

    /// Cuts quadratic coefficients to their largest size.
    pub fn clip_quadratic(&self) {
        for coefficients in &self.coefficients {
            self.clip(coefficients);
        }
    }

    fn clip(&self, coefficients: &Tensor) {
        let limit = self.quadratic.clip;
        if limit > 0.0 && coefficients.size()[0] > 2 {
            let _in_place = tch::no_grad(|| coefficients.select(0, 2).clamp_(-limit, limit));
        }
    }

    /// A site's coefficients as a forward pass sees them.
    fn effective(&self, coefficients: &Tensor) -> Tensor {
        let powers = coefficients.size()[0];
        // Exactly one when nothing is asked for.
        let plain = self.quadratic.scale.to_bits() == 1.0_f64.to_bits();
        if plain || powers < 3 {
            return coefficients.shallow_clone();
        }
        let factors = Tensor::from_slice(&[1.0, 1.0, self.quadratic.scale]);
        let factors = factors
            .to_kind(Kind::Float)
            .to_device(coefficients.device());
        coefficients * factors.view([3, 1])
    }

    fn effective_coefficients(&self) -> Vec<Tensor> {
        let sites = self.coefficients.iter();
        sites
            .map(|coefficients| self.effective(coefficients))
            .collect()
    }

    /// The activations of a search, with straight-through gradients. `None` without latents.
    pub fn searching(&self) -> Option<Searching> {
        let latents = self.latents.as_ref()?;
        let (kept, count) = match self.turning {
            Turning::Band(_) => {
                let units = self.units.to_units(&self.indicators).to_kind(Kind::Float);
                let kept = straight_through(&units, latents);
                let count = self.units.total(&kept);
                (kept, count)
            }
            Turning::Share(_) => (latents.shallow_clone(), latents.abs().sum(Kind::Float)),
        };
        let by_site = self.units.by_site(&kept, &self.places);
        let keeps: Vec<Tensor> = by_site
            .iter()
            .zip(&self.places)
            .map(|(keep, site)| {
                let shape = [site.channels, site.height, site.width].map(i64::from);
                keep.expand(shape, false)
            })
            .collect();
        let sites = keeps
            .iter()
            .zip(self.effective_coefficients())
            .map(|(keep, coefficients)| Mixture::new(keep, &coefficients))
            .collect();
        Some(Searching {
            mixed: Mixed { sites },
            count,
            keeps,
        })
    }

    /// The activations at constant indicators. `replaced_sites` names the sites without any ReLU,
    /// which are cheaper; see [`Self::replaced_sites`].
    pub fn fixed(&self, replaced_sites: &[bool]) -> Mixed {
        let kept = self.indicators.to_kind(Kind::Float);
        let sites = self
            .split(&kept)
            .iter()
            .zip(self.effective_coefficients())
            .zip(replaced_sites)
            .map(|((keep, coefficients), replaced)| {
                if *replaced {
                    Mixture::polynomial(&coefficients)
                } else {
                    Mixture::new(keep, &coefficients)
                }
            })
            .collect();
        Mixed { sites }
    }

    /// ReLUs kept by site, in forward order. Waits for the device.
    pub fn counts(&self) -> Vec<u64> {
        let sites = self.split(&self.indicators);
        let sums: Vec<Tensor> = sites.iter().map(|keep| keep.sum(Kind::Int64)).collect();
        if sums.is_empty() {
            return Vec::new();
        }
        let sums = Tensor::stack(&sums, 0).to_device(Device::Cpu);
        let sums = Vec::<i64>::try_from(sums).expect("counts are one-dimensional i64");
        let counts = sums.into_iter().map(|sum| u64::try_from(sum).unwrap_or(0));
        counts.collect()
    }

    /// By site, whether no ReLU is left there. Waits for the device.
    pub fn replaced_sites(&self) -> Vec<bool> {
        self.split(&self.indicators)
            .iter()
            .map(|keep| keep.max().int64_value(&[]) == 0)
            .collect()
    }

    /// The live tensors under their checkpoint keys, `site.NAME.indicators` (u8) and where there
    /// are any `site.NAME.coefficients` and `site.NAME.latents`.
    pub fn named(&self) -> Named {
        let mut named = Named::new();
        let indicators = self.split(&self.indicators);
        let latents = self.latents.as_ref().map(|flat| {
            let flat = flat.detach();
            self.units.by_site(&flat, &self.places)
        });
        for (at, site) in self.places.iter().enumerate() {
            let mut push = |part: &str, tensor: Tensor| {
                named.push((format!("site.{}.{part}", site.name), tensor));
            };
            if let Some(coefficients) = self.coefficients.get(at) {
                push("coefficients", coefficients.detach());
            }
            push("indicators", indicators[at].shallow_clone());
            if let Some(latents) = &latents {
                push("latents", latents[at].shallow_clone());
            }
        }
        named
    }

    /// As [`Self::named`], with quadratic coefficients as a forward pass sees them: what is saved
    /// needs no knowledge of the search.
    pub fn named_plain(&self) -> Named {
        let mut named = self.named();
        for (name, tensor) in &mut named {
            if name.ends_with(".coefficients") {
                *tensor = self.effective(tensor);
            }
        }
        named
    }

    /// Views of a flat tensor, of shape [channels, height, width] by site.
    fn split(&self, flat: &Tensor) -> Vec<Tensor> {
        let sizes: Vec<i64> = self.places.iter().map(numel).collect();
        flat.split_with_sizes(&sizes[..], 0)
            .iter()
            .zip(&self.places)
            .map(|(part, site)| {
                let shape = [site.channels, site.height, site.width].map(i64::from);
                part.view(shape)
            })
            .collect()
    }
}

/// Elements of a site's feature map.
fn numel(site: &Site) -> i64 {
    i64::try_from(site.relus()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
