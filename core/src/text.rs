//! Numbers as people read them, and URLs as they may.

/// A count with its thousands set apart: `24,000`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with what it counts: `1 seed`, `24,000 seeds`.
pub fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", grouped(count)),
    }
}

/// A URL without what stands between its scheme and the last `@`: it may be a password, which may
/// have any sign in it, slashes as well.
pub fn redacted(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + "://".len());
    match url[begin..].rsplit_once('@') {
        Some((_, rest)) => format!("{}…@{rest}", &url[..begin]),
        None => url.to_owned(),
    }
}

/// A text but for what it counts: the same for one that only counts on.
pub fn without_digits(text: &str) -> String {
    text.replace(|it: char| it.is_ascii_digit(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let texts = [0, 1, 2_000].map(|count| counted(count, "seed"));
        assert_eq!(texts, ["0 seeds", "1 seed", "2,000 seeds"]);
    }

    #[test]
    fn a_url_is_told_without_its_password_and_otherwise_as_it_is() {
        for text in ["s3://sweeps/team", "sweeps", "https://s3.example.com:8333"] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(redacted("s3://s3:of/me@x@sweeps/a"), "s3://…@sweeps/a");
        assert_eq!(redacted("me:hunter2@s3.example.com"), "…@s3.example.com");
    }

    #[test]
    fn thousands_are_set_apart_at_every_third_place() {
        let texts = [0, 999, 1_000, 491_520, 1_000_000].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "491,520", "1,000,000"]);
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }
}
