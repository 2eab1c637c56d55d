//! YAML as a tree in which every key and value knows its place in the text.
//!
//! Reading stops at the first error of syntax; everything after that is checked on the tree, so
//! that all problems of content are found at once. Sizes are limited before and while reading.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Spanned};

use super::problem::Problem;

/// The largest manifest that is read, in bytes: far above any that a person writes.
pub const MAX_BYTES: usize = 1 << 20;

/// The most levels of lists and mappings.
const MAX_DEPTH: usize = 32;

/// The most values that are written out.
const MAX_NODES: usize = 200_000;

/// The most values that aliases may repeat.
const MAX_ALIASED: usize = 20_000;

/// A place in the text: line and column in characters, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    /// The first character.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    fn of(location: Location) -> Self {
        Self {
            line: location.line().max(1),
            column: location.column().max(1),
        }
    }

    /// A problem here.
    pub(super) fn problem(self, path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            column: self.column,
            path: path.into(),
            message: message.into(),
            suggestion: None,
        }
    }
}

/// A value with its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value as YAML 1.2 types it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Count(u64),
    Negative(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping with its place. Keys that are no text are kept as their text.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

impl Node {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    /// The entries, if it is a list.
    pub(super) fn list(&self) -> Option<&[Node]> {
        if let Value::List(entries) = &self.value {
            Some(entries)
        } else {
            None
        }
    }

    /// The entries, if it is a mapping.
    pub(super) fn map(&self) -> Option<&[(Key, Node)]> {
        if let Value::Map(entries) = &self.value {
            Some(entries)
        } else {
            None
        }
    }

    /// What was found, for messages: short, on one line, without control characters.
    pub(super) fn found(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Count(value) => value.to_string(),
            Value::Negative(value) => value.to_string(),
            Value::Number(value) if value.is_nan() => ".nan".to_owned(),
            Value::Number(value) if value.is_infinite() => "an infinite number".to_owned(),
            Value::Number(value) => value.to_string(),
            Value::Text(text) => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "keys with values".to_owned(),
        }
    }
}

/// A text in quotes for a message, escaped and cut to a readable length.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        format!("{text:?}")
    } else {
        let start: String = text.chars().take(SHOWN).collect();
        format!("{start:?}…")
    }
}

/// Reads the one document of a text.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "expected a manifest of at most {MAX_BYTES} bytes, found {}",
            text.len()
        );
        return Err(Place::START.problem("", message));
    }
    let spanned: Spanned<Raw> =
        serde_yaml::from_str_with_options(text, options()).map_err(|error| refuse(&error))?;
    let node = node(spanned);
    if node.value == Value::Null {
        return Err(empty());
    }
    Ok(node)
}

fn empty() -> Problem {
    Place::START.problem(
        "",
        "expected a sweep manifest (apiVersion, kind, metadata, spec), found an empty document",
    )
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
        },
        // Collected by our own walk, so that one of them does not hide the other problems.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: MAX_ALIASED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// An error of the YAML reader as a problem.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other error is the text's and says what is wrong"
)]
fn refuse(error: &serde_yaml::Error) -> Problem {
    use serde_yaml::Error;
    let error = error.without_snippet();
    let place = error.location().map_or(Place::START, Place::of);
    let cause = match error {
        Error::AliasError { error, .. } => error.without_snippet(),
        direct => direct,
    };
    let message = match cause {
        Error::MultipleDocuments { .. } => {
            "expected one document, found a second one; write each sweep in a file of its own"
                .to_owned()
        }
        Error::Budget { .. } => {
            format!("expected at most {MAX_NODES} values in at most {MAX_DEPTH} levels, found more")
        }
        Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("expected aliases that repeat at most {MAX_ALIASED} values, found more")
        }
        Error::Eof { .. } => return empty(),
        other => {
            let said = other.to_string();
            let first = said.lines().next().unwrap_or_default();
            // The place is told apart from the message.
            let reason = first.split(" at line ").next().unwrap_or_default();
            format!("expected YAML, found an error in it: {reason}")
        }
    };
    place.problem("", message)
}

fn node(spanned: Spanned<Raw>) -> Node {
    Node {
        value: spanned.value.0,
        place: Place::of(spanned.referenced),
    }
}

/// A value on its way out of the YAML reader.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Count(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Count))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element::<Spanned<Raw>>()? {
            list.push(node(element));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = access.next_key::<Spanned<Raw>>()? {
            let place = Place::of(key.referenced);
            let text = key_text(key.value.0).ok_or_else(|| {
                de::Error::custom("a key must be a word, not a list or a mapping")
            })?;
            let value = node(access.next_value::<Spanned<Raw>>()?);
            map.push((Key { text, place }, value));
        }
        Ok(Value::Map(map))
    }
}

fn key_text(value: Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Count(value) => Some(value.to_string()),
        Value::Negative(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::Text(text) => Some(text),
        Value::List(_) | Value::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_places() {
        let root = read("a: 1\nb:\n  - x\n  - {c: 2.5, d: [true, ~]}\n").unwrap();
        let entries = root.map().unwrap();
        assert_eq!(entries[0].0.place, Place { line: 1, column: 1 });
        assert_eq!(entries[0].1.place, Place { line: 1, column: 4 });
        let list = entries[1].1.list().unwrap();
        assert_eq!(list[0].place, Place { line: 3, column: 5 });
        let inner = list[1].map().unwrap();
        assert_eq!(inner[0].0.place, Place { line: 4, column: 6 });
        assert_eq!(inner[1].0.text, "d");
        let last = inner[1].1.list().unwrap();
        assert_eq!(
            last[0].place,
            Place {
                line: 4,
                column: 18
            }
        );
        assert_eq!(last[1].value, Value::Null);
    }

    #[test]
    fn numbers_are_typed_as_in_yaml_1_2() {
        let value = |text: &str| {
            let root = read(&format!("a: {text}")).unwrap();
            root.map().unwrap()[0].1.value.clone()
        };
        assert_eq!(value("7"), Value::Count(7));
        assert_eq!(value("-7"), Value::Negative(-7));
        assert_eq!(value("1e-4"), Value::Number(1e-4));
        assert_eq!(value("2.0e-4"), Value::Number(2e-4));
        assert_eq!(value(".inf"), Value::Number(f64::INFINITY));
        assert_eq!(value("\"7\""), Value::Text("7".to_owned()));
        assert_eq!(value("3K"), Value::Text("3K".to_owned()));
        assert_eq!(value("50%"), Value::Text("50%".to_owned()));
        assert_eq!(value("yes"), Value::Text("yes".to_owned()));
        assert_eq!(value("true"), Value::Bool(true));
    }

    #[test]
    fn repeated_keys_are_kept_for_the_walk_to_report() {
        let root = read("a: 1\na: 2\n").unwrap();
        assert_eq!(root.map().unwrap().len(), 2);
    }

    #[test]
    fn an_alias_has_the_place_where_it_is_used() {
        let root = read("a: &x [1]\nb: *x\n").unwrap();
        let aliased = &root.map().unwrap()[1].1;
        assert_eq!(aliased.place, Place { line: 2, column: 4 });
        assert_eq!(aliased.list().unwrap()[0].value, Value::Count(1));
    }

    #[test]
    fn an_alias_bomb_is_refused_and_not_expanded() {
        let mut bomb = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let row = [below.as_str(); 10].join(", ");
            bomb = format!("{bomb}a{level}: &a{level} [{row}]\n");
        }
        let problem = read(&bomb).unwrap_err();
        assert!(problem.message.contains("found more"), "{problem}");
    }

    #[test]
    fn depth_size_emptiness_and_second_documents_are_problems() {
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(read(&deep).unwrap_err().message.contains("levels"));
        let large = format!("a: \"{}\"", "x".repeat(MAX_BYTES));
        assert!(read(&large).unwrap_err().message.contains("bytes"));
        for empty in ["", "\n", "# only a comment\n", "---\n", "~\n"] {
            let problem = read(empty).unwrap_err();
            assert!(problem.message.contains("empty"), "{empty:?}: {problem}");
        }
        let two = read("a: 1\n---\nb: 2\n").unwrap_err();
        assert!(two.message.contains("one document"), "{two}");
        let broken = read("a: [1, 2\nb: 3\n").unwrap_err();
        assert!(broken.message.starts_with("expected YAML"), "{broken}");
    }
}
