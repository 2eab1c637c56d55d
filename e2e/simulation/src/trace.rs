//! What happened, in order: hashed always, printed on demand.

use std::sync::Mutex;

/// The trace of one world.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Mutex<u64>,
    print: bool,
}

impl Trace {
    pub(crate) const fn new(print: bool) -> Self {
        // The offset of 64-bit FNV-1a.
        Self {
            hash: Mutex::new(0xcbf2_9ce4_8422_2325),
            print,
        }
    }

    /// Adds a line.
    #[expect(clippy::print_stdout, reason = "a replay is to be read")]
    pub(crate) fn note(&self, at_ms: u64, line: &str) {
        if self.print {
            println!("{:>8}.{:03}  {line}", at_ms / 1000, at_ms % 1000);
        }
        let mut hash = (self.hash.lock()).unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes = at_ms.to_le_bytes();
        for byte in bytes.iter().chain(line.as_bytes()) {
            *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Equal for equal traces.
    pub(crate) fn digest(&self) -> u64 {
        *(self.hash.lock()).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
