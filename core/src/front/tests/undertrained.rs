//! The rule for under-trained points against its definition.

use proptest::prelude::*;

use super::row;
use crate::candidate::PointKind;
use crate::front::FrontRow;
use crate::front::undertrained::{Tested, fill};

const IMAGES: u64 = 1_000;

fn filled(mut rows: Vec<FrontRow>) -> Vec<FrontRow> {
    rows.sort_by_key(|row| row.relu_count);
    let tested = |row| Tested {
        row,
        images: IMAGES,
    };
    let mut rows: Vec<Tested> = rows.into_iter().map(tested).collect();
    fill(&mut rows);
    rows.into_iter().map(|it| it.row).collect()
}

/// Two standard errors of the difference of two means.
fn noise(a: &FrontRow, b: &FrontRow, spread: Option<f64>) -> f64 {
    let error = |row: &FrontRow| {
        let by_seeds = spread.map(|spread| spread / f64::from(row.seeds).sqrt());
        let share = row.accuracy_mean / 100.0;
        let by_images = 100.0 * (share * (1.0 - share) / IMAGES as f64).sqrt();
        let error = match (by_seeds, a.seeds.min(b.seeds)) {
            (Some(by_seeds), 2..) => by_seeds,
            (Some(by_seeds), _) => by_seeds.max(by_images),
            (None, _) => by_images,
        };
        error.max(0.01)
    };
    2.0 * error(a).hypot(error(b))
}

fn pooled(rows: &[FrontRow]) -> Option<f64> {
    let several = || {
        let replaced = rows.iter().filter(|row| row.kind == PointKind::Replaced);
        replaced.filter(|row| row.seeds > 1)
    };
    let freedom: f64 = several().map(|row| f64::from(row.seeds - 1)).sum();
    let squares = several().map(|row| f64::from(row.seeds - 1) * row.accuracy_std.powi(2));
    (freedom > 0.0).then(|| (squares.sum::<f64>() / freedom).sqrt())
}

/// The rows that a row lies under, by the definition.
fn above<'a>(rows: &'a [FrontRow], row: &FrontRow) -> Vec<&'a FrontRow> {
    let spread = pooled(rows);
    let series = |row: &FrontRow| (row.candidate.clone(), row.strategy, row.net.clone());
    let others = rows.iter().filter(|other| {
        row.kind == PointKind::Replaced
            && other.kind == PointKind::Replaced
            && series(other) == series(row)
            && other.relu_count < row.relu_count
            && other.accuracy_mean - row.accuracy_mean > noise(row, other, spread)
    });
    others.collect()
}

fn any_rows() -> impl Strategy<Value = Vec<FrontRow>> {
    let one = (
        1_u64..6,
        780_u32..900,
        0_u32..12,
        1_u32..4,
        0_u8..3,
        0_u8..12,
    );
    let one = one.prop_map(|(relus, tenths, spread, seeds, series, kind)| FrontRow {
        kind: match kind {
            0 => PointKind::Baseline,
            _ => PointKind::Replaced,
        },
        candidate: format!("penalty={}", series % 2),
        net: format!("net {}", series / 2),
        ..row(
            100 * relus,
            f64::from(tenths) / 10.0,
            if seeds > 1 {
                f64::from(spread) / 10.0
            } else {
                0.0
            },
            seeds,
        )
    });
    prop::collection::vec(one, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_point_is_flagged_if_and_only_if_one_with_fewer_relus_is_better_by_more_than_noise(
        rows in any_rows()
    ) {
        let rows = filled(rows);
        for row in &rows {
            let above = above(&rows, row);
            prop_assert_eq!(row.is_under_trained(), !above.is_empty(), "{:?}", row);
            let Some(named) = row.lies_under else {
                continue;
            };
            // The one that is named is the most accurate of them.
            let best = above.iter().map(|it| it.accuracy_mean).fold(f64::MIN, f64::max);
            let is_best = |it: &&FrontRow| it.relu_count == named && it.accuracy_mean >= best;
            prop_assert!(above.into_iter().any(|it| is_best(&it)), "{:?}", row);
        }
    }
}

#[test]
fn a_fall_within_the_noise_of_seeds_is_not_flagged_and_one_beyond_it_is() {
    // The pooled deviation is 0.5: two standard errors of a difference over two seeds are 1.0.
    let at = |relus, mean| row(relus, mean, 0.5, 2);
    let flagged = |mean| filled(vec![at(100, 85.0), at(200, mean)])[1].lies_under;
    assert_eq!(flagged(84.01), None);
    assert_eq!(flagged(83.99), Some(100));
}

#[test]
fn single_seeds_are_judged_by_the_images_of_the_test_set() {
    // Drawing 1,000 images at 80 % has an error of 1.26 points, a difference 1.79.
    let flagged = |mean| filled(vec![row(100, 80.0, 0.0, 1), row(200, mean, 0.0, 1)])[1].lies_under;
    assert_eq!(flagged(76.7), None);
    assert_eq!(flagged(76.0), Some(100));
}

#[test]
fn points_of_other_settings_and_equal_counts_say_nothing() {
    let other = FrontRow {
        candidate: "penalty=2".to_owned(),
        ..row(100, 95.0, 0.1, 3)
    };
    let rows = vec![other, row(200, 90.0, 0.1, 3), row(200, 70.0, 0.1, 3)];
    assert!(filled(rows).iter().all(|row| !row.is_under_trained()));
}
