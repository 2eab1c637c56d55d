//! Heats as a whole: who goes on, in which order reports come, and how often.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use crate::observation::EpochPoint;

/// A heat in which one task stands for each entrant, and what is known of them.
struct World {
    growth: Growth,
    allowed: Vec<u32>,
    curves: Vec<LearningCurve>,
    lost: Vec<bool>,
}

impl Standings for World {
    fn of(&self, place: u32) -> Standing<'_> {
        let at = place as usize;
        Standing {
            allowed: self.allowed[at],
            curve: &self.curves[at],
            result: None,
            lost: self.lost[at],
        }
    }
}

const RUNGS: [u32; 2] = [2, 4];
const END: u32 = 8;

impl World {
    /// Entrants at even places, each with a follower at the place after it.
    fn of(entrants: u32) -> Self {
        let entrant = |number: u32| Entrant {
            search: number as usize,
            tasks: vec![2 * number],
            followers: vec![2 * number + 1],
        };
        let growth = Growth {
            heats: vec![Heat {
                rungs: RUNGS.to_vec(),
                reduction: 2,
                relu_total: 1000,
                entrants: (0..entrants).map(entrant).collect(),
            }],
            ..Growth::default()
        };
        let tasks = 2 * entrants as usize;
        let mut allowed = vec![ALL_EPOCHS; tasks];
        for (place, epochs) in growth.held_back() {
            allowed[place as usize] = epochs;
        }
        Self {
            growth,
            allowed,
            curves: vec![LearningCurve::default(); tasks],
            lost: vec![false; tasks],
        }
    }

    /// Trains an entrant as far as it may, with so many correct images of 1,000 at every epoch.
    fn train(&mut self, entrant: u32, correct: u64) {
        let at = 2 * entrant as usize;
        let epochs = self.allowed[at].min(END);
        self.curves[at] = LearningCurve {
            images: 1000,
            epochs: (0..epochs)
                .map(|_| EpochPoint {
                    relu_count: 500,
                    correct,
                })
                .collect(),
        };
    }

    fn take(&mut self, steps: &[Step]) {
        for &step in steps {
            for (place, epochs) in self.growth.allowed_by(step) {
                let allowed = &mut self.allowed[place as usize];
                assert!(
                    *allowed < epochs,
                    "a step allows more than before: {step:?}"
                );
                *allowed = epochs;
            }
        }
    }

    fn next(&self) -> Vec<Step> {
        let outlook = Outlook::over(&self.growth, &[], self);
        self.growth.next(&outlook)
    }

    /// Grows until nothing is to be decided; who was promoted, with the rung that was left.
    fn settle(&mut self) -> Vec<(u32, u32)> {
        let mut promoted = Vec::new();
        loop {
            let steps = self.next();
            if steps.is_empty() {
                return promoted;
            }
            self.take(&steps);
            promoted.extend(steps.iter().map(|step| match *step {
                Step::Promote { entrant, rung, .. } => (entrant, rung),
                Step::Seed { .. } | Step::Refine { .. } | Step::TrainOn { .. } => {
                    panic!("there is one seed and budget")
                }
            }));
        }
    }
}

#[test]
fn half_goes_on_at_each_rung_and_only_the_last_is_followed() {
    let mut world = World::of(8);
    assert_eq!(world.allowed[..4], [2, 0, 2, 0]);
    assert_eq!(world.settle(), []);
    for entrant in 0..8 {
        world.train(entrant, 500 + u64::from(entrant));
    }
    assert_eq!(world.settle(), [(4, 0), (5, 0), (6, 0), (7, 0)]);
    assert_eq!(world.allowed[2 * 7], 4);
    for entrant in 4..8 {
        world.train(entrant, 600 - u64::from(entrant));
    }
    assert_eq!(world.settle(), [(4, 1), (5, 1)]);
    assert_eq!(world.allowed[8..12], [ALL_EPOCHS; 4], "search and follower");
    assert_eq!(world.allowed[12..], [4, 0, 4, 0]);
}

#[test]
fn a_worker_without_work_need_not_wait_for_a_slow_one() {
    let mut world = World::of(8);
    world.train(3, 900);
    assert_eq!(world.settle(), [], "one of two goes on, and there is one");
    world.train(5, 100);
    assert_eq!(
        world.next(),
        [Step::Promote {
            heat: 0,
            entrant: 3,
            rung: 0
        }]
    );
    assert_eq!(world.settle(), [(3, 0)]);
    // The others turn out to be better: half of all goes on, and who already has stays.
    for entrant in [0, 1, 2, 4, 6, 7] {
        world.train(entrant, 950 + u64::from(entrant));
    }
    assert_eq!(world.settle(), [(2, 0), (4, 0), (6, 0), (7, 0)]);
}

#[test]
fn who_is_lost_is_not_waited_for() {
    let mut world = World::of(3);
    world.lost[0] = true;
    world.train(1, 400);
    world.lost[4] = true;
    assert_eq!(world.settle(), [(1, 0)]);
    world.train(1, 400);
    assert_eq!(world.settle(), [(1, 1)]);
    let mut world = World::of(2);
    world.lost = vec![true; 4];
    assert_eq!(world.settle(), []);
}

#[test]
fn rungs_grow_by_the_reduction_up_to_the_end() {
    let halving = |grace, reduction, rungs| Halving {
        grace,
        reduction,
        rungs,
    };
    assert_eq!(halving(2, 2, 30).rungs(16), [2, 4, 8]);
    assert_eq!(halving(2, 2, 2).rungs(16), [2, 4]);
    assert_eq!(halving(1, 3, 30).rungs(9), [1, 3]);
    assert_eq!(halving(9, 2, 30).rungs(9), [0; 0]);
    assert_eq!(halving(u32::MAX, 2, 30).rungs(u32::MAX), [0; 0]);
}

proptest! {
    /// The same set of reports gives the same decision, whatever came first.
    #[test]
    fn decisions_follow_from_the_set_of_reports(
        quality in proptest::collection::vec(0_u64..20, 2..12),
        order in any::<u64>(),
        came in any::<u16>(),
    ) {
        let entrants = u32::try_from(quality.len()).unwrap();
        let some: Vec<u32> = (0..entrants).filter(|it| came & (1 << it) != 0).collect();
        let mut shuffled = some.clone();
        shuffled.sort_by_key(|it| crate::digest::Digest::of(&[order.to_le_bytes(), u64::from(*it).to_le_bytes()].concat()));
        let decide = |order: &[u32]| {
            let mut world = World::of(entrants);
            for &entrant in order {
                world.train(entrant, quality[entrant as usize]);
            }
            world.settle()
        };
        prop_assert_eq!(decide(&some), decide(&shuffled));
    }

    /// Whatever the order of arrival and however eager the workers, the heat ends, its best entrant
    /// is trained to the end where it is best at every rung, and no rung lets more than its share go
    /// by mistake and its share once more.
    #[test]
    fn every_order_ends_and_keeps_the_best(
        entrants in 2_u32..16,
        order in any::<u64>(),
    ) {
        let mut world = World::of(entrants);
        let mut promoted: BTreeMap<u32, u32> = BTreeMap::new();
        let key = |entrant: u32, reached: u32| crate::digest::Digest::of(&[order.to_le_bytes(), (u64::from(entrant) << 32 | u64::from(reached)).to_le_bytes()].concat());
        loop {
            let open = |it: &u32| {
                let at = 2 * *it as usize;
                world.curves[at].reached() < world.allowed[at].min(END)
            };
            let next = (0..entrants).filter(open).min_by_key(|it| key(*it, world.curves[2 * *it as usize].reached()));
            let Some(entrant) = next else { break };
            world.train(entrant, 100 + u64::from(entrant));
            for (_, rung) in world.settle() {
                *promoted.entry(rung).or_default() += 1;
            }
        }
        prop_assert!(world.next().is_empty());
        let best = 2 * (entrants as usize - 1);
        prop_assert_eq!(&world.allowed[best..], [ALL_EPOCHS; 2]);
        prop_assert!(promoted[&0] <= entrants.div_ceil(2) + entrants / 2);
        prop_assert!(promoted[&1] <= promoted[&0].div_ceil(2) + promoted[&0] / 2);
    }
}
