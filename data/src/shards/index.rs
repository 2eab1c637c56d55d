//! The index of a set of shards, as a JSON document.

use std::collections::{BTreeMap, BTreeSet};

use autorep_core::data::{DataSet, Layout, Part};
use autorep_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::error::OpenError;

/// The name of the index beside the shards.
pub const INDEX_FILE: &str = "shards.json";

/// The version of the index's form.
pub const INDEX_FORMAT: u32 = 1;

/// No picture's file is larger than this; one that claims to be is not read.
pub(crate) const PICTURE_LIMIT: u64 = 256 << 20;

/// No index is larger than this; one in a bucket that claims to be is not read.
const INDEX_LIMIT: u64 = 1 << 30;

/// Whether a file's name is that of a tar file.
pub(crate) fn is_tar(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("tar"))
}

/// Where every picture of a data set lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`INDEX_FORMAT`].
    pub format: u32,
    /// The data set's name.
    pub set: String,
    /// The names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// The shards of each part, by [`Part::name`].
    pub parts: BTreeMap<String, Vec<ShardEntry>>,
}

/// One shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// The file's name, beside the index.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its pictures in the order of the data set, each as `[offset, bytes, label]`: where its
    /// bytes begin in the shard, how many there are, and its class.
    pub images: Vec<Placed>,
}

/// Where a picture's bytes begin in its shard, how many there are, and its label.
pub type Placed = (u64, u64, u32);

/// Pictures by class.
pub type ClassCount = Vec<usize>;

impl Index {
    /// The index in these bytes, if all it says is possible: every name is one of a file beside
    /// it, every picture lies inside its shard, every label is one of a class. `path` is for
    /// messages.
    pub fn parse(set: DataSet, path: &str, bytes: &[u8]) -> Result<Self, OpenError> {
        let wrong = |expected: String, found: String| OpenError::Index {
            path: path.to_owned(),
            expected,
            found,
        };
        let index: Self = serde_json::from_slice(bytes)
            .map_err(|error| wrong("an index of shards as JSON".to_owned(), error.to_string()))?;
        if index.format != INDEX_FORMAT {
            return Err(wrong(
                format!("format {INDEX_FORMAT}"),
                format!("format {}", index.format),
            ));
        }
        if index.set != set.name() {
            return Err(wrong(format!("an index of {}", set.name()), index.set));
        }
        let known: BTreeSet<&str> = Part::ALL.iter().map(|part| part.name()).collect();
        let mut files = BTreeSet::new();
        for (part, shards) in &index.parts {
            if !known.contains(part.as_str()) {
                return Err(wrong(format!("parts of {known:?}"), format!("{part:?}")));
            }
            for shard in shards {
                let problem = shard.problem(index.classes.len());
                if let Some(problem) = problem {
                    return Err(wrong("shards that can be".to_owned(), problem));
                }
                if !files.insert(&shard.file) {
                    let found = format!("{} twice", shard.file);
                    return Err(wrong("each shard once".to_owned(), found));
                }
            }
        }
        Ok(index)
    }

    /// The index of a data set in a bucket, and the sizes of the files that lie there.
    pub fn in_bucket(
        set: DataSet,
        bucket: &Bucket,
    ) -> Result<(Self, BTreeMap<String, u64>), OpenError> {
        let place = || bucket.name().to_owned();
        if set.layout() == Layout::Packed {
            return Err(OpenError::OnlyInFolders {
                set: set.name(),
                place: place(),
            });
        }
        let unreachable = |error: std::io::Error| OpenError::Unreachable {
            place: place(),
            why: error.to_string(),
        };
        let there = bucket.sizes().map_err(unreachable)?;
        let Some(bytes) = there.get(INDEX_FILE) else {
            return Err(match there.keys().filter(|name| is_tar(name)).count() {
                0 => OpenError::NotInBucket {
                    set: set.name(),
                    place: place(),
                },
                shards => OpenError::NoIndex {
                    set: set.name(),
                    place: place(),
                    shards,
                },
            });
        };
        let path = format!("{}/{INDEX_FILE}", bucket.name());
        if *bytes > INDEX_LIMIT {
            return Err(OpenError::Index {
                path,
                expected: format!("at most {INDEX_LIMIT} bytes"),
                found: bytes.to_string(),
            });
        }
        let content = bucket.read(INDEX_FILE, *bytes).map_err(unreachable)?;
        Ok((Self::parse(set, &path, &content)?, there))
    }

    /// The shards of a part; none if it has none.
    pub fn part(&self, part: Part) -> &[ShardEntry] {
        self.parts.get(part.name()).map_or(&[], Vec::as_slice)
    }
}

impl ShardEntry {
    /// What cannot be about this entry.
    fn problem(&self, classes: usize) -> Option<String> {
        let name = &self.file;
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !plain {
            return Some(format!("the file name {name:?}"));
        }
        let mut end = 0;
        for (offset, bytes, label) in &self.images {
            if *bytes > PICTURE_LIMIT || offset.saturating_add(*bytes) > self.bytes {
                return Some(format!(
                    "a picture of {bytes} bytes at {offset} in {name} of {} bytes",
                    self.bytes
                ));
            }
            if *offset < end {
                return Some(format!("pictures that overlap at {offset} in {name}"));
            }
            end = offset + bytes;
            if *label as usize >= classes {
                return Some(format!(
                    "the label {label} in {name}; there are {classes} classes"
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index {
            format: INDEX_FORMAT,
            set: "tiny-imagenet".to_owned(),
            classes: vec!["a".to_owned(), "b".to_owned()],
            parts: BTreeMap::from([(
                "train".to_owned(),
                vec![ShardEntry {
                    file: "train-000000.tar".to_owned(),
                    bytes: 10_240,
                    sha256: Digest::of(b""),
                    images: vec![(512, 100, 0), (2048, 200, 1)],
                }],
            )]),
        }
    }

    fn parse(change: impl FnOnce(&mut Index)) -> Result<Index, String> {
        let mut changed = index();
        change(&mut changed);
        let bytes = serde_json::to_vec(&changed).unwrap();
        Index::parse(DataSet::TinyImagenet, "x", &bytes).map_err(|error| error.to_string())
    }

    fn shard(index: &mut Index) -> &mut ShardEntry {
        &mut index.parts.get_mut("train").unwrap()[0]
    }

    #[test]
    fn a_good_index_comes_back_as_it_was_written() {
        assert_eq!(parse(|_| {}).unwrap(), index());
        assert_eq!(index().part(Part::Train).len(), 1);
        assert_eq!(index().part(Part::Test), []);
    }

    #[test]
    fn what_cannot_be_is_refused_and_told() {
        let refused = |change: fn(&mut Index), told: &str| {
            let error = parse(change).unwrap_err();
            assert!(error.contains(told), "{error}");
        };
        refused(|index| index.format = 2, "found format 2");
        refused(|index| index.set = "imagenet".to_owned(), "found imagenet");
        refused(|index| shard(index).images[1].2 = 2, "the label 2");
        refused(|index| shard(index).images[1].0 = 10_100, "at 10100");
        refused(|index| shard(index).images[1].0 = 600, "overlap");
        refused(|index| shard(index).images[0].1 = u64::MAX, "a picture of");
        refused(|index| shard(index).file = "../x".to_owned(), "\"../x\"");
        refused(
            |index| {
                let twin = shard(index).clone();
                index.parts.insert("test".to_owned(), vec![twin]);
            },
            "twice",
        );
        refused(
            |index| {
                index.parts.insert("val".to_owned(), vec![]);
            },
            "\"val\"",
        );
        let cut = Index::parse(DataSet::TinyImagenet, "x", b"{\"format\":1").unwrap_err();
        assert!(cut.to_string().contains("as JSON"), "{cut}");
    }
}
