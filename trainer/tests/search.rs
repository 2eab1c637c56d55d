//! What a search reports of itself is what a slow recount says.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::PathBuf;

use autorep_core::data::Check;
use autorep_core::observation::Accuracy;
use autorep_core::recipe::{LatentInit, Method, PenaltySchedule, ReplaceRecipe};
use autorep_core::searched::{Convergence, Effect, Searched};
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::v1::trainer_event::Event;
use autorep_trainer::data::Batches;
use autorep_trainer::host::{Command, Host, HostGone, Outcome};
use autorep_trainer::masked::{Activations, MaskedNet};
use autorep_trainer::methods::{Setup, Start};
use autorep_trainer::train_loop::{self, Checkpoints};
use autorep_trainer::training::Training;
use tch::{Device, Kind};

/// Hears where outputs are.
#[derive(Default)]
struct Listener {
    outputs: Vec<PathBuf>,
}

impl Host for Listener {
    fn command(&mut self) -> Result<Option<Command>, HostGone> {
        Ok(None)
    }

    fn report(&mut self, event: Event) -> Result<(), HostGone> {
        if let Event::CheckpointReady(ready) = event {
            self.outputs.push(ready.folder.into());
        }
        Ok(())
    }
}

/// A place with data and a baseline.
struct Bench {
    folder: tempfile::TempDir,
    baseline: Vec<PathBuf>,
}

impl Bench {
    fn new() -> Self {
        // More threads than free cores make each step of a net this small wait for the scheduler.
        tch::set_num_threads(1);
        let folder = tempfile::tempdir().unwrap();
        common::write_data(folder.path());
        let mut bench = Self {
            folder,
            baseline: vec![],
        };
        let mut training = bench.training(&common::baseline());
        let checkpoints = Checkpoints {
            scratch: bench.folder.path().to_owned(),
            every: None,
            every_steps: None,
            stop_after: None,
        };
        let mut host = Listener::default();
        let outcome = train_loop::run(&mut training, &checkpoints, &mut host).unwrap();
        assert!(matches!(outcome, Outcome::Done(_)));
        bench.baseline = host.outputs;
        bench
    }

    fn training(&self, spec: &TaskSpec) -> Training {
        let setup = Setup {
            spec: spec.clone(),
            input_folders: self.baseline.clone(),
            data: self.folder.path().into(),
            weights: None,
            check: Check::Format,
            device: Device::Cpu,
            threads: 1,
            ranks: autorep_trainer::ranks::Ranks::alone(),
            begun: std::time::Instant::now(),
        };
        setup.training(Start::Anew).unwrap().unwrap()
    }
}

/// The recount: every indicator, step by step, and every projection's net measured anew.
#[derive(Default)]
struct Recount {
    turned_off: u64,
    turned_on: u64,
    /// Of each projection the count before it, and the accuracies around it where it changed
    /// anything.
    projections: Vec<(u64, Option<[Accuracy; 2]>)>,
}

impl Recount {
    /// Searches to the end.
    fn of(training: &mut Training, budgets: &[u64], recipe: &ReplaceRecipe) -> Self {
        let mut recount = Self::default();
        let mut batches = Batches::start(training.stream.clone(), 0, Device::Cpu).unwrap();
        let mut indicators = training.masked.sites.indicators();
        while !training.finished() {
            let searched = training.masked.activations == Activations::Searching;
            let _loss = training.advance(&batches.take().unwrap()).unwrap();
            if !searched {
                continue;
            }
            let latents = training.masked.sites.latents().unwrap().detach();
            let latents = Vec::<f32>::try_from(latents.to_kind(Kind::Float)).unwrap();
            let next = turned(&indicators, &latents, recipe);
            for (before, after) in indicators.iter().zip(&next) {
                recount.turned_off += u64::from(before > after);
                recount.turned_on += u64::from(before < after);
            }
            indicators = next;
            let frozen = training.masked.activations != Activations::Searching;
            let passed = training.passed() + usize::from(frozen);
            for budget in &budgets[recount.projections.len()..passed] {
                recount.project(training, &indicators, &latents, *budget, recipe.method);
            }
        }
        recount
    }

    fn project(
        &mut self,
        training: &mut Training,
        indicators: &[u8],
        latents: &[f32],
        budget: u64,
        method: Method,
    ) {
        let mut order: Vec<usize> = (0..latents.len()).collect();
        order.sort_by(|a, b| latents[*b].total_cmp(&latents[*a]));
        let mut projected = vec![0; latents.len()];
        for at in order.into_iter().take(usize::try_from(budget).unwrap()) {
            projected[at] = 1;
        }
        let stood = training.masked.activations.clone();
        let left = training.masked.sites.indicators();
        let mut measured = |indicators: &[u8], activations: fn(&mut MaskedNet)| {
            let masked = &mut training.masked;
            masked.sites.set_indicators(indicators);
            activations(masked);
            let inputs = training.spec.data.inputs();
            let (accuracy, _) = masked.accuracy(&training.validation, inputs, 1).unwrap();
            accuracy
        };
        let before = measured(indicators, |masked| {
            masked.activations = Activations::Searching;
        });
        let after = measured(&projected, MaskedNet::freeze);
        training.masked.sites.set_indicators(&left);
        training.masked.activations = stood;
        let count = indicators.iter().copied().map(u64::from).sum();
        let changes = projected != indicators || method == Method::Snl;
        self.projections
            .push((count, changes.then_some([before, after])));
    }
}

/// The indicators after a step, by the rule as it is written down.
fn turned(indicators: &[u8], latents: &[f32], recipe: &ReplaceRecipe) -> Vec<u8> {
    let both = indicators.iter().zip(latents);
    let next = both.map(|(&kept, &latent)| {
        let latent = f64::from(latent);
        match (recipe.method, kept) {
            (Method::Snl, _) => latent > 1e-2,
            (Method::Autorep, 1) => latent > -recipe.hysteresis,
            (Method::Autorep, _) => latent > recipe.hysteresis,
        }
    });
    next.map(u8::from).collect()
}

/// Searches and recounts; returns what the search reports of itself with the recount.
fn search(
    bench: &Bench,
    budgets: &[u64],
    change: impl FnOnce(&mut ReplaceRecipe),
) -> (Training, Searched, Recount) {
    let mut spec = common::replace();
    let Work::Replace {
        budgets: asked,
        recipe,
        ..
    } = &mut spec.work
    else {
        panic!("a search");
    };
    *asked = budgets.to_vec();
    change(recipe);
    let recipe = recipe.clone();
    let mut training = bench.training(&spec);
    let recount = Recount::of(&mut training, budgets, &recipe);
    let observation = training.observation(*budgets.last().unwrap());
    let searched = observation.searched.clone().unwrap();
    assert_eq!(searched.turned_off, recount.turned_off);
    assert_eq!(searched.turned_on, recount.turned_on);
    let reported: Vec<_> = (searched.projections.iter())
        .map(|projection| {
            let effect = match projection.effect.unwrap() {
                Effect::Nothing => None,
                Effect::Change { before, after } => Some([before, after]),
            };
            (projection.searched_count, effect)
        })
        .collect();
    assert_eq!(reported, recount.projections);
    (training, searched, recount)
}

#[test]
fn flips_and_what_projection_costs_are_what_a_slow_recount_says() {
    let bench = Bench::new();
    let (_, searched, recount) = search(&bench, &[5000, 4000, 2000, 1000, 300], |_| {});
    // Frozen at the end of the second of three epochs.
    assert_eq!(searched.epochs, 1);
    assert!(recount.turned_off > 4000, "{}", recount.turned_off);
    assert_eq!(recount.projections.len(), 5);
}

#[test]
fn a_search_that_is_cut_down_to_its_budget_says_what_that_cost_and_that_it_was_never_there() {
    let bench = Bench::new();
    let (training, searched, recount) = search(&bench, &[100], |recipe| {
        recipe.penalty = 0.0;
        recipe.latent_init = LatentInit::Constant;
        recipe.latent_value = 0.05;
    });
    let (off, on) = (recount.turned_off, recount.turned_on);
    assert!(off > 0 && on > 0, "{off} turned off, {on} on again");
    let observation = training.observation(100);
    assert_eq!(observation.convergence(100), Some(Convergence::Never));
    let effect = searched.projections[0].effect.unwrap();
    assert!(effect.cost() > 1.0, "{effect:?}");
    // The epoch after it shows the projected net, which is no part of the search.
    assert_eq!(observation.curve.epochs.last().unwrap().relu_count, 100);
}

#[test]
fn shares_that_become_whole_relus_are_measured_too() {
    let bench = Bench::new();
    search(&bench, &[2000, 300], |recipe| {
        recipe.method = Method::Snl;
        recipe.penalty = 1e-3;
        recipe.penalty_schedule = PenaltySchedule::Grow;
        recipe.penalty_growth = 1.5;
        recipe.penalty_checks = 10;
        *recipe = recipe.clone().canonical();
    });
}
