//! A made-up Tiny-ImageNet.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jpeg_encoder::{ColorType, Encoder};

/// Pictures' rows and columns.
const SIDE: u16 = 64;

/// Writes two classes as the archive lays them out, `each` training and half as many validation
/// pictures of every class: bright ones and dark ones.
pub(crate) fn tiny_imagenet(folder: &Path, each: u8) {
    let root = folder.join("tiny-imagenet-200");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("wnids.txt", b"n0\nn1\n");
    let mut annotations = String::new();
    for class in 0..2 {
        for image in 0..each {
            let path = format!("train/n{class}/images/n{class}_{image}.JPEG");
            put(&path, &jpeg(class, image));
        }
        for image in 0..each / 2 {
            let name = format!("val_{class}_{image}.JPEG");
            put(&format!("val/images/{name}"), &jpeg(class, each + image));
            writeln!(annotations, "{name}\tn{class}\t0\t0\t9\t9").unwrap();
        }
    }
    put("val/val_annotations.txt", annotations.as_bytes());
}

/// A picture that differs by class and number.
fn jpeg(class: u8, number: u8) -> Vec<u8> {
    let pixels: Vec<u8> = (0..SIDE)
        .flat_map(|row| (0..SIDE).map(move |column| (row, column)))
        .flat_map(|(row, column)| {
            let wave = (row + column + 3 * u16::from(number)) % 64;
            let level = u8::try_from(wave).unwrap() + 120 * class;
            [level, level / 2, 3 * (number % 80)]
        })
        .collect();
    let mut bytes = Vec::new();
    let encoder = Encoder::new(&mut bytes, 90);
    encoder.encode(&pixels, SIDE, SIDE, ColorType::Rgb).unwrap();
    bytes
}
