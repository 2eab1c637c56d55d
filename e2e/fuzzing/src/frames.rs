//! The stream between a worker and its trainer, read from either end.

use std::fmt::Debug;

use autorep_core::observation::Observation;
use autorep_core::task::TaskSpec;
use autorep_proto::convert::{checkpoint_role, failure_class};
use autorep_proto::frame::{MAX_MESSAGE_BYTES, decode, encode, read_message};
use autorep_proto::v1::trainer_command::Command;
use autorep_proto::v1::trainer_event::Event;
use autorep_proto::v1::{self, TrainerCommand, TrainerEvent};
use prost::Message;

pub(crate) fn body(input: &[u8]) {
    let mut stream = input;
    while let Ok(Some(message)) = read_message::<TrainerEvent>(&mut stream) {
        comes_back(&message);
        event(message.event);
    }
    let mut stream = input;
    while let Ok(Some(message)) = read_message::<TrainerCommand>(&mut stream) {
        comes_back(&message);
        if let Some(Command::Start(start)) = message.command {
            spec(&start.spec);
        }
    }
}

/// What a worker makes of an event.
fn event(event: Option<Event>) {
    match event {
        Some(Event::CheckpointReady(ready)) => {
            drop(checkpoint_role("role", ready.role, &ready.output));
        }
        Some(Event::Done(observation)) => {
            if let Ok(good) = Observation::try_from(observation) {
                let back = Observation::try_from(v1::Observation::from(good.clone()));
                assert_eq!(back, Ok(good));
            }
        }
        Some(Event::Failed(failed)) => {
            if let Ok(class) = failure_class("class", failed.class) {
                assert_eq!(i32::from(v1::FailureClass::from(class)), failed.class);
            }
        }
        Some(Event::Progress(_) | Event::Stopped(_) | Event::Meeting(_)) | None => {}
    }
}

/// What a trainer makes of its task, and a worker of an assignment.
fn spec(text: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<TaskSpec>(text) else {
        return;
    };
    let canonical = spec.canonical_json();
    let back: TaskSpec = serde_json::from_str(&canonical).expect("a canonical spec is read");
    assert_eq!(
        back.id(),
        spec.id(),
        "a spec that is read again is the same"
    );
    let _names = (spec.inputs(), spec.outputs(), spec.kind());
}

/// A message that was read is written and read again as the same. (Compared as bytes: not every
/// number equals itself.)
fn comes_back<M: Message + Default + Debug>(message: &M) {
    if message.encoded_len() <= MAX_MESSAGE_BYTES {
        let frame = encode(message).expect("a message that was read can be written");
        let body = &frame[autorep_proto::frame::HEADER_BYTES..];
        let back: M = decode(body).expect("a message that was written can be read");
        assert_eq!(back.encode_to_vec(), body, "{message:?}");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let accuracy = v1::Accuracy {
        correct: 9,
        images: 10,
    };
    let observation = v1::Observation {
        relu_count: 1000,
        relu_total: 24_000,
        validation: Some(accuracy),
        epochs: 1,
        seconds: 2.5,
        ..v1::Observation::default()
    };
    let progress = v1::Progress {
        epoch: 1,
        epochs: 2,
        loss: Some(0.5),
        ..v1::Progress::default()
    };
    let ready = v1::CheckpointReady {
        role: v1::CheckpointRole::Output.into(),
        output: "net".to_owned(),
        step: 10,
        folder: "out-net".to_owned(),
    };
    let failed = v1::TrainerFailed {
        class: v1::FailureClass::Diverged.into(),
        message: "the loss became NaN".to_owned(),
        lost_ranks: false,
    };
    let events = [
        Event::Progress(progress),
        Event::CheckpointReady(ready),
        Event::Done(observation),
        Event::Stopped(v1::Stopped::default()),
        Event::Failed(failed),
        Event::Meeting(v1::Meeting { port: 29_400 }),
    ];
    let events = events.map(|event| TrainerEvent { event: Some(event) });
    let starts = crate::fleet::plan().tasks.iter().map(|task| {
        let start = v1::StartTask {
            spec: task.spec.canonical_json().into_bytes(),
            input_folders: vec!["in-0".to_owned()],
            device: "cpu".to_owned(),
            ..v1::StartTask::default()
        };
        TrainerCommand {
            command: Some(Command::Start(start)),
        }
    });
    let frame = |frame: Result<Vec<u8>, _>| frame.expect("a small message");
    let mut seeds = vec![
        events
            .iter()
            .flat_map(|event| frame(encode(event)))
            .collect(),
    ];
    seeds.extend(starts.map(|start| frame(encode(&start))));
    seeds
}
