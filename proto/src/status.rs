//! Refusals: the one place that maps what a service refuses to gRPC codes, and back.
//!
//! Callers branch on [`Refusal`], never on text. Its facts travel as a
//! [`RefusalDetail`] in binary metadata; the status message is for people.

use std::error::Error;
use std::time::Duration;

use autorep_core::id::{Generation, TaskId};
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::convert::BadMessage;
use crate::v1::{self, RefusalDetail, RefusalKind};

/// The metadata that carries a refusal's facts.
pub const DETAIL_KEY: &str = "autorep-refusal-bin";

/// The metadata in which gRPC clients of any kind look for the wait before a retry.
pub const PUSHBACK_KEY: &str = "grpc-retry-pushback-ms";

/// The longest text of a refusal in bytes. It travels in an HTTP header, where each byte may take
/// three, and peers accept 16 KiB of headers.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Why a call was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The claim's lease has ended: the holder must stop and write nothing more for it.
    #[error("the lease with generation {held} has ended; the latest is {current}")]
    Stale {
        /// The claim's generation.
        held: Generation,
        /// The task's latest generation; equal to `held` when that lease has ended and no other
        /// was granted since.
        current: Generation,
    },
    /// No task has this id.
    #[error("no task has the id {0}")]
    UnknownTask(TaskId),
    /// No sweep has this name, or no task an id that begins like this.
    #[error("there is no sweep or task {0:?}")]
    UnknownSweep(String),
    /// No worker of this name is registered, or not since the coordinator started, or another process
    /// as it: register.
    #[error("no worker {0:?} is registered, or another process as it; register first")]
    UnknownWorker(String),
    /// The two sides speak different versions of the protocol.
    #[error("expected protocol version {callee}, found {caller}; run the same release everywhere")]
    ProtocolVersion {
        /// The caller's version.
        caller: u32,
        /// The version of the side that refuses.
        callee: u32,
    },
    /// A message breaks the protocol.
    #[error("{0}")]
    BadRequest(String),
    /// A manifest has problems: one a line, as people read them.
    #[error("{0}")]
    ManifestProblems(String),
    /// The request is right, but something else has to happen before.
    #[error("{0}")]
    NotReady(String),
    /// No token, or one that nobody issued.
    #[error("{0}")]
    Unauthenticated(String),
    /// The token does not give the right to this call.
    #[error("{0}")]
    Forbidden(String),
    /// A limit is reached: try again later.
    #[error("{what}")]
    Overloaded {
        /// Which, in a sentence.
        what: String,
        /// How long to wait at least, in milliseconds; zero where the limit does not say.
        retry_after_ms: u64,
    },
    /// The other side is away, starting, stopping or without its store: try again soon.
    #[error("{0}")]
    Unavailable(String),
    /// A defect of the other side, or something there that is no `autorep`.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// Whether the same call may succeed later without anything else being done.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::Unavailable(_))
    }

    /// How long to wait before the same call is made again, where the other side says so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after_ms, .. } if *retry_after_ms > 0 => {
                Some(Duration::from_millis(*retry_after_ms))
            }
            Self::Overloaded { .. }
            | Self::Stale { .. }
            | Self::UnknownTask(_)
            | Self::UnknownSweep(_)
            | Self::UnknownWorker(_)
            | Self::ProtocolVersion { .. }
            | Self::BadRequest(_)
            | Self::ManifestProblems(_)
            | Self::NotReady(_)
            | Self::Unauthenticated(_)
            | Self::Forbidden(_)
            | Self::Unavailable(_)
            | Self::Internal(_) => None,
        }
    }

    /// The gRPC code that stands for the refusal.
    pub const fn code(&self) -> Code {
        match self {
            Self::Stale { .. }
            | Self::UnknownWorker(_)
            | Self::ProtocolVersion { .. }
            | Self::NotReady(_) => Code::FailedPrecondition,
            Self::UnknownTask(_) | Self::UnknownSweep(_) => Code::NotFound,
            Self::BadRequest(_) | Self::ManifestProblems(_) => Code::InvalidArgument,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Forbidden(_) => Code::PermissionDenied,
            Self::Overloaded { .. } => Code::ResourceExhausted,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    fn detail(&self) -> RefusalDetail {
        let detail = |kind: RefusalKind, held: u64, current: u64, subject: String| RefusalDetail {
            kind: kind.into(),
            held,
            current,
            subject,
            retry_after_ms: 0,
        };
        let plain = |kind: RefusalKind| detail(kind, 0, 0, String::new());
        let about = |kind: RefusalKind, subject: &str| detail(kind, 0, 0, shorten(subject, 256));
        match self {
            Self::Stale { held, current } => {
                detail(RefusalKind::Stale, held.0, current.0, String::new())
            }
            Self::UnknownTask(task) => about(RefusalKind::UnknownTask, &task.to_string()),
            Self::UnknownSweep(sweep) => about(RefusalKind::UnknownSweep, sweep),
            Self::UnknownWorker(worker) => about(RefusalKind::UnknownWorker, worker),
            Self::ProtocolVersion { caller, callee } => detail(
                RefusalKind::ProtocolVersion,
                (*caller).into(),
                (*callee).into(),
                String::new(),
            ),
            Self::BadRequest(_) => plain(RefusalKind::BadRequest),
            Self::ManifestProblems(_) => plain(RefusalKind::ManifestProblems),
            Self::NotReady(_) => plain(RefusalKind::NotReady),
            Self::Unauthenticated(_) => plain(RefusalKind::Unauthenticated),
            Self::Forbidden(_) => plain(RefusalKind::Forbidden),
            Self::Overloaded { retry_after_ms, .. } => RefusalDetail {
                retry_after_ms: *retry_after_ms,
                ..plain(RefusalKind::Overloaded)
            },
            Self::Unavailable(_) => plain(RefusalKind::Unavailable),
            Self::Internal(_) => plain(RefusalKind::Internal),
        }
    }

    /// The refusal that `detail` and the status message describe; `None` where they make no sense.
    fn from_detail(detail: &RefusalDetail, text: String) -> Option<Self> {
        let version = |number: u64| u32::try_from(number).ok();
        Some(match detail.kind() {
            RefusalKind::Unspecified => return None,
            RefusalKind::Stale => Self::Stale {
                held: Generation(detail.held),
                current: Generation(detail.current),
            },
            RefusalKind::UnknownTask => Self::UnknownTask(detail.subject.parse().ok()?),
            RefusalKind::UnknownSweep => Self::UnknownSweep(detail.subject.clone()),
            RefusalKind::UnknownWorker => Self::UnknownWorker(detail.subject.clone()),
            RefusalKind::ProtocolVersion => Self::ProtocolVersion {
                caller: version(detail.held)?,
                callee: version(detail.current)?,
            },
            RefusalKind::BadRequest => Self::BadRequest(text),
            RefusalKind::ManifestProblems => Self::ManifestProblems(text),
            RefusalKind::NotReady => Self::NotReady(text),
            RefusalKind::Unauthenticated => Self::Unauthenticated(text),
            RefusalKind::Forbidden => Self::Forbidden(text),
            RefusalKind::Overloaded => Self::Overloaded {
                what: text,
                retry_after_ms: detail.retry_after_ms,
            },
            RefusalKind::Unavailable => Self::Unavailable(text),
            RefusalKind::Internal => Self::Internal(text),
        })
    }

    /// What a status means that carries no detail: it comes from the connection, from a proxy or
    /// from the gRPC library itself.
    fn without_detail(status: &Status) -> Self {
        // The outer causes of a broken connection say "transport error".
        let cause = innermost(status);
        let local = cause.is_some();
        let text = match (cause, status.message()) {
            (Some(cause), _) => cause.to_string(),
            (None, "") => status.code().description().to_owned(),
            (None, message) => message.to_owned(),
        };
        match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::Unknown => Self::Unavailable(text),
            // A broken connection has a cause on this side; an answer of the peer has none.
            Code::Internal if local => Self::Unavailable(text),
            Code::ResourceExhausted => Self::Overloaded {
                what: text,
                retry_after_ms: 0,
            },
            Code::Unauthenticated => Self::Unauthenticated(text),
            Code::PermissionDenied => Self::Forbidden(text),
            Code::InvalidArgument => Self::BadRequest(text),
            Code::Ok
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::Internal(format!("{}: {text}", status.code())),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let text = shorten(&refusal.to_string(), MAX_TEXT_BYTES);
        let mut status = Self::new(refusal.code(), text);
        let detail = MetadataValue::from_bytes(&refusal.detail().encode_to_vec());
        status.metadata_mut().insert_bin(DETAIL_KEY, detail);
        if let Some(wait) = refusal.retry_after() {
            let wait = MetadataValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            status.metadata_mut().insert(PUSHBACK_KEY, wait);
        }
        status
    }
}

/// Whether nobody said anything to a call: what was asked may be done or not.
pub fn is_unanswered(status: &Status) -> bool {
    status.source().is_some()
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        status
            .metadata()
            .get_bin(DETAIL_KEY)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| v1::RefusalDetail::decode(bytes).ok())
            .and_then(|detail| Self::from_detail(&detail, status.message().to_owned()))
            .unwrap_or_else(|| Self::without_detail(status))
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

impl From<BadMessage> for Refusal {
    fn from(bad: BadMessage) -> Self {
        Self::BadRequest(bad.to_string())
    }
}

impl From<BadMessage> for Status {
    fn from(bad: BadMessage) -> Self {
        Refusal::from(bad).into()
    }
}

/// The cause of an error that lies deepest, if it has any: transports wrap it in layers that say
/// "transport error".
pub fn innermost(error: &dyn Error) -> Option<&(dyn Error + 'static)> {
    let mut cause = error.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause)
}

/// The beginning of `text`, at most `limit` bytes with a note that something is missing.
fn shorten(text: &str, limit: usize) -> String {
    const NOTE: &str = " … (shortened)";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(NOTE.len()));
    let (kept, _) = text.split_at(end);
    format!("{kept}{NOTE}")
}

#[cfg(test)]
mod tests {
    use autorep_core::digest::Digest;
    use tonic::codegen::http::HeaderMap;

    use super::*;

    #[test]
    fn what_a_peer_has_said_is_an_answer_and_a_broken_connection_is_none() {
        let cause = "Connection reset by peer (os error 104)";
        assert!(is_unanswered(&Status::from_error(cause.into())));
        assert!(!is_unanswered(&Status::unavailable("speak TLS")));
        assert!(!is_unanswered(&Status::from(overloaded(0))));
    }

    fn overloaded(retry_after_ms: u64) -> Refusal {
        Refusal::Overloaded {
            what: "expected a cat, found a dog\nsay \"meow\" — 猫".to_owned(),
            retry_after_ms,
        }
    }

    #[test]
    fn a_limit_says_when_to_try_again_also_to_clients_of_another_make() {
        let status = Status::from(overloaded(1500));
        let pushback = status.metadata().get(PUSHBACK_KEY).unwrap();
        assert_eq!(pushback.to_str().unwrap(), "1500");
        let wait = Refusal::from(&status).retry_after();
        assert_eq!(wait, Some(Duration::from_millis(1500)));
        assert!(
            Status::from(overloaded(0))
                .metadata()
                .get(PUSHBACK_KEY)
                .is_none()
        );
    }

    /// Every kind of refusal with its code.
    fn table() -> Vec<(Refusal, Code)> {
        let text = || "expected a cat, found a dog\nsay \"meow\" — 猫".to_owned();
        vec![
            (
                Refusal::Stale {
                    held: Generation(3),
                    current: Generation(u64::MAX),
                },
                Code::FailedPrecondition,
            ),
            (
                Refusal::UnknownTask(TaskId(Digest::of(b"a"))),
                Code::NotFound,
            ),
            (Refusal::UnknownSweep("nope".to_owned()), Code::NotFound),
            (
                Refusal::UnknownWorker("w".to_owned()),
                Code::FailedPrecondition,
            ),
            (
                Refusal::ProtocolVersion {
                    caller: 2,
                    callee: 1,
                },
                Code::FailedPrecondition,
            ),
            (Refusal::BadRequest(text()), Code::InvalidArgument),
            (Refusal::ManifestProblems(text()), Code::InvalidArgument),
            (Refusal::NotReady(text()), Code::FailedPrecondition),
            (Refusal::Unauthenticated(text()), Code::Unauthenticated),
            (Refusal::Forbidden(text()), Code::PermissionDenied),
            (overloaded(1500), Code::ResourceExhausted),
            (Refusal::Unavailable(text()), Code::Unavailable),
            (Refusal::Internal(text()), Code::Internal),
        ]
    }

    /// The status as the other side sees it, after its way through HTTP headers.
    fn over_the_wire(status: &Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn every_refusal_has_its_code_and_comes_back_as_itself() {
        let table = table();
        let mut kinds: Vec<i32> = table.iter().map(|(it, _)| it.detail().kind).collect();
        kinds.sort_unstable();
        let all: Vec<i32> = (1..=RefusalKind::Internal.into()).collect();
        assert_eq!(kinds, all, "the table has each kind once");

        for (refusal, code) in table {
            let status = Status::from(refusal.clone());
            assert_eq!(status.code(), code, "{refusal:?}");
            assert_eq!(Refusal::from(over_the_wire(&status)), refusal);
        }
    }

    #[test]
    fn a_status_from_elsewhere_becomes_the_refusal_that_its_code_stands_for() {
        let text = || "x".to_owned();
        let table = [
            (Code::Unavailable, Refusal::Unavailable(text())),
            (Code::DeadlineExceeded, Refusal::Unavailable(text())),
            (Code::Cancelled, Refusal::Unavailable(text())),
            (Code::Unknown, Refusal::Unavailable(text())),
            (
                Code::ResourceExhausted,
                Refusal::Overloaded {
                    what: text(),
                    retry_after_ms: 0,
                },
            ),
            (Code::Unauthenticated, Refusal::Unauthenticated(text())),
            (Code::PermissionDenied, Refusal::Forbidden(text())),
            (Code::InvalidArgument, Refusal::BadRequest(text())),
        ];
        for (code, refusal) in table {
            assert_eq!(Refusal::from(Status::new(code, "x")), refusal);
        }
        for code in [Code::Internal, Code::Unimplemented, Code::NotFound] {
            let refusal = Refusal::from(Status::new(code, "x"));
            assert!(matches!(refusal, Refusal::Internal(_)), "{refusal:?}");
        }
    }

    #[test]
    fn a_broken_connection_is_transient_and_a_defect_of_the_peer_is_not() {
        let mut broken = Status::internal("h2 protocol error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        assert!(Refusal::from(broken).is_transient());
        assert!(!Refusal::from(Status::internal("a bug")).is_transient());
    }

    #[test]
    fn a_detail_that_makes_no_sense_is_no_panic_and_falls_back_to_the_code() {
        let nonsense = [
            RefusalDetail {
                kind: 99,
                ..RefusalDetail::default()
            }
            .encode_to_vec(),
            RefusalDetail {
                kind: RefusalKind::UnknownTask.into(),
                subject: "no digest".to_owned(),
                ..RefusalDetail::default()
            }
            .encode_to_vec(),
            vec![0xff],
        ];
        for bytes in nonsense {
            let mut status = Status::unavailable("x");
            let value = MetadataValue::from_bytes(&bytes);
            status.metadata_mut().insert_bin(DETAIL_KEY, value);
            assert_eq!(
                Refusal::from(status),
                Refusal::Unavailable("x".to_owned()),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_long_text_is_shortened_at_a_character_boundary() {
        let status = Status::from(Refusal::ManifestProblems("é".repeat(MAX_TEXT_BYTES)));
        assert!(status.message().len() <= MAX_TEXT_BYTES);
        assert!(status.message().starts_with("éé"));
        assert!(status.message().ends_with("(shortened)"));
    }
}
