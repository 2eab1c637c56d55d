//! Two coordinators on one store: the second one wins, and the first one can do no harm.

use autorep_coordinator::state::WriteError;
use autorep_coordinator::{Config, RunError};
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use crate::lab::{Lab, TASKS, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_fences_the_first_which_ends_and_says_why() {
    let lab = Lab::new();
    let first = lab.start(Config::default()).await;
    first.submit("tiny").await;
    let mut old = first.worker("old").await;
    let held = old.acquire().await;

    let second = lab.start(Config::default()).await;
    // The first one may not know yet. It promises nothing, and refuses nothing either: what it
    // knows of this lease (that its output is missing) may be no longer so.
    let refused = within("a refusal", old.finish(&held)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unavailable(_)), "{refused:?}");
    let ended = first.ended().await.unwrap_err();
    assert!(
        matches!(ended, RunError::Write(WriteError::Fenced)),
        "{ended:?}"
    );

    assert_eq!(second.counts("tiny").await.done, 0);
    let mut again = second.worker("old").await;
    assert_eq!(again.renew(&held).await, Ok(v1::Directive::Continue));
    again.complete(&held).await;
    assert_eq!(again.work().await, TASKS - 1);
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_without_calls_notices_that_it_was_fenced() {
    let lab = Lab::new();
    let first = lab.start(Config::default()).await;
    let second = lab.start(Config::default()).await;
    let ended = first.ended().await.unwrap_err();
    assert!(
        matches!(ended, RunError::Write(WriteError::Fenced)),
        "{ended:?}"
    );
    second.stop().await.unwrap();
}
