//! The one table of a manifest's keys, which drives checking, defaults, the grid's axes, the
//! suggestions and the JSON Schema.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};

use super::{AxisValue, CheckpointPolicy, RetryPolicy};
use crate::data::DataSpec;
use crate::growth::Halving;
use crate::id::OwnerName;
use crate::limit::CostLimit;
use crate::net::NetSettings;
use crate::offer::Requirements;
use crate::recipe::{BaselineRecipe, FinetuneRecipe, ReplaceRecipe};
use crate::strategy::Strategy;

#[macro_use]
mod macros;
mod data;
mod operations;
pub(crate) mod presets;
mod table;
mod weights;

pub(crate) use table::SECTIONS;

/// All that a grid may vary: what decides the results of one grid point, seed and budget aside.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Settings {
    pub(crate) data: DataSpec,
    pub(crate) net: NetSettings,
    /// What a teacher is read into; the recipes hold it once all is settled.
    pub(crate) teacher: NetSettings,
    pub(crate) baseline: BaselineRecipe,
    pub(crate) replace: ReplaceRecipe,
    pub(crate) finetune: FinetuneRecipe,
}

/// What is the same over a sweep and in no recipe.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Operations {
    pub(crate) owner: OwnerName,
    pub(crate) priority: i32,
    pub(crate) strategy: Strategy,
    /// With a grace of 0 nothing is stopped.
    pub(crate) halving: Halving,
    pub(crate) limit: CostLimit,
    /// Epochs that under-trained points are trained on for; 0 for none.
    pub(crate) train_on: u32,
    pub(crate) retry: RetryPolicy,
    pub(crate) resources: Requirements,
    pub(crate) checkpoint: CheckpointPolicy,
}

/// A mapping of the manifest.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its path from the root: empty, `metadata`, `spec`, `spec.data`, …
    pub(crate) path: &'static str,
    /// What it is for.
    pub(crate) doc: &'static str,
    /// Its keys, in the order in which people read them.
    pub(crate) fields: &'static [&'static [Field]],
}

impl Section {
    /// Its key in the section above.
    pub(crate) fn key(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The fields, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().copied().flatten()
    }

    /// The sections directly below.
    pub(crate) fn children(&self) -> impl Iterator<Item = &'static Section> + use<> {
        let path = self.path;
        SECTIONS
            .iter()
            .filter(move |below| match below.path.rsplit_once('.') {
                Some((above, _)) => above == path,
                None => path.is_empty() && !below.path.is_empty(),
            })
    }

    /// The path of one of its keys.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// One key of a manifest.
#[derive(Debug)]
pub(crate) struct Field {
    /// The key.
    pub(crate) key: &'static str,
    /// What its value must be.
    pub(crate) kind: Kind,
    /// What holds without it.
    pub(crate) default: Fallback,
    /// What it means, in a sentence with its unit.
    pub(crate) doc: &'static str,
    /// Where its value goes.
    pub(crate) place: Target,
}

/// What a value must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    /// The name of a sweep.
    SweepName,
    /// This text and no other.
    Exactly(&'static str),
    /// One of these names.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A finite number.
    Number(Range),
    /// A time with its unit.
    Duration {
        /// The longest, in seconds.
        max_s: u64,
        /// Whether only whole seconds will do.
        whole: bool,
    },
    /// The name of an owner.
    OwnerName,
    /// A whole number, which may be negative.
    Whole {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A short text.
    Text,
    /// An amount of memory with its unit.
    Memory,
    /// A list of labels.
    Labels,
    /// The name of a file of weights.
    WeightsFile,
    /// A SHA-256 digest.
    Sha256,
    /// A list of budgets.
    Budgets,
    /// A list of seeds, or how many.
    Seeds,
    /// Axes by the paths of their fields.
    Grid,
    /// A list of arms.
    Arms,
}

/// The numbers between two ends, each of which may be left out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Range {
    pub(crate) min: f64,
    pub(crate) min_fits: bool,
    pub(crate) max: f64,
    pub(crate) max_fits: bool,
}

impl Range {
    /// From zero, which does not fit, to `max`, which does.
    const fn above_zero_to(max: f64) -> Self {
        Self {
            min: 0.0,
            min_fits: false,
            max,
            max_fits: true,
        }
    }

    /// From zero to `max`, both of which fit.
    const fn zero_to(max: f64) -> Self {
        Self {
            min: 0.0,
            min_fits: true,
            max,
            max_fits: true,
        }
    }

    /// From zero, which fits, to `max`, which does not.
    const fn zero_to_below(max: f64) -> Self {
        Self {
            min: 0.0,
            min_fits: true,
            max,
            max_fits: false,
        }
    }

    /// Whether a number lies between the ends; what is not a number does not.
    pub(crate) fn fits(&self, number: f64) -> bool {
        let above = number > self.min || (self.min_fits && number >= self.min);
        let below = number < self.max || (self.max_fits && number <= self.max);
        above && below
    }
}

/// What holds where a key is missing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fallback {
    /// The key may not be missing.
    Required,
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
    /// A name.
    Choice(&'static str),
    /// A time in seconds.
    Seconds(u64),
    /// Something that depends on other keys, in words.
    Derived(&'static str),
}

impl Fallback {
    /// The value, where it is one.
    pub(crate) fn value(self) -> Option<AxisValue> {
        match self {
            Self::Required | Self::Derived(_) => None,
            Self::Switch(value) => Some(AxisValue::Switch(value)),
            Self::Count(value) => Some(AxisValue::Count(value)),
            Self::Number(value) => Some(AxisValue::Number(value)),
            Self::Choice(name) => Some(AxisValue::Choice(name.to_owned())),
            Self::Seconds(seconds) => Some(AxisValue::Number(seconds as f64)),
        }
    }
}

/// Puts a value where it belongs; `None` if it is of another kind.
type Put<T> = fn(&mut T, &AxisValue) -> Option<()>;

/// Where a field's value goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// A setting that a grid may vary.
    Axis(Put<Settings>),
    /// A setting that is the same over a sweep.
    Fixed(Put<Settings>),
    /// The same over a sweep and in no recipe.
    Operation(Put<Operations>),
    /// Read by code of its own.
    Own,
}

impl Field {
    /// Puts a value where it belongs; `None` if it is of another kind.
    pub(super) fn put(
        &self,
        settings: &mut Settings,
        operations: &mut Operations,
        value: &AxisValue,
    ) -> Option<()> {
        match self.place {
            Target::Axis(put) | Target::Fixed(put) => put(settings, value),
            Target::Operation(put) => put(operations, value),
            Target::Own => None,
        }
    }
}

/// A field that may be an axis, with its section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AxisField {
    pub(crate) section: &'static Section,
    pub(crate) field: &'static Field,
    pub(crate) put: Put<Settings>,
}

impl AxisField {
    /// The axis's name, as in `replace.penalty`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.section.key(), self.field.key)
    }

    /// Whether a value is one that the field may have.
    pub(crate) fn fits(&self, value: &AxisValue) -> bool {
        match (self.field.kind, value) {
            (Kind::Switch, AxisValue::Switch(_)) => true,
            (Kind::Count { min, max }, AxisValue::Count(count)) => (min..=max).contains(count),
            (Kind::Number(range), AxisValue::Number(number)) => range.fits(*number),
            (Kind::Choice(names), AxisValue::Choice(name)) => names.contains(&name.as_str()),
            _ => false,
        }
    }

    /// Where a value stands among the field's values.
    pub(crate) fn order(&self, left: &AxisValue, right: &AxisValue) -> std::cmp::Ordering {
        match (left, right) {
            (AxisValue::Switch(left), AxisValue::Switch(right)) => left.cmp(right),
            (AxisValue::Count(left), AxisValue::Count(right)) => left.cmp(right),
            (AxisValue::Number(left), AxisValue::Number(right)) => left.total_cmp(right),
            (AxisValue::Choice(left), AxisValue::Choice(right)) => {
                let Kind::Choice(names) = self.field.kind else {
                    return left.cmp(right);
                };
                let rank = |name: &String| names.iter().position(|known| known == name);
                rank(left).cmp(&rank(right)).then_with(|| left.cmp(right))
            }
            _ => std::cmp::Ordering::Equal,
        }
    }
}

/// Every field that may be an axis, in the table's order: the order of a grid's axes.
pub(crate) fn axis_fields() -> impl Iterator<Item = AxisField> {
    SECTIONS.iter().flat_map(|section| {
        section.fields().filter_map(move |field| match field.place {
            Target::Axis(put) => Some(AxisField {
                section,
                field,
                put,
            }),
            Target::Fixed(_) | Target::Operation(_) | Target::Own => None,
        })
    })
}

/// The field of an axis by its name, as in `replace.penalty`.
pub(crate) fn axis_field(name: &str) -> Option<AxisField> {
    let (section, key) = name.split_once('.')?;
    axis_fields().find(|axis| axis.section.key() == section && axis.field.key == key)
}

impl AxisValue {
    fn switch(&self) -> Option<bool> {
        match self {
            Self::Switch(value) => Some(*value),
            Self::Count(_) | Self::Number(_) | Self::Choice(_) => None,
        }
    }

    pub(super) fn count(&self) -> Option<u32> {
        match self {
            Self::Count(value) => u32::try_from(*value).ok(),
            Self::Switch(_) | Self::Number(_) | Self::Choice(_) => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Switch(_) | Self::Count(_) | Self::Choice(_) => None,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Choice(name) => Some(name),
            Self::Switch(_) | Self::Count(_) | Self::Number(_) => None,
        }
    }

    fn mebibytes(&self) -> Option<u64> {
        match self {
            Self::Count(value) => Some(*value),
            Self::Switch(_) | Self::Number(_) | Self::Choice(_) => None,
        }
    }

    /// The value of a unit enum whose names are those of the table.
    fn choice<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        match self {
            Self::Choice(name) => {
                let name: StrDeserializer<'a, NameError> = name.as_str().into_deserializer();
                T::deserialize(name).ok()
            }
            Self::Switch(_) | Self::Count(_) | Self::Number(_) => None,
        }
    }
}

impl std::fmt::Display for AxisValue {
    /// As in a manifest: `0.0001`, `8`, `true`, `sgd`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(value) => write!(f, "{value}"),
            Self::Count(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Choice(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests;
