//! Which budgets are added, and when that ends.

use proptest::prelude::*;

use super::super::*;
use super::instant::World;

/// Nine budgets from 100 to 10,000, of which so many are measured first.
fn world(first: u32, until: f64, more: &str) -> World {
    let refine = format!("refine: {{ first: {first}, until: {until} }}");
    let budgets = format!("{{ from: 100, to: 10K, points: 9, {refine} }}");
    World::new(&budgets, more)
}

/// The budgets of the candidates that steps have added so far.
fn added(world: &World, steps: &[Step]) -> Vec<u64> {
    let of = |step: &Step| match *step {
        Step::Refine { candidate } => world.plan.candidates[candidate as usize].budget,
        Step::Seed { .. } | Step::TrainOn { .. } | Step::Promote { .. } => panic!("{step:?}"),
    };
    steps.iter().map(of).collect()
}

/// Adds budgets until nothing more is: in this order.
fn refine(world: &mut World, accuracy: &impl Fn(u64, u64) -> u64) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        world.work(accuracy);
        let steps = world.next();
        if steps.is_empty() {
            return all;
        }
        all.extend(added(world, &steps));
        world.take(&steps);
    }
}

#[test]
fn budgets_are_added_where_the_front_gains_most() {
    // The accuracy rises between 1,000 and 10,000 alone.
    let accuracy = |budget: u64, _| 5000 + budget.saturating_sub(1000) / 2;
    let mut world = world(3, 0.0, "priority: 0");
    let order = refine(&mut world, &accuracy);
    assert_eq!(order.first(), Some(&3160));
    assert!(order.iter().all(|budget| *budget > 1000), "{order:?}");
    assert_eq!(order.len(), 3);
}

#[test]
fn none_is_added_below_the_threshold() {
    let accuracy = |budget: u64, _| 5000 + budget / 10;
    assert!(refine(&mut world(3, 1e6, "priority: 0"), &accuracy).is_empty());
    assert!(!refine(&mut world(3, 1e-9, "priority: 0"), &accuracy).is_empty());
}

#[test]
fn next_to_a_budget_that_is_being_measured_none_is_added() {
    let accuracy = |budget: u64, _| 5000 + budget / 10;
    let mut world = world(2, 0.0, "priority: 0");
    world.work(&accuracy);
    let first = world.next();
    world.take(&first);
    // Its neighbours wait for it, and there is no other interval.
    assert!(world.next().is_empty());
    world.work(&accuracy);
    assert!(!world.next().is_empty());
}

#[test]
fn a_budget_comes_with_its_finetune_and_under_independent_with_its_search() {
    for (strategy, expected) in [
        ("descent", &["finetune", "evaluate"][..]),
        ("independent", &["replace", "finetune", "evaluate"][..]),
    ] {
        let mut world = world(2, 0.0, &format!("strategy: {strategy}"));
        world.work(&|budget, _| 5000 + budget / 10);
        let steps = world.next();
        let kinds: Vec<_> = (world.plan.growth.allowed_by(steps[0]).into_iter())
            .map(|(place, _)| world.plan.tasks[place as usize].spec.kind().name())
            .collect();
        assert_eq!(kinds, expected);
    }
}

proptest! {
    /// Whatever is measured, no budget is added twice, none beyond the grid, and it ends.
    #[test]
    fn budgets_stay_within_their_grid(noise in proptest::collection::vec(0_u64..500, 9), first in 2_u32..9) {
        let accuracy = |budget: u64, _| {
            let at = usize::try_from(budget).unwrap() % noise.len();
            5000 + budget / 10 + noise[at]
        };
        let mut world = world(first, 0.0, "seeds: { min: 1, max: 2 }");
        world.work(&accuracy);
        let mut added = Vec::new();
        loop {
            let steps = world.next();
            match steps[..] {
                [] => break,
                [step @ Step::Refine { .. }] => {
                    prop_assert!(!added.contains(&step));
                    added.push(step);
                }
                [Step::Seed { .. }] => {}
                _ => panic!("{steps:?}"),
            }
            world.take(&steps);
            world.work(&accuracy);
        }
        prop_assert!(added.len() + first as usize <= 9);
    }
}
