//! Initial weights as pure functions of (seed, name).

use tch::{Kind, Tensor};

use crate::rng::Rng;

/// Normal weights with standard deviation sqrt(2 / fan-in) (He et al. 2015, arXiv:1502.01852), where
/// the fan-in is the number of elements per output.
pub(super) fn kaiming_normal(seed: u64, name: &str, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let fan_in = count / shape[0];
    let deviation = (2.0 / fan_in as f64).sqrt();
    let mut rng = Rng::keyed(name, &[seed]);
    let count = usize::try_from(count).unwrap_or(0);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        values.extend(rng.normals().map(|z| z * deviation));
    }
    values.truncate(count);
    Tensor::from_slice(&values)
        .to_kind(Kind::Float)
        .reshape(shape)
}

/// Zeros or ones, for biases and batch normalisation.
pub(super) fn constant(value: f64, length: i64) -> Tensor {
    Tensor::full([length], value, (Kind::Float, tch::Device::Cpu))
}
