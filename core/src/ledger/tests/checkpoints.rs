//! Commits, missing outputs, and checkpoints that turn out to be damaged.

use super::*;

#[track_caller]
fn commit(checked: &mut Checked, claim: LeaseClaim, checkpoint: CheckpointRef) -> Adoption {
    let decision = checked.ledger.commit(claim, checkpoint).unwrap();
    checked.apply(decision)
}

#[track_caller]
fn report_bad(checked: &mut Checked, claim: LeaseClaim, bad: CheckpointRef) -> AfterFailure {
    let report = FailureReport {
        bad_checkpoint: Some(bad),
        ..report(FailureClass::BadCheckpoint)
    };
    let decision = checked.ledger.fail(claim, report, 0).unwrap();
    checked.apply(decision)
}

#[test]
fn the_latest_resume_checkpoint_is_the_head() {
    let mut checked = Checked::tiny(3);
    let claim = checked.acquire("w", 0).claim;
    let at = |step, salt| checkpoint(claim, CheckpointRole::Resume, step, salt);
    assert_eq!(commit(&mut checked, claim, at(5, "")), Adoption::Adopted);
    assert_eq!(commit(&mut checked, claim, at(5, "")), Adoption::Repeated);
    assert_eq!(commit(&mut checked, claim, at(7, "")), Adoption::Adopted);
    assert_eq!(commit(&mut checked, claim, at(5, "")), Adoption::Older);
    let refusal = checked.ledger.commit(claim, at(7, "other")).unwrap_err();
    assert_eq!(refusal, CommitRefusal::Different { step: 7 });

    // A later lease may have gone back to an earlier step: its generation decides.
    let next = checked.acquire("w", 0);
    assert_eq!(next.resume, Some(at(7, "")));
    let earlier = checkpoint(next.claim, CheckpointRole::Resume, 1, "");
    assert_eq!(commit(&mut checked, next.claim, earlier), Adoption::Adopted);
}

#[test]
fn a_commit_of_another_leases_checkpoint_or_of_an_unknown_output_is_refused() {
    let mut checked = Checked::tiny(3);
    let old = checked.acquire("w", 0).claim;
    let new = checked.acquire("w", 0).claim;
    let foreign = checkpoint(old, CheckpointRole::Resume, 1, "");
    let refusal = checked.ledger.commit(new, foreign).unwrap_err();
    let (task, generation) = (old.task, old.generation);
    assert_eq!(refusal, CommitRefusal::NotTheClaims { task, generation });
    let unknown = checkpoint(new, CheckpointRole::Output("b7".to_owned()), 1, "");
    let refusal = checked.ledger.commit(new, unknown).unwrap_err();
    assert!(matches!(refusal, CommitRefusal::UnknownOutput { .. }));
}

#[test]
fn a_task_ends_only_with_every_output_whichever_lease_committed_it() {
    let mut checked = Checked::tiny(3);
    for _ in 0..2 {
        let claim = checked.acquire("w", 0).claim;
        checked.complete(claim);
    }
    let first = checked.acquire("w", 0).claim;
    assert_eq!(checked.spec(first).outputs(), ["b100", "b50"]);
    let measured = observation(&checked.spec(first));
    let output = |claim, name: &str| {
        let role = CheckpointRole::Output(name.to_owned());
        checkpoint(claim, role, 3, "")
    };
    commit(&mut checked, first, output(first, "b100"));
    let refusal = checked.ledger.finish(first, measured.clone()).unwrap_err();
    let missing = vec!["b50".to_owned()];
    assert_eq!(refusal, FinishRefusal::OutputsMissing { missing });

    let second = checked.acquire("w", 0).claim;
    assert_eq!(second.task, first.task);
    commit(&mut checked, second, output(second, "b50"));
    let finish = checked.ledger.finish(second, measured).unwrap();
    assert_eq!(checked.apply(finish), Finish::Finished);
    let finetune = checked.acquire("w", 0);
    assert_eq!(finetune.inputs[0], output(first, "b100"));
}

#[test]
fn a_damaged_resume_checkpoint_is_set_aside_and_the_one_before_it_used() {
    let mut checked = Checked::tiny(5);
    let claim = checked.acquire("w", 0).claim;
    let made: Vec<CheckpointRef> = (1..=3)
        .map(|step| checkpoint(claim, CheckpointRole::Resume, step, ""))
        .collect();
    for resume in &made {
        assert_eq!(
            commit(&mut checked, claim, resume.clone()),
            Adoption::Adopted
        );
    }
    let second = checked.acquire("w", 0);
    assert_eq!(second.resume.as_ref(), Some(&made[2]));
    report_bad(&mut checked, second.claim, made[2].clone());
    let third = checked.acquire("w", 1000);
    assert_eq!(third.resume.as_ref(), Some(&made[1]), "the one before it");
    report_bad(&mut checked, third.claim, made[1].clone());
    let fourth = checked.acquire("w", 2000);
    assert_eq!(fourth.resume, None, "no more than two are kept");
}

#[test]
fn a_damaged_resume_checkpoint_is_dropped() {
    let mut checked = Checked::tiny(3);
    let claim = checked.acquire("w", 0).claim;
    let resume = checkpoint(claim, CheckpointRole::Resume, 5, "");
    commit(&mut checked, claim, resume.clone());
    let second = checked.acquire("w", 0);
    assert_eq!(second.resume.as_ref(), Some(&resume));
    let answer = report_bad(&mut checked, second.claim, resume);
    assert_eq!(answer, AfterFailure::WillRetry);
    let third = checked.acquire("w", 125);
    assert_eq!((third.resume, third.attempt), (None, 2));
}

#[test]
fn a_damaged_input_sends_the_task_that_made_it_back_to_be_done_again() {
    let mut checked = Checked::tiny(3);
    let baseline = checked.acquire("w", 0).claim;
    checked.complete(baseline);
    let evaluate = checked.acquire("w", 0);
    let replace = checked.acquire("v", 0);
    let bad = evaluate.inputs[0].clone();
    let answer = report_bad(&mut checked, evaluate.claim, bad.clone());
    assert_eq!(answer, AfterFailure::WillRetry);
    assert_eq!(state(&checked, baseline), StateName::Ready);
    assert_eq!(state(&checked, evaluate.claim), StateName::Waiting);
    assert_eq!(state(&checked, replace.claim), StateName::Leased);

    // The second worker meets the same damage: that is no news, and no fault of its task.
    report_bad(&mut checked, replace.claim, bad);
    assert_eq!(state(&checked, replace.claim), StateName::Waiting);

    let again = checked.acquire("w", 100);
    assert_eq!(again.claim.task, baseline.task);
    assert_eq!(again.claim.generation, Generation(2));
    assert_eq!(again.resume, None);
    checked.complete(again.claim);
    let attempts: Vec<u32> = ["w", "v"]
        .map(|name| checked.acquire(name, 225).attempt)
        .into();
    assert_eq!(attempts, [2, 1]);
}

#[test]
fn a_checkpoint_that_the_task_does_not_read_is_not_set_aside() {
    let mut checked = Checked::tiny(3);
    let baseline = checked.acquire("w", 0).claim;
    checked.complete(baseline);
    let evaluate = checked.acquire("w", 0).claim;
    let replace = checked.acquire("v", 0).claim;
    checked.complete(replace);
    let finetune = checked.acquire("v", 0);
    // The evaluation of the baseline reads nothing of the search.
    let unrelated = finetune.inputs[0].clone();
    assert_eq!(unrelated.task, replace.task);
    report_bad(&mut checked, evaluate, unrelated);
    assert_eq!(state(&checked, replace), StateName::Done);
    assert_eq!(state(&checked, evaluate), StateName::Ready);
}
