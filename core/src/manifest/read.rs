//! Reads one value as the table asks for it, or says what was expected and what was found.

use std::fmt::Write as _;

use super::AxisValue;
use super::budget::{BudgetSpec, NotABudget};
use super::fields::{Kind, Range};
use super::suggest::closest;
use super::tree::{Node, Value, quote};
use crate::digest::Digest;
use crate::weights::WeightsFile;

/// Why a value will not do.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl Refusal {
    pub(super) fn new(expected: &str, found: &str) -> Self {
        Self {
            message: format!("expected {expected}, found {found}"),
            suggestion: None,
        }
    }

    fn meant(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

/// Reads a single value: a choice, a switch, a number or a time.
pub(super) fn scalar(kind: Kind, node: &Node) -> Result<AxisValue, Refusal> {
    let refuse = || Refusal::new(&expected(kind), &node.found());
    match kind {
        Kind::Choice(names) => choice(names, node).ok_or_else(|| {
            let meant = node
                .text()
                .and_then(|text| closest(text, names.iter().copied()));
            refuse().meant(meant.map(str::to_owned))
        }),
        Kind::Switch => {
            if let Value::Bool(value) = node.value {
                return Ok(AxisValue::Switch(value));
            }
            let meant = node.text().and_then(as_switch);
            Err(refuse().meant(meant.map(str::to_owned)))
        }
        Kind::Count { min, max } => count(node)
            .filter(|count| (min..=max).contains(count))
            .map(AxisValue::Count)
            .ok_or_else(|| refuse().meant(count_in_text(node, min, max))),
        Kind::Number(range) => number(node)
            .filter(|number| range.fits(*number))
            // A negative zero is zero.
            .map(|number| AxisValue::Number(number + 0.0))
            .ok_or_else(|| refuse().meant(number_in_text(node, range))),
        Kind::Duration { max_s, whole } => duration(node)
            .filter(|seconds| *seconds <= max_s as f64 && (!whole || seconds.fract() == 0.0))
            .map(AxisValue::Number)
            .ok_or_else(|| refuse().meant(number(node).map(|number| format!("{number}s")))),
        Kind::Whole { min, max } => whole(node)
            .filter(|number| (min..=max).contains(number))
            .map(|number| AxisValue::Number(number as f64))
            .ok_or_else(refuse),
        Kind::OwnerName => sweep_name(node).map(|name| AxisValue::Choice(name.into())),
        Kind::Text => (node.text())
            .filter(|text| (1..=64).contains(&text.len()) && !text.contains(char::is_control))
            .map(|text| AxisValue::Choice(text.to_owned()))
            .ok_or_else(refuse),
        Kind::Memory => memory(node).map(AxisValue::Count).ok_or_else(|| {
            let meant = count(node).filter(|&count| count > 0);
            refuse().meant(meant.map(|count| format!("{count}GiB")))
        }),
        Kind::SweepName
        | Kind::Labels
        | Kind::Exactly(_)
        | Kind::WeightsFile
        | Kind::Sha256
        | Kind::Budgets
        | Kind::Seeds
        | Kind::Grid
        | Kind::Arms => Err(refuse()),
    }
}

/// What a value must be, in words that follow "expected".
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::SweepName => "the name of a sweep".to_owned(),
        Kind::OwnerName => "the name of an owner".to_owned(),
        Kind::Whole { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Text => "a text of 1 to 64 bytes".to_owned(),
        Kind::Memory => "an amount of memory such as 512MiB or 40GiB".to_owned(),
        Kind::Labels => "a list of labels such as [zone=a, spot=no]".to_owned(),
        Kind::Exactly(text) => text.to_owned(),
        Kind::Choice([only]) => (*only).to_owned(),
        Kind::Choice(names) => format!("one of {}", names.join(", ")),
        Kind::WeightsFile => crate::weights::EXPECTED.to_owned(),
        Kind::Sha256 => "64 hexadecimal digits, in quotes if they look like a number".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Number(range) => number_range(range),
        Kind::Duration { max_s, whole } => {
            let examples = if whole {
                "60s or 5m"
            } else {
                "10s, 500ms or 2m"
            };
            let hours = max_s / 3600;
            format!("a time with its unit such as {examples}, at most {hours}h")
        }
        Kind::Budgets => {
            "a list of budgets such as [1500, 3K, 50%], or {from: 500, to: 50%, points: 12}"
                .to_owned()
        }
        Kind::Seeds => {
            "a list of seeds such as [0, 1], how many, or {min: 2, max: 8, until: 0.9}".to_owned()
        }
        Kind::Arms => {
            "a list of arms such as [{name: ours}, {name: theirs, method: snl}]".to_owned()
        }
        Kind::Grid => "axes such as replace.penalty: [1.0e-4, 3.0e-4]".to_owned(),
    }
}

fn number_range(range: Range) -> String {
    let mut text = String::from("a number");
    let from = if range.min_fits {
        "of at least"
    } else {
        "above"
    };
    let to = if range.max_fits { "at most" } else { "below" };
    // Writing to a String cannot fail.
    let _ = write!(text, " {from} {} and {to} {}", range.min, range.max);
    text
}

fn choice(names: &[&str], node: &Node) -> Option<AxisValue> {
    let text = node.text().filter(|text| names.contains(text))?;
    Some(AxisValue::Choice(text.to_owned()))
}

fn as_switch(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" => Some("true"),
        "no" | "n" | "off" | "false" => Some("false"),
        _ => None,
    }
}

/// A whole number that is not negative, also if it is written with a decimal point.
pub(super) fn count(node: &Node) -> Option<u64> {
    if let Value::Count(count) = node.value {
        return Some(count);
    }
    let whole =
        number(node).filter(|number| number.fract() == 0.0 && (0.0..9.0e15).contains(number))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in range"
    )]
    Some(whole as u64)
}

pub(super) fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Count(count) => Some(count as f64),
        Value::Negative(number) => Some(number as f64),
        Value::Number(number) => Some(number),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// A whole number.
fn whole(node: &Node) -> Option<i64> {
    if let Value::Negative(number) = node.value {
        return Some(number);
    }
    count(node).and_then(|count| i64::try_from(count).ok())
}

/// Mebibytes of an amount such as `40GiB`.
fn memory(node: &Node) -> Option<u64> {
    let text = node.text()?.trim();
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (digits, unit) = text.split_at(unit_at);
    let factor: u64 = match unit {
        "MiB" => 1,
        "GiB" => 1 << 10,
        "TiB" => 1 << 20,
        _ => return None,
    };
    let amount: u64 = digits.trim_end().parse().ok()?;
    amount
        .checked_mul(factor)
        .filter(|&mib| (1..=1 << 40).contains(&mib))
}

/// The count that a text stands for, such as `10K`, if it would do.
fn count_in_text(node: &Node, min: u64, max: u64) -> Option<String> {
    let Ok(BudgetSpec::Relus(count)) = node.text()?.parse() else {
        return None;
    };
    (min..=max).contains(&count).then(|| count.to_string())
}

/// The number that a text in quotes stands for, if it would do.
fn number_in_text(node: &Node, range: Range) -> Option<String> {
    let number: f64 = node.text()?.trim().parse().ok()?;
    range.fits(number).then(|| number.to_string())
}

/// Seconds of a time such as `10s`.
fn duration(node: &Node) -> Option<f64> {
    let text = node.text()?.trim();
    let unit_at = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (digits, unit) = text.split_at(unit_at);
    let in_milliseconds = match unit {
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    let digits = digits.trim_end();
    if !digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    let amount: f64 = digits.parse().ok()?;
    Some(amount * in_milliseconds / 1000.0)
}

/// Reads one budget.
pub(super) fn budget(node: &Node) -> Result<BudgetSpec, Refusal> {
    let read = match (node.text(), count(node)) {
        (Some(text), _) => text.parse(),
        (None, Some(relus)) => BudgetSpec::count(relus),
        (None, None) if number(node).is_some_and(|number| number < 0.0) => Err(NotABudget::Zero),
        (None, None) => Err(NotABudget::Shape),
    };
    read.map_err(|reason| {
        let refusal = Refusal::new(&reason.to_string(), &node.found());
        // 0.5 was probably meant as a share.
        let share = number(node).filter(|share| *share > 0.0 && *share < 1.0);
        refusal.meant(share.map(|share| format!("{}%", share * 100.0)))
    })
}

/// Reads the text that must be there.
pub(super) fn exactly(text: &str, node: &Node) -> Result<(), Refusal> {
    if node.text() == Some(text) {
        Ok(())
    } else {
        Err(Refusal::new(text, &node.found()))
    }
}

/// Reads the name of a file of weights.
pub(super) fn weights_file(node: &Node) -> Result<WeightsFile, Refusal> {
    let name = node.text().and_then(|text| text.parse().ok());
    name.ok_or_else(|| Refusal::new(&expected(Kind::WeightsFile), &node.found()))
}

/// Reads a digest.
pub(super) fn sha256(node: &Node) -> Result<Digest, Refusal> {
    let read = |text: &str| text.parse::<Digest>().ok();
    node.text().and_then(read).ok_or_else(|| {
        let lowercase = node.text().map(|text| text.trim().to_ascii_lowercase());
        let meant = lowercase.filter(|text| read(text).is_some());
        Refusal::new(&expected(Kind::Sha256), &node.found()).meant(meant)
    })
}

/// Reads a sweep's name.
pub(super) fn sweep_name(node: &Node) -> Result<crate::id::SweepName, Refusal> {
    let number = || count(node).map(|number| number.to_string());
    let Some(text) = node.text().map(str::to_owned).or_else(number) else {
        return Err(Refusal::new(&expected(Kind::SweepName), &node.found()));
    };
    text.parse().map_err(|_not_a_name: crate::id::NotALabel| {
        let expected = "1 to 63 lowercase letters, digits and dashes that begin and end with a letter or a digit";
        Refusal::new(expected, &quote(&text)).meant(similar_name(&text))
    })
}

/// A name that is allowed and close to one that is not.
fn similar_name(text: &str) -> Option<String> {
    let dashed: String = text
        .chars()
        .map(|character| match character.to_ascii_lowercase() {
            fits if fits.is_ascii_lowercase() || fits.is_ascii_digit() => fits,
            _ => '-',
        })
        .collect();
    let name: crate::id::SweepName = dashed.trim_matches('-').parse().ok()?;
    Some(name.to_string())
}
