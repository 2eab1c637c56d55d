//! Small mappings that stand where a list may stand, too.

use std::collections::BTreeMap;

use super::{Checker, Key, Node, shown};
use crate::manifest::read::{self, Refusal};

impl Checker {
    /// The values of a mapping by key; those that are unknown or there twice are told.
    pub(super) fn known_keys<'a>(
        &mut self,
        path: &str,
        entries: &'a [(Key, Node)],
        keys: &[&str],
    ) -> BTreeMap<&'a str, &'a Node> {
        let mut given = BTreeMap::new();
        for (key, value) in entries {
            let path = format!("{path}.{}", shown(&key.text));
            let message = if !keys.contains(&key.text.as_str()) {
                format!("unknown key, expected one of {}", keys.join(", "))
            } else if given.insert(key.text.as_str(), value).is_some() {
                "is given twice".to_owned()
            } else {
                continue;
            };
            self.problem(key.place, &path, message);
        }
        given
    }

    /// Reads a whole number of a mapping that must be there.
    pub(super) fn number_of(
        &mut self,
        path: &str,
        key: &str,
        (least, most): (u64, u64),
        what: &str,
        section: &Node,
        given: &BTreeMap<&str, &Node>,
    ) -> Option<u64> {
        let path = format!("{path}.{key}");
        let expected = format!("{least} to {most} {what}");
        let Some(node) = given.get(key) else {
            let message = format!("is missing: expected {expected}");
            self.problem(section.place, &path, message);
            return None;
        };
        let count = read::count(node).filter(|count| (least..=most).contains(count));
        if count.is_none() {
            self.refused(node.place, &path, Refusal::new(&expected, &node.found()));
        }
        count
    }
}
