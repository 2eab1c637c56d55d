//! Files of weights: what is given of them, and what those of the baseline decide.

use super::Checker;
use crate::data::Preparation;
use crate::digest::Digest;
use crate::weights::{Weights, WeightsFile};

const BASELINE: &str = "spec.baseline";

/// Fields of which each value has weights of its own shapes.
const SHAPES: [&str; 4] = ["net.name", "net.width", "net.depth", "net.widen"];

/// What is given of a file of weights, as far as it is good.
#[derive(Default)]
pub(super) struct GivenWeights {
    pub(super) file: Option<WeightsFile>,
    pub(super) sha256: Option<Digest>,
}

impl GivenWeights {
    /// The weights, if both are there.
    pub(super) fn whole(&self) -> Option<Weights> {
        Some(Weights {
            file: self.file.clone()?,
            sha256: self.sha256?,
        })
    }
}

impl Checker {
    /// Puts the weights into the settings, and with them what their net's inputs are unless the
    /// text says otherwise.
    pub(super) fn settle_weights(&mut self) {
        let Some(weights) = self.weights.whole() else {
            return;
        };
        self.settings.baseline.weights = Some(weights);
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
        let (file, sha256) = self.weights_and_digest(BASELINE);
        if file {
            self.one_shape();
        } else if !sha256 {
            self.trained();
        }
    }

    /// Whether a section gives a file of weights, and whether its digest; neither goes alone.
    pub(super) fn weights_and_digest(&mut self, section: &str) -> (bool, bool) {
        let paths = ["weights", "weights_sha256"].map(|key| format!("{section}.{key}"));
        let given = |path: &String| self.places.contains_key(path);
        let (file, sha256) = (given(&paths[0]), given(&paths[1]));
        if file && !sha256 {
            let message = "expected weights_sha256 beside it, the digest of the file's bytes: \
                           `autorep-trainer weights inspect FILE` prints it";
            self.problem(self.place(&paths[0]), &paths[0], message);
        }
        if sha256 && !file {
            let message = "expected weights beside it, the file's name";
            self.problem(self.place(&paths[1]), &paths[1], message);
        }
        (file, sha256)
    }

    /// Where what is given of a file goes, by the path of its key.
    pub(super) fn weights_at(&mut self, path: &str) -> &mut GivenWeights {
        if path.starts_with(BASELINE) {
            &mut self.weights
        } else {
            &mut self.teacher
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
