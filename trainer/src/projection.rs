//! From latents to exactly as many ReLUs as the budget allows.

/// Indicators (0 or 1, in the order of `latents`) that keep exactly the `budget` largest latents,
/// or all of them if there are fewer. Of equal latents the earlier one is kept, which in flat
/// order means by site, then by index. Latents that are not numbers come last.
pub fn keep_largest(latents: &[f32], budget: u64) -> Vec<u8> {
    let budget = usize::try_from(budget).unwrap_or(usize::MAX);
    if budget >= latents.len() {
        return vec![1; latents.len()];
    }
    let mut kept = vec![0; latents.len()];
    if budget == 0 {
        return kept;
    }
    let rank = |at: usize| {
        let latent = latents[at];
        // Negative zero equals zero here, so that it cannot lose a tie.
        if latent.is_nan() {
            f32::NEG_INFINITY
        } else {
            latent + 0.0
        }
    };
    let mut order: Vec<usize> = (0..latents.len()).collect();
    order.select_nth_unstable_by(budget - 1, |a, b| {
        rank(*b).total_cmp(&rank(*a)).then(a.cmp(b))
    });
    for at in &order[..budget] {
        kept[*at] = 1;
    }
    kept
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
            let kept = keep_largest(&latents, budget);
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
        assert_eq!(keep_largest(&[-0.5, -0.1, -0.2], 2), [0, 1, 1]);
    }

    #[test]
    fn ties_and_odd_values_have_one_outcome() {
        assert_eq!(keep_largest(&[0.5; 4], 2), [1, 1, 0, 0]);
        assert_eq!(keep_largest(&[-0.0, 0.0, -0.0], 1), [1, 0, 0]);
        assert_eq!(keep_largest(&[f32::NAN, -1.0, f32::INFINITY], 2), [0, 1, 1]);
    }
}
