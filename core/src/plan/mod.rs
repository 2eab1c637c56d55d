//! Expands a manifest into a DAG of tasks in which equal work appears once.
//!
//! The order of the tasks is the order in which they are best run: seed by seed, so that a whole
//! front stands after the first seed and the later ones make it surer; and within a seed each
//! candidate to its end before the next.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::candidate::{Candidate, PLAIN_LABEL, PointKind, TRAINED_ON_LABEL};
use crate::digest::Digest;
use crate::growth::{Entrant, Growth, Halving, Heat};
use crate::id::{CandidateId, TaskId};
use crate::manifest::Manifest;
use crate::manifest::grid::{PartSizes, Parts, Search, Subject, TaskCounts, Variant};
use crate::recipe::{BaselineRecipe, FinetuneRecipe, ReplaceRecipe};
use crate::strategy::Strategy;
use crate::task::{NET_OUTPUT, OutputRef, TaskSpec, Work, budget_output};

mod forecast;
mod growth;
mod range;
mod summary;

pub use forecast::{CriticalPath, Forecast, Left, Progress};
pub use range::GrowthSummary;
pub use summary::{BudgetSummary, KindSummary, NetSummary, PlanSummary, WorkSummary};

/// One task of a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedTask {
    /// The digest of the spec.
    pub id: TaskId,
    /// All that decides its result.
    pub spec: TaskSpec,
}

/// The tasks of a sweep in an order in which every task follows those it reads from, and the
/// candidates that they measure.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The tasks, each once, parents first.
    pub tasks: Vec<PlannedTask>,
    /// The candidates, baselines first, each part in the order in which the tasks measure it:
    /// the grid's, with falling budgets.
    pub candidates: Vec<Candidate>,
    /// How much of it is run.
    pub growth: Growth,
}

impl Plan {
    /// The plan of a manifest. Equal manifests give equal plans, here and on any other machine.
    ///
    /// How many `replace` tasks there are for each grid point and seed is the strategy's to say.
    pub fn expand(manifest: &Manifest) -> Self {
        let parts = Parts::of(manifest);
        let mut seeds = manifest.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        let sizes = PartSizes::of(&parts);
        let counts = TaskCounts::of(
            &sizes,
            manifest.strategy,
            manifest.budgets.len(),
            seeds.len(),
            manifest.train_on > 0,
        );
        let mut expansion = Expansion {
            manifest,
            tasks: Vec::with_capacity(usize::try_from(counts.total()).unwrap_or(0)),
            baselines: Vec::new(),
            replaced: Vec::new(),
            extended: Vec::new(),
            heats: BTreeMap::new(),
            json: Vec::new(),
        };
        let adaptive = manifest.adaptive_seeds;
        let least = adaptive.map_or(seeds.len(), |it| it.min as usize);
        expansion.candidates(&parts, least);
        for seed in seeds {
            expansion.seed(&parts, seed);
        }
        let extended: Vec<usize> = (expansion.extended.iter())
            .map(|at| expansion.baselines.len() + at)
            .collect();
        let mut candidates = expansion.baselines;
        candidates.append(&mut expansion.replaced);
        let heats = std::mem::take(&mut expansion.heats).into_values();
        // Who is alone need not be compared with anybody.
        let heats: Vec<Heat> = heats.filter(|heat| heat.entrants.len() > 1).collect();
        let mut plan = Self {
            tasks: expansion.tasks,
            candidates,
            growth: Growth::default(),
        };
        plan.growth = growth::growth(manifest, &plan, heats, &extended);
        plan
    }

    /// Whether another plan has the same tasks in the same order and grows by the same rules: then
    /// the steps of one mean the same in the other.
    pub fn grows_like(&self, other: &Self) -> bool {
        let ids = |plan: &Self| plan.tasks.iter().map(|task| task.id).collect::<Vec<_>>();
        self.growth == other.growth && ids(self) == ids(other)
    }

    /// Seeds that every candidate has.
    fn least_seeds(&self) -> u32 {
        let seeds = self
            .candidates
            .iter()
            .map(|candidate| candidate.least_seeds);
        seeds.max().unwrap_or(0)
    }

    /// The digest of the tasks' ids in order: equal for equal plans.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(16 + 32 * self.tasks.len());
        bytes.extend_from_slice(b"autorep-plan\n");
        for task in &self.tasks {
            bytes.extend_from_slice(task.id.0.as_bytes());
        }
        Digest::of(&bytes)
    }
}

/// The budgets of a manifest for a net of `total` ReLUs, falling.
fn budgets(manifest: &Manifest, total: u64) -> Vec<u64> {
    let mut budgets: Vec<u64> = manifest
        .budgets
        .iter()
        .map(|budget| budget.relus(total))
        .collect();
    budgets.sort_unstable_by(|left, right| right.cmp(left));
    budgets.dedup();
    budgets
}

/// All that decides a candidate's results but the seed: its digest is the candidate's id.
#[derive(Clone, Copy, Serialize)]
struct CandidateSpec<'a> {
    version: u32,
    net: &'a crate::net::NetSpec,
    data: &'a crate::data::DataSpec,
    baseline: &'a BaselineRecipe,
    /// Absent for baselines.
    replace: Option<&'a ReplaceRecipe>,
    /// Absent for baselines and where the search's net is measured as it is.
    finetune: Option<&'a FinetuneRecipe>,
    /// The budgets of the descent that the net is a snapshot of, falling. Absent where the search is
    /// for the candidate's own budget alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    descent: Option<&'a [u64]>,
    /// The larger budgets over which a ladder came to the candidate's own, falling: none at its top.
    /// Absent where there is no ladder.
    #[serde(skip_serializing_if = "Option::is_none")]
    ladder: Option<&'a [u64]>,
    budget: u64,
    /// Epochs that it was trained on for after that. Absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    trained_on: Option<u32>,
}

/// A plan in the making.
struct Expansion<'a> {
    manifest: &'a Manifest,
    tasks: Vec<PlannedTask>,
    baselines: Vec<Candidate>,
    replaced: Vec<Candidate>,
    /// Places among these of the points that may be trained on; what comes of it follows them.
    extended: Vec<usize>,
    /// By subject, baseline and budgets: the searches that are compared.
    heats: BTreeMap<HeatKey, Heat>,
    /// The canonical JSON under work; kept to save allocations.
    json: Vec<u8>,
}

/// What searches have in common that are compared: the number of subject and baseline, the epochs,
/// over which they come down, and the largest budget, which no two searches of one recipe share.
type HeatKey = (usize, u32, u64);

/// Of what and from where searches start.
#[derive(Clone, Copy)]
struct Place<'a> {
    subject: &'a Subject,
    seed: u64,
    /// The full-ReLU net.
    baseline: &'a OutputRef,
    /// The number of subject and baseline among all.
    pair: usize,
}

/// Where a seed's walk is in the lists of candidates.
#[derive(Default)]
struct Cursor {
    baseline: usize,
    replaced: usize,
}

impl Expansion<'_> {
    /// Lists the candidates in the order in which [`Self::seed`] meets them.
    fn candidates(&mut self, parts: &Parts, seeds: usize) {
        let strategy = self.manifest.strategy;
        for subject in &parts.subjects {
            let total = subject.value.relu_total();
            let budgets = budgets(self.manifest, total);
            for baseline in &parts.baselines {
                let labels = [subject.label.as_str(), baseline.label.as_str()];
                let kind = PointKind::Baseline;
                let spec = self.candidate_spec(&subject.value, &baseline.value, total);
                self.baselines
                    .push(candidate(&spec, &labels, kind, total, seeds));
                for search in &parts.searches {
                    for (larger, &budget) in budgets.iter().enumerate() {
                        for finetune in &search.value.ends {
                            let labels = [
                                labels[0],
                                labels[1],
                                strategy.label(),
                                &search.label,
                                &finetune.label,
                            ];
                            let kind = PointKind::Replaced;
                            let spec = CandidateSpec {
                                replace: Some(&search.value.recipe),
                                finetune: finetune.value.as_ref(),
                                descent: (strategy == Strategy::Descent).then_some(&budgets),
                                ladder: (strategy == Strategy::Ladder)
                                    .then_some(&budgets[..larger]),
                                ..self.candidate_spec(&subject.value, &baseline.value, budget)
                            };
                            self.replaced
                                .push(candidate(&spec, &labels, kind, total, seeds));
                            self.extend(spec, &labels, total, seeds);
                        }
                    }
                }
            }
        }
    }

    /// Lists what comes of a candidate that is trained on, if it may be.
    fn extend(&mut self, spec: CandidateSpec<'_>, labels: &[&str], total: u64, seeds: usize) {
        let epochs = self.manifest.train_on;
        if epochs == 0 || spec.finetune.is_none() {
            return;
        }
        self.extended.push(self.replaced.len() - 1);
        let suffix = format!("{TRAINED_ON_LABEL}{epochs}");
        let labels: Vec<&str> = labels.iter().copied().chain([suffix.as_str()]).collect();
        let spec = CandidateSpec {
            trained_on: Some(epochs),
            ..spec
        };
        let kind = PointKind::Replaced;
        self.replaced
            .push(candidate(&spec, &labels, kind, total, seeds));
    }

    fn candidate_spec<'b>(
        &self,
        subject: &'b Subject,
        baseline: &'b BaselineRecipe,
        budget: u64,
    ) -> CandidateSpec<'b> {
        CandidateSpec {
            version: self.manifest.version,
            net: &subject.net,
            data: &subject.data,
            baseline,
            replace: None,
            finetune: None,
            descent: None,
            ladder: None,
            budget,
            trained_on: None,
        }
    }

    /// Adds the tasks of one seed.
    fn seed(&mut self, parts: &Parts, seed: u64) {
        let mut cursor = Cursor::default();
        let mut pair = 0;
        for subject in &parts.subjects {
            let subject = &subject.value;
            let total = subject.relu_total();
            let budgets = budgets(self.manifest, total);
            for recipe in &parts.baselines {
                let recipe = recipe.value.clone();
                let baseline = self.push(subject, seed, Work::Baseline { recipe });
                let net = output(baseline, NET_OUTPUT.to_owned());
                let evaluation = self.evaluate(subject, seed, net.clone(), total);
                let candidate = &mut self.baselines[cursor.baseline];
                candidate.evaluations.push((seed, evaluation));
                cursor.baseline += 1;
                let at = Place {
                    subject,
                    seed,
                    baseline: &net,
                    pair,
                };
                for (number, search) in parts.searches.iter().enumerate() {
                    self.searches(at, &budgets, (number, &search.value), &mut cursor);
                }
                pair += 1;
            }
        }
    }

    /// Adds the searches of one grid point over all budgets, with what follows them.
    fn searches(
        &mut self,
        at: Place<'_>,
        budgets: &[u64],
        (number, search): (usize, &Search),
        cursor: &mut Cursor,
    ) {
        let strategy = self.manifest.strategy;
        if strategy == Strategy::Ladder {
            return self.ladders(at, budgets, search, cursor);
        }
        for budgets in budgets.chunks(strategy.budgets_at_once(budgets.len())) {
            let place = self.tasks.len();
            let task = self.replace(at, None, budgets, &search.recipe);
            for &budget in budgets {
                let start = output(task, budget_output(budget));
                for end in &search.ends {
                    self.end(at, &start, budget, end, cursor);
                }
            }
            // What more seeds are for is decided by other rules.
            let adaptive = self.manifest.adaptive_seeds;
            let is_compared = adaptive.is_none_or(|it| at.seed < u64::from(it.min));
            if let Some(halving) = self.manifest.halving.filter(|_| is_compared) {
                self.enter(at, budgets, (number, &search.recipe), halving, place);
            }
        }
    }

    /// Adds the searches of one grid point, each from the net at the next larger budget: a ladder for
    /// each way to train on, all of them with the same first search.
    fn ladders(&mut self, at: Place<'_>, budgets: &[u64], search: &Search, cursor: &mut Cursor) {
        // By way to train on, the net at the budget before.
        let mut above: Vec<Option<OutputRef>> = vec![None; search.ends.len()];
        let mut first: Option<TaskId> = None;
        for &budget in budgets {
            for (above, end) in above.iter_mut().zip(&search.ends) {
                let task = match above.take() {
                    None => *first
                        .get_or_insert_with(|| self.replace(at, None, &[budget], &search.recipe)),
                    from @ Some(_) => self.replace(at, from, &[budget], &search.recipe),
                };
                let start = output(task, budget_output(budget));
                *above = Some(self.end(at, &start, budget, end, cursor));
            }
        }
    }

    /// Enters the search at `place`, and the tasks after it, which follow it, into its heat.
    fn enter(
        &mut self,
        at: Place<'_>,
        budgets: &[u64],
        (number, recipe): (usize, &ReplaceRecipe),
        halving: Halving,
        place: usize,
    ) {
        let epochs = recipe.schedule.epochs;
        let rungs = halving.rungs(epochs);
        if rungs.is_empty() {
            return;
        }
        let largest = budgets.first().copied().unwrap_or(0);
        let heat = (self.heats.entry((at.pair, epochs, largest))).or_insert_with(|| Heat {
            rungs,
            reduction: halving.reduction,
            relu_total: at.subject.relu_total(),
            entrants: Vec::new(),
        });
        // Seed after seed the same searches come in the same order.
        let known = heat.entrants.iter().position(|it| it.search == number);
        let at = known.unwrap_or(heat.entrants.len());
        if known.is_none() {
            heat.entrants.push(Entrant {
                search: number,
                ..Entrant::default()
            });
        }
        let entrant = &mut heat.entrants[at];
        let number = |place: usize| u32::try_from(place).expect("plans have less than 2^32 tasks");
        entrant.tasks.push(number(place));
        entrant
            .followers
            .extend((place + 1..self.tasks.len()).map(number));
    }

    fn replace(
        &mut self,
        at: Place<'_>,
        start: Option<OutputRef>,
        budgets: &[u64],
        recipe: &ReplaceRecipe,
    ) -> TaskId {
        let work = Work::Replace {
            baseline: at.baseline.clone(),
            start,
            budgets: budgets.to_vec(),
            recipe: recipe.clone(),
        };
        self.push(at.subject, at.seed, work)
    }

    /// Adds what follows a search at one budget: finetuning, if there is any, and evaluation. Returns
    /// the net that is measured.
    fn end(
        &mut self,
        at: Place<'_>,
        start: &OutputRef,
        budget: u64,
        finetune: &Variant<Option<FinetuneRecipe>>,
        cursor: &mut Cursor,
    ) -> OutputRef {
        let net = match &finetune.value {
            None => start.clone(),
            Some(recipe) => {
                let work = Work::Finetune {
                    start: start.clone(),
                    baseline: at.baseline.clone(),
                    budget,
                    recipe: recipe.clone(),
                };
                output(self.push(at.subject, at.seed, work), NET_OUTPUT.to_owned())
            }
        };
        self.measure(at, net.clone(), budget, cursor);
        if let (Some(recipe), epochs @ 1..) = (&finetune.value, self.manifest.train_on) {
            let mut recipe = recipe.clone();
            recipe.schedule.epochs = epochs;
            let work = Work::Finetune {
                start: net.clone(),
                baseline: at.baseline.clone(),
                budget,
                recipe,
            };
            let more = output(self.push(at.subject, at.seed, work), NET_OUTPUT.to_owned());
            self.measure(at, more, budget, cursor);
        }
        net
    }

    /// Adds the evaluation of the next candidate's net.
    fn measure(&mut self, at: Place<'_>, net: OutputRef, budget: u64, cursor: &mut Cursor) {
        let evaluation = self.evaluate(at.subject, at.seed, net, budget);
        let candidate = &mut self.replaced[cursor.replaced];
        candidate.evaluations.push((at.seed, evaluation));
        cursor.replaced += 1;
    }

    fn evaluate(&mut self, subject: &Subject, seed: u64, net: OutputRef, budget: u64) -> TaskId {
        let work = Work::Evaluate {
            subject: net,
            budget,
        };
        self.push(subject, seed, work)
    }

    fn push(&mut self, subject: &Subject, seed: u64, work: Work) -> TaskId {
        let spec = TaskSpec {
            version: self.manifest.version,
            net: subject.net.clone(),
            data: subject.data.clone(),
            seed,
            work,
        };
        let id = spec.id_with(&mut self.json);
        self.tasks.push(PlannedTask { id, spec });
        id
    }
}

fn output(task: TaskId, output: String) -> OutputRef {
    OutputRef { task, output }
}

fn candidate(
    spec: &CandidateSpec<'_>,
    labels: &[&str],
    kind: PointKind,
    relu_total: u64,
    seeds: usize,
) -> Candidate {
    let mut text = b"autorep-candidate\n".to_vec();
    serde_json::to_writer(&mut text, spec).expect("recipes have string keys and finite numbers");
    let mut label = String::new();
    for part in labels.iter().filter(|part| !part.is_empty()) {
        if !label.is_empty() {
            label.push(' ');
        }
        label.push_str(part);
    }
    if label.is_empty() {
        label.push_str(PLAIN_LABEL);
    }
    Candidate {
        id: CandidateId(Digest::of(&text)),
        label,
        kind,
        strategy: match (spec.descent, spec.ladder) {
            (Some(_), _) => Strategy::Descent,
            (None, Some(_)) => Strategy::Ladder,
            (None, None) => Strategy::Independent,
        },
        data: spec.data.name,
        net: spec.net.family(),
        budget: spec.budget,
        relu_total,
        least_seeds: u32::try_from(seeds).unwrap_or(u32::MAX),
        evaluations: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
