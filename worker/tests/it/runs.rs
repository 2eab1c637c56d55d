//! Attempts that go well.

use autorep_core::checkpoint::CheckpointRole;
use autorep_proto::v1;

use crate::coordinator::Call;
use crate::fixture::{Lab, evaluate, other_task};

/// The outputs and steps of the committed checkpoints, in order.
fn committed(lab: &Lab) -> Vec<(String, u64)> {
    let name = |call: Call| {
        let Call::Commit(it) = call else {
            return None;
        };
        let output = match it.role() {
            v1::CheckpointRole::Resume => "resume".to_owned(),
            v1::CheckpointRole::Output | v1::CheckpointRole::Unspecified => it.output,
        };
        Some((output, it.step))
    };
    lab.recorder
        .effects()
        .into_iter()
        .filter_map(name)
        .collect()
}

#[tokio::test]
async fn a_task_is_trained_its_checkpoints_are_committed_and_then_it_is_finished() {
    let lab = Lab::new(
        "stderr hello
         progress 1
         checkpoint resume 5
         big net 9 9000000
         done",
    );
    let task = lab.offer_baseline();

    let summary = lab.run().await;

    assert_eq!(summary.finished, 1, "{summary:?}");
    let resume = ("resume".to_owned(), 5);
    assert_eq!(committed(&lab), [resume, ("net".to_owned(), 9)]);
    assert!(matches!(
        lab.recorder.effects().last(),
        Some(Call::Finish(observation)) if observation.relu_count == 10
    ));
    // The coordinator looked: parts before their manifest, every digest right, one part so large
    // that it went in pieces.
    let broken = lab.recorder.look(|it| it.broken_promises.clone());
    assert_eq!(broken, Vec::<String>::new());
    assert_eq!(lab.log(task).await, "hello\n");
    assert_eq!(lab.left_in_scratch(), Vec::<std::path::PathBuf>::new());
    assert!(!summary.times.training.is_zero());
}

#[tokio::test]
async fn inputs_and_the_checkpoint_to_resume_from_reach_the_trainer() {
    let lab = Lab::new(
        "expect input 0 b1500
         expect resume 40
         done",
    );
    let output = CheckpointRole::Output("b1500".to_owned());
    let input = lab.stored(other_task(), output, 100).await;
    let spec = evaluate(other_task());
    let resume = lab.stored(spec.id(), CheckpointRole::Resume, 40).await;
    lab.offer(&spec, vec![input], Some(resume));

    let summary = lab.run().await;

    assert_eq!(summary.finished, 1, "{:?}", lab.recorder.effects());
}

#[tokio::test]
async fn progress_reaches_the_coordinator_and_its_wish_for_a_checkpoint_the_trainer() {
    let lab = Lab::new(
        "progress 41
         await checkpoint
         checkpoint resume 42
         checkpoint net 43
         done",
    );
    lab.offer_baseline();
    lab.recorder.change(|it| it.idle = true);
    let worker = lab.start();

    let told = |it: &Call| matches!(it, Call::Renew(Some(progress)) if progress.step == 41);
    lab.recorder
        .until("a renewal with progress", |it| it.calls.iter().any(told))
        .await;
    lab.recorder.change(|it| {
        it.renewals = crate::coordinator::Renewals::Directive(v1::Directive::Checkpoint);
    });

    let summary = crate::fixture::ended(worker).await.unwrap();
    assert_eq!(summary.finished, 1);
    assert_eq!(committed(&lab).first(), Some(&("resume".to_owned(), 42)));
}

#[tokio::test]
async fn one_worker_does_one_task_after_the_other() {
    let lab = Lab::new("checkpoint net 1\ndone");
    for _ in 0..3 {
        lab.offer_baseline();
    }
    // The same task three times under one generation: its checkpoint is there already, with the
    // same bytes, which is as good as storing it.
    let summary = lab.run().await;
    assert_eq!(summary.finished, 3, "{:?}", lab.recorder.effects());
}

#[tokio::test]
async fn the_next_task_comes_with_the_result() {
    let lab = Lab::new("checkpoint net 9\ndone");
    lab.offer_baseline();
    lab.offer(&evaluate(other_task()), vec![], None);
    lab.offer_baseline();

    let summary = lab.run().await;

    // The second is none that can be worked on: after a failure the worker asks again.
    assert_eq!((summary.finished, summary.failed), (2, 1), "{summary:?}");
    let asked = lab.recorder.look(|it| {
        let asks = |call: &&Call| matches!(call, Call::Acquire);
        it.calls.iter().filter(asks).count()
    });
    // At the start, after the failure, and until nothing is left.
    assert_eq!(asked, 3);
    assert_eq!(lab.left_in_scratch(), Vec::<std::path::PathBuf>::new());
}
