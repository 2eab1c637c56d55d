//! An outlook that is kept up is the one that would be worked out anew.

use proptest::prelude::*;

use super::super::*;
use super::instant::evaluated;
use crate::manifest;
use crate::observation::{Accuracy, EpochPoint};
use crate::plan::Plan;

/// A sweep that may grow in every way at once.
fn plan() -> Plan {
    let text = "apiVersion: autorep/v1
kind: Sweep
metadata: { name: s }
spec:
  data: { name: fashion-mnist }
  net: { name: resnet9, width: 8 }
  strategy: descent
  halving: { grace: 1 }
  budgets: { from: 1K, to: 50%, points: 6, refine: { first: 3 } }
  seeds: { min: 2, max: 3 }
  under_trained: { epochs: 2 }
  baseline: { epochs: 1 }
  replace: { epochs: 4 }
  finetune: { epochs: 1 }
  grid: { replace.penalty: [1.0e-4, 2.0e-4, 3.0e-4, 4.0e-4] }
";
    Plan::expand(&manifest::parse(text).unwrap())
}

/// What is known of each task, whether or not it can come to that.
struct Any(Vec<Known>);

#[derive(Clone, Debug)]
struct Known {
    allowed: u32,
    curve: LearningCurve,
    result: Option<Observation>,
    lost: bool,
}

impl Standings for Any {
    fn of(&self, place: u32) -> Standing<'_> {
        let known = &self.0[place as usize];
        Standing {
            allowed: known.allowed,
            curve: &known.curve,
            result: known.result.as_ref(),
            lost: known.lost,
        }
    }
}

/// Few different values, so that some stay as they were and some are equal.
fn any_known() -> impl Strategy<Value = Known> {
    let allowed = prop::sample::select(vec![0, 1, 2, ALL_EPOCHS]);
    let points = prop::collection::vec((900_u64..904, 50_u64..54), 0..4);
    let result = prop::option::of((0_u64..3, 50_u64..54));
    (allowed, points, result, prop::bool::weighted(0.1)).prop_map(
        |(allowed, points, result, lost)| Known {
            allowed,
            curve: LearningCurve {
                images: 100,
                epochs: (points.into_iter())
                    .map(|(relu_count, correct)| EpochPoint {
                        relu_count,
                        correct,
                    })
                    .collect(),
            },
            result: result.map(|(count, correct)| {
                let images = 100;
                evaluated(1000 * (count + 1), Accuracy { correct, images })
            }),
            lost,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_outlook_that_is_kept_up_is_the_one_that_would_be_worked_out_anew(
        first in any_known(),
        changes in prop::collection::vec(
            prop::collection::vec((any::<prop::sample::Index>(), any_known()), 1..12),
            1..12,
        ),
    ) {
        let plan = plan();
        let (growth, candidates) = (&plan.growth, &plan.candidates);
        let is_whole = (growth.heats.len(), growth.budgets.is_some(), growth.training.is_some(), growth.seeds.is_some());
        prop_assert_eq!(is_whole, (1, true, true, true));
        let mut standings = Any(vec![first; plan.tasks.len()]);
        let mut kept = Outlook::over(growth, candidates, &standings);
        for round in changes {
            let mut changed = Vec::new();
            for (place, known) in round {
                let place = place.index(plan.tasks.len());
                standings.0[place] = known;
                changed.push(u32::try_from(place).unwrap());
            }
            changed.sort_unstable();
            changed.dedup();
            kept.renew(growth, candidates, &standings, &changed);
            let anew = Outlook::over(growth, candidates, &standings);
            prop_assert_eq!(format!("{kept:?}"), format!("{anew:?}"));
            prop_assert_eq!(growth.next(&kept), growth.next(&anew));
        }
    }
}
