//! Brings libtorch's CUDA part into this process.
//!
//! The trainer is linked against libtorch's CPU part alone, so that one binary serves machines
//! with and without a GPU. The CUDA part registers itself with the CPU part when it is loaded,
//! which must happen before libtorch is first asked about devices.

use std::error::Error as _;
use std::ffi::c_int;
use std::mem;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// The library, looked for along the run path and `LD_LIBRARY_PATH`.
const LIBRARY: &str = "libtorch_cuda.so";

/// Why CUDA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// The library could not be loaded.
    #[error(
        "cannot load libtorch's CUDA part: {0}; put the `torch/lib` folder of a PyTorch 2.11 with CUDA first in LD_LIBRARY_PATH, or use the device `cpu`"
    )]
    Load(String),
    /// The library was loaded but finds no GPU.
    #[error(
        "libtorch's CUDA part is loaded but finds no GPU; check the driver with `nvidia-smi`, or use the device `cpu`"
    )]
    NoGpu,
}

/// Loads a library for the life of the process; an error is the loader's own message.
fn open(library: &str, flags: c_int) -> Result<(), String> {
    #[expect(unsafe_code, reason = "loading a library runs code of its own")]
    // SAFETY: the initialisers of libtorch's libraries are made to be run by any thread once.
    let loaded = unsafe { Library::open(Some(library), flags) };
    // Never closed, so that nothing in it can dangle.
    loaded.map(mem::forget).map_err(|error| reason(&error))
}

/// What the loader itself says, which the error keeps as its source.
pub(crate) fn reason(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Loads libtorch's CUDA part and checks that it sees a GPU.
pub fn load() -> Result<(), CudaError> {
    open(LIBRARY, RTLD_NOW | RTLD_GLOBAL).map_err(CudaError::Load)?;
    if tch::Cuda::is_available() {
        Ok(())
    } else {
        Err(CudaError::NoGpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named_in_the_error() {
        let error = open("libno_such_library.so", RTLD_NOW).unwrap_err();
        assert!(error.contains("libno_such_library.so"), "{error}");
    }
}
