//! Problems between values that are each good by themselves.
//!
//! A check whose values are missing or wrong is left out: those have problems of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, GivenValue, axis_field};
use crate::manifest::grid::{Part, PartSizes, Parts, Subject, TaskCounts, Twins, Variant};
use crate::manifest::{Arm, Axis, AxisValue, BudgetSpec};
use crate::net::NET_SETTINGS;
use crate::recipe::{Distillation, Method, PolynomialStart, Schedule};
use crate::strategy::Strategy;
use crate::text::{counted, grouped};

impl Checker {
    pub(super) fn meaning(&mut self, task_limit: u64) {
        self.images();
        self.stage("baseline");
        self.weights();
        self.teacher();
        self.for_each_arm(|checker| {
            for stage in ["replace", "finetune"] {
                checker.stage(stage);
                checker.losses(stage);
            }
            checker.identity();
            checker.refreshes();
            checker.ordered("replace.latent_low", "replace.latent_high");
            checker.ordered("replace.refresh_every", "replace.refresh_until");
        });
        self.net_settings();
        self.nodes();
        self.spread_budgets();
        let (axes, arms) = (self.plain_axes(), self.plain_arms());
        if self.size(&arms, &axes, task_limit) {
            let parts = Parts::of_grid(&self.settings, &arms, &axes);
            self.budgets_fit(&parts.subjects);
            self.twins(&parts.twins);
            self.arm_twins(&arms);
            self.halving(&parts);
            self.refinement_fits();
            self.training_on();
        }
    }

    /// Halving must find at least two searches to compare, before they have ended and from the same
    /// start.
    fn halving(&mut self, parts: &Parts) {
        let halving = self.operations.halving;
        let path = "spec.halving.grace";
        let is_given = |path: &str| self.places.contains_key(path);
        if is_given("spec.halving") && !is_given(path) {
            let message = "expected grace, the epochs of the first rung, found none: without it no \
                           search is stopped (grace: 0 says so)";
            return self.problem(self.place(path), path, message);
        }
        let unknown = self.arms.is_empty() && self.broken.contains("spec.replace.epochs");
        if halving.grace == 0 || self.broken.contains(path) || unknown {
            return;
        }
        if self.operations.strategy == Strategy::Ladder {
            let message = "expected strategy independent or descent with halving, found ladder: it \
                           compares searches that start from the same net, and a ladder's start \
                           from one another's";
            return self.problem(self.place(path), path, message);
        }
        let mut groups: BTreeMap<u32, usize> = BTreeMap::new();
        for search in &parts.searches {
            *groups
                .entry(search.value.recipe.schedule.epochs)
                .or_default() += 1;
        }
        let compared = groups.iter().filter(|(_, searches)| **searches > 1);
        let longest = compared.map(|(&epochs, _)| epochs).max();
        let message = if longest.is_none() {
            "expected at least two ways to search in as many epochs, found none to compare: give \
             the grid an axis of replace, or arms, or leave halving out"
                .to_owned()
        } else if let Some(longest) = longest.filter(|&epochs| halving.rungs(epochs).is_empty()) {
            format!(
                "expected less than the {longest} epochs of the searches that are compared, found \
                 {}: none would be stopped",
                halving.grace
            )
        } else {
            return;
        };
        self.problem(self.place(path), path, message);
    }

    /// What is trained on is finetuned once more: there must be a finetuning.
    fn training_on(&mut self) {
        let path = "spec.under_trained.epochs";
        let varies = (self.axes.iter()).any(|axis| axis.field.name() == "finetune.epochs");
        let broken = "spec.finetune.epochs";
        let none = !varies
            && self.arms.iter().all(|arm| {
                !arm.broken.contains(broken)
                    && !self.broken.contains(broken)
                    && arm.settings.finetune.schedule.epochs == 0
            });
        if self.operations.train_on > 0 && none {
            let message = "expected finetune.epochs above 0 where points are trained on, found 0: \
                           they are finetuned once more, from the net that was measured";
            self.problem(self.place(path), path, message);
        }
    }

    /// Each of a task's workers has as many of its GPUs.
    fn nodes(&mut self) {
        let path = "spec.resources.nodes";
        let (gpus, nodes) = {
            let needs = &self.operations.resources;
            (needs.gpus, needs.nodes)
        };
        let unknown = self.broken.contains(path) || self.broken.contains("spec.resources.gpus");
        if unknown || nodes <= 1 || (gpus > 0 && gpus % nodes == 0) {
            return;
        }
        let least = gpus.div_ceil(nodes).max(1);
        let message = format!(
            "expected resources.gpus to be a multiple of {nodes} nodes, so that each has as many, found \
             {gpus}; {least} on each are gpus: {}",
            least * nodes
        );
        self.problem(self.place(path), path, message);
    }

    /// What holds for every stage.
    fn stage(&mut self, stage: &str) {
        self.batches(stage);
        self.warm_up(stage);
        self.learning_rate(stage);
    }

    /// The values that a setting takes: those of its axis, or its one value.
    pub(super) fn values(&self, field: &str) -> Vec<GivenValue> {
        let path = format!("spec.{field}");
        if let Some(axis) = self.axes.iter().find(|axis| axis.field.name() == field) {
            return axis.values.clone();
        }
        if self.broken.contains(&path) || self.announced.contains(field) {
            return Vec::new();
        }
        let place = self.place(&path);
        self.own_value(field)
            .map(|value| GivenValue { value, place, path })
            .into_iter()
            .collect()
    }

    /// The value of a setting outside the grid, for the settings that checks compare.
    fn own_value(&self, field: &str) -> Option<AxisValue> {
        let (section, key) = field.split_once('.')?;
        if field == "net.name" {
            return Some(AxisValue::Choice(self.settings.net.name.name().to_owned()));
        }
        if field == "replace.polynomial_start" {
            let name = self.settings.replace.polynomial_start.name();
            return Some(AxisValue::Choice(name.to_owned()));
        }
        if field == "net.depth" {
            return Some(AxisValue::Count(u64::from(self.settings.net.depth)));
        }
        let count = |count: u32| AxisValue::Count(u64::from(count));
        if field == "data.train_limit" {
            return Some(count(self.settings.data.train));
        }
        let (schedule, distillation): (&Schedule, Option<&Distillation>) = match section {
            "baseline" => (&self.settings.baseline.schedule, None),
            "replace" => {
                let recipe = &self.settings.replace;
                (&recipe.schedule, Some(&recipe.distillation))
            }
            "finetune" => {
                let recipe = &self.settings.finetune;
                (&recipe.schedule, Some(&recipe.distillation))
            }
            _ => return None,
        };
        match key {
            "epochs" => Some(count(schedule.epochs)),
            "batch" => Some(count(schedule.batch)),
            "lr" => Some(AxisValue::Number(schedule.lr)),
            "lr_min" => Some(AxisValue::Number(schedule.lr_min)),
            "warmup_epochs" => Some(AxisValue::Number(schedule.warmup_epochs)),
            "kd_weight" => Some(AxisValue::Number(distillation?.kd_weight)),
            "ce_weight" => Some(AxisValue::Number(distillation?.ce_weight)),
            "degree" => Some(count(self.settings.replace.degree)),
            "refresh_every" => Some(count(self.settings.replace.refresh_every)),
            "refresh_until" => Some(count(self.settings.replace.refresh_until)),
            "latent_low" => Some(AxisValue::Number(self.settings.replace.latent_low)),
            "latent_high" => Some(AxisValue::Number(self.settings.replace.latent_high)),
            _ => None,
        }
    }

    /// The values of a setting as numbers.
    pub(super) fn numbers(&self, field: &str) -> Vec<(f64, GivenValue)> {
        let values = self.values(field).into_iter();
        values
            .filter_map(|given| match given.value {
                AxisValue::Count(count) => Some((count as f64, given)),
                AxisValue::Number(number) => Some((number, given)),
                AxisValue::Switch(_) | AxisValue::Choice(_) => None,
            })
            .collect()
    }

    fn least(&self, field: &str) -> Option<f64> {
        let numbers = self.numbers(field).into_iter();
        numbers.map(|(number, _)| number).min_by(f64::total_cmp)
    }

    /// Training and validation images must be in the data set.
    fn images(&mut self) {
        if self.broken.contains("spec.data.name") || self.broken.contains("spec.data.validation") {
            return;
        }
        let data = &self.settings.data;
        let (name, validation) = (data.name.name(), data.validation);
        let all = data.name.training_images();
        if validation >= all {
            let message = format!(
                "expected fewer validation images than the {} training images of {name}, found {}",
                grouped(u64::from(all)),
                grouped(u64::from(validation)),
            );
            let path = "spec.data.validation";
            self.problem(self.place(path), path, message);
            self.broken.insert("spec.data.train_limit".to_owned());
            return;
        }
        let most = all - validation;
        for (train, given) in self.numbers("data.train_limit") {
            if train > f64::from(most) {
                let message = format!(
                    "expected at most {} training images ({} of {name} less {} for validation), found {}",
                    grouped(u64::from(most)),
                    grouped(u64::from(all)),
                    grouped(u64::from(validation)),
                    given.value,
                );
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// There must be one full batch at least, and in it an image for each GPU of a task.
    fn batches(&mut self, stage: &str) {
        let trains = self.numbers(&format!("{stage}.epochs"));
        if !trains.is_empty() && trains.iter().all(|(epochs, _)| *epochs == 0.0) {
            return;
        }
        let unknown = self.broken.contains("spec.resources.gpus");
        let gpus = if unknown {
            0
        } else {
            self.operations.resources.gpus
        };
        for (batch, given) in self.numbers(&format!("{stage}.batch")) {
            if batch < f64::from(gpus) {
                let message = format!(
                    "expected a batch of at least {gpus} images, one for each GPU of \
                     resources.gpus, found {batch}"
                );
                self.problem(given.place, &given.path, message);
            }
        }
        let Some(train) = self.least("data.train_limit") else {
            return;
        };
        for (batch, given) in self.numbers(&format!("{stage}.batch")) {
            if batch > train {
                let message = format!(
                    "expected a batch of at most the {train} training images, found {batch}"
                );
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// The learning rate must have risen before the last step.
    fn warm_up(&mut self, stage: &str) {
        let epochs = self.numbers(&format!("{stage}.epochs")).into_iter();
        let trained = epochs
            .map(|(epochs, _)| epochs)
            .filter(|epochs| *epochs > 0.0);
        let Some(shortest) = trained.min_by(f64::total_cmp) else {
            return;
        };
        for (warm_up, given) in self.numbers(&format!("{stage}.warmup_epochs")) {
            if warm_up > shortest {
                let message = format!(
                    "expected a warm-up of at most the stage's {shortest} epochs, found {warm_up}"
                );
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// A learning rate must not end above where it begins.
    fn learning_rate(&mut self, stage: &str) {
        let Some(lowest) = self.least(&format!("{stage}.lr")) else {
            return;
        };
        for (lr_min, given) in self.numbers(&format!("{stage}.lr_min")) {
            if lr_min > lowest {
                let message = format!("expected at most the stage's lr, {lowest}, found {lr_min}");
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// A stage must have something to learn from.
    fn losses(&mut self, stage: &str) {
        let zero = |checker: &Self, key: &str| {
            let mut numbers = checker.numbers(&format!("{stage}.{key}")).into_iter();
            numbers.find(|(number, _)| *number == 0.0)
        };
        let (kd, ce) = (zero(self, "kd_weight"), zero(self, "ce_weight"));
        if let (Some((_, kd)), Some((_, ce))) = (kd, ce) {
            let later = if (ce.place, &ce.path) < (kd.place, &kd.path) {
                kd
            } else {
                ce
            };
            let message =
                "expected kd_weight or ce_weight above 0: with both at 0 nothing is learned";
            self.problem(later.place, &later.path, message);
        }
    }

    /// Of two settings the one may not be above the other.
    fn ordered(&mut self, low: &str, high: &str) {
        let Some(least) = self.least(high) else {
            return;
        };
        let name = high.rsplit('.').next().unwrap_or(high);
        for (number, given) in self.numbers(low) {
            if number > least {
                let message = format!("expected at most {name}, {least}, found {number}");
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// A search must be long enough for its running start to be computed.
    fn refreshes(&mut self) {
        let mut starts = self.values("replace.polynomial_start").into_iter();
        let running = AxisValue::Choice(PolynomialStart::Running.name().to_owned());
        if self.settings.replace.method == Method::Snl || !starts.any(|it| it.value == running) {
            return;
        }
        let batches = self.numbers("replace.batch").into_iter();
        let batch = batches.map(|(batch, _)| batch).max_by(f64::total_cmp);
        let (epochs, train) = (self.least("replace.epochs"), self.least("data.train_limit"));
        let (Some(epochs), Some(train), Some(batch)) = (epochs, train, batch) else {
            return;
        };
        let steps = epochs * (train / batch).floor();
        for (every, given) in self.numbers("replace.refresh_every") {
            if every > steps {
                let message = format!(
                    "expected at most the {steps} steps of a search, found {every}: its \
                     polynomials would never be computed"
                );
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// The identity is a polynomial of degree 1.
    fn identity(&mut self) {
        if self.settings.replace.method == Method::Snl {
            return;
        }
        let mut starts = self.values("replace.polynomial_start").into_iter();
        if !starts.any(|start| start.value == AxisValue::Choice("identity".to_owned())) {
            return;
        }
        for (degree, given) in self.numbers("replace.degree") {
            if degree == 0.0 {
                let message = "expected 1 or 2 with polynomial_start identity, found 0: for \
                               g(x) = x give degree 1, and coefficient_lr_scale 0 in both stages";
                self.problem(given.place, &given.path, message);
            }
        }
    }

    /// The number of tasks, found by counting alone; whether it is small enough to go on.
    fn size(&mut self, arms: &[Arm], axes: &[Axis], task_limit: u64) -> bool {
        let sizes = PartSizes::of_axes(arms, axes);
        let (budgets, seeds) = (self.budgets.len().max(1), self.seeds.len().max(1));
        let strategy = self.operations.strategy;
        let tasks = TaskCounts::of(
            &sizes,
            strategy,
            budgets,
            seeds,
            self.operations.train_on > 0,
        )
        .total();
        if tasks <= u128::from(task_limit) {
            return true;
        }
        let points = [sizes.subjects, sizes.baselines, sizes.ends]
            .into_iter()
            .fold(1, u128::saturating_mul);
        let shown = |count: u128| match u64::try_from(count) {
            Ok(count) => grouped(count),
            Err(_) => format!("more than {}", grouped(u64::MAX)),
        };
        let points = match points {
            1 => "1 grid point".to_owned(),
            many => format!("{} grid points", shown(many)),
        };
        let message = format!(
            "expected a plan of at most {} tasks, found {} ({points}, {}, {})",
            grouped(task_limit),
            shown(tasks),
            counted(budgets as u64, "budget"),
            counted(seeds as u64, "seed"),
        );
        let path = if axes.is_empty() { "spec" } else { "spec.grid" };
        self.problem(self.place(path), path, message);
        false
    }

    /// Budgets must be within every network's total, and differ.
    fn budgets_fit(&mut self, subjects: &[Variant<Subject>]) {
        let settings = NET_SETTINGS.iter().map(|key| format!("spec.net.{key}"));
        let names = ["spec.data.name", "spec.net.name"].map(str::to_owned);
        if names
            .into_iter()
            .chain(settings)
            .any(|field| self.broken.contains(&field))
        {
            self.budgets_differ();
            return;
        }
        // One problem per budget, however many nets of the grid it does not fit.
        let mut reported: BTreeSet<usize> = BTreeSet::new();
        let mut totals: BTreeSet<u64> = BTreeSet::new();
        let mut found = Vec::new();
        for subject in subjects {
            let total = subject.value.relu_total();
            if !totals.insert(total) {
                continue;
            }
            let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
            for (index, given) in self.budgets.iter().enumerate() {
                let relus = given.budget.relus(total);
                let message = if relus > total {
                    above_total(subject, relus, total)
                } else if relus == 0 {
                    format!(
                        "{} of {} is less than one ReLU",
                        given.budget,
                        of_net(subject, total)
                    )
                } else if let Some(&first) = counts.get(&relus) {
                    let (first, second) = (self.budgets[first].budget, given.budget);
                    if first == second {
                        given_twice(second)
                    } else {
                        let relus = grouped(relus);
                        let net = of_net(subject, total);
                        format!("{first} and {second} are the same budget: {relus} of {net}")
                    }
                } else {
                    counts.insert(relus, index);
                    continue;
                };
                if reported.insert(index) {
                    found.push(given.place.problem(given.path.clone(), message));
                }
            }
        }
        self.problems.append(&mut found);
    }

    /// What can be said of budgets where no total is known: none is given twice.
    fn budgets_differ(&mut self) {
        let mut seen: BTreeSet<BudgetSpec> = BTreeSet::new();
        let mut found = Vec::new();
        for given in &self.budgets {
            if !seen.insert(given.budget) {
                let message = given_twice(given.budget);
                found.push(given.place.problem(given.path.clone(), message));
            }
        }
        self.problems.append(&mut found);
    }

    /// No two grid points may give the same candidate.
    fn twins(&mut self, twins: &[Twins]) {
        let mut reported: BTreeSet<String> = BTreeSet::new();
        for twin in twins {
            let differs = |(first, second): &(&str, &str)| first != second;
            let pairs = twin.first.split(' ').zip(twin.second.split(' '));
            let Some((first, second)) = pairs.filter(differs).last() else {
                continue;
            };
            let field = second.split('=').next().unwrap_or_default().to_owned();
            let told_already = self.broken.contains(&format!("spec.{field}"));
            if told_already || !reported.insert(field.clone()) {
                continue;
            }
            let why = self.reason(twin.part, &field);
            let message = format!("{first} and {second} give the same candidate{why}");
            let axis = self.axes.iter().find(|axis| axis.field.name() == field);
            let place = axis.map_or_else(|| self.place("spec.grid"), |axis| axis.place);
            self.problem(place, &format!("spec.grid.{field}"), message);
        }
    }

    /// No two arms may mean the same: one of them would be missing on the front without a word.
    fn arm_twins(&mut self, arms: &[Arm]) {
        if !self.problems.is_empty() {
            return; // A key that could not be read may be the difference.
        }
        let meaning = |arm: &Arm| {
            let replace = arm.replace.clone().canonical();
            let finetune = arm.finetune.clone().canonical(&replace);
            (replace, finetune)
        };
        for (index, arm) in arms.iter().enumerate() {
            let twin = arms[..index].iter().find(|it| meaning(it) == meaning(arm));
            if let (Some(Some(twin)), Some(name)) = (twin.map(|it| &it.name), &arm.name) {
                let message = format!(
                    "the arms {twin} and {name} give the same candidates: expected a difference \
                     that has an effect"
                );
                self.problem(self.place("spec.arms"), "spec.arms", message);
            }
        }
    }

    /// Why a setting has no effect.
    fn reason(&self, part: Part, field: &str) -> String {
        if let Some(lacking) = self.family_without(field) {
            return format!(": {} has no such setting", lacking.name());
        }
        let reason = match field.rsplit('.').next() {
            Some("momentum") => ": momentum has no effect under adam",
            Some("lr_min") => ": lr_min has no effect where lr_decay is constant",
            Some("lookahead_alpha") => ": lookahead_alpha has no effect where lookahead_steps is 0",
            Some("decay_all") => ": decay_all has no effect where weight_decay is 0",
            Some("latent_value") => ": latent_value is for latent_init constant alone",
            Some("latent_low" | "latent_high") => ": this key is for latent_init uniform alone",
            Some("refresh_every" | "refresh_until") => {
                ": this key is for polynomial_start running alone"
            }
            Some("c0_damping" | "c2_damping") => ": there is no such coefficient to damp",
            Some("calibration_batches") => ": nothing is measured before the first step",
            Some("penalty_growth" | "penalty_checks" | "penalty_grace") => {
                ": this key is for penalty_schedule grow alone"
            }
            Some("anneal_power") => ": anneal_power is for budget_schedule anneal alone",
            Some("quadratic_lr_scale") => ": there is no quadratic coefficient to train",
            Some("temperature") => ": temperature has no effect where kd_weight is 0",
            _ if part == Part::Baseline && self.settings.baseline.weights.is_some() => {
                ": of baseline only weights and precision have an effect where its epochs are 0"
            }
            _ if part == Part::Finetune && axis_field(field).is_some() => {
                ": nothing of finetune has an effect where its epochs are 0"
            }
            _ => "",
        };
        reason.to_owned()
    }
}

fn given_twice(budget: BudgetSpec) -> String {
    format!("the budget {budget} is given twice")
}

fn of_net(subject: &Variant<Subject>, total: u64) -> String {
    format!(
        "the {} ReLUs (T) of {} on {}",
        grouped(total),
        subject.value.net,
        subject.value.data.name.name(),
    )
}

fn above_total(subject: &Variant<Subject>, relus: u64, total: u64) -> String {
    format!(
        "expected at most {}, found {}",
        of_net(subject, total),
        grouped(relus)
    )
}
