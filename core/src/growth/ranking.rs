//! Which of several points in the plane of ReLUs and accuracy are the more promising.

use std::cmp::Ordering;

/// Where a candidate stands: fewer ReLUs and more accuracy are better.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Standpoint {
    /// ReLUs as a share of the full network's.
    pub share: f64,
    /// Accuracy, a share of one.
    pub accuracy: f64,
}

impl Standpoint {
    /// Fewer ReLUs first, then more accuracy: the order in which points are compared.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        (self.share.total_cmp(&other.share)).then(other.accuracy.total_cmp(&self.accuracy))
    }
}

/// Numbered points, more promising by non-domination rank; within one rank by the larger contribution
/// to the hypervolume that their layer dominates, with (share 1, accuracy 0) as the reference point,
/// then by the smaller share; equals in the order in which they are given. Each method is given the
/// same points again.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    /// The non-domination rank of each, counted from 0.
    layers: Vec<usize>,
    /// Points of each rank.
    sizes: Vec<usize>,
}

impl Ranking {
    /// Of points that are given by [`Standpoint::order`]. Takes time O(n log n).
    pub(super) fn of(points: &[(Standpoint, u32)]) -> Self {
        let mut layers = Vec::with_capacity(points.len());
        let mut sizes: Vec<usize> = Vec::new();
        // The last accuracy of each layer, which is its best: these fall from layer to layer.
        let mut lasts: Vec<f64> = Vec::new();
        let mut before: Option<(Standpoint, usize)> = None;
        for &(point, _) in points {
            let layer = match before {
                // Equals do not dominate each other.
                Some((equal, layer)) if equal == point => layer,
                _ => lasts.partition_point(|&last| last >= point.accuracy),
            };
            if layer == lasts.len() {
                lasts.push(point.accuracy);
                sizes.push(0);
            }
            lasts[layer] = point.accuracy;
            sizes[layer] += 1;
            layers.push(layer);
            before = Some((point, layer));
        }
        Self { layers, sizes }
    }

    /// The numbers of the `most` most promising, in any order.
    pub(super) fn best(&self, points: &[(Standpoint, u32)], most: usize) -> Vec<u32> {
        let (last, room) = self.limit(most);
        let within = self.layers.iter().zip(points);
        let within = within.filter(|(layer, _)| **layer < last);
        let mut best: Vec<u32> = within.map(|(_, (_, number))| *number).collect();
        best.extend(self.ranked(points, last).into_iter().take(room));
        best
    }

    /// The most promising of the `most` most promising that is wanted.
    pub(super) fn first(
        &self,
        points: &[(Standpoint, u32)],
        most: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let (last, room) = self.limit(most);
        let wants = (self.layers.iter().zip(points)).filter(|(_, (_, it))| wanted(*it));
        let layer = wants.map(|(layer, _)| *layer).min()?;
        let room = match layer.cmp(&last) {
            Ordering::Less => usize::MAX,
            Ordering::Equal => room,
            Ordering::Greater => 0,
        };
        let mut ranked = self.ranked(points, layer).into_iter().take(room);
        ranked.find(|&it| wanted(it))
    }

    /// The layer in which so many points end, and how many of it are among them.
    fn limit(&self, most: usize) -> (usize, usize) {
        let mut room = most;
        for (layer, &size) in self.sizes.iter().enumerate() {
            if size > room {
                return (layer, room);
            }
            room -= size;
        }
        (self.sizes.len(), 0)
    }

    /// The numbers of a layer's points, the most promising first.
    fn ranked(&self, points: &[(Standpoint, u32)], layer: usize) -> Vec<u32> {
        let mut members = with_contributions(&self.layer(points, layer));
        members.sort_by(|one, other| other.0.total_cmp(&one.0));
        members.into_iter().map(|(_, number)| number).collect()
    }

    /// A layer's points by rising share, and so rising accuracy.
    fn layer(&self, points: &[(Standpoint, u32)], layer: usize) -> Vec<(Standpoint, u32)> {
        let members = self.layers.iter().zip(points);
        let members = members.filter(|(of, _)| **of == layer);
        members.map(|(_, point)| *point).collect()
    }
}

/// The members of a layer in its order, each with the hypervolume that the layer would lose without it.
fn with_contributions(layer: &[(Standpoint, u32)]) -> Vec<(f64, u32)> {
    let contribution = |at: usize| {
        let point = layer[at].0;
        let before = at.checked_sub(1).map(|at| layer[at].0);
        let after = layer.get(at + 1).map(|it| it.0);
        if before == Some(point) || after == Some(point) {
            return 0.0; // Of equals none is missed: another is there.
        }
        let width = after.map_or(1.0, |it| it.share) - point.share;
        width * (point.accuracy - before.map_or(0.0, |it| it.accuracy))
    };
    (0..layer.len())
        .map(|at| (contribution(at), layer[at].1))
        .collect()
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

    /// The points as they are compared, each with its place among those given.
    fn sorted(points: &[Standpoint]) -> Vec<(Standpoint, u32)> {
        let mut sorted: Vec<(Standpoint, u32)> = points.iter().copied().zip(0..).collect();
        sorted.sort_by(|one, other| one.0.order(&other.0));
        sorted
    }

    /// The places of the most promising, these first.
    fn in_order(points: &[Standpoint], most: usize) -> Vec<usize> {
        let sorted = sorted(points);
        let ranking = Ranking::of(&sorted);
        let all = (0..ranking.sizes.len()).flat_map(|layer| ranking.ranked(&sorted, layer));
        all.map(|at| at as usize).take(most).collect()
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
            let sorted = sorted(&points);
            let ranking = Ranking::of(&sorted);
            let found: Vec<(usize, f64, usize)> = (0..ranking.sizes.len())
                .flat_map(|number| {
                    let members = with_contributions(&ranking.layer(&sorted, number)).into_iter();
                    members.map(move |(contribution, at)| (number, contribution, at as usize))
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
            let sorted_points = sorted(&points);
            let ranking = Ranking::of(&sorted_points);
            let one = ranking.first(&sorted_points, most, |at| at % 2 == 1);
            prop_assert_eq!(one.map(|at| at as usize), ranked.iter().copied().find(|at| at % 2 == 1));
            let mut found: Vec<usize> = ranking.best(&sorted_points, most).into_iter().map(|at| at as usize).collect();
            found.sort_unstable();
            let mut sorted = ranked;
            sorted.sort_unstable();
            prop_assert_eq!(found, sorted);
        }
    }
}
