use super::*;
use crate::fixture::{jpeg, picture};

#[test]
fn a_jpeg_decodes_to_about_the_pixels_that_were_encoded() {
    let original = picture(37, 23, 5);
    let decoded = Picture::decode(&jpeg(&original)).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (37, 23));
    let differences = original.pixels().iter().zip(decoded.pixels());
    let worst = differences.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 12, "a pixel differs by {worst}");
}

#[test]
fn a_grey_jpeg_becomes_a_colour_picture() {
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, 90)
        .encode(&[77; 64], 8, 8, jpeg_encoder::ColorType::Luma)
        .unwrap();
    let decoded = Picture::decode(&bytes).unwrap();
    assert_eq!(decoded.pixels().len(), 8 * 8 * 3);
    assert!(decoded.pixels().iter().all(|value| value.abs_diff(77) <= 2));
}

#[test]
fn a_progressive_jpeg_decodes_nearly_as_a_baseline_one() {
    let original = picture(40, 40, 1);
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder.set_progressive(true);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
    encoder
        .encode(original.pixels(), 40, 40, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    let [one, other] = [&bytes, &jpeg(&original)].map(|file| Picture::decode(file).unwrap());
    let differences = one.pixels().iter().zip(other.pixels());
    // Another decoder than that of baseline files rounds a cosine otherwise.
    let worst = differences.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 2, "a pixel differs by {worst}");
}

#[test]
fn a_png_under_a_jpegs_name_is_decoded_without_its_transparency() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&[1, 2, 3, 0, 4, 5, 6, 255])
        .unwrap();
    writer.finish().unwrap();
    assert_eq!(
        Picture::decode(&bytes).unwrap().pixels(),
        [1, 2, 3, 4, 5, 6]
    );
    let cut = Picture::decode(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(cut.to_string().contains("PNG"), "{cut}");
}

/// Wherever a file is cut, it is an error; PIL refuses such files too.
#[test]
fn a_jpeg_cut_anywhere_is_refused() {
    let bytes = jpeg(&picture(64, 48, 3));
    for cut in 0..bytes.len() {
        assert!(Picture::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn bytes_that_are_no_picture_are_refused_and_told() {
    let error = Picture::decode(b"<html>").unwrap_err().to_string();
    assert_eq!(
        error,
        "expected a complete JPEG file, found 6 bytes that begin with [3c, 68, 74, 6d]"
    );
    assert!(Picture::decode(b"").is_err());
}

#[test]
fn no_damaged_byte_makes_the_decoder_panic() {
    let bytes = jpeg(&picture(24, 24, 9));
    for at in 0..bytes.len() {
        for value in [0, 0x55, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            // An error or a picture: a changed colour cannot be noticed.
            let _decoded = Picture::decode(&damaged).is_ok();
        }
    }
}

#[test]
fn a_window_is_cut_out_and_ends_at_the_edges() {
    let pixels = (0..4 * 3 * 3).collect();
    let whole = Picture::new(4, 3, pixels).unwrap();
    let window = |left, top, width, height| {
        whole.crop(Window {
            left,
            top,
            width,
            height,
        })
    };
    assert_eq!(window(1, 2, 2, 1).pixels(), [27, 28, 29, 30, 31, 32]);
    let edge = window(3, 1, 9, 9);
    assert_eq!((edge.width(), edge.height()), (1, 2));
    assert_eq!(edge.pixels(), [21, 22, 23, 33, 34, 35]);
    assert_eq!(whole.centre_crop(2, 1).pixels()[0], 3 * (4 + 1));
    assert_eq!(&whole.planes()[..5], [0, 3, 6, 9, 12]);
}

/// torchvision computes `int(round((h - th) / 2.0))`, and Python rounds half to even.
#[test]
fn an_odd_margin_is_halved_as_python_rounds() {
    let halves: Vec<u32> = [0, 1, 2, 3, 5, 7].map(half_to_even).to_vec();
    assert_eq!(halves, [0, 0, 1, 2, 2, 4]);
}

#[test]
fn the_shorter_side_decides_and_the_longer_one_is_rounded_down() {
    let wide = picture(500, 375, 0)
        .resize_shorter(256, Filter::Bilinear)
        .unwrap();
    assert_eq!((wide.width(), wide.height()), (341, 256));
    let tall = picture(3, 7, 0).resize_shorter(2, Filter::Bicubic).unwrap();
    assert_eq!((tall.width(), tall.height()), (2, 4));
    assert!(picture(3, 7, 0).resize(0, 4, Filter::Bilinear).is_err());
}

/// Pillow's `Image.fromarray([[0, 100, 200, 40]]).resize((2, 1))` by hand: the triangle of width
/// 2 around 1 and 3 gives pixels at distances 0.5 and 1.5 the weights 3 and 1 (of those inside).
#[test]
fn shrinking_averages_with_a_widened_triangle() {
    let line = [0_u8, 100, 200, 40];
    let pixels = line.iter().flat_map(|value| [*value; 3]).collect();
    let small = Picture::new(4, 1, pixels)
        .unwrap()
        .resize(2, 1, Filter::Bilinear)
        .unwrap();
    // (3·0 + 3·100 + 1·200) / 7 and (1·100 + 3·200 + 3·40) / 7
    assert_eq!(small.pixels(), [71, 71, 71, 117, 117, 117]);
}

#[test]
fn resizing_is_pillows() {
    let light = |x: usize, y: usize| (x * x + 3 * y + x * y) % 5 >= 2;
    let grey = (0..6).flat_map(|y| (0..8).map(move |x| if light(x, y) { 255 } else { 0 }));
    let picture = Picture::new(8, 6, grey.flat_map(|level| [level; 3]).collect()).unwrap();
    // `Image.resize((5, 4))` of Pillow 13.0.0.
    let expected = [
        (
            Filter::Bicubic,
            [
                53, 173, 143, 71, 147, 133, 196, 59, 123, 218, 255, 255, 242, 251, 255, 89, 220,
                179, 89, 190,
            ],
        ),
        (
            Filter::Bilinear,
            [
                57, 171, 132, 71, 151, 136, 191, 80, 128, 220, 238, 250, 228, 234, 255, 96, 214,
                176, 96, 190,
            ],
        ),
    ];
    for (filter, pillow) in expected {
        let ours = picture.resize(5, 4, filter).unwrap().planes();
        let differences = ours
            .iter()
            .zip(pillow)
            .map(|(a, b): (&u8, u8)| a.abs_diff(b));
        // Either may round the weights of its filter differently.
        assert!(
            differences.max() <= Some(1),
            "{filter:?}: {:?}",
            &ours[..20]
        );
    }
}
