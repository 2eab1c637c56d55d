//! Estimates and the hypervolume against their definitions.

use proptest::prelude::*;

use crate::front::{Estimate, hypervolume};
use crate::observation::Accuracy;

fn over(correct: &[u64], images: u64) -> Estimate {
    let seeds: Vec<Accuracy> = correct
        .iter()
        .map(|&correct| Accuracy { correct, images })
        .collect();
    Estimate::over(&seeds).unwrap()
}

#[test]
fn no_seeds_give_no_estimate() {
    assert_eq!(Estimate::over(&[]), None);
}

#[test]
fn one_seed_has_no_spread() {
    let estimate = over(&[8_612], 10_000);
    assert_eq!((estimate.n, estimate.mean), (1, 86.12));
    assert!(estimate.std == 0.0);
}

#[test]
fn two_seeds_spread_by_their_distance_over_the_root_of_two() {
    let estimate = over(&[8_600, 8_640], 10_000);
    assert!((estimate.mean - 86.2).abs() < 1e-12);
    assert!((estimate.std - 0.4 / 2.0_f64.sqrt()).abs() < 1e-12);
}

#[test]
fn equal_means_are_equal_floats_whatever_the_number_of_seeds() {
    // One third has no exact float: two ways of rounding would differ.
    let means = [
        over(&[1], 3).mean,
        over(&[1, 1, 1], 3).mean,
        over(&[0, 1, 2], 3).mean,
        over(&[1_000, 3_000], 6_000).mean,
    ];
    let bits = means.map(f64::to_bits);
    assert_eq!(bits, [bits[0]; 4], "{means:?}");
}

#[test]
fn seeds_on_different_numbers_of_images_weigh_the_same() {
    let seeds = [(1, 2), (3, 4)].map(|(correct, images)| Accuracy { correct, images });
    let estimate = Estimate::over(&seeds).unwrap();
    assert!((estimate.mean - 62.5).abs() < 1e-12);
    assert!((estimate.std - 25.0 / 2.0_f64.sqrt()).abs() < 1e-12);
}

#[test]
fn counts_beyond_32_bits_do_not_overflow() {
    let most = u64::MAX;
    let estimate = over(&[most, most], most);
    assert!((estimate.mean - 100.0).abs() < 1e-9);
    assert!(estimate.std.abs() < 1e-9);
}

proptest! {
    #[test]
    fn an_estimate_is_the_textbook_one_in_any_order(
        correct in prop::collection::vec(0_u64..=10_000, 1..20),
        rotation in 0_usize..20,
    ) {
        let estimate = over(&correct, 10_000);
        let n = correct.len() as f64;
        let percents: Vec<f64> = correct.iter().map(|&c| c as f64 / 100.0).collect();
        let mean = percents.iter().sum::<f64>() / n;
        let squares: f64 = percents.iter().map(|p| (p - mean) * (p - mean)).sum();
        let std = if correct.len() < 2 { 0.0 } else { (squares / (n - 1.0)).sqrt() };
        prop_assert!((estimate.mean - mean).abs() < 1e-9);
        prop_assert!((estimate.std - std).abs() < 1e-6);

        let mut turned = correct.clone();
        turned.rotate_left(rotation % correct.len());
        prop_assert_eq!(over(&turned, 10_000), estimate);
    }

    /// On a grid of sixteenths every product is an exact float, so areas can be counted.
    #[test]
    fn the_hypervolume_counts_the_dominated_cells(
        points in prop::collection::vec((0_u8..=16, 0_u8..=16), 0..12),
    ) {
        let cells = (0..16_u8)
            .flat_map(|column| (0..16_u8).map(move |row| (column, row)))
            .filter(|&(column, row)| points.iter().any(|&(x, y)| x <= column && row < y))
            .count();
        let shares: Vec<(f64, f64)> = points
            .iter()
            .map(|&(x, y)| (f64::from(x) / 16.0, f64::from(y) / 16.0))
            .collect();
        prop_assert_eq!(hypervolume(&shares).to_bits(), (cells as f64 / 256.0).to_bits());
    }

    #[test]
    fn the_hypervolume_is_the_integral_of_the_best_so_far(
        points in prop::collection::vec((0.0_f64..1.0, 0.0_f64..1.0), 0..12),
    ) {
        let steps = 4_000;
        let integral: f64 = (0..steps)
            .map(|step| (f64::from(step) + 0.5) / f64::from(steps))
            .map(|x| points.iter().filter(|point| point.0 <= x).map(|point| point.1).fold(0.0, f64::max))
            .sum::<f64>() / f64::from(steps);
        // Each point's jump is misplaced by less than one step.
        let tolerance = (points.len() + 1) as f64 / f64::from(steps);
        prop_assert!((hypervolume(&points) - integral).abs() <= tolerance);
    }
}
