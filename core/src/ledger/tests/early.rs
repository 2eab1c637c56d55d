//! Nets that a descent leaves on its way are read before it ends.

use super::super::fixture::terms;
use super::*;

/// A ledger in which the search for budgets 100 and 50 runs, with its claim; the baseline and its
/// evaluation are done.
fn searching() -> (Checked, LeaseClaim) {
    let mut checked = Checked::tiny(1);
    for _ in 0..2 {
        let claim = checked.acquire("w", 0).claim;
        checked.complete(claim);
    }
    let search = checked.acquire("w", 0).claim;
    assert_eq!(checked.spec(search).outputs(), ["b100", "b50"]);
    (checked, search)
}

fn output(claim: LeaseClaim, name: &str) -> CheckpointRef {
    checkpoint(claim, CheckpointRole::Output(name.to_owned()), 3, "")
}

#[track_caller]
fn commit(checked: &mut Checked, claim: LeaseClaim, name: &str) {
    let decision = checked.ledger.commit(claim, output(claim, name)).unwrap();
    checked.apply(decision);
}

fn nothing(checked: &mut Checked) {
    let acquired = checked.try_acquire("other", 0);
    assert!(matches!(acquired, Acquired::Nothing { .. }), "{acquired:?}");
}

#[test]
fn what_follows_a_budget_starts_when_the_descent_has_passed_it() {
    let (mut checked, search) = searching();
    nothing(&mut checked);
    commit(&mut checked, search, "b100");
    let finetune = checked.acquire("other", 0);
    assert_eq!(finetune.inputs[0], output(search, "b100"));
    // The other budget's is not there yet.
    let third = checked.try_acquire("third", 0);
    assert!(matches!(third, Acquired::Nothing { .. }), "{third:?}");
    checked.complete(finetune.claim);
    let evaluate = checked.acquire("other", 0).claim;
    checked.complete(evaluate);
    nothing(&mut checked);
    commit(&mut checked, search, "b50");
    let last = checked.acquire("other", 0);
    assert_eq!(last.inputs[0], output(search, "b50"));
}

#[test]
fn a_descent_that_does_not_reach_its_last_budget_leaves_the_points_that_it_passed() {
    let (mut checked, search) = searching();
    commit(&mut checked, search, "b100");
    let report = report(FailureClass::BudgetUnreached);
    let decision = checked.ledger.fail(search, report, 0).unwrap();
    assert_eq!(checked.apply(decision), AfterFailure::GaveUp);
    for _ in 0..2 {
        let claim = checked.acquire("w", 0).claim;
        checked.complete(claim);
    }
    nothing(&mut checked);
    let counts = checked
        .ledger
        .sweep(&"s".parse().unwrap())
        .unwrap()
        .counts();
    // Finetuning and evaluation of the budget that was not reached.
    assert_eq!((counts.done, counts.gave_up, counts.blocked), (4, 1, 2));
    assert_eq!(counts.unfinished(), 0);
}

#[test]
fn a_damaged_net_ends_the_descents_lease_so_that_the_next_attempt_makes_it_again() {
    let (mut checked, search) = searching();
    commit(&mut checked, search, "b100");
    let finetune = checked.acquire("other", 0).claim;
    let bad = FailureReport {
        bad_checkpoint: Some(output(search, "b100")),
        ..report(FailureClass::BadCheckpoint)
    };
    let failed = checked.ledger.fail(finetune, bad, 0).unwrap();
    checked.apply(failed);
    assert_eq!(state(&checked, search), StateName::Ready);
    let next = checked.acquire("w", 0).claim;
    assert_eq!(next.task, search.task);
    assert!(
        checked
            .ledger
            .task(search.task)
            .unwrap()
            .failures()
            .is_empty(),
        "at no cost"
    );
    // Both are committed again, and the task that read the damaged one is what is left.
    checked.complete(next);
    assert_eq!(counts(&checked, "s").done, 3);
}

#[test]
fn a_net_that_was_handed_out_stays_whatever_a_later_attempt_makes() {
    let (mut checked, search) = searching();
    commit(&mut checked, search, "b100");
    let again = checked.acquire("w", 0).claim;
    assert_eq!(again.task, search.task);
    let decision = checked.ledger.commit(again, output(again, "b100")).unwrap();
    assert_eq!(checked.apply(decision), Adoption::Older);
    let finetune = checked.acquire("other", 0);
    assert_eq!(finetune.inputs[0], output(search, "b100"));
}

#[test]
fn a_restart_knows_what_was_left() {
    let (mut checked, search) = searching();
    commit(&mut checked, search, "b100");
    let plan = Arc::new(tiny_plan(&[0], &[100, 50]));
    let sweep = RestoredSweep {
        name: "s".parse().unwrap(),
        plan,
        terms: terms(1),
        paused: false,
        cancelled: false,
        grown: Vec::new(),
        at_limit: false,
        before_ms: 0,
    };
    let records = checked.records.clone();
    checked.ledger = Ledger::restore(TTL_MS, vec![sweep], records, 0);
    invariants::check(&checked.ledger).unwrap();
    let finetune = checked.acquire("other", 0);
    assert_eq!(finetune.inputs[0], output(search, "b100"));
}
