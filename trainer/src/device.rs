//! From the name of a device to a device that is there.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_devices_are_refused_before_anything_is_loaded() {
        assert!(matches!(open("cpu"), Ok(Device::Cpu)));
        for name in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert!(matches!(open(name), Err(DeviceError::Name(_))), "{name}");
        }
    }
}
