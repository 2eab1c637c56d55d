//! What is known of a plan's tasks, in the form in which its growth is decided.

use super::halving::Field;
use super::sight::Sight;
use super::{Growth, Standings, refine, seeds, training};
use crate::candidate::Candidate;

/// What is known of a plan's tasks. It can be kept from one decision to the next: then only the tasks
/// that have changed are looked at again, and a decision takes time linear in what is known, without
/// looking at tasks.
#[derive(Clone, Debug)]
pub struct Outlook {
    pub(super) heats: Vec<Field>,
    pub(super) budgets: Option<refine::Outlook>,
    pub(super) training: Option<Sight<training::Known>>,
    pub(super) seeds: Option<seeds::Outlook>,
}

impl Outlook {
    /// What these standings say of a plan that grows so and has these candidates.
    pub fn over(growth: &Growth, candidates: &[Candidate], standings: &impl Standings) -> Self {
        let heats = growth.heats.iter();
        let budgets = growth.budgets.as_ref();
        let training = growth.training.as_ref();
        let seeds = growth.seeds.as_ref();
        Self {
            heats: heats.map(|heat| Field::over(heat, standings)).collect(),
            budgets: budgets.map(|it| refine::Outlook::over(it, candidates, standings)),
            training: training.map(|it| it.sight(standings)),
            seeds: seeds.map(|it| seeds::Outlook::over(it, candidates, standings)),
        }
    }

    /// Takes note that the tasks at these places have changed, of the same plan.
    pub fn renew(
        &mut self,
        growth: &Growth,
        candidates: &[Candidate],
        standings: &impl Standings,
        changed: &[u32],
    ) {
        for (heat, field) in growth.heats.iter().zip(&mut self.heats) {
            field.renew(heat, standings, changed);
        }
        if let Some((budgets, outlook)) = growth.budgets.as_ref().zip(self.budgets.as_mut()) {
            outlook.renew(budgets, standings, changed);
        }
        if let Some((training, sight)) = growth.training.as_ref().zip(self.training.as_mut()) {
            training.renew(sight, standings, changed);
        }
        if let Some((seeds, outlook)) = growth.seeds.as_ref().zip(self.seeds.as_mut()) {
            outlook.renew(seeds, candidates, standings, changed);
        }
    }
}
