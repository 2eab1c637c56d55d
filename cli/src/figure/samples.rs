//! Made-up sweeps with numbers like real ones, for the tests of all formats.

use autorep_core::candidate::{Candidate, PointKind};
use autorep_core::data::DataSet;
use autorep_core::digest::Digest;
use autorep_core::front::{FrontReport, SweepFront};
use autorep_core::id::{CandidateId, SweepName, TaskId};
use autorep_core::net::Family;
use autorep_core::observation::{Accuracy, LearningCurve, Observation};
use autorep_core::strategy::Strategy;

const IMAGES: u64 = 10_000;

/// A sweep's candidates and what was observed of them so far.
pub(super) struct Sample {
    name: SweepName,
    candidates: Vec<Candidate>,
    pub(super) observations: Vec<(TaskId, Observation)>,
    total: u64,
}

impl Sample {
    pub(super) fn new(name: &str, total: u64) -> Self {
        Self {
            name: name.parse().unwrap(),
            candidates: vec![],
            observations: vec![],
            total,
        }
    }

    /// A candidate with the correct images of the seeds that are in, out of `planned`.
    pub(super) fn with(
        mut self,
        (kind, label, budget): (PointKind, &str, u64),
        correct: &[u64],
        planned: u64,
    ) -> Self {
        let number = self.candidates.len();
        let task = |seed: u64| TaskId(Digest::of(format!("{number} {seed}").as_bytes()));
        self.candidates.push(Candidate {
            id: CandidateId(Digest::of(format!("{number}").as_bytes())),
            label: label.to_owned(),
            kind,
            strategy: Strategy::Independent,
            data: DataSet::Cifar100,
            net: Family::Resnet18,
            budget,
            relu_total: self.total,
            least_seeds: u32::try_from(planned).unwrap(),
            evaluations: (0..planned).map(|seed| (seed, task(seed))).collect(),
        });
        for (seed, &correct) in (0..).zip(correct) {
            let images = IMAGES;
            let validation = correct.saturating_sub(40) / 2;
            let observation = Observation {
                relu_count: budget,
                relu_total: self.total,
                validation: Some(Accuracy {
                    correct: validation,
                    images: images / 2,
                }),
                test: Some(Accuracy { correct, images }),
                searched_count: None,
                selected_epoch: Some(3),
                epochs: 4,
                seconds: 12.5,
                skipped_images: 0,
                curve: LearningCurve::default(),
                searched: None,
            };
            self.observations.push((task(seed), observation));
        }
        self
    }

    pub(super) fn baseline(self, correct: &[u64]) -> Self {
        let total = self.total;
        let planned = correct.len() as u64;
        self.with((PointKind::Baseline, "default", total), correct, planned)
    }

    pub(super) fn point(self, label: &str, budget: u64, correct: &[u64]) -> Self {
        let planned = correct.len() as u64;
        self.with((PointKind::Replaced, label, budget), correct, planned)
    }

    /// The report after the observations in the order they are in.
    pub(super) fn report(&self) -> FrontReport {
        let mut front = SweepFront::new(&self.name, &self.candidates);
        for (task, observation) in &self.observations {
            let change = front.observe(*task, observation);
            assert!(change.refused.is_empty(), "{:?}", change.refused);
        }
        front.report()
    }
}

/// A small grid over four budgets, two seeds each.
pub(super) fn quickstart() -> Sample {
    let low = "replace.penalty=0.0001";
    let high = "replace.penalty=0.0003";
    Sample::new("fashion-quickstart", 48_000)
        .baseline(&[8_941, 8_905])
        .point(low, 1_500, &[8_490, 8_423])
        .point(low, 3_000, &[8_633, 8_586])
        .point(low, 6_000, &[8_722, 8_760])
        .point(low, 24_000, &[8_873, 8_905])
        .point(high, 1_500, &[8_401, 8_352])
        .point(high, 3_000, &[8_655, 8_610])
        .point(high, 6_000, &[8_702, 8_640])
        .point(high, 24_000, &[8_850, 8_835])
}

/// A paper's sweep: a large net, nine budgets, three seeds, one candidate that did not train.
pub(super) fn paper() -> Sample {
    Sample::new("resnet18-cifar100", 491_520)
        .baseline(&[7_792, 7_815, 7_770])
        .point("hysteresis=0.003", 6_000, &[6_951, 7_010, 6_890])
        .point("hysteresis=0.003", 9_000, &[7_132, 7_101, 7_170])
        .point("hysteresis=0.003", 12_900, &[7_320, 7_290, 7_281])
        .point("hysteresis=0.003", 20_000, &[7_401, 7_450, 7_422])
        .point("hysteresis=0.003", 30_000, &[7_460, 7_501, 7_489])
        .point("hysteresis=0.003", 50_000, &[7_546, 7_532, 7_580])
        .point("hysteresis=0.003", 80_000, &[7_601, 7_644, 7_620])
        .point("hysteresis=0.001", 6_000, &[6_700, 6_810, 6_755])
        .point("hysteresis=0.001", 12_900, &[7_211, 7_240, 7_190])
        .point("hysteresis=0.001", 50_000, &[100, 100, 100])
        .point("hysteresis=0.001", 80_000, &[7_580, 7_600, 7_555])
}

/// Many random candidates at many counts.
pub(super) fn crowd(points: u64) -> Sample {
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut sample = Sample::new("crowd", 1_000_000).baseline(&[9_420, 9_391]);
    for number in 0..points {
        let budget = 1_000 * (1 + draw(500)) / (1 + draw(20));
        let best = 9_400 - 2_000_000 / (1_000 + budget);
        let correct = [best - draw(900), best - draw(900)];
        sample = sample.point(&format!("candidate {number}"), budget.max(200), &correct);
    }
    sample
}
