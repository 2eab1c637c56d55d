//! Holds the masked activation of a device against its definition, and says how far it is off: for a
//! machine whose GPU, driver or compiler of kernels nobody has tried before.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tch::Tensor;

use crate::fused::check::{Deviation, cases, compare};
use crate::{device, fused};

/// How it is called.
pub const USAGE: &str = "\
usage: autorep-trainer self-check [--device cpu|cuda:N]

Applies the masked activation and its gradients to random maps of many shapes, types and layouts, on the
CPU or a GPU, and compares with tensor operations in f64. Prints JSON: of each type of map and result the
largest deviation, in units of the result's largest value. Ends with 1 if one is beyond its limit, or if
the device has no such operator and training would compose it.
";

/// The device named on the command line after `self-check`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<String> {
    let mut arguments = arguments.into_iter();
    let mut device = "cpu".to_owned();
    while let Some(name) = arguments.next() {
        if name != "--device" {
            bail!("unknown option {}\n{USAGE}", name.display());
        }
        let value = arguments.next().and_then(|value| value.into_string().ok());
        device = value.context("expected a device after --device")?;
    }
    Ok(device)
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The device.
    pub device: String,
    /// Maps that were tried.
    pub cases: usize,
    /// By type of map and result, that which comes closest to its limit.
    pub largest: Vec<Largest>,
    /// What is beyond its limit, and where.
    pub wrong: Vec<String>,
}

/// A deviation that is the largest of its kind.
#[derive(Debug, Serialize)]
pub struct Largest {
    /// The type of map.
    pub map: String,
    /// Which result.
    pub of: &'static str,
    /// The deviation.
    pub off_by: f64,
    /// What the composition of tensor operations deviates by there.
    pub composed: f64,
    /// What is allowed there.
    pub limit: f64,
}

impl Checked {
    fn of(device: &str, cases: usize, deviations: &[Deviation]) -> Self {
        let mut largest: BTreeMap<(String, &str), &Deviation> = BTreeMap::new();
        for one in deviations {
            let key = (format!("{:?}", one.case.kind), one.of);
            let most = largest.entry(key).or_insert(one);
            // A number that is none is the largest of all.
            if one.share().is_nan() || one.share() > most.share() {
                *most = one;
            }
        }
        let largest = largest.into_iter().map(|((map, of), one)| Largest {
            map,
            of,
            off_by: one.operator,
            composed: one.composed,
            limit: one.limit,
        });
        let wrong = deviations.iter().filter(|one| !one.is_small());
        Self {
            device: device.to_owned(),
            cases,
            largest: largest.collect(),
            wrong: wrong.map(ToString::to_string).collect(),
        }
    }

    /// An error if something is wrong.
    pub fn verdict(&self) -> anyhow::Result<()> {
        ensure!(
            self.wrong.is_empty(),
            "{} results are off by more than is allowed; do not train on this device",
            self.wrong.len()
        );
        Ok(())
    }
}

fn operator(call: &fused::Call<'_>) -> Tensor {
    call.activation()
}

/// Compares everything on the device with this name.
pub fn run(name: &str) -> anyhow::Result<Checked> {
    let device = device::open(name)?;
    if let Some(why) = fused::problem(device) {
        bail!("masked activations are composed of tensor operations on {name}: {why}");
    }
    let cases = cases();
    let all = cases.iter();
    let deviations: Vec<Deviation> = all
        .flat_map(|case| compare(*case, device, operator))
        .collect();
    Ok(Checked::of(name, cases.len(), &deviations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_beyond_its_limit_or_without_a_number_is_reported_and_fails_the_check() {
        let case = cases()[0];
        let off = |operator| Deviation {
            case,
            of: "the result",
            operator,
            composed: 1e-8,
            limit: 1e-6,
        };
        let fine = Checked::of("cpu", 1, &[off(1e-7), off(0.0)]);
        assert!(fine.verdict().is_ok());
        assert!((fine.largest[0].off_by - 1e-7).abs() < 1e-20);
        for bad in [2e-6, f64::NAN] {
            let checked = Checked::of("cpu", 1, &[off(1e-7), off(bad), off(1e-7)]);
            assert_eq!(checked.wrong.len(), 1, "{:?}", checked.wrong);
            assert!(checked.verdict().is_err());
        }
    }

    #[test]
    fn the_operator_of_a_cpu_passes() {
        let device = tch::Device::Cpu;
        // Every seventeenth: the rest of the operator's tests go through more.
        for case in cases().into_iter().step_by(17) {
            for one in compare(case, device, operator) {
                assert!(one.is_small(), "{one}");
            }
        }
    }

    #[test]
    fn what_is_no_option_is_refused() {
        let arguments = |all: &[&str]| parse(all.iter().map(OsString::from));
        assert_eq!(arguments(&[]).unwrap(), "cpu");
        assert_eq!(arguments(&["--device", "cuda:1"]).unwrap(), "cuda:1");
        assert!(arguments(&["--device"]).is_err());
        assert!(arguments(&["cuda:0"]).is_err());
    }
}
