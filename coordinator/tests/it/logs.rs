//! The logs of trainers, as people read and follow them.

use autorep_coordinator::Config;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Streaming};

use crate::lab::{Held, Lab, Running, Worker, within};

/// The key of the log of a lease.
fn key(task: &str, generation: u64) -> Path {
    Path::from(format!("tasks/{task}/g{generation}/trainer.log"))
}

/// What comes next of a log that is followed.
async fn next(log: &mut Streaming<v1::LogChunk>) -> (u64, String) {
    let chunk = within("more of the log", log.next()).await;
    let chunk = chunk.expect("more").expect("no refusal");
    let text = String::from_utf8(chunk.text).expect("what was stored");
    (chunk.generation, text)
}

/// Whether the worker is told that somebody follows its log.
async fn is_followed(worker: &mut Worker, held: &Held) -> bool {
    let answer = worker.renew_with(held, |_| {}).await;
    answer.expect("the lease").store_log
}

/// A coordinator with a sweep, and a worker that holds its first task.
async fn leased(lab: &Lab) -> (Running, Worker, Held) {
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    (coordinator, worker, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_latest_attempt_is_told_and_followed_to_the_tasks_end() {
    let lab = Lab::new();
    let (coordinator, mut worker, held) = leased(&lab).await;
    let mut people = coordinator.people().await;
    let task = held.claim.task.to_string();
    let beginning: String = task.chars().take(10).collect();
    let request = |follow| {
        Request::new(v1::LogsRequest {
            task: beginning.clone(),
            follow,
            ..v1::LogsRequest::default()
        })
    };
    let none = people.logs(request(false)).await.unwrap_err();
    assert_eq!(none.code(), Code::FailedPrecondition);

    let first = PutPayload::from_static(b"first\n");
    lab.store().put(&key(&task, 1), first).await.unwrap();
    let class = v1::FailureClass::TrainerCrashed;
    worker.fail(&held, class, None).await.unwrap();
    let mut follow = people.logs(request(true)).await.unwrap().into_inner();
    assert_eq!(follow.next().await.unwrap().unwrap().text, b"first\n");

    let again = worker.acquire().await;
    assert_eq!(again.claim.task, held.claim.task);
    let long = "second ".repeat(100_000).into_bytes();
    lab.store()
        .put(&key(&task, 2), long.clone().into())
        .await
        .unwrap();
    worker.complete(&again).await;
    let mut text = Vec::new();
    while let Some(chunk) = follow.next().await {
        text.extend(chunk.unwrap().text);
    }
    assert_eq!(text, long);
    let mut once = people.logs(request(false)).await.unwrap().into_inner();
    assert!(
        once.next()
            .await
            .unwrap()
            .unwrap()
            .text
            .starts_with(b"second ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_running_attempt_is_followed_and_its_worker_is_told() {
    let lab = Lab::new();
    let (coordinator, mut worker, held) = leased(&lab).await;
    let mut people = coordinator.people().await;
    let task = held.claim.task.to_string();
    assert!(!is_followed(&mut worker, &held).await);

    let request = v1::LogsRequest {
        task: task.clone(),
        follow: true,
        ..v1::LogsRequest::default()
    };
    let mut log = people.logs(request.clone()).await.unwrap().into_inner();
    let mut other = people.logs(request.clone()).await.unwrap().into_inner();
    let followed = async |worker: &mut Worker, so: bool| {
        within("that a follower came or went", async {
            while is_followed(worker, &held).await != so {}
        })
        .await;
    };
    followed(&mut worker, true).await;
    let store = lab.store();
    let put = async |text: &'static str| {
        let log = PutPayload::from_static(text.as_bytes());
        store.put(&key(&task, 1), log).await.unwrap();
    };
    put("one\n").await;
    assert_eq!(next(&mut log).await, (1, "one\n".to_owned()));
    assert_eq!(next(&mut other).await, (1, "one\n".to_owned()));
    put("one\ntwo\n").await;
    assert_eq!(next(&mut log).await, (1, "two\n".to_owned()));

    // Whoever comes back gets what it has not.
    drop(log);
    let rest = v1::LogsRequest {
        generation: 1,
        offset: 5,
        ..request
    };
    let mut log = people.logs(rest).await.unwrap().into_inner();
    assert_eq!(next(&mut log).await, (1, "wo\n".to_owned()));
    drop((log, other));
    followed(&mut worker, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_stops_does_not_end_a_log_as_if_the_task_were_done() {
    let lab = Lab::new();
    let (coordinator, _worker, held) = leased(&lab).await;
    let mut people = coordinator.people().await;
    let request = v1::LogsRequest {
        task: held.claim.task.to_string(),
        follow: true,
        ..v1::LogsRequest::default()
    };
    let mut log = people.logs(request).await.unwrap().into_inner();
    let stopping = tokio::spawn(coordinator.stop());
    let ended = within("the end of the log", log.next()).await;
    let refusal = Refusal::from(ended.expect("a reason").unwrap_err());
    assert!(refusal.is_transient(), "{refusal:?}");
    stopping.await.unwrap().unwrap();
}
