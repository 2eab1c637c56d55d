//! Which of several points in the plane of ReLUs and accuracy are the more promising.

/// Where a candidate stands: fewer ReLUs and more accuracy are better.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Standpoint {
    /// ReLUs as a share of the full network's.
    pub share: f64,
    /// Accuracy, a share of one.
    pub accuracy: f64,
}

/// The places of the `most` most promising of `points`, in any order, with the most promising of them that
/// is `wanted`. One is more promising by non-domination rank; within one rank by the larger contribution to
/// the hypervolume that their layer dominates, with (share 1, accuracy 0) as the reference point, then by
/// the smaller share; equals in the order in which they are given. Numbers must not be negative or NaN.
/// Takes time O(n log n).
pub(super) fn best(
    points: &[Standpoint],
    most: usize,
    wanted: impl Fn(usize) -> bool,
) -> (Vec<usize>, Option<usize>) {
    let mut best = Vec::with_capacity(most.min(points.len()));
    let mut first = None;
    for mut layer in layers(points) {
        if best.len() >= most {
            break;
        }
        let is_last = best.len() + layer.len() > most;
        let decides = first.is_none() && layer.iter().any(|&it| wanted(it));
        if is_last || decides {
            // Only here does the order say anything.
            layer = ranked(points, &layer);
            layer.truncate(most - best.len());
            first = first.or_else(|| layer.iter().copied().find(|&it| wanted(it)));
        }
        best.append(&mut layer);
    }
    (best, first)
}

/// The members of a layer, those first that contribute most.
fn ranked(points: &[Standpoint], layer: &[usize]) -> Vec<usize> {
    let mut members = with_contributions(points, layer);
    members.sort_by(|one, other| other.0.total_cmp(&one.0));
    members.into_iter().map(|(_, member)| member).collect()
}

/// The members of a layer in its order, each with the hypervolume that the layer would lose without it.
fn with_contributions(points: &[Standpoint], layer: &[usize]) -> Vec<(f64, usize)> {
    let contribution = |at: usize| {
        let point = points[layer[at]];
        let before = at.checked_sub(1).map(|at| points[layer[at]]);
        let after = layer.get(at + 1).map(|&it| points[it]);
        if before == Some(point) || after == Some(point) {
            return 0.0; // Of equals none is missed: another is there.
        }
        let width = after.map_or(1.0, |it| it.share) - point.share;
        width * (point.accuracy - before.map_or(0.0, |it| it.accuracy))
    };
    (0..layer.len())
        .map(|at| (contribution(at), layer[at]))
        .collect()
}

/// The points by non-domination rank, each layer by rising share (and so rising accuracy).
fn layers(points: &[Standpoint]) -> Vec<Vec<usize>> {
    // Numbers that are not negative have the order of their bits, which are faster to sort.
    let mut order: Vec<(u128, u32)> = (0..)
        .zip(points)
        .map(|(at, it)| {
            let accuracy = u64::MAX - it.accuracy.to_bits();
            let key = u128::from(it.share.to_bits()) << 64 | u128::from(accuracy);
            (key, at)
        })
        .collect();
    order.sort_unstable();
    let mut layers: Vec<Vec<usize>> = Vec::new();
    // The last point of each layer, which has its best accuracy: these fall from layer to layer.
    let mut lasts: Vec<Standpoint> = Vec::new();
    for (_, at) in order {
        let at = at as usize;
        let point = points[at];
        let dominates = |last: &Standpoint| last.accuracy >= point.accuracy && *last != point;
        let layer = lasts.partition_point(dominates);
        if layer == layers.len() {
            layers.push(Vec::new());
            lasts.push(point);
        }
        layers[layer].push(at);
        lasts[layer] = point;
    }
    layers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::hypervolume;

    fn dominates(one: Standpoint, other: Standpoint) -> bool {
        one.share <= other.share && one.accuracy >= other.accuracy && one != other
    }

    /// The rank by its definition: peel off what nothing dominates, over and over.
    fn peeled(points: &[Standpoint]) -> Vec<usize> {
        let mut layer_of = vec![usize::MAX; points.len()];
        for layer in 0..points.len() {
            let left: Vec<usize> = (0..points.len())
                .filter(|&at| layer_of[at] == usize::MAX)
                .collect();
            let is_free = |at: usize| !left.iter().any(|&it| dominates(points[it], points[at]));
            for &at in left.iter().filter(|&&at| is_free(at)) {
                layer_of[at] = layer;
            }
        }
        layer_of
    }

    fn area(points: &[Standpoint]) -> f64 {
        let pairs: Vec<(f64, f64)> = points.iter().map(|it| (it.share, it.accuracy)).collect();
        hypervolume(&pairs)
    }

    /// The same places, the most promising first.
    fn in_order(points: &[Standpoint], most: usize) -> Vec<usize> {
        let layers = layers(points);
        let all = layers.iter().flat_map(|layer| ranked(points, layer));
        all.take(most).collect()
    }

    fn some_points() -> impl proptest::strategy::Strategy<Value = Vec<Standpoint>> {
        // Few different values, so that there are equals of every kind.
        let point = (1_u32..8, 1_u32..8).prop_map(|(share, accuracy)| Standpoint {
            share: f64::from(share) / 8.0,
            accuracy: f64::from(accuracy) / 8.0,
        });
        proptest::collection::vec(point, 0..24)
    }

    proptest! {
        #[test]
        fn ranks_and_contributions_are_those_of_their_definitions(points in some_points()) {
            let peeled = peeled(&points);
            let layers = layers(&points);
            let found: Vec<(usize, f64, usize)> = (layers.iter().enumerate())
                .flat_map(|(number, layer)| {
                    let members = with_contributions(&points, layer).into_iter();
                    members.map(move |(contribution, at)| (number, contribution, at))
                })
                .collect();
            prop_assert_eq!(found.len(), points.len());
            for (layer, contribution, at) in found {
                prop_assert_eq!(layer, peeled[at]);
                let of_layer = |skip: Option<usize>| -> Vec<Standpoint> {
                    (0..points.len())
                        .filter(|&it| peeled[it] == peeled[at] && Some(it) != skip)
                        .map(|it| points[it])
                        .collect()
                };
                let lost = area(&of_layer(None)) - area(&of_layer(Some(at)));
                prop_assert!((contribution - lost).abs() < 1e-12);
            }
        }

        #[test]
        fn who_goes_first_does_not_depend_on_the_order_of_the_reports(points in some_points(), seed in 0_u64..1000) {
            let mut shuffled: Vec<usize> = (0..points.len()).collect();
            shuffled.sort_by_key(|&at| crate::digest::Digest::of(&[seed.to_le_bytes(), (at as u64).to_le_bytes()].concat()));
            let moved: Vec<Standpoint> = shuffled.iter().map(|&at| points[at]).collect();
            let first: Vec<Standpoint> = in_order(&points, usize::MAX).into_iter().map(|at| points[at]).collect();
            let second: Vec<Standpoint> = in_order(&moved, usize::MAX).into_iter().map(|at| moved[at]).collect();
            prop_assert_eq!(&first, &second);
            let half: Vec<Standpoint> = in_order(&points, points.len() / 2).into_iter().map(|at| points[at]).collect();
            prop_assert_eq!(&half[..], &first[..half.len()]);
            let most = points.len() / 2;
            let ranked = in_order(&points, most);
            let odd = |at: usize| at % 2 == 1;
            let (mut found, one) = best(&points, most, odd);
            prop_assert_eq!(one, ranked.iter().copied().find(|&at| odd(at)));
            found.sort_unstable();
            let mut sorted = ranked;
            sorted.sort_unstable();
            prop_assert_eq!(found, sorted);
        }
    }
}
