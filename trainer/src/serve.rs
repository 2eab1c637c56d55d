//! Works on one task for a worker, which holds the other end of a socket.

use std::any::Any;
use std::io::{Stdout, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use autorep_core::failure::FailureClass;
use autorep_failpoint::{Point, reached};
use autorep_proto::frame::{FrameError, read_message, write_message};
use autorep_proto::v1;
use autorep_proto::v1::trainer_command::Command as Wire;
use autorep_proto::v1::trainer_event::Event;

use crate::error::is_out_of_memory;
use crate::host::{Command, Host, HostGone, Outcome};
use crate::journal::Journal;
use crate::ranks::is_lost;
use crate::task;

/// Commands that may wait; a worker that sends more waits until they are taken.
const WAITING: usize = 16;

/// How long the process may take to notice that its worker is gone before it is ended by force.
const GRACE: Duration = Duration::from_secs(10);

/// The conversation with the worker failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream broke or carried something else than messages.
    #[error("the worker's stream: {0}")]
    Stream(#[from] FrameError),
    /// The first message was not a task.
    #[error("expected a task as the worker's first message, found {0}")]
    NoTask(&'static str),
    /// The operating system refused a thread or a second handle of the stream.
    #[error("cannot listen to the worker: {0}")]
    Listen(#[from] std::io::Error),
    /// The worker closed the stream while there was work to do.
    #[error(transparent)]
    Gone(#[from] HostGone),
}

/// Takes a task from `stream`, works on it and reports how it ended; an error means that it could not
/// be reported. A rank other than 0 reports its own failure and no other end. A panic inside libtorch
/// goes on as one, unless it says that memory ran out.
pub fn serve(stream: UnixStream) -> Result<(), ServeError> {
    let mut reader = stream.try_clone()?;
    let start = read_start(&mut reader)?;
    let (sender, commands) = sync_channel(WAITING);
    thread::Builder::new()
        .name("commands".to_owned())
        .spawn(move || listen(reader, sender))?;
    let follows = (start.group.as_ref()).is_some_and(|group| group.rank > 0);
    let mut journal = Journal::new(std::io::stdout());
    // The worker says in a variable which trace this is.
    journal.begin(&start, &std::env::var("TRACEPARENT").unwrap_or_default());
    let mut host = WorkerHost {
        stream,
        commands,
        journal,
    };
    let worked = catch_unwind(AssertUnwindSafe(|| task::work(&start, &mut host)));
    let ending = match worked {
        Ok(Ok(_)) if follows => return Ok(()),
        Ok(Err(error)) if follows && error.is_shared() => return Ok(()),
        Ok(Ok(Outcome::Done(observation))) => Event::Done(observation.into()),
        Ok(Ok(Outcome::Stopped(interim))) => Event::Stopped(v1::Stopped {
            curve: Some(interim.curve.into()),
            seconds: interim.seconds,
        }),
        Ok(Err(error)) => Event::Failed(v1::TrainerFailed {
            lost_ranks: error.is_of_ranks(),
            ..failed(error.class(), error.to_string())
        }),
        Err(panic) => match panic_text(panic.as_ref()) {
            Some(text) if is_out_of_memory(text) => {
                Event::Failed(failed(FailureClass::OutOfMemory, text.to_owned()))
            }
            Some(text) if is_lost(text) => Event::Failed(v1::TrainerFailed {
                lost_ranks: true,
                ..failed(FailureClass::TrainerError, text.to_owned())
            }),
            _ => resume_unwind(panic),
        },
    };
    reached(Point::TrainerBeforeDone);
    host.report(ending)?;
    reached(Point::TrainerAfterDone);
    Ok(())
}

fn read_start(reader: &mut UnixStream) -> Result<v1::StartTask, ServeError> {
    let message: Option<v1::TrainerCommand> = read_message(reader)?;
    match message.map(|message| message.command) {
        None => Err(ServeError::NoTask("the end of the stream")),
        Some(Some(Wire::Start(start))) => Ok(start),
        Some(_) => Err(ServeError::NoTask("another command")),
    }
}

fn failed(class: FailureClass, message: String) -> v1::TrainerFailed {
    v1::TrainerFailed {
        class: v1::FailureClass::from(class).into(),
        message,
        lost_ranks: false,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
}

/// Passes commands on until the stream ends, then sees to it that the process ends too: training
/// on for nobody would keep the device from the next task.
fn listen(mut reader: UnixStream, commands: SyncSender<Command>) {
    while let Ok(Some(message)) = read_message::<v1::TrainerCommand>(&mut reader) {
        let passed = match message.command {
            Some(Wire::CheckpointNow(_)) => commands.send(Command::CheckpointNow),
            Some(Wire::Stop(_)) => commands.send(Command::Stop),
            // A second task or a command of a newer worker: nothing that can be obeyed.
            Some(Wire::Start(_)) | None => Ok(()),
        };
        if passed.is_err() {
            return;
        }
    }
    // Training notices at its next step.
    drop(commands);
    thread::sleep(GRACE);
    let _unheard = writeln!(
        std::io::stderr(),
        "the worker is gone and the step did not end within {GRACE:?}: aborting"
    );
    // Not an orderly exit: libtorch may be busy on another thread, or hang.
    std::process::abort();
}

/// The worker at the other end of the stream.
struct WorkerHost {
    stream: UnixStream,
    commands: Receiver<Command>,
    journal: Journal<Stdout>,
}

impl Host for WorkerHost {
    fn command(&mut self) -> Result<Option<Command>, HostGone> {
        match self.commands.try_recv() {
            Ok(command) => Ok(Some(command)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(HostGone("it closed the stream".to_owned())),
        }
    }

    fn report(&mut self, event: Event) -> Result<(), HostGone> {
        self.journal.note(&event);
        let message = v1::TrainerEvent { event: Some(event) };
        write_message(&mut self.stream, &message).map_err(|error| HostGone(error.to_string()))
    }
}
