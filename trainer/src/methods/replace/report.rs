//! What a search reports beside its nets.

use autorep_core::searched::{Projection, Searched};

use super::Search;
use crate::metrics::EpochMetrics;

impl Search {
    /// What a finished search reports, from what its epochs were like; an epoch has `per_epoch`
    /// steps.
    pub fn report(&self, epochs: &[EpochMetrics], per_epoch: u64) -> Option<Searched> {
        let searched_count = self.searched_count?;
        let ended_before = |step: u64| {
            // What a step does comes before the end of its epoch.
            let ended = step.saturating_sub(1) / per_epoch.max(1);
            u32::try_from(ended).unwrap_or(u32::MAX)
        };
        let mut projections: Vec<Projection> = (self.snapshots.iter())
            .map(|(passed, _)| Projection {
                budget: passed.budget,
                searched_count: passed.searched_count,
                epochs: ended_before(passed.step),
                effect: passed.effect,
            })
            .collect();
        let searching = epochs.iter().filter(|epoch| epoch.penalty.is_some());
        let searching = u32::try_from(searching.count()).unwrap_or(u32::MAX);
        projections.push(Projection {
            budget: self.budget(),
            searched_count,
            epochs: self.last.map_or(searching, |last| ended_before(last.step)),
            effect: self.last.map(|last| last.effect),
        });
        let flips: u64 = epochs.iter().map(|epoch| epoch.flips).sum();
        // Every flip takes one ReLU away or brings one back.
        let off = i128::from(self.started) - i128::from(searched_count);
        let half = |sum: i128| u64::try_from(sum / 2).unwrap_or(0);
        Some(Searched {
            epochs: searching,
            turned_off: half(i128::from(flips) + off),
            turned_on: half(i128::from(flips) - off),
            projections,
        })
    }
}
