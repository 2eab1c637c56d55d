//! The grid's axes: lists of values, or ranges that are spread into them.

use std::collections::BTreeMap;

use super::{Checker, GivenAxis, GivenValue, Key, Node, Place, Value, shown};
use crate::manifest::AxisValue;
use crate::manifest::fields::{AxisField, Kind, SECTIONS, axis_field, axis_fields};
use crate::manifest::read::{self, Refusal};
use crate::manifest::suggest::closest;

/// The most values of one axis.
pub(in crate::manifest) const MAX_AXIS_VALUES: usize = 10_000;

/// The keys of a range.
pub(in crate::manifest) const RANGE_KEYS: [&str; 4] = ["from", "to", "steps", "scale"];

/// The ways to spread a range.
pub(in crate::manifest) const SCALES: [&str; 2] = ["linear", "log"];

const AXIS_SHAPE: &str = "a list of values, or a range {from, to, steps, scale}";

impl Checker {
    /// Reads `spec.grid`.
    pub(super) fn grid(&mut self, path: &str, node: &Node) {
        if node.value == Value::Null {
            return;
        }
        let Some(entries) = node.map() else {
            let refusal = Refusal::new(&read::expected(Kind::Grid), &node.found());
            return self.refused(node.place, path, refusal);
        };
        let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, value) in entries {
            let axis_path = format!("{path}.{}", shown(&key.text));
            if let Some(line) = lines.get(key.text.as_str()) {
                let message = format!("is given twice, first in line {line}");
                self.problem(key.place, &axis_path, message);
                continue;
            }
            lines.insert(&key.text, key.place.line);
            match axis_field(&key.text) {
                Some(field) => self.axis(field, &axis_path, key.place, value),
                None => self.unknown_axis(&axis_path, key),
            }
        }
    }

    fn unknown_axis(&mut self, path: &str, key: &Key) {
        let word = key.text.as_str();
        let known: Vec<String> = axis_fields().map(|axis| axis.name()).collect();
        let by_key = || {
            let found = axis_fields().find(|axis| axis.field.key == word);
            found.map(|axis| axis.name())
        };
        let (message, suggestion) = if let Some(fixed) = fixed_field(word) {
            (fixed, None)
        } else if SECTIONS
            .iter()
            .any(|section| section.path == format!("spec.{word}"))
        {
            let message = format!("expected the path of one field such as {word}.KEY");
            (
                message,
                known.iter().find(|name| name.starts_with(word)).cloned(),
            )
        } else {
            let meant = similar_axis(word);
            let message = "expected the path of a field that a grid can vary, found an unknown one";
            (message.to_owned(), meant.or_else(by_key))
        };
        let mut problem = key.place.problem(path, message);
        problem.suggestion = suggestion;
        self.problems.push(problem);
    }

    fn axis(&mut self, field: AxisField, path: &str, place: Place, node: &Node) {
        let values = match (node.list(), node.map()) {
            (Some([]), _) => {
                let refusal = Refusal::new("at least one value", "an empty list");
                return self.refused(node.place, path, refusal);
            }
            (Some(entries), _) if entries.len() > MAX_AXIS_VALUES => {
                let expected = format!("at most {MAX_AXIS_VALUES} values");
                let refusal = Refusal::new(&expected, &entries.len().to_string());
                return self.refused(node.place, path, refusal);
            }
            (Some(entries), _) => self.listed(field, path, entries),
            (None, Some(entries)) => self.range(field, path, node.place, entries),
            (None, None) => {
                let refusal = Refusal::new(AXIS_SHAPE, &node.found());
                return self.refused(node.place, path, refusal);
            }
        };
        self.axes.push(GivenAxis {
            field,
            place,
            values,
        });
    }

    /// Values that are given one by one.
    fn listed(&mut self, field: AxisField, path: &str, entries: &[Node]) -> Vec<GivenValue> {
        let mut values: Vec<GivenValue> = Vec::with_capacity(entries.len());
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match read::scalar(field.field.kind, entry) {
                Err(refusal) => self.refused(entry.place, &path, refusal),
                Ok(value) => {
                    let text = value.to_string();
                    if let Some(earlier) = first.get(&text) {
                        let message =
                            format!("the value {text} is given twice, first as [{earlier}]");
                        self.problem(entry.place, &path, message);
                    } else {
                        first.insert(text, index);
                        let place = entry.place;
                        values.push(GivenValue { value, place, path });
                    }
                }
            }
        }
        values
    }

    /// Values that are spread over a range.
    fn range(
        &mut self,
        field: AxisField,
        path: &str,
        place: Place,
        entries: &[(Key, Node)],
    ) -> Vec<GivenValue> {
        if !matches!(field.field.kind, Kind::Count { .. } | Kind::Number(_)) {
            let refusal = Refusal::new("a list of values", "a range, which only numbers have");
            self.refused(place, path, refusal);
            return Vec::new();
        }
        let given = self.range_keys(path, entries);
        let end = |checker: &mut Self, key: &str| {
            let path = format!("{path}.{key}");
            match given.get(key) {
                None => {
                    let message =
                        format!("is missing: expected {}", read::expected(field.field.kind));
                    checker.problem(place, &path, message);
                    None
                }
                Some(node) => match read::scalar(field.field.kind, node) {
                    Ok(value) => Some(value),
                    Err(refusal) => {
                        checker.refused(node.place, &path, refusal);
                        None
                    }
                },
            }
        };
        let (from, to) = (end(self, "from"), end(self, "to"));
        let steps = self.steps(path, place, given.get("steps").copied());
        let log = self.scale(path, given.get("scale").copied());
        let (Some(from), Some(to), Some(steps), Some(log)) = (from, to, steps, log) else {
            return Vec::new();
        };
        match spread(&from, &to, steps, log) {
            Ok(values) => values
                .into_iter()
                .map(|value| GivenValue {
                    value,
                    place,
                    path: path.to_owned(),
                })
                .collect(),
            Err(message) => {
                self.problem(place, path, message);
                Vec::new()
            }
        }
    }

    /// The known keys of a range, each once.
    fn range_keys<'a>(
        &mut self,
        path: &str,
        entries: &'a [(Key, Node)],
    ) -> BTreeMap<&'a str, &'a Node> {
        let mut given: BTreeMap<&str, &Node> = BTreeMap::new();
        for (key, node) in entries {
            let path = format!("{path}.{}", shown(&key.text));
            if !RANGE_KEYS.contains(&key.text.as_str()) {
                let message = format!("unknown key, expected one of {}", RANGE_KEYS.join(", "));
                let mut problem = key.place.problem(path, message);
                problem.suggestion = closest(&key.text, RANGE_KEYS).map(str::to_owned);
                self.problems.push(problem);
            } else if given.contains_key(key.text.as_str()) {
                self.problem(key.place, &path, "is given twice");
            } else {
                given.insert(&key.text, node);
            }
        }
        given
    }

    fn steps(&mut self, path: &str, place: Place, node: Option<&Node>) -> Option<u64> {
        let path = format!("{path}.steps");
        let expected = format!("a whole number of values from 2 to {MAX_AXIS_VALUES}");
        let Some(node) = node else {
            self.problem(place, &path, format!("is missing: expected {expected}"));
            return None;
        };
        let steps = read::count(node).filter(|steps| (2..=MAX_AXIS_VALUES as u64).contains(steps));
        if steps.is_none() {
            self.refused(node.place, &path, Refusal::new(&expected, &node.found()));
        }
        steps
    }

    /// Whether the scale is logarithmic; `None` if it is neither.
    fn scale(&mut self, path: &str, node: Option<&Node>) -> Option<bool> {
        let Some(node) = node else {
            return Some(false);
        };
        match read::scalar(Kind::Choice(&SCALES), node) {
            Ok(scale) => Some(scale == AxisValue::Choice("log".to_owned())),
            Err(refusal) => {
                self.refused(node.place, &format!("{path}.scale"), refusal);
                None
            }
        }
    }
}

/// The axis that a misspelt one was probably meant to be. Where the section is right, only its
/// own fields are considered: a shared beginning is no likeness.
fn similar_axis(word: &str) -> Option<String> {
    let within = |section: &str, key: &str| {
        let fields = axis_fields().filter(|axis| axis.section.key() == section);
        let meant = closest(key, fields.map(|axis| axis.field.key))?;
        Some(format!("{section}.{meant}"))
    };
    match word.split_once('.') {
        Some((section, key)) if axis_fields().any(|axis| axis.section.key() == section) => {
            within(section, key)
        }
        _ => {
            let known: Vec<String> = axis_fields().map(|axis| axis.name()).collect();
            closest(word, known.iter().map(String::as_str)).map(str::to_owned)
        }
    }
}

/// Why a field that exists is no axis.
fn fixed_field(name: &str) -> Option<String> {
    let bare = name.strip_prefix("spec.").unwrap_or(name);
    if matches!(bare, "budgets" | "seeds") {
        return Some(format!(
            "every grid point has every one of {bare} already: list them under spec.{bare}"
        ));
    }
    let path = format!("spec.{bare}");
    let exists = SECTIONS.iter().any(|section| {
        let mut fields = section.fields();
        fields.any(|field| section.path_of(field.key) == path)
    });
    if !exists {
        None
    } else if axis_field(bare).is_some() {
        Some(format!("write the path below spec: {bare}"))
    } else {
        Some(format!(
            "{bare} is the same over a sweep, so a grid cannot vary it"
        ))
    }
}

/// Spreads a range. Values between the ends are rounded to six digits, or to whole numbers for
/// fields that have them, so that they are the same on every machine and short to read.
fn spread(
    from: &AxisValue,
    to: &AxisValue,
    steps: u64,
    log: bool,
) -> Result<Vec<AxisValue>, String> {
    let as_number = |value: &AxisValue| match value {
        AxisValue::Count(count) => *count as f64,
        AxisValue::Number(number) => *number,
        AxisValue::Switch(_) | AxisValue::Choice(_) => f64::NAN,
    };
    let (low, high) = (as_number(from), as_number(to));
    if low >= high {
        return Err(format!("expected from below to, found {from} and {to}"));
    }
    if log && low <= 0.0 {
        return Err(format!(
            "expected from above 0 on a log scale, found {from}"
        ));
    }
    let mut values = vec![from.clone()];
    for step in 1..steps - 1 {
        let share = step as f64 / (steps - 1) as f64;
        let exact = if log {
            low * (high / low).powf(share)
        } else {
            low + (high - low) * share
        };
        values.push(match from {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between two counts"
            )]
            AxisValue::Count(_) => AxisValue::Count(exact.round() as u64),
            AxisValue::Number(_) | AxisValue::Switch(_) | AxisValue::Choice(_) => {
                AxisValue::Number(rounded(exact))
            }
        });
    }
    values.push(to.clone());
    match values.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!(
            "expected fewer steps, found {steps} between {from} and {to}, which give {} twice",
            pair[0]
        )),
        None => Ok(values),
    }
}

/// A number with six significant digits.
fn rounded(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}
