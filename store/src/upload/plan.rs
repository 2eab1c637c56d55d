//! Into which pieces a file is cut.

/// Pieces of a file unless it has too many of them: large enough that a request's fixed costs do
/// not count, small enough to be sent again without regret. S3 takes none below 5 MiB but the last.
const USUAL_BYTES: u64 = 8 << 20;

/// S3 takes no more pieces of one object.
const MOST: u64 = 10_000;

/// Bytes of all buffers of one upload: four pieces of the usual size that are under way and one
/// that is being read.
const BUFFERS: u64 = 5 * USUAL_BYTES;

/// How a file is cut into pieces. All have the same size but the last, as some stores want it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PiecePlan {
    /// Bytes of a piece.
    pub(super) bytes: usize,
    /// Pieces under way at a time.
    pub(super) at_once: usize,
}

/// A file has more bytes than can be sent with so little memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a file of at most {most} bytes, found {found}; S3 takes 10000 pieces of an object, of which this machine keeps two in memory: split the file"
)]
pub struct TooLarge {
    /// The file's size.
    pub found: u64,
    /// The size of the largest that can be sent.
    pub most: u64,
}

impl PiecePlan {
    /// Pieces for a file of so many bytes: larger than usual only where there would be too many of
    /// them, and then fewer at a time.
    pub(super) fn of(bytes: u64) -> Result<Self, TooLarge> {
        let largest = BUFFERS / 2;
        let piece = bytes.div_ceil(MOST).max(USUAL_BYTES);
        if piece > largest {
            return Err(TooLarge {
                found: bytes,
                most: largest * MOST,
            });
        }
        let at_once = BUFFERS / piece - 1;
        let small = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
        Ok(Self {
            bytes: small(piece),
            at_once: small(at_once),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_of_the_usual_size_until_there_would_be_too_many() {
        let usual = PiecePlan {
            bytes: 8 << 20,
            at_once: 4,
        };
        for bytes in [0, 1, 1 << 30, USUAL_BYTES * MOST] {
            assert_eq!(PiecePlan::of(bytes).unwrap(), usual, "{bytes}");
        }
        let larger = PiecePlan::of(USUAL_BYTES * MOST + 1).unwrap();
        assert_eq!((larger.bytes, larger.at_once), ((8 << 20) + 1, 3));
    }

    #[test]
    fn no_file_takes_more_memory_or_pieces_than_any_other() {
        let largest = BUFFERS / 2 * MOST;
        for bytes in (0..=largest).step_by(1 << 30).chain([largest]) {
            let plan = PiecePlan::of(bytes).unwrap();
            assert!((plan.at_once + 1) * plan.bytes <= 40 << 20, "{plan:?}");
            assert!(plan.at_once >= 1);
            assert!(bytes.div_ceil(plan.bytes as u64) <= MOST);
        }
        let refused = PiecePlan::of(largest + 1).unwrap_err();
        assert_eq!(refused.most, largest);
    }
}
