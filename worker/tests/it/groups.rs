//! Tasks that are leased to several workers: this one leads, or is a member.

use autorep_proto::v1::{self, Directive, FailureClass};

use crate::coordinator::{Call, Renewals, State};
use crate::fixture::{Lab, ended};

const THERE: &str = "127.0.0.1:4711";

/// A worker that gets node `node` of a task for two, with one rank on each.
fn lab(node: u32, script: &str) -> Lab {
    let lab = Lab::new(script);
    lab.offer_baseline();
    lab.recorder.change(|it| {
        it.idle = true;
        for offer in &mut it.offers {
            (offer.nodes, offer.ranks) = (2, 1);
            offer.claim.as_mut().unwrap().node = node;
        }
    });
    lab
}

fn stop(lab: &Lab) {
    let stop = Renewals::Directive(Directive::Stop);
    lab.recorder.change(|it| it.renewals = stop);
}

#[tokio::test]
async fn a_leader_says_with_every_renewal_where_its_rank_0_listens() {
    let lab = lab(
        0,
        "expect place 0 2 0
         meet 4711
         await checkpoint
         checkpoint net 5
         done",
    );
    let worker = lab.start();
    let said = |it: &State| it.renewed.rendezvous == THERE;
    lab.recorder.until("the place", said).await;
    lab.recorder.change(|it| it.renewed.rendezvous.clear());
    lab.recorder.until("the place again", said).await;
    let checkpoint = Renewals::Directive(Directive::Checkpoint);
    lab.recorder.change(|it| it.renewals = checkpoint);
    assert_eq!(ended(worker).await.unwrap().finished, 1);
}

#[tokio::test]
async fn a_member_waits_to_be_told_where_to_go_and_leaves_the_end_to_its_leader() {
    let lab = lab(1, "expect place 1 2 4711\nprogress 3\npid\nexit 0");
    let worker = lab.start();
    let renewed = |it: &State| it.renewed.claim.is_some();
    lab.recorder.until("a renewal", renewed).await;
    assert!(!lab.folder.path().join("data/fashion-mnist/pid").exists());
    lab.recorder.change(|it| it.rendezvous = THERE.to_owned());
    // Its ranks end, and it goes on keeping its part.
    lab.until_trainer(false).await;
    lab.recorder
        .change(|it| it.renewed = v1::RenewRequest::default());
    lab.recorder.until("another renewal", renewed).await;
    let said = lab.recorder.look(|it| it.renewed.clone());
    let claim = said.claim.unwrap();
    assert_eq!(
        (claim.node, said.progress, said.rendezvous.as_str()),
        (1, None, "")
    );
    stop(&lab);
    let summary = ended(worker).await.unwrap();
    assert_eq!((summary.attended, summary.failed), (1, 0));
    assert_eq!(lab.recorder.effects(), []);
}

#[tokio::test]
async fn a_members_failure_is_reported_under_its_place() {
    let lab = lab(1, "failed the loss is not a number");
    lab.recorder.change(|it| it.rendezvous = THERE.to_owned());
    assert_eq!(lab.run().await.failed, 1);
    let effects = lab.recorder.effects();
    let [Call::Fail(failure)] = effects.as_slice() else {
        panic!("expected a failure, found {effects:#?}");
    };
    assert_eq!(failure.class(), FailureClass::Diverged);
    assert_eq!(failure.claim.as_ref().map(|claim| claim.node), Some(1));
}

#[tokio::test]
async fn a_worker_whose_ranks_have_only_lost_others_leaves_it_to_those_to_say_why() {
    let lab = lab(1, "pid\nlost the group of ranks: connection closed\nexit 1");
    lab.recorder.change(|it| it.rendezvous = THERE.to_owned());
    let worker = lab.start();
    lab.until_trainer(false).await;
    lab.recorder.change(|it| it.renewals = Renewals::Stale);
    assert_eq!(ended(worker).await.unwrap().lost, 1);
    assert_eq!(lab.recorder.effects(), []);
}

#[tokio::test]
async fn a_group_that_has_failed_without_a_cause_fails_when_no_worker_has_said_one() {
    let lab = lab(1, "lost the group of ranks: timed out\nexit 1");
    lab.recorder.change(|it| {
        it.rendezvous = THERE.to_owned();
        it.terms.lease_ttl_ms = 300;
    });
    assert_eq!(lab.run().await.failed, 1);
    let effects = lab.recorder.effects();
    assert!(
        matches!(effects.as_slice(), [Call::Fail(it)] if it.message.contains("timed out")),
        "{effects:#?}"
    );
}

#[tokio::test]
async fn a_member_that_is_to_stop_asks_its_leader_for_a_checkpoint_and_waits_for_the_end() {
    let lab = lab(1, "pid\nawait nothing");
    lab.recorder.change(|it| it.rendezvous = THERE.to_owned());
    let worker = lab.start();
    lab.until_trainer(true).await;
    lab.shutdown.cancel();
    let leaving = |it: &State| it.renewed.leaving;
    lab.recorder.until("the wish", leaving).await;
    assert!(lab.trainer_lives());
    stop(&lab);
    assert_eq!(ended(worker).await.unwrap().attended, 1);
    assert_eq!(lab.recorder.effects(), []);
    assert!(!lab.trainer_lives());
}

#[tokio::test]
async fn a_leader_whose_member_is_to_stop_commits_a_checkpoint_gives_the_lease_back_and_goes_on() {
    let lab = lab(
        0,
        "meet 4711
         await stop
         checkpoint resume 7
         stopped",
    );
    let worker = lab.start();
    let in_training = |it: &State| it.renewed.rendezvous == THERE;
    lab.recorder.until("training", in_training).await;
    let release = Renewals::Directive(Directive::Release);
    lab.recorder.change(|it| it.renewals = release);
    let summary = ended(worker).await.unwrap();
    assert_eq!(summary.released, 1);
    let effects = lab.recorder.effects();
    assert!(
        matches!(effects.as_slice(), [Call::Commit(it), Call::Release] if it.step == 7),
        "{effects:#?}"
    );
}
