//! What a trainer prints is in the store while it runs: when somebody follows it, and when there is
//! something to go on from.

use autorep_proto::v1::Directive;

use crate::coordinator::Renewals;
use crate::fixture::{Lab, ended};

#[tokio::test]
async fn a_log_that_is_followed_is_stored_as_it_grows() {
    let lab = Lab::new(
        "stderr one
         await checkpoint
         stderr two
         checkpoint net 1
         done",
    );
    let task = lab.offer_baseline();
    lab.recorder.change(|it| {
        it.idle = true;
        it.followers = 1;
    });
    let worker = lab.start();
    lab.until_log(task, "one\n").await;

    let checkpoint = Renewals::Directive(Directive::Checkpoint);
    lab.recorder.change(|it| it.renewals = checkpoint);
    assert_eq!(ended(worker).await.unwrap().finished, 1);
    assert_eq!(lab.log(task).await, "one\ntwo\n");
}

#[tokio::test]
async fn with_a_checkpoint_goes_the_log_until_then_though_nobody_follows_it() {
    let lab = Lab::new(
        "stderr one
         checkpoint resume 1
         await nothing",
    );
    let task = lab.offer_baseline();
    let worker = lab.start();
    lab.until_log(task, "one\n").await;

    // What an attempt leaves that is lost.
    lab.recorder.change(|it| {
        it.renewals = Renewals::Stale;
        it.idle = true;
    });
    assert_eq!(ended(worker).await.unwrap().lost, 1);
    assert_eq!(lab.log(task).await, "one\n");
}
