//! Which ranges of shards are fetched in one request.

use std::ops::Range;

/// Ranges of one shard this near to each other are fetched together: what lies between them costs
/// less than a request does.
const GAP_BYTES: u64 = 64 << 10;

/// A request is not made larger than this by adding ranges to it.
const REQUEST_BYTES: u64 = 4 << 20;

/// One request for the bytes of one or more of the wanted ranges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request<'a> {
    pub(super) file: &'a str,
    pub(super) range: Range<u64>,
    /// Which of the wanted ranges it holds.
    pub(super) wanted: Vec<usize>,
}

/// Requests for these ranges, each (file, offset, bytes): every range is in exactly one request.
/// Pictures that follow each other, as in a measurement, need few; those of a shuffled batch one
/// each.
pub(super) fn gather<'a>(ranges: &[(&'a str, u64, usize)]) -> Vec<Request<'a>> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|at| (ranges[*at].0, ranges[*at].1));
    let mut requests: Vec<Request<'a>> = Vec::new();
    for at in order {
        let (file, offset, bytes) = ranges[at];
        let end = offset.saturating_add(bytes as u64);
        if let Some(last) = requests.last_mut()
            && last.file == file
            && offset.saturating_sub(last.range.end) <= GAP_BYTES
            && end.max(last.range.end) - last.range.start <= REQUEST_BYTES
        {
            last.range.end = last.range.end.max(end);
            last.wanted.push(at);
            continue;
        }
        requests.push(Request {
            file,
            range: offset..end,
            wanted: vec![at],
        });
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn near_ranges_of_a_shard_share_a_request_and_far_ones_and_other_shards_do_not() {
        let ranges = [
            ("b", 0, 10),
            ("a", 700, 100),
            ("a", 0, 500),
            ("a", 10 * MIB, 5),
            ("a", 0, 500),
        ];
        let requests = gather(&ranges);
        let told: Vec<_> = requests
            .iter()
            .map(|one| (one.file, one.range.clone(), one.wanted.clone()))
            .collect();
        assert_eq!(
            told,
            [
                ("a", 0..800, vec![2, 4, 1]),
                ("a", 10 * MIB..10 * MIB + 5, vec![3]),
                ("b", 0..10, vec![0]),
            ]
        );
    }

    #[test]
    fn a_request_ends_before_it_grows_too_large_and_a_large_range_is_asked_for_whole() {
        let mib = usize::try_from(MIB).unwrap();
        let ranges: Vec<_> = (0..6).map(|at| ("a", at * MIB, mib)).collect();
        let sizes = |ranges: &[(&str, u64, usize)]| -> Vec<u64> {
            let requests = gather(ranges);
            requests
                .iter()
                .map(|one| one.range.end - one.range.start)
                .collect()
        };
        assert_eq!(sizes(&ranges), [4 * MIB, 2 * MIB]);
        assert_eq!(sizes(&[("a", 3, 9 * mib)]), [9 * MIB]);
        assert!(gather(&[]).is_empty());
    }
}
