//! What a search has to say of its way down: whether it met its budgets, how often indicators
//! turned, what projection to the exact budgets cost.

use serde::{Deserialize, Serialize};

use crate::observation::{Accuracy, LearningCurve};

/// What a search reports beside its nets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Searched {
    /// Epochs that ended before indicators froze. Later ones show what projection has left.
    pub epochs: u32,
    /// Times that an element gave its ReLU up for the polynomial; projections do not count.
    pub turned_off: u64,
    /// Times that an element took its ReLU back; projections do not count.
    pub turned_on: u64,
    /// One per budget, the largest first.
    pub projections: Vec<Projection>,
}

/// One projection of a search's net to exactly a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Projection {
    /// The budget.
    pub budget: u64,
    /// ReLUs that the net had just before.
    pub searched_count: u64,
    /// Epochs that had ended before.
    pub epochs: u32,
    /// What it did to the net; `None` where an older trainer projected.
    pub effect: Option<Effect>,
}

/// What a projection did to a net.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The net is the same: it cost nothing.
    Nothing,
    /// The net is another one. Both are measured on the validation images.
    Change {
        /// The net just before.
        before: Accuracy,
        /// The net just after.
        after: Accuracy,
    },
}

/// Whether a search came down to a budget.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convergence {
    /// It did, and stayed.
    Reached,
    /// It did, and was above it again later.
    Left,
    /// It did not.
    Never,
}

impl Convergence {
    /// Every case, the best first.
    pub const ALL: [Self; 3] = [Self::Reached, Self::Left, Self::Never];

    /// The name used in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Left => "left",
            Self::Never => "never",
        }
    }

    /// The case of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What counts in the order of time say of a budget.
    ///
    /// ```
    /// use autorep_core::searched::Convergence;
    /// assert_eq!(Convergence::of(100, [900, 400, 101, 99]), Convergence::Reached);
    /// assert_eq!(Convergence::of(100, [900, 90, 130, 95]), Convergence::Left);
    /// assert_eq!(Convergence::of(100, [900, 400, 103]), Convergence::Never);
    /// ```
    pub fn of(budget: u64, counts: impl IntoIterator<Item = u64>) -> Self {
        let mut counts = counts.into_iter().map(|count| reaches(count, budget));
        if !counts.any(|within| within) {
            Self::Never
        } else if counts.all(|within| within) {
            Self::Reached
        } else {
            Self::Left
        }
    }
}

/// Whether a search with `count` ReLUs has come down to its budget. A hinge lets go at the budget,
/// so that counts stay around it: up to 2 % above it are taken for reached.
pub const fn reaches(count: u64, budget: u64) -> bool {
    count <= budget.saturating_add(budget / 50)
}

impl Effect {
    /// Percentage points of validation accuracy that it cost; below zero where it gained some.
    pub fn cost(self) -> f64 {
        match self {
            Self::Nothing => 0.0,
            Self::Change { before, after } => before.percent() - after.percent(),
        }
    }
}

impl Searched {
    /// The projection to `budget`.
    pub fn projection(&self, budget: u64) -> Option<&Projection> {
        self.projections.iter().find(|it| it.budget == budget)
    }

    /// Whether the search came down to `budget`, which is one of its own; `curve` is what its epochs
    /// measured. Counts are known at the end of each epoch and at each projection.
    pub fn convergence(&self, curve: &LearningCurve, budget: u64) -> Option<Convergence> {
        self.projection(budget)?;
        Some(Convergence::of(budget, self.counts(curve)))
    }

    /// The counts that are known, in the order of time.
    fn counts<'a>(&'a self, curve: &'a LearningCurve) -> impl Iterator<Item = u64> + 'a {
        let searching = self.epochs as usize;
        let epochs = curve.epochs.iter().map(|epoch| epoch.relu_count);
        let epochs = epochs.enumerate().take(searching);
        let mut projections = self.projections.iter().peekable();
        let mut epochs = epochs.peekable();
        std::iter::from_fn(move || {
            let ended = epochs.peek().map(|&(ended, _)| ended);
            // A projection after so many epochs comes before the end of the next.
            let due =
                projections.next_if(|it| ended.is_none_or(|ended| it.epochs as usize <= ended));
            match due {
                Some(projection) => Some(projection.searched_count),
                None => epochs.next().map(|(_, count)| count),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::EpochPoint;

    fn curve(counts: &[u64]) -> LearningCurve {
        let point = |&relu_count| EpochPoint {
            relu_count,
            correct: 5,
        };
        LearningCurve {
            images: 10,
            epochs: counts.iter().map(point).collect(),
        }
    }

    fn projection(budget: u64, searched_count: u64, epochs: u32) -> Projection {
        Projection {
            budget,
            searched_count,
            epochs,
            effect: Some(Effect::Nothing),
        }
    }

    fn searched(epochs: u32, projections: &[Projection]) -> Searched {
        Searched {
            epochs,
            projections: projections.to_vec(),
            ..Searched::default()
        }
    }

    #[test]
    fn what_is_frozen_at_the_budget_by_projection_alone_was_never_reached() {
        // Frozen in the third epoch; from there on the curve shows the projected net.
        let search = searched(2, &[projection(300, 900, 2)]);
        let curve = curve(&[4000, 1200, 300, 300]);
        assert_eq!(
            search.convergence(&curve, 300),
            Some(Convergence::Never),
            "{:?}",
            search.counts(&curve).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_search_that_comes_back_above_its_budget_has_left_it() {
        let left = searched(3, &[projection(300, 420, 3)]);
        assert_eq!(
            left.convergence(&curve(&[4000, 290, 350, 300]), 300),
            Some(Convergence::Left)
        );
        // Also where it ends within the budget once more, and where only the end is above.
        let back = searched(3, &[projection(300, 300, 3)]);
        assert_eq!(
            back.convergence(&curve(&[4000, 290, 350]), 300),
            Some(Convergence::Left)
        );
        assert_eq!(
            left.convergence(&curve(&[4000, 290, 300]), 300),
            Some(Convergence::Left)
        );
    }

    #[test]
    fn counts_around_the_budget_are_taken_for_reached() {
        let search = searched(3, &[projection(300, 306, 3)]);
        assert_eq!(
            search.convergence(&curve(&[4000, 297, 305]), 300),
            Some(Convergence::Reached)
        );
        let search = searched(3, &[projection(300, 307, 3)]);
        assert_eq!(
            search.convergence(&curve(&[4000, 297, 305]), 300),
            Some(Convergence::Left)
        );
        assert_eq!(
            search.convergence(&curve(&[4000, 310, 310]), 300),
            Some(Convergence::Never)
        );
    }

    #[test]
    fn each_budget_of_a_descent_is_judged_by_what_came_after_it_was_passed() {
        // 2,000 is passed within the second epoch, at whose end the count is above it again; 1,000
        // within the third; 300 is cut out at the end.
        let passed = [
            projection(2000, 1990, 1),
            projection(1000, 980, 2),
            projection(300, 700, 4),
        ];
        let search = searched(4, &passed);
        let curve = curve(&[4000, 2100, 900, 800, 300]);
        let judged = [2000, 1000, 300].map(|budget| search.convergence(&curve, budget));
        let expected = [Convergence::Left, Convergence::Reached, Convergence::Never];
        assert_eq!(judged, expected.map(Some));
        assert_eq!(search.convergence(&curve, 500), None, "not its budget");
        assert_eq!(
            search.counts(&curve).collect::<Vec<_>>(),
            [4000, 1990, 2100, 980, 900, 800, 700]
        );
    }

    #[test]
    fn a_curve_that_is_shorter_than_said_is_no_trouble() {
        let search = searched(9, &[projection(300, 290, 7)]);
        assert_eq!(
            search.convergence(&curve(&[4000]), 300),
            Some(Convergence::Reached)
        );
    }

    #[test]
    fn a_projection_costs_what_is_lost_on_validation_images() {
        let accuracy = |correct| Accuracy {
            correct,
            images: 200,
        };
        let effect = |before, after| Effect::Change {
            before: accuracy(before),
            after: accuracy(after),
        };
        assert!((effect(180, 150).cost() - 15.0).abs() < 1e-9);
        assert!((effect(150, 151).cost() + 0.5).abs() < 1e-9);
        assert!(Effect::Nothing.cost().abs() < 1e-9);
    }
}
