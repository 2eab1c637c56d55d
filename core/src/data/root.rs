//! Where data sets lie: in a folder or below a prefix of a bucket.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::DataSet;
use crate::text::redacted;
use crate::weights::WEIGHTS_FOLDER;

/// The schemes of URLs that name a place in a bucket. `file` takes a folder for a bucket.
const SCHEMES: [&str; 5] = ["s3", "s3a", "gs", "az", "file"];

/// Where data sets lie, each below it under its name; or where one of them lies, from
/// [`Self::of`]. Parsing only looks at the text: nothing is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataRoot {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A place in an object store as a URL that does not end in a slash, as in
    /// `s3://BUCKET/PREFIX`. Only sets that may lie in shards can be read from there.
    Bucket(String),
}

/// The text names neither a folder nor a place in a bucket.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or \
     file:///FOLDER for data sets and weights, found {found:?}"
)]
pub struct RootError {
    found: String,
}

impl DataRoot {
    /// A URL where there is a scheme, a folder otherwise.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, RootError> {
        let text = text.as_ref();
        let wrong = || RootError {
            found: redacted(&text.to_string_lossy()),
        };
        if text.is_empty() {
            return Err(wrong());
        }
        // A path that is not UTF-8 is no URL.
        let Some((scheme, place)) = text.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        let place = place.trim_end_matches('/');
        let begins_with_slash = place.starts_with('/');
        let known = SCHEMES.contains(&scheme);
        let is_bucket = known && !place.is_empty() && begins_with_slash == (scheme == "file");
        // A URL with a user and a password would be repeated wherever it is spoken of.
        let bucket = place.split('/').next().unwrap_or_default();
        if !is_bucket || bucket.contains(['@', ':']) {
            return Err(wrong());
        }
        Ok(Self::Bucket(format!("{scheme}://{place}")))
    }

    /// Where this data set lies.
    #[must_use]
    pub fn of(&self, set: DataSet) -> Self {
        self.below(set.name())
    }

    /// Where the files of weights lie that baselines start from and teachers have.
    #[must_use]
    pub fn weights(&self) -> Self {
        self.below(WEIGHTS_FOLDER)
    }

    fn below(&self, name: &str) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(folder.join(name)),
            Self::Bucket(url) => Self::Bucket(format!("{url}/{name}")),
        }
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Bucket(_) => None,
        }
    }

    /// As an argument that [`Self::parse`] reads back.
    pub fn to_argument(&self) -> OsString {
        match self {
            Self::Folder(folder) => folder.into(),
            Self::Bucket(url) => url.into(),
        }
    }
}

impl fmt::Display for DataRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(formatter, "{}", folder.display()),
            Self::Bucket(url) => write!(formatter, "{url}"),
        }
    }
}

impl From<PathBuf> for DataRoot {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl From<&Path> for DataRoot {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<DataRoot> {
        DataRoot::parse(text).ok()
    }

    fn bucket(url: &str) -> DataRoot {
        DataRoot::Bucket(url.to_owned())
    }

    #[test]
    fn text_without_a_scheme_is_a_folder_and_a_url_is_a_bucket() {
        assert_eq!(parse("a/b"), Some(DataRoot::Folder("a/b".into())));
        assert_eq!(parse("s3://b/p/"), Some(bucket("s3://b/p")));
        assert_eq!(parse("gs://b"), Some(bucket("gs://b")));
        assert_eq!(parse("az://c/p"), Some(bucket("az://c/p")));
        assert_eq!(parse("file:///tmp/x"), Some(bucket("file:///tmp/x")));
        for text in ["s3://b/p", "a/b", "file:///tmp/x"] {
            let root = parse(text).unwrap();
            assert_eq!(root.to_argument(), text);
            assert_eq!(root.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_what_would() {
        for text in ["", "s3://", "s3:///p", "http://h/x", "file://x", "S4://b"] {
            let error = DataRoot::parse(text).unwrap_err().to_string();
            assert!(error.contains("s3://BUCKET/PREFIX"), "{error}");
            assert!(error.ends_with(&format!("found {text:?}")), "{error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for text in [
            "s3://key:of/hunter2@b/p",
            "s3://hunter2@b",
            "http://k:hunter2@h",
        ] {
            let error = DataRoot::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn each_set_lies_below_the_root_under_its_name() {
        let of = |text: &str| parse(text).unwrap().of(DataSet::Imagenet).to_string();
        assert_eq!(of("a"), "a/imagenet");
        assert_eq!(of("s3://b/p"), "s3://b/p/imagenet");
    }
}
