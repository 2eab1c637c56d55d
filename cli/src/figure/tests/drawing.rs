//! The drawing: what is in it, and that nothing is cut off or covers anything else.

use autorep_core::candidate::PointKind;
use autorep_core::front::FrontReport;
use resvg::tiny_skia::Pixmap;
use resvg::usvg::roxmltree::{Document, Node};

use super::{samples, text_of};
use crate::figure::samples::{Sample, crowd, paper, quickstart};
use crate::figure::{Format, published, render, render_with};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 480.0;

fn of_class<'a>(document: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    let nodes = document.descendants();
    nodes
        .filter(|node| node.attribute("class") == Some(class))
        .collect()
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    let text = node
        .attribute(name)
        .unwrap_or_else(|| panic!("{node:?} has no {name}"));
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}

/// The corners of a path of straight lines.
fn corners(path: Node<'_, '_>) -> Vec<(f64, f64)> {
    let data = path.attribute("d").unwrap();
    data.split(['M', 'L', 'Z'])
        .filter(|corner| !corner.is_empty())
        .map(|corner| {
            let (x, y) = corner.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        })
        .collect()
}

/// Left, right, top and bottom of the frame around the data.
fn frame(document: &Document<'_>) -> (f64, f64, f64, f64) {
    let axes = of_class(document, "axes")[0];
    let outline = axes
        .children()
        .find(|node| node.has_tag_name("rect"))
        .unwrap();
    let (left, top) = (number(outline, "x"), number(outline, "y"));
    let (width, height) = (number(outline, "width"), number(outline, "height"));
    (left, left + width, top, top + height)
}

/// A text's left and right end in a font of usual width, and its baseline and size.
fn extent(text: Node<'_, '_>) -> (f64, f64, f64, f64) {
    let size = number(text, "font-size");
    let letters = text.text().unwrap_or_default().chars().count() as f64;
    let width = letters * 0.55 * size;
    let x = number(text, "x");
    let left = match text.attribute("text-anchor") {
        Some("middle") => x - width / 2.0,
        Some("end") => x - width,
        _ => x,
    };
    (left, left + width, number(text, "y"), size)
}

fn count(report: &FrontReport, kind: PointKind, on_front: bool) -> usize {
    let rows = report.rows.iter();
    rows.filter(|row| row.kind == kind && row.on_front == on_front)
        .count()
}

#[test]
fn every_row_is_drawn_once_in_the_way_of_its_kind() {
    for (name, sample) in samples() {
        let report = sample.report();
        let svg = text_of(&report, Format::Svg);
        let document = Document::parse(&svg).unwrap();
        let drawn = |class| of_class(&document, class).len();
        let front = count(&report, PointKind::Replaced, true);
        assert_eq!(drawn("front-point"), front, "{name}");
        let dominated = count(&report, PointKind::Replaced, false);
        assert_eq!(
            drawn("dominated-point") + drawn("sunk-point"),
            dominated,
            "{name}"
        );
        let baselines = count(&report, PointKind::Baseline, false);
        assert_eq!(drawn("baseline"), baselines, "{name}");
    }
}

#[test]
fn nothing_is_cut_off() {
    for (name, sample) in samples() {
        let svg = text_of(&sample.report(), Format::Svg);
        let document = Document::parse(&svg).unwrap();
        let (left, right, top, bottom) = frame(&document);
        let inside = |(x, y): (f64, f64)| left < x && x < right && top < y && y < bottom;
        for bar in of_class(&document, "error-bar") {
            assert!(corners(bar).into_iter().all(inside), "{name}: {bar:?}");
        }
        for class in ["front-point", "dominated-point", "sunk-point"] {
            for point in of_class(&document, class) {
                for mark in point.children().filter(Node::is_element) {
                    let places = match mark.tag_name().name() {
                        "circle" => vec![(number(mark, "cx"), number(mark, "cy"))],
                        "path" => corners(mark),
                        _ => vec![],
                    };
                    assert!(places.into_iter().all(inside), "{name}: {mark:?}");
                }
            }
        }
        for text in document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
        {
            if text.attribute("transform").is_some() {
                continue;
            }
            let (left, right, baseline, size) = extent(text);
            assert!(left >= 0.0 && right <= WIDTH, "{name}: {text:?}");
            assert!(
                baseline - size >= 0.0 && baseline + size / 4.0 <= HEIGHT,
                "{name}: {text:?}"
            );
        }
    }
}

#[test]
fn no_label_covers_another_and_the_legend_covers_no_point() {
    for (name, sample) in samples() {
        let svg = text_of(&sample.report(), Format::Svg);
        let document = Document::parse(&svg).unwrap();
        let texts: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("text") && node.attribute("transform").is_none())
            .map(|text| (extent(text), text.text().unwrap_or_default()))
            .collect();
        for (at, (a, first)) in texts.iter().enumerate() {
            for (b, second) in &texts[at + 1..] {
                let beside = a.1 <= b.0 || b.1 <= a.0;
                let above = (a.2 - b.2).abs() >= a.3.min(b.3);
                assert!(beside || above, "{name}: {first} over {second}");
            }
        }
        let top = frame(&document).2;
        for legend in of_class(&document, "legend") {
            for text in legend
                .descendants()
                .filter(|node| node.has_tag_name("text"))
            {
                assert!(number(text, "y") < top, "{name}");
            }
        }
    }
}

#[test]
fn one_seed_has_no_error_bar_and_two_have_one_of_their_deviation() {
    let sample = Sample::new("bars", 48_000)
        .point("one", 1_000, &[8_000])
        .point("two", 2_000, &[8_200, 8_400]);
    let svg = text_of(&sample.report(), Format::Svg);
    let document = Document::parse(&svg).unwrap();
    let bars = of_class(&document, "error-bar");
    assert_eq!(bars.len(), 1);
    let corners = corners(bars[0]);
    let (low, high) = (corners[0].1, corners[1].1);

    let points = of_class(&document, "front-point");
    let height = |at: usize| {
        let circle = points[at]
            .children()
            .find(|node| node.has_tag_name("circle"));
        number(circle.unwrap(), "cy")
    };
    // Three percentage points apart; the bar is twice the deviation of 82 and 84: 2 times root 2.
    let unit = (height(0) - height(1)) / 3.0;
    assert!(((low - high) / unit - 2.0 * 2.0_f64.sqrt()).abs() < 0.01);
}

#[test]
fn the_horizontal_axis_is_logarithmic_and_names_counts_and_shares() {
    let svg = text_of(&quickstart().report(), Format::Svg);
    let document = Document::parse(&svg).unwrap();
    let points = of_class(&document, "front-point");
    let x: Vec<f64> = points
        .iter()
        .map(|point| {
            point
                .children()
                .find(|node| node.has_tag_name("circle"))
                .unwrap()
        })
        .map(|circle| number(circle, "cx"))
        .collect();
    // 1.5K, 3K, 6K, 24K: one octave, one octave, two octaves.
    let octave = x[1] - x[0];
    assert!((x[2] - x[1] - octave).abs() < 0.05);
    assert!((x[3] - x[2] - 2.0 * octave).abs() < 0.05);

    let ticks = of_class(&document, "count-ticks")[0];
    let labels: Vec<&str> = ticks.descendants().filter_map(|node| node.text()).collect();
    let expected = [
        "1.5K", "3.13 %", "3K", "6.25 %", "6K", "12.5 %", "24K", "50 %", "48K", "100 %",
    ];
    let labels: Vec<&str> = labels
        .into_iter()
        .filter(|label| !label.trim().is_empty())
        .collect();
    // A text element and its text node both have the text.
    let mut once = labels;
    once.dedup();
    assert_eq!(once, expected);
}

#[test]
fn one_net_that_did_not_train_does_not_press_the_front_flat() {
    let svg = text_of(&paper().report(), Format::Svg);
    let document = Document::parse(&svg).unwrap();
    assert_eq!(of_class(&document, "sunk-point").len(), 1);
    let (_, _, top, bottom) = frame(&document);
    let heights: Vec<f64> = of_class(&document, "front-point")
        .iter()
        .filter_map(|point| point.children().find(|node| node.has_tag_name("circle")))
        .map(|circle| number(circle, "cy"))
        .collect();
    let highest = heights.iter().copied().fold(f64::INFINITY, f64::min);
    let lowest = heights.iter().copied().fold(0.0, f64::max);
    assert!(lowest - highest > 0.4 * (bottom - top));
}

#[test]
fn the_text_is_text_in_a_generic_family_and_the_title_has_sweep_and_total() {
    let svg = text_of(&quickstart().report(), Format::Svg);
    let document = Document::parse(&svg).unwrap();
    assert_eq!(
        document.root_element().attribute("font-family"),
        Some("sans-serif")
    );
    let texts: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    for expected in [
        "fashion-quickstart (T = 48,000 ReLUs)",
        "test accuracy (%)",
        "ReLUs per image (logarithmic), and their share of T",
        "full-ReLU baseline",
    ] {
        assert!(texts.contains(&expected), "{expected}");
    }
}

#[test]
fn the_bitmap_shows_the_drawing_with_its_text() {
    let report = quickstart().report();
    let pixels = Pixmap::decode_png(&render(&report, Format::Png).unwrap()).unwrap();
    assert_eq!((pixels.width(), pixels.height()), (1_800, 1_200));
    let count = |x: std::ops::Range<u32>, y: std::ops::Range<u32>, near: [u8; 3]| {
        x.flat_map(|x| y.clone().map(move |y| (x, y)))
            .filter_map(|(x, y)| pixels.pixel(x, y))
            .filter(|pixel| {
                let found = [pixel.red(), pixel.green(), pixel.blue()];
                found.iter().zip(near).all(|(a, b)| a.abs_diff(b) < 24)
            })
            .count()
    };
    // The title's letters: without a font there would be none.
    assert!(count(170..1_000, 35..80, [0x1A, 0x1A, 0x1A]) > 2_000);
    // The front's discs and line, and the baseline's dashes.
    assert!(count(180..1_750, 220..1_020, [0x00, 0x72, 0xB2]) > 4_000);
    assert!(count(180..1_750, 220..1_020, [0xD5, 0x5E, 0x00]) > 2_000);
    assert!(pixels.pixels().iter().all(|pixel| pixel.alpha() == 255));
}

#[test]
fn published_points_lie_inside_the_frame_and_are_named() {
    let report = paper().report();
    let published = published::beside(&report).unwrap();
    let points: usize = published.iter().map(|series| series.points.len()).sum();
    assert!(points > 20, "{points}");
    let bytes = render_with(&report, &published, Format::Svg).unwrap();
    let svg = String::from_utf8(bytes).unwrap();
    let document = Document::parse(&svg).unwrap();
    let (left, right, top, bottom) = frame(&document);
    let drawn = of_class(&document, "published-point");
    assert_eq!(drawn.len(), points);
    for point in drawn {
        let mark = point.children().find(|node| node.has_tag_name("path"));
        for (x, y) in corners(mark.unwrap()) {
            assert!(left < x && x < right && top < y && y < bottom, "{point:?}");
        }
    }
    let texts: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    for series in &published {
        assert!(texts.contains(&series.name.as_str()), "{}", series.name);
    }
    // Behind the sweep's own points.
    let (theirs, ours) = (
        svg.find("\"published\"").unwrap(),
        svg.find("\"front\"").unwrap(),
    );
    assert!(theirs < ours);
}

#[test]
fn a_network_that_nobody_published_is_an_error_that_names_those_there_are() {
    let mut report = quickstart().report();
    for row in &mut report.rows {
        row.net = "resnet9".to_owned();
    }
    let error = published::beside(&report).unwrap_err().to_string();
    assert!(error.contains("resnet9 on cifar-100 with T"), "{error}");
    assert!(error.contains("resnet18 on cifar-100"), "{error}");
}

#[test]
fn published_points_are_for_a_family_at_its_own_width_with_or_without_a_stem_relu() {
    let with_total = |total| {
        let mut report = paper().report();
        for row in &mut report.rows {
            row.relu_total = total;
        }
        published::beside(&report)
    };
    assert_eq!(with_total(491_520), with_total(557_056));
    assert!(with_total(491_520).is_ok());
    let narrow = with_total(61_440).unwrap_err().to_string();
    assert!(narrow.contains("T = 61,440"), "{narrow}");
}

#[test]
fn few_points_of_several_arms_have_their_names_beside_them_and_a_crowd_has_none() {
    let named = |report: &FrontReport| -> Vec<(String, f64, f64)> {
        let svg = String::from_utf8(render(report, Format::Svg).unwrap()).unwrap();
        let document = Document::parse(&svg).unwrap();
        let group = of_class(&document, "names").remove(0);
        let number = |node: &Node<'_, '_>, key| node.attribute(key).unwrap().parse().unwrap();
        let texts = group.children().filter(|node| node.has_tag_name("text"));
        texts
            .map(|node| {
                let name = node.text().unwrap().to_owned();
                (name, number(&node, "x"), number(&node, "y"))
            })
            .collect()
    };
    let arms = Sample::new("arms", 24_000)
        .baseline(&[8_720])
        .point("arm=ours", 480, &[8_728])
        .point("arm=theirs", 480, &[8_727])
        .point("arm=snl", 480, &[8_100])
        .point("arm=ours", 12_000, &[8_824]);
    let names = named(&arms.report());
    assert_eq!(names.len(), 4, "{names:?}");
    let (ours, theirs) = (&names[1], &names[2]);
    assert_eq!((ours.0.as_str(), theirs.0.as_str()), ("ours", "theirs"));
    assert!(theirs.2 - ours.2 > 9.0, "one hides the other: {names:?}");
    let alone = Sample::new("alone", 24_000)
        .point("default", 480, &[8_728])
        .point("default", 12_000, &[8_824]);
    assert!(named(&alone.report()).is_empty(), "one name tells nothing");
    assert!(named(&crowd(500).report()).is_empty());
}
