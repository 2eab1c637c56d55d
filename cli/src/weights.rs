//! Files of weights that baselines start from and teachers have: whether they are there, and the ones meant.

use std::io;

use anyhow::{Context as _, Result, bail};
use autorep_core::data::DataRoot;
use autorep_core::weights::Weights;
use autorep_data::Bucket;
use autorep_data::verify::digest;

/// Checks that the file is there, beside the data sets, and the one that the manifest means.
/// What is in it, the trainer checks.
pub fn require(weights: &Weights, data: &DataRoot) -> Result<()> {
    let (place, file) = (data.weights(), weights.file.as_str());
    let shown = format!("{place}/{file}");
    let found = match &place {
        DataRoot::Folder(folder) => digest(&folder.join(file)),
        DataRoot::Bucket(url) => Bucket::open(url)?.digest(file),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "expected the weights {file} at {shown}, found no file; put it there, or name another \
             place with --data or AUTOREP_DATA"
        ),
        Err(error) => return Err(error).context("cannot read the weights"),
    };
    if found != weights.sha256 {
        bail!(
            "expected the weights {shown} to have the sha256 {}, found {found}; put the file there \
             that the manifest means, or give its weights_sha256 this one's digest",
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
        let url = format!("file://{}", root.path().display());
        let (folder, bucket) = (DataRoot::from(root.path()), DataRoot::parse(url).unwrap());
        let refused = |data: &DataRoot| require(&weights, data).unwrap_err().to_string();
        for data in [&folder, &bucket] {
            assert!(refused(data).contains("found no file"), "{}", refused(data));
        }
        let below = root.path().join("weights/google");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("lite0.pth"), "b2").unwrap();
        let found = Digest::of(b"b2").to_string();
        for data in [&folder, &bucket] {
            assert!(refused(data).contains(&found), "{}", refused(data));
        }
        fs::write(below.join("lite0.pth"), "lite0").unwrap();
        for data in [&folder, &bucket] {
            require(&weights, data).unwrap();
        }
    }
}
