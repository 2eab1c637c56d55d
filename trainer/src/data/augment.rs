//! Random flips and crops, and normalisation, from bytes to floats in one pass.

use autorep_core::data::Inputs;
use autorep_core::net::InputShape;
use autorep_data::picture::Window;

use crate::rng::Rng;

/// How one image is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Augment {
    /// Mirrored left to right, before it is shifted.
    pub flip: bool,
    /// Rows by which the window of the original size lies below the image's top; negative above.
    pub down: i64,
    /// Columns by which the window lies right of the image's left edge; negative left of it.
    pub right: i64,
}

impl Augment {
    /// The image as it is.
    pub const NONE: Self = Self {
        flip: false,
        down: 0,
        right: 0,
    };

    /// The change of the image at `index` of the training part in an epoch counted from 0: a flip
    /// with probability one half, and a crop of the original size out of the image with
    /// `padding` zero pixels on each side.
    pub fn draw(seed: u64, epoch: u64, index: u32, padding: u32) -> Self {
        let mut rng = Rng::keyed("augment", &[seed, epoch, u64::from(index)]);
        let flip = rng.below(2) == 1;
        let mut shift = || {
            let offset = rng.below(2 * u64::from(padding) + 1);
            i64::try_from(offset).unwrap_or(0) - i64::from(padding)
        };
        Self {
            flip,
            down: shift(),
            right: shift(),
        }
    }
}

/// The part of a picture of `width` x `height` pixels that is resized to the net's input, and
/// whether it is then flipped, for the image at `index` of the training part in an epoch counted
/// from 0. As torchvision's `RandomResizedCrop` with its defaults: ten tries at 8 % to 100 % of
/// the area in an aspect ratio whose logarithm is uniform between those of 3/4 and 4/3; then the
/// largest window in the middle whose ratio is between them.
pub fn resized_window(
    seed: u64,
    epoch: u64,
    index: u32,
    width: u32,
    height: u32,
) -> (Window, bool) {
    const TRIES: usize = 10;
    const AREA: [f64; 2] = [0.08, 1.0];
    let mut rng = Rng::keyed("resized-crop", &[seed, epoch, u64::from(index)]);
    let flip = rng.below(2) == 1;
    let area = f64::from(width) * f64::from(height);
    let [least, most] = RATIO.map(f64::ln);
    for _ in 0..TRIES {
        let target = area * (AREA[0] + (AREA[1] - AREA[0]) * rng.unit());
        let ratio = (least + (most - least) * rng.unit()).exp();
        let columns = pixels((target * ratio).sqrt());
        let rows = pixels((target / ratio).sqrt());
        if (1..=width).contains(&columns) && (1..=height).contains(&rows) {
            let mut below = |bound: u32| {
                let drawn = rng.below(u64::from(bound) + 1);
                u32::try_from(drawn).unwrap_or(bound)
            };
            let window = Window {
                left: below(width - columns),
                top: below(height - rows),
                width: columns,
                height: rows,
            };
            return (window, flip);
        }
    }
    (middle_window(width, height), flip)
}

/// The aspect ratios, columns by rows, of random windows.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// The largest window in the middle whose aspect ratio is one of [`RATIO`] or between them.
fn middle_window(width: u32, height: u32) -> Window {
    let (wide, tall) = (f64::from(width), f64::from(height));
    let [least, most] = RATIO;
    let (columns, rows) = if wide < least * tall {
        (width, pixels(wide / least).min(height))
    } else if wide > most * tall {
        (pixels(tall * most).min(width), height)
    } else {
        (width, height)
    };
    Window {
        left: (width - columns) / 2,
        top: (height - rows) / 2,
        width: columns,
        height: rows,
    }
}

/// The nearest whole number of pixels.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; a picture has fewer pixels than a u32 counts"
)]
fn pixels(length: f64) -> u32 {
    length.round() as u32
}

/// Turns bytes into floats of mean zero and variance one over the data set, by channel.
#[derive(Clone, Debug)]
pub struct Normaliser {
    shape: InputShape,
    /// By channel, the float of every byte.
    tables: Vec<[f32; 256]>,
}

impl Normaliser {
    /// With the means and deviations of these inputs.
    pub fn new(inputs: Inputs) -> Self {
        let tables = inputs
            .normalisation()
            .into_iter()
            .map(|(mean, deviation)| {
                let mut table = [0.0; 256];
                for (byte, value) in (0_u8..=255).zip(&mut table) {
                    *value = (f32::from(byte) / 255.0 - mean) / deviation;
                }
                table
            })
            .collect();
        Self {
            shape: inputs.set.input(),
            tables,
        }
    }

    /// Floats of one image.
    pub fn len(&self) -> usize {
        self.tables.len() * self.shape.height as usize * self.shape.width as usize
    }

    /// Whether an image has no pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a colour image whose pixels are red, green, blue side by side, normalised and
    /// perhaps flipped. `image` has [`Self::len`] bytes.
    pub fn append_pixels(&self, image: &[u8], flip: bool, batch: &mut Vec<f32>) {
        let rows = || {
            let pixels = image.as_chunks::<3>().0;
            pixels.chunks_exact(self.shape.width as usize)
        };
        let [red, green, blue] = self.tables.as_slice() else {
            return;
        };
        rows().for_each(|row| append_channel::<0>(row, flip, red, batch));
        rows().for_each(|row| append_channel::<1>(row, flip, green, batch));
        rows().for_each(|row| append_channel::<2>(row, flip, blue, batch));
    }

    /// Appends the changed, normalised image to `batch`. `image` has [`Self::len`] bytes.
    pub fn append(&self, image: &[u8], augment: Augment, batch: &mut Vec<f32>) {
        let (height, width) = (self.shape.height as usize, self.shape.width as usize);
        for (plane, table) in image.chunks_exact(height * width).zip(&self.tables) {
            for row in 0..height {
                match shifted(row, augment.down, height) {
                    Some(from) => {
                        let line = &plane[from * width..(from + 1) * width];
                        append_line(line, augment, table, batch);
                    }
                    None => batch.extend(std::iter::repeat_n(table[0], width)),
                }
            }
        }
    }
}

/// Appends the channel `CHANNEL` of pixels of three.
fn append_channel<const CHANNEL: usize>(
    row: &[[u8; 3]],
    flip: bool,
    table: &[f32; 256],
    batch: &mut Vec<f32>,
) {
    let value = |pixel: &[u8; 3]| table[usize::from(pixel[CHANNEL])];
    if flip {
        batch.extend(row.iter().rev().map(value));
    } else {
        batch.extend(row.iter().map(value));
    }
}

fn append_line(line: &[u8], augment: Augment, table: &[f32; 256], batch: &mut Vec<f32>) {
    let width = line.len();
    batch.extend((0..width).map(|column| {
        let byte = shifted(column, augment.right, width).map_or(0, |from| {
            line[if augment.flip { width - 1 - from } else { from }]
        });
        table[usize::from(byte)]
    }));
}

/// The position in the image at `by` pixels after `at`, if it is inside.
fn shifted(at: usize, by: i64, size: usize) -> Option<usize> {
    let from = i64::try_from(at).ok()?.checked_add(by)?;
    usize::try_from(from).ok().filter(|from| *from < size)
}

#[cfg(test)]
mod tests {
    use autorep_core::data::DataSet;

    use super::*;

    #[test]
    fn a_change_depends_on_seed_epoch_and_index_alone() {
        let draw = Augment::draw(1, 2, 3, 4);
        assert_eq!(draw, Augment::draw(1, 2, 3, 4));
        let others = (0..50).filter(|index| Augment::draw(1, 2, *index, 4) != draw);
        assert!(others.count() > 40);
        let epochs = (0..50).filter(|epoch| Augment::draw(1, *epoch, 3, 4) != draw);
        assert!(epochs.count() > 40);
    }

    #[test]
    fn every_shift_up_to_the_padding_and_both_flips_occur() {
        let draws: Vec<Augment> = (0..500)
            .map(|index| Augment::draw(0, 0, index, 2))
            .collect();
        for shift in -2..=2 {
            assert!(draws.iter().any(|draw| draw.down == shift));
            assert!(draws.iter().any(|draw| draw.right == shift));
        }
        assert!(
            draws
                .iter()
                .all(|draw| draw.down.abs() <= 2 && draw.right.abs() <= 2)
        );
        let flips = draws.iter().filter(|draw| draw.flip).count();
        assert!((200..300).contains(&flips), "{flips} of 500");
    }

    #[test]
    fn a_window_depends_on_its_key_and_lies_inside_with_area_and_ratio_in_range() {
        let (width, height) = (500, 375);
        let draw = |index| resized_window(3, 1, index, width, height);
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), resized_window(3, 2, 5, width, height));
        assert_ne!(draw(5), resized_window(4, 1, 5, width, height));
        let mut flips = 0;
        let (mut smallest, mut largest) = (1.0_f64, 0.0_f64);
        for index in 0..1_000 {
            let (window, flip) = draw(index);
            flips += u32::from(flip);
            assert!(window.left + window.width <= width && window.width > 0);
            assert!(window.top + window.height <= height && window.height > 0);
            let area = f64::from(window.width) * f64::from(window.height);
            let share = area / f64::from(width * height);
            smallest = smallest.min(share);
            largest = largest.max(share);
            let ratio = f64::from(window.width) / f64::from(window.height);
            assert!((0.73..1.37).contains(&ratio), "{ratio}");
        }
        assert!((400..600).contains(&flips), "{flips} of 1000");
        assert!((0.075..0.1).contains(&smallest), "{smallest}");
        assert!((0.9..=1.0).contains(&largest), "{largest}");
    }

    /// What a seed means is a promise: these numbers may never change.
    #[test]
    fn the_first_windows_are_fixed_for_good() {
        let window = |index| {
            let (window, flip) = resized_window(0, 0, index, 500, 375);
            let Window {
                left,
                top,
                width,
                height,
            } = window;
            (left, top, width, height, flip)
        };
        assert_eq!(
            [0, 1].map(window),
            [(53, 2, 275, 357, true), (18, 8, 278, 362, true)]
        );
    }

    #[test]
    fn a_picture_too_narrow_for_any_window_is_cut_in_the_middle() {
        let window = |width, height| {
            let Window {
                left,
                top,
                width,
                height,
            } = middle_window(width, height);
            (left, top, width, height)
        };
        assert_eq!(window(30, 1_000), (0, 480, 30, 40));
        assert_eq!(window(1_000, 30), (480, 0, 40, 30));
        assert_eq!(window(40, 40), (0, 0, 40, 40));
        let (drawn, _) = resized_window(0, 0, 0, 3, 5_000);
        assert_eq!((drawn.width, drawn.height), (3, 4));
    }

    /// A 2 x 3 image, spelt out.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the table holds whole numbers up to 255"
    )]
    fn changed(augment: Augment) -> Vec<u8> {
        let mut table = [0.0; 256];
        for (byte, value) in (0_u8..=255).zip(&mut table) {
            *value = f32::from(byte);
        }
        let normaliser = Normaliser {
            shape: InputShape {
                channels: 1,
                height: 2,
                width: 3,
            },
            tables: vec![table],
        };
        let mut batch = Vec::new();
        normaliser.append(&[1, 2, 3, 4, 5, 6], augment, &mut batch);
        batch.into_iter().map(|value| value as u8).collect()
    }

    #[test]
    fn flips_and_crops_move_pixels_as_they_say() {
        assert_eq!(changed(Augment::NONE), [1, 2, 3, 4, 5, 6]);
        let flip = |flip, down, right| changed(Augment { flip, down, right });
        assert_eq!(flip(true, 0, 0), [3, 2, 1, 6, 5, 4]);
        assert_eq!(flip(false, 1, 0), [4, 5, 6, 0, 0, 0]);
        assert_eq!(flip(false, -1, 1), [0, 0, 0, 2, 3, 0]);
        assert_eq!(flip(true, 0, -1), [0, 3, 2, 0, 6, 5]);
        assert_eq!(flip(false, 9, 9), [0; 6]);
    }

    #[test]
    fn pixels_side_by_side_become_the_same_floats_as_planes() {
        let normaliser = Normaliser::new(Inputs::of(DataSet::Cifar10));
        let planes: Vec<u8> = (0..=255).cycle().step_by(7).take(3 * 32 * 32).collect();
        let pixels: Vec<u8> = (0..32 * 32)
            .flat_map(|at| [planes[at], planes[1024 + at], planes[2048 + at]])
            .collect();
        for flip in [false, true] {
            let (mut wanted, mut found) = (Vec::new(), Vec::new());
            let augment = Augment {
                flip,
                ..Augment::NONE
            };
            normaliser.append(&planes, augment, &mut wanted);
            normaliser.append_pixels(&pixels, flip, &mut found);
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn padding_is_black_before_normalisation() {
        let normaliser = Normaliser::new(Inputs::of(DataSet::FashionMnist));
        let mut batch = Vec::new();
        let away = Augment {
            flip: false,
            down: 28,
            right: 0,
        };
        normaliser.append(&[255; 784], away, &mut batch);
        normaliser.append(&[255; 784], Augment::NONE, &mut batch);
        assert_eq!(batch.len(), 2 * normaliser.len());
        assert!((batch[0] - (0.0 - 0.286) / 0.353).abs() < 1e-6);
        assert!((batch[784] - (1.0 - 0.286) / 0.353).abs() < 1e-6);
    }
}
