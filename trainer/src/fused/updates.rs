//! Optimizer steps over many tensors in one call, in place.

use std::ffi::{c_char, c_void};

use tch::Tensor;

use super::{pointer, told};

#[expect(
    unsafe_code,
    reason = "tch has none of libtorch's fused optimizer steps"
)]
mod shim {
    use super::{c_char, c_void};

    pub(super) type Pointers = *const *const c_void;

    unsafe extern "C" {
        pub(super) fn autorep_fused_adam(
            tensors: Pointers,
            gradients: Pointers,
            first: Pointers,
            second: Pointers,
            count: i64,
            lr: f64,
            beta1: f64,
            beta2: f64,
            weight_decay: f64,
            epsilon: f64,
            step: f64,
        ) -> *mut c_char;
        pub(super) fn autorep_fused_sgd(
            tensors: Pointers,
            gradients: Pointers,
            velocities: Pointers,
            count: i64,
            lr: f64,
            momentum: f64,
            weight_decay: f64,
        ) -> *mut c_char;
    }
}

/// Pointers to tensors, valid as long as these are.
fn pointers(tensors: &[&Tensor]) -> Vec<*const c_void> {
    tensors.iter().map(|tensor| pointer(tensor)).collect()
}

/// How many there are of each.
///
/// # Panics
///
/// If some of a tensor's companions are missing or have another size: the operators go over memory.
fn counted(tensors: &[&Tensor], companions: &[&[&Tensor]]) -> i64 {
    for others in companions {
        let sizes = |all: &[&Tensor]| all.iter().map(|it| it.size()).collect::<Vec<_>>();
        assert_eq!(sizes(tensors), sizes(others), "an optimizer's tensors");
    }
    i64::try_from(tensors.len()).unwrap_or(0)
}

/// The constants of an Adam step.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// The learning rate.
    pub lr: f64,
    /// The moments' decay.
    pub betas: [f64; 2],
    /// This times the value is added to the gradient.
    pub weight_decay: f64,
    /// What is added to the root of the second moment.
    pub epsilon: f64,
    /// The step's number, counted from 1.
    pub step: f64,
}

/// Adam on tensors with their gradients and moments.
///
/// # Panics
///
/// As every tensor operation here.
pub fn adam(
    tensors: &[&Tensor],
    gradients: &[&Tensor],
    first: &[&Tensor],
    second: &[&Tensor],
    constants: AdamStep,
) {
    let count = counted(tensors, &[gradients, first, second]);
    let [tensors, gradients, first, second] = [tensors, gradients, first, second].map(pointers);
    let [beta1, beta2] = constants.betas;
    #[expect(unsafe_code, reason = "the operator is C++")]
    // SAFETY: every list holds `count` pointers to tensors that this call borrows.
    let error = unsafe {
        shim::autorep_fused_adam(
            tensors.as_ptr(),
            gradients.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            count,
            constants.lr,
            beta1,
            beta2,
            constants.weight_decay,
            constants.epsilon,
            constants.step,
        )
    };
    told("adam", error);
}

/// Stochastic gradient descent with momentum on tensors with their gradients and velocities.
///
/// # Panics
///
/// As every tensor operation here.
pub fn sgd(
    tensors: &[&Tensor],
    gradients: &[&Tensor],
    velocities: &[&Tensor],
    lr: f64,
    momentum: f64,
    weight_decay: f64,
) {
    let count = counted(tensors, &[gradients, velocities]);
    let [tensors, gradients, velocities] = [tensors, gradients, velocities].map(pointers);
    #[expect(unsafe_code, reason = "the operator is C++")]
    // SAFETY: every list holds `count` pointers to tensors that this call borrows.
    let error = unsafe {
        shim::autorep_fused_sgd(
            tensors.as_ptr(),
            gradients.as_ptr(),
            velocities.as_ptr(),
            count,
            lr,
            momentum,
            weight_decay,
        )
    };
    told("sgd", error);
}
