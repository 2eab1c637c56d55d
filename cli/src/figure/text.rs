//! Numbers as people read them, in tables and on axes.

/// A count for an axis, in at most three significant digits: `950`, `1.5K`, `492K`, `2M`.
pub(super) fn short_count(number: u64) -> String {
    let mut scaled = number as f64;
    for suffix in ["", "K", "M", "G", "T", "P"] {
        let decimals = match scaled {
            _ if suffix.is_empty() => 0,
            below_ten if below_ten < 9.995 => 2,
            below_hundred if below_hundred < 99.95 => 1,
            _ => 0,
        };
        if scaled < 999.5 {
            return format!("{}{suffix}", trimmed(scaled, decimals));
        }
        scaled /= 1000.0;
    }
    format!("{}E", trimmed(scaled, 1))
}

/// A share of one as a percentage for an axis or a table: `6.25 %`, `12.5 %`, `100 %`.
pub(super) fn percent_of_total(share: f64) -> String {
    let percent = 100.0 * share;
    if percent > 0.0 && percent < 0.01 {
        return "<0.01 %".to_owned();
    }
    let decimals = if percent < 9.995 { 2 } else { 1 };
    format!("{} %", trimmed(percent, decimals))
}

/// A mean with its spread, as in `86.12 ± 0.31`; the mean alone if there is one seed.
pub(super) fn mean_and_spread(mean: f64, std: f64, seeds: u32) -> String {
    let mean = rounded(mean, 2);
    if seeds > 1 {
        format!("{mean} ± {}", rounded(std, 2))
    } else {
        mean
    }
}

/// With `decimals` digits after the point; halves go up, as people expect of 3.125.
pub(super) fn rounded(number: f64, decimals: u32) -> String {
    let scale = f64::from(10_u32.pow(decimals));
    format!("{:.*}", decimals as usize, (number * scale).round() / scale)
}

/// With at most `decimals` digits after the point and no zeros at the end.
pub(super) fn trimmed(number: f64, decimals: u32) -> String {
    let text = rounded(number, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The text with control characters spelt out, so that a label from a manifest can neither break
/// a line nor drive a terminal, nor make a drawing that is no XML.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        let turns_direction = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let no_character = matches!(letter, '\u{fffe}' | '\u{ffff}');
        if letter.is_control() || turns_direction || no_character {
            safe.extend(letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// A probability as a whole percentage that is only certain where it is.
pub(super) fn probability(p: f64) -> String {
    match 100.0 * p {
        low if low > 0.0 && low < 1.0 => "<1 %".to_owned(),
        high if high > 99.0 && high < 100.0 => ">99 %".to_owned(),
        percent => format!("{} %", rounded(percent, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_counts_have_at_most_three_digits() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1K"),
            (1_500, "1.5K"),
            (12_000, "12K"),
            (24_576, "24.6K"),
            (491_520, "492K"),
            (999_600, "1M"),
            (2_250_000, "2.25M"),
            (u64::MAX, "18.4E"),
        ];
        for (number, text) in cases {
            assert_eq!(short_count(number), text);
        }
    }

    #[test]
    fn shares_have_at_most_three_digits_from_one_percent_on() {
        let cases = [
            (0.0, "0 %"),
            (0.000_01, "<0.01 %"),
            (0.003_06, "0.31 %"),
            (0.031_25, "3.13 %"),
            (0.062_5, "6.25 %"),
            (0.099_99, "10 %"),
            (0.125, "12.5 %"),
            (1.0, "100 %"),
        ];
        for (share, text) in cases {
            assert_eq!(percent_of_total(share), text);
        }
    }

    #[test]
    fn one_seed_has_no_spread() {
        assert_eq!(mean_and_spread(86.123, 0.312, 2), "86.12 ± 0.31");
        assert_eq!(mean_and_spread(86.123, 0.0, 1), "86.12");
    }

    #[test]
    fn control_characters_are_spelt_out() {
        assert_eq!(printable("a\u{1b}[31m\nb ±"), "a\\u{1b}[31m\\nb ±");
    }
}
