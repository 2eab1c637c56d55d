//! From the bytes of a file to a part of its picture in the size that a net takes, with buffers
//! that one picture after another uses.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};

use crate::jpeg::{Decoder, Refused, Shrink};
use crate::picture::{DecodeError, Filter, Picture, ResizeError, Window, check_size, convolution};

/// Cuts random parts out of pictures. A clone has buffers of its own: give each thread one.
#[derive(Debug, Default)]
pub struct Framer {
    decoder: Decoder,
    /// The pixels around the wanted part.
    region: Vec<u8>,
    /// The part with its rows resized.
    across: Vec<u8>,
    /// The part with its columns resized, too.
    framed: Vec<u8>,
    resizer: Resizer,
}

impl Clone for Framer {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Why there is no part of a picture.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It cannot be resized.
    #[error(transparent)]
    Resize(#[from] ResizeError),
}

/// A part of the decoded pixels, which are `width` x `height`: where it begins in them and its
/// size, in pixels and fractions of them.
struct Part {
    width: u32,
    height: u32,
    from: [f64; 2],
    size: [f64; 2],
}

impl Framer {
    /// The part of a picture that `window` chooses when it is told its columns and rows, resized
    /// to `width` x `height` pixels: row by row, each red, green, blue.
    ///
    /// Where the window is at least twice as wide and as high as that, a JPEG file is decoded to
    /// a half, a quarter or an eighth of its size first, by leaving out cosines. Otherwise the
    /// pixels are those of [`Picture::decode`], [`Picture::crop`] and [`Picture::resize`]. Either
    /// way they depend on the file and the window alone, and a file that is damaged anywhere is
    /// an error.
    pub fn window(
        &mut self,
        file: &[u8],
        [width, height]: [u32; 2],
        filter: Filter,
        window: impl FnOnce(u32, u32) -> Window,
    ) -> Result<&[u8], FrameError> {
        let part = self.decode(file, [width, height], window)?;
        let between = (width, part.height);
        let (from, size) = ([part.from[0], 0.0], [part.size[0], f64::from(part.height)]);
        let source = (part.width, part.height);
        let options = convolution(filter).crop(from[0], from[1], size[0], size[1]);
        convolve(
            &mut self.resizer,
            &self.region,
            source,
            &mut self.across,
            between,
            &options,
        )?;
        let options = convolution(filter).crop(0.0, part.from[1], f64::from(width), part.size[1]);
        let to = (width, height);
        convolve(
            &mut self.resizer,
            &self.across,
            between,
            &mut self.framed,
            to,
            &options,
        )?;
        Ok(&self.framed)
    }

    /// All of a picture: its columns and rows, and its pixels, row by row, each red, green, blue.
    /// As [`Picture::decode`], in buffers that are used again.
    pub fn whole(&mut self, file: &[u8]) -> Result<([u32; 2], &[u8]), FrameError> {
        let mut size = [0; 2];
        let all = |width, height| {
            size = [width, height];
            Window {
                left: 0,
                top: 0,
                width,
                height,
            }
        };
        // As large as any picture may be: nothing is shrunk.
        self.decode(file, [u32::MAX; 2], all)?;
        Ok((size, &self.region))
    }

    /// Decodes what the part needs into `region`.
    fn decode(
        &mut self,
        file: &[u8],
        [width, height]: [u32; 2],
        window: impl FnOnce(u32, u32) -> Window,
    ) -> Result<Part, FrameError> {
        let opened = match self.decoder.open(file) {
            Ok(opened) => opened,
            Err(Refused::Damaged(why)) => return Err(DecodeError::of(why).into()),
            Err(Refused::Unusual) => return self.decode_unusual(file, window),
        };
        let (columns, rows) = opened.size();
        let (columns, rows) = check_size(columns, rows)?;
        let chosen = window(columns, rows).inside(columns, rows);
        if chosen.width == 0 || chosen.height == 0 {
            return Err(ResizeError {
                from: (chosen.width, chosen.height),
                to: (width, height),
                why: "no side may be zero".to_owned(),
            }
            .into());
        }
        let most = |from: u32, to: u32| Shrink::most(from as usize, to as usize);
        let shrink = most(chosen.width, width).min(most(chosen.height, height));
        let region = match opened.decode(chosen, shrink, &mut self.region) {
            Ok(region) => region,
            Err(Refused::Damaged(why)) => return Err(DecodeError::of(why).into()),
            Err(Refused::Unusual) => return Err(DecodeError::of("an unusual one").into()),
        };
        let scaled = |length: u32| f64::from(length) / shrink.divisor() as f64;
        let axis = |from: u32, size: u32, first: u32, there: u32| {
            let from = scaled(from) - f64::from(first);
            (from, scaled(size).min(f64::from(there) - from))
        };
        let across = axis(chosen.left, chosen.width, region.left, region.width);
        let down = axis(chosen.top, chosen.height, region.top, region.height);
        Ok(Part {
            width: region.width,
            height: region.height,
            from: [across.0, down.0],
            size: [across.1, down.1],
        })
    }

    /// Decodes a file in one of the rare forms, all of it.
    fn decode_unusual(
        &mut self,
        file: &[u8],
        window: impl FnOnce(u32, u32) -> Window,
    ) -> Result<Part, FrameError> {
        let picture = Picture::decode(file)?;
        let chosen = window(picture.width(), picture.height());
        let part = picture.crop(chosen);
        self.region.clear();
        self.region.extend_from_slice(part.pixels());
        let size = [part.width(), part.height()];
        Ok(Part {
            width: size[0],
            height: size[1],
            from: [0.0; 2],
            size: size.map(f64::from),
        })
    }
}

/// Resizes a part of `from` into `to`, which becomes as long as it has to be.
fn convolve(
    resizer: &mut Resizer,
    from: &[u8],
    source: (u32, u32),
    to: &mut Vec<u8>,
    target: (u32, u32),
    options: &fast_image_resize::ResizeOptions,
) -> Result<(), ResizeError> {
    let failed = |why: &dyn std::fmt::Display| ResizeError {
        from: source,
        to: target,
        why: why.to_string(),
    };
    if [source.0, source.1, target.0, target.1].contains(&0) {
        return Err(failed(&"no side may be zero"));
    }
    to.resize(target.0 as usize * target.1 as usize * 3, 0);
    let kind = PixelType::U8x3;
    let bytes = source.0 as usize * source.1 as usize * 3;
    let from = from.get(..bytes).unwrap_or_default();
    let from = ImageRef::new(source.0, source.1, from, kind).map_err(|error| failed(&error))?;
    let mut image =
        Image::from_slice_u8(target.0, target.1, to, kind).map_err(|error| failed(&error))?;
    let resized = resizer.resize(&from, &mut image, options);
    resized.map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests;
