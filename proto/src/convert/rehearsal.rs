//! How far a sweep is cut down.

use std::num::NonZeroU32;

use autorep_core::manifest::Rehearsal;

use super::BadMessage;
use crate::v1;

impl From<Rehearsal> for v1::Rehearsal {
    fn from(rehearsal: Rehearsal) -> Self {
        Self {
            steps: rehearsal.steps.get(),
            batch: rehearsal.batch.map_or(0, NonZeroU32::get),
            first_seed: rehearsal.first_seed,
        }
    }
}

impl TryFrom<v1::Rehearsal> for Rehearsal {
    type Error = BadMessage;

    fn try_from(message: v1::Rehearsal) -> Result<Self, BadMessage> {
        let v1::Rehearsal {
            steps,
            batch,
            first_seed,
        } = message;
        let steps = NonZeroU32::new(steps)
            .ok_or_else(|| BadMessage::new("Rehearsal.steps", "at least one step", "0"))?;
        let batch = NonZeroU32::new(batch);
        Ok(Self {
            steps,
            batch,
            first_seed,
        })
    }
}
