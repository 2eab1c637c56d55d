//! The legend: a line or two between title and frame, where no point can be.

use autorep_core::front::FrontRow;
use svg::node::element::Group;

use super::marks::{
    Anchor, BASELINE, FRONT, INK, arrow_down, diamond, disc, group, line, rectangle, text, width_of,
};
use super::points::is_crowd;
use super::published::Style;
use super::{LEFT, RIGHT, Series, TEXT_SIZE, spread};

/// The baseline of the first line's text.
const TOP: f64 = 72.0;
const LINE_HEIGHT: f64 = 19.0;
/// Between a swatch and its label, and between entries.
const NEAR: f64 = 8.0;
const GAP: f64 = 22.0;

#[derive(Clone, Copy)]
enum Swatch {
    Front,
    Band,
    Waiting,
    Dominated,
    Sunk,
    Baseline { band: bool },
    Published(Style),
}

/// What is explained: only what is drawn.
pub(super) struct Legend {
    entries: Vec<(Swatch, String, (f64, f64))>,
}

impl Legend {
    pub(super) fn of(
        baselines: &[&FrontRow],
        (front, has_band): (&[&FrontRow], bool),
        dominated: &[&FrontRow],
        sunk: &[&FrontRow],
        published: &[Series],
    ) -> Self {
        let mut wanted: Vec<(Swatch, String)> = vec![];
        let waiting = |row: &&FrontRow| row.seeds < row.seeds_planned;
        if !front.is_empty() {
            wanted.push((Swatch::Front, "Pareto front".to_owned()));
        }
        if has_band {
            wanted.push((Swatch::Band, "95 % band".to_owned()));
        }
        if front.iter().any(waiting) {
            wanted.push((Swatch::Waiting, "seeds still to come".to_owned()));
        }
        if !dominated.is_empty() {
            let hidden = is_crowd(dominated.len()) && dominated.iter().any(|row| spread(row) > 0.0);
            let note = if hidden { " (no error bars)" } else { "" };
            wanted.push((Swatch::Dominated, format!("dominated{note}")));
        }
        if !sunk.is_empty() {
            wanted.push((Swatch::Sunk, format!("{} dominated, off scale", sunk.len())));
        }
        if !baselines.is_empty() {
            let band = baselines.iter().any(|row| spread(row) > 0.0);
            wanted.push((Swatch::Baseline { band }, "full-ReLU baseline".to_owned()));
        }
        for (style, series) in Style::each().zip(published) {
            wanted.push((Swatch::Published(style), series.name.clone()));
        }
        Self::laid_out(wanted)
    }

    fn laid_out(wanted: Vec<(Swatch, String)>) -> Self {
        let (mut x, mut y) = (LEFT, TOP);
        let mut entries = vec![];
        for (swatch, label) in wanted {
            let width = swatch.width() + NEAR + width_of(&label, TEXT_SIZE);
            if x > LEFT && x + width > RIGHT {
                (x, y) = (LEFT, y + LINE_HEIGHT);
            }
            entries.push((swatch, label, (x, y)));
            x += width + GAP;
        }
        Self { entries }
    }

    /// The lowest place that it takes up.
    pub(super) fn bottom(&self) -> f64 {
        self.entries.last().map_or(TOP, |(_, _, (_, y))| *y) + 4.0
    }

    pub(super) fn draw(&self) -> Group {
        let mut drawn = group("legend");
        for (swatch, label, (x, y)) in &self.entries {
            let width = swatch.width();
            let label = text(label, (x + width + NEAR, *y), TEXT_SIZE, Anchor::Start, INK);
            drawn = drawn
                .add(swatch.draw((x + width / 2.0, y - 4.0)))
                .add(label);
        }
        drawn
    }
}

impl Swatch {
    const fn width(self) -> f64 {
        match self {
            Self::Front | Self::Band | Self::Baseline { .. } => 26.0,
            Self::Waiting | Self::Dominated | Self::Sunk | Self::Published(_) => 11.0,
        }
    }

    /// A sample around `middle`.
    fn draw(self, middle: (f64, f64)) -> Group {
        let (x, y) = middle;
        let (from, to) = ((x - 13.0, y), (x + 13.0, y));
        let drawn = group("swatch");
        match self {
            Self::Front => drawn
                .add(line(from, to, FRONT, 1.8))
                .add(disc(middle, 4.8, true)),
            Self::Band => {
                let band = rectangle((x - 13.0, y - 6.0), 26.0, 12.0);
                drawn.add(band.set("fill", FRONT).set("fill-opacity", 0.14))
            }
            Self::Waiting => drawn.add(disc(middle, 4.8, false)),
            Self::Dominated => drawn.add(diamond(middle, 4.6)),
            Self::Sunk => drawn.add(arrow_down((x, y + 4.0))),
            Self::Published(style) => drawn.add(style.mark(middle)),
            Self::Baseline { band } => {
                let dashes = line(from, to, BASELINE, 1.5).set("stroke-dasharray", "7 4");
                if band {
                    let band = rectangle((x - 13.0, y - 6.0), 26.0, 12.0);
                    let band = band.set("fill", BASELINE).set("fill-opacity", 0.13);
                    return drawn.add(band).add(dashes);
                }
                drawn.add(dashes)
            }
        }
    }
}
