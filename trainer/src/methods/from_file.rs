//! Files of weights: those that a baseline starts from, and those of a teacher.

use autorep_core::data::DataRoot;
use autorep_core::net::NetSpec;
use autorep_core::weights::Weights;

use super::Setup;
use crate::nets::Net;
use crate::weights::{StateDict, WeightsError};

impl Setup {
    /// A net with the tensors of a file, which must be the one that the task names.
    pub(super) fn net_from_file(
        &self,
        spec: &NetSpec,
        weights: &Weights,
    ) -> Result<Net, WeightsError> {
        let file = weights.file.as_str();
        let state = match &self.weights {
            None => {
                return Err(WeightsError::NoPlace {
                    file: file.to_owned(),
                });
            }
            Some(DataRoot::Folder(folder)) => StateDict::read(&folder.join(file))?,
            Some(DataRoot::Bucket(url)) => StateDict::fetch(url, file)?,
        };
        state.check_digest(weights.sha256)?;
        let net = self.blank(spec);
        state.assign(&net).map_err(|mut error| {
            if let WeightsError::Mismatch { problems, .. } = &mut error {
                let set = self.spec.data.name;
                let (classes, name) = (set.classes(), set.name());
                problems.push(format!(
                    "the net is {spec} with {classes} classes, as {name} has"
                ));
            }
            error
        })?;
        Ok(net)
    }
}
