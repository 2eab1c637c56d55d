//! What a lease allows, and what is left of it when it has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use autorep_coordinator::Config;
use autorep_core::checkpoint::CheckpointRole;
use autorep_core::id::Generation;
use autorep_core::task::TaskKind;
use autorep_proto::PROTOCOL_VERSION;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::task::JoinHandle;

use crate::gate::Gate;
use crate::lab::{Held, Lab, Worker, checkpoint, short_leases, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_is_granted_again_and_its_claim_is_refused_as_stale() {
    let lab = Lab::new();
    let coordinator = lab.start(short_leases()).await;
    coordinator.submit("tiny").await;
    let mut lost = coordinator.worker("lost").await;
    let old = lost.acquire().await;
    let mut next = coordinator.worker("next").await;
    // Nothing else is ready: the task comes when the lease ends.
    let new = next.acquire().await;
    assert_eq!(new.claim.task, old.claim.task);
    assert_eq!(new.claim.generation, Generation(2));
    assert_eq!(new.assignment.attempt, 2);

    let stale = Refusal::Stale {
        held: Generation(1),
        current: Generation(2),
    };
    let output = checkpoint(&old, CheckpointRole::Output("net".to_owned()), 1);
    assert_eq!(lost.renew(&old).await, Err(stale.clone()));
    assert_eq!(lost.commit(&old, &output).await, Err(stale.clone()));
    assert_eq!(lost.finish(&old).await, Err(stale.clone()));
    let class = v1::FailureClass::Diverged;
    assert_eq!(lost.fail(&old, class, None).await, Err(stale));

    next.complete(&new).await;
    let failures = coordinator.show("tiny").await.failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].class(), v1::FailureClass::WorkerLost);
    assert_eq!(failures[0].worker, "lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_lease_outlives_its_time_to_live_many_times() {
    let lab = Lab::new();
    let coordinator = lab.start(short_leases()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..24 {
        ticks.tick().await;
        assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Continue));
    }
    let running = coordinator.show("tiny").await.running;
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].kind, "baseline");
    assert_eq!(running[0].label, "seed 0");
    let progress = running[0].progress.unwrap();
    assert_eq!((progress.epoch, progress.loss), (1, None));
    worker.complete(&held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_must_be_committed_before_a_task_ends() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let refused = worker.finish(&held).await.unwrap_err();
    assert!(matches!(refused, Refusal::NotReady(_)), "{refused:?}");
    let output = checkpoint(&held, CheckpointRole::Output("net".to_owned()), 1);
    let adopted = worker.commit(&held, &output).await;
    assert_eq!(adopted, Ok(v1::Adoption::Adopted));
    let repeated = worker.commit(&held, &output).await;
    assert_eq!(repeated, Ok(v1::Adoption::Repeated));
    let resume = |step| checkpoint(&held, CheckpointRole::Resume, step);
    worker.commit(&held, &resume(9)).await.unwrap();
    let older = worker.commit(&held, &resume(3)).await;
    assert_eq!(older, Ok(v1::Adoption::Older));
    worker.finish(&held).await.unwrap();
    // A lost answer makes a worker say it again.
    worker.finish(&held).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_brings_the_next_task_once() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let first = worker.acquire().await;
    // A result that is refused brings nothing, and the lease stays.
    let refused = worker.finish_and_take_next(&first).await.unwrap_err();
    assert!(matches!(refused, Refusal::NotReady(_)), "{refused:?}");
    assert_eq!(worker.renew(&first).await, Ok(v1::Directive::Continue));
    worker.commit_outputs(&first).await;
    let next = worker.finish_and_take_next(&first).await.unwrap();
    let next = next.expect("what the first task made ready");
    assert_ne!(next.claim.task, first.claim.task);
    assert_eq!(worker.renew(&next).await, Ok(v1::Directive::Continue));
    // Said again because the answer was lost: no lease is granted, and none ends.
    let again = worker.finish_and_take_next(&first).await.unwrap();
    assert!(again.is_none());
    assert_eq!(worker.renew(&next).await, Ok(v1::Directive::Continue));
    worker.complete(&next).await;
    assert_eq!(coordinator.counts("tiny").await.done, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_input_is_made_again() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let baseline = worker.acquire().await;
    worker.complete(&baseline).await;
    let reader = worker.acquire().await;
    let bad = reader.assignment.inputs[0].clone();
    let class = v1::FailureClass::BadCheckpoint;
    let will_retry = worker.fail(&reader, class, Some(bad)).await;
    assert_eq!(will_retry, Ok(true));
    assert_eq!(coordinator.counts("tiny").await.done, 0);
    let again = worker.acquire().await;
    assert_eq!(again.spec.kind(), TaskKind::Baseline);
    assert_eq!(again.claim.generation, Generation(2));
    worker.complete(&again).await;
    assert_eq!(worker.work().await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_up_while_it_waits_leaves_no_lease_behind() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut one = coordinator.worker("one").await;
    let held = one.acquire().await;
    let mut two = coordinator.worker("two").await;
    let short = two.try_acquire(Duration::from_secs(20));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), short)
            .await
            .is_err()
    );
    one.complete(&held).await;
    // Every task that is ready goes to the one that is still there.
    let mut three = coordinator.worker("three").await;
    let counts = coordinator.counts("tiny").await;
    assert_eq!((counts.leased, counts.ready), (0, 3));
    three.acquire().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_up_while_its_lease_is_written_leaves_no_lease_behind() {
    let lab = Lab::new();
    let gate = Gate::new(lab.store());
    let coordinator = Lab::start_on(Arc::new(gate.clone()), Config::default()).await;
    coordinator.submit("tiny").await;
    let mut one = coordinator.worker("one").await;
    gate.close();
    let asking = tokio::spawn(async move { one.acquire().await });
    until("the lease to be written", || async {
        (gate.held() > 0).then_some(())
    })
    .await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    // The server learns of the end through the connection that is closed now; another call on
    // another connection gives it the time for that.
    let mut people = coordinator.people().await;
    let manifest = crate::lab::manifest("other");
    people
        .plan(v1::PlanRequest {
            manifest,
            rehearsal: None,
        })
        .await
        .unwrap();
    gate.open();
    let held = coordinator.worker("two").await.acquire().await;
    assert_eq!(held.claim.generation, Generation(2));
    assert_eq!(held.assignment.attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_before_the_answer_is_durable() {
    let lab = Lab::new();
    let gate = Gate::new(lab.store());
    let coordinator = Lab::start_on(Arc::new(gate.clone()), Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let output = checkpoint(&held, CheckpointRole::Output("net".to_owned()), 1);
    worker.commit(&held, &output).await.unwrap();
    gate.close();
    let finishing = tokio::spawn(async move { worker.finish(&held).await });
    until("the result to be written", || async {
        (gate.held() > 0).then_some(())
    })
    .await;
    assert!(!finishing.is_finished());
    // What was not acknowledged may be lost: that is the promise's other side.
    coordinator.kill().await;
    assert!(within("an end", finishing).await.unwrap().is_err());
    let next = lab.start(Config::default()).await;
    let counts = next.counts("tiny").await;
    assert_eq!((counts.done, counts.leased), (0, 1));
}

/// Commits an output while the gate is closed, and returns when it is being written.
async fn commit_behind(
    gate: &Gate,
    mut worker: Worker,
    held: &Held,
) -> JoinHandle<Result<v1::Adoption, Refusal>> {
    let held = held.clone();
    let output = checkpoint(&held, CheckpointRole::Output("net".to_owned()), 1);
    let committing = tokio::spawn(async move { worker.commit(&held, &output).await });
    until("the commit to be written", || async {
        (gate.held() > 0).then_some(())
    })
    .await;
    committing
}

/// Renews as a worker does, and is told to go on each time.
async fn renew_for(worker: &mut Worker, held: &Held, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        let renewed = within("a renewal", worker.renew(held)).await;
        assert_eq!(renewed, Ok(v1::Directive::Continue));
        tokio::time::sleep(short_leases().renew_every).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_a_store_that_takes_no_writes_for_longer_than_it_lives() {
    let lab = Lab::new();
    let gate = Gate::new(lab.store());
    let coordinator = Lab::start_on(Arc::new(gate.clone()), short_leases()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let same = coordinator.worker("w").await;
    gate.close();
    let committing = commit_behind(&gate, same, &held).await;
    renew_for(&mut worker, &held, 4 * short_leases().lease_ttl).await;
    assert!(!committing.is_finished(), "a commit is a promise");
    gate.open();
    let committed = within("the commit", committing).await.unwrap();
    assert_eq!(committed, Ok(v1::Adoption::Adopted));
    assert_eq!(worker.finish(&held).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_get_through_however_much_else_waits_for_a_slow_store() {
    let lab = Lab::new();
    let gate = Gate::new(lab.store());
    let config = Config {
        batch: 1,
        ..short_leases()
    };
    let coordinator = Lab::start_on(Arc::new(gate.clone()), config).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let mut people = coordinator.people().await;
    let same = coordinator.worker("w").await;
    gate.close();
    let committing = commit_behind(&gate, same, &held).await;
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut people = people.clone();
        others.spawn(async move { people.list(v1::ListRequest {}).await });
    }
    renew_for(&mut worker, &held, 3 * short_leases().lease_ttl).await;
    gate.open();
    let committed = within("the commit", committing).await.unwrap();
    assert_eq!(committed, Ok(v1::Adoption::Adopted));
    while let Some(answer) = others.join_next().await {
        assert!(answer.unwrap().is_ok(), "nobody was forgotten");
    }
    people.list(v1::ListRequest {}).await.unwrap();
    assert_eq!(worker.finish(&held).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cannot_report_itself_lost() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    coordinator.submit("tiny").await;
    let mut worker = coordinator.worker("w").await;
    let held = worker.acquire().await;
    let class = v1::FailureClass::WorkerLost;
    let refusal = worker.fail(&held, class, None).await.unwrap_err();
    assert!(matches!(refusal, Refusal::BadRequest(_)), "{refusal:?}");
    assert_eq!(worker.renew(&held).await, Ok(v1::Directive::Continue));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_follow_the_protocol_is_refused() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let mut worker = coordinator.worker("w").await;
    let mut refused = async |request: v1::RegisterRequest| {
        let answer = worker.fleet.register(request).await;
        Refusal::from(answer.unwrap_err())
    };
    let good = v1::RegisterRequest {
        worker: "w".to_owned(),
        protocol_version: PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        ..v1::RegisterRequest::default()
    };
    let other_version = v1::RegisterRequest {
        protocol_version: PROTOCOL_VERSION + 1,
        ..good.clone()
    };
    assert_eq!(
        refused(other_version).await,
        Refusal::ProtocolVersion {
            caller: PROTOCOL_VERSION + 1,
            callee: PROTOCOL_VERSION
        }
    );
    let bad_name = v1::RegisterRequest {
        worker: "two\nlines".to_owned(),
        ..good
    };
    let refusal = refused(bad_name).await;
    assert!(matches!(refusal, Refusal::BadRequest(_)));

    let unregistered = v1::AcquireRequest {
        worker: "nobody".to_owned(),
        wait_ms: 0,
        ..v1::AcquireRequest::default()
    };
    let answer = within("an answer", worker.fleet.acquire(unregistered)).await;
    assert_eq!(
        Refusal::from(answer.unwrap_err()),
        Refusal::UnknownWorker("nobody".to_owned())
    );
    let no_claim = v1::ReleaseRequest::default();
    let answer = worker.fleet.release(no_claim).await;
    assert!(matches!(
        Refusal::from(answer.unwrap_err()),
        Refusal::BadRequest(_)
    ));
    let no_digest = v1::LeaseClaim {
        node: 0,
        task: "task".to_owned(),
        generation: 1,
    };
    let bad_claim = v1::ReleaseRequest {
        claim: Some(no_digest),
        ..v1::ReleaseRequest::default()
    };
    let answer = worker.fleet.release(bad_claim).await;
    assert!(matches!(
        Refusal::from(answer.unwrap_err()),
        Refusal::BadRequest(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_name_only_one_is_given_tasks() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    let worker = coordinator.worker("other").await;
    let register = |started_unix_ns: u64, machine: &str| v1::RegisterRequest {
        worker: "w".to_owned(),
        protocol_version: PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        machine: machine.to_owned(),
        started_unix_ns,
        ..v1::RegisterRequest::default()
    };
    let acquire = |started_unix_ns: u64| v1::AcquireRequest {
        worker: "w".to_owned(),
        wait_ms: 60_000,
        started_unix_ns,
    };
    let mut fleet = worker.fleet.clone();
    fleet.register(register(1, "m")).await.unwrap();
    coordinator.submit("one").await;
    let mut earlier = fleet.acquire(acquire(1)).await.unwrap().into_inner();
    let held = earlier.assignment.take().unwrap().claim;
    let kept = v1::RenewRequest {
        claim: held.clone(),
        ..v1::RenewRequest::default()
    };
    fleet.renew(kept.clone()).await.unwrap();

    // What a restart looks like: the later process takes the place of the one before, and its task.
    fleet.register(register(2, "m")).await.unwrap();
    let given = fleet.acquire(acquire(2)).await.unwrap().into_inner();
    assert_eq!(
        given.assignment.unwrap().claim.unwrap().task,
        held.unwrap().task
    );
    let refusal = Refusal::from(fleet.renew(kept).await.unwrap_err());
    assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal:?}");
    let refusal = Refusal::from(fleet.acquire(acquire(1)).await.unwrap_err());
    assert_eq!(refusal, Refusal::UnknownWorker("w".to_owned()));
    // The earlier one waits, and so does a stranger, for as long as the worker may be living.
    for (started, machine) in [(1, "m"), (3, "n")] {
        let answer = fleet.register(register(started, machine)).await;
        let refusal = Refusal::from(answer.unwrap_err());
        assert!(refusal.is_transient(), "{refusal:?}");
        assert!(refusal.to_string().contains("called w on m"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_task_is_told_when_another_process_takes_its_place() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    // Something is to come, so nobody is told that there is nothing.
    coordinator.submit("one").await;
    let mut busy = coordinator.worker("busy").await;
    busy.acquire().await;
    let register = |started_unix_ns: u64| v1::RegisterRequest {
        worker: "w".to_owned(),
        protocol_version: PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        started_unix_ns,
        ..v1::RegisterRequest::default()
    };
    let acquire = |started_unix_ns: u64, wait_ms: u64| {
        let mut fleet = busy.fleet.clone();
        let request = v1::AcquireRequest {
            worker: "w".to_owned(),
            wait_ms,
            started_unix_ns,
        };
        async move { fleet.acquire(request).await }
    };
    let is_silent = async || {
        let mut people = coordinator.people().await;
        let workers = people.list_workers(v1::ListWorkersRequest {}).await;
        let workers = workers.unwrap().into_inner().workers;
        workers
            .iter()
            .find(|it| it.worker == "w")
            .unwrap()
            .silent_ms
            > 1000
    };
    let mut fleet = busy.fleet.clone();
    fleet.register(register(1)).await.unwrap();
    until("silence", || async { is_silent().await.then_some(()) }).await;
    let waits = tokio::spawn(acquire(1, 600_000));
    // It is heard of again: its request has come.
    until("the wait", || async { (!is_silent().await).then_some(()) }).await;
    fleet.register(register(2)).await.unwrap();
    // The later one may still find that it cannot work.
    fleet.register(register(1)).await.unwrap();
    acquire(2, 0).await.unwrap();
    let answer = within("an answer", waits).await.unwrap();
    let refusal = Refusal::from(answer.unwrap_err());
    assert_eq!(refusal, Refusal::UnknownWorker("w".to_owned()));
}
