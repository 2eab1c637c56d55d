//! What stands before the pixels of a JPEG file (ITU-T T.81, annex B).

use super::huffman::Code;
use super::idct::Steps;

/// The order in which a block's coefficients are stored, as places row by row (figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A component of a picture: grey or luma, or one of two of chroma.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Component {
    id: u8,
    /// Blocks side by side, and above each other, in one unit of the scan.
    pub(super) blocks: [usize; 2],
    /// Which steps its coefficients were quantised by.
    pub(super) steps: usize,
    /// Its code of constant coefficients.
    pub(super) dc: usize,
    /// Its code of the others.
    pub(super) ac: usize,
}

/// Tables of one picture after another, so that none has to make room for them anew.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) steps: [Steps; 4],
    pub(super) dc: [Code; 4],
    pub(super) ac: [Code; 4],
    /// Which of them this picture has defined.
    defined: [[bool; 4]; 3],
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            steps: [[0; 64]; 4],
            dc: Default::default(),
            ac: Default::default(),
            defined: [[false; 4]; 3],
        }
    }
}

/// A picture in the one form that nearly all have: baseline, 8 bits, grey or `YCbCr`, its chroma
/// whole, halved across or halved both ways, all in one scan.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One or three.
    pub(super) components: Vec<Component>,
    /// Units of the scan between two restart markers; zero for none.
    pub(super) restart_every: usize,
    /// Where the scan's first byte is.
    pub(super) scan: usize,
}

/// Why a header is not decoded here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It is none, or is cut short.
    Damaged(&'static str),
    /// Its form is another one.
    Unusual,
}

impl Header {
    /// Reads all up to the first scan, with the tables that it uses.
    pub(super) fn parse(file: &[u8], tables: &mut Tables) -> Result<Self, Refused> {
        tables.defined = [[false; 4]; 3];
        let mut frame: Option<Self> = None;
        let (mut restart_every, mut colours) = (0, Colours::default());
        let mut at = 2;
        loop {
            let (marker, segment, next) = segment(file, at)?;
            match marker {
                0xc0 if frame.is_none() => frame = Some(Self::frame(segment)?),
                0xc4 => codes(segment, tables)?,
                0xdb => steps(segment, tables)?,
                0xdd => {
                    let interval = segment.first_chunk::<2>().ok_or(CUT)?;
                    restart_every = usize::from(u16::from_be_bytes(*interval));
                }
                0xe0 => colours.jfif |= segment.starts_with(b"JFIF\0"),
                0xee if segment.starts_with(b"Adobe") => {
                    colours.adobe = Some(*segment.get(11).ok_or(CUT)?);
                }
                0xda => {
                    let mut frame = frame.ok_or(Refused::Damaged("a scan before its frame"))?;
                    frame.scan(segment, tables)?;
                    if !colours.are_luma_and_chroma(&frame.components) {
                        return Err(Refused::Unusual);
                    }
                    frame.restart_every = restart_every;
                    frame.scan = next;
                    return Ok(frame);
                }
                // Other kinds of frames; arithmetic coding; a scan without a picture.
                0xc0..=0xcf | 0xd8..=0xd9 => return Err(Refused::Unusual),
                _ => {}
            }
            at = next;
        }
    }

    /// The frame's header (B.2.2).
    fn frame(segment: &[u8]) -> Result<Self, Refused> {
        let [precision, h1, h0, w1, w0, count] = *segment.first_chunk::<6>().ok_or(CUT)?;
        if precision != 8 || !matches!(count, 1 | 3) {
            return Err(Refused::Unusual);
        }
        let mut components = Vec::with_capacity(3);
        for part in segment[6..].chunks_exact(3).take(usize::from(count)) {
            let [id, sampling, steps] = [part[0], part[1], part[2]];
            components.push(Component {
                id,
                blocks: [usize::from(sampling >> 4), usize::from(sampling & 15)],
                steps: usize::from(steps),
                ..Component::default()
            });
        }
        if components.len() != usize::from(count) {
            return Err(CUT);
        }
        match components.as_mut_slice() {
            // With one component, a unit is one block, whatever it says.
            [grey] => grey.blocks = [1, 1],
            [luma, cb, cr] => {
                let usual = [[1, 1], [2, 1], [2, 2]].contains(&luma.blocks);
                if !usual || cb.blocks != [1, 1] || cr.blocks != [1, 1] {
                    return Err(Refused::Unusual);
                }
            }
            _ => return Err(Refused::Unusual),
        }
        Ok(Self {
            width: usize::from(u16::from_be_bytes([w1, w0])),
            height: usize::from(u16::from_be_bytes([h1, h0])),
            components,
            restart_every: 0,
            scan: 0,
        })
    }

    /// The scan's header (B.2.3).
    fn scan(&mut self, segment: &[u8], tables: &Tables) -> Result<(), Refused> {
        let (count, rest) = segment.split_first().ok_or(CUT)?;
        if usize::from(*count) != self.components.len() {
            return Err(Refused::Unusual);
        }
        let mut parts = rest.chunks_exact(2);
        for component in &mut self.components {
            let part = parts.next().ok_or(CUT)?;
            if part[0] != component.id {
                return Err(Refused::Unusual);
            }
            component.dc = usize::from(part[1] >> 4);
            component.ac = usize::from(part[1] & 15);
            let chosen = [component.steps, component.dc, component.ac];
            let there = |(kind, table): (&[bool; 4], &usize)| kind.get(*table) == Some(&true);
            if !tables.defined.iter().zip(&chosen).all(there) {
                return Err(Refused::Damaged("a scan whose tables are not there"));
            }
        }
        Ok(())
    }
}

const CUT: Refused = Refused::Damaged("a header that is cut short");

/// What files say of their colours.
#[derive(Clone, Copy, Debug, Default)]
struct Colours {
    jfif: bool,
    /// Adobe's number of a transform.
    adobe: Option<u8>,
}

impl Colours {
    /// Whether three components are `YCbCr`, as libjpeg decides it.
    fn are_luma_and_chroma(self, components: &[Component]) -> bool {
        let named = |ids: &[u8; 3]| components.iter().map(|one| one.id).eq(ids.iter().copied());
        match (components.len(), self.adobe) {
            (1, _) => true,
            _ if self.jfif => true,
            (_, Some(transform)) => transform == 1,
            (_, None) => named(&[1, 2, 3]),
        }
    }
}

/// The next marker, its segment without the length, and where what follows begins.
fn segment(file: &[u8], mut at: usize) -> Result<(u8, &[u8], usize), Refused> {
    loop {
        match *file.get(at..at + 2).ok_or(CUT)? {
            [0xff, 0xff] => at += 1,
            // Markers without a segment.
            [0xff, 0x01 | 0xd0..=0xd7] => at += 2,
            [0xff, marker @ (0xd8 | 0xd9)] => return Ok((marker, &[], at + 2)),
            [0xff, marker @ 1..=0xfe] => {
                let length = file.get(at + 2..at + 4).ok_or(CUT)?;
                let end = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                let segment = file.get(at + 4..end).ok_or(CUT)?;
                return Ok((marker, segment, end));
            }
            _ => return Err(Refused::Damaged("something else than a marker")),
        }
    }
}

/// Steps of quantisation (B.2.4.1).
fn steps(mut segment: &[u8], tables: &mut Tables) -> Result<(), Refused> {
    while let Some((head, rest)) = segment.split_first() {
        let table = usize::from(head & 15);
        let bytes = if head >> 4 == 0 { 1 } else { 2 };
        let steps = tables.steps.get_mut(table).ok_or(CUT)?;
        let values = rest.get(..64 * bytes).ok_or(CUT)?;
        for (place, value) in ZIGZAG.iter().zip(values.chunks_exact(bytes)) {
            let step = value
                .iter()
                .fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            steps[usize::from(*place)] = step;
        }
        tables.defined[0][table] = true;
        segment = &rest[64 * bytes..];
    }
    Ok(())
}

/// Huffman codes (B.2.4.2).
fn codes(mut segment: &[u8], tables: &mut Tables) -> Result<(), Refused> {
    while let Some((head, rest)) = segment.split_first() {
        let (class, table) = (usize::from(head >> 4), usize::from(head & 15));
        let counts = rest.first_chunk::<16>().ok_or(CUT)?;
        let symbols: usize = counts.iter().map(|count| usize::from(*count)).sum();
        let kind = match class {
            0 => &mut tables.dc,
            1 => &mut tables.ac,
            _ => return Err(CUT),
        };
        let code = kind.get_mut(table).ok_or(CUT)?;
        let listed = rest.get(16..16 + symbols).ok_or(CUT)?;
        code.define(counts, listed)
            .ok_or(Refused::Damaged("a Huffman code that cannot be"))?;
        tables.defined[1 + class][table] = true;
        segment = &rest[16 + symbols..];
    }
    Ok(())
}
