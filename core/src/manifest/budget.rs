//! Budgets as people write them: counts, counts with a suffix, shares of the total.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Hundred-millionths in a whole: shares are kept in percent with up to six decimal places, so
/// that no rounding of binary fractions decides how many ReLUs a share is.
const WHOLE: u64 = 100_000_000;

/// A budget of ReLUs, for nets of any size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetSpec {
    /// So many ReLUs.
    Relus(u64),
    /// So many hundred-millionths of the full network's ReLUs: `Share(50_000_000)` is 50 %.
    Share(u64),
}

impl BudgetSpec {
    /// The budget in ReLUs for a network of `total` ReLUs. Shares are rounded down, so that a
    /// budget is never above its share.
    pub fn relus(self, total: u64) -> u64 {
        match self {
            Self::Relus(count) => count,
            Self::Share(share) => {
                let exact = u128::from(total) * u128::from(share) / u128::from(WHOLE);
                u64::try_from(exact).unwrap_or(u64::MAX)
            }
        }
    }
}

impl BudgetSpec {
    /// ReLUs, or hundred-millionths.
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Relus(number) | Self::Share(number) => number,
        }
    }

    /// So many of what this one counts.
    pub(super) const fn of_same_kind(self, number: u64) -> Self {
        match self {
            Self::Relus(_) => Self::Relus(number),
            Self::Share(_) => Self::Share(number),
        }
    }
}

/// Why a text is no budget; the text continues "expected …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABudget {
    /// Neither a count nor a share.
    #[error("a number of ReLUs such as 1500 or 1.5K, or a share of the total such as 50%")]
    Shape,
    /// A count with a fraction.
    #[error("a whole number of ReLUs")]
    Fraction,
    /// Nothing would be left.
    #[error("a budget above zero")]
    Zero,
    /// More than the whole.
    #[error("a share of at most 100%")]
    AboveWhole,
    /// A share with too many decimal places.
    #[error("a share with at most six decimal places")]
    TooFine,
    /// More than any network has.
    #[error("fewer than 2^53 ReLUs")]
    TooLarge,
}

impl std::str::FromStr for BudgetSpec {
    type Err = NotABudget;

    fn from_str(text: &str) -> Result<Self, NotABudget> {
        let text = text.trim();
        let (digits, scale) = match text.as_bytes().last() {
            Some(b'%') => (&text[..text.len() - 1], None),
            Some(b'k' | b'K') => (&text[..text.len() - 1], Some(3)),
            Some(b'm' | b'M') => (&text[..text.len() - 1], Some(6)),
            _ => (text, Some(0)),
        };
        let digits = digits.trim_end();
        if let Some(zeros) = scale {
            let count = decimal(digits, zeros, NotABudget::Fraction)?;
            Self::count(count)
        } else {
            match decimal(digits, 6, NotABudget::TooFine)? {
                0 => Err(NotABudget::Zero),
                share if share > WHOLE => Err(NotABudget::AboveWhole),
                share => Ok(Self::Share(share)),
            }
        }
    }
}

impl BudgetSpec {
    /// A count of ReLUs as a budget.
    pub(super) fn count(relus: u64) -> Result<Self, NotABudget> {
        match relus {
            0 => Err(NotABudget::Zero),
            count if count >= 1 << 53 => Err(NotABudget::TooLarge),
            count => Ok(Self::Relus(count)),
        }
    }
}

/// Reads a decimal number times ten to the power of `zeros`, exactly: `("1.5", 3)` is 1500.
fn decimal(text: &str, zeros: usize, too_fine: NotABudget) -> Result<u64, NotABudget> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction_end = fraction.trim_end_matches('0');
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(NotABudget::Shape);
    }
    if fraction_end.len() > zeros {
        return Err(too_fine);
    }
    let mut number: u64 = 0;
    let padding = std::iter::repeat_n(b'0', zeros - fraction_end.len());
    for digit in whole.bytes().chain(fraction_end.bytes()).chain(padding) {
        number = number
            .checked_mul(10)
            .and_then(|shifted| shifted.checked_add(u64::from(digit - b'0')))
            .ok_or(NotABudget::TooLarge)?;
    }
    Ok(number)
}

impl fmt::Display for BudgetSpec {
    /// As in a manifest: `1500`, `50%`, `12.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relus(count) => write!(f, "{count}"),
            Self::Share(share) => {
                let (whole, rest) = (share / 1_000_000, share % 1_000_000);
                if rest == 0 {
                    write!(f, "{whole}%")
                } else {
                    let fraction = format!("{rest:06}");
                    write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BudgetSpec, NotABudget> {
        text.parse()
    }

    #[test]
    fn suffixes_and_shares_are_exact() {
        assert_eq!(read("1500"), Ok(BudgetSpec::Relus(1500)));
        assert_eq!(read("1.5K"), Ok(BudgetSpec::Relus(1500)));
        assert_eq!(read("12.9k"), Ok(BudgetSpec::Relus(12_900)));
        assert_eq!(read("1.000001M"), Ok(BudgetSpec::Relus(1_000_001)));
        assert_eq!(read("50%"), Ok(BudgetSpec::Share(50_000_000)));
        assert_eq!(read("0.5 %"), Ok(BudgetSpec::Share(500_000)));
    }

    #[test]
    fn a_share_of_a_total_is_not_rounded_by_binary_fractions() {
        // 0.29 * 100 is 28.999999999999996 in binary.
        assert_eq!(read("29%").map(|share| share.relus(100)), Ok(29));
        assert_eq!(read("50%").map(|share| share.relus(24_000)), Ok(12_000));
        assert_eq!(read("100%").map(|share| share.relus(491_520)), Ok(491_520));
        assert_eq!(
            read("33.333333%").map(|share| share.relus(24_000)),
            Ok(7_999)
        );
    }

    #[test]
    fn what_is_no_budget_is_refused_for_its_own_reason() {
        assert_eq!(read("many"), Err(NotABudget::Shape));
        assert_eq!(read("-3K"), Err(NotABudget::Shape));
        assert_eq!(read("K"), Err(NotABudget::Shape));
        assert_eq!(read(""), Err(NotABudget::Shape));
        assert_eq!(read("1.2345K"), Err(NotABudget::Fraction));
        assert_eq!(read("0K"), Err(NotABudget::Zero));
        assert_eq!(read("0%"), Err(NotABudget::Zero));
        assert_eq!(read("100.1%"), Err(NotABudget::AboveWhole));
        assert_eq!(read("1.0000001%"), Err(NotABudget::TooFine));
        assert_eq!(read("99999999999999999999"), Err(NotABudget::TooLarge));
    }

    #[test]
    fn display_can_be_read_back() {
        for text in ["1500", "50%", "12.5%", "0.000001%"] {
            assert_eq!(
                read(text).map(|budget| budget.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}
