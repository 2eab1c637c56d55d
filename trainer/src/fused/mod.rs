//! The masked activation as one operator of autograd, in C++ (`masked.cpp`): one pass forward, which
//! saves its input and nothing else, and one pass backward, which also sums the gradients of
//! indicators and coefficients over the batch. Where a batch normalisation comes before it, or a sum
//! of one with something else, these are part of the operator: then neither the normalised map nor
//! the sum is ever stored, and a step needs no more memory than one with plain ReLUs.
//!
//! For maps in f32, f64, bf16 and f16, in planes or channels last; results do not depend on the
//! number of threads. On CUDA devices (`cuda`) kernels do the same for the activation alone: what
//! comes before it is computed first. Where neither is there [`crate::activation`] composes it of
//! tensor operations.

pub mod check;
mod cuda;
pub mod updates;

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use tch::{Device, Kind, Tensor};

use crate::ranks::Ranks;

/// A batch normalisation before an activation; each tensor of shape `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// The factor of the normalised values.
    pub gamma: &'a Tensor,
    /// What is added to them.
    pub beta: &'a Tensor,
    /// Running statistics: moved by a batch in training, used in its place otherwise.
    pub running_mean: &'a Tensor,
    /// See `running_mean`; unbiased.
    pub running_variance: &'a Tensor,
    /// A batch's weight in the running statistics.
    pub momentum: f64,
    /// What is added to a variance.
    pub epsilon: f64,
    /// Whether the batch's own statistics are used.
    pub training: bool,
    /// The ranks whose images these are of.
    pub ranks: &'a Ranks,
}

/// What the operator is applied to.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Of shape [batch, channels, height, width].
    pub z: &'a Tensor,
    /// The normalisation of `z`; `None` where `z` itself is activated. See [`takes_norms`].
    pub norm: Option<Norm<'a>>,
    /// What is added to (normalised) `z` before it is activated, of its shape.
    pub beside: Option<&'a Tensor>,
    /// The indicators or shares of ReLU, of shape [channels, height, width], f32 (f64 for maps in
    /// f64); `None` where none is left.
    pub keep: Option<&'a Tensor>,
    /// Of shape [degree + 1, channels], or [degree + 1, 1]; at most degree 2.
    pub coefficients: &'a Tensor,
    /// Receives the mean and the unbiased variance of what is activated: f32 or f64 of shape
    /// [2, channels].
    pub watched: Option<&'a Tensor>,
}

/// Whether the operator is there for this map. On a CUDA device, the first call for a type of map
/// compiles its kernels.
pub fn is_for(map: &Tensor) -> bool {
    match map.device() {
        Device::Cpu => true,
        Device::Cuda(_) => cuda::launcher_for(map).is_some(),
        Device::Mps | Device::Vulkan => false,
    }
}

/// Why the operator is not there for a device; `None` where it is. For a CUDA device this compiles
/// kernels.
pub fn problem(device: Device) -> Option<String> {
    match device {
        Device::Cpu => None,
        Device::Cuda(_) | Device::Mps | Device::Vulkan => {
            cuda::prepared(&Tensor::zeros([1, 1, 1, 1], (Kind::Float, device))).err()
        }
    }
}

/// Whether the operator for this device takes what comes before the activation: a normalisation
/// ([`Call::norm`]) and a sum ([`Call::beside`]).
pub fn takes_norms(device: Device) -> bool {
    device == Device::Cpu
}

/// What maps of this type are computed in, and their indicators are of.
pub fn computed_in(kind: Kind) -> Kind {
    if kind == Kind::Double {
        Kind::Double
    } else {
        Kind::Float
    }
}

/// `struct AutorepMasked` of `masked.cpp`.
#[repr(C)]
struct Masked {
    z: *const c_void,
    residual: *const c_void,
    keep: *const c_void,
    coefficients: *const c_void,
    gamma: *const c_void,
    beta: *const c_void,
    running_mean: *const c_void,
    running_variance: *const c_void,
    watched: *const c_void,
    ranks: *const c_void,
    momentum: f64,
    epsilon: f64,
    training: bool,
}

#[expect(unsafe_code, reason = "the operator is written in C++")]
mod shim {
    use super::cuda::Launched;
    use super::{Masked, c_char, c_void};

    unsafe extern "C" {
        pub(super) fn autorep_masked_activation(
            call: *const Masked,
            result: *mut *mut c_void,
        ) -> *mut c_char;
        pub(super) fn autorep_launched_activation(
            call: *const Launched,
            result: *mut *mut c_void,
        ) -> *mut c_char;
        pub(super) fn autorep_fused_free(text: *mut c_char);
    }
}

fn pointer(tensor: &Tensor) -> *const c_void {
    tensor.as_ptr().cast()
}

fn optional(tensor: Option<&Tensor>) -> *const c_void {
    tensor.map_or(ptr::null(), pointer)
}

/// Panics with what an operator says went wrong.
fn told(operator: &str, error: *mut c_char) {
    if error.is_null() {
        return;
    }
    #[expect(unsafe_code, reason = "the text comes from C++")]
    // SAFETY: a text that ends with a zero, given back after it was copied.
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        shim::autorep_fused_free(error);
        text
    };
    panic!("{operator}: {text}");
}

impl Call<'_> {
    /// The activation, of the shape and type of `z`, with gradients to all that asks for them.
    ///
    /// # Panics
    ///
    /// If shapes or types do not fit, where [`is_for`] does not hold, and when memory runs out: as
    /// every tensor operation here. If the group of ranks fails, forward or backward, with the
    /// message that it is known by.
    pub fn activation(&self) -> Tensor {
        if self.z.device() == Device::Cpu {
            return self.on_cpu();
        }
        let launcher = cuda::prepared(self.z);
        let launcher = launcher.unwrap_or_else(|why| panic!("masked activation: {why}"));
        cuda::activation(self, launcher)
    }

    fn on_cpu(&self) -> Tensor {
        self.check();
        let norm = self.norm.as_ref();
        let call = Masked {
            z: pointer(self.z),
            residual: optional(self.beside),
            keep: optional(self.keep),
            coefficients: pointer(self.coefficients),
            gamma: optional(norm.map(|norm| norm.gamma)),
            beta: optional(norm.map(|norm| norm.beta)),
            running_mean: optional(norm.map(|norm| norm.running_mean)),
            running_variance: optional(norm.map(|norm| norm.running_variance)),
            watched: optional(self.watched),
            ranks: norm.map_or(ptr::null(), |norm| norm.ranks.as_ptr()),
            momentum: norm.map_or(0.0, |norm| norm.momentum),
            epsilon: norm.map_or(0.0, |norm| norm.epsilon),
            training: norm.is_some_and(|norm| norm.training),
        };
        let mut result = ptr::null_mut();
        #[expect(unsafe_code, reason = "the operator is C++")]
        // SAFETY: every pointer of the call is null or to a tensor that it borrows; a group of ranks,
        // at which the backward pass looks again, is never taken down.
        let error = unsafe { shim::autorep_masked_activation(&raw const call, &raw mut result) };
        told("masked activation", error);
        #[expect(unsafe_code, reason = "the operator is C++")]
        // SAFETY: without an error the result is a new tensor, which nobody else has.
        unsafe {
            Tensor::from_ptr(result.cast())
        }
    }

    /// The kernels take shapes and types as they are.
    fn check(&self) {
        let size = self.z.size();
        let [_, channels, height, width] = size[..] else {
            panic!("masked activation: expected a map of four dimensions, found {size:?}");
        };
        let expect = |what: &str, tensor: &Tensor, wanted: &[i64]| {
            let found = tensor.size();
            let (device, own) = (self.z.device(), tensor.device());
            assert!(
                found == wanted && own == device,
                "masked activation: expected {what} of shape {wanted:?} on {device:?}, found {found:?} on {own:?}"
            );
        };
        expect("a map", self.z, &size);
        if let Some(beside) = self.beside {
            expect("a summand", beside, &size);
            assert_eq!(beside.kind(), self.z.kind(), "masked activation: summands");
        }
        let exact = computed_in(self.z.kind());
        if let Some(keep) = self.keep {
            expect("indicators", keep, &[channels, height, width]);
            assert_eq!(keep.kind(), exact, "masked activation: indicators");
        }
        let [powers, columns] = self.coefficients.size()[..] else {
            panic!("masked activation: expected coefficients of two dimensions");
        };
        assert!(
            (1..=3).contains(&powers) && (columns == 1 || columns == channels),
            "masked activation: expected coefficients of shape [1 to 3, 1 or {channels}], found [{powers}, {columns}]"
        );
        if let Some(norm) = &self.norm {
            for tensor in [
                norm.gamma,
                norm.beta,
                norm.running_mean,
                norm.running_variance,
            ] {
                expect("a normalisation's tensor", tensor, &[channels]);
            }
        }
        if let Some(watched) = self.watched {
            expect("statistics", watched, &[2, channels]);
        }
    }
}

#[cfg(test)]
mod tests;
