//! Published series: small marks joined by thin lines, behind what the sweep measured.

use autorep_core::text::grouped;
use svg::node::element::{Group, Path, Title};

use super::marks::{group, path, polyline};
use super::{Scene, Series};

/// Colours of Okabe and Ito's palette that the sweep's own points do not have.
const COLOURS: [&str; 4] = ["#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const SHAPES: [Shape; 3] = [Shape::Cross, Shape::Plus, Shape::Triangle];

/// Half the width of a mark.
const HALF: f64 = 3.6;

#[derive(Clone, Copy)]
enum Shape {
    Cross,
    Plus,
    Triangle,
}

/// How one series looks.
#[derive(Clone, Copy)]
pub(super) struct Style {
    colour: &'static str,
    shape: Shape,
}

impl Style {
    /// One style after another: twelve different ones, then again from the first.
    pub(super) fn each() -> impl Iterator<Item = Self> {
        let colours = COLOURS.iter().copied().cycle();
        let shapes = SHAPES.iter().copied().cycle();
        colours
            .zip(shapes)
            .map(|(colour, shape)| Self { colour, shape })
    }

    pub(super) fn mark(self, (x, y): (f64, f64)) -> Path {
        let strokes: &[&[(f64, f64)]] = match self.shape {
            Shape::Cross => &[
                &[(x - HALF, y - HALF), (x + HALF, y + HALF)],
                &[(x - HALF, y + HALF), (x + HALF, y - HALF)],
            ],
            Shape::Plus => &[
                &[(x - HALF, y), (x + HALF, y)],
                &[(x, y - HALF), (x, y + HALF)],
            ],
            Shape::Triangle => &[&[
                (x - HALF, y + HALF),
                (x, y - HALF),
                (x + HALF, y + HALF),
                (x - HALF, y + HALF),
            ]],
        };
        let data: String = strokes.iter().map(|stroke| path(stroke)).collect();
        Path::new()
            .set("d", data)
            .set("fill", "none")
            .set("stroke", self.colour)
            .set("stroke-width", 1.6)
    }
}

/// The range of accuracies with that of the series.
pub(super) fn widened(range: (f64, f64), published: &[Series]) -> (f64, f64) {
    let points = published.iter().flat_map(|series| &series.points);
    points.fold(range, |(low, high), point| {
        (low.min(point.accuracy), high.max(point.accuracy))
    })
}

/// The ReLU counts of the series.
pub(super) fn counts(published: &[Series]) -> impl Iterator<Item = u64> {
    let points = published.iter().flat_map(|series| &series.points);
    points.map(|point| point.relu_count)
}

pub(super) fn series(scene: &Scene<'_>) -> Group {
    let mut drawn = group("published");
    for (style, series) in Style::each().zip(scene.published) {
        drawn = drawn.add(one(scene, style, series));
    }
    drawn
}

fn one(scene: &Scene<'_>, style: Style, series: &Series) -> Group {
    let place = |count, accuracy| (scene.counts.at(count), scene.accuracies.at(accuracy));
    let places: Vec<(f64, f64)> = series
        .points
        .iter()
        .map(|point| place(point.relu_count, point.accuracy))
        .collect();
    let mut drawn = group("published-series");
    if places.len() > 1 {
        drawn = drawn.add(polyline(&places, style.colour, 0.9).set("stroke-opacity", 0.5));
    }
    for (point, &at) in series.points.iter().zip(&places) {
        let tooltip = format!(
            "published, {}: {} ReLUs, {} %; {}",
            series.name,
            grouped(point.relu_count),
            point.accuracy,
            point.source
        );
        let mark = group("published-point").add(Title::new(tooltip));
        drawn = drawn.add(mark.add(style.mark(at)));
    }
    drawn
}
