//! How attempts end: what is concluded, and how the coordinator is told.

use std::io;
use std::time::Duration;

use autorep_core::checkpoint::CheckpointRef;
use autorep_core::failure::FailureClass;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::observation::{Interim, Observation};
use autorep_failpoint::{Point, reached};
use autorep_proto::convert::failure_class;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::time::Instant;

use crate::causes::chain;
use crate::checkpoints::UploadError;
use crate::fleet::{Failure, Fleet};
use crate::inputs::FetchError;
use crate::report::{Outcome, Times};
use crate::store::{GetError, PutError};

/// How long a stopping worker tries to give its lease back. It runs out by itself in the end.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);

/// What an attempt has come to, once its trainer is gone and its checkpoints are stored.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The task is done.
    Done(Observation),
    /// The worker is stopping, or the task has come to where it was to stop; what it has come to.
    Stopped(Interim),
    /// The attempt failed.
    Failed(Failure),
}

pub(super) fn trainer_error(message: String) -> Verdict {
    Verdict::Failed(failure(v1::FailureClass::TrainerError, message))
}

pub(super) fn failure(class: v1::FailureClass, message: String) -> Failure {
    Failure {
        class,
        message,
        bad_checkpoint: None,
    }
}

/// A class as logs name it.
pub(super) fn class_name(class: v1::FailureClass) -> &'static str {
    let known = failure_class("class", class.into());
    known.map_or("unknown", FailureClass::name)
}

/// What it means that the attempt's folder could not be read or written.
fn of_scratch(error: &io::Error) -> v1::FailureClass {
    FailureClass::of_scratch(error.kind()).map_or(v1::FailureClass::TrainerError, Into::into)
}

/// What a trainer's own word of its failure means, that was to go on from `resume`.
pub(super) fn trainer_failed(failed: v1::TrainerFailed, resume: Option<&CheckpointRef>) -> Verdict {
    // A trainer cannot know what the worker's end is, nor mean nothing.
    let known = failed.class();
    let unfit = [v1::FailureClass::Unspecified, v1::FailureClass::WorkerLost];
    let class = if unfit.contains(&known) {
        v1::FailureClass::TrainerError
    } else {
        known
    };
    // The trainer does not say which checkpoint it refuses. The one to go on from is the one that
    // can be done without: named, it is set aside and the next attempt begins anew; kept, it would
    // make every attempt fail alike.
    let refuses = class == v1::FailureClass::BadCheckpoint;
    Verdict::Failed(Failure {
        class,
        message: failed.message,
        bad_checkpoint: resume.filter(|_| refuses).cloned(),
    })
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let message = chain(&error);
        match error {
            FetchError::Bad { checkpoint, .. } => Self {
                bad_checkpoint: Some(checkpoint),
                ..failure(v1::FailureClass::BadCheckpoint, message)
            },
            FetchError::Store {
                source:
                    GetError::Store { .. } | GetError::Forbidden { .. } | GetError::Doubtful { .. },
                ..
            } => failure(v1::FailureClass::StoreUnavailable, message),
            FetchError::Store {
                source: GetError::File { source, .. },
                ..
            }
            | FetchError::Folder { source, .. } => failure(of_scratch(&source), message),
            FetchError::Store {
                source: GetError::Missing { .. } | GetError::Damaged { .. },
                ..
            } => failure(v1::FailureClass::TrainerError, message),
        }
    }
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Self {
        let message = chain(&error);
        let class = match error {
            UploadError::Store(PutError::Store { .. } | PutError::Forbidden { .. }) => {
                v1::FailureClass::StoreUnavailable
            }
            UploadError::Store(PutError::File { source, .. }) | UploadError::Io { source, .. } => {
                of_scratch(&source)
            }
            UploadError::Store(PutError::Taken { .. } | PutError::TooLarge { .. })
            | UploadError::Folder { .. }
            | UploadError::Refused(_) => v1::FailureClass::TrainerError,
        };
        failure(class, message)
    }
}

/// How an attempt has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The worker's next task, where the coordinator gave one in its answer.
    pub(super) next: Option<v1::Assignment>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            next: None,
        }
    }
}

/// Stores the trainer's log and tells the coordinator; a result may bring the next task. A worker that
/// would not take one is stopping.
pub(super) async fn end(
    fleet: Fleet,
    part: LeasePart,
    verdict: Verdict,
    store_log: impl Future<Output = ()> + Send,
    stderr: String,
    take_next: bool,
) -> Result<Ended, Refusal> {
    let claim = part.claim;
    reached(Point::WorkerBeforeLog);
    store_log.await;
    reached(Point::WorkerAfterLog);
    let failure = match verdict {
        Verdict::Done(observation) => match finish(&fleet, claim, &observation, take_next).await {
            Ok(next) => {
                let outcome = Outcome::Finished;
                return Ok(Ended { outcome, next });
            }
            Err(refusal @ (Refusal::Stale { .. } | Refusal::UnknownTask(_))) => {
                return Err(refusal);
            }
            // The lease is still held: the coordinator has to learn that it gets no other result.
            Err(refusal) => failure(
                v1::FailureClass::TrainerError,
                format!("the coordinator refuses the result: {refusal}"),
            ),
        },
        Verdict::Stopped(interim) => {
            let releasing = release(&fleet, part, &interim);
            if take_next {
                return releasing.await.map(|()| Outcome::Released.into());
            }
            return match tokio::time::timeout(RELEASE_WITHIN, releasing).await {
                Ok(released) => released.map(|()| Outcome::Released.into()),
                Err(_elapsed) => {
                    tracing::warn!("the lease could not be given back; it will run out");
                    Ok(Outcome::Lost.into())
                }
            };
        }
        Verdict::Failed(failure) => failure,
    };
    reached(Point::WorkerBeforeFail);
    let will_retry = fleet.fail(part, &failure, &stderr).await?;
    reached(Point::WorkerAfterFail);
    tracing::info!(will_retry, "reported the failure");
    Ok(Outcome::Failed.into())
}

async fn finish(
    fleet: &Fleet,
    claim: LeaseClaim,
    observation: &Observation,
    take_next: bool,
) -> Result<Option<v1::Assignment>, Refusal> {
    reached(Point::WorkerBeforeFinish);
    let finished = fleet.finish(claim, observation, take_next).await;
    reached(Point::WorkerAfterFinish);
    finished
}

async fn release(fleet: &Fleet, part: LeasePart, interim: &Interim) -> Result<(), Refusal> {
    reached(Point::WorkerBeforeRelease);
    let released = fleet.release(part, interim).await;
    reached(Point::WorkerAfterRelease);
    released
}

/// What it means for an attempt that the coordinator refuses its last call or its renewal.
pub(super) fn refused(refusal: &Refusal) -> Outcome {
    tracing::warn!(%refusal, "the lease is gone; dropping the attempt");
    Outcome::Lost
}

/// Where an attempt's time goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    leased: Instant,
    started: Option<Instant>,
    ended: Option<Instant>,
}

impl Clock {
    pub(super) fn new(leased: Instant) -> Self {
        Self {
            leased,
            started: None,
            ended: None,
        }
    }

    /// The trainer starts.
    pub(super) fn training(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The trainer has ended.
    pub(super) fn storing(&mut self, now: Instant) {
        self.ended = Some(now);
    }

    pub(super) fn times(self, now: Instant) -> Times {
        let started = self.started.unwrap_or(now);
        let ended = self.ended.unwrap_or(now);
        Times {
            fetching: started - self.leased,
            training: ended - started,
            storing: now - ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use autorep_core::checkpoint::CheckpointRole;
    use autorep_core::digest::Digest;
    use autorep_core::id::{Generation, TaskId};

    use super::*;

    /// The classes of all failures that come of this error in the scratch folder.
    fn classes(error: &dyn Fn() -> io::Error) -> Vec<v1::FailureClass> {
        let path = PathBuf::from("scratch");
        let checkpoint = CheckpointRef {
            task: TaskId(Digest::of(b"task")),
            generation: Generation(1),
            role: CheckpointRole::Resume,
            step: 1,
            manifest: Digest::of(b"manifest"),
        };
        let got = GetError::File {
            path: path.clone(),
            source: error(),
        };
        let put = PutError::File {
            path: path.clone(),
            source: error(),
        };
        let fetching = [
            FetchError::Folder {
                path: path.clone(),
                source: error(),
            },
            FetchError::Store {
                checkpoint,
                source: got,
            },
        ];
        let uploading = [
            UploadError::Store(put),
            UploadError::Io {
                folder: path,
                source: error(),
            },
        ];
        let fetching = fetching.map(|it| Failure::from(it).class);
        let uploading = uploading.map(|it| Failure::from(it).class);
        [fetching, uploading].concat()
    }

    #[test]
    fn a_scratch_folder_without_room_is_not_the_tasks_fault() {
        let full = classes(&|| io::ErrorKind::StorageFull.into());
        assert_eq!(full, [v1::FailureClass::NoScratch; 4]);
        let gone = classes(&|| io::ErrorKind::NotFound.into());
        assert_eq!(gone, [v1::FailureClass::TrainerError; 4]);
    }
}
