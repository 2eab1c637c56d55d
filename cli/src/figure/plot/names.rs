//! Names beside the points, where there are few points and several names.

use std::collections::BTreeSet;

use autorep_core::front::FrontRow;
use svg::Node as _;
use svg::node::element::Group;

use super::Scene;
use super::marks::{Anchor, SOFT_INK, group, text, width_of};
use super::points::place;
use crate::figure::text::printable;

/// More points than these have no names: they would hide each other.
const MOST_POINTS: usize = 24;

/// Longer names than this, in characters, are left to what a viewer shows under the pointer.
const LONGEST: usize = 24;

const SIZE: f64 = 10.0;

/// From one name down to the next. More than their size: a sum of floats that falls short of it by
/// its rounding would be in the way for ever.
const STEP: f64 = 1.05 * SIZE;

/// Between a point's middle and its name.
const GAP: f64 = 9.0;

pub(super) fn names(scene: &Scene<'_>) -> Group {
    let drawn = group("names");
    // The front's line goes to the right of its points, so their names stand higher; points below
    // the axis are hinted at on it.
    let above = |row: &&FrontRow| place(scene, row).1 - GAP;
    let beside = |row: &&FrontRow| place(scene, row).1;
    let below = |_: &&FrontRow| scene.frame.bottom - GAP;
    let heights = (scene.front.iter().map(above))
        .chain(scene.dominated.iter().map(beside))
        .chain(scene.sunk.iter().map(below));
    let rows = [&scene.front, &scene.dominated, &scene.sunk];
    let rows: Vec<&FrontRow> = rows.into_iter().flatten().copied().collect();
    let different: BTreeSet<String> = rows.iter().map(|row| name(row)).collect();
    let long = different.iter().any(|name| name.chars().count() > LONGEST);
    if rows.len() > MOST_POINTS || different.len() < 2 || long {
        return drawn;
    }
    let named = rows.iter().zip(heights);
    let mut wanted: Vec<Name> = named.map(|(row, y)| Name::beside(scene, row, y)).collect();
    wanted.sort_by(|one, other| one.y.total_cmp(&other.y));
    let mut set: Vec<Name> = Vec::new();
    for mut name in wanted {
        // From above: whoever is in the way has its place already.
        while let Some(above) = set.iter().find(|other| name.covers(other)) {
            name.y = above.y + STEP;
        }
        set.push(name);
    }
    set.iter().fold(drawn, |drawn, name| drawn.add(name.draw()))
}

/// What tells a candidate from the others, in short.
fn name(row: &FrontRow) -> String {
    let name = printable(&row.candidate);
    name.strip_prefix("arm=").unwrap_or(&name).to_owned()
}

struct Name {
    text: String,
    left: f64,
    right: f64,
    /// Of its middle.
    y: f64,
}

impl Name {
    /// To the right of its point, or to the left where there is no room.
    fn beside(scene: &Scene<'_>, row: &FrontRow, y: f64) -> Self {
        let (x, _) = place(scene, row);
        let text = name(row);
        let width = width_of(&text, SIZE);
        let left = if x + GAP + width < scene.frame.right {
            x + GAP
        } else {
            x - GAP - width
        };
        Self {
            left,
            right: left + width,
            y,
            text,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        let beside = self.right < other.left || other.right < self.left;
        !beside && (self.y - other.y).abs() < SIZE
    }

    fn draw(&self) -> svg::node::element::Element {
        let at = (self.left, self.y + SIZE * 0.35);
        let mut drawn = text(&self.text, at, SIZE, Anchor::Start, SOFT_INK);
        // A rim that lines end at.
        drawn.assign("stroke", "#FFFFFF");
        drawn.assign("stroke-width", 2.5);
        drawn.assign("paint-order", "stroke");
        drawn
    }
}
