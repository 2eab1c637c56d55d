//! The scan: every block's bits are read, the wanted ones become samples, and those pixels.

use std::ops::Range;

use super::bits::Bits;
use super::colour::{Row, grey_to_rgb, to_rgb, widen, widen_both_ways};
use super::header::{Component, Header, Tables, ZIGZAG};
use super::huffman::Code;
use super::idct::{self, Block, Steps, constant, reduced};

/// The samples of up to three components.
pub(super) type Planes = [Vec<u8>; 3];

/// Which of a component's blocks are wanted, and how their samples lie.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Samples on each side of a block: 8, 4, 2 or 1.
    side: usize,
    /// The wanted blocks, across and down.
    blocks: [Range<usize>; 2],
    /// Samples of the whole shrunk picture, across and down.
    samples: [usize; 2],
    /// Whether a sample belongs to two pixels, across and down.
    doubled: [bool; 2],
}

impl Place {
    /// Of the component at `at`, the blocks that decide the wanted columns and rows of pixels of
    /// a picture that is shrunk by `divisor`.
    pub(super) fn of(
        header: &Header,
        at: usize,
        divisor: usize,
        wanted: &[Range<usize>; 2],
    ) -> Self {
        let most = header.components[0].blocks;
        let own = header.components[at].blocks;
        let least = 8 / divisor;
        // Where chroma is halved both ways, its blocks need shrink by half as much.
        let both = [0, 1].iter().all(|axis| own[*axis] * 2 == most[*axis]);
        let side = if both && least < 8 { 2 * least } else { least };
        let size = [header.width, header.height];
        let axis = |axis: usize| {
            let samples = (size[axis] * own[axis] * side).div_ceil(8 * most[axis]);
            let doubled = own[axis] * side < most[axis] * least;
            let pixels = &wanted[axis];
            // The next nearest sample has a share in a pixel.
            let of = if doubled {
                (pixels.start / 2).saturating_sub(1)..(pixels.end.div_ceil(2) + 1).min(samples)
            } else {
                pixels.clone()
            };
            (of.start / side..of.end.div_ceil(side), samples, doubled)
        };
        let [across, down] = [axis(0), axis(1)];
        Self {
            side,
            blocks: [across.0, down.0],
            samples: [across.1, down.1],
            doubled: [across.2, down.2],
        }
    }

    /// Samples in a row of the plane.
    fn stride(&self) -> usize {
        self.blocks[0].len() * self.side
    }

    /// A row of the plane; beyond the picture's last one, that one.
    #[inline(always)]
    fn row<'a>(&self, plane: &'a [u8], row: usize) -> Row<'a> {
        let stride = self.stride();
        let from = (row.min(self.samples[1] - 1) - self.blocks[1].start * self.side) * stride;
        Row {
            samples: &plane[from..from + stride],
            first: self.blocks[0].start * self.side,
        }
    }
}

/// Reads the whole scan and puts the wanted samples into the planes.
pub(super) fn read(
    file: &[u8],
    header: &Header,
    places: &[Place],
    tables: &Tables,
    planes: &mut Planes,
) -> Result<(), &'static str> {
    for (place, plane) in places.iter().zip(planes.iter_mut()) {
        plane.resize(place.stride() * place.blocks[1].len() * place.side, 0);
    }
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        #[expect(unsafe_code, reason = "the processor was asked whether it can")]
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { read_with_avx2(file, header, places, tables, planes) };
    }
    read_all(file, header, places, tables, planes, idct::inverse)
}

/// Writes the pixels of the wanted columns and rows to `out`.
pub(super) fn colour(
    places: &[Place],
    planes: &Planes,
    wanted: [Range<usize>; 2],
    lines: &mut [Vec<u8>; 2],
    sums: &mut Vec<u16>,
    out: &mut [u8],
) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        #[expect(unsafe_code, reason = "the processor was asked whether it can")]
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { colour_with_avx2(places, planes, wanted, lines, sums, out) };
    }
    colour_all(places, planes, wanted, lines, sums, out);
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

/// The same, compiled for processors that have these.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn read_with_avx2(
    file: &[u8],
    header: &Header,
    places: &[Place],
    tables: &Tables,
    planes: &mut Planes,
) -> Result<(), &'static str> {
    read_all(
        file,
        header,
        places,
        tables,
        planes,
        |block, steps, out, stride| {
            super::avx2::inverse(block, steps, out, stride);
        },
    )
}

/// The same, compiled for processors that have these.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn colour_with_avx2(
    places: &[Place],
    planes: &Planes,
    wanted: [Range<usize>; 2],
    lines: &mut [Vec<u8>; 2],
    sums: &mut Vec<u16>,
    out: &mut [u8],
) {
    colour_all(places, planes, wanted, lines, sums, out);
}

#[inline(always)]
fn read_all(
    file: &[u8],
    header: &Header,
    places: &[Place],
    tables: &Tables,
    planes: &mut Planes,
    inverse: impl Fn(&Block, &Steps, &mut [u8], usize),
) -> Result<(), &'static str> {
    const DAMAGED: &str = "a damaged one: its coefficients are none";
    let [across, down] = header.components[0].blocks;
    let units = [
        header.width.div_ceil(8 * across),
        header.height.div_ceil(8 * down),
    ];
    let mut bits = Bits::new(file, header.scan);
    // The constant coefficient of each component's last block.
    let mut last = [0_i32; 3];
    let mut done = 0;
    for row in 0..units[1] {
        for column in 0..units[0] {
            if header.restart_every > 0 && done > 0 && done % header.restart_every == 0 {
                let number = done / header.restart_every - 1;
                bits.restart(number)
                    .ok_or("a damaged one: a restart marker is missing")?;
                last = [0; 3];
            }
            done += 1;
            let parts = header.components.iter().zip(places).zip(planes.iter_mut());
            for (((component, place), plane), last) in parts.zip(&mut last) {
                let coded = Coded::of(component, tables);
                let unit = Unit {
                    blocks: component.blocks,
                    at: [column, row],
                };
                read_unit(&coded, unit, place, last, &mut bits, plane, &inverse).ok_or(DAMAGED)?;
            }
        }
        if bits.overrun() {
            return Err("one that is cut short");
        }
    }
    if bits.ends() {
        Ok(())
    } else {
        Err("one without its end marker")
    }
}

/// How a component's blocks are coded.
#[derive(Clone, Copy)]
struct Coded<'a> {
    dc: &'a Code,
    ac: &'a Code,
    steps: &'a Steps,
}

impl<'a> Coded<'a> {
    #[inline(always)]
    fn of(component: &Component, tables: &'a Tables) -> Self {
        // The header was checked: each is below four.
        Self {
            dc: &tables.dc[component.dc & 3],
            ac: &tables.ac[component.ac & 3],
            steps: &tables.steps[component.steps & 3],
        }
    }
}

/// The blocks that a component has in one unit of the scan.
#[derive(Clone, Copy)]
struct Unit {
    /// Across and down.
    blocks: [usize; 2],
    /// The unit's column and row.
    at: [usize; 2],
}

#[inline(always)]
fn read_unit(
    coded: &Coded<'_>,
    unit: Unit,
    place: &Place,
    last: &mut i32,
    bits: &mut Bits<'_>,
    plane: &mut [u8],
    inverse: &impl Fn(&Block, &Steps, &mut [u8], usize),
) -> Option<()> {
    let Unit {
        blocks: [across, down],
        at,
    } = unit;
    let [wanted_across, wanted_down] = &place.blocks;
    let stride = place.stride();
    for row in at[1] * down..(at[1] + 1) * down {
        for column in at[0] * across..(at[0] + 1) * across {
            *last = last.wrapping_add(coded.dc.next(bits)?.value);
            if wanted_down.contains(&row) && wanted_across.contains(&column) {
                let from = (row - wanted_down.start) * place.side * stride
                    + (column - wanted_across.start) * place.side;
                let out = &mut plane[from..];
                let block = read_block(coded, *last, bits)?;
                match block {
                    (block, false) if place.side == 8 => inverse(&block, coded.steps, out, stride),
                    (block, false) => reduced(&block, coded.steps, place.side, out, stride),
                    (block, true) => {
                        let level = constant(&block, coded.steps);
                        for line in out.chunks_mut(stride).take(place.side) {
                            line[..place.side].fill(level);
                        }
                    }
                }
            } else {
                skip_block(coded.ac, bits)?;
            }
        }
    }
    Some(())
}

/// Reads a block's other coefficients (F.2.2.2), and says whether there are none.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "damaged files may overflow them"
)]
fn read_block(coded: &Coded<'_>, constant_part: i32, bits: &mut Bits<'_>) -> Option<(Block, bool)> {
    let mut block = [0_i16; 64];
    block[0] = constant_part as i16;
    let mut at = 1;
    while at < 64 {
        let symbol = coded.ac.next(bits)?;
        if symbol.size == 0 {
            if symbol.run < 15 {
                break;
            }
            at += 16;
            continue;
        }
        at += symbol.run;
        let place = usize::from(*ZIGZAG.get(at)?);
        block[place & 63] = symbol.value as i16;
        at += 1;
    }
    Some((block, at == 1))
}

#[inline(always)]
fn skip_block(ac: &Code, bits: &mut Bits<'_>) -> Option<()> {
    let mut at = 1;
    while at < 64 {
        let (run, size) = ac.skip(bits)?;
        if size == 0 && run < 15 {
            break;
        }
        at += run + 1;
    }
    (at <= 64).then_some(())
}

#[inline(always)]
fn colour_all(
    places: &[Place],
    planes: &Planes,
    wanted: [Range<usize>; 2],
    lines: &mut [Vec<u8>; 2],
    sums: &mut Vec<u16>,
    out: &mut [u8],
) {
    let [columns, rows] = wanted;
    let width = columns.len();
    let [cb_line, cr_line] = lines;
    cb_line.resize(width, 0);
    cr_line.resize(width, 0);
    for (row, out) in rows.zip(out.chunks_exact_mut(3 * width)) {
        let luma = places[0].row(&planes[0], row);
        let luma = &luma.samples[columns.start - luma.first..columns.end - luma.first];
        let [_, cb_place, cr_place] = places else {
            grey_to_rgb(luma, out);
            continue;
        };
        let from = columns.start;
        chroma(cb_place, &planes[1], row, from, cb_line, sums);
        chroma(cr_place, &planes[2], row, from, cr_line, sums);
        to_rgb(luma, cb_line, cr_line, out);
    }
}

/// The chroma of the pixels of a row from a column on.
#[inline(always)]
fn chroma(
    place: &Place,
    plane: &[u8],
    row: usize,
    from: usize,
    out: &mut [u8],
    sums: &mut Vec<u16>,
) {
    let [columns, _] = place.samples;
    match place.doubled {
        [false, _] => {
            let line = place.row(plane, row);
            let first = from - line.first;
            out.copy_from_slice(&line.samples[first..first + out.len()]);
        }
        // Where nothing is left to blend, libjpeg repeats samples.
        [true, _] if columns < 3 || place.side == 1 => {
            let line = place.row(plane, if place.doubled[1] { row / 2 } else { row });
            for (at, pixel) in (from..).zip(out) {
                *pixel = line.samples[at / 2 - line.first];
            }
        }
        [true, false] => widen(place.row(plane, row), columns, from, out, sums),
        [true, true] => {
            let near = row / 2;
            let far = if row.is_multiple_of(2) {
                near.saturating_sub(1)
            } else {
                near + 1
            };
            let (near, far) = (place.row(plane, near), place.row(plane, far));
            widen_both_ways(near, far, columns, from, out, sums);
        }
    }
}
