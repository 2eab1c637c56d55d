//! Points that lie under a neighbour with fewer ReLUs by more than noise.
//!
//! A net with more ReLUs can do all that one with fewer can. Where it is less accurate all the same
//! it has been trained too little, and more epochs should lift it. Points are compared within a
//! line: the same net and data, baselines, strategy and place in the grid, at other budgets.
//!
//! Noise is two standard errors of the difference of the means. Between two points with several
//! seeds each, a mean's is that of the model of [`super::certainty`]: s/√n, s pooled over all
//! candidates with several seeds. A single seed says nothing of what other seeds would give: then
//! each side's is at least that of drawing the test images, `√(p (1 - p) / images)`.

use std::collections::BTreeMap;

use super::FrontRow;
use super::certainty::{LEAST_ERROR, Measured, pooled_spread};
use crate::candidate::PointKind;

/// Standard errors of a difference that are taken for noise.
const NOISE: f64 = 2.0;

/// A row with the images of its test set.
pub(super) struct Tested {
    pub(super) row: FrontRow,
    pub(super) images: u64,
}

/// Says of each replaced row what it lies under. Rows are sorted by ReLU count.
pub(super) fn fill(rows: &mut [Tested]) {
    let replaced = rows.iter().filter(|it| it.row.kind == PointKind::Replaced);
    let measured: Vec<Measured> = replaced.map(|it| Measured::of(&it.row)).collect();
    let spread = pooled_spread(&measured);
    for places in lines(rows) {
        let points: Vec<Point> = (places.iter())
            .map(|&place| {
                let Tested { row, images } = &rows[place];
                Point::of(&Measured::of(row), *images, spread)
            })
            .collect();
        for (place, under) in places.into_iter().zip(under(&points)) {
            rows[place].row.lies_under = under;
        }
    }
}

/// The places of the rows of each line, by rising ReLU count.
fn lines(rows: &[Tested]) -> Vec<Vec<usize>> {
    let mut lines: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, Tested { row, .. }) in rows.iter().enumerate() {
        if row.kind == PointKind::Replaced {
            let setting = (&row.candidate, row.strategy);
            let net = (&row.data, &row.net, row.relu_total);
            lines.entry((setting, net)).or_default().push(place);
        }
    }
    lines.into_values().collect()
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    pub(super) relu_count: u64,
    /// Mean accuracy, in percent.
    pub(super) mean: f64,
    /// Standard error of the mean beside another with several seeds; none for one seed.
    pub(super) among_several: Option<f64>,
    /// Standard error of the mean where one of two has a single seed.
    pub(super) beside_single: f64,
}

impl Point {
    fn of(measured: &Measured, images: u64, spread: Option<f64>) -> Self {
        let by_seeds = spread.map(|spread| spread / f64::from(measured.seeds).sqrt());
        let share = (measured.mean / 100.0).clamp(0.0, 1.0);
        let by_images = 100.0 * (share * (1.0 - share) / images.max(1) as f64).sqrt();
        Self {
            relu_count: measured.relu_count,
            mean: measured.mean,
            among_several: by_seeds
                .filter(|_| measured.seeds > 1)
                .map(|error| error.max(LEAST_ERROR)),
            beside_single: by_seeds.unwrap_or(0.0).max(by_images).max(LEAST_ERROR),
        }
    }
}

/// Points with fewer ReLUs than the one that is looked at, without those that another of them makes
/// needless: one that is at least as accurate and known at least as well.
#[derive(Default)]
struct Lower(Vec<Rival>);

#[derive(Clone, Copy)]
struct Rival {
    relu_count: u64,
    mean: f64,
    error: f64,
}

impl Lower {
    fn join(&mut self, point: &Point, error: f64) {
        let (relu_count, mean) = (point.relu_count, point.mean);
        let needless = |it: &Rival| it.mean >= mean && it.error <= error;
        if self.0.iter().any(needless) {
            return;
        }
        self.0.retain(|it| it.mean > mean || it.error < error);
        self.0.push(Rival {
            relu_count,
            mean,
            error,
        });
    }

    /// The most accurate that is above a mean by more than noise.
    fn above(&self, mean: f64, error: f64) -> Option<Rival> {
        let above = self
            .0
            .iter()
            .filter(|it| it.mean - mean > NOISE * libm::hypot(it.error, error));
        above.copied().max_by(|a, b| a.mean.total_cmp(&b.mean))
    }
}

/// Which of these points of a line, sorted by ReLU count and each with the images of its test set, lie
/// under one with fewer ReLUs by more than noise. `spread` is the standard deviation over seeds, in
/// percentage points, pooled over all candidates with several.
pub fn under_trained(line: &[(Measured, u64)], spread: Option<f64>) -> Vec<bool> {
    let points: Vec<Point> = (line.iter())
        .map(|(measured, images)| Point::of(measured, *images, spread))
        .collect();
    under(&points).iter().map(Option::is_some).collect()
}

/// Of each of these points of a line, sorted by ReLU count, the ReLUs of the most accurate of
/// those that it lies under.
pub(super) fn under(points: &[Point]) -> Vec<Option<u64>> {
    // Points with several seeds by either error, and those with one.
    let mut several = Lower::default();
    let mut several_beside_single = Lower::default();
    let mut single = Lower::default();
    let mut found = Vec::with_capacity(points.len());
    for group in points.chunk_by(|one, other| one.relu_count == other.relu_count) {
        found.extend(group.iter().map(|point| {
            let beside = point.beside_single;
            let among = match point.among_several {
                Some(error) => several.above(point.mean, error),
                None => several_beside_single.above(point.mean, beside),
            };
            let rivals = [among, single.above(point.mean, beside)].into_iter();
            let highest = rivals.flatten().max_by(|a, b| a.mean.total_cmp(&b.mean));
            highest.map(|rival| rival.relu_count)
        }));
        for point in group {
            match point.among_several {
                Some(error) => {
                    several.join(point, error);
                    several_beside_single.join(point, point.beside_single);
                }
                None => single.join(point, point.beside_single),
            }
        }
    }
    found
}
