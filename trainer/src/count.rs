//! Counts ReLUs in a saved file: a second opinion that shares no code with training.

use autorep_core::net::Site;
use safetensors::{Dtype, SafeTensors};

/// Why the indicators of a file cannot be counted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// Not a safetensors file.
    #[error("not a complete safetensors file: {0}")]
    File(String),
    /// A site's indicators are missing or of another size.
    #[error("expected {expected} bytes of indicators at site {site}, found {found}")]
    Site {
        /// The site's name.
        site: String,
        /// An eighth of the elements of its feature map, rounded up.
        expected: u64,
        /// Bytes saved.
        found: u64,
    },
    /// Indicators of a site that the net does not have.
    #[error("found {0}, expected no such site")]
    Surplus(String),
    /// A bit is set that belongs to no element.
    #[error(
        "expected zeros after the last indicator of site {site}, found {found:#010b} as last byte"
    )]
    Stray {
        /// The site's name.
        site: String,
        /// The last byte.
        found: u8,
    },
}

/// How many indicators are one in the safetensors file `bytes`, over all of `sites`.
pub fn count_indicators(bytes: &[u8], sites: &[Site]) -> Result<u64, CountError> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|error| CountError::File(error.to_string()))?;
    let key = |site: &Site| format!("site.{}.indicators", site.name);
    let mut names: Vec<&str> = file.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    for name in names {
        let is_indicator = name.starts_with("site.") && name.ends_with(".indicators");
        if is_indicator && !sites.iter().any(|site| key(site) == name) {
            return Err(CountError::Surplus(name.to_owned()));
        }
    }
    let mut count = 0;
    for site in sites {
        let values = match file.tensor(&key(site)) {
            Ok(view) if view.dtype() == Dtype::U8 => view.data(),
            Ok(_) | Err(_) => &[],
        };
        let expected = site.relus().div_ceil(8);
        if values.len() as u64 != expected {
            return Err(CountError::Site {
                site: site.name.clone(),
                expected,
                found: values.len() as u64,
            });
        }
        let used = site.relus() % 8;
        if let Some(last) = values.last().filter(|last| used > 0 && **last >> used != 0) {
            return Err(CountError::Stray {
                site: site.name.clone(),
                found: *last,
            });
        }
        let ones = values.iter().map(|byte| u64::from(byte.count_ones()));
        count += ones.sum::<u64>();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn site(name: &str, width: u32) -> Site {
        Site {
            name: name.to_owned(),
            channels: 1,
            height: 1,
            width,
        }
    }

    fn file(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let views = parts.iter().map(|(name, bytes)| {
            (
                *name,
                TensorView::new(Dtype::U8, vec![bytes.len()], bytes).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn ones_are_counted_over_all_sites() {
        let bytes = file(&[
            ("site.a.indicators", &[0b1000_0001, 0b101]),
            ("site.b.indicators", &[0xff]),
            ("net.x", &[1, 1]),
        ]);
        assert_eq!(
            count_indicators(&bytes, &[site("a", 11), site("b", 8)]),
            Ok(12)
        );
    }

    #[test]
    fn files_that_do_not_fit_the_net_are_refused() {
        let bytes = file(&[("site.a.indicators", &[0, 0b100])]);
        let refused = |sites: &[Site]| count_indicators(&bytes, sites).unwrap_err().to_string();
        assert_eq!(count_indicators(&bytes, &[site("a", 11)]), Ok(1));
        assert!(refused(&[site("a", 10)]).contains("found 0b00000100"));
        let wrong = "expected 3 bytes of indicators at site a, found 2";
        assert!(refused(&[site("a", 17)]).contains(wrong));
        assert!(refused(&[site("b", 2)]).contains("found site.a.indicators"));
        assert!(count_indicators(&bytes[..9], &[]).is_err());
    }
}
