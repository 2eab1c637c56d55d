//! What each class of failure costs a task.

use super::*;

/// Leases the only task that is ready, waiting as long as it takes.
#[track_caller]
fn next_attempt(checked: &mut Checked, now_ms: &mut u64) -> Grant {
    *now_ms += 10_000;
    checked.acquire("w", *now_ms)
}

#[track_caller]
fn end(checked: &mut Checked, claim: LeaseClaim, class: FailureClass, now_ms: u64) -> AfterFailure {
    let decision = checked.ledger.fail(claim, report(class), now_ms).unwrap();
    checked.apply(decision)
}

#[test]
fn each_class_has_a_limit_of_its_own() {
    use FailureClass::{Diverged, OutOfMemory, TrainerCrashed, TrainerError};
    let mut checked = Checked::tiny(3);
    let mut now_ms = 0;
    for class in [OutOfMemory, Diverged, TrainerCrashed, TrainerError] {
        let claim = next_attempt(&mut checked, &mut now_ms).claim;
        let after = end(&mut checked, claim, class, now_ms);
        assert_eq!(after, AfterFailure::WillRetry, "{class:?}");
    }
    let fifth = next_attempt(&mut checked, &mut now_ms);
    assert_eq!(fifth.attempt, 5);
    let after = end(&mut checked, fifth.claim, OutOfMemory, now_ms);
    assert_eq!(after, AfterFailure::GaveUp, "twice is its limit");
}

#[test]
fn what_is_not_the_tasks_fault_is_tried_again_for_ever_with_waits_that_grow() {
    let mut checked = Checked::tiny(1);
    let mut now_ms = 0;
    for class in [FailureClass::StoreUnavailable, FailureClass::NoScratch] {
        now_ms = check_tried_for_ever(&mut checked, class, now_ms);
    }
}

/// Fails again and again; returns when the last wait is over.
fn check_tried_for_ever(checked: &mut Checked, class: FailureClass, mut now_ms: u64) -> u64 {
    let mut waits = Vec::new();
    for _ in 0..12 {
        let claim = checked.acquire("w", now_ms).claim;
        let after = end(checked, claim, class, now_ms);
        assert_eq!(after, AfterFailure::WillRetry);
        let due_ms = checked.ledger.next_deadline_ms(now_ms).unwrap();
        waits.push(due_ms - now_ms);
        now_ms = due_ms;
    }
    assert!((1000..1250).contains(&waits[0]), "{waits:?}");
    assert!((2000..2500).contains(&waits[1]), "{waits:?}");
    assert!((300_000..375_000).contains(&waits[11]), "{waits:?}");
    now_ms
}

#[test]
fn a_task_that_kills_workers_is_put_into_quarantine_and_the_rest_goes_on() {
    let mut checked = Checked::new();
    checked.submit(submission("s", tiny_plan(&[0, 1], &[100]), 2));
    let mut now_ms = 0;
    let deadly = checked.acquire("w1", now_ms).claim.task;
    for name in ["w1", "w2"] {
        if name == "w2" {
            let (due, _) = (now_ms, checked.acquire(name, now_ms));
            assert_eq!(due, now_ms);
        }
        now_ms += TTL_MS;
        let expired = checked.ledger.expire(now_ms);
        checked.apply(expired);
    }
    let task = checked.ledger.task(deadly).unwrap();
    assert_eq!(task.state().name(), StateName::GaveUp);
    assert!(task.is_quarantined());
    let workers: Vec<&str> = (task.failures().iter())
        .map(|failure| failure.worker.0.as_str())
        .collect();
    assert_eq!(workers, ["w1", "w2"]);
    // The other seed's baseline is not touched by it.
    let other = checked.acquire("w3", now_ms);
    assert_ne!(other.claim.task, deadly);
    checked.complete(other.claim);
}

#[test]
fn a_task_that_gave_up_by_its_own_fault_is_not_in_quarantine() {
    let mut checked = Checked::tiny(1);
    let claim = checked.acquire("w", 0).claim;
    end(&mut checked, claim, FailureClass::TrainerError, 0);
    let task = checked.ledger.task(claim.task).unwrap();
    assert_eq!(task.state().name(), StateName::GaveUp);
    assert!(!task.is_quarantined());
}

#[test]
fn the_second_worker_that_a_task_loses_makes_it_wait() {
    let mut checked = Checked::tiny(5);
    let nothing = Acquired::Nothing { idle: false };
    checked.acquire("w", 0);
    let expired = checked.ledger.expire(TTL_MS);
    checked.apply(expired);
    checked.acquire("w", TTL_MS);
    let expired = checked.ledger.expire(2 * TTL_MS);
    checked.apply(expired);
    assert_eq!(checked.try_acquire("w", 2 * TTL_MS), nothing);
    assert_eq!(checked.acquire("w", 2 * TTL_MS + 125).attempt, 3);
}
