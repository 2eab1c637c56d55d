//! Opens the object store that a URL names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use autorep_core::text::redacted;
use autorep_measure::http::CountedConnector;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::ClientConfigKey;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::advice::{Advised, Facts};
use crate::create_only::CreateOnly;
use crate::credentials::{ProfileError, SharedFile};
use crate::options::{CredentialSource, OptionsError, S3Options, Variables};
use crate::place::{Place, PlaceError};

/// From the begin of a connection to its being there. A host that does not answer in this time
/// answers another connection sooner.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// From the begin of a request to the last byte of its answer. A piece of 8 MiB, four of them at a
/// time, has that long at 4.5 Mbit/s; a larger object that is read goes on where it was cut.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// Requests that fail in passing (no connection, 5xx, 429, 408) are repeated for so long, waiting
/// up to ten seconds in between. It must stay well below the 15 minutes for which a request's
/// signature is good.
const RETRY_LIMIT: Duration = Duration::from_secs(170);

/// Tries of one request at most. The longest waits of so many are longer than [`RETRY_LIMIT`].
const RETRIES: usize = 30;

/// Whoever hands out credentials answers at once or not at all.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(10);

/// What becomes of an object that is there already when an upload in parts ends under its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Multipart {
    /// The new one takes its place.
    Overwrites,
    /// It stays, and the upload fails as `AlreadyExists` or `Precondition`; of stores that ignore
    /// the condition the new one takes its place.
    CreatesOnly,
}

/// A store cannot be set up. Nothing has been asked of it yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL names none.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nobody knows how to reach such a place.
    #[error("expected a URL with {expected}, found {found:?}")]
    Scheme {
        /// The schemes that are known.
        expected: &'static str,
        /// The one that was given.
        found: String,
    },
    /// The variables do not go together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The shared credentials file cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The authorities' certificates cannot be used.
    #[error(
        "AWS_CA_BUNDLE: expected a file of certificates in PEM, found {path:?}, of which none can be read"
    )]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The library refuses what is left.
    #[error("the store {place} cannot be set up")]
    Library {
        /// The URL.
        place: String,
        /// Why.
        source: object_store::Error,
    },
}

/// The store that a URL names, at its prefix, set up by this process's variables: `s3://`, `gs://`,
/// `az://` or `file://`. No key can lead out of the prefix.
pub fn connect(url: &str, multipart: Multipart) -> Result<Arc<dyn ObjectStore>, ConnectError> {
    connect_with(url, &Variables::of_process(), multipart)
}

/// As [`connect`], set up by these variables.
pub fn connect_with(
    url: &str,
    variables: &Variables,
    multipart: Multipart,
) -> Result<Arc<dyn ObjectStore>, ConnectError> {
    if url.starts_with("file://") {
        return folder(url);
    }
    let place = Place::parse(url)?;
    let store = match place.scheme() {
        "s3" | "s3a" => s3(&place, variables, multipart)?,
        "gs" | "az" => other(&place, variables)?,
        _ => {
            return Err(ConnectError::Scheme {
                expected: "s3://, gs://, az:// or file://",
                found: redacted(url),
            });
        }
    };
    if place.prefix().is_root() {
        Ok(store)
    } else {
        Ok(Arc::new(PrefixStore::new(store, place.prefix().clone())))
    }
}

fn s3(
    place: &Place,
    variables: &Variables,
    multipart: Multipart,
) -> Result<Arc<dyn ObjectStore>, ConnectError> {
    let options = S3Options::read(place.bucket(), variables)?;
    tracing::debug!(%place, credentials = %options.credentials, "credentials");
    let facts = Facts {
        bucket: options.bucket.clone(),
        region: options.region.clone(),
        credentials: options.credentials.to_string(),
    };
    let store = build(place, &options, multipart)?;
    Ok(Arc::new(Advised::new(store, facts)))
}

fn build(
    place: &Place,
    options: &S3Options,
    multipart: Multipart,
) -> Result<AmazonS3, ConnectError> {
    let failed = |source| ConnectError::Library {
        place: place.to_string(),
        source,
    };
    let mut client = client_options();
    if let Some(path) = &options.ca_bundle {
        for authority in authorities(path)? {
            client = client.with_root_certificate(authority);
        }
    }
    let base = AmazonS3Builder::new().with_client_options(client);
    let base = options
        .settings
        .iter()
        .fold(base, |builder, (key, value)| {
            builder.with_config(*key, value)
        })
        .with_bucket_name(&options.bucket);
    let mut builder = base.clone().with_retry(retries(RETRY_LIMIT));
    match &options.credentials {
        CredentialSource::Anonymous | CredentialSource::Environment => {}
        CredentialSource::SharedFile { path, profile } => {
            let file = SharedFile::open(path, profile)?;
            builder = builder.with_credentials(Arc::new(file));
        }
        CredentialSource::WebIdentity { .. }
        | CredentialSource::Container
        | CredentialSource::Instance => {
            let asks = base.with_retry(retries(CREDENTIALS_LIMIT)).build();
            let asks = asks.map_err(failed)?;
            builder = builder.with_credentials(Arc::clone(asks.credentials()));
        }
    }
    if multipart == Multipart::CreatesOnly {
        let counted = CountedConnector::around(CreateOnly::default());
        builder = builder.with_http_connector(counted);
    } else {
        builder = builder.with_http_connector(CountedConnector::default());
    }
    builder.build().map_err(failed)
}

/// Time limits; `AWS_TIMEOUT` and `AWS_CONNECT_TIMEOUT` are read after them.
fn client_options() -> ClientOptions {
    let seconds = |limit: Duration| format!("{}s", limit.as_secs());
    ClientOptions::new()
        .with_config(ClientConfigKey::ConnectTimeout, seconds(CONNECT_LIMIT))
        .with_config(ClientConfigKey::Timeout, seconds(REQUEST_LIMIT))
}

fn retries(limit: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: limit,
    }
}

fn authorities(path: &PathBuf) -> Result<Vec<Certificate>, ConnectError> {
    let failed = |source| ConnectError::Authorities {
        path: path.clone(),
        source,
    };
    let text = std::fs::read(path).map_err(|error| failed(error.into()))?;
    let found = Certificate::from_pem_bundle(&text).map_err(|error| failed(error.into()))?;
    if found.is_empty() {
        return Err(failed("it has no certificate".into()));
    }
    Ok(found)
}

/// A bucket of Google's or Microsoft's, as `object_store` sets it up.
fn other(place: &Place, variables: &Variables) -> Result<Arc<dyn ObjectStore>, ConnectError> {
    let failed = |source| ConnectError::Library {
        place: place.to_string(),
        source,
    };
    let bucket = format!("{}://{}", place.scheme(), place.bucket());
    let url = Url::parse(&bucket).map_err(|_malformed| PlaceError::Form {
        found: place.to_string(),
    })?;
    let (store, _) = object_store::parse_url_opts(&url, variables.iter()).map_err(failed)?;
    Ok(Arc::from(store))
}

/// A folder of this machine, for data sets that are read as if they lay in a bucket.
fn folder(url: &str) -> Result<Arc<dyn ObjectStore>, ConnectError> {
    let form = || PlaceError::Form {
        found: redacted(url),
    };
    let parsed = Url::parse(url).map_err(|_malformed| form())?;
    let folder = parsed.to_file_path().map_err(|()| form())?;
    // One that is not there holds nothing, as a prefix of a bucket does: no error yet.
    let prefix = object_store::path::Path::from_absolute_path(folder).map_err(|error| {
        let (place, source) = (url.to_owned(), error.into());
        ConnectError::Library { place, source }
    })?;
    Ok(Arc::new(PrefixStore::new(LocalFileSystem::new(), prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().copied().collect()
    }

    fn told(url: &str, pairs: &[(&str, &str)]) -> String {
        let refused = connect_with(url, &variables(pairs), Multipart::Overwrites);
        let error = refused.map(|_| ()).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    }

    #[test]
    fn a_store_is_at_its_prefix_and_asks_nothing_while_it_is_set_up() {
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let whole = connect_with("s3://sweeps", &variables(&keys), Multipart::CreatesOnly);
        assert_eq!(whole.unwrap().to_string(), "AmazonS3(sweeps)");
        let part = connect_with(
            "s3://sweeps/team/",
            &variables(&keys),
            Multipart::Overwrites,
        );
        assert_eq!(part.unwrap().to_string(), "PrefixObjectStore(team)");
    }

    #[test]
    fn what_cannot_be_reached_is_refused_before_anything_is_asked() {
        assert!(told("ftp://sweeps/team", &[]).contains("s3://, gs://, az:// or file://"));
        assert!(told("s3://sweeps/../team", &[]).contains("expected a prefix"));
        let file = told(
            "s3://sweeps",
            &[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")],
        );
        assert!(file.contains("aws configure"), "{file}");
        let bundle = told("s3://sweeps", &[("AWS_CA_BUNDLE", "/nowhere")]);
        assert!(bundle.contains("AWS_CA_BUNDLE: expected"), "{bundle}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let bundle = told(
            "s3://sweeps",
            &[("AWS_CA_BUNDLE", empty.path().to_str().unwrap())],
        );
        assert!(bundle.contains("no certificate"), "{bundle}");
        let limit = told("s3://sweeps", &[("AWS_TIMEOUT", "soon")]);
        assert!(limit.contains("soon"), "{limit}");
    }

    #[test]
    fn a_folder_is_read_as_a_bucket_by_its_url() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        assert!(connect(&url, Multipart::Overwrites).is_ok());
    }
}
