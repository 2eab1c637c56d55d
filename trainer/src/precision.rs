//! Computing in fewer bits: libtorch's autocast, and the loss scale that float16 needs.

use autorep_core::recipe::Precision;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

#[expect(unsafe_code, reason = "tch offers autocast to float16 on GPUs alone")]
mod shim {
    unsafe extern "C" {
        /// From here on this thread computes convolutions and linear layers in another type.
        pub(super) safe fn autorep_autocast_begin(cuda: bool, bfloat16: bool);
        /// The end of what [`autorep_autocast_begin`] began.
        pub(super) safe fn autorep_autocast_end(cuda: bool);
    }
}

/// Ends autocast when it is dropped, also when a tensor operation panics.
struct Casting {
    cuda: bool,
}

impl Drop for Casting {
    fn drop(&mut self) {
        shim::autorep_autocast_end(self.cuda);
    }
}

/// Computes `forward` in this precision.
pub fn compute<T>(precision: Precision, device: Device, forward: impl FnOnce() -> T) -> T {
    let cuda = device != Device::Cpu;
    let _casting = match precision {
        Precision::Fp32 => None,
        Precision::Bf16 | Precision::Fp16 => {
            shim::autorep_autocast_begin(cuda, precision == Precision::Bf16);
            Some(Casting { cuda })
        }
    };
    forward()
}

/// Steps without an infinite gradient after which the scale is doubled.
const GROW_AFTER: u32 = 2_000;

/// The factor of the loss that keeps small gradients from vanishing in float16. It halves, and
/// the step is left out, when a gradient is not finite.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LossScale {
    factor: f64,
    clean_steps: u32,
}

impl LossScale {
    /// For this precision; `None` where nothing vanishes.
    pub fn of(precision: Precision) -> Option<Self> {
        (precision == Precision::Fp16).then_some(Self {
            factor: 65_536.0,
            clean_steps: 0,
        })
    }

    /// The loss to take gradients of.
    pub fn scaled(&self, loss: &Tensor) -> Tensor {
        loss * self.factor
    }

    /// The gradients of the loss itself, or `None` if one is not finite. Waits for the device.
    pub fn unscaled(&mut self, gradients: &[Tensor]) -> Option<Vec<Tensor>> {
        let finite: Vec<Tensor> = gradients
            .iter()
            .map(|gradient| gradient.isfinite().all())
            .collect();
        let finite = finite.is_empty() || Tensor::stack(&finite, 0).all().int64_value(&[]) != 0;
        if !finite {
            self.factor = (self.factor / 2.0).max(1.0);
            self.clean_steps = 0;
            return None;
        }
        let inverse = 1.0 / self.factor;
        let gradients = gradients
            .iter()
            .map(|gradient| gradient * inverse)
            .collect();
        self.clean_steps += 1;
        if self.clean_steps == GROW_AFTER {
            self.factor *= 2.0;
            self.clean_steps = 0;
        }
        Some(gradients)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn linear_layers_are_computed_in_bfloat16_inside_and_in_f32_outside() {
        let options = (Kind::Float, Device::Cpu);
        let (x, weight) = (Tensor::ones([2, 3], options), Tensor::ones([4, 3], options));
        let product = || x.linear::<&Tensor>(&weight, None);
        let inside = compute(Precision::Bf16, Device::Cpu, product);
        assert_eq!(inside.kind(), Kind::BFloat16);
        assert_eq!(
            compute(Precision::Fp32, Device::Cpu, product).kind(),
            Kind::Float
        );
        assert_eq!(product().kind(), Kind::Float);
    }

    #[test]
    fn an_infinite_gradient_halves_the_scale_and_is_no_step() {
        assert_eq!(LossScale::of(Precision::Bf16), None);
        let mut scale = LossScale::of(Precision::Fp16).unwrap();
        let loss = Tensor::from_slice(&[2.0_f32]);
        assert!((scale.scaled(&loss).double_value(&[0]) - 131_072.0).abs() < 1e-9);
        let infinite = [loss.shallow_clone(), Tensor::from_slice(&[f32::INFINITY])];
        assert!(scale.unscaled(&infinite).is_none());
        assert!((scale.factor - 32_768.0).abs() < 1e-9);
        let scaled = [scale.scaled(&loss)];
        let gradients = scale.unscaled(&scaled).unwrap();
        assert!((gradients[0].double_value(&[0]) - 2.0).abs() < 1e-9);
        for _ in 1..GROW_AFTER {
            let _gradients = scale.unscaled(&[]);
        }
        assert!((scale.factor - 65_536.0).abs() < 1e-9);
    }
}
