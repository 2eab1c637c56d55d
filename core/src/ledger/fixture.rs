//! A tiny plan for tests: per seed a baseline with its evaluation, one search over all budgets,
//! and for each budget a finetune with its evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Event, Grant, Ledger, Submission, TaskRecord, invariants};
use crate::candidate::{Candidate, PointKind};
use crate::checkpoint::{CheckpointRef, CheckpointRole};
use crate::data::{DataSet, DataSpec, Preparation};
use crate::digest::Digest;
use crate::id::{CandidateId, TaskId, WorkerId};
use crate::lease::LeaseClaim;
use crate::net::{Family, NetSpec};
use crate::observation::{Accuracy, EpochPoint, Interim, LearningCurve, Observation};
use crate::offer::Offer;
use crate::plan::{Plan, PlannedTask};
use crate::recipe::{
    BaselineRecipe, BudgetSchedule, Distillation, FinetuneRecipe, LatentInit, OptimizerKind,
    ReplaceRecipe, Schedule,
};
use crate::retry::Retry;
use crate::strategy::Strategy;
use crate::task::{NET_OUTPUT, OutputRef, RESULT_VERSION, TaskSpec, Work, budget_output};
use crate::terms::Terms;

pub(crate) const TTL_MS: u64 = 1000;
pub(crate) const TOTAL: u64 = 24_000;

fn schedule() -> Schedule {
    Schedule {
        epochs: 1,
        batch: 8,
        optimizer: OptimizerKind::Sgd,
        lr: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        warmup_epochs: 0.0,
        ..Schedule::default()
    }
}

fn distillation() -> Distillation {
    Distillation {
        temperature: 4.0,
        kd_weight: 0.5,
        ce_weight: 0.5,
        teacher: None,
    }
}

fn net(task: TaskId) -> OutputRef {
    OutputRef {
        task,
        output: NET_OUTPUT.to_owned(),
    }
}

fn spec(seed: u64, work: Work) -> TaskSpec {
    TaskSpec {
        version: RESULT_VERSION,
        net: NetSpec::resnet9(8),
        data: DataSpec {
            name: DataSet::FashionMnist,
            train: 100,
            validation: 10,
            augment: false,
            max_corrupt: 0,
            preparation: Preparation::default(),
        },
        seed,
        work,
    }
}

fn search(baseline: OutputRef, budgets: &[u64]) -> Work {
    Work::Replace {
        baseline,
        start: None,
        budgets: budgets.to_vec(),
        recipe: ReplaceRecipe {
            schedule: schedule(),
            distillation: distillation(),
            latent_lr: 0.1,
            latent_init: LatentInit::Constant,
            penalty: 1e-4,
            hysteresis: 0.003,
            degree: 2,
            budget_schedule: BudgetSchedule::Constant,
            anneal_power: 1.0,
            freeze_at: 1.0,
            calibration_batches: 1,
            ..ReplaceRecipe::default()
        },
    }
}

/// The plan for these seeds and falling budgets: `seeds * (3 + 2 * budgets)` tasks.
pub(crate) fn tiny_plan(seeds: &[u64], budgets: &[u64]) -> Plan {
    let mut plan = Plan::default();
    let mut evaluations: Vec<Vec<(u64, TaskId)>> = vec![Vec::new(); budgets.len() + 1];
    for &seed in seeds {
        let mut add = |work: Work| {
            let spec = spec(seed, work);
            let id = spec.id();
            plan.tasks.push(PlannedTask { id, spec });
            id
        };
        let baseline = add(Work::Baseline {
            recipe: BaselineRecipe {
                schedule: schedule(),
                weights: None,
            },
        });
        let replace = add(search(net(baseline), budgets));
        let evaluate = add(Work::Evaluate {
            subject: net(baseline),
            budget: TOTAL,
        });
        evaluations[0].push((seed, evaluate));
        for (at, &budget) in budgets.iter().enumerate() {
            let finetune = add(Work::Finetune {
                start: OutputRef {
                    task: replace,
                    output: budget_output(budget),
                },
                baseline: net(baseline),
                budget,
                recipe: FinetuneRecipe {
                    schedule: schedule(),
                    distillation: distillation(),
                    ..FinetuneRecipe::default()
                },
            });
            let evaluate = add(Work::Evaluate {
                subject: net(finetune),
                budget,
            });
            evaluations[at + 1].push((seed, evaluate));
        }
    }
    let all = std::iter::once(&TOTAL).chain(budgets);
    for ((at, &budget), evaluations) in all.enumerate().zip(evaluations) {
        plan.candidates.push(Candidate {
            id: CandidateId(Digest::of(&budget.to_be_bytes())),
            label: "default".to_owned(),
            kind: if at == 0 {
                PointKind::Baseline
            } else {
                PointKind::Replaced
            },
            strategy: Strategy::Independent,
            data: DataSet::FashionMnist,
            net: Family::Resnet9,
            budget,
            relu_total: TOTAL,
            least_seeds: u32::try_from(evaluations.len()).unwrap(),
            evaluations,
        });
    }
    plan
}

/// A plan with three searches of four epochs for one budget, of which one is stopped at each of two
/// rungs.
pub(crate) fn halved_plan() -> Plan {
    Plan::expand(&crate::manifest::parse(HALVED).unwrap())
}

/// The same tasks, of which none is held back.
pub(crate) fn whole_plan() -> Plan {
    let text = HALVED.replace("  halving: { grace: 1 }\n", "");
    Plan::expand(&crate::manifest::parse(&text).unwrap())
}

const HALVED: &str = "apiVersion: autorep/v1
kind: Sweep
metadata: { name: halved }
spec:
  data: { name: fashion-mnist, train_limit: 100, validation: 10 }
  net: { name: resnet9, width: 8 }
  budgets: [100]
  baseline: { epochs: 1, batch: 10 }
  replace: { epochs: 4, batch: 10 }
  finetune: { epochs: 1, batch: 10 }
  halving: { grace: 1 }
  grid: { replace.penalty: [1.0e-4, 2.0e-4, 3.0e-4] }
";

/// What a task has come to at a rung: by its id some are better than others.
pub(crate) fn interim(task: TaskId, epochs: u32) -> Interim {
    let point = |epoch: u32| EpochPoint {
        relu_count: TOTAL / u64::from(epoch + 1),
        correct: u64::from(task.0.as_bytes()[0] % 10) + 1,
    };
    Interim {
        curve: LearningCurve {
            images: 10,
            epochs: (0..epochs).map(point).collect(),
        },
        seconds: f64::from(epochs),
    }
}

pub(crate) fn submission(name: &str, plan: Plan, attempts: u32) -> Submission {
    Submission {
        sweep: name.parse().unwrap(),
        plan: Arc::new(plan),
        terms: terms(attempts),
    }
}

/// The terms of a sweep that belongs to nobody and needs nothing.
pub(crate) fn terms(attempts: u32) -> Terms {
    Terms {
        retry: Retry::new(attempts, 100),
        ..Terms::default()
    }
}

pub(crate) fn worker(name: &str) -> WorkerId {
    WorkerId(name.to_owned())
}

/// A made-up checkpoint of a claim's task; `salt` tells contents apart.
pub(crate) fn checkpoint(
    claim: LeaseClaim,
    role: CheckpointRole,
    step: u64,
    salt: &str,
) -> CheckpointRef {
    let text = format!("{claim} {role:?} {step} {salt}");
    CheckpointRef {
        task: claim.task,
        generation: claim.generation,
        role,
        step,
        manifest: Digest::of(text.as_bytes()),
    }
}

/// What a trainer would have measured for `spec`.
pub(crate) fn observation(spec: &TaskSpec) -> Observation {
    let budget = match &spec.work {
        Work::Baseline { .. } => TOTAL,
        Work::Replace { budgets, .. } => budgets[0],
        Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => *budget,
    };
    let accuracy = Accuracy {
        correct: 80,
        images: 100,
    };
    Observation {
        relu_count: budget,
        relu_total: TOTAL,
        validation: Some(accuracy),
        test: matches!(spec.work, Work::Evaluate { .. }).then_some(accuracy),
        searched_count: None,
        selected_epoch: Some(1),
        epochs: 1,
        seconds: 1.0,
        skipped_images: 0,
        curve: LearningCurve::default(),
        searched: None,
    }
}

/// A ledger that checks every invariant after each event, and remembers the events.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) ledger: Ledger,
    pub(crate) events: Vec<Event>,
    /// What would be in the store.
    pub(crate) records: BTreeMap<TaskId, TaskRecord>,
}

impl Checked {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Ledger::new(TTL_MS),
            events: Vec::new(),
            records: BTreeMap::new(),
        }
    }

    /// A ledger with the sweep `s` of seed 0 and budgets 100 and 50.
    pub(crate) fn tiny(attempts: u32) -> Self {
        let mut checked = Self::new();
        checked.submit(submission("s", tiny_plan(&[0], &[100, 50]), attempts));
        checked
    }

    #[track_caller]
    pub(crate) fn apply<T>(&mut self, decision: super::Decision<T>) -> T {
        for event in decision.events {
            let before = self.ledger.clone();
            let mut recorded = self.ledger.recorded_by(&event);
            recorded.extend(self.ledger.apply(&event));
            for id in recorded {
                self.records.insert(id, self.ledger.record(id).unwrap());
            }
            invariants::check_step(&before, &event, &self.ledger).unwrap();
            invariants::check(&self.ledger).unwrap();
            self.events.push(event);
        }
        decision.outcome
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, submission: Submission) -> super::Submitted {
        let decision = self.ledger.submit(submission).unwrap();
        self.apply(decision)
    }

    #[track_caller]
    pub(crate) fn try_acquire(&mut self, name: &str, now_ms: u64) -> super::Acquired {
        self.grow(&Offer::default(), now_ms);
        let decision = self
            .ledger
            .acquire(&worker(name), &Offer::default(), now_ms);
        self.apply(decision)
    }

    /// Lets sweeps grow until there is something to lease, or nothing to decide.
    #[track_caller]
    pub(crate) fn grow(&mut self, offer: &Offer, now_ms: u64) {
        while let Some(decision) = self.ledger.grow(offer, now_ms) {
            self.apply(decision);
        }
    }

    #[track_caller]
    pub(crate) fn acquire(&mut self, name: &str, now_ms: u64) -> Grant {
        match self.try_acquire(name, now_ms) {
            super::Acquired::Granted(grant) => *grant,
            nothing @ (super::Acquired::Kept | super::Acquired::Nothing { .. }) => {
                panic!("{nothing:?}")
            }
        }
    }

    pub(crate) fn spec(&self, claim: LeaseClaim) -> TaskSpec {
        self.ledger.task(claim.task).unwrap().spec().clone()
    }

    /// Commits every output of a claim's task.
    #[track_caller]
    pub(crate) fn commit_outputs(&mut self, claim: LeaseClaim) {
        for name in self.spec(claim).outputs() {
            let output = checkpoint(claim, CheckpointRole::Output(name), 9, "");
            let decision = self.ledger.commit(claim, output).unwrap();
            self.apply(decision);
        }
    }

    /// Commits every output of a claim's task and finishes it.
    #[track_caller]
    pub(crate) fn complete(&mut self, claim: LeaseClaim) {
        self.commit_outputs(claim);
        let observation = observation(&self.spec(claim));
        let decision = self.ledger.finish(claim, observation).unwrap();
        self.apply(decision);
    }
}
