//! Pictures: from the bytes of a file to pixels, resized and cropped. Pure functions.
//!
//! Resizing follows Pillow, and with it torchvision on PIL images: convolution with antialiasing,
//! first along rows, then along columns, rounded to bytes after each.

use std::io::Cursor;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::jpeg::{Decoder, Refused, Shrink};

/// The longest side of a picture that is decoded: a small file may claim to hold a huge picture.
pub const MAX_SIDE: usize = 16_384;

/// The most pixels of a picture that is decoded, for the same reason. The largest picture of
/// ImageNet has fewer than 60 million.
const MAX_PIXELS: usize = 100_000_000;

/// What every PNG file begins with.
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A colour picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    width: u32,
    height: u32,
    /// Row by row, pixel by pixel: red, green, blue.
    pixels: Vec<u8>,
}

/// Why bytes are not a picture.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a complete JPEG file, found {0}")]
pub struct DecodeError(String);

impl DecodeError {
    pub(crate) fn of(found: &str) -> Self {
        Self(found.to_owned())
    }
}

/// How a picture is resized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// Linear interpolation between pixels (a triangle, widened when a picture shrinks).
    Bilinear,
    /// The cubic filter of Keys with a = -1/2, as Pillow's bicubic.
    Bicubic,
}

/// A part of a picture, in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Columns left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

impl Window {
    /// The part of it inside a picture of this size.
    pub(crate) fn inside(self, width: u32, height: u32) -> Self {
        let left = self.left.min(width);
        let top = self.top.min(height);
        Self {
            left,
            top,
            width: self.width.min(width - left),
            height: self.height.min(height - top),
        }
    }
}

impl Picture {
    /// A picture of these pixels (row by row; red, green, blue), if they are as many as its size
    /// asks for.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let expected = (width as usize)
            .checked_mul(height as usize)?
            .checked_mul(3)?;
        (pixels.len() == expected).then_some(Self {
            width,
            height,
            pixels,
        })
    }

    /// Columns.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Row by row, pixel by pixel: red, green, blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Decodes a JPEG file: baseline or progressive; grey, RGB, `YCbCr`, CMYK or YCCK; without
    /// regard to EXIF. The pixels of baseline grey and `YCbCr` files, which nearly all are, are those
    /// of libjpeg-turbo, and so of Pillow; of others, a pixel may differ by a few levels. A file that is cut short or damaged is an error, never a picture with grey
    /// in it. A PNG file is decoded too, its transparency dropped: the training part of ImageNet
    /// holds one under the name of a JPEG (`n02105855_2933.JPEG`).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.starts_with(PNG_MAGIC) {
            decode_png(bytes)
        } else {
            decode_jpeg(bytes)
        }
    }

    /// The part of the picture inside the window, which is cut off at the picture's edges.
    #[must_use]
    pub fn crop(&self, window: Window) -> Self {
        let Window {
            left,
            top,
            width,
            height,
        } = window.inside(self.width, self.height);
        let row = self.width as usize * 3;
        let (from, bytes) = (left as usize * 3, width as usize * 3);
        let rows = self.pixels.chunks_exact(row.max(1)).skip(top as usize);
        let mut pixels = Vec::with_capacity(bytes * height as usize);
        for line in rows.take(height as usize) {
            pixels.extend_from_slice(&line[from..from + bytes]);
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// The window of this size in the middle; an odd pixel too many is rounded as torchvision's
    /// `CenterCrop` does (half to even). The picture should be at least as large.
    #[must_use]
    pub fn centre_crop(&self, width: u32, height: u32) -> Self {
        self.crop(Window {
            left: half_to_even(self.width.saturating_sub(width)),
            top: half_to_even(self.height.saturating_sub(height)),
            width,
            height,
        })
    }

    /// The picture in another size, with antialiasing. Neither size may be zero.
    ///
    /// Rows are resized first, then columns, with whole numbers between, as Pillow does: the
    /// library's own order differs from Pillow's by up to seven of 255 where the filter overshoots.
    pub fn resize(&self, width: u32, height: u32, filter: Filter) -> Result<Self, ResizeError> {
        self.convolved(width, self.height, filter)?
            .convolved(width, height, filter)
    }

    fn convolved(&self, width: u32, height: u32, filter: Filter) -> Result<Self, ResizeError> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        let failed = |why: &dyn std::fmt::Display| ResizeError {
            from: (self.width, self.height),
            to: (width, height),
            why: why.to_string(),
        };
        if [width, height, self.width, self.height].contains(&0) {
            return Err(failed(&"no side may be zero"));
        }
        // A strip one pixel wide, scaled by its shorter side, would take gigabytes.
        if width.max(height) as usize > MAX_SIDE {
            let text = format!("no side may be above {MAX_SIDE}; take this picture out of the set");
            return Err(failed(&text));
        }
        let source = fast_image_resize::images::ImageRef::new(
            self.width,
            self.height,
            &self.pixels,
            PixelType::U8x3,
        );
        let source = source.map_err(|error| failed(&error))?;
        let mut target = Image::new(width, height, PixelType::U8x3);
        Resizer::new()
            .resize(&source, &mut target, &convolution(filter))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            width,
            height,
            pixels: target.into_vec(),
        })
    }

    /// The picture with its shorter side resized to `side` and the longer one in proportion,
    /// rounded down, as torchvision's `Resize` does.
    pub fn resize_shorter(&self, side: u32, filter: Filter) -> Result<Self, ResizeError> {
        let longer = |long: u32, short: u32| {
            let long = u64::from(side) * u64::from(long) / u64::from(short.max(1));
            u32::try_from(long).unwrap_or(u32::MAX)
        };
        if self.width <= self.height {
            self.resize(side, longer(self.height, self.width), filter)
        } else {
            self.resize(longer(self.width, self.height), side, filter)
        }
    }

    /// The pixels channel by channel: all of red row by row, then green, then blue.
    pub fn planes(&self) -> Vec<u8> {
        (0..3)
            .flat_map(|channel| self.pixels.iter().skip(channel).step_by(3).copied())
            .collect()
    }
}

/// A picture cannot have this size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot resize {} x {} pixels to {} x {}: {why}", from.0, from.1, to.0, to.1)]
pub struct ResizeError {
    /// Columns and rows of the picture.
    pub from: (u32, u32),
    /// Columns and rows asked for.
    pub to: (u32, u32),
    /// The reason.
    pub why: String,
}

/// How the resizing library is told of a filter.
pub(crate) fn convolution(filter: Filter) -> ResizeOptions {
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter))
}

/// Half of a number, rounded to the even neighbour where it is odd.
const fn half_to_even(number: u32) -> u32 {
    let half = number / 2;
    if number % 2 == 1 && half % 2 == 1 {
        half + 1
    } else {
        half
    }
}

/// Columns and rows of a picture, if it is one and no larger than one may be.
pub(crate) fn check_size(width: usize, height: usize) -> Result<(u32, u32), DecodeError> {
    let fits = width.max(height) <= MAX_SIDE && width.saturating_mul(height) <= MAX_PIXELS;
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(columns @ 1..), Ok(rows @ 1..)) if fits => Ok((columns, rows)),
        _ => Err(DecodeError(format!("one of {width} x {height} pixels"))),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, DecodeError> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        let head = &bytes[..bytes.len().min(4)];
        return Err(DecodeError(format!(
            "{} bytes that begin with {head:02x?}",
            bytes.len()
        )));
    }
    let mut decoder = Decoder::default();
    match decoder.open(bytes) {
        Ok(opened) => {
            let (width, height) = opened.size();
            let (width, height) = check_size(width, height)?;
            let whole = Window {
                left: 0,
                top: 0,
                width,
                height,
            };
            let mut pixels = Vec::new();
            match opened.decode(whole, Shrink::Whole, &mut pixels) {
                Ok(_) => Picture::new(width, height, pixels)
                    .ok_or_else(|| DecodeError::of("one of another size than it says")),
                Err(Refused::Damaged(why)) => Err(DecodeError::of(why)),
                Err(Refused::Unusual) => decode_unusual(bytes),
            }
        }
        Err(Refused::Damaged(why)) => Err(DecodeError::of(why)),
        Err(Refused::Unusual) => decode_unusual(bytes),
    }
}

/// Decodes a JPEG file in one of the forms that are rare among photographs.
fn decode_unusual(bytes: &[u8]) -> Result<Picture, DecodeError> {
    // The decoder notices a cut in the entropy-coded data, but not one behind the last row.
    if !bytes.windows(2).any(|pair| pair == [0xff, 0xd9]) {
        return Err(DecodeError("one without its end marker".to_owned()));
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let wrong = |error: &dyn std::fmt::Debug| {
        let text: String = format!("{error:?}").chars().take(200).collect();
        DecodeError(format!("a damaged one: {text}"))
    };
    decoder.decode_headers().map_err(|error| wrong(&error))?;
    let Some((width, height)) = decoder.dimensions() else {
        return Err(DecodeError("one without a size".to_owned()));
    };
    let (width, height) = check_size(width, height)?;
    let pixels = decoder.decode().map_err(|error| wrong(&error))?;
    let found = pixels.len();
    Picture::new(width, height, pixels).ok_or_else(|| {
        DecodeError(format!(
            "one of {width} x {height} pixels that decodes to {found} bytes"
        ))
    })
}

fn decode_png(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let wrong = |error: png::DecodingError| DecodeError(format!("a damaged PNG file: {error}"));
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(wrong)?;
    let (width, height) = (reader.info().width, reader.info().height);
    check_size(width as usize, height as usize)?;
    let size = reader.output_buffer_size();
    let Some(size) = size.filter(|size| *size <= MAX_PIXELS * 4) else {
        return Err(DecodeError("a PNG file that is too large".to_owned()));
    };
    let mut buffer = vec![0; size];
    let frame = reader.next_frame(&mut buffer).map_err(wrong)?;
    let samples = frame.color_type.samples();
    let buffer = &buffer[..frame.buffer_size().min(size)];
    let pixels = buffer
        .chunks_exact(samples)
        .flat_map(|pixel| match *pixel {
            [grey] | [grey, _] => [grey; 3],
            [red, green, blue, ..] => [red, green, blue],
            [] => [0; 3],
        })
        .collect();
    Picture::new(width, height, pixels)
        .ok_or_else(|| DecodeError("a PNG file of another size than it says".to_owned()))
}

#[cfg(test)]
mod tests;
