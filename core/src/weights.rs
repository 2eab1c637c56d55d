//! Files of weights that baselines start from and teachers have: which file, and which bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The folder, or the prefix in a bucket, with the files of weights, beside the data sets.
pub const WEIGHTS_FOLDER: &str = "weights";

/// The longest name of a file of weights, in bytes.
const MAX_NAME: usize = 255;

/// Weights from elsewhere. The digest decides what they are; the name says where to look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Weights {
    /// The file, below [`WEIGHTS_FOLDER`].
    pub file: WeightsFile,
    /// SHA-256 of the file's bytes.
    pub sha256: Digest,
}

/// The name of a file of weights: a path below [`WEIGHTS_FOLDER`] that cannot lead out of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WeightsFile(String);

impl WeightsFile {
    /// The path below [`WEIGHTS_FOLDER`], with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WeightsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text does not name a file below a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}, found {found:?}")]
pub struct NotAWeightsFile {
    /// The text as it was given.
    pub found: String,
}

/// What a name must be, in words that follow "expected".
pub(crate) const EXPECTED: &str = "the name of a file in `weights` beside the data sets such as \
    resnet18.safetensors or torchvision/resnet18.pth, without `..` or a leading `/`";

impl FromStr for WeightsFile {
    type Err = NotAWeightsFile;

    fn from_str(text: &str) -> Result<Self, NotAWeightsFile> {
        // A backslash or a colon leads out of a folder on some systems.
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.contains(|it: char| it.is_control() || matches!(it, '\\' | ':'))
        };
        if text.len() <= MAX_NAME && text.split('/').all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAWeightsFile {
                found: text.to_owned(),
            })
        }
    }
}

impl TryFrom<String> for WeightsFile {
    type Error = NotAWeightsFile;

    fn try_from(text: String) -> Result<Self, NotAWeightsFile> {
        text.parse()
    }
}

impl From<WeightsFile> for String {
    fn from(file: WeightsFile) -> Self {
        file.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_folder_wherever_it_comes_from() {
        for text in ["net.pth", "torchvision/b2.safetensors", "..net", "a b"] {
            assert_eq!(text.parse::<WeightsFile>().unwrap().as_str(), text);
        }
        let long = "x".repeat(256);
        let bad = [
            "", "/", "/etc/net", "..", "../net", "a/../net", "a//net", "a/", "./net", "a\\net",
            "c:net", "a\nnet", &long,
        ];
        for text in bad {
            assert!(text.parse::<WeightsFile>().is_err(), "{text}");
            let json = serde_json::to_string(text).unwrap();
            assert!(
                serde_json::from_str::<WeightsFile>(&json).is_err(),
                "{text}"
            );
        }
    }
}
