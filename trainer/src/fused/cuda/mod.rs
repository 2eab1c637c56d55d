//! The masked activation on CUDA devices: one kernel forward and one backward (`kernels.cu.h`),
//! which NVRTC compiles when they are first needed and the driver launches on libtorch's stream.
//! Nothing of CUDA is needed to build or to link: both libraries are found at run time.
//!
//! - `masked.cpp` is the operator of autograd, `geometry.h` how a map is divided among threads;
//! - [`launcher`] is what the operator calls, behind it [`nvrtc`] and [`driver`];
//! - `emulator.h` and `emulated.cpp` run the same kernels without a device, in tests.

mod driver;
mod launcher;
mod nvrtc;

use std::ffi::c_void;
use std::io::Write as _;
use std::ptr;
use std::sync::{Once, OnceLock};

use tch::{Device, Kind, Tensor};

use super::{Call, optional, pointer, shim, told};
pub(super) use launcher::Launcher;
use launcher::{Engine, EngineError};

/// The type of a map's elements; the values are what C++ knows them by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i32)]
enum Element {
    Float32,
    Float64,
    Bfloat16,
    Float16,
}

impl Element {
    const ALL: [Self; 4] = [Self::Float32, Self::Float64, Self::Bfloat16, Self::Float16];

    fn of(kind: Kind) -> Option<Self> {
        if kind == Kind::Float {
            Some(Self::Float32)
        } else if kind == Kind::Double {
            Some(Self::Float64)
        } else if kind == Kind::BFloat16 {
            Some(Self::Bfloat16)
        } else if kind == Kind::Half {
            Some(Self::Float16)
        } else {
            None
        }
    }

    /// Its name in the kernels' source.
    fn name(self) -> &'static str {
        match self {
            Self::Float32 => "Float32",
            Self::Float64 => "Float64",
            Self::Bfloat16 => "Bfloat16",
            Self::Float16 => "Float16",
        }
    }
}

/// The launcher for a map, with the kernels for its type on its device ready. `None` where the
/// activation has to be composed; why is said on stderr, once in a process.
pub(super) fn launcher_for(map: &Tensor) -> Option<&'static Launcher> {
    static SAID: Once = Once::new();
    prepared(map)
        .inspect_err(|why| SAID.call_once(|| say(why)))
        .ok()
}

fn say(why: &str) {
    let _unheard = writeln!(
        std::io::stderr(),
        "masked activations are composed of tensor operations on this device, which takes more time \
         and memory: {why}"
    );
}

/// As [`launcher_for`]; an error says why there is none.
pub(super) fn prepared(map: &Tensor) -> Result<&'static Launcher, String> {
    static LAUNCHER: OnceLock<Result<&'static Launcher, EngineError>> = OnceLock::new();
    let Device::Cuda(device) = map.device() else {
        return Err(format!("expected a CUDA device, found {:?}", map.device()));
    };
    match LAUNCHER.get_or_init(|| Ok(Launcher::new(Engine::open()?))) {
        Ok(launcher) => ready(launcher, device, map).map(|()| *launcher),
        Err(error) => Err(error.to_string()),
    }
}

/// Compiles what a map needs, unless it is there.
fn ready(launcher: &Launcher, device: usize, map: &Tensor) -> Result<(), String> {
    let size = map.size();
    let image: i64 = size[1..].iter().product();
    let fits = size.iter().all(|side| *side > 0) && i32::try_from(image).is_ok();
    let Some(device) = i32::try_from(device).ok().filter(|_| fits) else {
        return Err(format!(
            "expected images of 1 to 2^31 - 1 elements, found a map of shape {size:?}"
        ));
    };
    let Some(element) = Element::of(map.kind()) else {
        return Err(format!("expected a map of floats, found {:?}", map.kind()));
    };
    launcher.prepare(device, element)
}

/// `struct AutorepLaunched` of `masked.cpp`.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Launched {
    z: *const c_void,
    keep: *const c_void,
    coefficients: *const c_void,
    watched: *const c_void,
    launcher: *const c_void,
}

/// As [`Call::activation`], by kernels that are ready for the map and its device.
pub(super) fn activation(call: &Call<'_>, launcher: &'static Launcher) -> Tensor {
    call.check();
    assert!(
        call.norm.is_none() && call.beside.is_none(),
        "masked activation: expected that what comes before it is computed"
    );
    let launched = Launched {
        z: pointer(call.z),
        keep: optional(call.keep),
        coefficients: pointer(call.coefficients),
        watched: optional(call.watched),
        launcher: ptr::from_ref(launcher).cast(),
    };
    let mut result = ptr::null_mut();
    #[expect(unsafe_code, reason = "the operator is C++")]
    // SAFETY: every pointer is null or to a tensor that the call borrows; the launcher lives as long
    // as the process.
    let error = unsafe { shim::autorep_launched_activation(&raw const launched, &raw mut result) };
    told("masked activation", error);
    #[expect(unsafe_code, reason = "the operator is C++")]
    // SAFETY: without an error the result is a new tensor, which nobody else has.
    unsafe {
        Tensor::from_ptr(result.cast())
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
