use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::picture::Picture;

/// What `testdata/make.py` wrote.
const NAMES: [&str; 8] = [
    "whole-chroma",
    "halved-across",
    "halved-both-ways",
    "restarts",
    "grey",
    "coarse",
    "tiny",
    "tiny-across",
];

const SHRINKS: [Shrink; 4] = [Shrink::Whole, Shrink::Half, Shrink::Quarter, Shrink::Eighth];

fn file(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(name),
    )
    .unwrap()
}

/// Decodes a window, or all of the picture, of it shrunk.
fn decode(
    decoder: &mut Decoder,
    file: &[u8],
    window: Option<Window>,
    shrink: Shrink,
) -> Result<(Window, Picture), Refused> {
    let opened = decoder.open(file)?;
    let [width, height] = <[usize; 2]>::from(opened.size()).map(|n| u32::try_from(n).unwrap());
    let whole = Window {
        left: 0,
        top: 0,
        width,
        height,
    };
    let mut pixels = vec![7; 100];
    let region = opened.decode(window.unwrap_or(whole), shrink, &mut pixels)?;
    let picture = Picture::new(region.width, region.height, pixels).unwrap();
    Ok((region, picture))
}

#[test]
fn pictures_whole_and_shrunk_are_pillows_to_the_last_bit() {
    let mut decoder = Decoder::default();
    for name in NAMES {
        let bytes = file(&format!("{name}.jpg"));
        let (width, height) = decoder.open(&bytes).unwrap().size();
        for shrink in SHRINKS {
            if shrink.divisor() > width.min(height) {
                continue;
            }
            let ending = match shrink.divisor() {
                1 => String::new(),
                divisor => format!("-{divisor}"),
            };
            let pillow = Picture::decode(&file(&format!("{name}{ending}.png"))).unwrap();
            let (_, ours) = decode(&mut decoder, &bytes, None, shrink).unwrap();
            assert_eq!(
                (ours.width(), ours.height()),
                (pillow.width(), pillow.height()),
                "{name}{ending}"
            );
            assert!(ours == pillow, "{name}{ending}");
        }
    }
}

#[test]
fn without_the_instructions_of_avx2_pixels_are_the_same() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed >> 40
    };
    for _ in 0..200 {
        let sparse = 1 + random() % 6;
        let (mut block, mut steps) = ([0; 64], [1; 64]);
        // No product is beyond what eight bits of pixels become.
        for (level, step) in block.iter_mut().zip(&mut steps) {
            let drawn = 1 + random() % 60;
            *step = u16::try_from(drawn).unwrap();
            if random().is_multiple_of(sparse) {
                let most = 1024 / drawn;
                let drawn = random() % (2 * most + 1);
                *level = i16::try_from(drawn).unwrap() - i16::try_from(most).unwrap();
            }
        }
        let mut portable = [0; 64];
        idct::inverse(&block, &steps, &mut portable, 8);
        assert_eq!(with_avx2(&block, &steps).unwrap_or(portable), portable);
    }
}

#[cfg(target_arch = "x86_64")]
fn with_avx2(block: &idct::Block, steps: &idct::Steps) -> Option<[u8; 64]> {
    if !is_x86_feature_detected!("avx2") {
        return None;
    }
    let mut pixels = [0; 64];
    #[expect(unsafe_code, reason = "the processor was asked whether it can")]
    // SAFETY: the processor has what the function is compiled for.
    unsafe {
        avx2::inverse(block, steps, &mut pixels, 8);
    }
    Some(pixels)
}

#[cfg(not(target_arch = "x86_64"))]
fn with_avx2(_: &idct::Block, _: &idct::Steps) -> Option<[u8; 64]> {
    None
}

proptest! {
    /// In any order of files: buffers are used again.
    #[test]
    fn a_window_is_cut_out_of_the_whole_picture(
        name in prop::sample::select(&NAMES[..]),
        shrink in prop::sample::select(&SHRINKS[..]),
        [left, right] in [0_u32..61, 0_u32..61],
        [top, bottom] in [0_u32..47, 0_u32..47],
    ) {
        let bytes = file(&format!("{name}.jpg"));
        let mut decoder = Decoder::default();
        let (all, whole) = decode(&mut decoder, &bytes, None, shrink).unwrap();
        let (width, height) = decoder.open(&bytes).unwrap().size();
        let [width, height] = [width, height].map(|side| u32::try_from(side).unwrap());
        let span = |one: u32, other: u32, whole: u32| {
            let (one, other) = (one.min(whole - 1), other.min(whole - 1));
            (one.min(other), one.abs_diff(other) + 1)
        };
        let (left, across) = span(left, right, width);
        let (top, down) = span(top, bottom, height);
        let window = Window { left, top, width: across, height: down };
        let (region, part) = decode(&mut decoder, &bytes, Some(window), shrink).unwrap();
        prop_assert_eq!(all.width, whole.width());
        prop_assert_eq!(whole.crop(region), part);
        let divisor = u32::try_from(shrink.divisor()).unwrap();
        prop_assert_eq!(region.left, left / divisor);
        prop_assert_eq!(region.left + region.width, (left + across).div_ceil(divisor));
        prop_assert_eq!(region.top, top / divisor);
        prop_assert_eq!(region.top + region.height, (top + down).div_ceil(divisor));
    }

    #[test]
    fn no_damage_makes_it_panic(
        name in prop::sample::select(&NAMES[..]),
        shrink in prop::sample::select(&SHRINKS[..]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = file(&format!("{name}.jpg"));
        for (at, value) in damage {
            let at = 2 + at.index(bytes.len() - 2);
            bytes[at] = value;
        }
        let mut decoder = Decoder::default();
        let size = decoder.open(&bytes).map(|opened| opened.size());
        if let Ok((1..=2000, 1..=2000)) = size {
            // A picture or an error: a changed colour cannot be noticed.
            let _decoded = decode(&mut decoder, &bytes, None, shrink).is_ok();
        }
    }
}

/// Whether training notices must not depend on the part that it looks at.
#[test]
fn a_file_cut_anywhere_is_refused_whatever_the_window() {
    let mut decoder = Decoder::default();
    let window = Window {
        left: 0,
        top: 0,
        width: 1,
        height: 1,
    };
    for name in ["halved-both-ways", "restarts", "grey"] {
        let bytes = file(&format!("{name}.jpg"));
        for cut in 2..bytes.len() {
            let refused = decode(&mut decoder, &bytes[..cut], Some(window), Shrink::Whole);
            assert!(
                matches!(refused, Err(Refused::Damaged(_))),
                "{name} cut at {cut}: {refused:?}"
            );
        }
    }
}

#[test]
fn a_missing_restart_marker_is_told() {
    let mut bytes = file("restarts.jpg");
    let at = bytes.windows(2).position(|pair| pair == [0xff, 0xd1]);
    bytes[at.unwrap() + 1] = 0xd2;
    let refused = decode(&mut Decoder::default(), &bytes, None, Shrink::Whole);
    let told = Refused::Damaged("a damaged one: a restart marker is missing");
    assert_eq!(refused.unwrap_err(), told);
}

#[test]
fn rare_forms_are_left_to_the_other_decoder() {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
    let encoded = |(kind, channels): (ColorType, usize),
                   setting: fn(&mut Encoder<&mut Vec<u8>>)| {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 90);
        setting(&mut encoder);
        let pixels = vec![50; 16 * 16 * channels];
        encoder.encode(&pixels, 16, 16, kind).unwrap();
        bytes
    };
    let rgb = (ColorType::Rgb, 3);
    let mut decoder = Decoder::default();
    let mut refused = |bytes: &[u8]| decoder.open(bytes).map(|_| ()).unwrap_err();
    let progressive = encoded(rgb, |it| it.set_progressive(true));
    assert_eq!(refused(&progressive), Refused::Unusual);
    let tall = encoded(rgb, |it| {
        it.set_sampling_factor(SamplingFactor::F_1_2);
    });
    assert_eq!(refused(&tall), Refused::Unusual);
    let four = encoded((ColorType::Cmyk, 4), |_| {});
    assert_eq!(refused(&four), Refused::Unusual);
    assert!(decoder.open(&encoded(rgb, |_| {})).is_ok());
}

#[test]
fn a_picture_is_shrunk_only_while_it_stays_as_large_as_asked() {
    let most = |from| Shrink::most(from, 224);
    assert_eq!(most(447), Shrink::Whole);
    assert_eq!(most(448), Shrink::Half);
    assert_eq!(most(895), Shrink::Half);
    assert_eq!([most(896), most(1792)], [Shrink::Quarter, Shrink::Eighth]);
    assert_eq!(most(9999), Shrink::Eighth);
}
