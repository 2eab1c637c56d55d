//! The text of an error with its causes.

use std::error::Error;

/// An error with its causes, in a line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer<E: Error + 'static> {
        text: &'static str,
        source: E,
    }

    #[test]
    fn every_cause_is_named_from_the_outermost_in() {
        let error = Layer {
            text: "no checkpoint",
            source: Layer {
                text: "no part",
                source: io::Error::other("no disk"),
            },
        };
        assert_eq!(chain(&error), "no checkpoint: no part: no disk");
    }
}
