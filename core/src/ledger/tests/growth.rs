//! Sweeps that hold tasks back, alone and beside others that do not.

use super::*;
use crate::growth::Step;
use crate::ledger::fixture::{halved_plan, interim, whole_plan};
use crate::task::Work;

/// Works for whoever is granted, until nothing is: the kinds that were finished.
fn work(checked: &mut Checked) -> Vec<&'static str> {
    let mut finished = Vec::new();
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        if let Some(epochs) = grant.stop_after {
            let interim = interim(grant.claim.task, epochs);
            let decision = checked.ledger.stop(grant.claim, interim).unwrap();
            checked.apply(decision);
            continue;
        }
        let spec = checked.spec(grant.claim);
        finished.push(spec.kind().name());
        checked.commit_outputs(grant.claim);
        let mut result = observation(&spec);
        if let Work::Replace { recipe, .. } = &spec.work {
            result.curve = interim(grant.claim.task, recipe.schedule.epochs).curve;
        }
        let decision = checked.ledger.finish(grant.claim, result).unwrap();
        checked.apply(decision);
    }
    finished
}

#[test]
fn one_of_three_searches_is_trained_to_its_end() {
    let mut checked = Checked::new();
    checked.submit(submission("s", halved_plan(), 2));
    let finished = work(&mut checked);
    assert_eq!(
        finished,
        ["baseline", "evaluate", "replace", "finetune", "evaluate"]
    );
    let sweep = checked.ledger.sweep(&"s".parse().unwrap()).unwrap();
    assert_eq!(sweep.state(), SweepState::Done);
    assert_eq!((sweep.counts().done, sweep.counts().parked), (5, 6));
    let rungs: Vec<u32> = (sweep.grown().iter())
        .map(|step| match step {
            Step::Promote { rung, .. } => *rung,
            Step::Seed { .. } | Step::Refine { .. } | Step::TrainOn { .. } => {
                panic!("there is one seed and budget")
            }
        })
        .collect();
    assert_eq!(rungs, [0, 1]);
    // Asked for again, nothing is decided anew.
    let grown = sweep.grown().to_vec();
    checked.submit(submission("s", halved_plan(), 2));
    assert!(work(&mut checked).is_empty());
    assert_eq!(
        checked.ledger.sweep(&"s".parse().unwrap()).unwrap().grown(),
        grown
    );
}

#[test]
fn a_sweep_that_holds_back_does_not_do_what_a_paused_one_wants() {
    let mut checked = Checked::new();
    checked.submit(submission("s", halved_plan(), 2));
    checked.submit(submission("t", whole_plan(), 2));
    let pause = checked.ledger.pause(&"t".parse().unwrap(), true).unwrap();
    checked.apply(pause);
    let finished = work(&mut checked);
    assert_eq!(
        finished,
        ["baseline", "evaluate", "replace", "finetune", "evaluate"]
    );
    assert_eq!(sweep_state(&checked, "s"), SweepState::Done);
    assert_eq!(sweep_state(&checked, "t"), SweepState::Paused);
    // What it then does, it begins where the searches were stopped.
    let go_on = checked.ledger.pause(&"t".parse().unwrap(), false).unwrap();
    checked.apply(go_on);
    let grant = checked.acquire("w", 0);
    assert!(grant.stop_after.is_none() && grant.sweep.as_str() == "t");
    assert!(
        checked
            .ledger
            .task(grant.claim.task)
            .unwrap()
            .state()
            .curve()
            .reached()
            > 0
    );
    checked.complete(grant.claim);
    assert_eq!(work(&mut checked).len(), 5);
    assert_eq!(sweep_state(&checked, "t"), SweepState::Done);
}
