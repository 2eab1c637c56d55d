//! What people can do, and what they are told.

use autorep_coordinator::Config;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio_stream::StreamExt as _;

use crate::lab::{Lab, Running, TASKS, manifest, until};

async fn submit_text(coordinator: &Running, text: &str) -> Result<v1::SubmitResponse, Refusal> {
    let manifest = text.to_owned();
    let mut people = coordinator.people().await;
    let request = v1::SubmitRequest {
        manifest,
        dry_run: false,
        rehearsal: None,
    };
    let answer = people.submit(request).await;
    Ok(answer.map_err(Refusal::from)?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn submitting_twice_is_submitting_once() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let first = coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let second = coordinator.submit("tiny").await;
    assert_eq!((first.tasks, first.done), (second.tasks, second.done));
    assert_eq!(coordinator.counts("tiny").await.leased, 1);
    worker.complete(&held).await;
    let mut people = coordinator.people().await;
    let list = people.list(v1::ListRequest {}).await.unwrap().into_inner();
    assert_eq!(list.sweeps.len(), 1);
    assert_eq!(list.sweeps[0].sweep, "tiny");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_sweep_stops_its_workers_and_pausing_does_not() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let mut people = coordinator.people().await;
    let sweep = || "tiny".to_owned();
    let pause = v1::PauseRequest { sweep: sweep() };
    people.pause(pause).await.unwrap();
    assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Continue));
    let cancel = v1::CancelRequest { sweep: sweep() };
    people.cancel(cancel.clone()).await.unwrap();
    people.cancel(cancel).await.unwrap();
    assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Stop));
    let claim = Some(held.claim.into());
    let released = worker
        .fleet
        .release(v1::ReleaseRequest {
            claim,
            ..v1::ReleaseRequest::default()
        })
        .await;
    assert!(released.is_ok());
    let nothing = worker.try_acquire(std::time::Duration::from_secs(20)).await;
    assert!(nothing.idle && nothing.assignment.is_none());
    assert_eq!(coordinator.counts("tiny").await.cancelled, TASKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_too_often_is_given_up_until_the_sweep_is_submitted_again() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let class = v1::FailureClass::OutOfMemory;
    let held = worker.acquire().await;
    assert_eq!(worker.fail(&held, class, None).await, Ok(true));
    let held = worker.acquire().await;
    assert_eq!(worker.fail(&held, class, None).await, Ok(false));
    let shown = coordinator.show("tiny").await;
    let summary = shown.summary.unwrap();
    assert_eq!(summary.state(), v1::SweepState::Partial);
    let counts = summary.counts.unwrap();
    assert_eq!((counts.gave_up, counts.blocked), (1, TASKS - 1));
    assert_eq!(shown.failures.len(), 2);
    assert!(shown.failures[1].gave_up && !shown.failures[0].gave_up);
    let nothing = worker.try_acquire(std::time::Duration::from_secs(20)).await;
    assert!(nothing.idle);
    coordinator.submit("tiny").await;
    assert_eq!(worker.work().await, TASKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_manifest_is_refused_with_all_its_problems_and_an_unknown_sweep_by_name() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let text = manifest("tiny").replace("budgets:", "budgetz:");
    let Err(Refusal::ManifestProblems(problems)) = submit_text(&coordinator, &text).await else {
        panic!("expected problems");
    };
    assert!(problems.contains("budgetz"), "{problems}");
    let long = format!("{}\n# {}", manifest("tiny"), "x".repeat(1 << 20));
    let refused = submit_text(&coordinator, &long).await.unwrap_err();
    assert!(matches!(refused, Refusal::BadRequest(_)), "{refused:?}");
    let mut people = coordinator.people().await;
    let sweep = "nope".to_owned();
    let status = people.show(v1::ShowRequest { sweep }).await.unwrap_err();
    assert_eq!(
        Refusal::from(status),
        Refusal::UnknownSweep("nope".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_told_and_nothing_is_started() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let mut people = coordinator.people().await;
    let manifest = manifest("tiny");
    let answer = people
        .plan(v1::PlanRequest {
            manifest,
            rehearsal: None,
        })
        .await
        .unwrap();
    let plan: serde_json::Value = serde_json::from_str(&answer.into_inner().plan_json).unwrap();
    assert_eq!(plan["tasks"], TASKS);
    assert_eq!(plan["sweep"], "tiny");
    let list = people.list(v1::ListRequest {}).await.unwrap().into_inner();
    assert_eq!(list.sweeps, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_is_a_sweep_of_its_own_that_a_restart_knows_and_one_of_no_steps_is_refused() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let mut people = coordinator.people().await;
    let request = |steps| v1::SubmitRequest {
        manifest: manifest("tiny"),
        dry_run: false,
        rehearsal: Some(v1::Rehearsal {
            steps,
            batch: 0,
            first_seed: 7,
        }),
    };
    let refused = Refusal::from(people.submit(request(0)).await.unwrap_err());
    assert!(matches!(refused, Refusal::BadRequest(_)), "{refused:?}");
    let answer = people.submit(request(2)).await.unwrap().into_inner();
    assert_eq!(
        (answer.sweep.as_str(), answer.tasks),
        ("tiny-rehearsal", TASKS)
    );
    assert_eq!(coordinator.submit("tiny").await.done, 0);
    coordinator.stop().await.unwrap();
    let coordinator = lab.start(Config::default()).await;
    assert_eq!(coordinator.counts("tiny-rehearsal").await.ready, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_asked_for_ends_watches_and_waits_too() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut people = coordinator.people().await;
    let watch = v1::WatchFrontRequest {
        sweep: "tiny".to_owned(),
        follow: true,
    };
    let mut fronts = people.watch_front(watch).await.unwrap().into_inner();
    fronts.next().await.unwrap().unwrap();
    let mut one = coordinator.worker("one").await;
    let _held = one.acquire().await;
    let mut two = coordinator.worker("two").await;
    let waiting = tokio::spawn(async move {
        let request = v1::AcquireRequest {
            worker: "two".to_owned(),
            wait_ms: 60_000,
            ..v1::AcquireRequest::default()
        };
        two.fleet.acquire(request).await.map_err(Refusal::from)
    });
    until("the second worker to wait", || async {
        (!waiting.is_finished()).then_some(())
    })
    .await;
    let start = std::time::Instant::now();
    coordinator.stop().await.unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(4));
    assert!(fronts.next().await.is_none());
    let refused = waiting.await.unwrap().unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
}
