//! What keeps a fleet running: who gets what, machines that are left alone, checkpoints that are
//! kept or go, and limits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::time::Duration;

use autorep_coordinator::Config;
use autorep_core::checkpoint::{CheckpointRef, CheckpointRole, MANIFEST_OBJECT};
use autorep_core::task::TaskKind;
use autorep_proto::PROTOCOL_VERSION;
use autorep_proto::status::{PUSHBACK_KEY, Refusal};
use autorep_proto::v1;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use tonic::Code;

use crate::gate::Gate;
use crate::lab::{Held, Lab, Running, checkpoint, manifest};

/// Submits `manifest` with another text in place of a part of it.
async fn submit(coordinator: &Running, manifest: &str) -> v1::SubmitResponse {
    let mut people = coordinator.people().await;
    let request = v1::SubmitRequest {
        manifest: manifest.to_owned(),
        dry_run: false,
        rehearsal: None,
    };
    people.submit(request).await.unwrap().into_inner()
}

/// Registers again, on a machine and with what it has.
async fn register(coordinator: &Running, name: &str, edit: impl FnOnce(&mut v1::RegisterRequest)) {
    let mut worker = coordinator.worker(name).await;
    let mut request = v1::RegisterRequest {
        worker: name.to_owned(),
        protocol_version: PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        machine: name.to_owned(),
        ..v1::RegisterRequest::default()
    };
    edit(&mut request);
    worker.fleet.register(request).await.unwrap();
}

/// Puts the objects of a checkpoint into the store, as a worker does.
async fn put(store: &dyn ObjectStore, checkpoint: &CheckpointRef) {
    for name in ["tensors.safetensors", MANIFEST_OBJECT] {
        let key = Path::from(format!("{}/{name}", checkpoint.folder()));
        store
            .put(&key, PutPayload::from_static(b"made up"))
            .await
            .unwrap();
    }
}

async fn exists(store: &dyn ObjectStore, checkpoint: &CheckpointRef) -> bool {
    let key = Path::from(format!("{}/{MANIFEST_OBJECT}", checkpoint.folder()));
    store.head(&key).await.is_ok()
}

async fn collect(coordinator: &Running, dry_run: bool) -> Vec<v1::CollectGarbageResponse> {
    let mut people = coordinator.people().await;
    let request = v1::CollectGarbageRequest {
        dry_run,
        min_age_ms: Some(0),
    };
    let mut told = people.collect_garbage(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(dead) = told.message().await.unwrap() {
        all.push(dead);
    }
    all.sort_by(|one, other| one.folder.cmp(&other.folder));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_that_no_worker_meets_is_reported_at_once_and_met_by_the_one_that_does() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let text = manifest("tiny") + "  resources: { gpus: 1, gpu_type: h100 }\n";
    let nobody = submit(&coordinator, &text).await;
    assert!(nobody.notes[0].contains("no worker is there"), "{nobody:?}");
    let mut plain = coordinator.worker("plain").await;
    let answer = submit(&coordinator, &text).await;
    assert!(
        answer.notes[0].contains("gpus: 1; gpu_type: h100"),
        "{answer:?}"
    );
    assert_eq!(coordinator.show("tiny").await.notes, answer.notes);
    assert!(plain.try_acquire(Duration::ZERO).await.assignment.is_none());

    let mut able = coordinator.worker("able").await;
    register(&coordinator, "able", |it| {
        it.gpus = 1;
        it.gpu_type = "NVIDIA H100 80GB HBM3".to_owned();
    })
    .await;
    assert_eq!(submit(&coordinator, &text).await.notes, [""; 0]);
    able.acquire().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_on_which_attempts_keep_failing_gets_no_tasks_while_another_is_there() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let text = manifest("tiny").replace("seeds: [0]", "seeds: 9");
    submit(&coordinator, &text).await;
    let mut bad = coordinator.worker("bad").await;
    let mut good = coordinator.worker("good").await;
    register(&coordinator, "bad", |_| {}).await;
    register(&coordinator, "good", |_| {}).await;
    let held = good.acquire().await;
    for _ in 0..3 {
        let failing = bad.acquire().await;
        let class = v1::FailureClass::TrainerCrashed;
        bad.fail(&failing, class, None).await.unwrap();
    }
    assert!(bad.try_acquire(Duration::ZERO).await.assignment.is_none());
    good.complete(&held).await;
    good.acquire().await;
    let mut people = coordinator.people().await;
    let workers = people.list_workers(v1::ListWorkersRequest {}).await;
    let workers = workers.unwrap().into_inner().workers;
    let excluded = |name: &str| {
        let found = workers.iter().find(|worker| worker.worker == name);
        found.unwrap().excluded_ms
    };
    assert!(excluded("bad") > 200_000, "{workers:?}");
    assert_eq!(excluded("good"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_quarantine_shows_where_it_was_and_its_last_words() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    for will_retry in [true, false] {
        let held = worker.acquire().await;
        worker.renew(&held).await.unwrap();
        let class = v1::FailureClass::TrainerCrashed;
        assert_eq!(worker.fail(&held, class, None).await, Ok(will_retry));
    }
    let failures = coordinator.show("tiny").await.failures;
    let last = failures.last().unwrap();
    assert!(last.gave_up && last.quarantined, "{last:?}");
    assert_eq!(last.stderr_tail, "at line 7");
    assert!(last.last_progress.starts_with("epoch 1 of 2"), "{last:?}");
    assert!(!failures[0].quarantined, "the last one decided it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_on_demand_reaches_the_worker_with_its_next_renewal_once() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let mut people = coordinator.people().await;
    let sweep = "tiny".to_owned();
    let asked = people.checkpoint(v1::CheckpointRequest { sweep }).await;
    assert_eq!(asked.unwrap().into_inner().tasks, 1);
    assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Checkpoint));
    assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Continue));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_checkpoints_that_nothing_can_reach_are_deleted_and_a_dry_run_deletes_none() {
    let lab = Lab::new();
    let store = lab.store();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let resume = |step| checkpoint(&held, CheckpointRole::Resume, step);
    for step in 1..=3 {
        put(&*store, &resume(step)).await;
        worker.commit(&held, &resume(step)).await.unwrap();
    }
    let under_way = resume(4);
    put(&*store, &under_way).await;
    let dry = collect(&coordinator, true).await;
    assert_eq!(dry.len(), 1, "{dry:?}");
    assert_eq!(dry[0].folder, resume(1).folder());
    assert_eq!((dry[0].objects, dry[0].bytes), (2, 14));
    assert!(exists(&*store, &resume(1)).await);

    assert_eq!(collect(&coordinator, false).await, dry);
    assert!(!exists(&*store, &resume(1)).await);
    for live in [&resume(2), &resume(3), &under_way] {
        assert!(exists(&*store, live).await);
    }
    assert_eq!(collect(&coordinator, false).await, []);

    let output = checkpoint(&held, CheckpointRole::Output("net".to_owned()), 9);
    put(&*store, &output).await;
    worker.complete(&held).await;
    assert_eq!(collect(&coordinator, false).await.len(), 3);
    assert!(exists(&*store, &output).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_keeps_the_front_alone_gives_up_the_rest_but_not_what_is_pinned() {
    let lab = Lab::new();
    let store = lab.store();
    let coordinator = lab.start(Config::default()).await;
    let text = manifest("tiny").replace("every: 7s", "every: 7s, keep: front");
    submit(&coordinator, &text).await;
    let mut worker = coordinator.worker("w").await;
    let mut searches: Vec<Held> = Vec::new();
    for _ in 0..crate::lab::TASKS {
        let held = worker.acquire().await;
        for name in held.spec.outputs() {
            put(&*store, &checkpoint(&held, CheckpointRole::Output(name), 9)).await;
        }
        worker.complete(&held).await;
        if held.spec.kind() == TaskKind::Replace {
            searches.push(held);
        }
    }
    let [pinned, other] = searches.as_slice() else {
        panic!("expected two searches");
    };
    let mut people = coordinator.people().await;
    let task = pinned.claim.task.to_string();
    let request = v1::PinRequest {
        task: task[..12].to_owned(),
        pinned: true,
    };
    let answer = people.pin(request).await.unwrap().into_inner();
    assert_eq!(answer.task, task);

    let dry = collect(&coordinator, true).await;
    let gone = collect(&coordinator, false).await;
    assert_eq!(gone, dry);
    let folders: Vec<&str> = gone.iter().map(|dead| dead.folder.as_str()).collect();
    let of = |held: &Held| format!("tasks/{}/", held.claim.task);
    assert!(
        folders.iter().any(|it| it.starts_with(&of(other))),
        "{folders:?}"
    );
    assert!(!folders.iter().any(|it| it.starts_with(&of(pinned))));
    assert!(
        gone.iter()
            .all(|dead| dead.reason.contains("not on the front"))
    );

    // What is gone is known to be gone after a restart, too.
    coordinator.stop().await.unwrap();
    let coordinator = lab.start(Config::default()).await;
    assert_eq!(collect(&coordinator, false).await, []);
    let mut people = coordinator.people().await;
    let request = v1::PinRequest {
        task: other.claim.task.to_string(),
        pinned: true,
    };
    let refusal = Refusal::from(people.pin(request).await.unwrap_err());
    assert!(matches!(refusal, Refusal::NotReady(_)), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_coordinator_says_when_to_come_back_and_stays_up() {
    let lab = Lab::new();
    let gate = Gate::new(lab.store());
    let config = Config {
        max_calls: 1,
        ..Config::default()
    };
    let coordinator = Lab::start_on(Arc::new(gate.clone()), config).await;
    coordinator.submit("tiny").await;
    gate.close();
    let mut first = coordinator.people().await;
    let sweep = "tiny".to_owned();
    let pausing = tokio::spawn(async move { first.pause(v1::PauseRequest { sweep }).await });
    crate::lab::until("the pause to be written", || async {
        (gate.held() > 0).then_some(())
    })
    .await;
    let mut people = coordinator.people().await;
    let status = people.list(v1::ListRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.metadata().get(PUSHBACK_KEY).is_some());
    let wait = Refusal::from(&status).retry_after();
    assert_eq!(wait, Some(Duration::from_secs(1)));

    gate.open();
    pausing.await.unwrap().unwrap();
    people.list(v1::ListRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_connections_beyond_the_limits_are_refused_and_the_others_stay() {
    let lab = Lab::new();
    let config = Config {
        max_streams: 1,
        max_connections: 3,
        ..Config::default()
    };
    let coordinator = lab.start(config).await;
    coordinator.submit("tiny").await;
    let mut people = coordinator.people().await;
    let request = v1::WatchFrontRequest {
        sweep: "tiny".to_owned(),
        follow: true,
    };
    let mut first = people
        .watch_front(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(first.message().await.unwrap().is_some());
    let refused = people.watch_front(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);

    let mut held = Vec::new();
    let mut closed = 0;
    for _ in 0..4 {
        let mut other = coordinator.people().await;
        match other.list(v1::ListRequest {}).await {
            Ok(_) => held.push(other),
            Err(status) => {
                assert!(Refusal::from(&status).is_transient(), "{status:?}");
                closed += 1;
            }
        }
    }
    assert!(closed > 0 && !held.is_empty(), "{closed} were closed");
    people.list(v1::ListRequest {}).await.unwrap();
    drop((first, held));
    let free = async || {
        let mut other = coordinator.people().await;
        other.watch_front(request.clone()).await.ok()
    };
    drop(crate::lab::until("room again", free).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_have_their_caps() {
    let lab = Lab::new();
    let mut config = Config::default();
    config.quotas.others.cap = Some(1);
    let coordinator = lab.start(config).await;
    let text = manifest("tiny").replace("seeds: [0]", "seeds: 3");
    submit(&coordinator, &text).await;
    let mut first = coordinator.worker("first").await;
    let mut second = coordinator.worker("second").await;
    let held = first.acquire().await;
    let nothing = second.try_acquire(Duration::ZERO).await;
    assert!(nothing.assignment.is_none() && !nothing.idle);
    let notes = coordinator.show("tiny").await.notes;
    assert!(
        notes[0].contains("because nobody has 1 running"),
        "{notes:?}"
    );
    first.complete(&held).await;
    second.acquire().await;
}
