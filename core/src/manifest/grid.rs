//! The grid: every combination of the axes' values, part by part.
//!
//! Each axis belongs to one part of the settings (net and data, baseline, replace, finetune), so
//! the grid is the product of the parts' own variants. What is the same for many grid points
//! (a baseline, say) is one variant of its part: this is where sharing comes from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::fields::{AxisField, Settings, axis_field};
use super::{Arm, Axis, AxisValue, Manifest};
use crate::data::DataSpec;
use crate::net::NetSpec;
use crate::recipe::{BaselineRecipe, FinetuneRecipe, Method, ReplaceRecipe};
use crate::strategy::Strategy;

/// The parts of the settings, in the order in which tasks depend on them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Part {
    /// Net and data.
    Subject,
    Baseline,
    Replace,
    Finetune,
}

impl Part {
    pub(crate) fn of(axis: &AxisField) -> Self {
        match axis.section.key() {
            "baseline" => Self::Baseline,
            "replace" => Self::Replace,
            "finetune" => Self::Finetune,
            _ => Self::Subject,
        }
    }
}

/// One choice of values for the axes of one part.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Variant<T> {
    /// The assignments, as in `replace.penalty=0.0001 replace.degree=2`; empty without axes.
    pub(crate) label: String,
    /// The resulting settings of the part.
    pub(crate) value: T,
}

/// The variants of every part. A grid point is one of each.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Parts {
    pub(crate) subjects: Vec<Variant<Subject>>,
    pub(crate) baselines: Vec<Variant<BaselineRecipe>>,
    /// Of every arm, arm by arm.
    pub(crate) searches: Vec<Variant<Search>>,
    /// Variants that were left out because they mean the same as an earlier one.
    pub(crate) twins: Vec<Twins>,
}

/// A way to search with the ways to train on after it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Search {
    pub(crate) recipe: ReplaceRecipe,
    /// `None` where there are no finetune epochs: the search's net is measured as it is.
    pub(crate) ends: Vec<Variant<Option<FinetuneRecipe>>>,
}

/// A network with the data that it sees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Subject {
    pub(crate) net: NetSpec,
    pub(crate) data: DataSpec,
}

impl Subject {
    /// The total `T`.
    pub(crate) fn relu_total(&self) -> u64 {
        self.net.relu_total(self.data.name.input())
    }
}

/// Two variants of a part that mean the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Twins {
    pub(crate) part: Part,
    pub(crate) first: String,
    pub(crate) second: String,
}

impl Parts {
    /// The variants of a manifest's grid.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self::of_grid(&manifest.settings(), &manifest.arms, &manifest.grid)
    }

    pub(super) fn of_grid(settings: &Settings, arms: &[Arm], grid: &[Axis]) -> Self {
        let mut twins = Vec::new();
        let part = |part| Combinations::new(settings, grid, part);
        let subjects = part(Part::Subject).variants(&mut twins, |settings| Subject {
            net: settings.net.spec(),
            data: settings.data.canonical(),
        });
        let baselines =
            part(Part::Baseline).variants(&mut twins, |settings| settings.baseline.canonical());
        let mut searches: Vec<Variant<Search>> = Vec::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for arm in arms {
            let mut found = Vec::new();
            let new = arm_searches(settings, arm, grid, &mut found).into_iter();
            // What an axis means for one arm it need not mean for another.
            searches.extend(new.filter(|search| seen.insert(meaning(&search.value))));
            if arms.len() == 1 {
                twins.append(&mut found);
            }
        }
        Self {
            subjects,
            baselines,
            searches,
            twins,
        }
    }
}

/// Equal for values that mean the same.
fn meaning(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("recipes have string keys and finite numbers")
}

/// The settings with an arm's ways to replace ReLUs.
fn with_arm(settings: &Settings, arm: &Arm) -> Settings {
    Settings {
        replace: arm.replace.clone(),
        finetune: arm.finetune.clone(),
        ..settings.clone()
    }
}

/// The searches of one arm. Twins among what follows a search are told if they are twins after
/// every one.
fn arm_searches(
    settings: &Settings,
    arm: &Arm,
    grid: &[Axis],
    twins: &mut Vec<Twins>,
) -> Vec<Variant<Search>> {
    let settings = &with_arm(settings, arm);
    let recipes = Combinations::new(settings, grid, Part::Replace)
        .variants(twins, |settings| settings.replace.canonical());
    let mut common: Option<Vec<Twins>> = None;
    let searches = recipes.into_iter().map(|recipe| {
        let mut found = Vec::new();
        let ends =
            Combinations::new(settings, grid, Part::Finetune).variants(&mut found, |settings| {
                let end = settings.finetune;
                (end.schedule.epochs > 0).then(|| end.canonical(&recipe.value))
            });
        match &mut common {
            None => common = Some(found),
            Some(common) => common.retain(|twin| found.contains(twin)),
        }
        Variant {
            label: arm_label(arm, &recipe),
            value: Search {
                recipe: recipe.value,
                ends,
            },
        }
    });
    let searches = searches.collect();
    twins.extend(common.unwrap_or_default());
    searches
}

/// The assignments of a search with what tells its arm: its name, else its method where that is
/// not the usual one.
fn arm_label(arm: &Arm, recipe: &Variant<ReplaceRecipe>) -> String {
    let method = recipe.value.method;
    let arm = match &arm.name {
        Some(name) => format!("arm={name}"),
        None if method == Method::Autorep => String::new(),
        None => format!("method={}", method.name()),
    };
    let parts = [arm.as_str(), recipe.label.as_str()];
    let said = parts.into_iter().filter(|part| !part.is_empty());
    said.collect::<Vec<_>>().join(" ")
}

/// The combinations of the axes of one part.
struct Combinations<'a> {
    part: Part,
    settings: &'a Settings,
    axes: Vec<(AxisField, &'a [AxisValue])>,
}

impl<'a> Combinations<'a> {
    fn new(settings: &'a Settings, grid: &'a [Axis], part: Part) -> Self {
        let axes = grid
            .iter()
            .filter_map(|axis| Some((axis_field(axis.field())?, axis.values())))
            .filter(|(field, _)| Part::of(field) == part)
            .collect();
        Self {
            part,
            settings,
            axes,
        }
    }

    /// Every combination, the last axis changing fastest, each meaning once.
    fn variants<T: Serialize>(
        &self,
        twins: &mut Vec<Twins>,
        take: impl Fn(Settings) -> T,
    ) -> Vec<Variant<T>> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut variants: Vec<Variant<T>> = Vec::new();
        let count: usize = self.axes.iter().map(|(_, values)| values.len()).product();
        for index in 0..count {
            let (label, settings) = self.combination(index, count);
            let value = take(settings);
            let meaning = meaning(&value);
            if let Some(&first) = seen.get(&meaning) {
                twins.push(Twins {
                    part: self.part,
                    first: variants[first].label.clone(),
                    second: label,
                });
            } else {
                seen.insert(meaning, variants.len());
                variants.push(Variant { label, value });
            }
        }
        variants
    }

    /// The combination at `index` of `count`, which is a number with the axes as digits.
    fn combination(&self, index: usize, count: usize) -> (String, Settings) {
        let mut settings = self.settings.clone();
        let mut labels = Vec::with_capacity(self.axes.len());
        let mut weight = count;
        for (field, values) in &self.axes {
            weight /= values.len();
            let value = &values[index / weight % values.len()];
            let _ = (field.put)(&mut settings, value);
            labels.push(format!("{}={value}", field.name()));
        }
        (labels.join(" "), settings)
    }
}

/// How many tasks of each kind a plan has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TaskCounts {
    pub(crate) baseline: u128,
    pub(crate) replace: u128,
    pub(crate) finetune: u128,
    pub(crate) evaluate: u128,
}

impl TaskCounts {
    pub(crate) fn total(&self) -> u128 {
        [self.replace, self.finetune, self.evaluate]
            .into_iter()
            .fold(self.baseline, u128::saturating_add)
    }

    /// Counts a plan by the numbers of its variants.
    pub(crate) fn of(
        sizes: &PartSizes,
        strategy: Strategy,
        budgets: usize,
        seeds: usize,
        trains_on: bool,
    ) -> Self {
        let product = |factors: &[u128]| factors.iter().copied().fold(1, u128::saturating_mul);
        let baseline = product(&[sizes.subjects, sizes.baselines, seeds as u128]);
        let searches = match strategy {
            Strategy::Independent | Strategy::Descent => {
                let each = budgets.div_ceil(strategy.budgets_at_once(budgets)) as u128;
                each.saturating_mul(sizes.searches)
            }
            // At the largest budget all ladders of a search are one.
            Strategy::Ladder if budgets > 0 => (budgets as u128 - 1)
                .saturating_mul(sizes.ends)
                .saturating_add(sizes.searches),
            Strategy::Ladder => 0,
        };
        let budgets = budgets as u128;
        let nets = product(&[baseline, budgets, sizes.ends]);
        let finetune = product(&[baseline, budgets, sizes.trained_ends]);
        let again = if trains_on { finetune } else { 0 };
        Self {
            baseline,
            replace: product(&[baseline, searches]),
            finetune: finetune.saturating_add(again),
            evaluate: nets.saturating_add(baseline).saturating_add(again),
        }
    }
}

/// How many variants each part has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartSizes {
    pub(crate) subjects: u128,
    pub(crate) baselines: u128,
    pub(crate) searches: u128,
    /// Ends of all searches together.
    pub(crate) ends: u128,
    /// Those of them that train.
    pub(crate) trained_ends: u128,
}

impl PartSizes {
    pub(crate) fn of(parts: &Parts) -> Self {
        let ends = || parts.searches.iter().flat_map(|one| &one.value.ends);
        let trained = ends().filter(|end| end.value.is_some());
        Self {
            subjects: parts.subjects.len() as u128,
            baselines: parts.baselines.len() as u128,
            searches: parts.searches.len() as u128,
            ends: ends().count() as u128,
            trained_ends: trained.count() as u128,
        }
    }

    /// The sizes by the lengths of the axes alone: nothing is expanded, so this is cheap for
    /// grids of any size.
    pub(super) fn of_axes(arms: &[Arm], grid: &[Axis]) -> Self {
        let lengths = |part: Part| {
            grid.iter()
                .filter(move |axis| {
                    axis_field(axis.field()).is_some_and(|it| Part::of(&it) == part)
                })
                .map(|axis| axis.values().len() as u128)
                .fold(1, u128::saturating_mul)
        };
        let (searches, ends) = (lengths(Part::Replace), lengths(Part::Finetune));
        let epochs = grid.iter().find(|axis| axis.field() == "finetune.epochs");
        let mut sizes = Self {
            subjects: lengths(Part::Subject),
            baselines: lengths(Part::Baseline),
            searches: 0,
            ends: 0,
            trained_ends: 0,
        };
        for arm in arms {
            let trained = match epochs {
                Some(axis) => {
                    let zero = axis.values().contains(&AxisValue::Count(0));
                    let values = axis.values().len() as u128;
                    ends / values * (values - u128::from(zero))
                }
                None if arm.finetune.schedule.epochs == 0 => 0,
                None => ends,
            };
            let add = |sum: &mut u128, of: u128| {
                *sum = sum.saturating_add(searches.saturating_mul(of));
            };
            add(&mut sizes.searches, 1);
            add(&mut sizes.ends, ends);
            add(&mut sizes.trained_ends, trained);
        }
        sizes
    }
}
