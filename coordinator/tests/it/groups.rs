//! Tasks for several workers, on the wire.

use std::time::Duration;

use autorep_coordinator::Config;
use autorep_core::checkpoint::CheckpointRole;
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use crate::lab::{Held, Lab, Running, Worker, checkpoint, manifest, within};

const HERE: &str = "10.0.0.7:29400";

/// A sweep whose tasks are for two workers with two ranks each.
async fn submit_group(coordinator: &Running) -> v1::SubmitResponse {
    let text = manifest("tiny") + "  resources: { gpus: 4, nodes: 2 }\n";
    coordinator.submit_text(text).await
}

/// Both ask, the second while the first waits; returns the leader with its lease, then the member.
async fn lease_both(mut one: Worker, mut two: Worker) -> [(Worker, Held); 2] {
    let asking = tokio::spawn(async move { (one.acquire().await, one) });
    let second = two.acquire().await;
    let asked = within("the first one's lease", asking).await;
    let (first, one) = asked.expect("no panic");
    let both = [(one, first), (two, second)];
    match both {
        [leader, member] if leader.1.part.is_leaders() => [leader, member],
        [member, leader] => [leader, member],
    }
}

/// A leader says where its group meets; what it is told of that.
async fn say_place(leader: &mut Worker, led: &Held) -> String {
    let say = |request: &mut v1::RenewRequest| HERE.clone_into(&mut request.rendezvous);
    leader
        .renew_with(led, say)
        .await
        .unwrap_or_default()
        .rendezvous
}

/// What a member is told of where its group meets.
async fn place(member: &mut Worker, joined: &Held) -> String {
    let answer = member.renew_with(joined, |_| {}).await;
    answer.unwrap_or_default().rendezvous
}

async fn two_workers(coordinator: &Running) -> [(Worker, Held); 2] {
    let one = coordinator.worker_with("one", 2).await;
    let two = coordinator.worker_with("two", 2).await;
    lease_both(one, two).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_get_one_task_together_and_the_member_learns_where_they_meet() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    submit_group(&coordinator).await;
    let [(mut leader, led), (mut member, joined)] = two_workers(&coordinator).await;
    assert_eq!(led.claim, joined.claim);
    assert_eq!((led.part.node, joined.part.node), (0, 1));
    let shape = |held: &Held| (held.assignment.nodes, held.assignment.ranks);
    assert_eq!((shape(&led), shape(&joined)), ((2, 2), (2, 2)));

    // Nobody knows the place before the leader says it, and only members are told.
    assert_eq!(place(&mut member, &joined).await, "");
    assert_eq!(say_place(&mut leader, &led).await, "");
    assert_eq!(place(&mut member, &joined).await, HERE);

    let mut people = coordinator.people().await;
    let workers = people.list_workers(v1::ListWorkersRequest {}).await;
    let workers = workers.unwrap().into_inner().workers;
    let places: Vec<(u32, u32)> = workers.iter().map(|it| (it.node, it.nodes)).collect();
    assert!(
        places.contains(&(0, 2)) && places.contains(&(1, 2)),
        "{places:?}"
    );
    let shown = coordinator.show("tiny").await.running;
    assert_eq!((shown.len(), shown[0].members.len()), (1, 1));

    leader.complete(&led).await;
    assert_eq!(member.renew(&joined).await, Ok(v1::Directive::Stop));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_neither_commits_nor_finishes() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    submit_group(&coordinator).await;
    let [_, (mut member, joined)] = two_workers(&coordinator).await;
    let resume = checkpoint(&joined, CheckpointRole::Resume, 1);
    let committed = member.commit(&joined, &resume).await.unwrap_err();
    let finished = member.finish(&joined).await.unwrap_err();
    for refusal in [committed, finished] {
        assert!(
            matches!(&refusal, Refusal::BadRequest(text) if text.contains("leader")),
            "{refusal:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_failure_ends_the_attempt_for_its_leader() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    submit_group(&coordinator).await;
    let [(mut leader, led), (mut member, joined)] = two_workers(&coordinator).await;
    let class = v1::FailureClass::OutOfMemory;
    assert!(member.fail(&joined, class, None).await.unwrap());
    let refusal = leader.renew(&led).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal:?}");
    let failures = coordinator.show("tiny").await.failures;
    assert_eq!((failures.len(), failures[0].class()), (1, class));
    assert_eq!(failures[0].worker, member.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_kept_for_a_group_only_while_enough_are_there_and_only_for_a_time() {
    let lab = Lab::new();
    let gather = Duration::from_millis(300);
    let coordinator = lab
        .start(Config {
            gather,
            ..Config::default()
        })
        .await;
    let small = manifest("small").replace("seeds: [0]", "seeds: [5]");
    let urgent = manifest("tiny") + "  priority: 1\n  resources: { gpus: 2, nodes: 2 }\n";
    coordinator.submit_text(urgent).await;
    let mut one = coordinator.worker_with("one", 1).await;
    coordinator.submit_text(small).await;
    // Nobody else could join: it is not kept.
    let held = one.acquire().await;
    assert_eq!(held.assignment.sweep, "small");
    // Now somebody could, and does not come.
    let _two = coordinator.worker_with("two", 1).await;
    one.complete(&held).await;
    assert!(one.try_acquire(gather / 4).await.assignment.is_none());
    let held = one.acquire().await;
    assert_eq!(held.assignment.sweep, "small", "it is let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_members_and_learns_again_where_they_meet() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    submit_group(&coordinator).await;
    let [(mut leader, led), (member, joined)] = two_workers(&coordinator).await;
    say_place(&mut leader, &led).await;
    coordinator.kill().await;
    let coordinator = lab.start(Config::default()).await;
    let mut leader = coordinator.worker_with(&leader.name, 2).await;
    let mut member = coordinator.worker_with(&member.name, 2).await;
    assert_eq!(place(&mut member, &joined).await, "");
    say_place(&mut leader, &led).await;
    assert_eq!(place(&mut member, &joined).await, HERE);
    leader.complete(&led).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_to_stop_has_its_leader_give_the_lease_back() {
    let lab = Lab::new();
    let coordinator = lab.start(Config::default()).await;
    submit_group(&coordinator).await;
    let [(mut leader, led), (mut member, joined)] = two_workers(&coordinator).await;
    assert_eq!(leader.renew(&led).await, Ok(v1::Directive::Continue));
    let leaving = member.renew_with(&joined, |it| it.leaving = true).await;
    assert_eq!(leaving.unwrap().directive(), v1::Directive::Continue);
    // An answer that gets lost is given again.
    for _ in 0..2 {
        assert_eq!(leader.renew(&led).await, Ok(v1::Directive::Release));
    }
    let resume = checkpoint(&led, CheckpointRole::Resume, 3);
    leader.commit(&led, &resume).await.unwrap();
    let release = v1::ReleaseRequest {
        claim: Some(led.part.into()),
        ..v1::ReleaseRequest::default()
    };
    leader.fleet.release(release).await.unwrap();
    assert_eq!(member.renew(&joined).await, Ok(v1::Directive::Stop));
    // The next group goes on from there, and nobody is to part.
    let [(mut leader, led), _] = lease_both(leader, member).await;
    assert_eq!(led.assignment.resume.clone().map(|it| it.step), Some(3));
    assert_eq!(leader.renew(&led).await, Ok(v1::Directive::Continue));
}
