//! Values of arguments: sizes, times, addresses.

use std::net::SocketAddr;
use std::time::Duration;

/// Bytes from a number with an optional unit, as in `32GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => Some(0),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("expected a size as in 32GiB, 500MiB or 0, found {text:?}"))
}

/// An address to listen on.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_not_one| {
        "expected the number of an address and a port below 65536, as in 127.0.0.1:7070 or [::]:7070"
            .to_owned()
    })
}

/// A time with its unit, as in `90s`.
pub fn time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let time = number
        .parse::<u64>()
        .ok()
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds));
    time.map(Duration::from_secs)
        .ok_or_else(|| format!("expected a time as in 30s, 10m or 2h, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit_of_two_to_the_power() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("32GiB"), Ok(32 << 30));
        assert_eq!(size("500 MiB"), Ok(500 << 20));
        assert_eq!(size("1TiB"), Ok(1 << 40));
        for text in ["", "GiB", "32GB", "-1", "1.5GiB", "99999999TiB"] {
            assert!(size(text).is_err(), "{text:?} was taken");
        }
    }
}
