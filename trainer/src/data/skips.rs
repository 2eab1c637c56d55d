//! Pictures that do not decode: which they were, and whether they are too many.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::ranks::{Ranks, RanksError};

/// A picture that was left out because it does not decode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// Its position in the part.
    pub position: u32,
    /// What to call it.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// There are more pictures that do not decode than the task allows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{name}: {why}; {found} images do not decode, data.max_corrupt allows {limit}: `autorep data \
     check` names them all"
)]
pub struct TooManySkipped {
    /// The first one too many.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
    /// How many did not decode so far.
    pub found: usize,
    /// How many may.
    pub limit: u32,
}

/// What any of the ranks has skipped, in their order, from what this one has.
pub fn of_all(ranks: &Ranks, own: Vec<Skipped>) -> Result<Vec<Skipped>, RanksError> {
    let count = i64::try_from(own.len()).unwrap_or(i64::MAX);
    let [all] = ranks.agree([count])?;
    if ranks.are_one() || all == 0 {
        return Ok(own);
    }
    let text = serde_json::to_vec(&own).expect("a list of numbers and texts");
    let texts = ranks.gather(&text)?.into_iter();
    let lists = texts.map(|text| serde_json::from_slice::<Vec<Skipped>>(&text));
    let lists = lists.collect::<Result<Vec<_>, _>>();
    Ok(lists.expect("as another rank wrote it").concat())
}

/// The pictures of one part that a task has skipped. They travel in resume checkpoints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Skips {
    limit: u32,
    positions: BTreeSet<u32>,
}

impl Skips {
    /// None yet, at most `limit`.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            positions: BTreeSet::new(),
        }
    }

    /// Adds what a batch had to leave out. A picture counts once, however often it is met; a new
    /// one is said on stderr.
    pub fn note(&mut self, skipped: &[Skipped]) -> Result<(), TooManySkipped> {
        for picture in skipped {
            if !self.positions.insert(picture.position) {
                continue;
            }
            let found = self.positions.len();
            if found > self.limit as usize {
                return Err(TooManySkipped {
                    name: picture.name.clone(),
                    why: picture.why.clone(),
                    found,
                    limit: self.limit,
                });
            }
            let limit = self.limit;
            let line = format!("skipped ({found} of at most {limit})");
            let Skipped { name, why, .. } = picture;
            let _unheard = writeln!(std::io::stderr(), "{line} {name}: {why}");
        }
        Ok(())
    }

    /// Positions in the part, rising.
    pub fn positions(&self) -> Vec<u32> {
        self.positions.iter().copied().collect()
    }

    /// Goes on from positions that were saved.
    pub fn restore(&mut self, positions: &[u32]) {
        self.positions = positions.iter().copied().collect();
    }

    /// How many different pictures were skipped.
    pub fn count(&self) -> u64 {
        self.positions.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(position: u32) -> Skipped {
        Skipped {
            position,
            name: format!("p{position}.JPEG"),
            why: "damaged".to_owned(),
        }
    }

    #[test]
    fn a_picture_counts_once_and_one_too_many_is_named() {
        let mut skips = Skips::new(2);
        skips.note(&[skipped(7), skipped(3), skipped(7)]).unwrap();
        skips.note(&[skipped(3)]).unwrap();
        assert_eq!((skips.positions(), skips.count()), (vec![3, 7], 2));
        let error = skips.note(&[skipped(9)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "p9.JPEG: damaged; 3 images do not decode, data.max_corrupt allows 2: `autorep data \
             check` names them all"
        );
        let mut resumed = Skips::new(2);
        resumed.restore(&[3, 7]);
        resumed.note(&[skipped(7)]).unwrap();
        assert!(resumed.note(&[skipped(9)]).is_err());
    }
}
