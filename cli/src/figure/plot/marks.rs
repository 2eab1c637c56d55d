//! The shapes that the plot is made of.

use svg::Node as _;
use svg::node::element::{Circle, Element, Group, Line, Path, Rectangle};

use super::scale::coordinate;

/// Colours of Okabe and Ito's palette, which readers with any kind of colour vision can tell
/// apart; shapes differ as well.
pub(super) const FRONT: &str = "#0072B2";
pub(super) const BASELINE: &str = "#D55E00";
pub(super) const DOMINATED: &str = "#7A7A7A";
pub(super) const INK: &str = "#1A1A1A";
pub(super) const SOFT_INK: &str = "#555555";
pub(super) const GRID: &str = "#E6E6E6";

/// Half the width of an error bar's caps.
const CAP: f64 = 3.5;

pub(super) fn line(from: (f64, f64), to: (f64, f64), colour: &str, width: f64) -> Line {
    Line::new()
        .set("x1", coordinate(from.0))
        .set("y1", coordinate(from.1))
        .set("x2", coordinate(to.0))
        .set("y2", coordinate(to.1))
        .set("stroke", colour)
        .set("stroke-width", width)
}

pub(super) fn rectangle(corner: (f64, f64), width: f64, height: f64) -> Rectangle {
    Rectangle::new()
        .set("x", coordinate(corner.0))
        .set("y", coordinate(corner.1))
        .set("width", coordinate(width))
        .set("height", coordinate(height))
}

/// Straight lines from place to place.
pub(super) fn polyline(places: &[(f64, f64)], colour: &str, width: f64) -> Path {
    Path::new()
        .set("d", path(places))
        .set("fill", "none")
        .set("stroke", colour)
        .set("stroke-width", width)
        .set("stroke-linejoin", "round")
}

pub(super) fn path(places: &[(f64, f64)]) -> String {
    let mut data = String::new();
    for (at, (x, y)) in places.iter().enumerate() {
        data.push(if at == 0 { 'M' } else { 'L' });
        data.push_str(&coordinate(*x));
        data.push(',');
        data.push_str(&coordinate(*y));
    }
    data
}

/// A vertical bar with caps, as one path.
pub(super) fn error_bar(x: f64, low: f64, high: f64, colour: &str, width: f64) -> Path {
    let strokes = [
        [(x, low), (x, high)],
        [(x - CAP, low), (x + CAP, low)],
        [(x - CAP, high), (x + CAP, high)],
    ];
    let data: String = strokes.iter().map(|stroke| path(stroke)).collect();
    Path::new()
        .set("class", "error-bar")
        .set("d", data)
        .set("fill", "none")
        .set("stroke", colour)
        .set("stroke-width", width)
}

/// A point of the front: filled when all its seeds are in, hollow before.
pub(super) fn disc(at: (f64, f64), radius: f64, complete: bool) -> Circle {
    let (fill, stroke, width) = if complete {
        (FRONT, "#FFFFFF", 1.0)
    } else {
        ("#FFFFFF", FRONT, 1.8)
    };
    Circle::new()
        .set("cx", coordinate(at.0))
        .set("cy", coordinate(at.1))
        .set("r", radius)
        .set("fill", fill)
        .set("stroke", stroke)
        .set("stroke-width", width)
}

/// A dominated point: a hollow diamond.
pub(super) fn diamond((x, y): (f64, f64), radius: f64) -> Path {
    let corners = [
        (x, y - radius),
        (x + radius, y),
        (x, y + radius),
        (x - radius, y),
    ];
    closed(&corners, "#FFFFFF", DOMINATED)
}

/// A dominated point that is too low for the axis: a triangle that points down.
pub(super) fn arrow_down((x, y): (f64, f64)) -> Path {
    closed(
        &[(x - 4.0, y - 7.0), (x + 4.0, y - 7.0), (x, y)],
        DOMINATED,
        DOMINATED,
    )
}

/// The full-ReLU baseline's point: a square.
pub(super) fn square((x, y): (f64, f64), half: f64) -> Path {
    let (left, right, top, bottom) = (x - half, x + half, y - half, y + half);
    let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
    closed(&corners, BASELINE, "#FFFFFF")
}

/// A filled area.
pub(super) fn area(outline: &[(f64, f64)], colour: &str) -> Path {
    Path::new()
        .set("d", path(outline) + "Z")
        .set("fill", colour)
        .set("stroke", "none")
}

fn closed(corners: &[(f64, f64)], fill: &str, stroke: &str) -> Path {
    Path::new()
        .set("d", path(corners) + "Z")
        .set("fill", fill)
        .set("stroke", stroke)
        .set("stroke-width", 1.2)
}

/// Where a text is held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of text with its baseline at `at`. (Not the library's text element, which puts line
/// breaks around its content.)
pub(super) fn text(
    content: &str,
    at: (f64, f64),
    size: f64,
    anchor: Anchor,
    colour: &str,
) -> Element {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let mut text = Element::new("text");
    text.assign("x", coordinate(at.0));
    text.assign("y", coordinate(at.1));
    text.assign("font-size", coordinate(size));
    text.assign("fill", colour);
    text.assign("text-anchor", anchor);
    text.append(svg::node::Text::new(content));
    text
}

/// How wide a text may become in a common sans-serif font: a little more than in most.
pub(super) fn width_of(content: &str, size: f64) -> f64 {
    let ems: f64 = content
        .chars()
        .map(|letter| match letter {
            ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'i' | 'j' | 'l' | '(' | ')' | '-' => {
                0.36
            }
            'm' | 'w' | 'M' | 'W' | '%' | '±' | '=' => 0.9,
            'A'..='Z' => 0.7,
            _ => 0.59,
        })
        .sum();
    ems * size
}

/// A group with a class, for tests and for people who style the drawing.
pub(super) fn group(class: &str) -> Group {
    Group::new().set("class", class)
}
