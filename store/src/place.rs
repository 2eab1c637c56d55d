//! Where in a bucket an installation lies: the bucket and the prefix of a URL, taken literally.
//!
//! A URL library reads `s3://bucket/a/../b` as `s3://bucket/b` and `%2e%2e` as `..`: a typing
//! error or a trick would lead into a neighbour's prefix. So the text is read before a library
//! sees it, and what would mean something else than it says is refused.

use std::fmt;

use autorep_core::text::redacted;
use object_store::path::Path;

/// Keys of S3 have at most 1024 bytes; this leaves room for those below the prefix.
const PREFIX_LIMIT: usize = 512;

/// Names of buckets have at most so many bytes (S3: 63; some servers and old buckets: 255).
const BUCKET_LIMIT: usize = 255;

/// A place in a bucket: `SCHEME://BUCKET/PREFIX`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    scheme: String,
    bucket: String,
    prefix: Path,
}

/// A text names no place in a bucket.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlaceError {
    /// It has another form.
    #[error("expected SCHEME://BUCKET/PREFIX as in s3://sweeps/team, found {found:?}")]
    Form {
        /// The text.
        found: String,
    },
    /// There is more than a bucket's name between the slashes.
    #[error(
        "expected the name of a bucket of 1 to {BUCKET_LIMIT} letters, digits, dots, dashes and underscores in {place:?}, found {found:?}; credentials and ports do not belong into the URL: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT"
    )]
    Bucket {
        /// The whole text.
        place: String,
        /// What is in the name's place.
        found: String,
    },
    /// The prefix would not mean what it says.
    #[error(
        "expected a prefix of names with slashes between them in {place:?}, found {found}; name it as its keys shall begin, at most {PREFIX_LIMIT} bytes without `.`, `..`, `%`, `?`, `#`, `*`, `\\` and control characters"
    )]
    Prefix {
        /// The whole text.
        place: String,
        /// What is wrong with it.
        found: String,
    },
}

impl Place {
    /// Reads `SCHEME://BUCKET` or `SCHEME://BUCKET/PREFIX`, with or without a slash at the end.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let form = || PlaceError::Form {
            found: redacted(text),
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(form());
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(form());
        }
        if !is_bucket(bucket) {
            return Err(PlaceError::Bucket {
                place: redacted(text),
                // The text's own password may have slashes, and this be its first part.
                found: redacted(if rest.contains('@') { rest } else { bucket }),
            });
        }
        let wrong = |found: String| PlaceError::Prefix {
            place: redacted(text),
            found,
        };
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if let Some(found) = prefix_problem(prefix) {
            return Err(wrong(found));
        }
        let prefix = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            bucket: bucket.to_owned(),
            prefix,
        })
    }

    /// The part before `://`, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What every key begins with; empty for the whole bucket.
    pub const fn prefix(&self) -> &Path {
        &self.prefix
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.bucket)?;
        if !self.prefix.is_root() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

fn is_bucket(text: &str) -> bool {
    text.len() <= BUCKET_LIMIT
        && !text.starts_with('.')
        && !text.contains("..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn prefix_problem(prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return None;
    }
    if prefix.len() > PREFIX_LIMIT {
        return Some(format!("{} bytes", prefix.len()));
    }
    let forbidden = |it: &char| it.is_control() || "%?#*\\".contains(*it);
    if let Some(character) = prefix.chars().find(forbidden) {
        return Some(format!("the character {character:?}"));
    }
    let name = |it: &&str| matches!(*it, "" | "." | "..");
    let found = prefix.split('/').find(name)?;
    Some(format!("the name {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_its_text_says() {
        let place = Place::parse("s3://sweeps/team/a=1/").unwrap();
        assert_eq!(
            (place.scheme(), place.bucket(), place.prefix().as_ref()),
            ("s3", "sweeps", "team/a=1")
        );
        assert_eq!(place.to_string(), "s3://sweeps/team/a=1");
        for whole in ["gs://b.x_y-z", "gs://b.x_y-z/"] {
            let place = Place::parse(whole).unwrap();
            assert!(place.prefix().is_root());
            assert_eq!(place.to_string(), "gs://b.x_y-z");
        }
    }

    #[test]
    fn a_prefix_that_would_lead_elsewhere_is_refused_and_not_tidied_up() {
        for prefix in [
            "..",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "/a",
            "%2e%2e/a",
            "a/%2E%2E/b",
            "a%2fb",
            "a\0b",
            "a\nb",
            "a\\b",
            "a?x=1",
            "a#b",
            "a*",
            &"x".repeat(PREFIX_LIMIT + 1),
        ] {
            let refused = Place::parse(&format!("s3://sweeps/{prefix}"));
            assert!(
                matches!(refused, Err(PlaceError::Prefix { .. })),
                "{prefix:?}: {refused:?}"
            );
        }
    }

    #[test]
    fn what_is_no_bucket_is_refused() {
        for text in ["", "sweeps", "s3://", "s3:///prefix", "://b/a", "s 3://b"] {
            let refused = Place::parse(text);
            assert!(matches!(refused, Err(PlaceError::Form { .. })), "{text:?}");
        }
        for bucket in [
            "a:9000",
            "..",
            ".b",
            "a..b",
            "a b",
            "ü",
            "b?x",
            &"b".repeat(256),
        ] {
            let refused = Place::parse(&format!("s3://{bucket}/team"));
            assert!(
                matches!(refused, Err(PlaceError::Bucket { .. })),
                "{bucket:?}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for text in [
            "s3://key:hunter2@sweeps/team",
            "s3://key:of/hunter2@sweeps/team",
            "s3://key:hunter2@of/x@sweeps/team",
            "s3://s3:hunter2@sweeps/team",
            "s 3://key:hunter2@sweeps/team",
            "://key:hunter2/x@sweeps/team",
        ] {
            let refused = Place::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
            assert!(refused.contains("://…@sweeps/team"), "{refused}");
        }
        let refused = Place::parse("s3://key:of/hunter2@sweeps/team").unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
    }
}
