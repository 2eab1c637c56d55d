//! From the name of a device to a device that is there.

use autorep_core::recipe::Precision;
use autorep_core::task::Work;
use tch::Device;

use crate::cuda;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No device is called that.
    #[error("expected a device `cpu` or `cuda:N`, found `{0}`")]
    Name(String),
    /// CUDA's part of libtorch is not there.
    #[error(transparent)]
    Cuda(#[from] cuda::CudaError),
    /// CUDA is there, but not that GPU.
    #[error("expected GPU {wanted}, found {found} GPUs; see `autorep doctor`")]
    NoSuchGpu {
        /// The GPU's number.
        wanted: usize,
        /// GPUs there.
        found: i64,
    },
    /// The task's numbers are for GPUs.
    #[error(
        "expected a GPU for precision fp16, found the CPU: use bf16 or fp32, or a worker with a GPU"
    )]
    HalfOnCpu,
}

/// Opens the device called `cpu`, `cuda` (the first GPU) or `cuda:N`. For a GPU this loads
/// libtorch's CUDA part, so nothing may have asked libtorch about devices before.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let number = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => "0",
        other => other
            .strip_prefix("cuda:")
            .ok_or_else(|| DeviceError::Name(name.to_owned()))?,
    };
    let wanted: usize = number
        .parse()
        .map_err(|_not_a_number| DeviceError::Name(name.to_owned()))?;
    cuda::load()?;
    let found = tch::Cuda::device_count();
    if i64::try_from(wanted).is_ok_and(|wanted| wanted < found) {
        Ok(Device::Cuda(wanted))
    } else {
        Err(DeviceError::NoSuchGpu { wanted, found })
    }
}

/// Refuses float16 on a CPU, where libtorch computes few of its operations.
pub fn check_precision(work: &Work, device: Device) -> Result<(), DeviceError> {
    let Some(schedule) = work.schedule() else {
        return Ok(());
    };
    if schedule.precision == Precision::Fp16 && device == Device::Cpu {
        return Err(DeviceError::HalfOnCpu);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use autorep_core::recipe::{BaselineRecipe, Schedule};

    use super::*;

    #[test]
    fn float16_is_for_gpus() {
        let work = |precision| {
            let schedule = Schedule {
                precision,
                ..Schedule::default()
            };
            Work::Baseline {
                recipe: BaselineRecipe {
                    schedule,
                    weights: None,
                },
            }
        };
        let half = work(Precision::Fp16);
        assert!(matches!(
            check_precision(&half, Device::Cpu),
            Err(DeviceError::HalfOnCpu)
        ));
        assert!(check_precision(&half, Device::Cuda(0)).is_ok());
        assert!(check_precision(&work(Precision::Bf16), Device::Cpu).is_ok());
    }

    #[test]
    fn names_that_are_no_devices_are_refused_before_anything_is_loaded() {
        assert!(matches!(open("cpu"), Ok(Device::Cpu)));
        for name in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert!(matches!(open(name), Err(DeviceError::Name(_))), "{name}");
        }
    }
}
