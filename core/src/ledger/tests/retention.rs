//! What may be deleted, and what happens when it is needed again.

use std::collections::BTreeSet;

use super::*;
use crate::checkpoint::Place;
use crate::ledger::retention::Verdict;
use crate::manifest::Keep;

/// A sweep of seed 0 and the budget 100 that keeps the front alone, all of it done.
fn finished() -> Checked {
    let mut checked = Checked::new();
    submit(&mut checked, &[100]);
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        checked.complete(grant.claim);
    }
    checked
}

fn submit(checked: &mut Checked, budgets: &[u64]) {
    let mut submission = submission("s", tiny_plan(&[0], budgets), 2);
    submission.terms.keep = Keep::Front;
    checked.submit(submission);
}

fn of_kind(checked: &Checked, kind: TaskKind) -> TaskId {
    let tasks = &checked.ledger.tasks;
    let found = tasks.iter().find(|task| task.spec().kind() == kind);
    found.unwrap().id()
}

fn drop_unneeded(checked: &mut Checked, nets: &[TaskId]) -> Vec<TaskId> {
    let nets = nets.iter().copied().collect::<BTreeSet<_>>();
    let decision = checked.ledger.drop_unneeded(&nets, 100);
    checked.apply(decision)
}

fn place(claim: LeaseClaim, role: CheckpointRole, step: u64) -> Place {
    Place {
        task: claim.task,
        generation: claim.generation,
        role,
        step,
    }
}

#[test]
fn what_is_not_on_the_front_goes_but_not_baselines_pins_nor_what_is_still_read() {
    let mut checked = finished();
    let replace = of_kind(&checked, TaskKind::Replace);
    let finetune = of_kind(&checked, TaskKind::Finetune);
    let pin = checked.ledger.pin(replace, true).unwrap();
    checked.apply(pin);
    assert_eq!(drop_unneeded(&mut checked, &[finetune]), []);
    let unpin = checked.ledger.pin(replace, false).unwrap();
    checked.apply(unpin);
    assert_eq!(drop_unneeded(&mut checked, &[finetune]), [replace]);
    assert_eq!(drop_unneeded(&mut checked, &[]), [finetune]);
    assert_eq!(drop_unneeded(&mut checked, &[]), []);
    assert_eq!(sweep_state(&checked, "s"), SweepState::Done);
    let gone = checked.ledger.pin(replace, true).unwrap_err();
    assert_eq!(gone, PinRefusal::Gone(replace));
}

#[test]
fn a_commit_that_is_repeated_when_its_output_is_gone_gets_the_same_answer() {
    let mut checked = finished();
    let finetune = of_kind(&checked, TaskKind::Finetune);
    assert!(drop_unneeded(&mut checked, &[]).contains(&finetune));
    let claim = LeaseClaim {
        task: finetune,
        generation: Generation(1),
    };
    let output = checkpoint(claim, CheckpointRole::Output("net".to_owned()), 9, "");
    let commit = checked.ledger.commit(claim, output).unwrap();
    assert_eq!(checked.apply(commit), Adoption::Repeated);
}

#[test]
fn nothing_goes_while_the_front_is_provisional() {
    let mut checked = Checked::new();
    let mut submission = submission("s", tiny_plan(&[0, 1], &[100]), 2);
    submission.terms.keep = Keep::Front;
    checked.submit(submission);
    let mut nets = 0;
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        assert_eq!(drop_unneeded(&mut checked, &[]), [], "after {nets} nets");
        nets += 1;
        checked.complete(grant.claim);
    }
    assert_eq!(
        drop_unneeded(&mut checked, &[]).len(),
        4,
        "two of each seed"
    );
}

#[test]
fn a_sweep_that_keeps_all_keeps_what_it_shares() {
    let mut checked = finished();
    checked.submit(submission("t", tiny_plan(&[0], &[100]), 2));
    assert_eq!(drop_unneeded(&mut checked, &[]), []);
}

#[test]
fn what_is_gone_is_made_again_when_a_new_task_reads_it() {
    let mut checked = Checked::new();
    submit(&mut checked, &[100, 50]);
    let mut stopped = None;
    while let Acquired::Granted(grant) = checked.try_acquire("w", 0) {
        if kind(&checked, &grant) == TaskKind::Finetune && stopped.is_none() {
            stopped = Some(grant.claim);
            break;
        }
        checked.complete(grant.claim);
    }
    // A finetune is given up: nothing unfinished reads the search once the other one is done.
    let stopped = stopped.unwrap();
    for now_ms in [0, 10_000] {
        let held = checked.ledger.task(stopped.task).unwrap();
        let claim = LeaseClaim {
            task: stopped.task,
            generation: held.generation(),
        };
        fail(&mut checked, claim, now_ms);
        while let Acquired::Granted(grant) = checked.try_acquire("w", now_ms + 5_000) {
            if grant.claim.task == stopped.task {
                break;
            }
            checked.complete(grant.claim);
        }
    }
    assert_eq!(state(&checked, stopped), StateName::GaveUp);
    let replace = of_kind(&checked, TaskKind::Replace);
    assert!(drop_unneeded(&mut checked, &[]).contains(&replace));
    assert!(checked.ledger.task(replace).unwrap().state().is_done());

    submit(&mut checked, &[100, 50]);
    let again = checked.acquire("w", 20_000);
    assert_eq!(again.claim.task, replace, "what the finetune reads");
    assert_eq!(state(&checked, stopped), StateName::Waiting);
    checked.complete(again.claim);
    let finetune = checked.acquire("w", 20_000);
    assert_eq!(finetune.claim.task, stopped.task);
    assert_eq!(finetune.inputs[0].generation, again.claim.generation);
}

#[test]
fn a_checkpoint_is_live_until_nothing_can_make_it_a_tasks_own() {
    let mut checked = Checked::tiny(5);
    let claim = checked.acquire("w", 0).claim;
    let resume = |step| place(claim, CheckpointRole::Resume, step);
    let judge = |checked: &Checked, place: &Place| checked.ledger.judge(place);
    assert_eq!(judge(&checked, &resume(1)), Verdict::Live, "under way");
    for step in 1..=3 {
        let made = checkpoint(claim, CheckpointRole::Resume, step, "");
        let commit = checked.ledger.commit(claim, made).unwrap();
        checked.apply(commit);
    }
    assert_eq!(judge(&checked, &resume(1)), Verdict::Superseded);
    assert_eq!(
        judge(&checked, &resume(2)),
        Verdict::Live,
        "for a damaged one"
    );
    assert_eq!(judge(&checked, &resume(3)), Verdict::Live);
    assert_eq!(judge(&checked, &resume(4)), Verdict::Live, "under way");
    let expired = checked.ledger.expire(TTL_MS);
    checked.apply(expired);
    assert_eq!(judge(&checked, &resume(3)), Verdict::Live);
    assert_eq!(judge(&checked, &resume(4)), Verdict::Superseded);

    let next = checked.acquire("v", TTL_MS).claim;
    let output = CheckpointRole::Output("net".to_owned());
    assert_eq!(
        judge(&checked, &place(claim, output.clone(), 0)),
        Verdict::Superseded
    );
    assert_eq!(
        judge(&checked, &place(next, output.clone(), 0)),
        Verdict::Live
    );
    let newer = LeaseClaim {
        generation: next.generation.next(),
        ..next
    };
    // Granted by a coordinator that has taken over.
    assert_eq!(
        judge(&checked, &place(newer, output.clone(), 0)),
        Verdict::Live
    );
    checked.complete(next);
    assert_eq!(judge(&checked, &resume(3)), Verdict::Superseded);
    assert_eq!(
        judge(&checked, &place(next, output.clone(), 0)),
        Verdict::Live
    );
    let unknown = LeaseClaim {
        task: TaskId(crate::digest::Digest::of(b"elsewhere")),
        ..next
    };
    assert_eq!(
        judge(&checked, &place(unknown, output, 0)),
        Verdict::Unknown
    );
}
