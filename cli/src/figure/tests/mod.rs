//! Tests of all formats together.

mod data;
mod drawing;

use autorep_core::candidate::PointKind;
use autorep_core::digest::Digest;
use autorep_core::front::FrontReport;

use super::samples::{Sample, crowd, paper, quickstart};
use super::{FigureError, Format, render};

const ALL: [Format; 6] = [
    Format::Table,
    Format::Csv,
    Format::Json,
    Format::Parquet,
    Format::Svg,
    Format::Png,
];

/// A dozen budgets so close that not each can have a label.
fn tight() -> Sample {
    (1..=12).fold(Sample::new("tight", 48_000), |sample, step| {
        sample.point(
            &format!("{step}"),
            1_000 * step,
            &[8_000 + 20 * step, 8_010 + 20 * step],
        )
    })
}

/// Everything that the legend can have to explain.
fn everything() -> Sample {
    crowd(150)
        .with((PointKind::Replaced, "waiting", 150), &[8_000], 2)
        .point("never trained", 20_000, &[1_000, 1_000])
}

/// Every shape of a front that has to look right.
fn samples() -> Vec<(&'static str, Sample)> {
    let new = Sample::new;
    let waiting = (PointKind::Replaced, "waiting", 12_000);
    let long = "a-very-long-sweep-name-that-takes-all-of-the-63-letters-allowed";
    vec![
        ("empty", new("nothing-yet", 48_000)),
        ("quickstart", quickstart()),
        ("paper", paper()),
        ("crowd", crowd(2_000)),
        ("tight counts", tight()),
        ("everything", everything()),
        (
            "single point",
            new("one", 48_000).point("default", 3_000, &[8_600]),
        ),
        (
            "baseline alone",
            new("base", 48_000).baseline(&[8_600, 8_650]),
        ),
        (
            "equal accuracies",
            new("flat", 48_000)
                .baseline(&[8_600])
                .point("a", 1_000, &[8_600])
                .point("b", 2_000, &[8_600])
                .point("c", 2_000, &[8_600]),
        ),
        (
            "no ReLUs at all",
            new("zero", 48_000)
                .baseline(&[8_900, 8_910])
                .point("a", 0, &[7_000, 7_100])
                .point("b", 500, &[8_100, 8_000])
                .point("c", 5_000, &[8_500, 8_510]),
        ),
        (
            "close to perfect, seeds to come, long name",
            new(long, 557_056)
                .baseline(&[10_000, 9_980])
                .point("a", 10_000, &[9_990, 9_900])
                .point("b", 11_000, &[9_995, 9_990])
                .with(waiting, &[9_998], 3),
        ),
        (
            "counts close together",
            new("close", 48_000)
                .point("a", 10_000, &[8_000, 8_100])
                .point("b", 10_010, &[8_200, 8_220])
                .point("c", 10_021, &[8_250, 8_300]),
        ),
        (
            "close to chance",
            new("chance", 48_000)
                .point("a", 10, &[5, 0])
                .point("b", 48_000, &[20, 60]),
        ),
    ]
}

fn text_of(report: &FrontReport, format: Format) -> String {
    String::from_utf8(render(report, format).unwrap()).unwrap()
}

#[test]
fn the_same_observations_in_any_order_give_the_same_bytes_in_every_format() {
    for mut sample in [quickstart(), paper(), crowd(60)] {
        let expected = ALL.map(|format| render(&sample.report(), format).unwrap());
        for shuffle in 0..4_u8 {
            let key = |text: String| Digest::of(format!("{shuffle} {text}").as_bytes());
            sample
                .observations
                .sort_by_key(|(task, _)| key(task.to_string()));
            let found = ALL.map(|format| render(&sample.report(), format).unwrap());
            assert!(found == expected, "shuffle {shuffle}");
        }
    }
}

#[test]
fn a_report_with_numbers_that_are_none_is_drawn_without_them() {
    let mut report = quickstart().report();
    report.rows[1].accuracy_mean = f64::NAN;
    report.rows[2].accuracy_mean = f64::INFINITY;
    report.rows[3].accuracy_std = f64::NAN;
    report.rows[4].accuracy_mean = -1e300;
    report.rows[5].relu_total = 0;
    report.rows[6].relu_count = u64::MAX / 2;
    report.rows[6].candidate = "</text>\u{1b}[31m\u{ffff}\u{202e}&\n\"".to_owned();
    for format in ALL {
        assert!(!render(&report, format).unwrap().is_empty(), "{format:?}");
    }
    let svg = text_of(&report, Format::Svg);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    assert!(!text_of(&report, Format::Table).contains('\u{1b}'));
}

#[test]
fn a_count_that_no_parquet_column_holds_is_an_error_that_names_it() {
    let mut report = quickstart().report();
    report.rows[0].budget = u64::MAX;
    let error = render(&report, Format::Parquet).unwrap_err();
    assert!(
        matches!(error, FigureError::TooLarge { found: u64::MAX }),
        "{error}"
    );
}
