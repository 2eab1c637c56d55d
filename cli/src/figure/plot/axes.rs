//! Frame, grid, ticks and their labels.

use svg::Node as _;
use svg::node::element::Group;

use super::marks::{Anchor, GRID, INK, group, line, rectangle, text};
use super::scale::count_labels;
use super::{Scene, TEXT_SIZE};

const TICK: f64 = 5.0;
const MINOR_TICK: f64 = 3.0;
const LABEL_SIZE: f64 = 11.0;

/// Light lines across at the ticks of the vertical axis.
pub(super) fn grid(scene: &Scene<'_>) -> Group {
    let mut lines = group("grid");
    if scene.is_empty() {
        return lines;
    }
    for (tick, _) in scene.accuracies.ticks() {
        let y = scene.accuracies.at(tick);
        lines = lines.add(line(
            (scene.frame.left, y),
            (scene.frame.right, y),
            GRID,
            1.0,
        ));
    }
    lines
}

/// The frame with ticks, numbers and what they count.
pub(super) fn axes(scene: &Scene<'_>) -> Group {
    let frame = &scene.frame;
    let (width, height) = (frame.right - frame.left, frame.bottom - frame.top);
    let outline = rectangle((frame.left, frame.top), width, height)
        .set("fill", "none")
        .set("stroke", INK)
        .set("stroke-width", 1);
    let mut axes = group("axes").add(outline);
    if !scene.is_empty() {
        axes = axes.add(count_ticks(scene)).add(accuracy_ticks(scene));
    }
    let across = if scene.total.is_some() {
        "ReLUs per image (logarithmic), and their share of T"
    } else {
        "ReLUs per image (logarithmic)"
    };
    let middle = f64::midpoint(frame.left, frame.right);
    let across = text(
        across,
        (middle, frame.bottom + 54.0),
        TEXT_SIZE,
        Anchor::Middle,
        INK,
    );
    let middle = f64::midpoint(frame.top, frame.bottom);
    let mut up = text(
        "test accuracy (%)",
        (0.0, 0.0),
        TEXT_SIZE,
        Anchor::Middle,
        INK,
    );
    up.assign("transform", format!("translate(22 {middle}) rotate(-90)"));
    axes.add(across).add(up)
}

fn count_ticks(scene: &Scene<'_>) -> Group {
    let bottom = scene.frame.bottom;
    let mut ticks = group("count-ticks");
    for &count in &scene.counts.minor {
        let x = scene.counts.at(count);
        ticks = ticks.add(line((x, bottom), (x, bottom + MINOR_TICK), INK, 0.7));
    }
    let labels = count_labels(&scene.counts.ticks, scene.total);
    for (&count, (number, share)) in scene.counts.ticks.iter().zip(labels) {
        let x = scene.counts.at(count);
        ticks = ticks
            .add(line((x, bottom), (x, bottom + TICK), INK, 1.0))
            .add(text(
                &number,
                (x, bottom + 18.0),
                LABEL_SIZE,
                Anchor::Middle,
                INK,
            ));
        if let Some(share) = share {
            let at = (x, bottom + 32.0);
            ticks = ticks.add(text(
                &share,
                at,
                LABEL_SIZE,
                Anchor::Middle,
                super::SOFT_INK,
            ));
        }
    }
    if let Some(zero) = scene.counts.zero {
        ticks = ticks.add(axis_break((zero + 30.0, bottom)));
    }
    ticks
}

/// Two slanted strokes over a gap in the axis: zero is not where a logarithm would put it.
fn axis_break((x, y): (f64, f64)) -> Group {
    let stroke = |x: f64| line((x - 2.0, y + 5.0), (x + 2.0, y - 5.0), INK, 1.0);
    group("axis-break")
        .add(line((x - 3.0, y), (x + 3.0, y), "#FFFFFF", 2.0))
        .add(stroke(x - 3.0))
        .add(stroke(x + 3.0))
}

fn accuracy_ticks(scene: &Scene<'_>) -> Group {
    let left = scene.frame.left;
    let mut ticks = group("accuracy-ticks");
    for (tick, label) in scene.accuracies.ticks() {
        let y = scene.accuracies.at(tick);
        let at = (left - 9.0, y + 0.36 * LABEL_SIZE);
        ticks = ticks
            .add(line((left - TICK, y), (left, y), INK, 1.0))
            .add(text(&label, at, LABEL_SIZE, Anchor::End, INK));
    }
    ticks
}

impl Scene<'_> {
    /// Whether there is nothing to draw, and so no scale.
    pub(super) const fn is_empty(&self) -> bool {
        self.baselines.is_empty()
            && self.front.is_empty()
            && self.dominated.is_empty()
            && self.sunk.is_empty()
    }
}
