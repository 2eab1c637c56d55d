//! Units: the elements that share one latent and one indicator.

use autorep_core::net::Site;
use autorep_core::recipe::Granularity;
use tch::{Device, Kind, Tensor};

/// How the elements of a net's sites are gathered into units, in flat order: site by site, and
/// within a site channel by channel.
#[derive(Debug)]
pub struct Units {
    granularity: Granularity,
    /// Elements of each unit; empty where each element is one.
    sizes: Vec<u64>,
    /// i64 of shape [units]: the first element of each. `None` where each element is one.
    first: Option<Tensor>,
    /// f32 of shape [units].
    weights: Option<Tensor>,
}

impl Units {
    /// The units of these sites.
    pub fn new(sites: &[Site], granularity: Granularity, device: Device) -> Self {
        if granularity == Granularity::Pixel {
            return Self {
                granularity,
                sizes: Vec::new(),
                first: None,
                weights: None,
            };
        }
        let sizes: Vec<u64> = sites
            .iter()
            .flat_map(|site| {
                let pixels = u64::from(site.height) * u64::from(site.width);
                match granularity {
                    Granularity::Site => vec![site.relus()],
                    Granularity::Channel | Granularity::Pixel => {
                        vec![pixels; site.channels as usize]
                    }
                }
            })
            .collect();
        let mut next = 0;
        let first: Vec<i64> = sizes
            .iter()
            .map(|size| {
                let at = next;
                next += i64::try_from(*size).unwrap_or(i64::MAX);
                at
            })
            .collect();
        let weights: Vec<f32> = sizes.iter().map(|size| *size as f32).collect();
        Self {
            granularity,
            first: Some(Tensor::from_slice(&first).to_device(device)),
            weights: Some(Tensor::from_slice(&weights).to_device(device)),
            sizes,
        }
    }

    /// The shape of a site's part of a tensor with one value per unit; of three dimensions, so
    /// that it broadcasts to the feature map.
    fn shape(&self, site: &Site) -> [i64; 3] {
        let [channels, height, width] = [site.channels, site.height, site.width].map(i64::from);
        match self.granularity {
            Granularity::Pixel => [channels, height, width],
            Granularity::Channel => [channels, 1, 1],
            Granularity::Site => [1, 1, 1],
        }
    }

    /// Views of `flat`, which has one value per unit, by site.
    pub fn by_site(&self, flat: &Tensor, sites: &[Site]) -> Vec<Tensor> {
        let shapes: Vec<[i64; 3]> = sites.iter().map(|site| self.shape(site)).collect();
        let sizes: Vec<i64> = shapes.iter().map(|shape| shape.iter().product()).collect();
        flat.split_with_sizes(&sizes[..], 0)
            .iter()
            .zip(shapes)
            .map(|(part, shape)| part.view(shape))
            .collect()
    }

    /// One value per element, flat, from one value per unit.
    pub fn to_elements(&self, flat: &Tensor, sites: &[Site]) -> Tensor {
        if self.first.is_none() {
            return flat.shallow_clone();
        }
        let parts: Vec<Tensor> = self
            .by_site(flat, sites)
            .iter()
            .zip(sites)
            .map(|(part, site)| {
                let shape = [site.channels, site.height, site.width].map(i64::from);
                part.expand(shape, false).reshape([-1])
            })
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// One value per unit from one value per element of which those of a unit are equal.
    pub fn to_units(&self, elements: &Tensor) -> Tensor {
        match &self.first {
            Some(first) => elements.index_select(0, first),
            None => elements.shallow_clone(),
        }
    }

    /// The sum over units of `values`, each as often as it has elements; a scalar in f32.
    pub fn total(&self, values: &Tensor) -> Tensor {
        match &self.weights {
            Some(weights) => (values * weights).sum(Kind::Float),
            None => values.sum(Kind::Float),
        }
    }

    /// Elements of each unit; empty where each element is one.
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The mean over each unit's elements.
    pub fn means(&self, elements: &[f64]) -> Vec<f64> {
        if self.sizes.is_empty() {
            return elements.to_vec();
        }
        let mut rest = elements;
        let sizes = self
            .sizes
            .iter()
            .map(|size| usize::try_from(*size).unwrap_or(usize::MAX));
        sizes
            .map(|size| {
                let (unit, after) = rest.split_at(size.min(rest.len()));
                rest = after;
                unit.iter().sum::<f64>() / size as f64
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites() -> Vec<Site> {
        let site = |name: &str, channels, width| Site {
            name: name.to_owned(),
            channels,
            height: 1,
            width,
        };
        vec![site("a", 2, 2), site("b", 1, 3)]
    }

    fn units(granularity: Granularity) -> Units {
        Units::new(&sites(), granularity, Device::Cpu)
    }

    fn spread(granularity: Granularity, values: &[f32]) -> Vec<f32> {
        let flat = Tensor::from_slice(values);
        Vec::try_from(units(granularity).to_elements(&flat, &sites())).unwrap()
    }

    #[test]
    fn values_of_units_are_spread_over_their_elements_and_gathered_again() {
        let wanted = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0];
        assert_eq!(spread(Granularity::Channel, &[1.0, 2.0, 3.0]), wanted);
        let wanted = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0];
        assert_eq!(spread(Granularity::Site, &[1.0, 2.0]), wanted);
        let elements = Tensor::from_slice(&[1_u8, 1, 0, 0, 1, 1, 1]);
        let gathered = units(Granularity::Channel).to_units(&elements);
        assert_eq!(Vec::<u8>::try_from(gathered).unwrap(), [1, 0, 1]);
    }

    #[test]
    fn totals_count_elements_and_means_are_over_them() {
        let flat = Tensor::from_slice(&[1.0_f32, 0.0, 1.0]);
        let channels = units(Granularity::Channel);
        assert!((channels.total(&flat).double_value(&[]) - 5.0).abs() < 1e-9);
        let means = channels.means(&[1.0, 3.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(means, [2.0, 0.0, 2.0]);
    }
}
