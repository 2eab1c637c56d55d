//! The front as an aligned table for a terminal.

use std::fmt::Write as _;

use autorep_core::candidate::{PLAIN_LABEL, PointKind, TRAINED_ON_LABEL};
use autorep_core::front::{FrontReport, FrontRow};
use autorep_core::text::grouped;

use super::published::Series;
use super::text::{mean_and_spread, percent_of_total, printable, probability, rounded};
use super::{common_total, relu_share};

const BASELINE: &str = "─";
const ON_FRONT: &str = "●";
const DOMINATED: &str = "·";
const UNDER_TRAINED: &str = "!";

/// The most under-trained points that are named.
const NAMED: usize = 8;

/// A column: its heading, and whether its cells stand at the right edge.
struct Column {
    heading: &'static str,
    right: bool,
}

const COLUMNS: [Column; 9] = [
    Column::left(" "),
    Column::left("candidate"),
    Column::right("budget"),
    Column::right("ReLUs"),
    Column::right("of T"),
    // Left, so that means of two digits line up whether or not a spread follows.
    Column::left("accuracy %"),
    Column::right("validation %"),
    Column::right("on front"),
    Column::right("seeds"),
];

impl Column {
    const fn left(heading: &'static str) -> Self {
        let right = false;
        Self { heading, right }
    }

    const fn right(heading: &'static str) -> Self {
        let right = true;
        Self { heading, right }
    }
}

pub(super) fn render(report: &FrontReport, published: &[Series]) -> String {
    let total = common_total(report);
    let heading = total.map(|total| format!(" (T = {} ReLUs)", grouped(total)));
    let mut text = format!("{}{}\n\n", report.sweep, heading.unwrap_or_default());
    if report.rows.is_empty() {
        text.push_str("no results yet\n");
        return text;
    }
    let cells: Vec<_> = report.rows.iter().map(|row| cells(row, total)).collect();
    write_aligned(&mut text, &cells);
    write_legend(&mut text, report);
    write_published(&mut text, published);
    text
}

fn cells(row: &FrontRow, total: Option<u64>) -> [String; COLUMNS.len()] {
    let share = relu_share(row).map_or_else(|| "-".to_owned(), percent_of_total);
    let validation = row.validation_mean;
    let mark = match row.kind {
        PointKind::Baseline => BASELINE,
        PointKind::Replaced if row.on_front => ON_FRONT,
        PointKind::Replaced if row.is_under_trained() => UNDER_TRAINED,
        PointKind::Replaced => DOMINATED,
    };
    [
        mark.to_owned(),
        match row.kind {
            PointKind::Baseline => format!("{} (full ReLU)", printable(&row.candidate)),
            PointKind::Replaced => printable(&row.candidate),
        },
        grouped(row.budget),
        grouped(row.relu_count),
        if total.is_some() {
            share
        } else {
            format!("{share} of {}", grouped(row.relu_total))
        },
        mean_and_spread(row.accuracy_mean, row.accuracy_std, row.seeds),
        validation.map_or_else(|| "-".to_owned(), |mean| rounded(mean, 2)),
        row.p_on_front.map_or_else(String::new, probability),
        format!("{}/{}", row.seeds, row.seeds_planned),
    ]
}

fn write_aligned(text: &mut String, rows: &[[String; COLUMNS.len()]]) {
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.fold(column.heading.chars().count(), usize::max)
        })
        .collect();
    let headings = COLUMNS.map(|column| column.heading.to_owned());
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(&COLUMNS).zip(&widths) {
            if column.right {
                let _ = write!(line, "{cell:>width$}  ");
            } else {
                let _ = write!(line, "{cell:<width$}  ");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn write_published(text: &mut String, published: &[Series]) {
    for series in published {
        let _ = writeln!(
            text,
            "\npublished: {}, {} on {}",
            series.name, series.net, series.data
        );
        for point in &series.points {
            let _ = writeln!(
                text,
                "  {:>10}  {:>6}  {}",
                grouped(point.relu_count),
                rounded(point.accuracy, 2),
                point.source
            );
        }
    }
}

fn write_legend(text: &mut String, report: &FrontReport) {
    let replaced = |row: &&FrontRow| row.kind == PointKind::Replaced;
    let on_front = report.rows.iter().filter(|row| row.on_front).count();
    let dominated = report.rows.iter().filter(replaced).count() - on_front;
    let waiting = report
        .rows
        .iter()
        .filter(|row| row.seeds < row.seeds_planned);
    let _ = write!(text, "\n{ON_FRONT} on the front: {on_front}");
    let _ = write!(text, "   {DOMINATED} dominated: {dominated}");
    let under_trained: Vec<&FrontRow> = (report.rows.iter())
        .filter(|row| row.is_under_trained())
        .collect();
    if !under_trained.is_empty() {
        let number = under_trained.len();
        let _ = write!(text, "   {UNDER_TRAINED} of these under-trained: {number}");
    }
    if dominated + on_front < report.rows.len() {
        let _ = write!(text, "   {BASELINE} full-ReLU baseline, for reference");
    }
    text.push('\n');
    if report.rows.iter().any(|row| row.seeds > 1) {
        text.push_str("accuracy: mean ± standard deviation over seeds, on the test set\n");
    }
    if report.rows.iter().any(|row| row.p_on_front.is_some()) {
        text.push_str("on front: probability, by a normal model of other seeds\n");
    }
    let to_train: Vec<&FrontRow> = (under_trained.into_iter())
        .filter(|row| !is_trained_on(row, &report.rows))
        .collect();
    write_under_trained(text, &to_train);
    write_selection_bias(text, report);
    match waiting.count() {
        0 => {}
        1 => text.push_str("one row is provisional: some of its seeds are still to come\n"),
        n => {
            let _ = writeln!(
                text,
                "{n} rows are provisional: some of their seeds are still to come"
            );
        }
    }
    let _ = writeln!(text, "hypervolume {:.4}", report.hypervolume);
}

/// Whether there is a point of what comes of training this one on (`spec.under_trained`): its label is
/// the same but for one word more.
fn is_trained_on(row: &FrontRow, rows: &[FrontRow]) -> bool {
    rows.iter().any(|other| {
        let (label, last) =
            (other.candidate.rsplit_once(' ')).unwrap_or((PLAIN_LABEL, other.candidate.as_str()));
        let is_of_it = last.starts_with(TRAINED_ON_LABEL) && label == row.candidate;
        is_of_it
            && (other.budget, other.relu_total) == (row.budget, row.relu_total)
            && (&other.data, &other.net) == (&row.data, &row.net)
    })
}

/// Which points more training should lift, and what to do.
fn write_under_trained(text: &mut String, rows: &[&FrontRow]) {
    if rows.is_empty() {
        return;
    }
    let named = rows.iter().take(NAMED).map(|row| {
        let (budget, under) = (grouped(row.budget), row.lies_under.map(grouped));
        let label = printable(&row.candidate);
        format!("{label} at {budget} (under {})", under.unwrap_or_default())
    });
    let mut names = named.collect::<Vec<_>>().join(", ");
    if let more @ 1.. = rows.len().saturating_sub(NAMED) {
        let _ = write!(names, " and {more} more");
    }
    let _ = writeln!(
        text,
        "under-trained, under a point with fewer ReLUs by more than noise: {names}; raise \
         finetune.epochs, or set under_trained, to train on"
    );
}

/// What choosing by validation images has added to their accuracy.
fn write_selection_bias(text: &mut String, report: &FrontReport) {
    let Some(bias) = report.selection_bias() else {
        return;
    };
    let front = bias
        .on_front
        .map(|mean| format!("{} on the front, ", signed(mean)));
    let _ = writeln!(
        text,
        "selection bias: validation less test accuracy is {}{} over all points, on average",
        front.unwrap_or_default(),
        signed(bias.all)
    );
}

/// Percentage points with their sign.
fn signed(points: f64) -> String {
    let size = rounded(points.abs(), 2);
    let sign = if (100.0 * points).round() < 0.0 {
        "-"
    } else {
        "+"
    };
    format!("{sign}{size}")
}
