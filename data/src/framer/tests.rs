use super::*;
use crate::fixture::picture;

/// A picture with fine detail: `jpeg_encoder`'s quality 90, its chroma halved both ways.
fn detailed(width: u16, height: u16) -> Vec<u8> {
    let smooth = picture(u32::from(width), u32::from(height), 3);
    let pixels: Vec<u8> = (0_u32..)
        .zip(smooth.pixels())
        .map(|(at, level)| {
            let noise = at.wrapping_mul(2_654_435_761) >> 27;
            level.saturating_add(u8::try_from(noise).unwrap())
        })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let kind = jpeg_encoder::ColorType::Rgb;
    encoder.encode(&pixels, width, height, kind).unwrap();
    bytes
}

/// Decoded whole, cut out, resized: what a window stands for.
fn plainly(file: &[u8], window: Window, size: [u32; 2], filter: Filter) -> Vec<u8> {
    let part = Picture::decode(file).unwrap().crop(window);
    let resized = part.resize(size[0], size[1], filter).unwrap();
    resized.pixels().to_vec()
}

fn window(left: u32, top: u32, width: u32, height: u32) -> Window {
    Window {
        left,
        top,
        width,
        height,
    }
}

#[test]
fn a_part_less_than_twice_as_large_is_that_of_the_whole_picture_to_the_last_bit() {
    let file = detailed(210, 160);
    let mut framer = Framer::default();
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        for part in [
            window(0, 0, 210, 160),
            window(33, 21, 127, 128),
            window(71, 90, 17, 23),
            window(150, 3, 64, 1),
        ] {
            let mut told = None;
            let choose = |width, height| {
                told = Some((width, height));
                part
            };
            let found = framer.window(&file, [64, 81], filter, choose).unwrap();
            // Columns and rows of the last window are cut off at the edge.
            assert!(found == plainly(&file, part, [64, 81], filter), "{part:?}");
            assert_eq!(told, Some((210, 160)));
        }
    }
}

/// Leaving out cosines is not averaging pixels: of noise as strong as this a little more is left.
#[test]
fn a_part_that_is_shrunk_while_it_is_decoded_stays_near_the_whole_pictures() {
    let file = detailed(613, 547);
    let mut framer = Framer::default();
    for part in [
        window(0, 0, 613, 547),
        window(11, 7, 301, 263),
        window(100, 77, 129, 133),
    ] {
        let to = [64, 64];
        let found = framer.window(&file, to, Filter::Bilinear, |_, _| part);
        let found = found.unwrap().to_vec();
        let plain = plainly(&file, part, to, Filter::Bilinear);
        let apart = found.iter().zip(&plain).map(|(a, b)| a.abs_diff(*b));
        let mean = apart.clone().map(f64::from).sum::<f64>() / plain.len() as f64;
        let most = apart.max().unwrap();
        assert!(mean > 0.0, "{part:?} was not shrunk");
        assert!(
            mean < 2.5 && most <= 20,
            "{part:?}: mean {mean}, most {most}"
        );
    }
}

#[test]
fn a_whole_picture_is_the_one_that_is_decoded_alone() {
    let mut framer = Framer::default();
    for file in [detailed(90, 50), detailed(33, 70)] {
        let alone = Picture::decode(&file).unwrap();
        let (size, pixels) = framer.whole(&file).unwrap();
        assert_eq!(size, [alone.width(), alone.height()]);
        assert!(pixels == alone.pixels());
    }
}

#[test]
fn files_in_rare_forms_are_cut_as_usual_ones() {
    let bytes = {
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
        encoder.set_progressive(true);
        let made = picture(90, 70, 4);
        let kind = jpeg_encoder::ColorType::Rgb;
        encoder.encode(made.pixels(), 90, 70, kind).unwrap();
        bytes
    };
    let part = window(12, 9, 50, 48);
    let mut framer = Framer::default();
    let found = framer.window(&bytes, [20, 20], Filter::Bilinear, |_, _| part);
    assert_eq!(
        found.unwrap(),
        plainly(&bytes, part, [20, 20], Filter::Bilinear)
    );
}

#[test]
fn what_is_no_picture_and_what_has_no_window_is_an_error() {
    let mut framer = Framer::default();
    let all = |width, height| window(0, 0, width, height);
    let mut told = |file: &[u8], choose: fn(u32, u32) -> Window| {
        let found = framer.window(file, [8, 8], Filter::Bilinear, choose);
        found.unwrap_err().to_string()
    };
    assert!(told(b"<html>", all).contains("expected a complete JPEG file"));
    let file = detailed(40, 30);
    assert!(told(&file[..400], all).contains("expected a complete JPEG file"));
    let beyond = told(&file, |_, _| window(40, 0, 5, 5));
    assert!(beyond.contains("cannot resize"), "{beyond}");
}
