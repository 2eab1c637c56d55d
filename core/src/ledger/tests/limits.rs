//! Sweeps that may only cost so much.

use super::*;
use crate::ledger::Submission;
use crate::limit::Bounds;

/// A sweep of one seed and so many budgets, each of whose trainings takes a second, that may cost this.
fn limited(budgets: &[u64], gpu_ms: u64) -> Submission {
    let mut submission = submission("s", tiny_plan(&[0], budgets), 2);
    submission.terms.bounds = Bounds {
        gpu_ms: Some(gpu_ms),
        until_ms: None,
    };
    submission
}

/// Works until nothing is granted: kinds and budgets of what was done.
fn work(checked: &mut Checked) -> Vec<(&'static str, u64)> {
    let mut done = Vec::new();
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        let result = observation(&checked.spec(grant.claim));
        let kind = checked.spec(grant.claim).kind().name();
        done.push((kind, result.relu_count));
        checked.complete(grant.claim);
    }
    done
}

fn view(checked: &Checked) -> crate::ledger::SweepView<'_> {
    checked.ledger.sweep(&"s".parse().unwrap()).unwrap()
}

#[test]
fn a_sweep_ends_inside_its_limit_with_the_coarse_front() {
    let mut checked = Checked::new();
    // Every task takes a second: two points leave nothing for a third.
    checked.submit(limited(&[300, 200, 100], 7_000));
    let done = work(&mut checked);
    assert_eq!(
        done,
        [
            ("baseline", 24_000),
            ("evaluate", 24_000),
            ("replace", 300),
            ("finetune", 300),
            ("evaluate", 300),
            ("finetune", 100),
            ("evaluate", 100),
        ]
    );
    let sweep = view(&checked);
    assert!(sweep.is_at_limit() && sweep.charged_ms() <= 7_000);
    assert_eq!(sweep.state(), SweepState::Done);
    assert_eq!(sweep.counts().parked, 2);
    assert!(checked.ledger.is_idle());
}

#[test]
fn with_a_larger_limit_it_goes_on_and_what_it_has_used_counts() {
    let mut checked = Checked::new();
    checked.submit(limited(&[300, 200, 100], 7_000));
    work(&mut checked);
    checked.submit(limited(&[300, 200, 100], 7_500));
    assert!(work(&mut checked).is_empty());
    assert!(view(&checked).is_at_limit());
    checked.submit(limited(&[300, 200, 100], 20_000));
    assert_eq!(work(&mut checked), [("finetune", 200), ("evaluate", 200)]);
    assert_eq!(view(&checked).charged_ms(), 9_000);
    assert!(!view(&checked).is_at_limit());
}

#[test]
fn what_others_have_done_before_is_not_charged() {
    let mut checked = Checked::new();
    checked.submit(submission("t", tiny_plan(&[0], &[300, 200, 100]), 2));
    work(&mut checked);
    checked.submit(limited(&[300, 200, 100], 1_000));
    assert_eq!(view(&checked).charged_ms(), 0);
    assert_eq!(view(&checked).state(), SweepState::Done);
}

#[test]
fn what_runs_counts_before_it_has_ended() {
    let mut checked = Checked::new();
    checked.submit(limited(&[300, 200, 100], 5_500));
    for _ in 0..3 {
        let claim = checked.acquire("w", 0).claim;
        checked.complete(claim);
    }
    // Three seconds are spent, and each finetune is foreseen to take about one.
    checked.acquire("a", 0);
    checked.acquire("b", 0);
    let third = checked.try_acquire("c", 0);
    assert!(matches!(third, Acquired::Nothing { idle: false }));
    assert!(!view(&checked).is_at_limit());
}

#[test]
fn a_sweep_ends_when_its_time_is_over() {
    let mut checked = Checked::new();
    let mut submission = submission("s", tiny_plan(&[0], &[300]), 2);
    submission.terms.bounds.until_ms = Some(5_000);
    checked.submit(submission);
    let claim = checked.acquire("w", 0).claim;
    checked.complete(claim);
    assert!(matches!(
        checked.try_acquire("w", 4_999),
        Acquired::Granted(grant) if checked.spec(grant.claim).kind().name() == "evaluate"
    ));
    let held = checked.ledger.leased().next().unwrap().0;
    let claim = LeaseClaim {
        task: held.id(),
        generation: held.generation(),
    };
    checked.complete(claim);
    assert!(matches!(
        checked.try_acquire("w", 4_999),
        Acquired::Nothing { idle: true }
    ));
    assert!(view(&checked).is_at_limit());
}

#[test]
fn what_has_to_be_made_again_counts_again() {
    let mut checked = Checked::new();
    checked.submit(limited(&[300, 200, 100], 20_000));
    let done = work(&mut checked);
    let all_ms = 1000 * done.len() as u64;
    assert_eq!(view(&checked).charged_ms(), all_ms);
    // A net of the search turns out to be damaged: its task is open again.
    let (search, head) = (checked.ledger.sweep(&"s".parse().unwrap()).unwrap().tasks())
        .find(|task| task.spec().kind().name() == "replace")
        .map(|task| (task.id(), task.state().output(0).unwrap()))
        .unwrap();
    let role = CheckpointRole::Output("b300".to_owned());
    let events = vec![Event::SetAside {
        checkpoint: head.reference(search, role),
    }];
    checked.apply(Decision {
        events,
        outcome: (),
    });
    assert_eq!(view(&checked).charged_ms(), all_ms);
    assert_eq!(work(&mut checked), [("replace", 300)]);
    assert_eq!(view(&checked).charged_ms(), all_ms + 1000);
    let restored = random::restored(&checked.ledger, &checked.records, 0);
    let charged = restored.sweep(&"s".parse().unwrap()).unwrap().charged_ms();
    assert_eq!(charged, all_ms + 1000);
}

#[test]
fn a_baseline_that_was_not_trained_says_nothing_of_training() {
    let text = "apiVersion: autorep/v1
kind: Sweep
metadata: { name: s }
spec:
  data: { name: fashion-mnist, train_limit: 1000, validation: 10 }
  net: { name: resnet9, width: 8 }
  budgets: [100]
  baseline: { epochs: 0, weights: net.safetensors, weights_sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 }
  replace: { epochs: 4, batch: 10 }
  finetune: { epochs: 1, batch: 10 }
";
    let mut checked = Checked::new();
    let plan = Plan::expand(&crate::manifest::parse(text).unwrap());
    let mut submission = submission("s", plan, 2);
    submission.terms.bounds.gpu_ms = Some(10_000);
    checked.submit(submission);
    // Reading the file took a second for ten images; a search over thousands is not foreseen by that.
    let done = work(&mut checked);
    assert_eq!(done.len(), 5, "{done:?}");
}

#[test]
fn a_task_that_fits_no_more_is_not_leased_again_to_the_worker_that_lost_it() {
    let mut checked = Checked::new();
    let mut submission = submission("s", tiny_plan(&[0], &[300]), 2);
    submission.terms.bounds.until_ms = Some(5_000);
    checked.submit(submission);
    for _ in 0..2 {
        let claim = checked.acquire("w", 0).claim;
        checked.complete(claim);
    }
    let claim = checked.acquire("w", 3_000).claim;
    assert_eq!(checked.spec(claim).kind().name(), "replace");
    let again = checked.acquire("w", 3_100).claim;
    assert_eq!(again.task, claim.task);
    // It would take about a second.
    let again = checked.try_acquire("w", 4_999);
    assert!(matches!(again, Acquired::Nothing { .. }), "{again:?}");
}
