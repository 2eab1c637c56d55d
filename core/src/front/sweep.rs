//! The front of one sweep, kept while observations come in.

use std::collections::{BTreeMap, BTreeSet};

use super::search::{Way, searches};
use super::undertrained::{self, Tested};
use super::{Estimate, Flips, FrontChange, FrontReport, FrontRow, Pareto, Point, hypervolume};
use super::{bias, certainty, rounded};
use crate::candidate::{Candidate, PointKind};
use crate::data::DataSet;
use crate::id::{CandidateId, SweepName, TaskId};
use crate::net::Family;
use crate::observation::{Accuracy, Observation};
use crate::plan::Plan;
use crate::searched::Convergence;
use crate::strategy::Strategy;

/// Why an observation cannot be part of a candidate's estimate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A result above its budget is never reported.
    #[error("expected at most {budget} ReLUs, the budget, found {found}")]
    AboveBudget {
        /// ReLUs allowed.
        budget: u64,
        /// ReLUs counted.
        found: u64,
    },
    /// It was measured on a net of another size.
    #[error("expected a net with {expected} ReLUs in full, found one with {found}")]
    OtherTotal {
        /// ReLUs of the candidate's full network.
        expected: u64,
        /// ReLUs of the measured net in full.
        found: u64,
    },
    /// It was not measured on the test set.
    #[error("expected an accuracy on the test set, found none")]
    NoTestAccuracy,
    /// An accuracy of no images, or of more correct images than there are.
    #[error(
        "expected at most as many correct images as images, and at least one, found {correct} of {images}"
    )]
    NoShare {
        /// Images said to be classified correctly.
        correct: u64,
        /// Images said to be measured.
        images: u64,
    },
}

/// An observation that a candidate could not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("candidate {} refuses the result of seed {seed}: {refusal}", candidate.short())]
pub struct RefusedObservation {
    /// The candidate.
    pub candidate: CandidateId,
    /// The seed that was measured.
    pub seed: u64,
    /// Why.
    #[source]
    pub refusal: Refusal,
}

/// What a candidate keeps of one seed.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Measured {
    relu_count: u64,
    test: Accuracy,
    validation: Option<Accuracy>,
}

/// A candidate with the seeds that are in.
#[derive(Clone, Debug)]
struct Entry {
    id: CandidateId,
    label: String,
    kind: PointKind,
    strategy: Strategy,
    data: DataSet,
    net: Family,
    budget: u64,
    relu_total: u64,
    least_seeds: u32,
    seeds: BTreeMap<u64, Measured>,
    /// What the searches behind the seeds say.
    ways: BTreeMap<u64, Way>,
}

/// One use of an `evaluate` task: the candidate's number and the seed it measures there; or one of
/// a `replace` task: the candidate's number and the seed whose net it searched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Use {
    task: TaskId,
    entry: u32,
    seed: u64,
}

/// A sweep's candidates with what was observed of them, and the front they form.
///
/// Its state, and so its report, depends only on the last observation of each task, whatever the
/// order in which tasks were observed. One observation costs O(log n) for n candidates, plus the
/// candidates that it moves onto or off the front.
#[derive(Clone, Debug)]
pub struct SweepFront {
    sweep: SweepName,
    entries: Vec<Entry>,
    /// Sorted, so that a task's uses lie together.
    uses: Vec<Use>,
    /// Of `replace` tasks, sorted in the same way.
    searches: Vec<Use>,
    /// The candidates that are baselines.
    baselines: Vec<u32>,
    pareto: Pareto,
}

impl SweepFront {
    /// The front of a sweep with this plan before anything was observed.
    pub fn of(sweep: &SweepName, plan: &Plan) -> Self {
        let mut front = Self::new(sweep, &plan.candidates);
        let searches = searches(plan).into_iter();
        front.searches = searches
            .map(|(entry, seed, task)| Use { task, entry, seed })
            .collect();
        front.searches.sort_unstable();
        front
    }

    /// The front of `sweep` before anything was observed, if nothing is known of the searches behind
    /// its candidates.
    pub fn new(sweep: &SweepName, candidates: &[Candidate]) -> Self {
        let entries: Vec<Entry> = candidates.iter().map(Entry::of).collect();
        let mut uses: Vec<Use> = (0..)
            .zip(candidates)
            .flat_map(|(entry, candidate)| {
                let evaluations = candidate.evaluations.iter();
                evaluations.map(move |&(seed, task)| Use { task, entry, seed })
            })
            .collect();
        uses.sort_unstable();
        let baselines = (0..)
            .zip(&entries)
            .filter(|(_, entry)| entry.kind == PointKind::Baseline)
            .map(|(owner, _)| owner)
            .collect();
        let owners = u32::try_from(entries.len()).expect("a plan's candidates fit 32 bits");
        Self {
            sweep: sweep.clone(),
            entries,
            uses,
            searches: vec![],
            baselines,
            pareto: Pareto::new(owners),
        }
    }

    /// The tasks whose results it is made from, in rising order, each once.
    pub fn tasks(&self) -> Vec<TaskId> {
        let uses = self.uses.iter().chain(&self.searches);
        let mut tasks: Vec<TaskId> = uses.map(|it| it.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        tasks
    }

    /// Takes in the result of a task in place of any it had before. A task that neither measures a
    /// candidate of this sweep nor searched its net, or the same observation again, changes nothing;
    /// a task that measures several changes each of them.
    pub fn observe(&mut self, task: TaskId, observation: &Observation) -> FrontChange {
        self.replace(task, Some(observation))
    }

    /// Forgets the result of a task: it was set aside.
    pub fn forget(&mut self, task: TaskId) -> FrontChange {
        self.replace(task, None)
    }

    fn replace(&mut self, task: TaskId, observation: Option<&Observation>) -> FrontChange {
        self.note_search(task, observation);
        let mut joined = BTreeSet::new();
        let mut left = BTreeSet::new();
        let mut refused = vec![];
        for at in uses_of(&self.uses, task) {
            let Use { entry, seed, .. } = self.uses[at];
            let changed = &mut self.entries[entry as usize];
            let measured = match observation.map(|observation| changed.accept(observation)) {
                None => None,
                Some(Ok(measured)) => Some(measured),
                Some(Err(refusal)) => {
                    let candidate = changed.id;
                    refused.push(RefusedObservation {
                        candidate,
                        seed,
                        refusal,
                    });
                    None
                }
            };
            match measured {
                Some(measured) => changed.seeds.insert(seed, measured),
                None => changed.seeds.remove(&seed),
            };
            let flips: Flips = self.pareto.set(entry, changed.point());
            // Whoever an earlier use of this task moved may be moved back by a later one.
            for owner in flips.joined {
                if !left.remove(&owner) {
                    joined.insert(owner);
                }
            }
            for owner in flips.left {
                if !joined.remove(&owner) {
                    left.insert(owner);
                }
            }
        }
        FrontChange {
            joined: self.ids(joined),
            left: self.ids(left),
            refused,
        }
    }

    /// Keeps what a search says of the candidates whose nets it searched.
    fn note_search(&mut self, task: TaskId, observation: Option<&Observation>) {
        for at in uses_of(&self.searches, task) {
            let Use { entry, seed, .. } = self.searches[at];
            let entry = &mut self.entries[entry as usize];
            match observation {
                Some(observation) => {
                    let way = Way::of(observation, entry.budget);
                    entry.ways.insert(seed, way)
                }
                None => entry.ways.remove(&seed),
            };
        }
    }

    fn ids(&self, owners: BTreeSet<u32>) -> Vec<CandidateId> {
        let owners = owners.into_iter();
        owners
            .map(|owner| self.entries[owner as usize].id)
            .collect()
    }

    pub(super) const fn pareto(&self) -> &Pareto {
        &self.pareto
    }

    /// ReLUs of a candidate's full network.
    pub(super) fn relu_total(&self, owner: u32) -> u64 {
        self.entries[owner as usize].relu_total
    }

    /// The best mean test accuracy of a baseline, in percent.
    pub(super) fn best_baseline(&self) -> Option<f64> {
        let baselines = self.baselines.iter();
        baselines
            .filter_map(|&owner| self.entries[owner as usize].estimate())
            .map(|estimate| estimate.mean)
            .max_by(f64::total_cmp)
    }

    /// The front as it is now, in the order that [`FrontReport`] promises.
    pub fn report(&self) -> FrontReport {
        let mut rows: Vec<Tested> = (0..)
            .zip(&self.entries)
            .filter_map(|(owner, entry)| {
                Some(Tested {
                    row: entry.row(self.pareto.is_on_front(owner))?,
                    images: entry.test_images(),
                })
            })
            .collect();
        rows.sort_by(|Tested { row: a, .. }, Tested { row: b, .. }| {
            (a.kind.cmp(&b.kind))
                .then(a.relu_count.cmp(&b.relu_count))
                .then(b.accuracy_mean.total_cmp(&a.accuracy_mean))
                .then_with(|| a.candidate.cmp(&b.candidate))
                .then(a.id.cmp(&b.id))
        });
        undertrained::fill(&mut rows);
        let mut rows: Vec<FrontRow> = rows.into_iter().map(|it| it.row).collect();
        certainty::fill(&mut rows);
        FrontReport {
            sweep: self.sweep.clone(),
            hypervolume: rows_hypervolume(&rows),
            rows,
        }
    }
}

/// The places of a task's uses among sorted ones.
fn uses_of(uses: &[Use], task: TaskId) -> std::ops::Range<usize> {
    uses.partition_point(|at| at.task < task)..uses.partition_point(|at| at.task <= task)
}

fn rows_hypervolume(rows: &[FrontRow]) -> f64 {
    let points: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row.on_front)
        .map(|row| {
            let share = row.relu_count as f64 / row.relu_total.max(1) as f64;
            (share, row.accuracy_mean / 100.0)
        })
        .collect();
    hypervolume(&points)
}

impl Entry {
    fn of(candidate: &Candidate) -> Self {
        Self {
            id: candidate.id,
            label: candidate.label.clone(),
            kind: candidate.kind,
            strategy: candidate.strategy,
            data: candidate.data,
            net: candidate.net,
            budget: candidate.budget,
            relu_total: candidate.relu_total,
            least_seeds: candidate.least_seeds,
            seeds: BTreeMap::new(),
            ways: BTreeMap::new(),
        }
    }

    /// What to keep of an observation, if it can be this candidate's.
    fn accept(&self, observation: &Observation) -> Result<Measured, Refusal> {
        if observation.relu_count > self.budget {
            return Err(Refusal::AboveBudget {
                budget: self.budget,
                found: observation.relu_count,
            });
        }
        if observation.relu_total != self.relu_total {
            return Err(Refusal::OtherTotal {
                expected: self.relu_total,
                found: observation.relu_total,
            });
        }
        let test = observation.test.ok_or(Refusal::NoTestAccuracy)?;
        for accuracy in [Some(test), observation.validation].into_iter().flatten() {
            let Accuracy { correct, images } = accuracy;
            if images == 0 || correct > images {
                return Err(Refusal::NoShare { correct, images });
            }
        }
        Ok(Measured {
            relu_count: observation.relu_count,
            test,
            validation: observation.validation,
        })
    }

    fn relu_count(&self) -> u64 {
        let counts = self.seeds.values().map(|seed| seed.relu_count);
        counts.max().unwrap_or(0)
    }

    /// Images of the test set: the fewest that a seed was measured on. They are the same for each
    /// seed, so that more seeds do not make them more.
    fn test_images(&self) -> u64 {
        let images = self.seeds.values().map(|seed| seed.test.images);
        images.min().unwrap_or(0)
    }

    /// What the searches behind the seeds that are in say: the worst convergence, and the mean of
    /// what projection cost; each if it is known for every one of them.
    fn way(&self) -> Way {
        let ways = || self.seeds.keys().map(|seed| self.ways.get(seed));
        let convergences: Option<Vec<Convergence>> = ways().map(|way| way?.convergence).collect();
        let costs: Option<Vec<f64>> = ways().map(|way| way?.cost).collect();
        Way {
            convergence: convergences.and_then(|it| it.into_iter().max()),
            cost: costs.map(|costs| {
                let mean = costs.iter().sum::<f64>() / costs.len().max(1) as f64;
                // Without the digits that subtraction makes up.
                rounded(mean, 1e9)
            }),
        }
    }

    fn estimate(&self) -> Option<Estimate> {
        let tests: Vec<Accuracy> = self.seeds.values().map(|seed| seed.test).collect();
        Estimate::over(&tests)
    }

    /// Where it stands among the others. Baselines do not take part.
    fn point(&self) -> Option<Point> {
        match self.kind {
            PointKind::Baseline => None,
            PointKind::Replaced => self.estimate().map(|estimate| Point {
                relu_count: self.relu_count(),
                accuracy: estimate.mean,
            }),
        }
    }

    /// Its row in the report, once a seed is in.
    fn row(&self, on_front: bool) -> Option<FrontRow> {
        let test = self.estimate()?;
        let validations: Option<Vec<Accuracy>> =
            self.seeds.values().map(|seed| seed.validation).collect();
        let validation = validations.and_then(|seeds| Estimate::over(&seeds));
        let both = self.seeds.values().map(|seed| (seed.validation, seed.test));
        let bias = bias::over(&both.collect::<Vec<_>>());
        let way = self.way();
        Some(FrontRow {
            id: self.id,
            candidate: self.label.clone(),
            kind: self.kind,
            strategy: self.strategy,
            data: self.data.name().to_owned(),
            net: self.net.name().to_owned(),
            budget: self.budget,
            relu_count: self.relu_count(),
            relu_total: self.relu_total,
            accuracy_mean: test.mean,
            accuracy_std: test.std,
            accuracy_se: test.standard_error(),
            p_on_front: None,
            front_low: None,
            front_high: None,
            validation_mean: validation.map(|estimate| estimate.mean),
            seeds: test.n,
            seeds_planned: self.least_seeds.max(test.n),
            on_front,
            lies_under: None,
            selection_bias: bias.map(|bias| bias.mean),
            selection_bias_se: bias.and_then(|bias| bias.error),
            convergence: way.convergence,
            projection_cost: way.cost,
        })
    }
}
