//! The C++ beside this file, made safe to call.

#![expect(
    unsafe_code,
    reason = "libtorch's process groups are reached through C++"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::ptr;
use std::time::Duration;

use tch::Tensor;

use super::RanksError;

/// Something that C++ owns.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        #[repr(C)]
        struct $name {
            _data: [u8; 0],
            _marker: PhantomData<(*mut u8, PhantomPinned)>,
        }
    )*};
}

opaque!(CStore, CGroup, CBuckets, CTensor);

unsafe extern "C" {
    fn autorep_ranks_forget(text: *mut c_char);
    fn autorep_ranks_meet(
        host: *const c_char,
        port: u16,
        leads: bool,
        deadline_ms: u64,
        listens: *mut u16,
        store: *mut *mut CStore,
    ) -> *mut c_char;
    fn autorep_ranks_part(store: *mut CStore);
    fn autorep_ranks_open(
        store: *mut CStore,
        host: *const c_char,
        rank: c_int,
        ranks: c_int,
        cuda: bool,
        deadline_ms: u64,
        group: *mut *mut CGroup,
    ) -> *mut c_char;
    #[cfg(test)]
    fn autorep_ranks_close(group: *mut CGroup);
    fn autorep_ranks_sum(group: *mut CGroup, tensor: *const CTensor) -> *mut c_char;
    fn autorep_ranks_agree(group: *mut CGroup, tensor: *const CTensor) -> *mut c_char;
    fn autorep_ranks_broadcast(group: *mut CGroup, tensor: *const CTensor) -> *mut c_char;
    fn autorep_ranks_batch_norm(
        group: *mut CGroup,
        x: *const CTensor,
        scale: *const CTensor,
        shift: *const CTensor,
        running_mean: *const CTensor,
        running_variance: *const CTensor,
        updates: bool,
        momentum: f64,
        epsilon: f64,
        y: *mut *mut CTensor,
    ) -> *mut c_char;
    fn autorep_buckets_lay_out(
        group: *mut CGroup,
        leaves: *const *const CTensor,
        count: usize,
        first_bytes: i64,
        bytes: i64,
        buckets: *mut *mut CBuckets,
    ) -> *mut c_char;
    fn autorep_buckets_drop(buckets: *mut CBuckets);
    fn autorep_buckets_begin(buckets: *mut CBuckets);
    fn autorep_buckets_finish(
        buckets: *mut CBuckets,
        gradients: *mut *mut CTensor,
        times: *mut f64,
    ) -> *mut c_char;
}

/// What a call said of itself.
fn checked(text: *mut c_char) -> Result<(), RanksError> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: a call's text is a string that ends in a zero byte and is ours until it is forgotten,
    // which happens once, here.
    let message = unsafe {
        let message = CStr::from_ptr(text).to_string_lossy().into_owned();
        autorep_ranks_forget(text);
        message
    };
    Err(RanksError::of(&message))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn text(host: &str) -> Result<CString, RanksError> {
    CString::new(host).map_err(|_zero| RanksError::of("a host's name with a zero byte in it"))
}

/// libtorch's own tensor behind tch's.
fn raw(tensor: &Tensor) -> *const CTensor {
    tensor.as_ptr().cast()
}

/// A place where ranks meet.
#[derive(Debug)]
pub(super) struct Meeting {
    store: *mut CStore,
    pub(super) port: u16,
}

impl Meeting {
    pub(super) fn start(
        host: &str,
        port: u16,
        leads: bool,
        deadline: Duration,
    ) -> Result<Self, RanksError> {
        let (host, mut listens, mut store) = (text(host)?, port, ptr::null_mut());
        // SAFETY: `host` ends in a zero byte and outlives the call; the two places are ours.
        checked(unsafe {
            autorep_ranks_meet(
                host.as_ptr(),
                port,
                leads,
                milliseconds(deadline),
                &raw mut listens,
                &raw mut store,
            )
        })?;
        Ok(Self {
            store,
            port: listens,
        })
    }

    pub(super) fn open(
        mut self,
        host: &str,
        [rank, ranks]: [u32; 2],
        cuda: bool,
        deadline: Duration,
    ) -> Result<Group, RanksError> {
        let number = |number: u32| c_int::try_from(number).unwrap_or(c_int::MAX);
        let host = text(host)?;
        let mut group = ptr::null_mut();
        let store = std::mem::replace(&mut self.store, ptr::null_mut());
        // SAFETY: the store is one that a call made, and is given away here; it is not looked at
        // again. `host` ends in a zero byte; the place is ours.
        checked(unsafe {
            autorep_ranks_open(
                store,
                host.as_ptr(),
                number(rank),
                number(ranks),
                cuda,
                milliseconds(deadline),
                &raw mut group,
            )
        })?;
        Ok(Group { group })
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        if !self.store.is_null() {
            // SAFETY: made by a call, not given away, dropped once.
            unsafe { autorep_ranks_part(self.store) }
        }
    }
}

/// A group that is complete. It is never taken down: its process ends with its task, the system then
/// closes what it had open, and a backward pass may look at it until then. Taking it down would only
/// make the end of a task wait for Gloo's threads.
#[derive(Debug)]
pub(super) struct Group {
    group: *mut CGroup,
}

// SAFETY: a group is pointers to libtorch's backends, which any thread may use; that the ranks call
// in one order is up to the caller, and no matter of memory.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    pub(super) fn as_ptr(&self) -> *const c_void {
        self.group.cast_const().cast()
    }

    pub(super) fn sum(&self, tensor: &Tensor) -> Result<(), RanksError> {
        // SAFETY: the group and the tensor outlive the call.
        checked(unsafe { autorep_ranks_sum(self.group, raw(tensor)) })
    }

    pub(super) fn agree(&self, tensor: &Tensor) -> Result<(), RanksError> {
        debug_assert_eq!(tensor.device(), tch::Device::Cpu);
        // SAFETY: the group and the tensor outlive the call.
        checked(unsafe { autorep_ranks_agree(self.group, raw(tensor)) })
    }

    pub(super) fn broadcast(&self, tensor: &Tensor) -> Result<(), RanksError> {
        // SAFETY: the group and the tensor outlive the call.
        checked(unsafe { autorep_ranks_broadcast(self.group, raw(tensor)) })
    }

    /// `norm` is scale, shift, running mean, running variance.
    pub(super) fn batch_norm(
        &self,
        x: &Tensor,
        norm: [&Tensor; 4],
        updates: bool,
        momentum: f64,
        epsilon: f64,
    ) -> Result<Tensor, RanksError> {
        let [scale, shift, mean, variance] = norm.map(raw);
        let mut y = ptr::null_mut();
        // SAFETY: group and tensors outlive the call. The backward pass looks at the group again,
        // which is never taken down. What comes back is a new tensor that is ours.
        unsafe {
            checked(autorep_ranks_batch_norm(
                self.group,
                raw(x),
                scale,
                shift,
                mean,
                variance,
                updates,
                momentum,
                epsilon,
                &raw mut y,
            ))?;
            Ok(Tensor::from_ptr(y.cast()))
        }
    }
}

#[cfg(test)]
impl Group {
    /// Takes the group down, as the end of its process does. Nothing may use it afterwards.
    pub(super) fn close(&self) {
        // SAFETY: made by a call; the test that closes it does so once and uses it no more.
        unsafe { autorep_ranks_close(self.group) }
    }
}

/// Gradients in buckets.
#[derive(Debug)]
pub(super) struct Buckets {
    buckets: *mut CBuckets,
    leaves: usize,
}

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Buckets {}

impl Buckets {
    /// Hooks stay on the leaves until the buckets are dropped.
    pub(super) fn lay_out(
        group: &Group,
        leaves: &[&Tensor],
        first_bytes: i64,
        bytes: i64,
    ) -> Result<Self, RanksError> {
        let tensors: Vec<*const CTensor> = leaves.iter().map(|leaf| raw(leaf)).collect();
        let mut buckets = ptr::null_mut();
        // SAFETY: the group and the list with its tensors outlive the call; the buckets hold the
        // group's backend and the tensors themselves. The place is ours.
        checked(unsafe {
            autorep_buckets_lay_out(
                group.group,
                tensors.as_ptr(),
                tensors.len(),
                first_bytes,
                bytes,
                &raw mut buckets,
            )
        })?;
        let leaves = leaves.len();
        Ok(Self { buckets, leaves })
    }

    /// From here on gradients that arrive are taken.
    pub(super) fn begin(&mut self) {
        // SAFETY: made by a call and not dropped yet.
        unsafe { autorep_buckets_begin(self.buckets) }
    }

    /// The sums, views of memory that the next pass writes over, and [bytes, seconds in which sums
    /// were under way, those of them after the pass].
    pub(super) fn finish(&mut self) -> Result<(Vec<Tensor>, [f64; 3]), RanksError> {
        let mut gradients: Vec<*mut CTensor> = vec![ptr::null_mut(); self.leaves];
        let mut times = [0.0; 3];
        // SAFETY: there is a place for each leaf's gradient and three for the times. What comes
        // back are new tensors that are ours.
        unsafe {
            checked(autorep_buckets_finish(
                self.buckets,
                gradients.as_mut_ptr(),
                times.as_mut_ptr(),
            ))?;
            let gradients = gradients.into_iter();
            let gradients = gradients.map(|tensor| Tensor::from_ptr(tensor.cast()));
            Ok((gradients.collect(), times))
        }
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        // SAFETY: made by a call, dropped once; no pass is under way, since passes borrow the
        // buckets.
        unsafe { autorep_buckets_drop(self.buckets) }
    }
}
