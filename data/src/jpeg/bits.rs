//! The bits of entropy-coded data, without the zero bytes that are stuffed behind `0xff`.

/// Reads bits, the highest of each byte first. It stops at a marker: what is read beyond is zero,
/// and [`Self::overrun`] tells that it was.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not in the buffer.
    at: usize,
    /// Bits that are not consumed, from the highest one down.
    buffer: u64,
    /// How many of them the buffer holds.
    count: u32,
    /// How many of those, the last ones, are not in the data.
    made_up: u32,
}

/// Bits that [`Bits::refill`] makes available: more than a symbol and its value have together.
const ENOUGH: u32 = 32;

impl<'a> Bits<'a> {
    /// The bits from a byte of a file on.
    pub(super) const fn new(data: &'a [u8], at: usize) -> Self {
        Self {
            data,
            at,
            buffer: 0,
            count: 0,
            made_up: 0,
        }
    }

    /// The next bits, from the highest one down: at least 32 after [`Self::refill`], less what
    /// was consumed since.
    #[inline(always)]
    pub(super) const fn next(&self) -> u64 {
        self.buffer
    }

    /// Steps over some of the bits that a refill made available.
    #[inline(always)]
    pub(super) const fn consume(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count = self.count.wrapping_sub(bits);
    }

    /// Makes the next 32 bits available.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if self.count >= ENOUGH {
            return;
        }
        if let Some(chunk) = self.data.get(self.at..)
            && let Some(word) = chunk.first_chunk::<4>()
        {
            let word = u32::from_be_bytes(*word);
            // A byte of ones has no bit set in the complement: the lowest such borrows.
            let has_ff = (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 != 0;
            if !has_ff {
                self.buffer |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.refill_bytewise();
    }

    #[cold]
    #[inline(never)]
    fn refill_bytewise(&mut self) {
        while self.count <= 56 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                // Any number of these may stand before a marker.
                (Some(0xff), Some(0xff)) => {
                    self.at += 1;
                    continue;
                }
                (Some(0xff) | None, _) => {
                    self.made_up += 8;
                    0
                }
                (Some(byte), _) => {
                    self.at += 1;
                    *byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Whether bits were consumed that the data does not have.
    pub(super) const fn overrun(&self) -> bool {
        self.count < self.made_up
    }

    /// Steps over the bits that fill the last byte, and over the restart marker `RST0` to `RST7`
    /// of this number. `None` if something else is there.
    pub(super) fn restart(&mut self, number: usize) -> Option<()> {
        if self.overrun() || self.count - self.made_up >= 8 {
            return None;
        }
        while self.data.get(self.at..self.at + 2)? == [0xff, 0xff] {
            self.at += 1;
        }
        let [0xff, marker] = *self.data.get(self.at..self.at + 2)? else {
            return None;
        };
        if usize::from(marker) != 0xd0 + number % 8 {
            return None;
        }
        *self = Self::new(self.data, self.at + 2);
        Some(())
    }

    /// Whether the end of the image (`EOI`) is marked anywhere behind what was read.
    pub(super) fn ends(&self) -> bool {
        let rest = self.data.get(self.at..).unwrap_or_default();
        rest.windows(2).any(|pair| pair == [0xff, 0xd9])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bits: &mut Bits<'_>, count: u32) -> u64 {
        bits.refill();
        let value = bits.next() >> (64 - count);
        bits.consume(count);
        value
    }

    #[test]
    fn stuffed_zeros_are_no_data_and_a_marker_ends_it() {
        let data = [0x12, 0xff, 0, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xff, 0xd9];
        let mut bits = Bits::new(&data, 0);
        let found: Vec<u64> = (0..7).map(|_| take(&mut bits, 8)).collect();
        assert_eq!(found, [0x12, 0xff, 0x34, 0x56, 0x78, 0x9a, 0xbc]);
        assert!(!bits.overrun() && bits.ends());
        assert_eq!(take(&mut bits, 1), 0);
        assert!(bits.overrun());
    }

    #[test]
    fn a_restart_marker_is_stepped_over_only_where_it_is_due() {
        let data = [0xab, 0xff, 0xff, 0xd3, 0xcd, 0xff, 0xd9];
        let mut bits = Bits::new(&data, 0);
        assert_eq!(bits.clone().restart(3), None);
        assert_eq!(take(&mut bits, 4), 0xa);
        assert_eq!(bits.clone().restart(2), None);
        bits.restart(11).unwrap();
        assert_eq!(take(&mut bits, 8), 0xcd);
        assert_eq!(bits.restart(4), None);
    }
}
