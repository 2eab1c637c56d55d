//! What a misspelt word was probably meant to be.

/// Words longer than this are no slips of the keyboard.
const LONGEST: usize = 64;

/// The known word that a misspelt one is closest to, if it is close: the same but for case and
/// dashes, or a few letters off.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let plain = plain(word);
    let allowed = 1 + plain.chars().count() / 4;
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::osa_distance(&plain, &self::plain(candidate)),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A word without what people remember least: case, dashes and underscores.
fn plain(word: &str) -> String {
    word.chars()
        .filter(|character| !matches!(character, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_other_spellings_are_recognised() {
        let keys = ["train_limit", "validation", "augment", "name"];
        assert_eq!(closest("trainLimit", keys), Some("train_limit"));
        assert_eq!(closest("train-limit", keys), Some("train_limit"));
        assert_eq!(closest("validaton", keys), Some("validation"));
        assert_eq!(closest("nmae", keys), Some("name"));
    }

    #[test]
    fn another_word_is_not_taken_for_a_slip() {
        assert_eq!(closest("colour", ["train_limit", "name"]), None);
        assert_eq!(closest("", ["a"]), None);
        assert_eq!(closest("x", ["a", "b"]), None);
        assert_eq!(closest(&"e".repeat(10_000), ["epochs"]), None);
    }
}
