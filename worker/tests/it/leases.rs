//! Leases that end early, workers that stop, coordinators that are away.

use std::time::Duration;

use autorep_proto::v1;

use crate::coordinator::{Call, Renewals, Server};
use crate::fixture::{Lab, ended};

fn in_training(call: &Call) -> bool {
    matches!(call, Call::Renew(Some(_)))
}

/// Waits for something that nobody announces.
async fn eventually(what: &str, fits: impl Fn() -> bool) {
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !fits() {
            ticks.tick().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(in_time.is_ok(), "{what}: not in time");
}

/// Runs a task whose trainer goes on until it is ended, answers its renewals like this, and
/// checks that the trainer is gone and that nothing was said after that.
async fn check_dropped(renewals: Renewals) -> autorep_worker::Summary {
    let lab = Lab::new(
        "pid
         progress 1
         await nothing",
    );
    lab.offer_baseline();
    let worker = lab.start();
    lab.recorder
        .until("training", |it| it.calls.iter().any(in_training))
        .await;
    assert!(lab.trainer_lives());

    lab.recorder.change(|it| {
        it.renewals = renewals;
        it.idle = true;
    });
    let summary = ended(worker).await.unwrap();

    assert!(!lab.trainer_lives());
    assert_eq!(lab.recorder.effects(), []);
    assert_eq!(lab.left_in_scratch(), Vec::<std::path::PathBuf>::new());
    summary
}

#[tokio::test]
async fn a_stale_lease_ends_the_trainer_and_nothing_more_is_said() {
    let summary = check_dropped(Renewals::Stale).await;
    assert_eq!(summary.lost, 1);
}

#[tokio::test]
async fn a_cancelled_task_ends_the_trainer_and_nothing_more_is_said() {
    let summary = check_dropped(Renewals::Directive(v1::Directive::Stop)).await;
    assert_eq!(summary.cancelled, 1);
}

#[tokio::test]
async fn on_shutdown_a_checkpoint_is_committed_and_then_the_lease_is_given_back() {
    let lab = Lab::new(
        "progress 1
         await stop
         checkpoint resume 7
         stopped",
    );
    lab.offer_baseline();
    let worker = lab.start();
    lab.recorder
        .until("training", |it| it.calls.iter().any(in_training))
        .await;

    lab.shutdown.cancel();
    let summary = ended(worker).await.unwrap();

    assert_eq!(summary.released, 1);
    let effects = lab.recorder.effects();
    assert!(
        matches!(effects.as_slice(), [Call::Commit(it), Call::Release] if it.step == 7),
        "{effects:#?}"
    );
    let broken = lab.recorder.look(|it| it.broken_promises.clone());
    assert_eq!(broken, Vec::<String>::new());
}

#[tokio::test]
async fn a_trainer_that_does_not_stop_is_ended_and_the_lease_is_given_back() {
    let mut lab = Lab::new(
        "pid
         progress 1
         await nothing",
    );
    lab.config.grace = Duration::from_millis(50);
    lab.offer_baseline();
    let worker = lab.start();
    lab.recorder
        .until("training", |it| it.calls.iter().any(in_training))
        .await;

    lab.shutdown.cancel();
    let summary = ended(worker).await.unwrap();

    assert_eq!(summary.released, 1);
    assert_eq!(lab.recorder.effects(), [Call::Release]);
    assert!(!lab.trainer_lives());
}

#[tokio::test]
async fn a_worker_without_a_task_stops_at_once() {
    let lab = Lab::new("");
    let worker = lab.start();
    lab.recorder
        .until("a request", |it| it.calls.contains(&Call::Acquire))
        .await;
    lab.shutdown.cancel();
    ended(worker).await.unwrap();
    assert_eq!(lab.recorder.effects(), []);
}

#[tokio::test]
async fn training_goes_on_while_the_coordinator_is_away() {
    let mut lab = Lab::new(
        "progress 1
         await checkpoint
         checkpoint net 2
         done",
    );
    lab.offer_baseline();
    let worker = lab.start();
    lab.recorder
        .until("training", |it| it.calls.iter().any(in_training))
        .await;

    let address = lab.server.take().unwrap().address;
    // Whoever connects now finds nobody: the worker has noticed.
    let deaf = bind(address).await;
    deaf.accept().await.unwrap();
    drop(deaf);
    lab.recorder.change(|it| {
        it.renewals = Renewals::Directive(v1::Directive::Checkpoint);
        it.idle = true;
    });
    lab.server = Some(Server::start(&lab.recorder, address));

    let summary = ended(worker).await.unwrap();
    assert_eq!((summary.finished, summary.lost), (1, 0));
    let registrations = |it: &&Call| **it == Call::Register;
    let registered = lab
        .recorder
        .look(|it| it.calls.iter().filter(registrations).count());
    assert_eq!(registered, 2, "known to the new coordinator, too");
}

/// The port as soon as its last owner has let go of it.
async fn bind(address: std::net::SocketAddr) -> tokio::net::TcpListener {
    let bound = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_in_use) => ticks.tick().await,
            };
        }
    };
    tokio::time::timeout(Duration::from_secs(30), bound)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_worker_that_cannot_renew_for_a_lifetime_ends_its_trainer_by_its_own_clock() {
    let mut lab = Lab::new(
        "pid
         progress 1
         await nothing",
    );
    lab.recorder.change(|it| {
        it.terms.lease_ttl_ms = 300;
        it.terms.renew_every_ms = 30;
    });
    lab.offer_baseline();
    let worker = lab.start();
    lab.recorder
        .until("training", |it| it.calls.iter().any(in_training))
        .await;

    let address = lab.server.as_ref().unwrap().address;
    drop(lab.server.take());
    eventually("the trainer is gone", || !lab.trainer_lives()).await;

    // The coordinator may have stood still: its lease is given back before another is asked for.
    lab.recorder.change(|it| {
        it.idle = true;
        it.calls.clear();
    });
    lab.server = Some(Server::start(&lab.recorder, address));
    let summary = ended(worker).await.unwrap();
    assert_eq!(summary.lost, 1);
    let calls = lab.recorder.look(|it| it.calls.clone());
    let place = |call: &Call| calls.iter().position(|it| it == call);
    assert!(place(&Call::Release).is_some(), "{calls:?}");
    assert!(place(&Call::Release) < place(&Call::Acquire), "{calls:?}");
}
