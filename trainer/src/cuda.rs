//! Brings libtorch's CUDA part into this process.
//!
//! The trainer is linked against libtorch's CPU part alone, so that one binary serves machines
//! with and without a GPU. The CUDA part registers itself with the CPU part when it is loaded,
//! which must happen before libtorch is first asked about devices.

use std::ffi::{CStr, c_char, c_int, c_void};

/// The library, looked for along the run path and `LD_LIBRARY_PATH`.
const LIBRARY: &CStr = c"libtorch_cuda.so";

const RTLD_NOW: c_int = 0x2;
const RTLD_GLOBAL: c_int = 0x100;

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

#[expect(unsafe_code, reason = "the dynamic loader has no safe interface")]
mod loader {
    use super::{CStr, c_char, c_int, c_void};

    unsafe extern "C" {
        fn dlopen(filename: *const c_char, flags: c_int) -> *mut c_void;
        fn dlerror() -> *const c_char;
    }

    /// Loads a library for the life of the process; an error is the loader's own message.
    pub(super) fn open(library: &CStr, flags: c_int) -> Result<(), String> {
        // SAFETY: `library` is a string that ends in a zero byte and outlives the call. Loading
        // runs the library's initialisers; libtorch's are made to be run by any thread once. The
        // handle is never closed, so that nothing in it can dangle.
        let handle = unsafe { dlopen(library.as_ptr(), flags) };
        if !handle.is_null() {
            return Ok(());
        }
        // SAFETY: no arguments; the result is null or a string that stays valid until this
        // thread's next call of the loader, and it is copied at once.
        let message = unsafe {
            let message = dlerror();
            (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
        };
        Err(message.unwrap_or_else(|| "no reason given".to_owned()))
    }
}

/// Loads libtorch's CUDA part and checks that it sees a GPU.
pub fn load() -> Result<(), CudaError> {
    loader::open(LIBRARY, RTLD_NOW | RTLD_GLOBAL).map_err(CudaError::Load)?;
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
        let error = loader::open(c"libno_such_library.so", RTLD_NOW).unwrap_err();
        assert!(error.contains("libno_such_library.so"), "{error}");
    }
}
