//! The certainty of fronts against drawing other seeds over and over.

use proptest::prelude::*;

use super::row;
use crate::candidate::PointKind;
use crate::front::FrontRow;
use crate::front::certainty::fill;

const DRAWS: usize = 20_000;

/// More than four standard errors of a share of so many draws.
const TOLERANCE: f64 = 0.015;

fn filled(mut rows: Vec<FrontRow>) -> Vec<FrontRow> {
    rows.sort_by_key(|row| row.relu_count);
    fill(&mut rows);
    rows
}

/// Numbers without a pattern that matters here, the same in every run (splitmix64).
struct Draws(u64);

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

/// How often each row is on the front, and the best accuracies within its count, rising.
fn drawn(rows: &[FrontRow], spread: f64) -> Vec<(f64, Vec<f64>)> {
    let mut draws = Draws(7);
    let mut found = vec![(0.0, Vec::with_capacity(DRAWS)); rows.len()];
    for _ in 0..DRAWS {
        let accuracies: Vec<f64> = rows
            .iter()
            .map(|row| row.accuracy_mean + spread / f64::from(row.seeds).sqrt() * draws.normal())
            .collect();
        for (row, (on_front, bests)) in rows.iter().zip(&mut found) {
            let within = rows.iter().zip(&accuracies);
            let within = within.filter(|(other, _)| other.relu_count <= row.relu_count);
            let best = within.map(|(_, &it)| it).fold(f64::MIN, f64::max);
            bests.push(best);
            let own = rows.iter().position(|other| std::ptr::eq(other, row));
            if own.is_some_and(|own| accuracies[own] >= best) {
                *on_front += 1.0 / DRAWS as f64;
            }
        }
    }
    for (_, bests) in &mut found {
        bests.sort_by(f64::total_cmp);
    }
    found
}

fn any_rows() -> impl Strategy<Value = Vec<FrontRow>> {
    let one = (1_u64..4, 840_u32..880, 1_u32..4)
        .prop_map(|(relus, tenths, seeds)| row(100 * relus, f64::from(tenths) / 10.0, 0.7, seeds));
    prop::collection::vec(one, 1..7).prop_filter("some candidate has several seeds", |rows| {
        rows.iter().any(|row| row.seeds > 1)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn probabilities_and_bands_are_what_drawing_gives(rows in any_rows()) {
        let rows = filled(rows);
        for (row, (on_front, bests)) in rows.iter().zip(drawn(&rows, 0.7)) {
            let p = row.p_on_front.unwrap();
            prop_assert!((p - on_front).abs() < TOLERANCE, "{p} and {on_front} of {row:?}");
            for (end, share) in [(row.front_low, 0.025), (row.front_high, 0.975)] {
                let below = bests.partition_point(|&best| best < end.unwrap());
                let below = below as f64 / DRAWS as f64;
                prop_assert!((below - share).abs() < TOLERANCE, "{below} of {row:?}");
            }
        }
    }

    #[test]
    fn of_equal_counts_one_is_on_the_front(rows in any_rows()) {
        // Each is rounded to a millionth.
        let least = 1e-6 * rows.len() as f64;
        let rows = rows.into_iter().map(|row| FrontRow { relu_count: 100, ..row });
        let sum: f64 = filled(rows.collect()).iter().filter_map(|row| row.p_on_front).sum();
        prop_assert!((sum - 1.0).abs() <= least, "{sum}");
    }
}

#[test]
fn nothing_is_said_without_a_candidate_of_several_seeds() {
    let rows = filled(vec![row(100, 85.0, 0.0, 1), row(200, 86.0, 0.0, 1)]);
    assert!(rows.iter().all(|row| row.p_on_front.is_none()));
    let baseline = FrontRow {
        kind: PointKind::Baseline,
        ..row(1_000, 90.0, 0.5, 3)
    };
    let rows = filled(vec![row(100, 85.0, 0.0, 1), baseline]);
    assert!(rows.iter().all(|row| row.p_on_front.is_none()));
}

#[test]
fn what_lies_far_apart_is_certain() {
    let rows = filled(vec![
        row(100, 60.0, 0.1, 3),
        row(200, 50.0, 0.1, 3),
        row(300, 90.0, 0.1, 3),
    ]);
    let p: Vec<f64> = rows.iter().filter_map(|row| row.p_on_front).collect();
    assert!(
        (p[0] - 1.0).abs() < 1e-9 && p[1] < 1e-9 && (p[2] - 1.0).abs() < 1e-9,
        "{p:?}"
    );
    // 60 % ± 1.96 standard errors; the second point adds nothing.
    let error = 0.1 / 3.0_f64.sqrt();
    for row in &rows[..2] {
        assert!((row.front_low.unwrap() - (60.0 - 1.959_964 * error)).abs() < 1e-3);
        assert!((row.front_high.unwrap() - (60.0 + 1.959_964 * error)).abs() < 1e-3);
    }
}

/// The probability of each row to be on the front by its definition: an integral over a fine grid, in
/// which each density and distribution is worked out by itself.
fn integrated(rows: &[FrontRow], spread: f64) -> Vec<f64> {
    let z =
        |row: &FrontRow, at: f64| (at - row.accuracy_mean) / (spread / f64::from(row.seeds).sqrt());
    let below = |row: &FrontRow, at: f64| 0.5 * libm::erfc(-z(row, at) / 2.0_f64.sqrt());
    let step = 0.02;
    let integral = |row: &FrontRow| {
        let error = spread / f64::from(row.seeds).sqrt();
        let density = |at: f64| {
            libm::exp(-0.5 * z(row, at).powi(2)) / (error * (2.0 * std::f64::consts::PI).sqrt())
        };
        let others = |at: f64| -> f64 {
            let others = rows
                .iter()
                .filter(|other| other.relu_count <= row.relu_count && !std::ptr::eq(*other, row));
            others.map(|other| below(other, at)).product()
        };
        let places = (-500..=500).map(|at| row.accuracy_mean + step * f64::from(at) * error);
        places
            .map(|at| density(at) * others(at) * step * error)
            .sum()
    };
    rows.iter().map(integral).collect()
}

#[test]
fn probabilities_are_the_integrals_they_stand_for_also_among_many() {
    let mut draws = Draws(3);
    let rows = (0..120)
        .map(|at| {
            let mean = 85.0 + (20.0 * draws.uniform()).round() / 10.0;
            row(
                100 * (1 + at / 24),
                mean,
                0.7,
                2 + u32::try_from(at % 3).unwrap(),
            )
        })
        .collect();
    let rows = filled(rows);
    for (row, expected) in rows.iter().zip(integrated(&rows, 0.7)) {
        let found = row.p_on_front.unwrap();
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
