//! A made-up data set in the files of Fashion-MNIST: learnable, and small.

use std::fs;
use std::path::Path;

/// Training images, of which a sweep holds some out.
pub(crate) const TRAINING: usize = 512;

const TEST: usize = 200;
const SIDE: usize = 28;

/// Writes the four files into `folder`.
pub(crate) fn write(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (name, count, seed) in [("train", TRAINING, 1), ("t10k", TEST, 2)] {
        let mut noise = Noise(seed);
        let labels: Vec<u8> = (0..10).cycle().take(count).collect();
        let mut images = header(0x0803, &[count, SIDE, SIDE]);
        for label in &labels {
            image(*label, &mut noise, &mut images);
        }
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        let mut file = header(0x0801, &[count]);
        file.extend(labels);
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), file).unwrap();
    }
}

/// An idx header: the magic number and the sizes, all big-endian.
fn header(magic: u32, sizes: &[usize]) -> Vec<u8> {
    let sizes = sizes.iter().map(|size| u32::try_from(*size).unwrap());
    std::iter::once(magic)
        .chain(sizes)
        .flat_map(u32::to_be_bytes)
        .collect()
}

/// A bright square whose place is the class, on noise. It is in the middle columns, so that a
/// flip keeps the class.
fn image(label: u8, noise: &mut Noise, pixels: &mut Vec<u8>) {
    let top = 1 + 2 * usize::from(label);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let inside = (top..top + 6).contains(&row) && (8..20).contains(&column);
            let bright = if inside { 180 } else { 20 };
            pixels.push(bright + noise.next() % 40);
        }
    }
}

/// A linear congruential generator: the same images everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.to_be_bytes()[0]
    }
}
