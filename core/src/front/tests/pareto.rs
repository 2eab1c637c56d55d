//! The incremental non-dominated set against its definition.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::front::{Flips, Pareto, Point};

const OWNERS: u32 = 14;

/// The owners that no other point dominates, straight from the definition.
fn brute_force(points: &[Option<Point>]) -> BTreeSet<u32> {
    let dominated = |point: &Point| points.iter().flatten().any(|other| other.dominates(point));
    (0..)
        .zip(points)
        .filter(|(_, point)| point.is_some_and(|point| !dominated(&point)))
        .map(|(owner, _)| owner)
        .collect()
}

fn point(relu_count: u64, accuracy: f64) -> Point {
    Point {
        relu_count,
        accuracy,
    }
}

/// Few different values, so that ties and exact duplicates are common.
fn any_point() -> impl Strategy<Value = Option<Point>> {
    prop::option::weighted(
        0.8,
        (0_u64..7, 0_u8..7).prop_map(|(count, accuracy)| point(count, f64::from(accuracy))),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn after_every_change_the_front_is_the_brute_force_one(
        changes in prop::collection::vec((0..OWNERS, any_point()), 1..60),
    ) {
        let mut pareto = Pareto::new(OWNERS);
        let mut points = vec![None; OWNERS as usize];
        let mut before = BTreeSet::new();
        for (owner, point) in changes {
            let flips = pareto.set(owner, point);
            points[owner as usize] = point;

            let now = brute_force(&points);
            let members: BTreeSet<u32> = (0..OWNERS).filter(|&at| pareto.is_on_front(at)).collect();
            prop_assert_eq!(&members, &now);
            let joined: Vec<u32> = now.difference(&before).copied().collect();
            let left: Vec<u32> = before.difference(&now).copied().collect();
            prop_assert_eq!(flips, Flips { joined, left });
            before = now;

            let listed: Vec<u32> = pareto.front().collect();
            let count_of = |owner: &u32| points[*owner as usize].map(|point| point.relu_count);
            prop_assert!(listed.is_sorted_by_key(|owner| (count_of(owner), *owner)));
            prop_assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), before.clone());
        }
    }
}

#[test]
fn exact_duplicates_are_both_on_the_front_until_something_better_comes() {
    let mut pareto = Pareto::new(3);
    pareto.set(0, Some(point(100, 80.0)));
    assert_eq!(pareto.set(1, Some(point(100, 80.0))).joined, [1]);
    assert_eq!(pareto.front().collect::<Vec<_>>(), [0, 1]);

    let flips = pareto.set(2, Some(point(100, 80.5)));
    assert_eq!((flips.joined, flips.left), (vec![2], vec![0, 1]));
}

#[test]
fn a_point_that_gets_worse_uncovers_what_it_hid() {
    let mut pareto = Pareto::new(3);
    pareto.set(0, Some(point(100, 90.0)));
    pareto.set(1, Some(point(200, 85.0)));
    pareto.set(2, Some(point(300, 88.0)));
    assert_eq!(pareto.front().collect::<Vec<_>>(), [0]);

    let flips = pareto.set(0, Some(point(100, 84.0)));
    assert_eq!((flips.joined, flips.left), (vec![1, 2], vec![]));
}

#[test]
fn the_same_point_again_changes_nothing() {
    let mut pareto = Pareto::new(1);
    pareto.set(0, Some(point(100, 90.0)));
    assert_eq!(pareto.set(0, Some(point(100, 90.0))), Flips::default());
    assert!(pareto.is_on_front(0));
}

/// Costs are logarithmic only while the tree is shallow, and sorted input is the worst there is.
#[test]
fn sorted_input_leaves_the_tree_shallow() {
    let owners = 1 << 14;
    let mut pareto = Pareto::new(owners);
    for owner in 0..owners {
        pareto.set(owner, Some(point(u64::from(owner), f64::from(owner))));
    }
    assert_eq!(pareto.front().count(), owners as usize);
    // A random tree of 2^14 nodes is about 2 log2 n = 28 to 34 deep; a list would be 16,384.
    assert!(pareto.depth() < 60, "depth {}", pareto.depth());
}
