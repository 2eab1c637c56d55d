//! Budgets: a list, or a range of which only those are measured that say something.

use super::{Checker, GivenBudget, Key, Node, Place};
use crate::growth::Refine;
use crate::manifest::BudgetSpec;
use crate::manifest::fields::Kind;
use crate::manifest::read::{self, Refusal};
use crate::strategy::Strategy;

/// The most budgets of one sweep.
const MAX_BUDGETS: usize = 1_000;

/// The keys of a range of budgets.
pub(in crate::manifest) const RANGE_KEYS: [&str; 4] = ["from", "to", "points", "refine"];

/// The keys of its refinement.
pub(in crate::manifest) const REFINE_KEYS: [&str; 2] = ["first", "until"];

/// Hypervolume for a GPU-hour that a new budget must bring where nothing else is said.
pub(in crate::manifest) const UNTIL: f64 = 0.001;

/// Digits that budgets between the ends are rounded to, so that they are the same on every machine.
const DIGITS: usize = 3;

/// A range of budgets, which is spread when the network is known.
pub(super) struct GivenRange {
    from: BudgetSpec,
    to: BudgetSpec,
    points: u64,
    place: Place,
    path: String,
}

impl Checker {
    /// Reads `spec.budgets`. Whether budgets fit the network is checked later.
    pub(super) fn budgets(&mut self, path: &str, node: &Node) {
        if let Some(entries) = node.map() {
            return self.budget_range(path, node, entries);
        }
        let Some(entries) = self.list(path, node, Kind::Budgets, MAX_BUDGETS) else {
            return;
        };
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(budget) = self.one_budget(entry, &path) {
                self.budgets.push(GivenBudget {
                    budget,
                    place: entry.place,
                    path,
                });
            }
        }
        if self.budgets.is_empty() {
            self.broken.insert(path.to_owned());
        }
    }

    fn one_budget(&mut self, node: &Node, path: &str) -> Option<BudgetSpec> {
        read::budget(node)
            .map_err(|refusal| self.refused(node.place, path, refusal))
            .ok()
    }

    /// Reads `spec.budgets` where it is a range.
    fn budget_range(&mut self, path: &str, node: &Node, entries: &[(Key, Node)]) {
        let given = self.known_keys(path, entries, &RANGE_KEYS);
        let end = |checker: &mut Self, key: &str| {
            let path = format!("{path}.{key}");
            let Some(value) = given.get(key) else {
                let message = "is missing: expected the range's end, such as 500 or 50%";
                checker.problem(node.place, &path, message);
                return None;
            };
            checker.one_budget(value, &path)
        };
        let (from, to) = (end(self, "from"), end(self, "to"));
        let most = MAX_BUDGETS as u64;
        let points = self.number_of(path, "points", (2, most), "budgets", node, &given);
        if let Some(value) = given.get("refine") {
            let most = points.unwrap_or(most);
            self.refinement(&format!("{path}.refine"), value, most);
        }
        if let (Some(from), Some(to), Some(points)) = (from, to, points) {
            self.range = Some(GivenRange {
                from,
                to,
                points,
                place: node.place,
                path: path.to_owned(),
            });
        } else {
            self.broken.insert(path.to_owned());
        }
    }

    /// Reads `spec.budgets.refine`.
    fn refinement(&mut self, path: &str, node: &Node, most: u64) {
        let Some(entries) = node.map() else {
            let expected = "how budgets are added, such as {first: 4, until: 0.001}";
            return self.refused(node.place, path, Refusal::new(expected, &node.found()));
        };
        let given = self.known_keys(path, entries, &REFINE_KEYS);
        let first = self.number_of(path, "first", (2, most), "budgets", node, &given);
        let until = match given.get("until") {
            None => Some(UNTIL),
            Some(node) => {
                let until = read::number(node).filter(|it| (0.0..=1.0e6).contains(it));
                if until.is_none() {
                    let expected = "the least gain in hypervolume for a GPU-hour, at least 0";
                    let path = format!("{path}.until");
                    self.refused(node.place, &path, Refusal::new(expected, &node.found()));
                }
                until
            }
        };
        if let (Some(first), Some(until)) = (first, until) {
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            self.refine = Some(Refine { first, until });
        }
    }

    /// Spreads a range of budgets, now that the network is known.
    pub(super) fn spread_budgets(&mut self) {
        let Some(range) = self.range.take() else {
            return;
        };
        match self.spread(&range) {
            Ok(budgets) => {
                let given = budgets.into_iter().map(|budget| GivenBudget {
                    budget,
                    place: range.place,
                    path: range.path.clone(),
                });
                self.budgets.extend(given);
            }
            Err(message) => self.problem(range.place, &range.path, message),
        }
    }

    fn spread(&self, range: &GivenRange) -> Result<Vec<BudgetSpec>, String> {
        let (from, to) = match (range.from, range.to) {
            ends @ ((BudgetSpec::Relus(_), BudgetSpec::Relus(_))
            | (BudgetSpec::Share(_), BudgetSpec::Share(_))) => ends,
            (from, to) => {
                let of_net = |axis: &super::GivenAxis| {
                    let name = axis.field.name();
                    name.starts_with("net.") || name == "data.name"
                };
                if self.axes.iter().any(of_net) {
                    return Err(format!(
                        "expected both ends as counts or both as shares where the grid varies the \
                         net, found {from} and {to}"
                    ));
                }
                let input = self.settings.data.name.input();
                let total = self.settings.net.spec().relu_total(input);
                let count = |budget: BudgetSpec| BudgetSpec::Relus(budget.relus(total));
                (count(from), count(to))
            }
        };
        let (low, high) = (from.number(), to.number());
        if low >= high {
            return Err(format!("expected from below to, found {from} and {to}"));
        }
        let last = range.points - 1;
        let mut budgets = vec![from];
        for point in 1..last {
            let way = point as f64 / last as f64;
            let exact = low as f64 * (high as f64 / low as f64).powf(way);
            budgets.push(from.of_same_kind(rounded(exact)));
        }
        budgets.push(to);
        match budgets.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(_) => Err(format!(
                "expected fewer points: {} between {from} and {to} lie closer than {DIGITS} digits \
                 tell apart",
                range.points
            )),
            None => Ok(budgets),
        }
    }

    /// What budgets are added by needs searches whose nets are there, or that nothing else stops.
    pub(super) fn refinement_fits(&mut self) {
        if self.refine.is_none() {
            return;
        }
        let strategy = self.operations.strategy;
        if strategy == Strategy::Ladder {
            let message = "expected the strategy descent or independent where budgets are refined, \
                           found ladder: each of its budgets needs the next larger one's net";
            self.problem(self.place("spec.budgets"), "spec.budgets", message);
        }
        if self.operations.halving.grace > 0 && strategy != Strategy::Descent {
            let path = "spec.budgets";
            let message = format!(
                "expected the strategy descent where budgets are refined and halving stops searches, \
                 found {}: at a budget that is added nobody would have been compared",
                strategy.name()
            );
            self.problem(self.place(path), path, message);
        }
    }
}

/// A whole number with few digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "budgets are positive and below 2^53"
)]
fn rounded(number: f64) -> u64 {
    let text = format!("{number:.*e}", DIGITS - 1);
    text.parse::<f64>().unwrap_or(number).round() as u64
}
