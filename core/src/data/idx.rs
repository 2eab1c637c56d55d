//! The idx format of Fashion-MNIST: a big-endian header, then one byte per pixel or label.
//!
//! Header: two zero bytes, the element type (8 is an unsigned byte), the number of dimensions,
//! then each dimension as a 32-bit big-endian number.

use super::{DataError, DataFile, DataSet};

/// The images of one idx file: their number and their pixels.
pub(super) fn images<'a>(
    set: DataSet,
    file: &DataFile,
    contents: &'a [u8],
) -> Result<(usize, &'a [u8]), DataError> {
    let ([count, rows, columns], pixels) = header::<3>(file, "images", contents)?;
    let input = set.input();
    if (rows, columns) != (input.height, input.width) {
        return Err(DataError::Dimensions {
            file: file.name.to_owned(),
            expected: format!("{} x {}", input.height, input.width),
            found: format!("{rows} x {columns}"),
        });
    }
    let count = count as usize;
    let size = input.height as usize * input.width as usize;
    exact_length(file, contents.len(), 16, count.saturating_mul(size))?;
    Ok((count, pixels))
}

/// The labels of one idx file, of which there must be `images`.
pub(super) fn labels<'a>(
    file: &DataFile,
    contents: &'a [u8],
    images: usize,
) -> Result<&'a [u8], DataError> {
    let ([count], labels) = header::<1>(file, "labels", contents)?;
    exact_length(file, contents.len(), 8, count as usize)?;
    if labels.len() != images {
        return Err(DataError::Labels {
            file: file.name.to_owned(),
            expected: images,
            found: labels.len(),
        });
    }
    Ok(labels)
}

/// The dimensions that the header announces, and what follows the header.
fn header<'a, const DIMENSIONS: usize>(
    file: &DataFile,
    holds: &'static str,
    contents: &'a [u8],
) -> Result<([u32; DIMENSIONS], &'a [u8]), DataError> {
    const UNSIGNED_BYTE: u8 = 8;
    let (first, mut rest) = contents.split_at(contents.len().min(4));
    if !matches!(first, [0, 0, UNSIGNED_BYTE, n] if usize::from(*n) == DIMENSIONS) {
        return Err(DataError::Magic {
            file: file.name.to_owned(),
            expected: holds,
            found: format!("{first:02x?}"),
        });
    }
    let mut dimensions = [0; DIMENSIONS];
    for dimension in &mut dimensions {
        let Some((number, after)) = rest.split_first_chunk::<4>() else {
            return Err(DataError::Length {
                file: file.name.to_owned(),
                expected: 4 + 4 * DIMENSIONS,
                found: contents.len(),
            });
        };
        *dimension = u32::from_be_bytes(*number);
        rest = after;
    }
    Ok((dimensions, rest))
}

fn exact_length(
    file: &DataFile,
    found: usize,
    header: usize,
    body: usize,
) -> Result<(), DataError> {
    let expected = body.saturating_add(header);
    if found == expected {
        Ok(())
    } else {
        Err(DataError::Length {
            file: file.name.to_owned(),
            expected,
            found,
        })
    }
}
