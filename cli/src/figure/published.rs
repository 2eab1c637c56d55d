//! Published fronts, to hold a sweep's own against.
//!
//! `cli/published/fronts.tsv` has a row for every figure: data set, network's family (empty where
//! the source does not say), method, where it was published, ReLU count, T if the source gives
//! it, test accuracy in percent, and where the figure was read.

use std::collections::BTreeSet;

use autorep_core::data::DataSet;
use autorep_core::front::FrontReport;
use autorep_core::net::Family;
use autorep_core::text::grouped;

static TABLE: &str = include_str!("../../published/fronts.tsv");

/// One published figure.
#[derive(Clone, PartialEq, Debug)]
pub struct PublishedPoint {
    /// ReLUs per image.
    pub relu_count: u64,
    /// Test accuracy in percent.
    pub accuracy: f64,
    /// Where the figure was read.
    pub source: &'static str,
}

/// What one publication reports of one method for one data set and network.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// The method and where it was published.
    pub name: String,
    /// The data set.
    pub data: &'static str,
    /// The network's family.
    pub net: &'static str,
    /// By rising ReLU count.
    pub points: Vec<PublishedPoint>,
}

/// There is nothing to hold a sweep against.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a published front of {wanted}, found fronts of {known} only, at the families' own \
     widths and depths"
)]
pub struct NothingPublished {
    wanted: String,
    known: String,
}

/// The published series of the data sets and networks of a report.
pub fn beside(report: &FrontReport) -> Result<Vec<Series>, NothingPublished> {
    let subjects: BTreeSet<(&str, &str, u64)> = report
        .rows
        .iter()
        .map(|row| (row.data.as_str(), row.net.as_str(), row.relu_total))
        .collect();
    let mut all = all();
    let known: BTreeSet<String> = all.iter().map(|it| on(it.net, it.data)).collect();
    all.retain(|series| {
        let totals = published_totals(series.data, series.net);
        let mut of_net =
            (subjects.iter()).filter(|(data, net, _)| (*data, *net) == (series.data, series.net));
        of_net.any(|(.., total)| totals.contains(total))
    });
    if all.is_empty() && !subjects.is_empty() {
        let wanted = subjects.iter().map(|(data, net, total)| {
            let total = grouped(*total);
            format!("{} with T = {total}", on(net, data))
        });
        return Err(NothingPublished {
            wanted: wanted.collect::<Vec<_>>().join(", "),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    Ok(all)
}

fn on(net: &str, data: &str) -> String {
    format!("{net} on {data}")
}

/// The totals T of the nets that publications mean by a family's name on a data set: of its own
/// width and depth, with and without the sites that are a choice. A narrower net's front says
/// nothing beside theirs.
fn published_totals(data: &str, net: &str) -> BTreeSet<u64> {
    let set = DataSet::ALL.into_iter().find(|set| set.name() == data);
    let family = Family::ALL.into_iter().find(|family| family.name() == net);
    let (Some(set), Some(family)) = (set, family) else {
        return BTreeSet::new();
    };
    let own = family.default_settings();
    let choices = ["stem_relu", "final_relu", "se_sites"].into_iter();
    let variants = choices.flat_map(|key| ["true", "false"].map(|on| own.with(key, on)));
    let nets = variants.filter_map(Result::ok).chain([own.clone()]);
    nets.map(|net| net.spec().relu_total(set.input())).collect()
}

/// Every series whose source says which network it is of.
fn all() -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for line in TABLE.lines().skip(1) {
        let Some((new, point)) = parse(line).filter(|(new, _)| !new.net.is_empty()) else {
            continue;
        };
        match series.last_mut().filter(|last| is_same(last, &new)) {
            Some(last) => last.points.push(point),
            None => series.push(Series {
                points: vec![point],
                ..new
            }),
        }
    }
    series
}

fn is_same(one: &Series, other: &Series) -> bool {
    (one.data, one.net, &one.name) == (other.data, other.net, &other.name)
}

/// A line of the table; a test holds that every one can be read.
fn parse(line: &'static str) -> Option<(Series, PublishedPoint)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [data, net, method, venue, count, _total, accuracy, source] = fields[..] else {
        return None;
    };
    let venue = if venue == "-" {
        String::new()
    } else {
        format!(", {venue}")
    };
    let series = Series {
        name: format!("{method}{venue}"),
        data,
        net,
        points: vec![],
    };
    let point = PublishedPoint {
        relu_count: count.parse().ok()?,
        accuracy: accuracy.parse().ok()?,
        source,
    };
    Some((series, point))
}

#[cfg(test)]
mod tests {
    use autorep_core::manifest::BudgetSpec;

    use super::*;

    #[test]
    fn every_line_can_be_read_and_has_a_source() {
        let lines: Vec<&str> = TABLE.lines().skip(1).collect();
        assert_eq!(lines.len(), 207);
        for line in lines {
            let (series, point) = parse(line).unwrap_or_else(|| panic!("{line}"));
            assert!((1.0..100.0).contains(&point.accuracy), "{line}");
            assert!(
                !point.source.is_empty() && !series.data.is_empty(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_series_is_one_methods_points_by_rising_count() {
        let all = all();
        let wanted = ("cifar-100", "resnet18", "AutoReP, ICCV 2023");
        let found: Vec<&Series> = all
            .iter()
            .filter(|it| (it.data, it.net, it.name.as_str()) == wanted)
            .collect();
        assert_eq!(found.len(), 1);
        let points: Vec<(u64, f64)> = found[0]
            .points
            .iter()
            .map(|point| (point.relu_count, point.accuracy))
            .collect();
        assert_eq!(points, [(12_900, 67.73), (50_000, 74.28)]);
        for series in &all {
            assert!(series.points.is_sorted_by_key(|point| point.relu_count));
            let again = all.iter().filter(|it| is_same(it, series)).count();
            assert_eq!(again, 1, "{} stands in two places", series.name);
        }
    }

    /// Data set, network and budgets of every manifest in `manifests/paper`.
    fn paper_sweeps() -> Vec<(String, String, Vec<u64>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/paper");
        let files = std::fs::read_dir(folder).unwrap();
        files
            .map(|file| {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                let manifest = autorep_core::manifest::parse(&text).unwrap();
                let budgets = manifest.budgets.iter().map(|budget| match budget {
                    BudgetSpec::Relus(count) => *count,
                    share @ BudgetSpec::Share(_) => panic!("{share:?} in a manifest of the paper"),
                });
                let data = manifest.data.name.name().to_owned();
                (data, manifest.net.name.name().to_owned(), budgets.collect())
            })
            .collect()
    }

    #[test]
    fn every_published_figure_of_autorep_has_a_manifest_at_its_count() {
        let sweeps = paper_sweeps();
        for line in TABLE.lines().skip(1) {
            let (series, point) = parse(line).unwrap();
            if ![
                "AutoReP, ICCV 2023",
                "AutoReP (network inferred), ICCV 2023",
            ]
            .contains(&series.name.as_str())
            {
                continue;
            }
            // A factor of 176.1 is 49,995 ReLUs, which the table rounds.
            let near = |budget: &u64| point.relu_count - budget.min(&point.relu_count) <= 5;
            let has = sweeps.iter().any(|(data, net, budgets)| {
                data == series.data && net == series.net && budgets.iter().any(near)
            });
            assert!(has, "no manifest for {line}");
        }
    }
}
