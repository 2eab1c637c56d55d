//! Workers that cannot even begin.

use std::time::Duration;

use autorep_proto::STORE_ID_KEY;
use autorep_proto::status::Refusal;
use autorep_worker::RunError;
use autorep_worker::config::ConfigError;

use crate::coordinator::Call;
use crate::fixture::{Lab, ended};

#[tokio::test]
async fn a_worker_of_another_protocol_version_ends_and_says_why() {
    let lab = Lab::new("");
    lab.recorder.change(|it| it.protocol_version += 1);
    let refused = ended(lab.start()).await;
    assert!(
        matches!(
            refused,
            Err(RunError::Refused(Refusal::ProtocolVersion { .. }))
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_trainer_that_cannot_be_started_costs_the_worker_and_not_the_task() {
    let mut lab = Lab::new("");
    let path = lab.folder.path().join("no-program");
    std::fs::write(&path, "not executable").unwrap();
    lab.config.trainer = path;
    lab.offer_baseline();

    let refused = ended(lab.start()).await;

    assert!(matches!(refused, Err(RunError::Trainer(_))), "{refused:?}");
    assert_eq!(lab.recorder.effects(), [Call::Release]);
}

#[tokio::test]
async fn a_worker_without_a_trainer_does_not_even_register() {
    let mut lab = Lab::new("");
    lab.config.trainer = lab.folder.path().join("missing");
    let refused = ended(lab.start()).await;
    assert!(matches!(
        refused,
        Err(RunError::Config(ConfigError::Trainer { .. }))
    ));
    assert_eq!(lab.recorder.look(|it| it.calls.len()), 0);
}

#[tokio::test]
async fn a_worker_whose_name_is_in_use_here_does_not_start() {
    let lab = Lab::new("");
    let first = lab.start();
    lab.recorder
        .until("a request", |it| it.calls.contains(&Call::Acquire))
        .await;
    let second = ended(lab.start()).await;
    assert!(matches!(second, Err(RunError::Scratch(_))), "{second:?}");
    lab.shutdown.cancel();
    ended(first).await.unwrap();
}

/// How a worker ends whose coordinator calls the store `ours`, if `found` is what its own store
/// says; and whether it has asked for a task before.
async fn on_a_store_that_says(found: Option<&str>) -> (RunError, bool) {
    let mut lab = Lab::new("");
    lab.config.store_patience = Duration::from_millis(300);
    (lab.recorder).change(|it| "ours".clone_into(&mut it.terms.store_id));
    if let Some(found) = found {
        lab.put(STORE_ID_KEY, found.as_bytes()).await;
    }
    let refused = ended(lab.start()).await.unwrap_err();
    (
        refused,
        lab.recorder.look(|it| it.calls.contains(&Call::Acquire)),
    )
}

#[tokio::test]
async fn a_worker_with_another_store_than_its_coordinators_takes_no_task_and_says_what_to_do() {
    for (found, said) in [
        (Some("theirs\n"), "\"theirs\""),
        (None, "without that object"),
    ] {
        let (refused, has_asked) = on_a_store_that_says(found).await;
        let RunError::Store(error) = refused else {
            panic!("{refused:?}");
        };
        let error = error.to_string();
        for said in [said, "\"ours\"", "--store"] {
            assert!(error.contains(said), "{said:?} is not in {error}");
        }
        assert!(!has_asked, "{found:?}");
    }
}

#[tokio::test]
async fn a_worker_waits_for_a_store_that_finds_nothing_for_a_while() {
    let lab = Lab::new("checkpoint net 1\ndone");
    (lab.recorder).change(|it| "ours".clone_into(&mut it.terms.store_id));
    lab.offer_baseline();
    lab.recorder.change(|it| it.idle = true);
    let worker = lab.start();
    lab.recorder
        .until("it registers", |it| it.calls.contains(&Call::Register))
        .await;
    lab.put(STORE_ID_KEY, b"ours\n").await;
    assert_eq!(ended(worker).await.unwrap().finished, 1);
}
