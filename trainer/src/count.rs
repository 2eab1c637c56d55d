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
    #[error("expected {expected} indicators at site {site}, found {found}")]
    Site {
        /// The site's name.
        site: String,
        /// Elements of its feature map.
        expected: u64,
        /// Elements saved.
        found: u64,
    },
    /// Indicators of a site that the net does not have.
    #[error("found {0}, expected no such site")]
    Surplus(String),
    /// An indicator is neither zero nor one.
    #[error("expected 0 or 1 in the indicators of site {site}, found {found}")]
    Value {
        /// The site's name.
        site: String,
        /// The value.
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
        if values.len() as u64 != site.relus() {
            return Err(CountError::Site {
                site: site.name.clone(),
                expected: site.relus(),
                found: values.len() as u64,
            });
        }
        for value in values {
            match value {
                0 => {}
                1 => count += 1,
                other => {
                    return Err(CountError::Value {
                        site: site.name.clone(),
                        found: *other,
                    });
                }
            }
        }
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
            ("site.a.indicators", &[1, 0, 1]),
            ("site.b.indicators", &[1]),
            ("net.x", &[1, 1]),
        ]);
        assert_eq!(
            count_indicators(&bytes, &[site("a", 3), site("b", 1)]),
            Ok(3)
        );
    }

    #[test]
    fn files_that_do_not_fit_the_net_are_refused() {
        let bytes = file(&[("site.a.indicators", &[1, 2])]);
        let refused = |sites: &[Site]| count_indicators(&bytes, sites).unwrap_err().to_string();
        assert!(refused(&[site("a", 2)]).contains("found 2"));
        assert!(refused(&[site("a", 3)]).contains("expected 3 indicators at site a, found 2"));
        assert!(refused(&[site("b", 2)]).contains("found site.a.indicators"));
        assert!(count_indicators(&bytes[..9], &[]).is_err());
    }
}
