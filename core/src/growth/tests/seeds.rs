//! Which candidates get more seeds, and when that ends.

use proptest::prelude::*;

use super::super::*;
use super::instant::World;

#[test]
fn only_doubtful_points_get_more_seeds() {
    // Nothing has fewer ReLUs than 1K: it is on the front. 2K is as good; 4K is much worse.
    let accuracy = |budget: u64, seed: u64| match budget {
        1000 => 8000 + 10 * (seed % 2),
        2000 => 8001 + 10 * ((seed + 1) % 2),
        _ => 7000 + 10 * (seed % 2),
    };
    let mut world = World::seeds("{ min: 2, max: 5 }");
    assert_eq!(world.grow(&accuracy), [2, 5, 2]);
    // Clear from the beginning.
    let accuracy = |budget: u64, seed: u64| budget + 10 * (seed % 2);
    assert_eq!(
        World::seeds("{ min: 2, max: 5 }").grow(&accuracy),
        [2, 2, 2]
    );
}

#[test]
fn a_seed_comes_with_all_that_it_needs_and_nothing_else() {
    let mut world = World::seeds("{ min: 1, max: 2 }");
    let held: Vec<_> = (0..)
        .zip(&world.plan.tasks)
        .filter(|(_, it)| it.spec.seed == 1)
        .collect();
    assert!(held.iter().all(|(place, _)| world.of(*place).allowed == 0));
    world.work(&|_, _| 8000);
    let steps = world.next();
    world.take(&steps);
    let kinds: Vec<_> = (0..)
        .zip(&world.plan.tasks)
        .filter(|(place, it)| it.spec.seed == 1 && world.of(*place).allowed == ALL_EPOCHS)
        .map(|(_, it)| it.spec.kind().name())
        .collect();
    assert_eq!(
        kinds,
        ["baseline", "evaluate", "replace", "finetune", "evaluate"]
    );
    // Its evaluation is under way: the next worker gets another candidate's.
    let Some(Step::Seed { candidate, .. }) = steps.first().copied() else {
        panic!("{steps:?}");
    };
    let more = world.next();
    assert!(matches!(more[..], [Step::Seed { candidate: other, .. }] if other != candidate));
}

proptest! {
    /// No candidate gets more seeds than it may, or fewer than it must, and it ends.
    #[test]
    fn seeds_stay_within_their_limits(noise in proptest::collection::vec(0_u64..200, 24), max in 2_usize..6) {
        let accuracy = |budget: u64, seed: u64| {
            let at = usize::try_from(budget / 1000 * 6 + seed).unwrap();
            8000 + noise[at % noise.len()]
        };
        let mut world = World::seeds(&format!("{{ min: 2, max: {max} }}"));
        let seeds = world.grow(&accuracy);
        prop_assert!(seeds.iter().all(|&it| (2..=max).contains(&it)));
    }
}
