//! Weights that the baseline starts from, and what they decide.

use super::Checker;
use crate::data::Preparation;
use crate::digest::Digest;
use crate::weights::{Weights, WeightsFile};

const FILE: &str = "spec.baseline.weights";
const SHA256: &str = "spec.baseline.weights_sha256";

/// Fields of which each value has weights of its own shapes.
const SHAPES: [&str; 4] = ["net.name", "net.width", "net.depth", "net.widen"];

/// What is given of a file of weights, as far as it is good.
#[derive(Default)]
pub(super) struct GivenWeights {
    pub(super) file: Option<WeightsFile>,
    pub(super) sha256: Option<Digest>,
}

impl Checker {
    /// Puts the weights into the settings, and with them what their net's inputs are unless the
    /// text says otherwise.
    pub(super) fn settle_weights(&mut self) {
        let GivenWeights { file, sha256 } = &self.weights;
        let (Some(file), Some(sha256)) = (file.clone(), *sha256) else {
            return;
        };
        self.settings.baseline.weights = Some(Weights { file, sha256 });
        let published = Preparation::published(self.settings.net.name);
        let given = |key: &str| self.places.contains_key(&format!("spec.data.{key}"));
        let (normalise, interpolation) = (given("normalise"), given("interpolation"));
        let preparation = &mut self.settings.data.preparation;
        if !normalise {
            preparation.normalise = published.normalise;
        }
        if !interpolation {
            preparation.interpolation = published.interpolation;
        }
    }

    /// What must hold for weights, and without them.
    pub(super) fn weights(&mut self) {
        let given = |path: &str| self.places.contains_key(path);
        let (file, sha256) = (given(FILE), given(SHA256));
        if file && !sha256 {
            let message = "expected weights_sha256 beside it, the digest of the file's bytes: \
                           `autorep-trainer weights inspect FILE` prints it";
            self.problem(self.place(FILE), FILE, message);
        }
        if sha256 && !file {
            let message = "expected weights beside it, the file's name";
            self.problem(self.place(SHA256), SHA256, message);
        }
        if file {
            self.one_shape();
        } else if !sha256 {
            self.trained();
        }
    }

    /// One file fits one net.
    fn one_shape(&mut self) {
        for field in SHAPES {
            let axis = self.axes.iter().find(|axis| axis.field.name() == field);
            let Some(axis) = axis.filter(|axis| axis.values.len() > 1) else {
                continue;
            };
            let message = format!(
                "expected one value where the baseline starts from weights, which fit one net, \
                 found {}",
                axis.values.len()
            );
            self.problem(axis.place, &format!("spec.grid.{field}"), message);
        }
    }

    /// Random weights have to be trained.
    fn trained(&mut self) {
        for (epochs, given) in self.numbers("baseline.epochs") {
            if epochs == 0.0 {
                let message = "expected at least 1 epoch, or baseline.weights to start from, \
                               found 0";
                self.problem(given.place, &given.path, message);
            }
        }
    }
}
