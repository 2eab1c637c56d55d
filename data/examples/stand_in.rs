//! Writes a stand-in of ImageNet: its layout and its thousand classes, a few small pictures each, to
//! see a sweep through where the real images are not (`autorep run --rehearse` with
//! `AUTOREP_UNVERIFIED_DATA=1`).
//!
//! `cargo run -p autorep-data --example stand_in -- FOLDER [TRAIN VAL]` writes `FOLDER/imagenet` with
//! TRAIN pictures of each class for training (3) and VAL for validation (1).

use std::error::Error;
use std::fs;
use std::path::Path;

use jpeg_encoder::{ColorType, Encoder};

const CLASSES: u32 = 1000;

/// Of a picture, in pixels: more than a step of the decoder, less than a net's input.
const WIDTH: u16 = 100;
const HEIGHT: u16 = 75;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, counts) = match arguments.as_slice() {
        [folder] => (folder, Some([3, 1])),
        [folder, train, validation] => (folder, both(train, validation)),
        _ => (&String::new(), None),
    };
    let [train, validation] = counts
        .ok_or("expected FOLDER and at most two numbers of pictures per class, TRAIN and VAL")?;
    let root = Path::new(folder).join("imagenet");
    write(&root.join("train"), train, 0)?;
    write(&root.join("val"), validation, train)
}

fn both(train: &str, validation: &str) -> Option<[u32; 2]> {
    Some([train.parse().ok()?, validation.parse().ok()?])
}

/// One part: `each` pictures of every class, numbered from `first`.
fn write(part: &Path, each: u32, first: u32) -> Result<(), Box<dyn Error>> {
    for class in 0..CLASSES {
        let name = format!("n{class:08}");
        let folder = part.join(&name);
        fs::create_dir_all(&folder)?;
        for picture in first..first + each {
            fs::write(
                folder.join(format!("{name}_{picture}.JPEG")),
                jpeg(class, picture)?,
            )?;
        }
    }
    Ok(())
}

/// Stripes whose direction, width and colours are the class's, moved from picture to picture.
fn jpeg(class: u32, picture: u32) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
    let (across, down) = (1 + class % 10, 1 + class / 10 % 10);
    let colour = |channel: u32| 40 + 20 * ((class / 100 + 3 * channel) % 10);
    let mut pixels = Vec::with_capacity(3 * usize::from(WIDTH) * usize::from(HEIGHT));
    for y in 0..u32::from(HEIGHT) {
        for x in 0..u32::from(WIDTH) {
            let wave = (across * x + down * y + 37 * picture) % 64;
            let level = wave.abs_diff(32);
            pixels.extend(
                (0..3).map(|channel| u8::try_from(colour(channel) * level / 32).unwrap_or(u8::MAX)),
            );
        }
    }
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 85).encode(&pixels, WIDTH, HEIGHT, ColorType::Rgb)?;
    Ok(bytes)
}
