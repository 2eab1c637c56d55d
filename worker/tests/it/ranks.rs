//! Groups of ranks: one trainer process each, all or nothing.

use std::time::{Duration, Instant};

use autorep_proto::v1::{self, FailureClass};

use crate::coordinator::Call;
use crate::fixture::Lab;

/// Where rank 0 listens in these scripts, as it says.
const PORT: &str = "4711";

/// A worker of two ranks whose trainers do what the script says.
fn lab(script: &str) -> Lab {
    let mut lab = Lab::new(&script.replace("PORT", PORT));
    lab.config.ranks = 2;
    lab
}

async fn failure(script: &str) -> v1::FailRequest {
    let lab = lab(script);
    lab.offer_baseline();
    let summary = lab.run().await;
    assert_eq!(summary.failed, 1, "{script}");
    match lab.recorder.effects().as_slice() {
        [.., Call::Fail(failure)] => failure.as_ref().clone(),
        effects => panic!("expected a failure at the end, found {effects:#?}"),
    }
}

#[tokio::test]
async fn ranks_meet_where_rank_0_listens_and_rank_0_alone_speaks_for_them() {
    let lab = lab("rank 0 expect place 0 2 0
         rank 0 meet PORT
         rank 1 expect place 1 2 PORT
         rank 1 progress 77
         rank 1 exit 0
         rank 0 checkpoint net 5
         rank 0 done");
    lab.offer_baseline();
    let summary = lab.run().await;
    assert_eq!(summary.finished, 1);
    let effects = lab.recorder.effects();
    assert!(
        matches!(effects.as_slice(), [Call::Commit(commit), Call::Finish(_)] if commit.step == 5),
        "{effects:#?}"
    );
    assert!(lab.left_in_scratch().is_empty());
}

#[tokio::test]
async fn a_sweep_that_asks_for_one_rank_gets_a_trainer_that_is_alone() {
    let lab = lab("expect alone\ncheckpoint net 5\ndone");
    lab.offer_baseline();
    lab.recorder.change(|it| {
        for offer in &mut it.offers {
            offer.ranks = 1;
        }
    });
    assert_eq!(lab.run().await.finished, 1);
}

#[tokio::test]
async fn a_rank_that_dies_ends_the_group_at_once_whatever_the_others_say_of_it() {
    let begun = Instant::now();
    let failure = failure(
        "rank 0 meet PORT
         rank 0 lost the group of ranks: connection closed
         rank 1 stderr out of luck
         rank 1 abort
         await nothing",
    )
    .await;
    assert_eq!(failure.class(), FailureClass::TrainerCrashed);
    let wanted = "rank 1 of 2 ended without a word, by signal 6";
    assert_eq!(failure.message, wanted);
    assert_eq!(failure.stderr_tail, "out of luck\n");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_rank_that_dies_takes_with_it_one_that_waits_for_it() {
    let failure = failure(
        "rank 0 meet PORT
         rank 0 await nothing
         rank 1 exit 7",
    )
    .await;
    assert_eq!(failure.class(), FailureClass::TrainerCrashed);
    let wanted = "rank 1 of 2 ended without a word, with exit code 7";
    assert_eq!(failure.message, wanted);
}

#[tokio::test]
async fn the_failure_of_the_rank_that_failed_first_counts() {
    let failure = failure(
        "rank 0 meet PORT
         rank 0 lost the group of ranks: connection closed
         rank 0 await nothing
         rank 1 failed the loss is not a number
         exit 1",
    )
    .await;
    assert_eq!(failure.class(), FailureClass::Diverged);
    assert_eq!(failure.message, "rank 1 of 2: the loss is not a number");
}

#[tokio::test]
async fn a_lost_rank_without_a_cause_is_a_failure_of_its_own() {
    let failure = failure(
        "rank 0 meet PORT
         rank 0 lost the group of ranks: timed out
         rank 0 exit 0
         rank 1 await nothing",
    )
    .await;
    assert_eq!(failure.class(), FailureClass::TrainerError);
    let wanted = "rank 0 of 2: the group of ranks: timed out";
    assert_eq!(failure.message, wanted);
}

#[tokio::test]
async fn a_rank_that_hangs_after_the_first_has_ended_is_killed_and_the_result_stands() {
    let lab = lab("rank 0 meet PORT
         rank 0 checkpoint net 5
         rank 0 done
         rank 1 pid
         rank 1 await nothing");
    lab.offer_baseline();
    assert_eq!(lab.run().await.finished, 1);
    assert!(!lab.trainer_lives());
}
