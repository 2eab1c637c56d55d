//! Pictures for tests, made up and encoded here.

use crate::picture::Picture;

/// A smooth colour picture that differs by `key`.
pub(crate) fn picture(width: u32, height: u32, key: u32) -> Picture {
    let byte = |value: u32| u8::try_from(value % 256).unwrap();
    let pixels = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| {
            let ramp = |slope: u32| {
                let wave = (slope * x + 2 * y + 31 * key) % 400;
                byte(if wave < 200 { wave } else { 399 - wave })
            };
            [ramp(1), ramp(2), byte(17 * key)]
        })
        .collect();
    Picture::new(width, height, pixels).unwrap()
}

/// The picture as a JPEG file without subsampled colours.
pub(crate) fn jpeg(picture: &Picture) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
    let [width, height] = [picture.width(), picture.height()].map(|n| u16::try_from(n).unwrap());
    let kind = jpeg_encoder::ColorType::Rgb;
    encoder
        .encode(picture.pixels(), width, height, kind)
        .unwrap();
    bytes
}
