//! Names of things. Each is its own type, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, NotADigest};

/// A task's identity: the digest of all that decides its result (see [`crate::task::TaskSpec::id`]).
///
/// ```compile_fail
/// # use autorep_core::{digest::Digest, id::{CandidateId, TaskId}};
/// let task: TaskId = CandidateId(Digest::of(b"")); // a candidate is not a task
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Digest);

/// A candidate's identity: the digest of network, data, hyperparameters and budget.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CandidateId(pub Digest);

macro_rules! digest_id {
    ($name:ident) => {
        impl $name {
            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.0.short()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = NotADigest;
            fn from_str(text: &str) -> Result<Self, NotADigest> {
                text.parse().map(Self)
            }
        }
    };
}
digest_id!(TaskId);
digest_id!(CandidateId);

/// The name of a sweep: `metadata.name` of its manifest. Submitting a manifest under a name
/// that exists extends or changes that sweep.
///
/// One to 63 lowercase letters, digits and dashes, beginning and ending with a letter or a
/// digit (a DNS label), because it becomes part of storage keys and Kubernetes labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SweepName(String);

/// The text can name neither a sweep nor an owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to 63 lowercase letters, digits and dashes that begin and end with a letter or a digit, found {found:?}"
)]
pub struct NotALabel {
    /// The text as it was given.
    pub found: String,
}

/// Characters of a DNS label at most.
pub(crate) const LONGEST_LABEL: usize = 63;

/// Whether a text is a DNS label.
fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=LONGEST_LABEL).contains(&bytes.len())
        && (bytes.iter()).all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// What the names have in common that are DNS labels.
macro_rules! label {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = NotALabel;

            fn from_str(text: &str) -> Result<Self, NotALabel> {
                Self::try_from(text.to_owned())
            }
        }
        impl TryFrom<String> for $name {
            type Error = NotALabel;

            fn try_from(found: String) -> Result<Self, NotALabel> {
                if is_label(&found) {
                    Ok(Self(found))
                } else {
                    Err(NotALabel { found })
                }
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

label!(SweepName);
label!(OwnerName);

/// Who a sweep belongs to: owners share workers fairly. A DNS label, as a sweep's name is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerName(String);

impl Default for OwnerName {
    /// Of sweeps whose manifests name nobody.
    fn default() -> Self {
        Self("nobody".to_owned())
    }
}

/// A worker's name, chosen by the worker when it registers and unique while it lives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub String);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fencing number of a lease. Per task it only ever grows, and only the ledger makes a
/// new one. It is part of every object key that a lease's holder writes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of the next lease of the same task.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
