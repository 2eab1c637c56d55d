//! From a manifest to its front.

use std::time::Duration;

use autorep_coordinator::{Config, SweepStatus, read_curve, read_front, read_sweeps};
use autorep_core::candidate::PointKind;
use autorep_core::front::FrontReport;
use autorep_core::ledger::SweepState;
use autorep_proto::v1;
use tokio_stream::StreamExt as _;

use crate::lab::{Lab, TASKS, TOTAL};

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_nobody_has_watched_is_up_to_date_when_it_is_asked_for() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    assert_eq!(coordinator.worker("w").await.work().await, TASKS);
    let request = v1::WatchFrontRequest {
        sweep: "tiny".to_owned(),
        follow: false,
    };
    let mut people = coordinator.people().await;
    let mut once = people.watch_front(request).await.unwrap().into_inner();
    assert_eq!(once.next().await.unwrap().unwrap().rows.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_walks_a_sweep_to_its_front_and_the_store_tells_the_same_without_a_coordinator() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let submitted = coordinator.submit("tiny").await;
    assert_eq!((submitted.tasks, submitted.done), (TASKS, 0));
    let mut people = coordinator.people().await;
    let request = |follow| v1::WatchFrontRequest {
        sweep: "tiny".to_owned(),
        follow,
    };
    let mut watch = people
        .watch_front(request(true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().rows, []);

    let mut worker = coordinator.worker("w").await;
    assert_eq!(worker.work().await, TASKS);

    let front = loop {
        let front = watch.next().await.unwrap().unwrap();
        if front.rows.len() == 3 {
            break FrontReport::try_from(front).unwrap();
        }
    };
    let rows: Vec<(PointKind, u64, bool)> = (front.rows.iter())
        .map(|row| (row.kind, row.relu_count, row.on_front))
        .collect();
    assert_eq!(
        rows,
        [
            (PointKind::Baseline, TOTAL, false),
            (PointKind::Replaced, 1000, true),
            (PointKind::Replaced, 3000, true),
        ]
    );
    let mut once = people
        .watch_front(request(false))
        .await
        .unwrap()
        .into_inner();
    let again = FrontReport::try_from(once.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(again, front);
    assert!(once.next().await.is_none());

    let shown = coordinator.show("tiny").await;
    let summary = shown.summary.unwrap();
    assert_eq!(summary.state(), v1::SweepState::Done);
    assert_eq!(summary.counts.unwrap().done, TASKS);
    assert_eq!(shown.finished.len() as u64, TASKS);
    assert!((shown.trained_seconds - 2.0 * TASKS as f64).abs() < 1e-9);

    // Reading the store disturbs nobody: the coordinator still writes afterwards.
    let name = "tiny".parse().unwrap();
    assert_eq!(read_front(lab.store(), &name).await.unwrap(), front);
    let again = coordinator.submit("tiny").await;
    assert_eq!((again.tasks, again.done), (TASKS, TASKS));
    coordinator.stop().await.unwrap();

    assert_eq!(read_front(lab.store(), &name).await.unwrap(), front);
    let curve = read_curve(lab.store(), &name).await.unwrap();
    // The baseline is measured after its own epoch, each budget after two more; it is no point of the
    // front.
    let epochs: Vec<u64> = curve.points.iter().map(|point| point.epochs).collect();
    assert_eq!(epochs, [1, 3, 5]);
    let grown: Vec<f64> = curve.points.iter().map(|point| point.hypervolume).collect();
    assert!(grown.is_sorted() && grown[0].abs() < 1e-12, "{grown:?}");
    assert_eq!(grown.last(), Some(&front.hypervolume));
    let sweeps = read_sweeps(lab.store()).await.unwrap();
    assert!(matches!(
        sweeps.as_slice(),
        [SweepStatus {
            state: SweepState::Done,
            ..
        }]
    ));
    let unknown = read_front(lab.store(), &"other".parse().unwrap()).await;
    assert!(unknown.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_state_says_so() {
    let lab = Lab::new();
    let name = "tiny".parse().unwrap();
    let error = read_front(lab.store(), &name).await.unwrap_err();
    assert!(matches!(
        error,
        autorep_coordinator::OfflineError::Read(autorep_coordinator::state::ReadError::NoState)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_is_served_when_a_sweep_comes() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("first").await;
    let mut one = coordinator.worker("one").await;
    let mut two = coordinator.worker("two").await;
    let baseline = one.acquire().await;
    let nothing = two.try_acquire(Duration::from_millis(20)).await;
    assert!(nothing.assignment.is_none() && !nothing.idle);
    let waiting = tokio::spawn(async move { (two.acquire().await, two) });
    one.complete(&baseline).await;
    let (held, _two) = crate::lab::within("a task", waiting).await.unwrap();
    assert_eq!(held.assignment.inputs.len(), 1);
    assert_eq!(held.assignment.sweep, "first");
    assert_eq!(held.assignment.checkpoint_every_s, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sweeps_share_what_they_have_in_common() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("first").await;
    let mut worker = coordinator.worker("w").await;
    worker.work().await;
    let second = coordinator.submit("second").await;
    assert_eq!((second.tasks, second.done), (TASKS, TASKS));
    let name = "second".parse().unwrap();
    let front = read_front(lab.store(), &name).await.unwrap();
    assert_eq!(front.rows.len(), 3);
}
