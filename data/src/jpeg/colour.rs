//! From luma and chroma to red, green and blue, as libjpeg does it.

use std::ops::Range;

/// One row of a component, in columns of its own, and the first of them that is there.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) samples: &'a [u8],
    pub(super) first: usize,
}

/// Writes red, green, blue of each pixel (JFIF 1.02; `jdcolor.c`'s sixteen binary places).
#[inline(always)]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte")]
pub(super) fn to_rgb(luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    let pixels = out.as_chunks_mut::<3>().0.iter_mut();
    for (((pixel, y), cb), cr) in pixels.zip(luma).zip(cb).zip(cr) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        let red = y + ((91_881 * cr + HALF) >> 16);
        let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
        let blue = y + ((116_130 * cb + HALF) >> 16);
        *pixel = [red, green, blue].map(|level| level.clamp(0, 255) as u8);
    }
}

/// Writes a grey row as colours.
#[inline(always)]
pub(super) fn grey_to_rgb(luma: &[u8], out: &mut [u8]) {
    for (pixel, level) in out.as_chunks_mut::<3>().0.iter_mut().zip(luma) {
        *pixel = [*level; 3];
    }
}

/// The chroma of pixels `from..from + out.len()` of a row, of which a sample belongs to two side
/// by side: three quarters of its own and one of the next nearest (`h2v1_fancy_upsample`).
/// `columns` is how many samples the picture has in a row.
#[inline(always)]
pub(super) fn widen(
    row: Row<'_>,
    columns: usize,
    from: usize,
    out: &mut [u8],
    sums: &mut Vec<u16>,
) {
    let around = Around::of(columns, from, out.len());
    around.each(sums, row, row, |sample, _| u16::from(sample));
    spread(sums, from, out, [1, 2], 2);
}

/// As [`widen`], where a sample also belongs to two rows: `near` is the one that the pixels are
/// in, `far` the next nearest (`h2v2_fancy_upsample`).
#[inline(always)]
pub(super) fn widen_both_ways(
    near: Row<'_>,
    far: Row<'_>,
    columns: usize,
    from: usize,
    out: &mut [u8],
    sums: &mut Vec<u16>,
) {
    let around = Around::of(columns, from, out.len());
    around.each(sums, near, far, |near, far| {
        3 * u16::from(near) + u16::from(far)
    });
    spread(sums, from, out, [8, 7], 4);
}

/// The samples that decide some pixels of a row: those that the pixels belong to, and one more on
/// each side; beyond the picture's edge the last one again.
struct Around {
    own: Range<usize>,
    before: usize,
    after: usize,
}

impl Around {
    #[inline(always)]
    fn of(columns: usize, from: usize, pixels: usize) -> Self {
        let own = from / 2..(from + pixels).div_ceil(2).min(columns);
        Self {
            before: own.start.saturating_sub(1),
            after: own.end.min(columns - 1),
            own,
        }
    }

    #[inline(always)]
    fn each(self, sums: &mut Vec<u16>, near: Row<'_>, far: Row<'_>, of: impl Fn(u8, u8) -> u16) {
        let at = |at: usize| of(near.samples[at - near.first], far.samples[at - far.first]);
        let count = self.own.len();
        sums.resize(count + 2, 0);
        sums[0] = at(self.before);
        sums[count + 1] = at(self.after);
        let row = |row: Row<'_>| self.own.start - row.first..self.own.end - row.first;
        let samples = near.samples[row(near)].iter().zip(&far.samples[row(far)]);
        for (sum, (near, far)) in sums[1..=count].iter_mut().zip(samples) {
            *sum = of(*near, *far);
        }
    }
}

/// Three quarters and one: `rounding` is what is added before the last `shift` bits go, for a
/// pixel on the left of its sample and for one on the right.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a mean of bytes is a byte")]
fn spread(sums: &[u16], from: usize, out: &mut [u8], rounding: [u16; 2], shift: u32) {
    let left = |at: usize| ((3 * sums[at] + sums[at - 1] + rounding[0]) >> shift) as u8;
    let right = |at: usize| ((3 * sums[at] + sums[at + 1] + rounding[1]) >> shift) as u8;
    let odd = from % 2;
    let (single, out) = out.split_at_mut(odd.min(out.len()));
    if let [pixel] = single {
        *pixel = right(1);
    }
    let first = 1 + odd;
    let pairs = out.len() / 2;
    let (twos, last) = out.as_chunks_mut::<2>();
    let nearest = sums[first - 1..].windows(3);
    for (two, sums) in twos.iter_mut().zip(nearest) {
        let (before, here, after) = (sums[0], 3 * sums[1], sums[2]);
        *two = [
            ((here + before + rounding[0]) >> shift) as u8,
            ((here + after + rounding[1]) >> shift) as u8,
        ];
    }
    if let [pixel] = last {
        *pixel = left(first + pairs);
    }
}
