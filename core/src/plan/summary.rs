//! What a plan holds, in numbers: the answer of `autorep plan`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Forecast, GrowthSummary, Left, Plan, Progress, budgets};
use crate::blank::is_default;
use crate::candidate::PointKind;
use crate::cost::{Cost, CostModel, task_costs};
use crate::data::DataSpec;
use crate::digest::Digest;
use crate::id::{SweepName, TaskId};
use crate::limit::CostLimit;
use crate::manifest::Manifest;
use crate::manifest::grid::{Parts, Subject};
use crate::net::NetSpec;
use crate::strategy::Strategy;
use crate::task::TaskKind;
use crate::text::{counted, grouped};

/// A plan in numbers, for `autorep plan`'s table and JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The sweep.
    pub sweep: SweepName,
    /// [`Plan::digest`].
    pub plan: Digest,
    /// Tasks in the plan.
    pub tasks: u64,
    /// Tasks if each candidate had its own, seed by seed.
    pub tasks_without_sharing: u64,
    /// The kinds of tasks, in running order.
    pub kinds: Vec<KindSummary>,
    /// Points on the front's plot: baselines and budgets of each grid point.
    pub candidates: u64,
    /// Points that are baselines.
    pub baselines: u64,
    /// The seeds of each candidate.
    pub seeds: Vec<u64>,
    /// The hyperparameters that the grid varies.
    pub axes: Vec<String>,
    /// The networks, with what they see and what the budgets are of them.
    pub nets: Vec<NetSummary>,
    /// How the sweep may grow, and what of the plan it then runs; none where it runs all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<GrowthSummary>,
    /// Within what the sweep ends with what it has, if that was asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: CostLimit,
    /// What is left of it, where that was asked, and the longest chain of that.
    pub forecast: Forecast,
    /// Estimated training work of the whole plan.
    pub work: WorkSummary,
    /// Estimated training work if each candidate had its own tasks.
    pub work_without_sharing: WorkSummary,
}

/// The tasks of one kind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KindSummary {
    /// The kind.
    pub kind: TaskKind,
    /// Tasks of this kind.
    pub tasks: u64,
    /// Tasks of this kind if each candidate had its own.
    pub tasks_without_sharing: u64,
    /// Their estimated work.
    pub work: WorkSummary,
}

/// One network of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NetSummary {
    /// The network.
    pub net: NetSpec,
    /// The data.
    pub data: DataSpec,
    /// The total `T`: ReLUs that the full network evaluates for one image.
    pub relu_total: u64,
    /// Multiply-accumulates of one forward pass of one image.
    pub forward_macs: f64,
    /// The budgets, falling.
    pub budgets: Vec<BudgetSummary>,
}

/// One budget of one network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BudgetSummary {
    /// ReLUs allowed.
    pub relus: u64,
    /// Their share of the total, in percent.
    pub percent: f64,
}

/// An amount of work, by the estimates of [`crate::cost`].
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct WorkSummary {
    /// Multiply-accumulate operations.
    pub macs: f64,
    /// Images trained on, each once per epoch.
    pub images: u64,
    /// Epochs.
    pub epochs: u64,
}

impl From<Cost> for WorkSummary {
    fn from(cost: Cost) -> Self {
        Self {
            macs: cost.macs as f64,
            images: u64::try_from(cost.images).unwrap_or(u64::MAX),
            epochs: u64::try_from(cost.epochs).unwrap_or(u64::MAX),
        }
    }
}

/// Tasks of each kind with their cost, by [`TaskKind::index`].
type Tally = [(u64, Cost); 4];

impl PlanSummary {
    /// The numbers of a manifest's plan of which nothing has been done.
    pub fn new(manifest: &Manifest, plan: &Plan) -> Self {
        Self::knowing(manifest, plan, &BTreeMap::new())
    }

    /// The numbers of a manifest's plan, where `known` has what was done already.
    pub fn knowing(manifest: &Manifest, plan: &Plan, known: &BTreeMap<TaskId, Progress>) -> Self {
        let parts = Parts::of(manifest);
        let shared = shared(plan);
        let alone = alone(manifest, &parts);
        let kinds: Vec<KindSummary> = TaskKind::ALL
            .into_iter()
            .map(|kind| KindSummary {
                kind,
                tasks: shared[kind.index()].0,
                tasks_without_sharing: alone[kind.index()].0,
                work: shared[kind.index()].1.into(),
            })
            .collect();
        let baselines = plan
            .candidates
            .iter()
            .filter(|candidate| candidate.kind == PointKind::Baseline);
        let nets = parts.subjects.iter();
        Self {
            sweep: manifest.name.clone(),
            plan: plan.digest(),
            tasks: plan.tasks.len() as u64,
            tasks_without_sharing: alone.iter().map(|(tasks, _)| tasks).sum(),
            kinds,
            candidates: plan.candidates.len() as u64,
            baselines: baselines.count() as u64,
            seeds: manifest.seeds.clone(),
            axes: manifest
                .grid
                .iter()
                .map(|axis| axis.field().to_owned())
                .collect(),
            nets: nets.map(|variant| net(manifest, &variant.value)).collect(),
            growth: GrowthSummary::of(plan, manifest.seeds.len()),
            limit: manifest.limit,
            forecast: Forecast::of(plan, manifest.resources.gpus, known),
            work: total(&shared).into(),
            work_without_sharing: total(&alone).into(),
        }
    }
}

fn net(manifest: &Manifest, subject: &Subject) -> NetSummary {
    let relu_total = subject.relu_total();
    let forward = subject
        .net
        .macs(subject.data.name.input(), subject.data.name.classes());
    NetSummary {
        net: subject.net.clone(),
        data: subject.data.clone(),
        relu_total,
        forward_macs: forward as f64,
        budgets: budgets(manifest, relu_total)
            .into_iter()
            .map(|relus| BudgetSummary {
                relus,
                percent: 100.0 * relus as f64 / relu_total as f64,
            })
            .collect(),
    }
}

fn total(tally: &Tally) -> Cost {
    tally
        .iter()
        .fold(Cost::default(), |sum, (_, cost)| sum + *cost)
}

/// Counts the plan's own tasks.
fn shared(plan: &Plan) -> Tally {
    let mut tally = Tally::default();
    let specs = || plan.tasks.iter().map(|task| &task.spec);
    for (spec, cost) in specs().zip(task_costs(specs())) {
        let entry = &mut tally[spec.kind().index()];
        entry.0 += 1;
        entry.1 += cost;
    }
    tally
}

/// Counts the tasks that there would be if no two candidates shared one.
fn alone(manifest: &Manifest, parts: &Parts) -> Tally {
    let mut tally = Tally::default();
    let seeds = manifest.seeds.len() as u64;
    for subject in &parts.subjects {
        let subject = &subject.value;
        let model = CostModel::new(&subject.net, &subject.data);
        let budgets = budgets(manifest, subject.relu_total()).len() as u64;
        let ends: usize = (parts.searches.iter())
            .map(|search| search.value.ends.len())
            .sum();
        let chains = 1 + budgets * ends as u64;
        // What the points of all budgets together need of each kind, for one way to train on.
        let needed = match manifest.strategy {
            Strategy::Independent | Strategy::Descent => budgets,
            // Each point needs those of all larger budgets, too.
            Strategy::Ladder => budgets * (budgets + 1) / 2,
        };
        let mut add = |kind: TaskKind, times: u64, cost: Cost| {
            let entry = &mut tally[kind.index()];
            entry.0 += times * seeds;
            entry.1 += cost * u128::from(times * seeds);
        };
        for baseline in &parts.baselines {
            add(TaskKind::Baseline, chains, model.baseline(&baseline.value));
            add(TaskKind::Evaluate, chains, model.evaluate());
            for search in &parts.searches {
                let search = &search.value;
                let cost = model.replace(&search.recipe);
                add(TaskKind::Replace, needed * search.ends.len() as u64, cost);
                for recipe in search.ends.iter().filter_map(|end| end.value.as_ref()) {
                    add(TaskKind::Finetune, needed, model.finetune(recipe));
                    if manifest.train_on > 0 {
                        // The points that these are trained on to need all the same, and more.
                        let mut more = recipe.clone();
                        more.schedule.epochs = manifest.train_on;
                        add(TaskKind::Baseline, budgets, model.baseline(&baseline.value));
                        add(TaskKind::Replace, needed, cost);
                        add(TaskKind::Finetune, needed, model.finetune(recipe));
                        add(TaskKind::Finetune, budgets, model.finetune(&more));
                        add(TaskKind::Evaluate, budgets, model.evaluate());
                    }
                }
            }
        }
    }
    tally
}

/// Networks that the table shows before it only counts them.
const NETS_SHOWN: usize = 8;

impl PlanSummary {
    /// The summary as a table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "sweep {}: {} ({}) over {}, plan {}",
            self.sweep,
            counted(self.candidates, "candidate"),
            counted(self.baselines, "baseline"),
            counted(self.seeds.len() as u64, "seed"),
            self.plan.short(),
        )?;
        if !self.axes.is_empty() {
            writeln!(text, "grid over {}", self.axes.join(", "))?;
        }
        writeln!(text)?;
        for summary in self.nets.iter().take(NETS_SHOWN) {
            write_net(text, summary)?;
        }
        if self.nets.len() > NETS_SHOWN {
            writeln!(text, "… and {} nets more", self.nets.len() - NETS_SHOWN)?;
        }
        writeln!(text)?;
        writeln!(
            text,
            "{:<10} {:>12} {:>16} {:>14} {:>12}",
            "kind", "tasks", "without sharing", "epochs", "MACs"
        )?;
        for kind in &self.kinds {
            write_row(
                text,
                kind.kind.name(),
                kind.tasks,
                kind.tasks_without_sharing,
                kind.work,
            )?;
        }
        write_row(
            text,
            "total",
            self.tasks,
            self.tasks_without_sharing,
            self.work,
        )?;
        writeln!(text)?;
        writeln!(
            text,
            "{} tasks instead of {}; {} epochs and {} MACs instead of {} and {}; {} images",
            grouped(self.tasks),
            grouped(self.tasks_without_sharing),
            grouped(self.work.epochs),
            metric(self.work.macs),
            grouped(self.work_without_sharing.epochs),
            metric(self.work_without_sharing.macs),
            metric(self.work.images as f64),
        )?;
        (self.growth.iter()).try_for_each(|growth| write_growth(text, growth, self.work))?;
        write_limit(text, self.limit)?;
        write_forecast(text, &self.forecast, self.tasks)
    }
}

fn write_limit(text: &mut String, limit: CostLimit) -> std::fmt::Result {
    let bounds = [
        (limit.gpu_hours, "of a GPU"),
        (limit.hours, "from its submission on"),
    ];
    let bounds = bounds.into_iter().filter(|(bound, _)| *bound > 0.0);
    let bounds: Vec<String> = bounds
        .map(|(bound, of)| format!("{} {of}", hours(bound)))
        .collect();
    if bounds.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nlimit: {}; what is not expected to fit is parked",
        bounds.join(" and ")
    )
}

fn write_growth(text: &mut String, growth: &GrowthSummary, most: WorkSummary) -> std::fmt::Result {
    writeln!(text)?;
    if growth.heats > 0 {
        let (last, before) = growth.rungs.split_last().unwrap_or((&0, &[]));
        let mut rungs: Vec<String> = before.iter().map(u32::to_string).collect();
        rungs.push(counted(u64::from(*last), "epoch"));
        let groups = match growth.heats {
            1 => String::new(),
            heats => format!(" (in each of {} groups)", grouped(heats)),
        };
        writeln!(
            text,
            "halving: {} to search are compared after {}, {} trained to the end{groups}",
            counted(growth.searches, "way"),
            rungs.join(" and "),
            if growth.survivors == 1 {
                "1 is".to_owned()
            } else {
                format!("{} are", growth.survivors)
            },
        )?;
    }
    if growth.most_budgets > growth.least_budgets {
        writeln!(
            text,
            "budgets: {} of every search, up to {} where the front is expected to gain by them",
            growth.least_budgets, growth.most_budgets,
        )?;
    }
    if growth.most_seeds > growth.least_seeds {
        writeln!(
            text,
            "seeds: {} of every candidate, up to {} where it is not clear whether it is on the front",
            growth.least_seeds, growth.most_seeds,
        )?;
    }
    if growth.trains_on {
        writeln!(text, "points that lie under others are trained on")?;
    }
    writeln!(
        text,
        "so of the plan's {} epochs {} are run at least ({} of {} MACs), all of them at most",
        grouped(most.epochs),
        grouped(growth.least.epochs),
        metric(growth.least.macs),
        metric(most.macs),
    )
}

/// Hours as people read them.
fn hours(hours: f64) -> String {
    match hours {
        short if short < 1.0 / 60.0 => format!("{:.0} s", short * 3600.0),
        short if short < 1.0 => format!("{:.0} min", short * 60.0),
        long => format!("{long:.1} h"),
    }
}

fn write_forecast(text: &mut String, forecast: &Forecast, tasks: u64) -> std::fmt::Result {
    writeln!(text)?;
    if forecast.reused > 0 {
        let amount = |left: &Left| {
            let epochs = counted(left.work.epochs, "epoch");
            let time = (left.gpu_hours).map(|it| format!(", about {} of a GPU", hours(it)));
            format!("{epochs}{}", time.unwrap_or_default())
        };
        writeln!(
            text,
            "reused: {} of {} tasks are in the store ({} of them trained), which saves {} of a GPU",
            grouped(forecast.reused),
            grouped(tasks),
            grouped(forecast.reused_trained),
            hours(forecast.saved_gpu_hours),
        )?;
        let is_done = forecast.left.work.macs <= 0.0;
        if !is_done {
            writeln!(text, "left: {}", amount(&forecast.left))?;
        }
        if forecast.most_left != forecast.left {
            let what = if is_done { "parked" } else { "left at most" };
            writeln!(text, "{what}: {}", amount(&forecast.most_left))?;
        }
    }
    let path = &forecast.critical_path;
    if path.kinds.is_empty() {
        return writeln!(text, "nothing is left to do");
    }
    let kinds: Vec<&str> = path.kinds.iter().map(|kind| kind.name()).collect();
    let time = path.hours.map(|it| format!(", about {}", hours(it)));
    writeln!(
        text,
        "critical path, whatever number of workers: {} ({}, {} MACs{})",
        kinds.join(" > "),
        counted(path.work.epochs, "epoch"),
        metric(path.work.macs),
        time.unwrap_or_default(),
    )
}

fn write_net(text: &mut String, summary: &NetSummary) -> std::fmt::Result {
    writeln!(
        text,
        "{} on {} images of {} ({} MACs each): T = {} ReLUs",
        summary.net,
        grouped(u64::from(summary.data.train)),
        summary.data.name.name(),
        metric(summary.forward_macs),
        grouped(summary.relu_total),
    )?;
    let budgets: Vec<String> = summary
        .budgets
        .iter()
        .map(|budget| format!("{} ({:.2} %)", grouped(budget.relus), budget.percent))
        .collect();
    writeln!(text, "  budgets: {}", budgets.join(", "))
}

fn write_row(
    text: &mut String,
    name: &str,
    tasks: u64,
    alone: u64,
    work: WorkSummary,
) -> std::fmt::Result {
    writeln!(
        text,
        "{name:<10} {:>12} {:>16} {:>14} {:>12}",
        grouped(tasks),
        grouped(alone),
        grouped(work.epochs),
        metric(work.macs),
    )
}

/// A large number with three digits and a metric prefix: `1.23 P`.
fn metric(number: f64) -> String {
    const PREFIXES: [&str; 9] = ["", " k", " M", " G", " T", " P", " E", " Z", " Y"];
    let mut scaled = number;
    let mut prefix = 0;
    while scaled >= 999.5 && prefix + 1 < PREFIXES.len() {
        scaled /= 1000.0;
        prefix += 1;
    }
    let decimals = match scaled {
        small if prefix == 0 || small >= 99.95 => 0,
        small if small >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{}", PREFIXES[prefix])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_short() {
        assert_eq!(metric(0.0), "0");
        assert_eq!(metric(999.0), "999");
        assert_eq!(metric(1_234.0), "1.23 k");
        assert_eq!(metric(12_345_678.0), "12.3 M");
        assert_eq!(metric(999_600.0), "1.00 M");
    }
}
