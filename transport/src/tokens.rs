//! The tokens that a coordinator knows, by their digests.

use std::path::PathBuf;
use std::sync::Arc;

use autorep_core::digest::Digest;
use autorep_core::id::OwnerName;
use serde::Deserialize;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use crate::files::{Content, FileError, Reread};
use crate::rights::{Caller, Role};
use crate::secret::Secret;

/// The most tokens of one file: each is compared with that of every call.
const MOST: usize = 1000;

/// Known tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tokens {
    known: Vec<(Digest, Caller)>,
}

/// An entry as a person writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: String,
    owner: Option<String>,
    sha256: String,
}

impl Tokens {
    /// One token, for programs that make one up for themselves.
    pub fn single(token: &Secret, caller: Caller) -> Self {
        Self {
            known: vec![(token.digest(), caller)],
        }
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.known.extend(others.known);
        self
    }

    /// Reads a list of entries in YAML: `{ name, role, owner, sha256 }` each. The error says which
    /// entry is wrong and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        // As it is between two writes of whoever takes an entry out by `grep -v … > tokens.yaml`.
        if text.trim().is_empty() {
            return Err("nothing is in it; for no entries write []".to_owned());
        }
        // The reader would quote the lines around a mistake, and a token may be written there.
        let options = serde_yaml::options! { with_snippet: false };
        let entries: Vec<Entry> =
            serde_yaml::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        if entries.len() > MOST {
            return Err(format!("{} entries where {MOST} may be", entries.len()));
        }
        let mut known: Vec<(Digest, Caller)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = entry.name.clone();
            let entry = entry
                .checked()
                .map_err(|wrong| format!("{name:?}: {wrong}"))?;
            if known.iter().any(|(_, caller)| caller.name == name) {
                return Err(format!("{name:?} twice; revoking needs names of their own"));
            }
            if let Some((_, other)) = known.iter().find(|(digest, _)| *digest == entry.0) {
                return Err(format!("the same token for {:?} and {name:?}", other.name));
            }
            known.push(entry);
        }
        Ok(Self { known })
    }

    /// Who calls with a token. Takes as long whichever token it is, and whether it is known or not.
    pub fn caller(&self, token: &Secret) -> Option<&Caller> {
        let digest = token.digest();
        let mut place = u64::MAX;
        for (at, (known, _)) in (0_u64..).zip(&self.known) {
            place.conditional_assign(&at, known.as_bytes().ct_eq(digest.as_bytes()));
        }
        let place = usize::try_from(place).ok()?;
        self.known.get(place).map(|(_, caller)| caller)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody could call.
    pub const fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Entry {
    fn checked(self) -> Result<(Digest, Caller), String> {
        let named = (1..=64).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_graphic());
        if !named {
            return Err("expected a name of 1 to 64 visible ASCII characters".to_owned());
        }
        let owner = self.owner.map(|owner| {
            let owner: Result<OwnerName, _> = owner.parse();
            owner.map_err(|error| format!("owner: {error}"))
        });
        let owner = owner.transpose()?;
        let role = match (self.role.as_str(), owner) {
            ("viewer", owner) => Role::Viewer { owner },
            ("submitter", Some(owner)) => Role::Submitter { owner },
            ("submitter", None) => {
                return Err(
                    "expected an owner, whose sweeps a submitter submits, found none".into(),
                );
            }
            ("worker", None) => Role::Worker,
            ("admin", None) => Role::Admin,
            ("worker" | "admin", Some(_)) => {
                return Err(format!(
                    "expected no owner, for a token of the role {} is nobody's, found one",
                    self.role
                ));
            }
            (other, _) => {
                return Err(format!(
                    "expected one of the roles {}, found {other:?}",
                    Role::NAMES.join(", ")
                ));
            }
        };
        let sha256: Digest = self.sha256.parse().map_err(|_not_a_digest| {
            "sha256: expected the token's SHA-256 in 64 hexadecimal digits, which `autorep token new` \
             prints and `printf %s \"$TOKEN\" | sha256sum` too"
                .to_owned()
        })?;
        let name = self.name;
        Ok((sha256, Caller { name, role }))
    }
}

/// The tokens that are in force.
#[derive(Clone, Debug)]
pub struct LiveTokens(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<Tokens>),
    File(Arc<Reread<Tokens>>),
}

impl LiveTokens {
    /// Those in a file that is read again when it changes: a token that is taken out of it is refused
    /// within a second or two.
    pub fn open(path: PathBuf) -> Result<Self, FileError> {
        let tokens = Reread::open("tokens", vec![path], |files: &[Content<'_>]| {
            let [file] = files else {
                unreachable!("one file was named")
            };
            let expected = "a list of tokens, each as { name: …, role: …, owner: …, sha256: … }";
            let text = std::str::from_utf8(&file.bytes)
                .map_err(|error| FileError::content(file.path, expected, error))?;
            Tokens::parse(text).map_err(|found| FileError::content(file.path, expected, found))
        })?;
        Ok(Self(Source::File(Arc::new(tokens))))
    }

    /// The tokens now.
    pub fn get(&self) -> Arc<Tokens> {
        match &self.0 {
            Source::Fixed(tokens) => Arc::clone(tokens),
            Source::File(file) => file.get(),
        }
    }
}

impl From<Tokens> for LiveTokens {
    fn from(tokens: Tokens) -> Self {
        Self(Source::Fixed(Arc::new(tokens)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-alice";

    fn entry(name: &str, role: &str, owner: Option<&str>, token: &str) -> String {
        let sha256 = Secret::parse(token).unwrap().digest();
        let owner = owner.map_or(String::new(), |owner| format!("owner: {owner}, "));
        format!("- {{ name: {name}, role: {role}, {owner}sha256: {sha256} }}\n")
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_others_are_not() {
        let text = entry("node", "worker", None, "a-token-of-a-worker")
            + &entry("laptop", "submitter", Some("alice"), TOKEN);
        let tokens = Tokens::parse(&text).unwrap();
        let caller = tokens.caller(&Secret::parse(TOKEN).unwrap()).unwrap();
        assert_eq!(caller.name, "laptop");
        assert_eq!(caller.role.owner().unwrap().as_str(), "alice");
        let first = tokens.caller(&Secret::parse("a-token-of-a-worker").unwrap());
        assert_eq!(first.unwrap().role, Role::Worker);
        assert_eq!(
            tokens.caller(&Secret::parse("a-token-of-nobody").unwrap()),
            None
        );
        assert_eq!(Tokens::parse("[]").unwrap().len(), 0);
        for nothing in ["", " \n"] {
            let refused = Tokens::parse(nothing).unwrap_err();
            assert!(refused.contains("write []"), "{refused}");
        }
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_named() {
        for (text, says) in [
            (entry("a", "submitter", None, TOKEN), "expected an owner"),
            (
                entry("a", "worker", Some("alice"), TOKEN),
                "expected no owner",
            ),
            (
                entry("a", "admin", Some("alice"), TOKEN),
                "expected no owner",
            ),
            (entry("a", "root", None, TOKEN), "one of the roles viewer,"),
            (entry("a", "viewer", Some("Not A Name"), TOKEN), "owner:"),
            (
                entry("a", "viewer", None, TOKEN)
                    + &entry("a", "admin", None, "another-token-here"),
                "twice",
            ),
            (
                entry("a", "viewer", None, TOKEN) + &entry("b", "admin", None, TOKEN),
                "the same token",
            ),
            (
                "- { name: a, role: admin, sha256: 12 }".to_owned(),
                "64 hexadecimal digits",
            ),
            (
                format!("- {{ name: a, role: admin, token: {TOKEN} }}"),
                "unknown field `token`",
            ),
            (format!("- {TOKEN}"), "line 1"),
            (TOKEN.to_owned(), "line 1"),
        ] {
            let refused = Tokens::parse(&text).unwrap_err();
            assert!(refused.contains(says), "{text} -> {refused}");
            assert!(!refused.contains(TOKEN), "{text} -> {refused}");
        }
    }
}
