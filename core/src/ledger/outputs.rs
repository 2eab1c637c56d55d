//! The committed outputs of one task as they are written down.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Head;

/// Outputs by name, each once. A map in its written form; in memory a slice, because nearly every
/// task has one or two, and a restart holds those of a million.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outputs(Box<[(String, Head)]>);

impl Outputs {
    /// The output of this name.
    pub fn get(&self, name: &str) -> Option<&Head> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == name).map(|(_, head)| head)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Head)> {
        self.0.iter().map(|(name, head)| (name.as_str(), head))
    }

    /// The names, in rising order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The outputs, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &Head> {
        self.0.iter().map(|(_, head)| head)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Head)> for Outputs {
    /// Of two of one name the later one counts.
    fn from_iter<I: IntoIterator<Item = (String, Head)>>(outputs: I) -> Self {
        let mut all: Vec<(String, Head)> = outputs.into_iter().collect();
        all.reverse();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(later, _), (kept, _)| later == kept);
        Self(all.into())
    }
}

impl Serialize for Outputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, head)| (name, head)))
    }
}

impl<'de> Deserialize<'de> for Outputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapOfOutputs)
    }
}

struct MapOfOutputs;

impl<'de> Visitor<'de> for MapOfOutputs {
    type Value = Outputs;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("outputs by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outputs, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = map.next_entry()? {
            all.push(entry);
        }
        Ok(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::id::Generation;

    fn head(step: u64) -> Head {
        Head {
            generation: Generation(1),
            step,
            manifest: Digest::of(b"manifest"),
        }
    }

    #[test]
    fn outputs_are_written_as_a_map_in_the_order_of_their_names_and_come_back_the_same() {
        let outputs: Outputs = [("net".to_owned(), head(2)), ("b100".to_owned(), head(1))]
            .into_iter()
            .collect();
        let text = serde_json::to_string(&outputs).unwrap();
        assert!(text.starts_with("{\"b100\":{"), "{text}");
        assert_eq!(serde_json::from_str::<Outputs>(&text).unwrap(), outputs);
        assert_eq!(outputs.get("net"), Some(&head(2)));
        assert_eq!(outputs.get("b"), None);
        assert!(Outputs::default().is_empty() && !outputs.is_empty());
    }

    #[test]
    fn of_two_outputs_of_one_name_the_later_one_counts() {
        let one = serde_json::to_string(&head(1)).unwrap();
        let two = serde_json::to_string(&head(2)).unwrap();
        let text = format!("{{\"net\":{one},\"net\":{two}}}");
        let outputs: Outputs = serde_json::from_str(&text).unwrap();
        assert_eq!(outputs.get("net"), Some(&head(2)));
    }
}
