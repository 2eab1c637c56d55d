//! Baseline JPEG files, of which a part is wanted, and perhaps smaller.
//!
//! Training looks at a random part of each picture. The bits of all of it have to be read, since
//! nothing says where a part's begin; but only the blocks of that part are transformed, straight
//! to half, a quarter or an eighth of their size where the part is to become that small, and only
//! its pixels are coloured. A whole picture comes out as libjpeg-turbo decodes it for Pillow, to
//! the last bit. Forms that are rare among photographs ([`Refused::Unusual`]) are left to another
//! decoder. `docs/decisions/0073` says why this is not someone else's.

#![expect(
    clippy::inline_always,
    reason = "what is inlined is compiled with AVX2 where it is called from a function that has it"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod bits;
mod colour;
mod header;
mod huffman;
mod idct;
mod scan;

use header::{Header, Refused as HeaderRefused, Tables};
use scan::{Place, Planes};

use crate::picture::Window;

/// What one picture after another is decoded with: tables and buffers that are used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decoder {
    tables: Tables,
    planes: Planes,
    rows: [Vec<u8>; 2],
    sums: Vec<u16>,
}

/// Why a file is not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// It is damaged or cut short.
    Damaged(&'static str),
    /// Progressive or arithmetic coding, several scans, twelve bits, CMYK or RGB, rare shares of
    /// chroma.
    Unusual,
}

impl From<HeaderRefused> for Refused {
    fn from(refused: HeaderRefused) -> Self {
        match refused {
            HeaderRefused::Damaged(why) => Self::Damaged(why),
            HeaderRefused::Unusual => Self::Unusual,
        }
    }
}

/// By what the sides of a picture are divided while it is decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Shrink {
    /// Nothing.
    Whole,
    /// Two.
    Half,
    /// Four.
    Quarter,
    /// Eight: the mean of each block.
    Eighth,
}

impl Shrink {
    /// The divisor.
    pub(crate) const fn divisor(self) -> usize {
        match self {
            Self::Whole => 1,
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
        }
    }

    /// The most that leaves at least `to` of `from` pixels.
    pub(crate) const fn most(from: usize, to: usize) -> Self {
        match from.checked_div(to) {
            Some(8..) => Self::Eighth,
            Some(4..) => Self::Quarter,
            Some(2..) => Self::Half,
            Some(_) | None => Self::Whole,
        }
    }
}

/// A file whose header was read.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    decoder: &'a mut Decoder,
    file: &'a [u8],
    header: Header,
}

impl Decoder {
    /// Reads the header of a file. One that does not begin as a JPEG file does is left to others.
    pub(crate) fn open<'a>(&'a mut self, file: &'a [u8]) -> Result<Opened<'a>, Refused> {
        if !file.starts_with(&[0xff, 0xd8]) {
            return Err(Refused::Unusual);
        }
        let header = Header::parse(file, &mut self.tables)?;
        Ok(Opened {
            decoder: self,
            file,
            header,
        })
    }
}

impl Opened<'_> {
    /// Columns and rows. Either may be zero in a damaged file.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.header.width, self.header.height)
    }

    /// Decodes the pixels of a window of the whole picture that is not empty: those of the
    /// shrunk picture that any part of it touches. They replace what is in `out`, row by row, each
    /// red, green, blue. The window that they are, in pixels of the shrunk picture, is returned.
    ///
    /// The rest of the file is read, too: whether it is damaged does not depend on the window.
    pub(crate) fn decode(
        self,
        window: Window,
        shrink: Shrink,
        out: &mut Vec<u8>,
    ) -> Result<Window, Refused> {
        let divisor = shrink.divisor();
        let part = |from: u32, size: u32, whole: usize| {
            let (from, size) = (from as usize, size as usize);
            let first = (from / divisor).min((whole - 1) / divisor);
            first..((from + size).min(whole).div_ceil(divisor)).max(first + 1)
        };
        let columns = part(window.left, window.width, self.header.width);
        let rows = part(window.top, window.height, self.header.height);
        let wanted = [columns, rows];
        let places: Vec<Place> = (0..self.header.components.len())
            .map(|at| Place::of(&self.header, at, divisor, &wanted))
            .collect();
        let Decoder {
            tables,
            planes,
            rows: lines,
            sums,
        } = self.decoder;
        let read = scan::read(self.file, &self.header, &places, tables, planes);
        read.map_err(Refused::Damaged)?;
        let [columns, rows] = wanted;
        let [left, top, width, height] = [columns.start, rows.start, columns.len(), rows.len()]
            .map(|pixels| u32::try_from(pixels).unwrap_or(u32::MAX));
        out.resize(columns.len() * rows.len() * 3, 0);
        scan::colour(&places, planes, [columns, rows], lines, sums, out);
        Ok(Window {
            left,
            top,
            width,
            height,
        })
    }
}

#[cfg(test)]
mod tests;
