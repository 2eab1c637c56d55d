//! How much of a plan is run: what a sweep does in any case.

use serde::{Deserialize, Serialize};

use super::Plan;
use super::summary::WorkSummary;
use crate::cost::{Cost, task_costs};
use crate::growth::{ALL_EPOCHS, Growth, Heat};

/// How a sweep may grow, in numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GrowthSummary {
    /// Groups of searches of which only some are trained to the end.
    pub heats: u64,
    /// The searches of the largest group, each with all its seeds.
    pub searches: u64,
    /// Those of them that reach the end if nobody goes on before all are compared.
    pub survivors: u64,
    /// Epochs at which its searches are compared.
    pub rungs: Vec<u32>,
    /// Budgets of each line of candidates that are measured in any case.
    #[serde(default)]
    pub least_budgets: u64,
    /// Budgets that a line may get.
    #[serde(default)]
    pub most_budgets: u64,
    /// Whether points that lie under others are trained on.
    #[serde(default)]
    pub trains_on: bool,
    /// Seeds that every candidate has.
    pub least_seeds: u64,
    /// Seeds that a candidate may get.
    pub most_seeds: u64,
    /// The work if at each rung the cheapest go on, none of them early, and no budget, seed or training is added.
    pub least: WorkSummary,
}

impl GrowthSummary {
    /// The numbers of a plan over so many seeds; `None` where all of it is run.
    pub(super) fn of(plan: &Plan, seeds: usize) -> Option<Self> {
        let growth = &plan.growth;
        if growth.is_none() {
            return None;
        }
        let costs: Vec<Cost> = task_costs(plan.tasks.iter().map(|task| &task.spec)).collect();
        let largest = growth.heats.iter().max_by_key(|heat| heat.entrants.len());
        let adaptive = growth
            .seeds
            .as_ref()
            .map(|more| u64::from(more.adaptive.min));
        let line = (growth.budgets.iter()).flat_map(|more| &more.lines).next();
        let first = line.map(|line| line.iter().filter(|spot| spot.is_first).count());
        Some(Self {
            least_budgets: first.unwrap_or(0) as u64,
            trains_on: growth.training.is_some(),
            most_budgets: line.map_or(0, Vec::len) as u64,
            heats: growth.heats.len() as u64,
            searches: largest.map_or(0, |heat| heat.entrants.len() as u64),
            survivors: largest.map_or(0, |heat| {
                heat.going_on().last().copied().unwrap_or(0) as u64
            }),
            rungs: largest.map_or_else(Vec::new, |heat| heat.rungs.clone()),
            least_seeds: adaptive.unwrap_or(seeds as u64),
            most_seeds: seeds as u64,
            least: least(growth, &costs).into(),
        })
    }
}

fn least(growth: &Growth, costs: &[Cost]) -> Cost {
    let mut allowed = vec![ALL_EPOCHS; costs.len()];
    for (place, epochs) in growth.allowances(&[]) {
        allowed[place as usize] = epochs;
    }
    let start = allowed.iter().zip(costs);
    let mut sum = start.fold(Cost::default(), |sum, (&epochs, &cost)| {
        sum + cost.up_to(epochs)
    });
    for heat in &growth.heats {
        for (rung, going_on) in (0..).zip(heat.going_on()) {
            let mut more: Vec<Cost> = (0..)
                .take(heat.entrants.len())
                .map(|entrant| added(heat, entrant, rung, costs))
                .collect();
            more.sort_by_key(|cost| cost.macs);
            for cost in more.into_iter().take(going_on) {
                sum += cost;
            }
        }
    }
    sum
}

/// What it costs to let an entrant go on from a rung.
fn added(heat: &Heat, entrant: u32, rung: u32, costs: &[Cost]) -> Cost {
    let before = heat.rungs[rung as usize];
    let parts = heat
        .allowed_after(entrant, rung)
        .into_iter()
        .map(|(place, epochs)| {
            let cost = costs[place as usize];
            let is_search = heat.entrants[entrant as usize].tasks.contains(&place);
            let spent = cost.up_to(if is_search { before } else { 0 });
            let then = cost.up_to(epochs);
            then.without(spent)
        });
    parts.fold(Cost::default(), |sum, cost| sum + cost)
}
