//! Budgets, seeds and labels.

use std::collections::BTreeMap;

use super::{Checker, GivenBudget, Node};
use crate::manifest::fields::Kind;
use crate::manifest::read::{self, Refusal};
use crate::offer::{LABEL, is_label};

/// The most budgets of one sweep.
const MAX_BUDGETS: usize = 1_000;

/// The most labels that a worker must have.
const MAX_LABELS: usize = 64;

/// The most seeds of one sweep.
const MAX_SEEDS: usize = 10_000;

/// The largest seed: tools that read JSON numbers as floats keep it exactly.
const MAX_SEED: u64 = u32::MAX as u64;

impl Checker {
    /// Reads `spec.budgets`. Whether budgets fit the network is checked later.
    pub(super) fn budgets(&mut self, path: &str, node: &Node) {
        let Some(entries) = self.list(path, node, Kind::Budgets, MAX_BUDGETS) else {
            return;
        };
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match read::budget(entry) {
                Ok(budget) => self.budgets.push(GivenBudget {
                    budget,
                    place: entry.place,
                    path,
                }),
                Err(refusal) => self.refused(entry.place, &path, refusal),
            }
        }
        if self.budgets.is_empty() {
            self.broken.insert(path.to_owned());
        }
    }

    /// Reads `spec.seeds`.
    pub(super) fn seeds(&mut self, path: &str, node: &Node) {
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
    fn list<'a>(
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
