//! The front as a drawing (SVG): accuracy against ReLU count.
//!
//! Points of the front are joined by straight lines, which show their order and promise nothing
//! about counts in between; the band around them holds the best accuracy within a count with 95 %. Dominated points stand apart in colour and shape. A full-ReLU
//! baseline is a dashed line across, in a band of one standard deviation to each side. Every
//! point carries its numbers as a tooltip. Published series lie behind what the sweep measured.

mod axes;
mod legend;
mod marks;
mod names;
mod points;
mod published;
mod scale;

use autorep_core::candidate::PointKind;
use autorep_core::front::{FrontReport, FrontRow};
use autorep_core::text::grouped;
use svg::Node as _;
use svg::node::element::{Description, Title};

use self::marks::{Anchor, INK, SOFT_INK, text, width_of};
use self::scale::{AccuracyAxis, CountAxis, Frame};
use super::common_total;
use super::published::Series;

/// The size of the drawing, in units that are pixels of a screen.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 480.0;

const LEFT: f64 = 70.0;
const RIGHT: f64 = 702.0;
const BOTTOM: f64 = 408.0;

const TITLE_SIZE: f64 = 16.0;
const TEXT_SIZE: f64 = 12.0;

/// A baseline's count is shown only if it widens the axis by at most this share of the width
/// (in logarithms) that the other points need.
const BASELINE_REACH: f64 = 0.4;
/// Nor is a baseline left out that is at most this many times the largest other count.
const BASELINE_NEAR: f64 = 2.5;
/// How far below the front, in multiples of the front's height (at least `LEAST_SPAN`),
/// a dominated point is before it is only hinted at.
const DOMINATED_REACH: f64 = 1.0;
/// In percentage points.
const LEAST_SPAN: f64 = 5.0;

/// What is drawn: the rows with numbers that have a place, sorted into kinds.
struct Scene<'a> {
    baselines: Vec<&'a FrontRow>,
    front: Vec<&'a FrontRow>,
    dominated: Vec<&'a FrontRow>,
    /// Dominated points below the axis.
    sunk: Vec<&'a FrontRow>,
    /// The counts with the interval that holds the best accuracy within each.
    band: Vec<(u64, f64, f64)>,
    published: &'a [Series],
    total: Option<u64>,
    counts: CountAxis,
    accuracies: AccuracyAxis,
    frame: Frame,
}

pub(super) fn render(report: &FrontReport, published: &[Series]) -> String {
    let drawable: Vec<&FrontRow> = report.rows.iter().filter(|row| has_a_place(row)).collect();
    let of = |wanted: fn(&FrontRow) -> bool| -> Vec<&FrontRow> {
        drawable.iter().copied().filter(|row| wanted(row)).collect()
    };
    let baselines = of(|row| row.kind == PointKind::Baseline);
    let front = of(|row| row.kind == PointKind::Replaced && row.on_front);
    let others = of(|row| row.kind == PointKind::Replaced && !row.on_front);

    let (low, high, sinking) = accuracy_range(&baselines, &front, &others);
    let band = points::band_ends(&of(|row| row.kind == PointKind::Replaced));
    let (low, high) = (band.iter()).fold((low, high), |(low, high), &(_, from, to)| {
        (low.min(from), high.max(to))
    });
    let (low, high) = published::widened((low, high), published);
    let (dominated, sunk): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|row| row.accuracy_mean >= sinking);
    let legend = legend::Legend::of(
        &baselines,
        (&front, !band.is_empty()),
        &dominated,
        &sunk,
        published,
    );
    let frame = Frame {
        left: LEFT,
        right: RIGHT,
        top: legend.bottom() + 12.0,
        bottom: BOTTOM,
    };
    let mut counts = counts_to_show(&baselines, &front, &dominated, &sunk);
    counts.extend(published::counts(published));
    let scene = Scene {
        counts: CountAxis::over(&counts, &frame),
        accuracies: AccuracyAxis::over(low, high, &frame),
        baselines,
        front,
        dominated,
        sunk,
        band,
        published,
        total: common_total(report),
        frame,
    };
    document(report, &scene, &legend)
}

/// Whether an accuracy is one: figures are also drawn of reports that came over a network.
fn has_a_place(row: &FrontRow) -> bool {
    (0.0..=100.0).contains(&row.accuracy_mean)
}

/// The spread to draw: none for a single seed.
fn spread(row: &FrontRow) -> f64 {
    let drawable = row.seeds > 1 && (0.0..=100.0).contains(&row.accuracy_std);
    if drawable { row.accuracy_std } else { 0.0 }
}

/// The lowest and the highest accuracy to show, with the error bars that are drawn, and the accuracy below which
/// dominated points are only hinted at: one net that did not train must not press the front flat.
fn accuracy_range(
    baselines: &[&FrontRow],
    front: &[&FrontRow],
    others: &[&FrontRow],
) -> (f64, f64, f64) {
    let bounds = |range: (f64, f64), row: &&FrontRow| {
        let (mean, std) = (row.accuracy_mean, spread(row));
        (range.0.min(mean - std), range.1.max(mean + std))
    };
    let nothing = (f64::INFINITY, f64::NEG_INFINITY);
    let kept = baselines.iter().chain(front).fold(nothing, bounds);
    let sinking = kept.0 - DOMINATED_REACH * (kept.1 - kept.0).max(LEAST_SPAN);
    // Without anything kept, `sinking` is not a number or infinite: then nothing sinks.
    let sinking = if sinking.is_finite() { sinking } else { 0.0 };
    let near = || others.iter().filter(|row| row.accuracy_mean >= sinking);
    let (low, high) = if points::is_crowd(near().count()) {
        near().fold(kept, |(low, high), row| {
            (low.min(row.accuracy_mean), high.max(row.accuracy_mean))
        })
    } else {
        near().fold(kept, bounds)
    };
    if low > high {
        return (80.0, 90.0, sinking);
    }
    (low, high, sinking)
}

/// The counts that the horizontal axis must reach. A baseline's is left out where it would take
/// up much of the width only to show where nothing else is: its line across stays.
fn counts_to_show(
    baselines: &[&FrontRow],
    front: &[&FrontRow],
    dominated: &[&FrontRow],
    sunk: &[&FrontRow],
) -> Vec<u64> {
    let replaced = front.iter().chain(dominated).chain(sunk);
    let mut counts: Vec<u64> = replaced.map(|row| row.relu_count).collect();
    let positive = || counts.iter().copied().filter(|&count| count > 0);
    let smallest = positive().min().unwrap_or(0) as f64;
    let largest = positive().max().unwrap_or(0) as f64;
    let widest = BASELINE_NEAR.max((largest / smallest).powf(BASELINE_REACH));
    let reachable = baselines
        .iter()
        .map(|row| row.relu_count)
        .filter(|&count| largest == 0.0 || count as f64 <= largest * widest);
    let reachable: Vec<u64> = reachable.collect();
    counts.extend(reachable);
    counts
}

fn document(report: &FrontReport, scene: &Scene<'_>, legend: &legend::Legend) -> String {
    let title = title(report, scene.total);
    let mut document = svg::Document::new()
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("viewBox", (0, 0, WIDTH, HEIGHT))
        .set("font-family", "sans-serif")
        .set("role", "img")
        .add(Title::new(title.as_str()))
        .add(Description::new().add(svg::node::Text::new(DESCRIPTION)))
        .add(marks::rectangle((0.0, 0.0), WIDTH, HEIGHT).set("fill", "#FFFFFF"))
        .add(axes::grid(scene))
        .add(published::series(scene))
        .add(points::band(scene))
        .add(points::baselines(scene))
        .add(points::dominated(scene))
        .add(points::front(scene))
        .add(names::names(scene))
        .add(axes::axes(scene))
        .add(legend.draw());
    let widest = (RIGHT - LEFT) / width_of(&title, 1.08);
    let mut heading = text(
        &title,
        (LEFT, 28.0),
        TITLE_SIZE.min(widest),
        Anchor::Start,
        INK,
    );
    heading.assign("font-weight", "bold");
    document = document.add(heading);
    let subtitle = subtitle(report);
    document = document.add(text(
        &subtitle,
        (LEFT, 48.0),
        TEXT_SIZE,
        Anchor::Start,
        SOFT_INK,
    ));
    if report.rows.is_empty() {
        let middle = (
            f64::midpoint(LEFT, RIGHT),
            f64::midpoint(scene.frame.top, BOTTOM),
        );
        document = document.add(text(
            "no results yet",
            middle,
            14.0,
            Anchor::Middle,
            SOFT_INK,
        ));
    }
    format!("{document}\n")
}

const DESCRIPTION: &str = "Test accuracy in percent against the number of ReLUs that a net \
    evaluates for one image, on a logarithmic axis. Straight lines join the points of the Pareto \
    front. Error bars and a baseline's band are one sample standard deviation over seeds to each \
    side. The front's band holds the best accuracy within a number of ReLUs with 95 %, by a normal \
    model of other seeds.";

fn title(report: &FrontReport, total: Option<u64>) -> String {
    let sweep = &report.sweep;
    if let Some(total) = total {
        return format!("{sweep} (T = {} ReLUs)", grouped(total));
    }
    let totals = report.rows.iter().map(|row| row.relu_total);
    match (totals.clone().min(), totals.max()) {
        (Some(least), Some(most)) => {
            format!(
                "{sweep} (T = {} to {} ReLUs)",
                grouped(least),
                grouped(most)
            )
        }
        _ => sweep.to_string(),
    }
}

fn subtitle(report: &FrontReport) -> String {
    let seeds = report.rows.iter().map(|row| row.seeds);
    let over = match (seeds.clone().min(), seeds.max()) {
        (Some(1), Some(1)) => "one seed per point".to_owned(),
        (Some(least), Some(most)) if least == most => {
            format!("mean ± standard deviation over {most} seeds")
        }
        (Some(least), Some(most)) => {
            format!("mean ± standard deviation over {least} to {most} seeds")
        }
        _ => return String::new(),
    };
    if report.rows.iter().any(|row| row.on_front) {
        format!("{over}; hypervolume {:.4}", report.hypervolume)
    } else {
        over
    }
}
