//! Who may do what: tokens over real sockets, each refusal with its status.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use autorep_coordinator::Config;
use autorep_core::plan::Plan;
use autorep_proto::v1;
use autorep_proto::v1::fleet_client::FleetClient;
use autorep_proto::v1::lab_client::LabClient;
use autorep_transport::{Credentials, TokenSource};
use tempfile::TempDir;
use tonic::Code;

use crate::guarded::{
    ADMIN, ALICE, BOB, BOBS_VIEWER, Guarded, Log, VIEWER, WORKER, code, show, submit, tokens,
    with_token,
};
use crate::lab::{manifest, until, within};

/// Has a worker take a task.
async fn lease(guarded: &Guarded) -> String {
    let (channel, bearer) = guarded.connect("http", &with_token(WORKER)).await.unwrap();
    let mut fleet = FleetClient::with_interceptor(channel, bearer);
    let request = v1::RegisterRequest {
        worker: "w".to_owned(),
        protocol_version: autorep_proto::PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        ..v1::RegisterRequest::default()
    };
    fleet.register(request).await.unwrap();
    let request = v1::AcquireRequest {
        worker: "w".to_owned(),
        wait_ms: 10_000,
        ..v1::AcquireRequest::default()
    };
    let given = fleet.acquire(request).await.unwrap().into_inner();
    given.assignment.unwrap().claim.unwrap().task
}

fn pin(task: &str, pinned: bool) -> v1::PinRequest {
    v1::PinRequest {
        task: task.to_owned(),
        pinned,
    }
}

#[tokio::test]
async fn each_role_reaches_what_it_may_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let mut found = vec![];
    for token in [ALICE, VIEWER, WORKER, ADMIN, "token-of-nobody-0"] {
        let credentials = with_token(token);
        let mut people = guarded.people(&credentials).await;
        let listed = code(people.list(v1::ListRequest {}).await);
        let submitted = code(submit(&guarded, token, manifest("any")).await);
        let collected = code(
            people
                .collect_garbage(v1::CollectGarbageRequest::default())
                .await,
        );
        let (channel, bearer) = guarded.connect("http", &credentials).await.unwrap();
        let mut fleet = FleetClient::with_interceptor(channel, bearer);
        let request = v1::RegisterRequest {
            worker: "w".to_owned(),
            protocol_version: autorep_proto::PROTOCOL_VERSION,
            device: "cpu".to_owned(),
            ..v1::RegisterRequest::default()
        };
        let registered = code(fleet.register(request).await);
        found.push([listed, submitted, collected, registered]);
    }
    let (yes, no) = (Code::Ok, Code::PermissionDenied);
    let expected = [
        [yes, yes, no, no],
        [yes, no, no, no],
        [no, no, no, yes],
        [yes, yes, yes, no],
        [Code::Unauthenticated; 4],
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn without_a_token_only_health_is_told() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let (channel, _) = guarded
        .connect("http", &Credentials::default())
        .await
        .unwrap();
    let mut people = LabClient::new(channel.clone());
    let refused = people.list(v1::ListRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("AUTOREP_TOKEN_FILE"),
        "{refused}"
    );
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest::default();
    health.check(request).await.unwrap();
}

#[tokio::test]
async fn a_revoked_token_is_refused_without_a_restart_and_a_new_one_let_in() {
    let folder = TempDir::new().unwrap();
    let path = tokens(&folder, &[BOB]);
    let guarded = Guarded::start(None, Some(&path)).await;
    let people = guarded.people(&with_token(ALICE)).await;
    people.clone().list(v1::ListRequest {}).await.unwrap();
    assert_eq!(
        code(show(&guarded, BOB, "any").await),
        Code::Unauthenticated
    );

    tokens(&folder, &[ALICE]);
    until("the token to be revoked", || async {
        let mut people = people.clone();
        let answer = people.list(v1::ListRequest {}).await;
        (code(answer) == Code::Unauthenticated).then_some(())
    })
    .await;
    assert_eq!(code(show(&guarded, BOB, "any").await), Code::NotFound);
}

#[tokio::test]
async fn what_is_watched_ends_when_the_token_is_revoked() {
    let folder = TempDir::new().unwrap();
    let path = tokens(&folder, &[]);
    let guarded = Guarded::start(None, Some(&path)).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let watch = || v1::WatchFrontRequest {
        sweep: "hers".to_owned(),
        follow: true,
    };
    let mut streams = vec![];
    for token in [ALICE, VIEWER] {
        let mut people = guarded.people(&with_token(token)).await;
        let mut fronts = people.watch_front(watch()).await.unwrap().into_inner();
        fronts.message().await.unwrap().unwrap();
        streams.push(fronts);
    }
    let mut logs = guarded.people(&with_token(ALICE)).await;
    let task = lease(&guarded).await;
    let request = v1::LogsRequest {
        task,
        follow: true,
        ..v1::LogsRequest::default()
    };
    let mut logs = logs.logs(request).await.unwrap().into_inner();

    tokens(&folder, &[ALICE]);
    let ended = within("the end", streams[0].message()).await;
    assert_eq!(code(ended), Code::Unauthenticated);
    let ended = within("the end", logs.message()).await;
    assert_eq!(code(ended), Code::Unauthenticated);
    // The viewer is still one.
    let next = tokio::time::timeout(Duration::ZERO, streams[1].message()).await;
    next.unwrap_err();
}

#[tokio::test]
async fn who_changes_something_and_who_is_refused_is_in_the_log() {
    let (log, _kept) = Log::keep();
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let task = lease(&guarded).await;
    let sweep = || "hers".to_owned();
    let mut alice = guarded.people(&with_token(ALICE)).await;
    let pause = v1::PauseRequest { sweep: sweep() };
    alice.pause(pause).await.unwrap();
    let resume = v1::ResumeRequest { sweep: sweep() };
    alice.resume(resume).await.unwrap();
    let checkpoint = v1::CheckpointRequest { sweep: sweep() };
    alice.checkpoint(checkpoint).await.unwrap();
    alice.pin(pin(&task, true)).await.unwrap();
    let mut admin = guarded.people(&with_token(ADMIN)).await;
    let collect = v1::CollectGarbageRequest::default();
    admin.collect_garbage(collect).await.unwrap();
    let cancel = v1::CancelRequest { sweep: sweep() };
    admin.cancel(cancel).await.unwrap();

    for (caller, method, about) in [
        (ALICE, "Submit", "hers"),
        (ALICE, "Pause", "hers"),
        (ALICE, "Resume", "hers"),
        (ALICE, "Checkpoint", "hers"),
        (ALICE, "Pin", task.as_str()),
        (ADMIN, "CollectGarbage", "checkpoints"),
        (ADMIN, "Cancel", "hers"),
    ] {
        let caller = format!("caller={caller:?}");
        let method = format!("method={method:?}");
        let told = log.lines(&["INFO", "peer=127.0.0.1", &caller, &method, about]);
        assert_eq!(told.len(), 1, "{caller} {method}");
    }

    let nobodys = v1::PauseRequest {
        sweep: "nobodys".to_owned(),
    };
    alice.pause(nobodys).await.unwrap_err();
    let says = ["method=\"Pause\" about=nobodys", "the change was refused"];
    assert_eq!(log.lines(&says).len(), 1);

    for _ in 0..20 {
        let refused = submit(&guarded, VIEWER, manifest("another")).await;
        assert_eq!(code(refused), Code::PermissionDenied);
    }
    let says = ["WARN", "peer=127.0.0.1", "Lab/Submit", VIEWER];
    let told = log.lines(&says).len();
    assert!((1..10).contains(&told), "{told} lines");
}

#[tokio::test]
async fn a_callers_token_file_is_read_again() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let mine = folder.path().join("token");
    std::fs::write(&mine, "token-of-nobody-0\n").unwrap();
    let credentials = Credentials {
        token: Some(TokenSource::File(mine.clone())),
        ..Credentials::default()
    };
    let people = guarded.people(&credentials).await;
    let answer = people.clone().list(v1::ListRequest {}).await;
    assert_eq!(code(answer), Code::Unauthenticated);
    std::fs::write(&mine, format!("{ALICE}\n")).unwrap();
    until("the new token", || async {
        let mut people = people.clone();
        people.list(v1::ListRequest {}).await.ok()
    })
    .await;
}

#[tokio::test]
async fn nobody_has_all_tasks_of_others_looked_through_for_one_digit() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let seeds: Vec<String> = (0..2400).map(|seed| seed.to_string()).collect();
    let seeds = format!("seeds: [{}]", seeds.join(", "));
    let large = manifest("hers").replace("seeds: [0]", &seeds);
    submit(&guarded, ALICE, large).await.unwrap();
    let mut bob = guarded.people(&with_token(BOB)).await;
    let few = code(bob.pin(pin("0", true)).await);
    let enough = code(bob.pin(pin("00000000", true)).await);
    assert_eq!((few, enough), (Code::InvalidArgument, Code::NotFound));
}

#[tokio::test]
async fn sweeps_of_others_are_as_if_they_were_not_there() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let shown = show(&guarded, ALICE, "hers").await.unwrap();
    assert_eq!(shown.summary.unwrap().owner, "alice");
    show(&guarded, VIEWER, "hers").await.unwrap();
    show(&guarded, ADMIN, "hers").await.unwrap();
    let task = lease(&guarded).await;

    let sweep = || "hers".to_owned();
    for token in [BOB, BOBS_VIEWER] {
        let mut people = guarded.people(&with_token(token)).await;
        let listed = people.list(v1::ListRequest {}).await.unwrap().into_inner();
        assert_eq!(listed.sweeps, []);
        assert_eq!(code(show(&guarded, token, "hers").await), Code::NotFound);
        for follow in [true, false] {
            let sweep = sweep();
            let watch = v1::WatchFrontRequest { sweep, follow };
            assert_eq!(code(people.watch_front(watch).await), Code::NotFound);
            let task = task.clone();
            let logs = v1::LogsRequest {
                task,
                follow,
                ..v1::LogsRequest::default()
            };
            assert_eq!(code(people.logs(logs).await), Code::NotFound);
        }
    }
    // To her the task is there: it has no log yet.
    let mut alice = guarded.people(&with_token(ALICE)).await;
    let logs = v1::LogsRequest {
        task: task.clone(),
        ..v1::LogsRequest::default()
    };
    assert_eq!(code(alice.logs(logs).await), Code::FailedPrecondition);
    let mut viewer = guarded.people(&with_token(BOBS_VIEWER)).await;
    let pinned = code(viewer.pin(pin(&task, true)).await);
    let cancelled = code(viewer.cancel(v1::CancelRequest { sweep: sweep() }).await);
    assert_eq!(
        (pinned, cancelled),
        (Code::PermissionDenied, Code::PermissionDenied)
    );

    let mut bob = guarded.people(&with_token(BOB)).await;
    let cancelled = bob.cancel(v1::CancelRequest { sweep: sweep() }).await;
    assert_eq!(code(cancelled), Code::NotFound);
    let paused = bob.pause(v1::PauseRequest { sweep: sweep() }).await;
    assert_eq!(code(paused), Code::NotFound);
    let asked = bob
        .checkpoint(v1::CheckpointRequest { sweep: sweep() })
        .await;
    assert_eq!(code(asked), Code::NotFound);
    let taken = submit(&guarded, BOB, manifest("hers")).await;
    assert_eq!(code(taken), Code::PermissionDenied);
    let hers = manifest("another").replace("name: another", "name: another, owner: alice");
    assert_eq!(
        code(submit(&guarded, BOB, hers).await),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_task_is_reached_by_the_owners_of_all_sweeps_that_want_it() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let task = lease(&guarded).await;
    let mut alice = guarded.people(&with_token(ALICE)).await;
    alice.pin(pin(&task, true)).await.unwrap();
    let mut bob = guarded.people(&with_token(BOB)).await;
    assert_eq!(code(bob.pin(pin(&task, true)).await), Code::NotFound);
    let workers = bob.list_workers(v1::ListWorkersRequest {}).await.unwrap();
    let workers = workers.into_inner().workers;
    assert_eq!((workers.len(), workers[0].task.as_str()), (1, ""));

    // Equal tasks are done once, whoever wants them.
    submit(&guarded, BOB, manifest("his")).await.unwrap();
    bob.pin(pin(&task, true)).await.unwrap();
    let workers = bob.list_workers(v1::ListWorkersRequest {}).await.unwrap();
    assert_eq!(workers.into_inner().workers[0].task, task);
}

#[tokio::test]
async fn a_pin_is_taken_back_by_whoever_alone_wants_the_task_or_an_admin() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let task = lease(&guarded).await;
    let mut alice = guarded.people(&with_token(ALICE)).await;
    alice.pin(pin(&task, true)).await.unwrap();
    alice.pin(pin(&task, false)).await.unwrap();

    alice.pin(pin(&task, true)).await.unwrap();
    submit(&guarded, BOB, manifest("his")).await.unwrap();
    for token in [ALICE, BOB] {
        let mut people = guarded.people(&with_token(token)).await;
        let refused = people.pin(pin(&task, false)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("an admin can"), "{refused}");
    }
    let mut admin = guarded.people(&with_token(ADMIN)).await;
    admin.pin(pin(&task, false)).await.unwrap();
}

/// The ids of a manifest's tasks.
fn tasks_of(text: &str) -> Vec<String> {
    let manifest = autorep_core::manifest::parse(text).unwrap();
    let plan = Plan::expand(&manifest);
    plan.tasks.iter().map(|task| task.id.to_string()).collect()
}

#[tokio::test]
async fn a_beginning_of_an_id_is_anothers_as_little_as_the_whole() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let hers = manifest("hers").replace("seeds: [0]", "seeds: [0, 1, 2, 3]");
    let his = manifest("his").replace("seeds: [0]", "seeds: [4]");
    let (of_hers, of_his) = (tasks_of(&hers), tasks_of(&his));
    submit(&guarded, ALICE, hers).await.unwrap();
    submit(&guarded, BOB, his).await.unwrap();
    let begin = |tasks: &[String], with: &str| {
        let tasks = tasks.iter();
        tasks.filter(|task| task.starts_with(with)).count()
    };
    let mut bob = guarded.people(&with_token(BOB)).await;
    let mut found = [0; 3];
    for digit in "0123456789abcdef".chars() {
        let prefix = digit.to_string();
        let answer = code(bob.pin(pin(&prefix, true)).await);
        let (his, hers) = (begin(&of_his, &prefix), begin(&of_hers, &prefix));
        let expected = match his {
            0 => Code::NotFound,
            1 => Code::Ok,
            2.. => Code::InvalidArgument,
        };
        assert_eq!(answer, expected, "{prefix}");
        if hers > 0 {
            found[his.min(2)] += 1;
        }
    }
    assert!(found.iter().all(|&count| count > 0), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_was_taken_over_refuses_no_owner_anything_for_good() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let mut bob = guarded.people(&with_token(BOB)).await;
    bob.list(v1::ListRequest {}).await.unwrap();
    let second = guarded.lab.start(Config::default()).await;
    second
        .submit_text(manifest("his").replace("name: his", "name: his, owner: bob"))
        .await;
    let sweep = "his".to_owned();
    let answer = bob.show(v1::ShowRequest { sweep }).await;
    assert_eq!(code(answer), Code::Unavailable);
    second.stop().await.unwrap();
}
