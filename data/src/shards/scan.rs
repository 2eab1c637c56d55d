//! Finds the pictures of a shard by reading its headers, without an index.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use tar::{Archive, EntryType};

use super::index::PICTURE_LIMIT;
use crate::folders::is_picture;

/// A label has at most this many digits and spaces around them.
const LABEL_LIMIT: u64 = 32;

/// One picture of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// Its key: the path of its members up to the first dot of their file name.
    pub key: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Its label.
    pub label: u32,
}

/// What is wrong with a shard or a picture in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScanError {
    /// The shard is not a whole tar file.
    #[error("expected a whole tar file, found at byte {offset}: {why}")]
    Tar {
        /// The end of the last member that could be read.
        offset: u64,
        /// The reason.
        why: String,
    },
    /// One of a picture's two members is not there.
    #[error("{key}: expected {key}.jpg and {key}.cls, found only one of them")]
    Half {
        /// The picture's key.
        key: String,
    },
    /// Two members say the same of a picture.
    #[error("{name}: the key has a second member of this kind")]
    Twice {
        /// The later member's name.
        name: String,
    },
    /// The label is no number, or that of no class.
    #[error("{name}: expected a class as a number below {classes}, found {found:?}")]
    Label {
        /// The member's name.
        name: String,
        /// How many classes there are.
        classes: usize,
        /// What it holds.
        found: String,
    },
    /// The picture is too large to be one.
    #[error("{name}: expected a picture of at most {PICTURE_LIMIT} bytes, found {found}")]
    TooLarge {
        /// The member's name.
        name: String,
        /// Its size in bytes.
        found: u64,
    },
}

#[derive(Default)]
struct Sample {
    place: Option<(u64, u64)>,
    label: Option<u32>,
}

/// The pictures of a shard sorted by key, with everything that is wrong. Members that are neither
/// a picture nor a `.cls` are left out, as the convention allows others.
pub fn scan(shard: impl Read + Seek, classes: usize) -> (Vec<Scanned>, Vec<ScanError>) {
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut end = 0;
    let mut archive = Archive::new(shard);
    let entries = match archive.entries_with_seek() {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(broken(end, &error));
            return (Vec::new(), problems);
        }
    };
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(broken(end, &error));
                break;
            }
        };
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        end = offset.saturating_add(bytes);
        let Some((key, ending)) = split(&name) else {
            continue;
        };
        let result = if ending == "cls" {
            label(&mut entry, &name, classes).map(|label| {
                let sample = samples.entry(key.to_owned()).or_default();
                sample.label.replace(label).is_none()
            })
        } else if is_picture(&name) {
            if bytes > PICTURE_LIMIT {
                Err(ScanError::TooLarge {
                    name: name.clone(),
                    found: bytes,
                })
            } else {
                let sample = samples.entry(key.to_owned()).or_default();
                Ok(sample.place.replace((offset, bytes)).is_none())
            }
        } else {
            continue;
        };
        match result {
            Ok(true) => {}
            Ok(false) => problems.push(ScanError::Twice { name }),
            Err(problem) => problems.push(problem),
        }
    }
    let mut found = Vec::with_capacity(samples.len());
    for (key, sample) in samples {
        match (sample.place, sample.label) {
            (Some((offset, bytes)), Some(label)) => found.push(Scanned {
                key,
                offset,
                bytes,
                label,
            }),
            _ => problems.push(ScanError::Half { key }),
        }
    }
    (found, problems)
}

fn broken(offset: u64, error: &std::io::Error) -> ScanError {
    ScanError::Tar {
        offset,
        why: error.to_string(),
    }
}

/// A member's key and what follows the dot; `None` if its file name has no dot.
fn split(name: &str) -> Option<(&str, &str)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    Some((&name[..dot], &name[dot + 1..]))
}

fn label(entry: &mut impl Read, name: &str, classes: usize) -> Result<u32, ScanError> {
    let mut text = String::new();
    let wrong = |found: String| ScanError::Label {
        name: name.to_owned(),
        classes,
        found,
    };
    entry
        .take(LABEL_LIMIT)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    match text.trim().parse::<u32>() {
        Ok(label) if (label as usize) < classes => Ok(label),
        _ => Err(wrong(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn shard(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn scanned(members: &[(&str, &[u8])]) -> (Vec<Scanned>, Vec<String>) {
        let (found, problems) = scan(Cursor::new(shard(members)), 3);
        (found, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn pictures_are_found_with_their_labels_in_the_order_of_their_keys() {
        let members: [(&str, &[u8]); 5] = [
            ("x/b.jpg", b"bbb"),
            ("x/b.cls", b"2\n"),
            ("x/a.json", b"{}"),
            ("x/a.cls", b"0"),
            ("x/a.jpeg", b"aa"),
        ];
        let (found, problems) = scanned(&members);
        assert!(problems.is_empty(), "{problems:?}");
        let bytes = shard(&members);
        let at = |one: &Scanned| {
            let start = usize::try_from(one.offset).unwrap();
            bytes[start..start + usize::try_from(one.bytes).unwrap()].to_vec()
        };
        let keys: Vec<_> = found
            .iter()
            .map(|one| (one.key.as_str(), one.label))
            .collect();
        assert_eq!(keys, [("x/a", 0), ("x/b", 2)]);
        assert_eq!(at(&found[0]), b"aa");
        assert_eq!(at(&found[1]), b"bbb");
    }

    #[test]
    fn every_problem_of_a_shard_is_told_not_only_the_first() {
        let (found, problems) = scanned(&[
            ("a.jpg", b"a"),
            ("b.jpg", b"b"),
            ("b.cls", b"3"),
            ("c.cls", b"one"),
            ("d.jpg", b"d"),
            ("d.cls", b"1"),
            ("d.jpg", b"d"),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, "d");
        assert_eq!(
            problems,
            [
                "b.cls: expected a class as a number below 3, found \"3\"",
                "c.cls: expected a class as a number below 3, found \"one\"",
                "d.jpg: the key has a second member of this kind",
                "a: expected a.jpg and a.cls, found only one of them",
                "b: expected b.jpg and b.cls, found only one of them",
            ]
        );
    }

    #[test]
    fn a_shard_cut_in_a_header_says_where() {
        let mut bytes = shard(&[("a.jpg", b"a"), ("a.cls", b"1")]);
        bytes.truncate(1024 + 100);
        let (_, problems) = scan(Cursor::new(bytes), 3);
        assert!(
            matches!(problems[0], ScanError::Tar { offset: 513, .. }),
            "{problems:?}"
        );
    }
}
