//! The binary CIFAR formats: records of one label (CIFAR-10) or a coarse and a fine label
//! (CIFAR-100), followed by a red, a green and a blue plane of 32 x 32 bytes in row order.

use super::{DataError, DataFile};

/// Bytes of one image's three planes.
const PIXELS: usize = 3 * 32 * 32;

/// Appends the images of one file. The last of `labels_per_image` labels is the one used: the
/// fine one of CIFAR-100.
pub(super) fn append(
    file: &DataFile,
    contents: &[u8],
    labels_per_image: usize,
    labels: &mut Vec<u8>,
    pixels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let record = labels_per_image + PIXELS;
    if contents.is_empty() || !contents.len().is_multiple_of(record) {
        return Err(DataError::Length {
            file: file.name.to_owned(),
            expected: contents.len().div_ceil(record).max(1) * record,
            found: contents.len(),
        });
    }
    for image in contents.chunks_exact(record) {
        let (image_labels, image_pixels) = image.split_at(labels_per_image);
        labels.extend(image_labels.last());
        pixels.extend_from_slice(image_pixels);
    }
    Ok(())
}
