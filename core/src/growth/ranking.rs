//! Which of several points in the plane of ReLUs and accuracy are the more promising.

use std::cmp::Ordering;

/// Where a candidate stands: fewer ReLUs and more accuracy are better.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Standpoint {
    /// ReLUs as a share of the full network's.
    pub share: f64,
    /// Accuracy, a share of one.
    pub accuracy: f64,
}

/// What decides between points: smaller goes first.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Merit {
    /// How many layers of the others have to go before nothing dominates it.
    layer: usize,
    /// The hypervolume that its layer would lose without it, with (share 1, accuracy 0) as the
    /// reference point.
    contribution: f64,
}

/// The places of `points` from the most to the least promising: by non-domination rank; within one
/// rank by falling contribution to the hypervolume, then by rising share; equals in the order in which
/// they are given.
/// Numbers must not be NaN. Takes time O(n log n).
pub fn order(points: &[Standpoint]) -> Vec<usize> {
    let merits = merits(points);
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&one, &other| {
        let (a, b) = (&merits[one], &merits[other]);
        (a.layer.cmp(&b.layer))
            .then(b.contribution.total_cmp(&a.contribution))
            .then(place_order(points[one], points[other]))
            .then(one.cmp(&other))
    });
    order
}

fn merits(points: &[Standpoint]) -> Vec<Merit> {
    let mut merits = vec![
        Merit {
            layer: 0,
            contribution: 0.0,
        };
        points.len()
    ];
    for (layer, members) in layers(points).into_iter().enumerate() {
        for (at, &member) in members.iter().enumerate() {
            let Standpoint { share, accuracy } = points[member];
            // Of equals none is missed: another is there.
            let is = |other: Option<&usize>| other.is_some_and(|&it| points[it] == points[member]);
            let before = at.checked_sub(1).and_then(|at| members.get(at));
            let after = members.get(at + 1);
            let contribution = if is(before) || is(after) {
                0.0
            } else {
                let width = after.map_or(1.0, |&it| points[it].share) - share;
                let height = accuracy - before.map_or(0.0, |&it| points[it].accuracy);
                width * height
            };
            merits[member] = Merit {
                layer,
                contribution,
            };
        }
    }
    merits
}

/// The points by non-domination rank, each layer by rising share (and so rising accuracy).
fn layers(points: &[Standpoint]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&one, &other| place_order(points[one], points[other]).then(one.cmp(&other)));
    let mut layers: Vec<Vec<usize>> = Vec::new();
    for at in order {
        // A layer's last point has its best accuracy, and these fall from layer to layer.
        let dominates = |layer: &Vec<usize>| {
            layer.last().is_some_and(|&last| {
                points[last].accuracy >= points[at].accuracy && points[last] != points[at]
            })
        };
        let layer = layers.partition_point(dominates);
        match layers.get_mut(layer) {
            Some(layer) => layer.push(at),
            None => layers.push(vec![at]),
        }
    }
    layers
}

/// By rising share, then falling accuracy: nobody is dominated by who comes later.
fn place_order(one: Standpoint, other: Standpoint) -> Ordering {
    (one.share.total_cmp(&other.share)).then(other.accuracy.total_cmp(&one.accuracy))
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
            let merits = merits(&points);
            let peeled = peeled(&points);
            for at in 0..points.len() {
                prop_assert_eq!(merits[at].layer, peeled[at]);
                let of_layer = |skip: Option<usize>| -> Vec<Standpoint> {
                    (0..points.len())
                        .filter(|&it| peeled[it] == peeled[at] && Some(it) != skip)
                        .map(|it| points[it])
                        .collect()
                };
                let lost = area(&of_layer(None)) - area(&of_layer(Some(at)));
                prop_assert!((merits[at].contribution - lost).abs() < 1e-12);
            }
        }

        #[test]
        fn who_goes_first_does_not_depend_on_the_order_of_the_reports(points in some_points(), seed in 0_u64..1000) {
            let mut shuffled: Vec<usize> = (0..points.len()).collect();
            shuffled.sort_by_key(|&at| crate::digest::Digest::of(&[seed.to_le_bytes(), (at as u64).to_le_bytes()].concat()));
            let moved: Vec<Standpoint> = shuffled.iter().map(|&at| points[at]).collect();
            let first: Vec<Standpoint> = order(&points).into_iter().map(|at| points[at]).collect();
            let second: Vec<Standpoint> = order(&moved).into_iter().map(|at| moved[at]).collect();
            prop_assert_eq!(first, second);
        }
    }
}
