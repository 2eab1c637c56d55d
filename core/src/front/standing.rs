//! What a front has come to, in a few numbers: for whoever looks often.

use super::SweepFront;
use super::hypervolume::hypervolume;
use super::pareto::Point;

/// A front in a few numbers. Costs as much as the front has points, whatever number of candidates the
/// sweep has.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// The points on the front by rising ReLU count, and so by rising accuracy; equals once.
    points: Vec<Point>,
    /// Candidates on the front; equals each count.
    pub size: usize,
    /// As in [`FrontReport::hypervolume`](super::FrontReport::hypervolume).
    pub hypervolume: f64,
    /// The mean test accuracy of the best baseline, in percent, once a seed is in.
    pub baseline: Option<f64>,
}

impl Standing {
    /// The best mean test accuracy, in percent, of a net with at most so many ReLUs, if there is one.
    pub fn best_within(&self, budget: u64) -> Option<f64> {
        let end = (self.points).partition_point(|point| point.relu_count <= budget);
        self.points[..end].last().map(|point| point.accuracy)
    }
}

impl SweepFront {
    /// What the front has come to.
    pub fn standing(&self) -> Standing {
        let mut points: Vec<Point> = Vec::new();
        let mut shares = Vec::new();
        let mut size = 0;
        for owner in self.pareto().front() {
            let Some(point) = self.pareto().point(owner) else {
                continue;
            };
            size += 1;
            let share = point.relu_count as f64 / self.relu_total(owner).max(1) as f64;
            shares.push((share, point.accuracy / 100.0));
            if points.last() != Some(&point) {
                points.push(point);
            }
        }
        Standing {
            points,
            size,
            hypervolume: hypervolume(&shares),
            baseline: self.best_baseline(),
        }
    }
}
