//! Files of weights that baselines start from: whether they are there, and the ones meant.

use std::io;

use anyhow::{Context as _, Result, bail};
use autorep_core::data::DataRoot;
use autorep_core::weights::{WEIGHTS_FOLDER, Weights};
use autorep_data::verify::digest;

/// Checks that the file is there, below the data folder, and the one that the manifest means.
/// What is in it, the trainer checks.
pub fn require(weights: &Weights, data: &DataRoot) -> Result<()> {
    let Some(folder) = data.folder() else {
        bail!(
            "expected the weights {} in a data folder, found that data sets lie in {data}; \
             name a folder with --data or AUTOREP_DATA",
            weights.file
        );
    };
    let path = folder.join(WEIGHTS_FOLDER).join(weights.file.as_str());
    let shown = path.display();
    let found = match digest(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "expected the weights {} at {shown}, found no file; put it there, or name another \
             folder with --data or AUTOREP_DATA",
            weights.file
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    if found != weights.sha256 {
        bail!(
            "expected the weights {shown} to have the sha256 {}, found {found}; put the file there \
             that the manifest means, or give baseline.weights_sha256 this one's digest",
            weights.sha256
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use autorep_core::digest::Digest;

    use super::*;

    #[test]
    fn weights_must_be_there_and_the_ones_meant() {
        let root = tempfile::tempdir().unwrap();
        let weights = Weights {
            file: "google/lite0.pth".parse().unwrap(),
            sha256: Digest::of(b"lite0"),
        };
        let bucket = DataRoot::parse("s3://b/p").unwrap();
        let error = require(&weights, &bucket).unwrap_err().to_string();
        assert!(
            error.contains("found that data sets lie in s3://b/p"),
            "{error}"
        );
        let data = DataRoot::from(root.path());
        let refused = || require(&weights, &data).unwrap_err().to_string();
        assert!(refused().contains("found no file"), "{}", refused());
        let folder = root.path().join("weights/google");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("lite0.pth"), "b2").unwrap();
        let found = Digest::of(b"b2").to_string();
        assert!(refused().contains(&found), "{}", refused());
        fs::write(folder.join("lite0.pth"), "lite0").unwrap();
        require(&weights, &data).unwrap();
    }
}
