//! Walks the tree of a manifest and gathers every problem.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::BudgetSpec;
use super::fields::{
    AxisField, Fallback, Field, Kind, Operations, SECTIONS, Section, Settings, Target, axis_field,
    presets,
};
use super::problem::Problem;
use super::read::{self, Refusal};
use super::suggest::closest;
use super::tree::{self, Key, Node, Place, Value, quote};
use super::{Axis, AxisValue, Manifest};
use crate::data::{DataSet, DataSpec, Preparation};
use crate::growth::{AdaptiveSeeds, Refine};
use crate::id::SweepName;
use crate::net::Family;
use crate::recipe::{BaselineRecipe, FinetuneRecipe, Method, ReplaceRecipe, Schedule};
use crate::strategy::Strategy;
use crate::task::RESULT_VERSION;

mod arms;
pub(super) mod budgets;
mod grid;
mod lists;
mod mapping;
mod meaning;
mod net;
mod teacher;
mod weights;

pub(super) use arms::{ARM_FIELDS, MAX_ARMS};
pub(super) use grid::{MAX_AXIS_VALUES, RANGE_KEYS, SCALES};

/// Reads and checks a manifest whose plan has at most `task_limit` tasks.
pub(super) fn manifest(text: &str, task_limit: u64) -> Result<Manifest, Vec<Problem>> {
    let root = tree::read(text).map_err(|problem| vec![problem])?;
    let mut checker = Checker::new();
    if let Some(section) = SECTIONS.first() {
        checker.section(section, Some(&root), Place::START);
    }
    checker.arms(&root);
    checker.settle();
    checker.meaning(task_limit);
    checker.finish()
}

/// What has been read so far.
struct Checker {
    problems: Vec<Problem>,
    /// Where each path that the text gives stands.
    places: BTreeMap<String, Place>,
    /// Fields that are missing or wrong: what depends on them is not checked.
    broken: BTreeSet<String>,
    /// Paths that misspelt keys were probably meant to be: they are not reported as missing.
    misspelt: BTreeSet<String>,
    /// Axes that the grid names.
    announced: BTreeSet<String>,
    /// Where defaults come from.
    preset: String,
    /// The method, which has defaults of its own.
    method: String,
    /// The strategy, which has one, too.
    strategy: Strategy,
    /// Whether there are arms and none is being read: what a search lacks, each may give.
    arms_follow: bool,
    arms: Vec<arms::GivenArm>,
    settings: Settings,
    operations: Operations,
    name: Option<SweepName>,
    budgets: Vec<GivenBudget>,
    seeds: Vec<u64>,
    adaptive_seeds: Option<AdaptiveSeeds>,
    range: Option<budgets::GivenRange>,
    refine: Option<Refine>,
    axes: Vec<GivenAxis>,
    weights: weights::GivenWeights,
    teacher: weights::GivenWeights,
}

/// A budget with its place.
struct GivenBudget {
    budget: BudgetSpec,
    place: Place,
    path: String,
}

/// An axis with the places of its values.
struct GivenAxis {
    field: AxisField,
    place: Place,
    values: Vec<GivenValue>,
}

/// One value of a setting, where it stands.
#[derive(Clone)]
struct GivenValue {
    value: AxisValue,
    place: Place,
    path: String,
}

impl Checker {
    fn new() -> Self {
        Self {
            problems: Vec::new(),
            places: BTreeMap::new(),
            broken: BTreeSet::new(),
            misspelt: BTreeSet::new(),
            announced: BTreeSet::new(),
            preset: "default".to_owned(),
            method: Method::Autorep.name().to_owned(),
            strategy: Strategy::default(),
            arms_follow: false,
            arms: Vec::new(),
            settings: blank_settings(),
            operations: Operations::default(),
            name: None,
            budgets: Vec::new(),
            seeds: vec![0],
            adaptive_seeds: None,
            range: None,
            refine: None,
            axes: Vec::new(),
            weights: weights::GivenWeights::default(),
            teacher: weights::GivenWeights::default(),
        }
    }

    fn problem(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.problems.push(place.problem(path, message));
    }

    fn refused(&mut self, place: Place, path: &str, refusal: Refusal) {
        let mut problem = place.problem(path, refusal.message);
        problem.suggestion = refusal.suggestion;
        self.problems.push(problem);
        self.broken.insert(path.to_owned());
    }

    /// Where a path stands, or else the closest section above it.
    fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rsplit_once('.') {
                Some((above, _)) => path = above,
                None => return Place::START,
            }
        }
    }

    /// Checks a mapping; `None` where it is missing. `place` is that of its key.
    fn section(&mut self, section: &'static Section, node: Option<&Node>, place: Place) {
        let entries: &[(Key, Node)] = match node {
            None => &[],
            Some(node) if node.value == Value::Null => &[],
            Some(node) => {
                let Some(entries) = node.map() else {
                    let message = format!("expected keys with values, found {}", node.found());
                    self.problem(node.place, section.path, message);
                    return self.abandon(section);
                };
                entries
            }
        };
        if section.path == "spec" {
            self.announce(entries);
        }
        let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, value) in entries {
            if let Some(line) = lines.get(key.text.as_str()) {
                let path = section.path_of(&shown(&key.text));
                let message = format!("is given twice, first in line {line}");
                self.problem(key.place, &path, message);
            } else {
                lines.insert(&key.text, key.place.line);
                self.entry(section, key, value);
            }
        }
        for field in section.fields() {
            if !lines.contains_key(field.key) {
                self.absent(section, field, place);
            }
        }
        for child in section.children() {
            if !lines.contains_key(child.key()) {
                self.section(child, None, place);
            }
        }
    }

    /// Notes what decides about keys that are not given: the preset, the method, whether there
    /// are arms, and the grid's axes, whose fields need no value of their own.
    fn announce(&mut self, entries: &[(Key, Node)]) {
        self.defaults_of(entries);
        for (key, node) in entries {
            self.arms_follow |= key.text == "arms" && node.value != Value::Null;
            if let (Value::Map(axes), "grid") = (&node.value, key.text.as_str()) {
                self.announced
                    .extend(axes.iter().map(|(axis, _)| axis.text.clone()));
            }
        }
    }

    /// Takes the preset and the method out of these entries, where they are good.
    fn defaults_of(&mut self, entries: &[(Key, Node)]) {
        for (key, node) in entries {
            let Some(text) = node.text() else {
                continue;
            };
            match key.text.as_str() {
                "preset" if presets::NAMES.contains(&text) => text.clone_into(&mut self.preset),
                "method" => text.clone_into(&mut self.method),
                "strategy" => self.strategy = Strategy::named(text).unwrap_or(self.strategy),
                _ => {}
            }
        }
    }

    /// Marks everything in a section as not known.
    fn abandon(&mut self, section: &'static Section) {
        for field in section.fields() {
            self.broken.insert(section.path_of(field.key));
        }
        for child in section.children() {
            self.abandon(child);
        }
    }

    fn entry(&mut self, section: &'static Section, key: &Key, value: &Node) {
        let path = section.path_of(&key.text);
        if let Some(field) = section.fields().find(|field| field.key == key.text) {
            self.places.insert(path.clone(), value.place);
            self.field(field, &path, value);
        } else if let Some(child) = section.children().find(|child| child.key() == key.text) {
            self.places.insert(path, key.place);
            self.section(child, Some(value), key.place);
        } else {
            self.unknown_key(section, key);
        }
    }

    fn unknown_key(&mut self, section: &'static Section, key: &Key) {
        let path = section.path_of(&shown(&key.text));
        let known: Vec<&str> = section
            .fields()
            .map(|field| field.key)
            .chain(section.children().map(Section::key))
            .collect();
        let meant = closest(&key.text, known.iter().copied());
        let elsewhere = || {
            SECTIONS.iter().find_map(|other| {
                let field = other.fields().find(|field| field.key == key.text)?;
                Some(other.path_of(field.key))
            })
        };
        let mut message = String::from("unknown key");
        let suggestion = meant.map(str::to_owned).or_else(elsewhere);
        if let Some(meant) = meant {
            self.misspelt.insert(section.path_of(meant));
        } else if suggestion.is_none() {
            message = format!("unknown key, expected one of {}", known.join(", "));
        }
        let mut problem = key.place.problem(path, message);
        problem.suggestion = suggestion;
        self.problems.push(problem);
    }

    /// A field that the text gives.
    fn field(&mut self, field: &'static Field, path: &str, node: &Node) {
        let outcome = match field.kind {
            Kind::Budgets => return self.budgets(path, node),
            Kind::Seeds => return self.seeds(path, node),
            Kind::Grid => return self.grid(path, node),
            Kind::Arms => return, // Read when all of spec is known: see `arms`.
            Kind::Exactly(text) => read::exactly(text, node),
            Kind::WeightsFile => {
                read::weights_file(node).map(|file| self.weights_at(path).file = Some(file))
            }
            Kind::Sha256 => {
                read::sha256(node).map(|digest| self.weights_at(path).sha256 = Some(digest))
            }
            Kind::SweepName => read::sweep_name(node).map(|name| self.name = Some(name)),
            Kind::Labels => return self.labels(path, node),
            Kind::Choice(_)
            | Kind::Switch
            | Kind::Count { .. }
            | Kind::Whole { .. }
            | Kind::Number(_)
            | Kind::OwnerName
            | Kind::Text
            | Kind::Memory
            | Kind::Duration { .. } => read::scalar(field.kind, node).map(|value| {
                let put = field.put(&mut self.settings, &mut self.operations, &value);
                let own = matches!(field.place, Target::Own);
                debug_assert!(own || put.is_some(), "{path} takes what its kind reads");
            }),
        };
        if let Err(refusal) = outcome {
            self.refused(node.place, path, refusal);
        }
    }

    /// A field that the text does not give.
    fn absent(&mut self, section: &'static Section, field: &'static Field, place: Place) {
        let path = section.path_of(field.key);
        let preset = presets::value(&self.preset, &self.method, &path)
            .or_else(|| presets::of_strategy(self.strategy, &path));
        if let Some(value) = preset.or_else(|| field.default.value()) {
            let put = field.put(&mut self.settings, &mut self.operations, &value);
            let own = matches!(field.place, Target::Own);
            debug_assert!(own || put.is_some(), "{path} takes its default");
        } else if field.default == Fallback::Required {
            let axis = format!("{}.{}", section.key(), field.key);
            if self.announced.contains(&axis) && axis_field(&axis).is_some() {
                return; // The first value of the axis stands in: see `settle`.
            }
            let meant = |misspelt: &String| {
                path.strip_prefix(misspelt.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let arms_give = self.arms_follow && arms::is_own(section.path);
            if !arms_give && !self.misspelt.iter().any(meant) {
                self.problem(place, &path, format!("is missing: {}", needed(field)));
            }
            self.broken.insert(path);
        }
    }

    /// Fills in what depends on other keys.
    fn settle(&mut self) {
        for field in super::fields::axis_fields() {
            let (name, path) = (field.name(), format!("spec.{}", field.name()));
            let stands_in = self.announced.contains(&name)
                && !self.places.contains_key(&path)
                && field.field.default.value().is_none();
            if !stands_in {
                continue;
            }
            let axis = self.axes.iter().find(|axis| axis.field.name() == name);
            if let Some(first) = axis.and_then(|axis| axis.values.first()) {
                let _ = (field.put)(&mut self.settings, &first.value);
                for arm in &mut self.arms {
                    let _ = (field.put)(&mut arm.settings, &first.value);
                }
            } else {
                self.broken.insert(path);
            }
        }
        self.settle_weights();
        self.settle_teacher();
        let train_given = self.places.contains_key("spec.data.train_limit")
            || self.announced.contains("data.train_limit");
        if !train_given {
            let all = self.settings.data.name.training_images();
            self.settings.data.train = all.saturating_sub(self.settings.data.validation);
        }
    }

    /// The axes without places, in the table's order; those with problems are left out.
    fn plain_axes(&self) -> Vec<Axis> {
        super::fields::axis_fields()
            .filter_map(|field| {
                let name = field.name();
                let given = self.axes.iter().find(|axis| axis.field.name() == name)?;
                let values = given.values.iter().map(|given| given.value.clone());
                Axis::new(&name, values.collect()).ok()
            })
            .collect()
    }

    fn finish(mut self) -> Result<Manifest, Vec<Problem>> {
        self.problems.sort();
        self.problems.dedup();
        let grid = self.plain_axes();
        let arms = self.plain_arms();
        match self.name {
            Some(name) if self.problems.is_empty() => {
                let mut budgets: Vec<BudgetSpec> =
                    self.budgets.iter().map(|given| given.budget).collect();
                budgets.sort_unstable();
                Ok(Manifest {
                    version: RESULT_VERSION,
                    name,
                    owner: self.operations.owner,
                    priority: self.operations.priority,
                    data: self.settings.data,
                    net: self.settings.net,
                    strategy: self.operations.strategy,
                    halving: Some(self.operations.halving).filter(|halving| halving.grace > 0),
                    budgets,
                    refine: self.refine,
                    seeds: self.seeds,
                    adaptive_seeds: self.adaptive_seeds,
                    baseline: self.settings.baseline,
                    arms,
                    grid,
                    retry: self.operations.retry,
                    train_on: self.operations.train_on,
                    limit: self.operations.limit,
                    resources: self.operations.resources,
                    checkpoint: self.operations.checkpoint,
                })
            }
            _ => Err(self.problems),
        }
    }
}

/// A word on what a missing key must hold.
fn needed(field: &Field) -> String {
    format!("expected {}", read::expected(field.kind))
}

/// A key as part of a path: as it is if it is a plain word, else in quotes.
fn shown(key: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    if !key.is_empty() && key.len() <= 64 && key.bytes().all(plain) {
        key.to_owned()
    } else {
        quote(key)
    }
}

/// Settings of which every one is overwritten, by the text or by a default.
fn blank_settings() -> Settings {
    Settings {
        data: DataSpec {
            name: DataSet::FashionMnist,
            train: 0,
            validation: 0,
            augment: false,
            max_corrupt: 0,
            preparation: Preparation::default(),
        },
        net: Family::Resnet9.default_settings(),
        teacher: Family::Resnet9.default_settings(),
        baseline: BaselineRecipe {
            schedule: Schedule::default(),
            weights: None,
        },
        replace: ReplaceRecipe::default(),
        finetune: FinetuneRecipe::default(),
    }
}
