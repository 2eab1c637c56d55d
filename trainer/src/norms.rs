//! Where a site sees what comes out of a batch normalisation as it is: there its channels' means
//! and deviations are shift and scale.

use autorep_core::net::{Blueprint, Layer};
use tch::{Device, Kind};

use crate::calibrate::Statistics;
use crate::nets::Net;

/// By site, mean and variance of each channel by the batch normalisation before it; `None` where
/// something else comes before.
pub fn before_sites(net: &Net, blueprint: &Blueprint) -> Vec<Option<Vec<Statistics>>> {
    let parameter = |name: &str| {
        let param = net.params().iter().find(|param| param.name == name)?;
        let values = param.tensor.detach().to_kind(Kind::Double);
        Vec::<f64>::try_from(values.to_device(Device::Cpu)).ok()
    };
    let before = |norm: String| {
        let shifts = parameter(&format!("{norm}.bias"))?;
        let scales = parameter(&format!("{norm}.weight"))?;
        let squares = scales.into_iter().map(|scale| scale * scale);
        Some(shifts.into_iter().zip(squares).collect())
    };
    let names = names(blueprint).into_iter();
    names.map(|norm| norm.and_then(before)).collect()
}

/// By site, the name of the batch normalisation whose output it sees.
fn names(blueprint: &Blueprint) -> Vec<Option<String>> {
    let mut names = vec![None; blueprint.sites.len()];
    note(&blueprint.layers, &mut names);
    names
}

/// What a branch begins with sees what is before the branch, which may have other readers: that
/// is looked at there alone.
fn note(layers: &[Layer], names: &mut [Option<String>]) {
    for pair in layers.windows(2) {
        if let [Layer::Norm(norm), Layer::Site(site)] = pair
            && let Some(name) = names.get_mut(*site)
        {
            *name = Some(norm.name.clone());
        }
    }
    for branch in layers.iter().flat_map(Layer::branches) {
        note(branch, names);
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::data::DataSet;
    use autorep_core::net::Family;

    use super::*;

    #[test]
    fn the_first_activation_of_a_block_sees_a_norm_and_the_second_a_sum() {
        let spec = Family::Resnet9.default_settings().spec();
        let blueprint = spec.blueprint(DataSet::FashionMnist.input(), 10);
        for (site, norm) in blueprint.sites.iter().zip(names(&blueprint)) {
            let wanted = site
                .name
                .strip_suffix("act1")
                .map(|block| format!("{block}bn1"));
            assert_eq!(norm, wanted, "{}", site.name);
        }
    }
}
