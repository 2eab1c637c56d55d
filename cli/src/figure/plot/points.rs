//! The data: points with error bars, the front's line, the baselines' lines and bands.

use autorep_core::front::FrontRow;
use autorep_core::text::grouped;
use svg::node::element::{Group, Title};

use super::marks::{
    BASELINE, DOMINATED, FRONT, area, arrow_down, diamond, disc, error_bar, group, line, polyline,
    rectangle, square,
};
use super::{Scene, spread};
use crate::figure::relu_share;
use crate::figure::text::{mean_and_spread, percent_of_total, printable, probability};

/// Whether so many dominated points are to be drawn that they are drawn small and without error
/// bars, which would hide them.
pub(super) const fn is_crowd(points: usize) -> bool {
    points > 100
}

pub(super) fn baselines(scene: &Scene<'_>) -> Group {
    let mut drawn = group("baselines");
    for row in &scene.baselines {
        drawn = drawn.add(baseline(scene, row));
    }
    drawn
}

fn baseline(scene: &Scene<'_>, row: &FrontRow) -> Group {
    let (left, right) = (scene.frame.left, scene.frame.right);
    let (mean, std) = (row.accuracy_mean, spread(row));
    let y = scene.accuracies.at(mean);
    let mut drawn = group("baseline").add(tooltip(row));
    if std > 0.0 {
        let top = scene.accuracies.at(mean + std);
        let bottom = scene.accuracies.at(mean - std);
        let band = rectangle((left, top), right - left, bottom - top);
        drawn = drawn.add(band.set("fill", BASELINE).set("fill-opacity", 0.13));
    }
    drawn = drawn.add(line((left, y), (right, y), BASELINE, 1.5).set("stroke-dasharray", "7 4"));
    let x = scene.counts.at(row.relu_count);
    if x <= right - 8.0 {
        if std > 0.0 {
            drawn = drawn.add(bar(scene, row, BASELINE, 1.4));
        }
        drawn = drawn.add(square((x, y), 4.2));
    }
    drawn
}

pub(super) fn dominated(scene: &Scene<'_>) -> Group {
    let crowded = is_crowd(scene.dominated.len());
    let mut drawn = group("dominated");
    for row in &scene.dominated {
        let mut point = group("dominated-point").add(tooltip(row));
        if !crowded && spread(row) > 0.0 {
            point = point.add(bar(scene, row, DOMINATED, 0.9).set("stroke-opacity", 0.6));
        }
        let radius = if crowded { 2.6 } else { 4.6 };
        point = point.add(diamond(place(scene, row), radius));
        drawn = drawn.add(point);
    }
    for row in &scene.sunk {
        let at = (scene.counts.at(row.relu_count), scene.frame.bottom - 2.0);
        drawn = drawn.add(group("sunk-point").add(tooltip(row)).add(arrow_down(at)));
    }
    drawn
}

/// What holds the best accuracy within each number of ReLUs with 95 %.
pub(super) fn band(scene: &Scene<'_>) -> Group {
    let drawn = group("band");
    let ends = &scene.band;
    if ends.is_empty() {
        return drawn;
    }
    let place = |count: u64, accuracy: f64| (scene.counts.at(count), scene.accuracies.at(accuracy));
    let low = ends.iter().map(|&(count, low, _)| place(count, low));
    let high = ends
        .iter()
        .rev()
        .map(|&(count, _, high)| place(count, high));
    let outline: Vec<(f64, f64)> = low.chain(high).collect();
    drawn.add(area(&outline, FRONT).set("fill-opacity", 0.14))
}

/// The ends of the band at each count, rising; none for a single count, which is no band.
pub(super) fn band_ends(rows: &[&FrontRow]) -> Vec<(u64, f64, f64)> {
    let rows = rows.iter();
    let mut ends: Vec<(u64, f64, f64)> = rows
        .filter_map(|row| {
            let (low, high) = (row.front_low?, row.front_high?);
            let drawable = 0.0 <= low && low <= high && high <= 100.0;
            drawable.then_some((row.relu_count, low, high))
        })
        .collect();
    ends.sort_by_key(|&(count, ..)| count);
    ends.dedup_by_key(|&mut (count, ..)| count);
    if ends.len() < 2 {
        ends.clear();
    }
    ends
}

pub(super) fn front(scene: &Scene<'_>) -> Group {
    let places: Vec<(f64, f64)> = scene.front.iter().map(|row| place(scene, row)).collect();
    let radius = if is_crowd(places.len()) { 3.0 } else { 4.8 };
    let mut drawn = group("front");
    if places.len() > 1 {
        drawn = drawn.add(polyline(&places, FRONT, 1.8));
    }
    for (row, &at) in scene.front.iter().zip(&places) {
        let mut point = group("front-point").add(tooltip(row));
        if spread(row) > 0.0 {
            point = point.add(bar(scene, row, FRONT, 1.4));
        }
        let complete = row.seeds >= row.seeds_planned;
        drawn = drawn.add(point.add(disc(at, radius, complete)));
    }
    drawn
}

pub(super) fn place(scene: &Scene<'_>, row: &FrontRow) -> (f64, f64) {
    let x = scene.counts.at(row.relu_count);
    (x, scene.accuracies.at(row.accuracy_mean))
}

fn bar(scene: &Scene<'_>, row: &FrontRow, colour: &str, width: f64) -> svg::node::element::Path {
    let (mean, std) = (row.accuracy_mean, spread(row));
    let low = scene.accuracies.at(mean - std);
    let high = scene.accuracies.at(mean + std);
    error_bar(scene.counts.at(row.relu_count), low, high, colour, width)
}

/// What a viewer shows of a point under the pointer.
fn tooltip(row: &FrontRow) -> Title {
    let share = relu_share(row).map(|share| format!(" ({} of T)", percent_of_total(share)));
    Title::new(format!(
        "{}: {} ReLUs{}, {} %, {} of {} seeds{}",
        printable(&row.candidate),
        grouped(row.relu_count),
        share.unwrap_or_default(),
        mean_and_spread(row.accuracy_mean, spread(row), row.seeds),
        row.seeds,
        row.seeds_planned,
        row.p_on_front
            .map(|p| format!(", on the front with {}", probability(p)))
            .unwrap_or_default(),
    ))
}
