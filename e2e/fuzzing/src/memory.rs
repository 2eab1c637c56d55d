//! How much memory something takes at most. libtorch's own is not counted.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most bytes that are allocated at any moment of `work`, beside what was before. What other
/// threads do meanwhile counts too, so nothing else should run.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}
