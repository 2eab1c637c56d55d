//! The grid: every combination of the axes' values, part by part.
//!
//! Each axis belongs to one part of the settings (net and data, baseline, replace, finetune), so
//! the grid is the product of the parts' own variants. What is the same for many grid points
//! (a baseline, say) is one variant of its part: this is where sharing comes from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fields::{AxisField, Settings, axis_field};
use super::{Axis, AxisValue, Manifest};
use crate::data::DataSpec;
use crate::net::NetSpec;
use crate::recipe::Schedule;
use crate::recipe::{BaselineRecipe, Distillation, FinetuneRecipe, OptimizerKind, ReplaceRecipe};

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
#[derive(Clone, PartialEq, Debug)]
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
    pub(crate) replaces: Vec<Variant<ReplaceRecipe>>,
    /// `None` where there are no finetune epochs: the search's net is measured as it is.
    pub(crate) finetunes: Vec<Variant<Option<FinetuneRecipe>>>,
    /// Variants that were left out because they mean the same as an earlier one.
    pub(crate) twins: Vec<Twins>,
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
        Self::of_grid(&manifest.settings(), &manifest.grid)
    }

    pub(super) fn of_grid(settings: &Settings, grid: &[Axis]) -> Self {
        let mut twins = Vec::new();
        let part = |part| Combinations::new(settings, grid, part);
        let (subjects, baselines) = (part(Part::Subject), part(Part::Baseline));
        let (replaces, finetunes) = (part(Part::Replace), part(Part::Finetune));
        Self {
            subjects: subjects.variants(&mut twins, |settings| Subject {
                net: settings.net.spec(),
                data: settings.data.canonical(),
            }),
            baselines: baselines.variants(&mut twins, |settings| BaselineRecipe {
                schedule: canonical_schedule(settings.baseline.schedule),
            }),
            replaces: replaces.variants(&mut twins, |settings| ReplaceRecipe {
                schedule: canonical_schedule(settings.replace.schedule),
                distillation: canonical_distillation(settings.replace.distillation),
                ..settings.replace
            }),
            finetunes: finetunes.variants(&mut twins, |settings| {
                let recipe = settings.finetune;
                (recipe.schedule.epochs > 0).then(|| FinetuneRecipe {
                    schedule: canonical_schedule(recipe.schedule),
                    distillation: canonical_distillation(recipe.distillation),
                })
            }),
            twins,
        }
    }
}

/// Gives settings without effect a fixed value, so that they do not make equal work look new.
fn canonical_schedule(mut schedule: Schedule) -> Schedule {
    if schedule.optimizer == OptimizerKind::Adam {
        schedule.momentum = 0.0;
    }
    schedule
}

/// As [`canonical_schedule`].
fn canonical_distillation(mut distillation: Distillation) -> Distillation {
    if distillation.kd_weight == 0.0 {
        distillation.temperature = 1.0;
    }
    distillation
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
            let meaning = serde_json::to_string(&value).unwrap_or_default();
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
    pub(crate) fn of(sizes: &PartSizes, budgets: usize, seeds: usize) -> Self {
        let product = |factors: &[u128]| factors.iter().copied().fold(1, u128::saturating_mul);
        let baseline = product(&[sizes.subjects, sizes.baselines, seeds as u128]);
        let replace = product(&[baseline, sizes.replaces, budgets as u128]);
        let nets = product(&[replace, sizes.finetunes]);
        Self {
            baseline,
            replace,
            finetune: product(&[replace, sizes.finetunes - sizes.without_finetune]),
            evaluate: nets.saturating_add(baseline),
        }
    }
}

/// How many variants each part has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartSizes {
    pub(crate) subjects: u128,
    pub(crate) baselines: u128,
    pub(crate) replaces: u128,
    pub(crate) finetunes: u128,
    /// Variants of `finetunes` with no epochs.
    pub(crate) without_finetune: u128,
}

impl PartSizes {
    pub(crate) fn of(parts: &Parts) -> Self {
        let without = parts
            .finetunes
            .iter()
            .filter(|variant| variant.value.is_none());
        Self {
            subjects: parts.subjects.len() as u128,
            baselines: parts.baselines.len() as u128,
            replaces: parts.replaces.len() as u128,
            finetunes: parts.finetunes.len() as u128,
            without_finetune: without.count() as u128,
        }
    }

    /// The sizes by the lengths of the axes alone: nothing is expanded, so this is cheap for
    /// grids of any size.
    pub(super) fn of_axes(settings: &Settings, grid: &[Axis]) -> Self {
        let mut sizes = Self {
            subjects: 1,
            baselines: 1,
            replaces: 1,
            finetunes: 1,
            without_finetune: u128::from(settings.finetune.schedule.epochs == 0),
        };
        let mut finetune_without_epochs: u128 = 1;
        for axis in grid {
            let Some(field) = axis_field(axis.field()) else {
                continue;
            };
            let values = axis.values().len() as u128;
            let size = match Part::of(&field) {
                Part::Subject => &mut sizes.subjects,
                Part::Baseline => &mut sizes.baselines,
                Part::Replace => &mut sizes.replaces,
                Part::Finetune => &mut sizes.finetunes,
            };
            *size = size.saturating_mul(values);
            if axis.field() == "finetune.epochs" {
                let zero = axis.values().contains(&AxisValue::Count(0));
                sizes.without_finetune = u128::from(zero);
            } else if Part::of(&field) == Part::Finetune {
                finetune_without_epochs = finetune_without_epochs.saturating_mul(values);
            }
        }
        sizes.without_finetune = sizes
            .without_finetune
            .saturating_mul(finetune_without_epochs);
        sizes
    }
}
