//! Whether this worker's store is its coordinator's.

use std::sync::Arc;

use autorep_proto::STORE_ID_KEY;
use bytes::Bytes;

use super::{GetError, Store, Transient, read};

/// More is no name of a store.
const NAME_LIMIT: usize = 1 << 10;

/// The key of an object that no store has. Of one who may not list, S3 refuses such a key instead of
/// saying that nothing is there.
const ABSENT_KEY: &str = "coordinator/no-such-object";

/// It is not, or nobody can tell.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is another one.
    #[error(
        "expected the coordinator's store, in which the object {STORE_ID_KEY} says {expected:?}, found a store in which it says {found:?}; give this worker the --store that its coordinator has"
    )]
    Another {
        /// What the coordinator says.
        expected: String,
        /// What lies in this worker's store.
        found: String,
    },
    /// It has no name, as no store has on which no coordinator ever was.
    #[error(
        "expected the coordinator's store, in which the object {STORE_ID_KEY} says {expected:?}, found a store without that object; give this worker the --store that its coordinator has, or start the coordinator again if the object was deleted from it"
    )]
    Nameless {
        /// What the coordinator says.
        expected: String,
    },
    /// Nobody learns from it that an object is missing.
    #[error(
        "expected to be told that the object {ABSENT_KEY} is not there, found a refusal: this worker would take every missing checkpoint for a right that it lacks, and none would be made again; give its credentials the right to list the store (for S3: s3:ListBucket)"
    )]
    Secretive(#[source] GetError),
    /// It does not answer.
    #[error(
        "expected to find out by the object {STORE_ID_KEY} whether this store is the coordinator's"
    )]
    Store(#[source] GetError),
}

impl IdentityError {
    /// Whether the store fails to answer, as it may to everybody for a while.
    pub(crate) const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Store(GetError::Store { .. }))
    }
}

impl Transient for IdentityError {
    /// Also of a store without a name: it may be one that finds nothing for a while.
    fn is_transient(&self) -> bool {
        self.is_unanswered() || matches!(self, Self::Nameless { .. })
    }
}

impl Store {
    /// The same store, once it is known to be the one that the coordinator calls `name`, and to tell
    /// what it has not. From then on, an object is only missing while the store still has that name.
    /// A coordinator that does not say a name has an empty one: then that cannot be checked.
    pub(crate) async fn known_as(&self, name: &str) -> Result<Self, IdentityError> {
        let name = (!name.is_empty()).then(|| Arc::from(name));
        let known = Self {
            name,
            ..self.clone()
        };
        known.patiently(|| known.check_name()).await?;
        known.patiently(|| known.check_absence()).await?;
        Ok(known)
    }

    /// Looks once whether an object that is not there is said to be missing.
    async fn check_absence(&self) -> Result<(), IdentityError> {
        match self.open_once(ABSENT_KEY).await {
            Ok(_) | Err(GetError::Missing { .. }) => Ok(()),
            Err(error @ GetError::Forbidden { .. }) => Err(IdentityError::Secretive(error)),
            Err(error) => Err(IdentityError::Store(error)),
        }
    }

    /// Looks once whether the store has the name by which it is known.
    pub(super) async fn check_name(&self) -> Result<(), IdentityError> {
        let Some(expected) = &self.name else {
            return Ok(());
        };
        let expected = expected.to_string();
        let found = match self.read_name().await {
            Ok(found) => found,
            Err(GetError::Missing { .. }) => return Err(IdentityError::Nameless { expected }),
            Err(error) => return Err(IdentityError::Store(error)),
        };
        let found = String::from_utf8_lossy(&found).trim().to_owned();
        if found == expected {
            Ok(())
        } else {
            Err(IdentityError::Another { expected, found })
        }
    }

    async fn read_name(&self) -> Result<Bytes, GetError> {
        read(
            STORE_ID_KEY,
            self.open_once(STORE_ID_KEY).await?,
            NAME_LIMIT,
        )
        .await
    }
}
