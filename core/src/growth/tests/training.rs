//! Which points are trained on, and when that ends.

use super::super::*;
use super::instant::World;
use crate::task::Work;

const TRAINS_ON: &str = "seeds: [0, 1]\n  under_trained: { epochs: 3 }";

/// The candidates that steps train on: their budgets.
fn trained_on(world: &World, steps: &[Step]) -> Vec<u64> {
    let of = |step: &Step| match *step {
        Step::TrainOn { candidate } => world.plan.candidates[candidate as usize].budget,
        Step::Seed { .. } | Step::Refine { .. } | Step::Promote { .. } => panic!("{step:?}"),
    };
    steps.iter().map(of).collect()
}

#[test]
fn a_point_under_one_with_fewer_relus_is_trained_on_once() {
    // 2K lies under 1K by far more than the seeds differ; 4K does not.
    let accuracy = |budget: u64, seed: u64| match budget {
        1000 => 8000 + seed,
        2000 => 7000 + seed,
        _ => 7999 + seed,
    };
    for strategy in ["independent", "descent", "ladder"] {
        let more = format!("{TRAINS_ON}\n  strategy: {strategy}");
        let mut world = World::new("[1K, 2K, 4K]", &more);
        world.work(&accuracy);
        let steps = world.next();
        assert_eq!(trained_on(&world, &steps), [2000], "{strategy}");
        let allowed = world.plan.growth.allowed_by(steps[0]);
        let kinds: Vec<_> = (allowed.iter())
            .map(|&(place, _)| world.plan.tasks[place as usize].spec.kind().name())
            .collect();
        assert_eq!(kinds, ["finetune", "evaluate", "finetune", "evaluate"]);
        world.take(&steps);
        assert!(world.next().is_empty(), "it is being trained on");
        world.work(&accuracy);
        assert!(world.next().is_empty(), "it was trained on");
    }
}

#[test]
fn noise_is_told_from_all_that_was_measured() {
    // 2K lies under 1K by three points, of which its seeds know nothing; 4K's differ by ten, and only
    // two of its three are in.
    let accuracy = |budget: u64, seed: u64| match budget {
        1000 => 8000 + seed,
        2000 => 7700 + seed,
        _ => 8000 + 1000 * seed,
    };
    let more = "seeds: [0, 1, 2]\n  under_trained: { epochs: 3 }";
    let mut world = World::new("[1K, 2K, 4K]", more);
    world.work(&accuracy);
    assert!(world.next().is_empty());
    let of_4k = |task: &crate::plan::PlannedTask| {
        matches!(task.spec.work, Work::Evaluate { budget: 4000, .. }) && task.spec.seed == 2
    };
    let place = world.plan.tasks.iter().position(of_4k).unwrap();
    world.forget(u32::try_from(place).unwrap());
    assert!(world.next().is_empty(), "two seeds of 4K still tell");
}

#[test]
fn training_on_starts_from_the_net_that_was_measured() {
    let world = World::new("[1K]", TRAINS_ON);
    let find = |place: u32| &world.plan.tasks[place as usize].spec;
    let training = world.plan.growth.training.as_ref().unwrap();
    for extension in training.lines.iter().flatten() {
        for (evaluation, more) in extension.evaluations.iter().zip(&extension.more) {
            let [finetune, evaluate] = more[..] else {
                panic!("{more:?}");
            };
            let Work::Finetune { start, recipe, .. } = &find(finetune).work else {
                panic!("{:?}", find(finetune));
            };
            assert_eq!(recipe.schedule.epochs, 3);
            let measured = find(*evaluation).inputs();
            assert_eq!(measured, [start]);
            let net = find(evaluate).inputs()[0];
            assert_eq!(net.task, world.plan.tasks[finetune as usize].id);
        }
    }
}

#[test]
fn what_lies_under_by_less_than_noise_is_left() {
    let accuracy = |budget: u64, seed: u64| match budget {
        1000 => 8000 + 300 * seed,
        _ => 7950 + 300 * seed,
    };
    let mut world = World::new("[1K, 2K]", TRAINS_ON);
    world.work(&accuracy);
    assert!(world.next().is_empty());
}
