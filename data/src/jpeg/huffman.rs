//! Huffman codes: a table lookup for short ones, a search by length for the others.

use super::bits::Bits;

/// Codes of at most so many bits are looked up.
const LOOKUP_BITS: u32 = 10;

/// What one code stands for: a run of zeros and the size of the number behind it (of DC codes:
/// the size alone).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Symbol {
    /// Zero coefficients before the number.
    pub(super) run: usize,
    /// The number's bits; zero where there is no number.
    pub(super) size: u32,
    /// The number.
    pub(super) value: i32,
}

/// A Huffman code of JPEG (ITU-T T.81, annexes C and F.2.2.3).
#[derive(Clone, Debug)]
pub(super) struct Code {
    /// By the next bits: the bits of code and number together, the bits of the number << 8, the
    /// run << 16 and the bits of the code << 24; zero where the code is longer.
    lookup: Box<[u32; 1 << LOOKUP_BITS]>,
    /// By length: the first code beyond those of this length, from the highest of 16 bits down.
    beyond: [u32; 17],
    /// By length: what to add to a code for its place among the symbols.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Default for Code {
    fn default() -> Self {
        Self {
            lookup: Box::new([0; 1 << LOOKUP_BITS]),
            beyond: [0; 17],
            offset: [0; 17],
            symbols: Vec::new(),
        }
    }
}

impl Code {
    /// Becomes the code with so many codes of each length from 1 to 16, and their symbols in the
    /// order of codes. `None` if there is no such code.
    pub(super) fn define(&mut self, counts: &[u8; 16], symbols: &[u8]) -> Option<()> {
        self.lookup.fill(0);
        self.symbols.clear();
        self.symbols.extend_from_slice(symbols);
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1_u32..).zip(counts) {
            let at = length as usize;
            self.offset[at] = i32::try_from(place).ok()? - i32::try_from(code).ok()?;
            for _ in 0..*count {
                let symbol = u32::from(*symbols.get(place)?);
                if code >= 1 << length {
                    return None;
                }
                if length <= LOOKUP_BITS {
                    let spread = LOOKUP_BITS - length;
                    let first = (code << spread) as usize;
                    let (run, size) = (symbol >> 4, symbol & 15);
                    let entry = (length + size) | size << 8 | run << 16 | length << 24;
                    self.lookup[first..first + (1 << spread)].fill(entry);
                }
                code += 1;
                place += 1;
            }
            self.beyond[at] = code << (16 - length);
            code <<= 1;
        }
        (place == symbols.len()).then_some(())
    }

    /// The next symbol with its number. `None` if no code begins with these bits.
    #[inline(always)]
    pub(super) fn next(&self, bits: &mut Bits<'_>) -> Option<Symbol> {
        bits.refill();
        let next = bits.next();
        let mut entry = self.lookup[(next >> (64 - LOOKUP_BITS)) as usize];
        if entry == 0 {
            entry = self.search(next)?;
        }
        let size = entry >> 8 & 15;
        let value = number(next << (entry >> 24), size);
        bits.consume(entry & 0xff);
        Some(Symbol {
            run: (entry >> 16 & 15) as usize,
            size,
            value,
        })
    }

    /// As [`Self::next`] without the number.
    #[inline(always)]
    pub(super) fn skip(&self, bits: &mut Bits<'_>) -> Option<(usize, u32)> {
        bits.refill();
        let next = bits.next();
        let mut entry = self.lookup[(next >> (64 - LOOKUP_BITS)) as usize];
        if entry == 0 {
            entry = self.search(next)?;
        }
        bits.consume(entry & 0xff);
        Some(((entry >> 16 & 15) as usize, entry >> 8 & 15))
    }

    #[cold]
    #[inline(never)]
    fn search(&self, next: u64) -> Option<u32> {
        let sixteen = u32::try_from(next >> 48).ok()?;
        let length = (LOOKUP_BITS + 1..=16).find(|at| sixteen < self.beyond[*at as usize])?;
        let code = i32::try_from(sixteen >> (16 - length)).ok()?;
        let place = usize::try_from(code + self.offset[length as usize]).ok()?;
        let symbol = u32::from(*self.symbols.get(place)?);
        let (run, size) = (symbol >> 4, symbol & 15);
        Some((length + size) | size << 8 | run << 16 | length << 24)
    }
}

/// The number in the highest `size` bits (F.2.2.1, EXTEND): a first bit of zero means a negative
/// one. Zero of no bits.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "at most fifteen bits are left after the shift"
)]
const fn number(bits: u64, size: u32) -> i32 {
    // Ones where the number is negative.
    let negative = !((bits as i64) >> 63);
    // Two shifts: one by 64 is not defined.
    let magnitude = ((bits ^ negative as u64) >> 1) >> (63 - size);
    ((magnitude as i64 ^ negative) - negative) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_extended_as_the_standard_says() {
        let of = |value: u64, size: u32| number(value << (64 - size), size);
        assert_eq!([of(0, 1), of(1, 1)], [-1, 1]);
        assert_eq!([of(0, 3), of(3, 3), of(4, 3), of(7, 3)], [-7, -4, 4, 7]);
        assert_eq!([of(0, 11), of(2047, 11)], [-2047, 2047]);
        assert_eq!([number(u64::MAX, 0), number(0, 0)], [0, 0]);
    }

    /// Codes of 1, 2, …, 12 bits: `0`, `10`, `110`, …; longer ones are searched for.
    #[test]
    fn short_and_long_codes_give_their_symbols_and_numbers() {
        let mut counts = [0; 16];
        counts[..12].fill(1);
        let symbols: Vec<u8> = (0..12).map(|run| run << 4 | 2).collect();
        let mut code = Code::default();
        code.define(&counts, &symbols).unwrap();
        for (length, run) in (1_u32..=12).zip(0..) {
            // The code, then the number 0b10, which is 2.
            let ones = !(u64::MAX >> (length - 1));
            let bits = ones | 0b10 << (62 - length);
            let data: Vec<u8> = bits
                .to_be_bytes()
                .into_iter()
                .flat_map(|byte| {
                    // As in a file: a zero behind 0xff.
                    [byte, 0].into_iter().take(if byte == 0xff { 2 } else { 1 })
                })
                .collect();
            let wanted = Symbol {
                run,
                size: 2,
                value: 2,
            };
            assert_eq!(
                code.next(&mut Bits::new(&data, 0)),
                Some(wanted),
                "{length}"
            );
            let mut bits = Bits::new(&data, 0);
            assert_eq!(code.skip(&mut bits), Some((run, 2)));
            assert_eq!(bits.next(), bits_after(&data, length + 2));
        }
        let ones = [0xff, 0, 0xff, 0];
        assert_eq!(code.next(&mut Bits::new(&ones, 0)), None);
    }

    fn bits_after(data: &[u8], count: u32) -> u64 {
        let mut bits = Bits::new(data, 0);
        bits.refill();
        bits.consume(count);
        bits.next()
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let mut code = Code::default();
        let mut counts = [0; 16];
        counts[0] = 3;
        assert_eq!(code.define(&counts, &[1, 2, 3]), None);
        counts[0] = 2;
        assert_eq!(code.define(&counts, &[1]), None);
        assert_eq!(code.define(&counts, &[1, 2, 3]), None);
        assert_eq!(code.define(&counts, &[1, 2]), Some(()));
    }
}
