//! Ladders: searches that start from what was trained on after another one.

use std::collections::BTreeSet;

use super::*;
use crate::manifest::Keep;
use crate::task::Work;

/// The plan of a ladder over these budgets, with one way to train on.
fn plan(budgets: &str) -> crate::plan::Plan {
    let text = format!(
        "apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: ladder }}
spec:
  strategy: ladder
  data: {{ name: fashion-mnist, train_limit: 100, validation: 10 }}
  net: {{ name: resnet9, width: 8 }}
  budgets: {budgets}
  baseline: {{ epochs: 1, batch: 10 }}
  replace: {{ epochs: 4, batch: 10 }}
  finetune: {{ epochs: 1, batch: 10 }}
"
    );
    crate::plan::Plan::expand(&crate::manifest::parse(&text).unwrap())
}

fn submit(checked: &mut Checked, budgets: &str) {
    let mut submission = submission("s", plan(budgets), 2);
    submission.terms.keep = Keep::Front;
    checked.submit(submission);
}

/// Works until nothing is granted: what was done, each with its budget.
fn work(checked: &mut Checked, fails_at: u64) -> Vec<(TaskKind, u64)> {
    let mut done = Vec::new();
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        let spec = checked.spec(grant.claim);
        assert_eq!(grant.inputs.len(), spec.inputs().len());
        let budget = match &spec.work {
            Work::Baseline { .. } => 0,
            Work::Replace { budgets, .. } => budgets[0],
            Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => *budget,
        };
        if spec.kind() == TaskKind::Replace && budget == fails_at {
            let report = report(FailureClass::BudgetUnreached);
            let decision = checked.ledger.fail(grant.claim, report, 0).unwrap();
            assert_eq!(checked.apply(decision), AfterFailure::GaveUp);
            continue;
        }
        checked.complete(grant.claim);
        done.push((spec.kind(), budget));
    }
    done
}

#[test]
fn a_search_that_gives_up_takes_the_points_below_it_and_none_above() {
    let mut checked = Checked::new();
    submit(&mut checked, "[50, 100, 200]");
    let done = work(&mut checked, 100);
    assert!(done.contains(&(TaskKind::Evaluate, 200)), "{done:?}");
    let counts = counts(&checked, "s");
    // Behind the search at 100 its two and the three at 50.
    assert_eq!((counts.done, counts.gave_up, counts.blocked), (5, 1, 5));
    assert_eq!(counts.unfinished(), 0);
}

#[test]
fn a_budget_below_goes_on_from_the_net_above_which_is_made_again_where_it_is_gone() {
    let mut checked = Checked::new();
    submit(&mut checked, "[100, 200]");
    assert_eq!(work(&mut checked, 0).len(), 8);
    // Nothing of the ladder is on the front: its nets go.
    let decision = checked.ledger.drop_unneeded(&BTreeSet::new(), 100);
    assert_eq!(checked.apply(decision).len(), 4);
    submit(&mut checked, "[50, 100, 200]");
    let mut done = work(&mut checked, 0);
    done.sort_unstable();
    assert_eq!(
        done,
        [
            (TaskKind::Replace, 50),
            (TaskKind::Replace, 100),
            (TaskKind::Replace, 200),
            (TaskKind::Finetune, 50),
            (TaskKind::Finetune, 100),
            (TaskKind::Finetune, 200),
            (TaskKind::Evaluate, 50),
        ]
    );
    assert_eq!(sweep_state(&checked, "s"), SweepState::Done);
}
