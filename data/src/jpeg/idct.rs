//! The inverse cosine transform of 8 x 8 coefficients to 8, 4, 2 or 1 pixels a side.
//!
//! The arithmetic is that of libjpeg's `jidctint.c` and `jidctred.c` (Loeffler, Ligtenberg and
//! Moschytz 1989, with whole numbers of 13 binary places), so that pixels are those of Pillow.
//! Eight columns, then eight rows are transformed at a time, for the compiler to put side by side.

use std::ops::{Add, Mul, Shl, Sub};

/// Binary places of the factors.
pub(super) const CONST_BITS: u32 = 13;
/// Binary places of what lies between the two passes.
pub(super) const PASS_BITS: u32 = 2;

/// The coefficients of a block row by row, and the steps by which they were quantised.
pub(super) type Block = [i16; 64];
/// See [`Block`].
pub(super) type Steps = [u16; 64];

/// Eight numbers side by side. Damaged files may overflow them, which changes only their pixels.
#[derive(Clone, Copy)]
struct Lanes([i32; 8]);

impl Lanes {
    const ZERO: Self = Self([0; 8]);

    #[inline(always)]
    fn each(self, other: Self, what: impl Fn(i32, i32) -> i32) -> Self {
        let mut lanes = self.0;
        for (lane, other) in lanes.iter_mut().zip(other.0) {
            *lane = what(*lane, other);
        }
        Self(lanes)
    }

    /// Divided by two to the `bits`, rounded to the nearest.
    #[inline(always)]
    fn descale(self, bits: u32) -> Self {
        let half = Self([1 << (bits - 1); 8]);
        (self + half).each(half, |lane, _| lane >> bits)
    }
}

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.each(other, i32::wrapping_add)
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.each(other, i32::wrapping_sub)
    }
}

impl Mul<i32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        self.each(self, |lane, _| lane.wrapping_mul(factor))
    }
}

impl Shl<u32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        self.each(self, |lane, _| lane << bits)
    }
}

/// Rows of coefficients become columns.
#[inline(always)]
fn transposed(rows: [Lanes; 8]) -> [Lanes; 8] {
    let mut columns = [Lanes::ZERO; 8];
    for (at, column) in columns.iter_mut().enumerate() {
        for (row, lane) in rows.iter().zip(&mut column.0) {
            *lane = row.0[at];
        }
    }
    columns
}

#[inline(always)]
fn dequantised(block: &Block, steps: &Steps) -> [Lanes; 8] {
    let mut rows = [Lanes::ZERO; 8];
    for (row, lanes) in rows.iter_mut().enumerate() {
        for (at, lane) in lanes.0.iter_mut().enumerate() {
            *lane = i32::from(block[8 * row + at]) * i32::from(steps[8 * row + at]);
        }
    }
    rows
}

/// The transform of eight lines of eight, each divided by two to the `down`.
#[inline(always)]
fn eight(z: [Lanes; 8], down: u32) -> [Lanes; 8] {
    let shared = (z[2] + z[6]) * 4433;
    let (low, high) = (shared - z[6] * 15137, shared + z[2] * 6270);
    let (sum, difference) = ((z[0] + z[4]) << CONST_BITS, (z[0] - z[4]) << CONST_BITS);
    let even = [sum + high, difference + low, difference - low, sum - high];

    let [z1, z2, z3, z4] = [z[7] + z[1], z[5] + z[3], z[7] + z[3], z[5] + z[1]];
    let z5 = (z3 + z4) * 9633;
    let (z3, z4) = (z5 - z3 * 16069, z5 - z4 * 3196);
    let (z1, z2) = (z1 * 7373, z2 * 20995);
    let odd = [
        z[1] * 12299 - z1 + z4,
        z[3] * 25172 - z2 + z3,
        z[5] * 16819 - z2 + z4,
        z[7] * 2446 - z1 + z3,
    ];
    let mut out = [Lanes::ZERO; 8];
    for at in 0..4 {
        out[at] = (even[at] + odd[at]).descale(down);
        out[7 - at] = (even[at] - odd[at]).descale(down);
    }
    out
}

/// Eight lines of eight to four each; the fifth coefficient is not in it.
#[inline(always)]
fn four(z: [Lanes; 8], down: u32) -> [Lanes; 4] {
    let dc = z[0] << (CONST_BITS + 1);
    let turn = z[2] * 15137 - z[6] * 6270;
    let even = [dc + turn, dc - turn];
    let odd = [
        z[1] * 20995 + z[3] * 7373 - z[5] * 4926 - z[7] * 4176,
        z[1] * 8697 - z[3] * 17799 + z[5] * 11893 - z[7] * 1730,
    ];
    [
        (even[0] + odd[0]).descale(down + 1),
        (even[1] + odd[1]).descale(down + 1),
        (even[1] - odd[1]).descale(down + 1),
        (even[0] - odd[0]).descale(down + 1),
    ]
}

/// Eight lines of eight to two each; of even coefficients only the first is in it.
#[inline(always)]
fn two(z: [Lanes; 8], down: u32) -> [Lanes; 2] {
    let dc = z[0] << (CONST_BITS + 2);
    let odd = z[1] * 29692 - z[3] * 10426 + z[5] * 6967 - z[7] * 5906;
    [(dc + odd).descale(down + 2), (dc - odd).descale(down + 2)]
}

/// A pixel: 128 is where a cosine is zero.
#[inline(always)]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte")]
fn pixel(level: i32) -> u8 {
    (level.wrapping_add(128)).clamp(0, 255) as u8
}

const FIRST: u32 = CONST_BITS - PASS_BITS;
const SECOND: u32 = CONST_BITS + PASS_BITS + 3;

/// Writes the block's 8 x 8 pixels to the beginning of `out`, whose rows are `stride` bytes apart.
#[inline(always)]
pub(super) fn inverse(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let between = eight(dequantised(block, steps), FIRST);
    let rows = transposed(eight(transposed(between), SECOND));
    for (row, line) in rows.iter().zip(out.chunks_mut(stride)) {
        for (lane, byte) in row.0.iter().zip(&mut line[..8]) {
            *byte = pixel(*lane);
        }
    }
}

/// As [`inverse`], to `side` x `side` pixels: 4, 2 or 1.
#[inline(always)]
pub(super) fn reduced(block: &Block, steps: &Steps, side: usize, out: &mut [u8], stride: usize) {
    match side {
        4 => {
            let between = four(dequantised(block, steps), FIRST);
            store(&four(turned(&between), SECOND), 4, out, stride);
        }
        2 => {
            let between = two(dequantised(block, steps), FIRST);
            store(&two(turned(&between), SECOND), 2, out, stride);
        }
        _ => out[0] = constant(block, steps),
    }
}

/// The few lines between the passes of a reduced transform, as columns.
#[inline(always)]
fn turned(lines: &[Lanes]) -> [Lanes; 8] {
    let mut rows = [Lanes::ZERO; 8];
    for (row, line) in rows.iter_mut().zip(lines) {
        *row = *line;
    }
    transposed(rows)
}

/// Writes columns of a reduced transform.
#[inline(always)]
fn store(columns: &[Lanes], side: usize, out: &mut [u8], stride: usize) {
    for (row, line) in out.chunks_mut(stride).take(side).enumerate() {
        for (column, byte) in columns.iter().zip(line) {
            *byte = pixel(column.0[row]);
        }
    }
}

/// The pixel of a block that is all one colour.
#[inline(always)]
pub(super) fn constant(block: &Block, steps: &Steps) -> u8 {
    let level = i32::from(block[0]) * i32::from(steps[0]);
    pixel((level + 4) >> 3)
}
