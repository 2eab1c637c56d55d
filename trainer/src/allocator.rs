//! Tells the C library's allocator to keep memory that was freed.
//!
//! Every step of training allocates and frees the same few hundred tensors of some megabytes. By
//! default glibc returns such blocks to the kernel and asks for them again, and each page is then
//! faulted in and zeroed anew: up to half of a small net's time on a CPU.

use std::ffi::c_int;

const M_TRIM_THRESHOLD: c_int = -1;
const M_TOP_PAD: c_int = -2;
const M_MMAP_THRESHOLD: c_int = -3;

/// The largest threshold that glibc accepts.
const LARGEST_BLOCK: c_int = 32 << 20;

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe interface")]
mod glibc {
    use super::c_int;

    unsafe extern "C" {
        safe fn mallopt(param: c_int, value: c_int) -> c_int;
    }

    pub(super) fn set(param: c_int, value: c_int) {
        // A refused value leaves the default, which is slower and nothing else.
        let _accepted = mallopt(param, value);
    }
}

/// Keeps freed memory in the process: blocks up to 32 MiB come from the heap, and the heap is not
/// given back. For programs that train and then end.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        glibc::set(M_MMAP_THRESHOLD, LARGEST_BLOCK);
        glibc::set(M_TRIM_THRESHOLD, c_int::MAX);
        glibc::set(M_TOP_PAD, LARGEST_BLOCK);
    }
}
