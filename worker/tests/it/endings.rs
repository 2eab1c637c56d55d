//! Attempts that fail, and how the coordinator hears of it.

use std::sync::Arc;
use std::time::Duration;

use autorep_core::checkpoint::{CheckpointRole, TENSORS_PART};
use autorep_proto::STORE_ID_KEY;
use autorep_proto::v1::{self, FailureClass};
use object_store::ObjectStoreExt as _;
use object_store::local::LocalFileSystem;

use crate::coordinator::{Call, State};
use crate::fixture::{Lab, ended, evaluate, other_task};

/// The one failure that was reported, after which nothing else was said.
#[track_caller]
fn only_failure(lab: &Lab) -> v1::FailRequest {
    match lab.recorder.effects().as_slice() {
        [.., Call::Fail(failure)] => failure.as_ref().clone(),
        effects => panic!("expected a failure at the end, found {effects:#?}"),
    }
}

#[tokio::test]
async fn a_trainer_that_exits_without_a_word_fails_with_its_last_words_on_stderr() {
    let lab = Lab::new(
        "checkpoint resume 3
         stderr cannot allocate a cat
         exit 3",
    );
    let task = lab.offer_baseline();

    let summary = lab.run().await;

    assert_eq!(summary.failed, 1);
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::TrainerCrashed);
    assert!(failure.message.contains("exit code 3"), "{failure:?}");
    assert_eq!(failure.stderr_tail, "cannot allocate a cat\n");
    assert_eq!(lab.log(task).await, "cannot allocate a cat\n");
    // What it had saved is not lost with it.
    let first = lab.recorder.effects().remove(0);
    assert!(matches!(first, Call::Commit(it) if it.step == 3));
}

#[tokio::test]
async fn a_trainer_that_dies_by_a_signal_fails_with_the_signal() {
    let lab = Lab::new("abort");
    lab.offer_baseline();
    lab.run().await;
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::TrainerCrashed);
    assert!(failure.message.contains("signal 6"), "{failure:?}");
}

#[tokio::test]
async fn what_a_trainer_says_of_its_failure_is_passed_on() {
    let lab = Lab::new("failed the loss is not a number\nexit 1");
    lab.offer_baseline();
    lab.run().await;
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::Diverged);
    assert_eq!(failure.message, "the loss is not a number");
}

#[tokio::test]
async fn a_trainer_that_breaks_the_protocol_is_ended_and_fails() {
    for script in ["nonsense\nawait nothing", "escape\nawait nothing"] {
        let lab = Lab::new(script);
        lab.offer_baseline();
        let summary = lab.run().await;
        assert_eq!(summary.failed, 1, "{script}");
        only_failure(&lab);
    }
}

#[tokio::test]
async fn a_damaged_part_of_an_input_is_refused_by_its_digest() {
    let lab = Lab::new("done");
    let output = CheckpointRole::Output("b1500".to_owned());
    let input = lab.stored(other_task(), output, 100).await;
    // One byte is different, the size is the same.
    let key = format!("{}/{TENSORS_PART}", input.folder());
    lab.put(&key, b"tensorZ").await;
    lab.offer(&evaluate(other_task()), vec![input.clone()], None);

    let summary = lab.run().await;

    assert_eq!(summary.failed, 1);
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::BadCheckpoint);
    assert_eq!(failure.bad_checkpoint, Some(input.into()));
}

#[tokio::test]
async fn a_missing_resume_checkpoint_is_a_bad_one() {
    let lab = Lab::new("done");
    let output = CheckpointRole::Output("b1500".to_owned());
    let input = lab.stored(other_task(), output, 100).await;
    let spec = evaluate(other_task());
    let mut resume = lab.stored(spec.id(), CheckpointRole::Resume, 40).await;
    resume.step = 41;
    lab.offer(&spec, vec![input], Some(resume.clone()));

    lab.run().await;

    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::BadCheckpoint);
    assert_eq!(failure.bad_checkpoint, Some(resume.into()));
}

#[tokio::test]
async fn an_input_that_is_missing_with_the_whole_store_is_no_bad_checkpoint() {
    let mut lab = Lab::new("done");
    lab.config.store_patience = Duration::from_millis(300);
    (lab.recorder).change(|it| "ours".clone_into(&mut it.terms.store_id));
    lab.put(STORE_ID_KEY, b"ours\n").await;
    let output = CheckpointRole::Output("b1500".to_owned());
    let mut input = lab.stored(other_task(), output, 100).await;
    input.generation = input.generation.next();
    let worker = lab.start();
    let has_failed = |state: &State| state.calls.iter().any(|it| matches!(it, Call::Fail(_)));
    lab.recorder
        .until("it is served", |it| it.calls.contains(&Call::Acquire))
        .await;
    // As if the folder were not mounted any more.
    let name = STORE_ID_KEY.into();
    lab.objects.delete(&name).await.unwrap();

    lab.offer(&evaluate(other_task()), vec![input.clone()], None);
    lab.recorder.until("it fails", has_failed).await;
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::StoreUnavailable);
    assert_eq!(failure.bad_checkpoint, None);
    assert!(failure.message.contains("--store"), "{failure:?}");

    lab.put(STORE_ID_KEY, b"ours\n").await;
    lab.recorder.change(|it| it.calls.clear());
    lab.offer(&evaluate(other_task()), vec![input.clone()], None);
    lab.recorder.until("it fails", has_failed).await;
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::BadCheckpoint);
    assert_eq!(failure.bad_checkpoint, Some(input.into()));
    lab.shutdown.cancel();
    ended(worker).await.unwrap();
}

/// The failure of a trainer that does what `script` says, with or without a checkpoint to go on
/// from, and that checkpoint.
async fn failure_of(script: &str, resumes: bool) -> (v1::FailRequest, v1::CheckpointRef) {
    let lab = Lab::new(script);
    let output = CheckpointRole::Output("b1500".to_owned());
    let input = lab.stored(other_task(), output, 100).await;
    let spec = evaluate(other_task());
    let resume = lab.stored(spec.id(), CheckpointRole::Resume, 40).await;
    lab.offer(&spec, vec![input], resumes.then(|| resume.clone()));
    let summary = lab.run().await;
    assert_eq!(summary.failed, 1);
    (only_failure(&lab), resume.into())
}

#[tokio::test]
async fn a_resume_checkpoint_that_the_trainer_refuses_is_named_so_that_it_is_set_aside() {
    let script = "refuse an older format\nexit 1";

    let (failure, resume) = failure_of(script, true).await;
    assert_eq!(failure.class(), FailureClass::BadCheckpoint);
    assert_eq!(failure.message, "an older format");
    assert_eq!(failure.bad_checkpoint, Some(resume));

    let (failure, _unused) = failure_of(script, false).await;
    assert_eq!(failure.class(), FailureClass::BadCheckpoint);
    assert_eq!(failure.bad_checkpoint, None);
}

#[tokio::test]
async fn a_trainer_that_fails_for_another_reason_keeps_its_resume_checkpoint() {
    let (failure, _kept) = failure_of("failed no number\nexit 1", true).await;
    assert_eq!(failure.class(), FailureClass::Diverged);
    assert_eq!(failure.bad_checkpoint, None);
}

#[tokio::test]
async fn a_store_that_takes_nothing_fails_the_attempt_and_not_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    // A file where a folder has to be: every write below it fails.
    std::fs::write(folder.path().join("tasks"), "").unwrap();
    let objects = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let mut lab = Lab::with_store("checkpoint net 1\ndone\nawait nothing", Arc::new(objects));
    lab.config.store_patience = Duration::from_millis(200);
    lab.offer_baseline();

    let summary = lab.run().await;

    assert_eq!(summary.failed, 1);
    assert_eq!(only_failure(&lab).class(), FailureClass::StoreUnavailable);
}

/// Offers a task that is to stop after two epochs.
fn offer_to_stop(lab: &Lab) {
    lab.offer_baseline();
    lab.recorder.change(|it| it.offers[0].stop_after = Some(2));
}

#[tokio::test]
async fn a_task_that_stops_where_it_is_to_is_given_back_and_the_worker_goes_on() {
    let lab = Lab::new("checkpoint resume 2\nstopped 2\nawait nothing");
    offer_to_stop(&lab);
    let summary = lab.run().await;
    assert_eq!((summary.released, summary.failed), (1, 0));
}

#[tokio::test]
async fn a_trainer_that_stops_before_it_is_to_has_failed() {
    let lab = Lab::new("checkpoint resume 1\nstopped 1\nawait nothing");
    offer_to_stop(&lab);
    let summary = lab.run().await;
    assert_eq!((summary.released, summary.failed), (0, 1));
    let failure = only_failure(&lab);
    assert_eq!(failure.class(), FailureClass::TrainerError);
    assert!(
        failure.message.contains("after 2 epochs"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_stop_whose_checkpoint_cannot_be_stored_is_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tasks"), "").unwrap();
    let objects = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let script = "checkpoint resume 2\nstopped 2\nawait nothing";
    let mut lab = Lab::with_store(script, Arc::new(objects));
    lab.config.store_patience = Duration::from_millis(200);
    offer_to_stop(&lab);
    let summary = lab.run().await;
    assert_eq!((summary.released, summary.failed), (0, 1));
    assert_eq!(only_failure(&lab).class(), FailureClass::StoreUnavailable);
}

#[tokio::test]
async fn a_spec_that_is_not_the_tasks_own_is_never_trained() {
    let lab = Lab::new("done");
    lab.offer_baseline();
    lab.recorder.change(|it| {
        let spec = &mut it.offers[0].spec;
        *spec = String::from_utf8(spec.clone())
            .unwrap()
            .replace("\"seed\":0", "\"seed\":1")
            .into_bytes();
    });

    let summary = lab.run().await;

    assert_eq!((summary.failed, summary.finished), (1, 0));
    assert_eq!(only_failure(&lab).class(), FailureClass::TrainerError);
}

#[tokio::test]
async fn inputs_that_the_spec_does_not_ask_for_are_never_trained_on() {
    let lab = Lab::new("done");
    let output = CheckpointRole::Output("b3000".to_owned());
    let other_budget = lab.stored(other_task(), output, 100).await;
    lab.offer(&evaluate(other_task()), vec![other_budget], None);
    let summary = lab.run().await;
    assert_eq!(summary.failed, 1);
    only_failure(&lab);
}

#[tokio::test]
async fn a_result_that_the_coordinator_refuses_becomes_a_failure() {
    let lab = Lab::new("done");
    lab.recorder.change(|it| it.refuses_results = true);
    lab.offer_baseline();
    let summary = lab.run().await;
    assert_eq!((summary.failed, summary.finished), (1, 0));
    assert!(only_failure(&lab).message.contains("an output is missing"));
}
