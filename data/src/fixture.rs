//! Pictures for tests, made up and encoded here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

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

/// A small Tiny-ImageNet as its archive lays it out: classes `n2`, `n0`, `n1` in this order in
/// `wnids.txt`, `each` training pictures of every class, one validation picture of every class.
pub(crate) fn tiny(folder: &Path, each: u32) {
    let root = folder.join("tiny-imagenet-200");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("wnids.txt", b"n2\nn0\nn1\n");
    let mut annotations = String::new();
    for class in 0..3 {
        for image in 0..each {
            let bytes = jpeg(&picture(64, 64, 10 * class + image));
            put(
                &format!("train/n{class}/images/n{class}_{image}.JPEG"),
                &bytes,
            );
        }
        put(&format!("train/n{class}/n{class}_boxes.txt"), b"boxes");
        let name = format!("val_{}.JPEG", 2 - class);
        put(
            &format!("val/images/{name}"),
            &jpeg(&picture(64, 64, 100 + class)),
        );
        writeln!(annotations, "{name}\tn{class}\t0\t32\t44\t62").unwrap();
    }
    put("val/val_annotations.txt", annotations.as_bytes());
}

/// A small set in class folders, with pictures of several sizes.
pub(crate) fn class_folders(folder: &Path, each: u32) {
    for (part, first) in [("train", 0), ("val", 50)] {
        for class in 0..3 {
            for image in 0..each {
                let path = folder.join(format!("{part}/c{class}/p{image}.JPEG"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let size = 40 + 7 * image;
                let made = picture(size, 90 - size / 2, first + 10 * class + image);
                fs::write(path, jpeg(&made)).unwrap();
            }
        }
    }
}
