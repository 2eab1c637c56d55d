//! Seeds and labels.

use std::collections::BTreeMap;

use super::{Checker, Key, Node};
use crate::growth::AdaptiveSeeds;
use crate::manifest::fields::Kind;
use crate::manifest::read::{self, Refusal};
use crate::offer::{LABEL, is_label};

/// The most labels that a worker must have.
const MAX_LABELS: usize = 64;

/// The keys of seeds that are given as they are needed.
pub(in crate::manifest) const SEED_KEYS: [&str; 3] = ["min", "max", "until"];

/// How sure the sweep is to be of a point where nothing else is said.
pub(in crate::manifest) const UNTIL: f64 = 0.9;

/// The most seeds of one sweep.
const MAX_SEEDS: usize = 10_000;

/// The largest seed: tools that read JSON numbers as floats keep it exactly.
const MAX_SEED: u64 = u32::MAX as u64;

impl Checker {
    /// Reads `spec.seeds`.
    pub(super) fn seeds(&mut self, path: &str, node: &Node) {
        if let Some(entries) = node.map() {
            return self.adaptive_seeds(path, node, entries);
        }
        if let Some(count) = read::count(node) {
            if (1..=MAX_SEEDS as u64).contains(&count) {
                self.seeds = (0..count).collect();
            } else {
                let expected = format!("1 to {MAX_SEEDS} seeds");
                self.refused(node.place, path, Refusal::new(&expected, &node.found()));
            }
            return;
        }
        let Some(entries) = self.list(path, node, Kind::Seeds, MAX_SEEDS) else {
            return;
        };
        let mut seeds: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match read::count(entry).filter(|seed| *seed <= MAX_SEED) {
                None => {
                    let expected = format!("a seed from 0 to {MAX_SEED}");
                    self.refused(entry.place, &path, Refusal::new(&expected, &entry.found()));
                }
                Some(seed) => {
                    if let Some(first) = seeds.get(&seed) {
                        let message =
                            format!("the seed {seed} is given twice, first as seeds[{first}]");
                        self.problem(entry.place, &path, message);
                    } else {
                        seeds.insert(seed, index);
                    }
                }
            }
        }
        self.seeds = seeds.into_keys().collect();
    }

    /// Reads `spec.seeds` where they are given as they are needed.
    fn adaptive_seeds(&mut self, path: &str, node: &Node, entries: &[(Key, Node)]) {
        let given = self.known_keys(path, entries, &SEED_KEYS);
        let most = MAX_SEEDS as u64;
        let min = self.number_of(path, "min", (1, most), "seeds", node, &given);
        let Some(min) = min else { return };
        let max = self.number_of(path, "max", (min, most), "seeds", node, &given);
        let until = match given.get("until") {
            None => Some(UNTIL),
            Some(node) => {
                let until = read::number(node).filter(|it| (0.5..1.0).contains(it));
                if until.is_none() {
                    let expected = "a probability from 0.5 to below 1";
                    let path = format!("{path}.until");
                    self.refused(node.place, &path, Refusal::new(expected, &node.found()));
                }
                until
            }
        };
        if let (Some(max), Some(until)) = (max, until) {
            self.seeds = (0..max).collect();
            let min = u32::try_from(min).unwrap_or(u32::MAX);
            self.adaptive_seeds = Some(AdaptiveSeeds { min, until });
        }
    }

    /// Reads `spec.resources.labels`.
    pub(super) fn labels(&mut self, path: &str, node: &Node) {
        let Some(entries) = self.list(path, node, Kind::Labels, MAX_LABELS) else {
            return;
        };
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(text) = entry.text().filter(|text| is_label(text)) {
                self.operations.resources.labels.insert(text.to_owned());
            } else {
                let refusal = Refusal::new(LABEL, &entry.found());
                self.refused(entry.place, &path, refusal);
            }
        }
    }

    /// The entries of a list that may not be empty nor longer than `most`.
    pub(super) fn list<'a>(
        &mut self,
        path: &str,
        node: &'a Node,
        kind: Kind,
        most: usize,
    ) -> Option<&'a [Node]> {
        let refusal = match node.list() {
            None => Refusal::new(&read::expected(kind), &node.found()),
            Some([]) => Refusal::new(&read::expected(kind), "an empty list"),
            Some(entries) if entries.len() > most => Refusal::new(
                &format!("at most {most} entries"),
                &entries.len().to_string(),
            ),
            Some(entries) => return Some(entries),
        };
        self.refused(node.place, path, refusal);
        None
    }
}
