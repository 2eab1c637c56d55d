//! The state of every activation site of a net: indicators, latents, polynomial coefficients.
//!
//! Indicators and latents of all sites lie in one flat tensor each, in forward order, so that an
//! optimizer step, a hysteresis step or a count is one operation whatever the net.

use autorep_core::net::Site;
use tch::{Device, Kind, Tensor};

use crate::activation::{Mixed, Mixture, hysteresis_step, straight_through};
use crate::tensors::Named;

/// The state of the activation sites of one net.
#[derive(Debug)]
pub struct Sites {
    /// In forward order.
    places: Vec<Site>,
    /// u8, 0 or 1, of shape [total].
    indicators: Tensor,
    /// f32 of shape [total], a leaf that requires a gradient.
    latents: Option<Tensor>,
    /// By site, f32 of shape [degree + 1, channels], leaves that require gradients. Empty for a
    /// full-ReLU net.
    coefficients: Vec<Tensor>,
}

/// One batch's view of sites whose indicators are being searched.
#[derive(Debug)]
pub struct Searching {
    /// The activations.
    pub mixed: Mixed,
    /// The number of ReLUs kept, a scalar with a straight-through gradient to every latent.
    pub count: Tensor,
}

impl Sites {
    /// Every ReLU kept, no polynomials.
    pub fn full(sites: &[Site], device: Device) -> Self {
        let total: i64 = sites.iter().map(numel).sum();
        Self {
            places: sites.to_vec(),
            indicators: Tensor::ones([total], (Kind::Uint8, device)),
            latents: None,
            coefficients: Vec::new(),
        }
    }

    /// Every ReLU kept, with polynomials of zeros to be set, one coefficient per channel and
    /// power up to `degree`.
    pub fn with_polynomials(sites: &[Site], degree: u32, device: Device) -> Self {
        let mut this = Self::full(sites, device);
        this.coefficients = sites
            .iter()
            .map(|site| {
                let shape = [i64::from(degree) + 1, i64::from(site.channels)];
                Tensor::zeros(shape, (Kind::Float, device)).set_requires_grad(true)
            })
            .collect();
        this
    }

    /// Starts a search from latents of shape `[total]`.
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

    /// Moves each indicator by one step of hysteresis. Called once per optimizer step, not per
    /// forward pass, so that a state always belongs to one set of latents.
    pub fn update(&self, hysteresis: f64) {
        let Some(latents) = &self.latents else {
            return;
        };
        tch::no_grad(|| {
            let next = hysteresis_step(&self.indicators, latents, hysteresis);
            self.indicators.shallow_clone().copy_(&next);
        });
    }

    /// The activations of a search, with straight-through gradients. `None` without latents.
    pub fn searching(&self) -> Option<Searching> {
        let latents = self.latents.as_ref()?;
        let kept = straight_through(&self.indicators.to_kind(Kind::Float), latents);
        let sites = self
            .split(&kept)
            .iter()
            .zip(&self.coefficients)
            .map(|(keep, coefficients)| Mixture::new(keep, coefficients))
            .collect();
        Some(Searching {
            mixed: Mixed { sites },
            count: kept.sum(Kind::Float),
        })
    }

    /// The activations at constant indicators. `replaced_sites` names the sites without any ReLU,
    /// which are cheaper; see [`Self::replaced_sites`].
    pub fn fixed(&self, replaced_sites: &[bool]) -> Mixed {
        let kept = self.indicators.to_kind(Kind::Float);
        let sites = self
            .split(&kept)
            .iter()
            .zip(&self.coefficients)
            .zip(replaced_sites)
            .map(|((keep, coefficients), replaced)| {
                if *replaced {
                    Mixture::polynomial(coefficients)
                } else {
                    Mixture::new(keep, coefficients)
                }
            })
            .collect();
        Mixed { sites }
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
        let latents = self.latents.as_ref().map(|flat| self.split(&flat.detach()));
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
mod tests {
    use super::*;

    fn two_sites() -> Vec<Site> {
        let site = |name: &str, channels| Site {
            name: name.to_owned(),
            channels,
            height: 2,
            width: 1,
        };
        vec![site("a", 1), site("b", 2)]
    }

    #[test]
    fn named_tensors_are_views_of_the_flat_ones() {
        let mut sites = Sites::with_polynomials(&two_sites(), 1, Device::Cpu);
        sites.set_latents(&Tensor::from_slice(&[0.1_f32, 0.2, 0.3, 0.4, 0.5, 0.6]));
        sites.set_indicators(&[1, 0, 0, 0, 1, 1]);
        let named = sites.named();
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        let wanted = [
            "site.a.coefficients",
            "site.a.indicators",
            "site.a.latents",
            "site.b.coefficients",
            "site.b.indicators",
            "site.b.latents",
        ];
        assert_eq!(names, wanted);
        assert_eq!(named[4].1.size(), [2, 2, 1]);
        assert_eq!(sites.count(), 3);
        assert_eq!(sites.replaced_sites(), [false, false]);
        // Writing through the named view changes the state.
        let _same = named[1].1.shallow_clone().fill_(0);
        assert_eq!(sites.count(), 2);
        assert_eq!(sites.replaced_sites(), [true, false]);
    }

    #[test]
    fn the_count_of_a_search_carries_softplus_to_every_latent() {
        let mut sites = Sites::with_polynomials(&two_sites(), 0, Device::Cpu);
        sites.set_latents(&Tensor::zeros([6], (Kind::Float, Device::Cpu)));
        let searching = sites.searching().unwrap();
        assert!((searching.count.double_value(&[]) - 6.0).abs() < 1e-9);
        searching.count.backward();
        let gradient = sites.latents().unwrap().grad();
        let wanted = Tensor::full([6], std::f64::consts::LN_2, (Kind::Float, Device::Cpu));
        assert!(gradient.allclose(&wanted, 1e-6, 1e-6, false));
    }

    #[test]
    fn an_update_follows_the_latents() {
        let mut sites = Sites::with_polynomials(&two_sites(), 0, Device::Cpu);
        sites.set_latents(&Tensor::from_slice(&[
            1.0_f32, -1.0, 0.0, -0.001, 0.001, -0.5,
        ]));
        sites.update(0.003);
        assert_eq!(sites.count(), 4);
    }
}
