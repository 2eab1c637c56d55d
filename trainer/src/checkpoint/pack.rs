//! Indicators as bits.

/// Whether the tensor of this name is packed.
pub(super) fn is_packed(name: &str) -> bool {
    name.ends_with(".indicators")
}

/// Bytes of so many bits.
pub(super) fn bytes_of(bits: usize) -> i64 {
    i64::try_from(bits.div_ceil(8)).unwrap_or(i64::MAX)
}

/// Zeros and ones as bits, the first in the lowest bit of the first byte.
pub(super) fn packed(values: &[u8]) -> Vec<u8> {
    let bytes = values.chunks(8);
    bytes
        .map(|eight| {
            let bits = eight.iter().enumerate();
            bits.fold(0, |byte, (at, value)| byte | ((value & 1) << at))
        })
        .collect()
}

/// The first `count` bits as zeros and ones; `None` if there are not as many bytes as they need,
/// or a bit after them is set.
pub(super) fn unpacked(bytes: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut values: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |at| (byte >> at) & 1))
        .collect();
    if bytes.len() != count.div_ceil(8) || values[count..].contains(&1) {
        return None;
    }
    values.truncate(count);
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_and_stray_ones_are_noticed() {
        for count in [0, 1, 7, 8, 9, 24] {
            let values: Vec<u8> = (0..count)
                .map(|at: u8| u8::from(at.is_multiple_of(3)))
                .collect();
            let bytes = packed(&values);
            assert_eq!(bytes.len(), values.len().div_ceil(8));
            assert_eq!(unpacked(&bytes, values.len()), Some(values));
        }
        assert_eq!(packed(&[1, 0, 0, 1, 0, 0, 0, 0, 1]), [0b1001, 1]);
        assert_eq!(unpacked(&[0b100], 2), None);
        assert_eq!(unpacked(&[0, 0], 8), None);
        assert_eq!(unpacked(&[], 1), None);
    }
}
