//! A coordinator that ends at any point loses nothing that it has acknowledged.

use autorep_coordinator::{Config, read_front};
use autorep_core::checkpoint::CheckpointRole;
use autorep_core::id::Generation;
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use crate::lab::{Lab, TASKS, checkpoint};

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_every_task_it_still_comes_to_the_same_front() {
    let whole = Lab::new();
    let coordinator = whole.start(Config::default()).await;
    coordinator.submit("tiny").await;
    coordinator.worker("w").await.work().await;
    coordinator.stop().await.unwrap();

    let broken = Lab::new();
    let coordinator = broken.start(Config::default()).await;
    coordinator.submit("tiny").await;
    coordinator.kill().await;
    for done in 0..TASKS {
        let coordinator = broken.start(Config::default()).await;
        assert_eq!(coordinator.counts("tiny").await.done, done);
        let mut worker = coordinator.worker("w").await;
        let held = worker.acquire().await;
        worker.complete(&held).await;
        coordinator.kill().await;
    }
    let name = "tiny".parse().unwrap();
    let front = read_front(broken.store(), &name).await.unwrap();
    let expected = read_front(whole.store(), &name).await.unwrap();
    assert_eq!(front, expected);
    assert_eq!(front.rows.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_on_with_its_lease_under_the_next_coordinator() {
    let lab = Lab::new();
    let first = lab.start(Config::default()).await;
    first.submit("tiny").await;
    let held = first.worker("w").await.acquire().await;
    first.kill().await;

    let second = lab.start(Config::default()).await;
    assert_eq!(second.counts("tiny").await.leased, 1);
    let mut worker = second.worker("w").await;
    assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Continue));
    worker.complete(&held).await;
    assert_eq!(second.counts("tiny").await.done, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_again_takes_its_task_up_at_once_where_it_was() {
    let lab = Lab::new();
    let first = lab.start(Config::default()).await;
    first.submit("tiny").await;
    let mut worker = first.worker("w").await;
    let held = worker.acquire().await;
    let resume = checkpoint(&held, CheckpointRole::Resume, 7);
    worker.commit(&held, &resume).await.unwrap();
    first.kill().await;

    let second = lab.start(Config::default()).await;
    let again = second.worker("w").await.acquire().await;
    assert_eq!(again.claim.task, held.claim.task);
    assert_eq!(again.claim.generation, Generation(2));
    assert_eq!(again.assignment.resume, Some(resume.into()));
    assert_eq!(again.assignment.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_pauses_and_cancellations_are_remembered() {
    let lab = Lab::new();
    let first = lab.start(Config::default()).await;
    first.submit("tiny").await;
    let mut worker = first.worker("w").await;
    let held = worker.acquire().await;
    let class = v1::FailureClass::TrainerCrashed;
    assert_eq!(worker.fail(&held, class, None).await, Ok(true));
    let mut people = first.people().await;
    let sweep = || "tiny".to_owned();
    let pause = v1::PauseRequest { sweep: sweep() };
    people.pause(pause).await.unwrap();
    first.kill().await;

    let second = lab.start(Config::default()).await;
    let shown = second.show("tiny").await;
    assert_eq!(shown.summary.unwrap().state(), v1::SweepState::Paused);
    assert_eq!(shown.failures.len(), 1);
    assert_eq!(shown.failures[0].stderr_tail, "at line 7");
    assert!(!shown.failures[0].gave_up);
    let mut people = second.people().await;
    let cancel = v1::CancelRequest { sweep: sweep() };
    people.cancel(cancel).await.unwrap();
    second.kill().await;

    let third = lab.start(Config::default()).await;
    let summary = third.show("tiny").await.summary.unwrap();
    assert_eq!(summary.state(), v1::SweepState::Cancelled);
    let resume = v1::ResumeRequest { sweep: sweep() };
    let refused = third.people().await.resume(resume).await.unwrap_err();
    assert!(matches!(Refusal::from(refused), Refusal::NotReady(_)));
    // A person who submits again gets it all back.
    assert_eq!(third.submit("tiny").await.done, 0);
    assert_eq!(third.worker("w").await.work().await, TASKS);
}
