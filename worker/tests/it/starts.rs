//! Workers that cannot even begin.

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
