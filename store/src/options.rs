//! How a bucket of S3 is reached and who asks: the usual `AWS_…` variables, checked together.
//!
//! What `object_store` would find out at the first request, or would silently read differently from
//! what was meant, is an error here: half a pair of keys, a role without its token, an endpoint
//! without encryption, a KMS key for another kind of encryption.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use autorep_core::text::redacted;
use object_store::aws::AmazonS3ConfigKey as Key;
use object_store::aws::Checksum;
use url::{Host, Url};

mod check;

/// The variables by which a store is set up. An empty one is one that is not set: charts and
/// compose files write those.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

/// Beginnings of the names of variables that are kept.
const NAMES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        // What is not UTF-8 is none of these.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable that is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All that are set, as (name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
        let of_use = |name: &str| name == "HOME" || NAMES.iter().any(|it| name.starts_with(it));
        Self(
            pairs
                .filter(|(name, value): &(String, String)| of_use(name) && !value.is_empty())
                .collect(),
        )
    }
}

impl fmt::Debug for Variables {
    /// Only the names: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where the credentials come from, in the order in which they are looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CredentialSource {
    /// Nobody says who asks: `AWS_SKIP_SIGNATURE`.
    Anonymous,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary ones, `AWS_SESSION_TOKEN`.
    Environment,
    /// A token in a file is exchanged for credentials of a role.
    WebIdentity {
        /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
        token_file: PathBuf,
        /// `AWS_ROLE_ARN`.
        role: String,
    },
    /// A profile of the shared credentials file.
    SharedFile {
        /// `AWS_SHARED_CREDENTIALS_FILE`, or `.aws/credentials` in the home folder.
        path: PathBuf,
        /// `AWS_PROFILE`, or `default`.
        profile: String,
    },
    /// What the container's runtime hands out: `AWS_CONTAINER_CREDENTIALS_…`.
    Container,
    /// What the machine's metadata service hands out.
    Instance,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("nobody's (AWS_SKIP_SIGNATURE)"),
            Self::Environment => f.write_str("those of AWS_ACCESS_KEY_ID"),
            Self::WebIdentity { token_file, role } => write!(
                f,
                "those of the role {role} for the token in {}",
                token_file.display()
            ),
            Self::SharedFile { path, profile } => {
                write!(f, "those of the profile {profile} in {}", path.display())
            }
            Self::Container => f.write_str("those of the container's runtime"),
            Self::Instance => f.write_str("those of the machine's metadata service"),
        }
    }
}

/// A bucket of S3, how it is reached and who asks.
#[derive(Clone)]
pub(crate) struct S3Options {
    pub(crate) bucket: String,
    /// What `object_store` is told.
    pub(crate) settings: Vec<(Key, String)>,
    pub(crate) credentials: CredentialSource,
    /// Certificates of authorities to trust beside the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
    pub(crate) region: String,
}

impl fmt::Debug for S3Options {
    /// Without the settings: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Variables do not go together, or say nothing that can be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionsError {
    /// Something is set that is of no use without something else.
    #[error("expected {missing} to be set with {set}, found it unset; {mend}")]
    Half {
        /// What is set.
        set: &'static str,
        /// What is not.
        missing: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// A value is none that the variable can have.
    #[error("{name}: expected {expected}, found {found:?}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it can say.
        expected: String,
        /// What it says.
        found: String,
    },
    /// An address that leaves data and signatures readable.
    #[error(
        "expected an endpoint with https://, found {found}; set AWS_ALLOW_HTTP=true if only your own machines are between here and there"
    )]
    Unencrypted {
        /// The endpoint.
        found: String,
    },
    /// Host names with the bucket in them need a host name.
    #[error(
        "expected a host name in the endpoint with AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true, found {found}; name the host, or leave that variable unset"
    )]
    NoHostName {
        /// The endpoint.
        found: String,
    },
    /// Nothing would tell bytes that were changed on the way from those that were sent.
    #[error(
        "expected https:// and a checksum with AWS_UNSIGNED_PAYLOAD=true, found {found}; unset it: bodies that are in no signature could be changed on the way"
    )]
    Unprotected {
        /// What there is instead.
        found: &'static str,
    },
    /// The store's promises would not hold.
    #[error(
        "expected writes that can be made on a condition, found AWS_CONDITIONAL_PUT={found}; unset it: without conditions two coordinators could overwrite each other"
    )]
    Unconditional {
        /// What it says.
        found: String,
    },
}

impl S3Options {
    /// How to reach `bucket` as the variables say.
    pub(crate) fn read(bucket: &str, variables: &Variables) -> Result<Self, OptionsError> {
        check::encryption(variables)?;
        if let Some(found) = variables.get("AWS_CONDITIONAL_PUT")
            && !found.eq_ignore_ascii_case("etag")
        {
            let found = found.to_owned();
            return Err(OptionsError::Unconditional { found });
        }
        let credentials = check::credentials(variables)?;
        let mut settings = passed_on(variables);
        let (endpoint, checksum) = (endpoint(bucket, variables)?, checksum(variables)?);
        check::payload(variables, endpoint.as_deref(), checksum.is_some())?;
        if let Some(endpoint) = endpoint {
            settings.push((Key::Endpoint, endpoint));
        }
        if let Some(checksum) = checksum {
            settings.push((Key::Checksum, checksum.to_string()));
        }
        let region = variables.get("AWS_REGION");
        let region = region.or_else(|| variables.get("AWS_DEFAULT_REGION"));
        Ok(Self {
            bucket: bucket.to_owned(),
            settings,
            credentials,
            ca_bundle: variables.get("AWS_CA_BUNDLE").map(PathBuf::from),
            region: region.unwrap_or("us-east-1").to_owned(),
        })
    }
}

/// What `object_store` reads as it is. It knows more settings than `docs/storage.md` lists; the bucket
/// is the URL's, and what this module decides is left out.
fn passed_on(variables: &Variables) -> Vec<(Key, String)> {
    let known = variables.iter().filter_map(|(name, value)| {
        let key: Key = name.to_ascii_lowercase().parse().ok()?;
        Some((name, key, value))
    });
    known
        .filter(|(name, key, _)| {
            name.starts_with("AWS_")
                && !matches!(
                    key,
                    Key::Bucket
                        | Key::Endpoint
                        | Key::S3Endpoint
                        | Key::Checksum
                        | Key::ConditionalPut
                )
        })
        .map(|(_, key, value)| (key, value.to_owned()))
        .collect()
}

/// The endpoint as `object_store` wants it: with the bucket in its host where requests are of the
/// virtual-hosted style.
fn endpoint(bucket: &str, variables: &Variables) -> Result<Option<String>, OptionsError> {
    let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let virtual_hosted = check::flag(variables, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")?;
    let allow_http = check::flag(variables, "AWS_ALLOW_HTTP")?;
    let named = names
        .into_iter()
        .find_map(|name| Some((name, variables.get(name)?)));
    let Some((name, text)) = named else {
        return Ok(None);
    };
    let wrong = || OptionsError::Value {
        name,
        expected: "an address as in https://s3.example.com:8333, without user, query and fragment"
            .to_owned(),
        found: redacted(text),
    };
    let mut url = Url::parse(text).map_err(|_malformed| wrong())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain || !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    let found = text.to_owned();
    if url.scheme() == "http" && !allow_http {
        return Err(OptionsError::Unencrypted { found });
    }
    if virtual_hosted {
        let Some(Host::Domain(host)) = url.host() else {
            return Err(OptionsError::NoHostName { found });
        };
        let with_bucket = format!("{bucket}.{host}");
        if !host.starts_with(&format!("{bucket}.")) {
            url.set_host(Some(&with_bucket))
                .map_err(|_malformed| wrong())?;
        }
    }
    Ok(Some(url.to_string().trim_end_matches('/').to_owned()))
}

/// The checksum that goes with every object and part, for the store to verify and keep: SHA-256 if
/// nothing else is said. It costs nothing, since the signature is over the same digest.
fn checksum(variables: &Variables) -> Result<Option<Checksum>, OptionsError> {
    let name = "AWS_CHECKSUM_ALGORITHM";
    match variables.get(name).map(str::to_ascii_lowercase).as_deref() {
        None | Some("sha256") => Ok(Some(Checksum::SHA256)),
        Some("crc64nvme") => Ok(Some(Checksum::CRC64NVME)),
        Some("none") => Ok(None),
        Some(found) => Err(OptionsError::Value {
            name,
            expected: "sha256, crc64nvme or none".to_owned(),
            found: found.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
