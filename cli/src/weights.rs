//! Files of weights that baselines start from and teachers have: whether they are there, the ones
//! meant, and fit.

use std::io;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use autorep_core::data::DataRoot;
use autorep_core::data::DataSet;
use autorep_core::net::NetSpec;
use autorep_core::weights::Weights;
use autorep_data::Bucket;
use autorep_data::verify::digest;

use crate::args::TrainerPath;
use crate::paths::library_path;

/// Lines of the trainer's answer that are shown.
const SHOWN: usize = 6;

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

/// Checks that the file has the net's tensors, by asking the trainer: a sweep that found out when
/// its first search starts would have trained its baselines for nothing. What lies in a bucket is
/// left to that moment.
pub fn require_fit(
    weights: &Weights,
    net: &NetSpec,
    set: DataSet,
    data: &DataRoot,
    trainer: &TrainerPath,
) -> Result<()> {
    let DataRoot::Folder(folder) = data.weights() else {
        return Ok(());
    };
    let mut check = Command::new(trainer.resolve()?);
    if let Some(folder) = &trainer.torch_lib {
        check.env("LD_LIBRARY_PATH", library_path(folder)?);
    }
    let file = folder.join(weights.file.as_str());
    check
        .args(["weights", "check"])
        .arg(file)
        .args(as_options(net)?);
    check.args(["--classes", &set.classes().to_string()]);
    check.args(["--channels", &set.input().channels.to_string()]);
    let output = check
        .output()
        .context("start the trainer to check weights")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<&str> = said.lines().take_while(|line| !line.is_empty()).collect();
    let rest = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    let more = match rest {
        0 => String::new(),
        rest => format!("\n  and {rest} more; `autorep-trainer weights check` lists them"),
    };
    let said = lines.join("\n");
    bail!("{}{more}", said.strip_prefix("Error: ").unwrap_or(&said))
}

/// A net as options of `autorep-trainer weights check`.
fn as_options(net: &NetSpec) -> Result<Vec<String>> {
    let serde_json::Value::Object(settings) = serde_json::to_value(net)? else {
        bail!("expected a net's settings as a JSON object");
    };
    let text = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    let mut options = vec!["--net".to_owned(), net.family().name().to_owned()];
    for (key, value) in settings.iter().filter(|(key, _)| *key != "name") {
        options.push("--set".to_owned());
        options.push(format!("{key}={}", text(value)));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use autorep_core::digest::Digest;

    use super::*;

    #[test]
    fn a_net_is_named_as_the_trainer_names_it() {
        let options = as_options(&NetSpec::resnet9(4)).unwrap().join(" ");
        assert_eq!(options, "--net resnet9 --set stem_relu=false --set width=4");
        let lite = autorep_core::net::Family::EfficientnetLite0;
        let options = as_options(&lite.default_settings().spec()).unwrap();
        assert_eq!(
            options[1..],
            ["efficientnet-lite0", "--set", "activation=published"]
        );
    }

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
