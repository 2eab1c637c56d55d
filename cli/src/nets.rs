//! `autorep nets`: which networks there are, and how many ReLUs each has where.

use std::fmt::Write as _;

use anyhow::{Result, anyhow, bail};
use autorep_core::data::DataSet;
use autorep_core::net::{Family, NetSettings, NetSpec, Site};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::PlanFormat;
use crate::data::SetName;
use crate::exit::Exit;
use crate::output;

/// Arguments of `autorep nets`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep nets
  autorep nets --net wide-resnet --set final_relu=true --data cifar-100 --layers
  autorep nets --net efficientnet-b2 --data imagenet --layers --format json

Counted are the ReLUs that the full net evaluates for one image: channels x height x width, summed \
over its activation sites. Comparisons of a max pooling, sigmoids, and activations in squeeze and \
excitation where se_sites is false are not counted.")]
pub struct NetsArgs {
    /// These nets only. Default: every family, and each variant that differs in its ReLUs.
    #[arg(long, value_name = "NAME")]
    pub net: Vec<NetName>,
    /// A setting of the nets, as under spec.net of a manifest.
    #[arg(long, value_name = "KEY=VALUE", requires = "net")]
    pub set: Vec<String>,
    /// On these data sets only. Default: all.
    #[arg(long, value_name = "NAME")]
    pub data: Vec<SetName>,
    /// Show every activation site.
    #[arg(long)]
    pub layers: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub format: PlanFormat,
}

/// A family's name as clap reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetName(pub Family);

impl ValueEnum for NetName {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [NetName; Family::ALL.len()] = {
            let mut names = [NetName(Family::ALL[0]); Family::ALL.len()];
            let mut index = 0;
            while index < names.len() {
                names[index] = NetName(Family::ALL[index]);
                index += 1;
            }
            names
        };
        &NAMES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// A net on a data set.
#[derive(Debug, Serialize)]
struct Listed {
    net: NetSpec,
    data: DataSet,
    /// The total `T`.
    relu_total: u64,
    /// How many activation sites there are.
    site_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    sites: Option<Vec<ListedSite>>,
}

#[derive(Debug, Serialize)]
struct ListedSite {
    #[serde(flatten)]
    site: Site,
    relus: u64,
}

/// Prints the nets.
pub fn nets(args: &NetsArgs) -> Result<Exit> {
    let nets = chosen(args)?;
    let sets: Vec<DataSet> = if args.data.is_empty() {
        DataSet::ALL.to_vec()
    } else {
        args.data.iter().map(|name| name.0).collect()
    };
    let listed = list(&nets, &sets, args.layers);
    let text = match args.format {
        PlanFormat::Json => serde_json::to_string_pretty(&listed)? + "\n",
        PlanFormat::Table if args.layers => layers(&listed),
        PlanFormat::Table => totals(&nets, &sets, &listed),
    };
    output::stdout(text.as_bytes())?;
    Ok(Exit::Done)
}

/// The nets to list, with the settings that were given.
fn chosen(args: &NetsArgs) -> Result<Vec<NetSpec>> {
    if args.net.is_empty() {
        return Ok(Family::ALL.into_iter().flat_map(variants).collect());
    }
    let families = args.net.iter().map(|name| name.0);
    families
        .map(|family| {
            let mut settings = family.default_settings();
            for assignment in &args.set {
                let Some((key, value)) = assignment.split_once('=') else {
                    bail!("expected --set KEY=VALUE, found {assignment}");
                };
                settings = settings
                    .with(key, value)
                    .map_err(|problem| anyhow!("--set {assignment}: {problem}"))?;
            }
            let spec = settings.spec();
            spec.problem()
                .map_or(Ok(spec), |problem| Err(anyhow!("{problem}")))
        })
        .collect()
}

/// A family's net at its defaults, and those that differ from it in their activation sites.
fn variants(family: Family) -> Vec<NetSpec> {
    let plain = family.default_settings();
    let other = NetSettings {
        stem_relu: !plain.stem_relu,
        final_relu: !plain.final_relu,
        se_sites: !plain.se_sites,
        ..plain.clone()
    };
    let mut nets = vec![plain.spec(), other.spec()];
    nets.dedup();
    nets
}

/// Every net on every data set, net by net.
fn list(nets: &[NetSpec], sets: &[DataSet], layers: bool) -> Vec<Listed> {
    let mut listed = Vec::with_capacity(nets.len() * sets.len());
    for net in nets {
        for set in sets {
            let sites = net.sites(set.input());
            listed.push(Listed {
                net: net.clone(),
                data: *set,
                relu_total: sites.iter().map(Site::relus).sum(),
                site_count: sites.len(),
                sites: layers.then(|| sites.into_iter().map(ListedSite::of).collect()),
            });
        }
    }
    listed
}

impl ListedSite {
    fn of(site: Site) -> Self {
        let relus = site.relus();
        Self { site, relus }
    }
}

/// A row per net, a column per data set.
fn totals(nets: &[NetSpec], sets: &[DataSet], listed: &[Listed]) -> String {
    let mut header = vec!["net".to_owned(), "sites".to_owned()];
    header.extend(sets.iter().map(|set| format!("T on {}", set.name())));
    let mut rows = vec![header];
    for (net, on_sets) in nets.iter().zip(listed.chunks(sets.len().max(1))) {
        let sites = on_sets.first().map_or(0, |first| first.site_count);
        let mut row = vec![net.to_string(), sites.to_string()];
        row.extend(on_sets.iter().map(|one| one.relu_total.to_string()));
        rows.push(row);
    }
    aligned(&rows, 1)
}

/// A table of sites for each net and data set.
fn layers(listed: &[Listed]) -> String {
    let mut text = String::new();
    for (index, one) in listed.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let _ = writeln!(
            text,
            "{gap}{} on {}: {} sites, T = {}",
            one.net,
            one.data.name(),
            one.site_count,
            one.relu_total
        );
        let mut rows = vec![["site", "channels", "height", "width", "ReLUs"].map(str::to_owned)];
        rows.extend(one.sites.iter().flatten().map(|listed| {
            let site = &listed.site;
            let sizes = [site.channels, site.height, site.width].map(|size| size.to_string());
            let [channels, height, width] = sizes;
            let relus = listed.relus.to_string();
            [site.name.clone(), channels, height, width, relus]
        }));
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        text.push_str(&aligned(&rows, 1));
    }
    text
}

/// Columns under each other: the first `words` to the left, numbers to the right.
fn aligned(rows: &[Vec<String>], words: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < words {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(net: Vec<NetName>, set: &[&str]) -> NetsArgs {
        NetsArgs {
            net,
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            data: vec![],
            layers: false,
            format: PlanFormat::Table,
        }
    }

    /// The published counts, as a person sees them.
    #[test]
    fn the_table_has_a_row_for_each_variant_with_its_total_per_data_set() {
        let nets = chosen(&args(vec![], &[])).unwrap();
        let sets = [DataSet::Cifar10];
        let table = totals(&nets, &sets, &list(&nets, &sets, false));
        let row = |net: &str| {
            let line = table.lines().find(|line| {
                line.strip_prefix(net)
                    .is_some_and(|rest| rest.starts_with("  "))
            });
            let line = line.unwrap_or_else(|| panic!("no row of {net} in\n{table}"));
            let words: Vec<&str> = line.split_whitespace().collect();
            words[words.len() - 2..].join(" ")
        };
        assert_eq!(row("resnet18 of width 64"), "16 491520");
        assert_eq!(row("resnet18 of width 64 with a stem ReLU"), "17 557056");
        let wide = "wide-resnet of depth 22, widened 8 times";
        assert_eq!(row(wide), "18 1359872");
        assert_eq!(row(&format!("{wide} with a final ReLU")), "19 1392640");
        assert_eq!(table.lines().count(), 1 + Family::ALL.len() + 3 + 1 + 3);
    }

    #[test]
    fn layers_are_shown_with_shapes_that_add_up_to_the_total() {
        let nets = [NetSpec::resnet9(64)];
        let listed = list(&nets, &[DataSet::Cifar10], true);
        let text = layers(&listed);
        assert!(text.starts_with("resnet9 of width 64 on cifar-10: 8 sites, T = 245760\n"));
        let sum: u64 = text
            .lines()
            .skip(2)
            .map(|line| {
                line.split_whitespace()
                    .last()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })
            .sum();
        assert_eq!(sum, 245_760);
        assert!(text.contains("layer4.0.act2"));
    }

    #[test]
    fn settings_are_those_of_a_manifest_and_others_are_refused() {
        let wide = || vec![NetName(Family::WideResnet)];
        let nets = chosen(&args(wide(), &["depth=28", "final_relu=true"])).unwrap();
        let text = nets[0].to_string();
        assert_eq!(
            text,
            "wide-resnet of depth 28, widened 8 times with a final ReLU"
        );
        let refused = |set: &str| chosen(&args(wide(), &[set])).unwrap_err().to_string();
        assert!(refused("depth=27").contains("such as 22"));
        assert!(refused("width=8").contains("wide-resnet has depth, widen, final_relu"));
        assert!(refused("final_relu=maybe").contains("final_relu"));
        assert!(refused("depth").contains("KEY=VALUE"));
    }
}
