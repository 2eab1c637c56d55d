//! Reads what earlier tasks made, and checks that it is what the task names.

use std::path::PathBuf;

use autorep_core::recipe::{Granularity, Sharing};
use autorep_core::task::{OutputRef, Work, budget_output};

use super::Setup;
use crate::checkpoint::{CheckpointError, FORMAT, OutputDocument, Tensors, read_document};
use crate::dapa;
use crate::error::TrainError;
use crate::masked::{Activations, MaskedNet};
use crate::nets::Net;
use crate::sites::Sites;
use crate::tensors::{Named, with_prefix};

/// An output of another task.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) document: OutputDocument,
    pub(super) tensors: Tensors,
}

/// Reads the task's input at this position, which must be the output that `wanted` names.
pub(super) fn read(setup: &Setup, at: usize, wanted: &OutputRef) -> Result<Input, TrainError> {
    let Some(folder) = setup.input_folders.get(at) else {
        let found = setup.input_folders.len();
        return Err(TrainError::Spec(format!(
            "expected a folder for each input, found {found}"
        )));
    };
    let document: OutputDocument = read_document(folder).map_err(TrainError::BadCheckpoint)?;
    let found = (
        document.format,
        document.spec.id(),
        document.output.as_str(),
    );
    if found != (FORMAT, wanted.task, wanted.output.as_str()) {
        return Err(other(
            folder.clone(),
            format!(
                "output {} of task {} in format {FORMAT}",
                wanted.output, wanted.task
            ),
            format!(
                "output {} of task {} in format {}",
                found.2, found.1, found.0
            ),
        ));
    }
    if document.spec.net != setup.spec.net || document.spec.data.name != setup.spec.data.name {
        return Err(other(
            folder.clone(),
            "an output of the same net and data".to_owned(),
            "another net or data set".to_owned(),
        ));
    }
    let tensors = Tensors::read(folder).map_err(TrainError::BadCheckpoint)?;
    Ok(Input { document, tensors })
}

fn other(path: PathBuf, expected: String, found: String) -> TrainError {
    TrainError::BadCheckpoint(CheckpointError::Other {
        path,
        expected,
        found,
    })
}

impl Input {
    /// Whether `counted`, from the indicators, is what this output says of itself and fits a task
    /// that names `budget`: exactly that many, or fewer where whole channels or sites turn.
    pub(super) fn fits(&self, budget: u64, counted: u64) -> bool {
        let document = &self.document;
        let (named, exact) = match &document.spec.work {
            Work::Baseline { .. } => (document.relu_total == budget, true),
            Work::Replace { recipe, .. } => (
                document.output == budget_output(budget),
                recipe.granularity == Granularity::Pixel,
            ),
            // What it started from is not known here.
            Work::Finetune { budget: own, .. } => (*own == budget, false),
            Work::Evaluate { .. } => (false, true),
        };
        let fits = counted == budget || (!exact && counted < budget);
        named && fits && counted == document.relu_count
    }

    /// ReLUs that the task which made this net was to leave of them; `None` of a net that nothing was
    /// searched for.
    pub(super) fn budget(&self) -> Option<u64> {
        let document = &self.document;
        match &document.spec.work {
            Work::Replace { budgets, .. } => {
                let mut budgets = budgets.iter().copied();
                budgets.find(|budget| document.output == budget_output(*budget))
            }
            Work::Finetune { budget, .. } => Some(*budget),
            Work::Baseline { .. } | Work::Evaluate { .. } => None,
        }
    }

    /// Overwrites a net's tensors with the saved ones; the sites' state is not looked at.
    pub(super) fn restore_net(&self, net: &Net) -> Result<(), TrainError> {
        let targets: Named = net
            .params()
            .iter()
            .map(|param| (param.name.clone(), param.tensor.detach()))
            .collect();
        self.tensors
            .restore(&with_prefix("net.", targets), |name| {
                name.starts_with("site.")
            })
            .map_err(TrainError::BadCheckpoint)
    }

    /// The saved net with its saved activations, frozen. A net without polynomials must keep
    /// every ReLU.
    pub(super) fn masked_net(&self, setup: &Setup) -> Result<MaskedNet, TrainError> {
        let mut masked = MaskedNet::full(setup.blank_net(), setup.device);
        if let Some(degree) = self.degree(&masked)? {
            let sharing = self.sharing(&masked)?;
            let sites = masked.net.sites();
            masked.sites = Sites::with_polynomials(sites, degree, &sharing, setup.device);
        }
        self.tensors
            .restore(&masked.named(), |name| name.ends_with(".latents"))
            .map_err(TrainError::BadCheckpoint)?;
        if !masked.sites.coefficients().is_empty() {
            masked.freeze();
        } else if masked.sites.count() != masked.sites.total() {
            let problem = "expected coefficients where a ReLU is replaced, found none".to_owned();
            return Err(self.mismatch(problem));
        }
        debug_assert_ne!(masked.activations, Activations::Searching);
        Ok(masked)
    }

    /// By site, what shares a saved polynomial.
    fn sharing(&self, masked: &MaskedNet) -> Result<Vec<Sharing>, TrainError> {
        let sites = masked.net.sites().iter();
        sites
            .map(|site| {
                let name = format!("site.{}.coefficients", site.name);
                let shape = self
                    .tensors
                    .shape(&name)
                    .map_err(TrainError::BadCheckpoint)?;
                Ok(match shape.as_deref() {
                    Some([_, 1]) => Sharing::Site,
                    _ => Sharing::Channel,
                })
            })
            .collect()
    }

    /// The degree of the saved polynomials, `None` if there are none.
    fn degree(&self, masked: &MaskedNet) -> Result<Option<u32>, TrainError> {
        let Some(first) = masked.net.sites().first() else {
            return Ok(None);
        };
        let name = format!("site.{}.coefficients", first.name);
        let shape = self
            .tensors
            .shape(&name)
            .map_err(TrainError::BadCheckpoint)?;
        let Some(shape) = shape else {
            return Ok(None);
        };
        let powers = shape.first().copied().unwrap_or(0);
        let degree = u32::try_from(powers)
            .ok()
            .and_then(|powers| powers.checked_sub(1));
        match degree.filter(|degree| *degree <= dapa::MAX_DEGREE) {
            Some(degree) => Ok(Some(degree)),
            None => Err(self.mismatch(format!("expected {name} with 1 to 3 rows, found {powers}"))),
        }
    }

    pub(super) fn mismatch(&self, problem: String) -> TrainError {
        TrainError::BadCheckpoint(self.tensors.mismatch(vec![problem]))
    }
}
