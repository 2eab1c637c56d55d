//! A bearer token, which nothing here ever prints.

use std::fmt;
use std::fmt::Write as _;

use autorep_core::digest::Digest;
use rustls::crypto::aws_lc_rs;

/// The shortest token: 16 characters hold 64 bits even if they are hexadecimal digits.
const SHORTEST: usize = 16;

/// The longest token: it travels in a header.
const LONGEST: usize = 1024;

/// Random bytes of a token that is made here.
const RANDOM_BYTES: usize = 32;

/// A bearer token. Neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is no token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// Too short, too long, or with characters that a header cannot carry.
    #[error(
        "expected a token of {SHORTEST} to {LONGEST} visible ASCII characters, found one of {found} bytes{}",
        if *.visible { "" } else { " with others among them" }
    )]
    NotAToken {
        /// Its length in bytes, white space at its ends aside.
        found: usize,
        /// Whether all of its characters are visible ASCII.
        visible: bool,
    },
    /// The machine has no randomness to give.
    #[error("expected random bytes from the system, found none")]
    NoRandomness,
}

impl Secret {
    /// The token in `text`; white space at its ends, such as a file's last line break, is no part of it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let token = text.trim();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (SHORTEST..=LONGEST).contains(&token.len()) {
            return Ok(Self(token.to_owned()));
        }
        Err(SecretError::NotAToken {
            found: token.len(),
            visible,
        })
    }

    /// A new token with 256 random bits. Its beginning says to whoever finds one where it belongs.
    pub fn generate() -> Result<Self, SecretError> {
        let mut random = [0; RANDOM_BYTES];
        let filled = aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut random);
        filled.map_err(|_unspecified| SecretError::NoRandomness)?;
        let mut token = String::from("autorep-");
        for byte in random {
            // Writing to a string cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        Ok(Self(token))
    }

    /// By which a coordinator knows it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The token itself, for a header or a file of its own.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Secret::generate().unwrap();
        assert!(!format!("{token:?}").contains(token.expose()));
        let refused = Secret::parse("short-secret").unwrap_err();
        assert!(!refused.to_string().contains("short-secret"), "{refused}");
    }

    #[test]
    fn tokens_that_are_made_differ_and_can_be_read_again() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one, other);
        let read = Secret::parse(&format!("  {}\n", one.expose()));
        assert_eq!(read, Ok(one));
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused() {
        for text in [
            "",
            "too-short",
            "with a space inside it",
            "ünïcode-ünïcode-ü",
            &"x".repeat(1025),
        ] {
            assert!(Secret::parse(text).is_err(), "{text:?}");
        }
    }
}
