//! The ledger's rules, one by one. Every event of every test is followed by all invariants.

use super::fixture::{Checked, TTL_MS, checkpoint, observation, submission, tiny_plan, worker};
use super::*;
use crate::checkpoint::{CheckpointRef, CheckpointRole};
use crate::failure::FailureClass;
use crate::id::OwnerName;
use crate::lease::LeaseClaim;
use crate::task::TaskKind;

mod checkpoints;
mod early;
mod failures;
mod groups;
mod growth;
mod ladder;
mod limits;
mod random;
mod retention;
mod turns;

pub(super) fn report(class: FailureClass) -> FailureReport {
    FailureReport {
        class,
        message: "it broke".to_owned(),
        stderr_tail: "at line 7".to_owned(),
        bad_checkpoint: None,
    }
}

#[track_caller]
pub(super) fn fail(checked: &mut Checked, claim: LeaseClaim, now_ms: u64) -> AfterFailure {
    let report = report(FailureClass::TrainerCrashed);
    let decision = checked.ledger.fail(claim, report, now_ms).unwrap();
    checked.apply(decision)
}

pub(super) fn kind(checked: &Checked, grant: &Grant) -> TaskKind {
    checked.spec(grant.claim).kind()
}

pub(super) fn state(checked: &Checked, claim: LeaseClaim) -> StateName {
    checked.ledger.task(claim.task).unwrap().state().name()
}

pub(super) fn counts(checked: &Checked, name: &str) -> TaskCounts {
    let name = name.parse().unwrap();
    checked.ledger.sweep(&name).unwrap().counts()
}

pub(super) fn sweep_state(checked: &Checked, name: &str) -> SweepState {
    let name = name.parse().unwrap();
    checked.ledger.sweep(&name).unwrap().state()
}

pub(super) fn stale(held: u64, current: u64) -> NotHeld {
    NotHeld::Stale {
        held: Generation(held),
        current: Generation(current),
    }
}

#[test]
fn one_worker_walks_the_plan_to_its_end_baseline_first() {
    use TaskKind::{Baseline, Evaluate, Finetune, Replace};
    let mut checked = Checked::tiny(3);
    let mut kinds = Vec::new();
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        kinds.push(kind(&checked, &grant));
        checked.complete(grant.claim);
    }
    assert_eq!(
        kinds,
        [
            Baseline, Evaluate, Replace, Finetune, Evaluate, Finetune, Evaluate
        ]
    );
    assert_eq!(counts(&checked, "s").done, 7);
    assert_eq!(sweep_state(&checked, "s"), SweepState::Done);
    assert!(checked.ledger.is_idle());
}

#[test]
fn a_grant_names_the_inputs_in_the_order_of_the_spec() {
    let mut checked = Checked::tiny(3);
    for _ in 0..3 {
        let grant = checked.acquire("w", 0);
        checked.complete(grant.claim);
    }
    let grant = checked.acquire("w", 0);
    let spec = checked.spec(grant.claim);
    let wanted: Vec<(TaskId, CheckpointRole)> = (spec.inputs().into_iter())
        .map(|input| (input.task, CheckpointRole::Output(input.output.clone())))
        .collect();
    let given: Vec<(TaskId, CheckpointRole)> = (grant.inputs.into_iter())
        .map(|input| (input.task, input.role))
        .collect();
    assert_eq!(spec.kind(), TaskKind::Finetune);
    assert_eq!(given, wanted);
}

#[test]
fn a_lease_that_is_not_renewed_ends_and_its_claim_changes_nothing_more() {
    let mut checked = Checked::tiny(3);
    let old = checked.acquire("w", 0).claim;
    let renew = checked.ledger.renew(old, 900).unwrap();
    assert_eq!(checked.apply(renew), Renewal::Continue);
    assert_eq!(checked.ledger.expire(899 + TTL_MS).outcome, 0);
    let expired = checked.ledger.expire(900 + TTL_MS);
    assert_eq!(checked.apply(expired), 1);

    let ended = stale(1, 1);
    assert_eq!(checked.ledger.renew(old, 0).unwrap_err(), ended.into());
    let new = checked.acquire("v", 2000).claim;
    assert_eq!(new.task, old.task);
    assert_eq!(new.generation, old.generation.next());

    let ended = stale(1, 2);
    let before = checked.ledger.clone();
    let output = checkpoint(old, CheckpointRole::Output("net".to_owned()), 9, "");
    let measured = observation(&checked.spec(old));
    let ledger = &checked.ledger;
    assert_eq!(ledger.renew(old, 0).unwrap_err(), ended.into());
    assert_eq!(ledger.commit(old, output).unwrap_err(), ended.into());
    assert_eq!(ledger.finish(old, measured).unwrap_err(), ended.into());
    let crashed = report(FailureClass::TrainerCrashed);
    assert_eq!(ledger.fail(old, crashed, 0).unwrap_err(), ended.into());
    assert_eq!(ledger.release(old).unwrap_err(), ended.into());
    assert_eq!(checked.ledger, before);
}

#[test]
fn a_failure_that_every_attempt_would_end_in_is_the_last() {
    for class in [FailureClass::BadWeights, FailureClass::BudgetUnreached] {
        let mut checked = Checked::tiny(3);
        let claim = checked.acquire("w", 0).claim;
        let decision = checked.ledger.fail(claim, report(class), 0);
        assert_eq!(checked.apply(decision.unwrap()), AfterFailure::GaveUp);
        assert_eq!(counts(&checked, "s").gave_up, 1, "{class:?}");
    }
}

#[test]
fn a_task_is_given_up_after_its_attempts_with_a_wait_that_doubles() {
    let mut checked = Checked::tiny(3);
    let first = checked.acquire("w", 0);
    assert_eq!(first.attempt, 1);
    assert_eq!(fail(&mut checked, first.claim, 0), AfterFailure::WillRetry);
    let nothing = Acquired::Nothing { idle: false };
    assert_eq!(checked.try_acquire("w", 99), nothing);
    // Jitter adds less than a quarter.
    let due = checked.ledger.next_deadline_ms(99).unwrap();
    assert!((100..125).contains(&due), "{due}");
    assert_eq!(checked.try_acquire("w", due - 1), nothing);
    let second = checked.acquire("w", due);
    assert_eq!(second.attempt, 2);
    assert_eq!(
        fail(&mut checked, second.claim, 1000),
        AfterFailure::WillRetry
    );
    assert_eq!(checked.try_acquire("w", 1199), nothing);
    let third = checked.acquire("w", 1250);
    assert_eq!(fail(&mut checked, third.claim, 1250), AfterFailure::GaveUp);

    let counts = counts(&checked, "s");
    assert_eq!((counts.gave_up, counts.blocked), (1, 6));
    assert_eq!(sweep_state(&checked, "s"), SweepState::Partial);
    assert!(checked.ledger.is_idle());
    let failures = checked.ledger.task(third.claim.task).unwrap().failures();
    assert_eq!(failures.len(), 3);
    assert_eq!(failures[2].stderr_tail, "at line 7");
}

#[test]
fn submitting_again_opens_what_gave_up_with_all_its_attempts() {
    let mut checked = Checked::tiny(1);
    let claim = checked.acquire("w", 0).claim;
    assert_eq!(fail(&mut checked, claim, 0), AfterFailure::GaveUp);
    checked.submit(submission("s", tiny_plan(&[0], &[100, 50]), 1));
    let counts = counts(&checked, "s");
    assert_eq!((counts.ready, counts.waiting), (1, 6));
    let again = checked.acquire("w", 0);
    assert_eq!((again.attempt, again.claim.generation), (1, Generation(2)));
}

#[test]
fn submitting_twice_changes_nothing() {
    let mut checked = Checked::tiny(3);
    let claim = checked.acquire("w", 0).claim;
    checked.complete(claim);
    let running = checked.acquire("w", 0).claim;
    let before = checked.ledger.clone();
    let answer = checked.submit(submission("s", tiny_plan(&[0], &[100, 50]), 3));
    assert_eq!(answer, Submitted { tasks: 7, done: 1 });
    assert_eq!(checked.ledger, before);
    assert_eq!(state(&checked, running), StateName::Leased);
}

#[test]
fn sweeps_share_tasks_and_results() {
    let mut checked = Checked::tiny(3);
    let baseline = checked.acquire("w", 0).claim;
    checked.complete(baseline);
    let answer = checked.submit(submission("t", tiny_plan(&[0], &[200]), 3));
    assert_eq!(answer, Submitted { tasks: 5, done: 1 });
    // The baseline and its evaluation are the same tasks in both.
    assert_eq!(checked.ledger.task_count(), 10);
    let evaluate = checked.acquire("w", 0).claim;
    assert_eq!(checked.ledger.sweeps_of(evaluate.task).len(), 2);
    checked.complete(evaluate);
    assert_eq!(counts(&checked, "t").done, 2);
}

#[test]
fn a_smaller_manifest_cancels_what_no_sweep_wants_and_keeps_results() {
    let mut checked = Checked::tiny(3);
    let baseline = checked.acquire("w", 0).claim;
    checked.complete(baseline);
    let evaluate = checked.acquire("w", 0).claim;
    checked.complete(evaluate);
    let replace = checked.acquire("w", 0).claim;
    checked.submit(submission("s", tiny_plan(&[0], &[200]), 3));
    assert_eq!(counts(&checked, "s").total(), 5);
    let renewal = checked.ledger.renew(replace, 0).unwrap();
    assert_eq!(checked.apply(renewal), Renewal::Stop);
    let answer = checked.submit(submission("s", tiny_plan(&[0], &[100, 50]), 3));
    assert_eq!(answer, Submitted { tasks: 7, done: 2 });
    let again = checked.acquire("v", 0).claim;
    assert_eq!(again.task, replace.task);
    assert_eq!(again.generation, Generation(2));
}

#[test]
fn cancel_stops_running_tasks_that_no_other_sweep_wants() {
    let mut checked = Checked::tiny(3);
    checked.submit(submission("t", tiny_plan(&[0], &[200]), 3));
    let shared = checked.acquire("w", 0).claim;
    checked.complete(shared);
    let evaluate = checked.acquire("w", 0).claim;
    let own = checked.acquire("v", 0).claim;
    let name = "s".parse().unwrap();
    let cancel = checked.ledger.cancel(&name).unwrap();
    assert_eq!(checked.apply(cancel), Change::Changed);
    assert_eq!(
        checked.ledger.cancel(&name).unwrap().outcome,
        Change::Unchanged
    );
    let renewal = |claim| checked.ledger.renew(claim, 0).unwrap().outcome;
    assert_eq!(renewal(evaluate), Renewal::Continue);
    assert_eq!(renewal(own), Renewal::Stop);
    assert_eq!(
        checked.ledger.release(own).unwrap().outcome,
        Release::Repeated
    );
    assert_eq!(sweep_state(&checked, "s"), SweepState::Cancelled);
    assert_eq!(counts(&checked, "s").cancelled, 5);
    let paused = checked.ledger.pause(&name, true).unwrap_err();
    assert_eq!(paused, PauseRefusal::Cancelled(name));
}

#[test]
fn a_paused_sweep_gets_no_leases_and_its_running_tasks_go_on() {
    let mut checked = Checked::tiny(3);
    let running = checked.acquire("w", 0).claim;
    let name = "s".parse().unwrap();
    let pause = checked.ledger.pause(&name, true).unwrap();
    assert_eq!(checked.apply(pause), Change::Changed);
    checked.complete(running);
    assert_eq!(
        checked.try_acquire("w", 0),
        Acquired::Nothing { idle: true }
    );
    assert_eq!(sweep_state(&checked, "s"), SweepState::Paused);
    let resume = checked.ledger.pause(&name, false).unwrap();
    checked.apply(resume);
    let granted = checked.acquire("w", 0);
    assert_eq!(kind(&checked, &granted), TaskKind::Evaluate);
}

#[test]
fn a_release_and_an_unreachable_store_cost_no_attempt() {
    let mut checked = Checked::tiny(1);
    let claim = checked.acquire("w", 0).claim;
    let release = checked.ledger.release(claim).unwrap();
    assert_eq!(checked.apply(release), Release::Released);
    assert_eq!(
        checked.ledger.release(claim).unwrap().outcome,
        Release::Repeated
    );
    let again = checked.acquire("w", 0);
    assert_eq!(again.attempt, 1);
    let unreachable = report(FailureClass::StoreUnavailable);
    let failure = checked.ledger.fail(again.claim, unreachable, 0).unwrap();
    assert_eq!(checked.apply(failure), AfterFailure::WillRetry);
    // The policy's wait is 100 ms; what may go on for ever takes its time.
    let nothing = Acquired::Nothing { idle: false };
    assert_eq!(checked.try_acquire("w", 999), nothing);
    assert_eq!(checked.acquire("w", 1250).attempt, 1);
}

#[test]
fn a_lost_worker_costs_an_attempt_only_if_it_committed_nothing() {
    let mut checked = Checked::tiny(2);
    let first = checked.acquire("w", 0).claim;
    let resume = checkpoint(first, CheckpointRole::Resume, 5, "");
    let commit = checked.ledger.commit(first, resume.clone()).unwrap();
    checked.apply(commit);
    let expired = checked.ledger.expire(TTL_MS);
    checked.apply(expired);
    let second = checked.acquire("w", TTL_MS);
    assert_eq!((second.attempt, second.resume), (1, Some(resume)));
    let expired = checked.ledger.expire(2 * TTL_MS);
    checked.apply(expired);
    assert_eq!(checked.acquire("w", 2 * TTL_MS).attempt, 2);
    let expired = checked.ledger.expire(3 * TTL_MS);
    checked.apply(expired);
    assert_eq!(state(&checked, first), StateName::GaveUp);
}

#[test]
fn a_worker_that_asks_again_gets_the_same_task_with_the_next_generation() {
    let mut checked = Checked::tiny(2);
    let first = checked.acquire("w", 0);
    let second = checked.acquire("w", 0);
    assert_eq!(second.claim.task, first.claim.task);
    assert_eq!(second.claim.generation, first.claim.generation.next());
    assert_eq!(second.attempt, 1);
    let renewal = checked.ledger.renew(second.claim, 0).unwrap();
    checked.apply(renewal);
    let third = checked.acquire("w", 0);
    assert_eq!((third.claim.task, third.attempt), (first.claim.task, 2));
    let renewal = checked.ledger.renew(third.claim, 0).unwrap();
    checked.apply(renewal);
    assert_eq!(
        checked.try_acquire("w", 0),
        Acquired::Nothing { idle: false }
    );
    assert_eq!(state(&checked, first.claim), StateName::GaveUp);
}

#[test]
fn a_repeated_report_gets_the_same_answer_and_changes_nothing() {
    let mut checked = Checked::tiny(2);
    let first = checked.acquire("w", 0).claim;
    assert_eq!(fail(&mut checked, first, 0), AfterFailure::WillRetry);
    let before = checked.ledger.clone();
    assert_eq!(fail(&mut checked, first, 0), AfterFailure::WillRetry);
    assert_eq!(checked.ledger, before);
    let second = checked.acquire("w", 125).claim;
    checked.complete(second);
    let before = checked.ledger.clone();
    let measured = observation(&checked.spec(second));
    let finish = checked.ledger.finish(second, measured).unwrap();
    assert_eq!(checked.apply(finish), Finish::Repeated);
    let output = checkpoint(second, CheckpointRole::Output("net".to_owned()), 9, "");
    let commit = checked.ledger.commit(second, output).unwrap();
    assert_eq!(checked.apply(commit), Adoption::Repeated);
    assert_eq!(checked.ledger, before);
}

#[test]
fn a_repeated_report_gets_the_same_answer_when_a_restart_has_no_sweep_for_its_task() {
    let mut checked = Checked::tiny(2);
    for worker in ["w", "w"] {
        let claim = checked.acquire(worker, 0).claim;
        checked.complete(claim);
    }
    let done = checked.acquire("w", 0).claim;
    checked.complete(done);
    let running = checked.acquire("w", 0).claim;
    checked.submit(submission("s", tiny_plan(&[0], &[200]), 2));
    let ledger = random::restored(&checked.ledger, &checked.records, 0);
    assert!(ledger.task(done.task).is_none() && ledger.task(running.task).is_none());

    let measured = observation(&checked.spec(done));
    let finish = ledger.finish(done, measured.clone()).unwrap();
    assert_eq!(finish, Decision::unchanged(Finish::Repeated));
    let output = checkpoint(done, CheckpointRole::Output("b100".to_owned()), 9, "");
    let commit = ledger.commit(done, output).unwrap();
    assert_eq!(commit, Decision::unchanged(Adoption::Repeated));
    let old = LeaseClaim {
        generation: Generation(7),
        ..done
    };
    let refusal = ledger.finish(old, measured).unwrap_err();
    assert_eq!(refusal, stale(7, 1).into());
    // As if it had been cancelled, which it was.
    let renewal = ledger.renew(running, 0).unwrap();
    assert_eq!(renewal, Decision::unchanged(Renewal::Stop));
    let refusal = ledger.commit(running, checkpoint(running, CheckpointRole::Resume, 1, ""));
    assert_eq!(refusal.unwrap_err(), stale(1, 1).into());
}

#[test]
fn a_claim_of_no_lease_is_refused() {
    let mut checked = Checked::tiny(2);
    let unknown = LeaseClaim {
        task: TaskId(crate::digest::Digest::of(b"nothing")),
        generation: Generation(1),
    };
    let refusal = checked.ledger.renew(unknown, 0).unwrap_err();
    assert_eq!(refusal, NotHeld::UnknownTask(unknown.task).into());
    let claim = checked.acquire("w", 0).claim;
    let future = LeaseClaim {
        generation: Generation(2),
        ..claim
    };
    let refusal = checked.ledger.renew(future, 0).unwrap_err();
    assert_eq!(refusal, stale(2, 1).into());
}

#[test]
fn a_result_above_its_budget_or_without_a_test_accuracy_is_refused() {
    let mut checked = Checked::tiny(2);
    let baseline = checked.acquire("w", 0).claim;
    checked.complete(baseline);
    let evaluate = checked.acquire("w", 0).claim;
    let good = observation(&checked.spec(evaluate));
    let mut above = good.clone();
    above.relu_count -= 1;
    let refusal = checked.ledger.finish(evaluate, above).unwrap_err();
    let (budget, found) = (good.relu_count, good.relu_count - 1);
    assert_eq!(refusal, FinishRefusal::WrongReluCount { budget, found });
    let mut untested = good;
    untested.test = None;
    let refusal = checked.ledger.finish(evaluate, untested).unwrap_err();
    assert_eq!(refusal, FinishRefusal::WrongTestAccuracy);
}

#[test]
fn a_result_of_another_network_is_refused() {
    let mut checked = Checked::tiny(2);
    let baseline = checked.acquire("w", 0).claim;
    checked.commit_outputs(baseline);
    let good = observation(&checked.spec(baseline));
    let mut smaller = good.clone();
    smaller.relu_total = 12_000;
    let refusal = checked.ledger.finish(baseline, smaller).unwrap_err();
    let (total, found) = (good.relu_total, 12_000);
    assert_eq!(refusal, FinishRefusal::WrongReluTotal { total, found });
    let mut fewer = good;
    fewer.relu_count -= 1;
    let refusal = checked.ledger.finish(baseline, fewer).unwrap_err();
    let (budget, found) = (total, total - 1);
    assert_eq!(refusal, FinishRefusal::WrongReluCount { budget, found });
}

#[test]
fn a_search_may_report_any_of_its_budgets_and_no_other_count() {
    let mut checked = Checked::tiny(2);
    for _ in 0..2 {
        let before = checked.acquire("w", 0).claim;
        checked.complete(before);
    }
    let search = checked.acquire("w", 0).claim;
    assert_eq!(checked.spec(search).kind(), TaskKind::Replace);
    checked.commit_outputs(search);
    let mut measured = observation(&checked.spec(search));
    measured.relu_count = 70;
    let refusal = checked.ledger.finish(search, measured.clone()).unwrap_err();
    let (budgets, found) = (vec![100, 50], 70);
    assert_eq!(
        refusal,
        FinishRefusal::NoBudgetsReluCount { budgets, found }
    );
    measured.relu_count = 50;
    let finish = checked.ledger.finish(search, measured).unwrap();
    assert_eq!(checked.apply(finish), Finish::Finished);
}

#[test]
fn a_plan_with_its_parents_missing_or_twice_the_same_task_is_refused() {
    let ledger = Ledger::new(TTL_MS);
    let mut orphans = tiny_plan(&[0], &[100]);
    let parent = orphans.tasks.remove(0).id;
    let task = orphans.tasks[0].id;
    let refusal = ledger.submit(submission("s", orphans, 1)).unwrap_err();
    assert_eq!(refusal, SubmitRefusal::ParentMissing { task, parent });
    let mut twice = tiny_plan(&[0], &[100]);
    let first = twice.tasks[0].clone();
    twice.tasks.push(first);
    let refusal = ledger.submit(submission("s", twice, 1)).unwrap_err();
    assert_eq!(refusal, SubmitRefusal::TaskTwice { task: parent });
}

#[test]
fn tasks_are_found_by_a_beginning_of_their_id() {
    let checked = Checked::tiny(1);
    let id = tiny_plan(&[0], &[100, 50]).tasks[3].id;
    let text = id.to_string();
    let found = |prefix: &str| -> Vec<TaskId> {
        let tasks = checked.ledger.tasks_like(prefix);
        tasks.map(Task::id).collect()
    };
    assert_eq!(found(text.get(..12).unwrap()), [id]);
    assert_eq!(found("").len(), checked.ledger.task_count());
    assert_eq!(found("not hex"), []);
    assert_eq!(found(&"0".repeat(80)), []);
}
