//! From latents to as many `ReLUs` as the budget allows.

use std::cmp::Ordering;

/// Indicators (0 or 1, in the order of `latents`) that keep exactly the `budget` largest latents,
/// or all of them if there are fewer. Of equal latents the one with the larger entry of `ties` is
/// kept, and without entries or among equal ones the earlier: in flat order that means by site,
/// then by index. Latents that are not numbers come last.
pub fn keep_largest(latents: &[f32], ties: &[f32], budget: u64) -> Vec<u8> {
    let budget = usize::try_from(budget).unwrap_or(usize::MAX);
    if budget >= latents.len() {
        return vec![1; latents.len()];
    }
    let mut kept = vec![0; latents.len()];
    if budget == 0 {
        return kept;
    }
    let mut order: Vec<usize> = (0..latents.len()).collect();
    order.select_nth_unstable_by(budget - 1, |a, b| before(latents, ties, *a, *b));
    for at in &order[..budget] {
        kept[*at] = 1;
    }
    kept
}

/// As [`keep_largest`] for units of several elements each, `sizes` of them: in falling order of
/// their latents, every unit is kept that still fits. So the count is at most the budget, and the
/// space that is left is smaller than any unit that was given up.
pub fn keep_fitting(latents: &[f32], ties: &[f32], sizes: &[u64], budget: u64) -> Vec<u8> {
    let mut kept = vec![0; latents.len()];
    let mut order: Vec<usize> = (0..latents.len()).collect();
    order.sort_unstable_by(|a, b| before(latents, ties, *a, *b));
    let mut left = budget;
    for at in order {
        if let Some(rest) = left.checked_sub(sizes[at]) {
            left = rest;
            kept[at] = 1;
        }
    }
    kept
}

/// Whether `a` is kept before `b`.
fn before(latents: &[f32], ties: &[f32], a: usize, b: usize) -> Ordering {
    let larger = |values: &[f32]| match (values.get(a), values.get(b)) {
        (Some(a), Some(b)) => rank(*b).total_cmp(&rank(*a)),
        _ => Ordering::Equal,
    };
    larger(latents).then(larger(ties)).then(a.cmp(&b))
}

fn rank(value: f32) -> f32 {
    if value.is_nan() {
        f32::NEG_INFINITY
    } else {
        // Negative zero equals zero here, so that it cannot lose a tie.
        value + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn exactly_the_budget_is_kept_and_nothing_dropped_is_larger() {
        let mut rng = Rng::keyed("projection", &[]);
        // Coarse values, so that there are many ties.
        let latents: Vec<f32> = (0..1000)
            .map(|_| rng.below(50) as f32 / 25.0 - 1.0)
            .collect();
        for budget in [0_u64, 1, 7, 500, 999, 1000, 2000] {
            let kept = keep_largest(&latents, &[], budget);
            let count: u64 = kept.iter().copied().map(u64::from).sum();
            assert_eq!(count, budget.min(1000));
            for (at, keep) in kept.iter().enumerate() {
                for (other, other_keep) in kept.iter().enumerate().skip(at + 1) {
                    let fair = match (keep, other_keep) {
                        (0, 1) => latents[other] > latents[at],
                        (1, 0) => latents[at] >= latents[other],
                        _ => true,
                    };
                    assert!(fair, "budget {budget}: {at} and {other}");
                }
            }
        }
    }

    #[test]
    fn indicators_are_turned_on_when_the_search_went_below_the_budget() {
        assert_eq!(keep_largest(&[-0.5, -0.1, -0.2], &[], 2), [0, 1, 1]);
    }

    #[test]
    fn ties_and_odd_values_have_one_outcome() {
        assert_eq!(keep_largest(&[0.5; 4], &[], 2), [1, 1, 0, 0]);
        assert_eq!(keep_largest(&[-0.0, 0.0, -0.0], &[], 1), [1, 0, 0]);
        let odd = [f32::NAN, -1.0, f32::INFINITY];
        assert_eq!(keep_largest(&odd, &[], 2), [0, 1, 1]);
    }

    #[test]
    fn ties_go_to_the_more_important() {
        let ties = [0.1, 0.4, 0.2, 0.3];
        assert_eq!(keep_largest(&[0.5; 4], &ties, 2), [0, 1, 0, 1]);
        assert_eq!(keep_largest(&[0.5, 0.5, 0.6, 0.5], &ties, 2), [0, 1, 1, 0]);
    }

    #[test]
    fn whole_units_fill_the_budget_as_far_as_they_fit() {
        let (latents, sizes) = ([0.4, 0.9, 0.6, -0.1], [3, 5, 4, 1]);
        // The largest needs 5 of 9, the next 4; nothing is left.
        assert_eq!(keep_fitting(&latents, &[], &sizes, 9), [0, 1, 1, 0]);
        // The next does not fit into 3, the one after it does.
        assert_eq!(keep_fitting(&latents, &[], &sizes, 8), [1, 1, 0, 0]);
        assert_eq!(keep_fitting(&latents, &[], &sizes, 4), [0, 0, 1, 0]);
        assert_eq!(keep_fitting(&latents, &[], &sizes, 0), [0; 4]);
        assert_eq!(keep_fitting(&latents, &[], &sizes, 13), [1; 4]);
    }
}
