//! Credentials from the shared credentials file, as `aws configure` and operators write it.
//!
//! The file is looked at before every request, and read again when it has changed: whoever rotates
//! keys replaces the file, and nobody has to start anything again. A change that cannot be used (a
//! file that is half written, a profile that is gone) leaves the credentials that were good until
//! then in use, and is said once.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ini::{Ini, ParseOption};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

/// A larger file is none of credentials.
const LIMIT: u64 = 1 << 20;

/// What a profile may say instead of keys, which only the AWS command line understands.
const OTHER_WAYS: [&str; 4] = [
    "credential_process",
    "role_arn",
    "sso_session",
    "sso_start_url",
];

/// A profile holds no credentials that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error(
        "expected a shared credentials file at {path:?}, found that it cannot be read; write one with `aws configure`, name another with AWS_SHARED_CREDENTIALS_FILE, or unset AWS_PROFILE"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large to be one, or not in the format.
    #[error("expected a shared credentials file at {path:?}, found {found}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; nothing of its content, which is secret.
        found: String,
    },
    /// It has no such profile.
    #[error(
        "expected a profile [{profile}] in {path:?}, found {found:?}; name one of them with AWS_PROFILE"
    )]
    Absent {
        /// The file.
        path: PathBuf,
        /// The profile that was asked for.
        profile: String,
        /// The profiles that are there.
        found: Vec<String>,
    },
    /// The profile has no pair of keys.
    #[error(
        "expected aws_access_key_id and aws_secret_access_key in the profile [{profile}] of {path:?}, found {found}; where another program makes the keys, let it set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: `aws configure export-credentials --profile {profile} --format env`"
    )]
    Keys {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
        /// What it has instead.
        found: String,
    },
}

/// One profile of a shared credentials file.
pub(crate) struct SharedFile {
    path: PathBuf,
    profile: String,
    known: Mutex<Known>,
}

/// What was read last.
struct Known {
    /// Of the file from which they are.
    version: Option<Version>,
    credential: Arc<AwsCredential>,
    /// Whether a problem has been told and not been mended since.
    troubled: bool,
}

/// By which a file is told from what it was: when it was written, its size, and which file it is.
/// Kubernetes replaces the file that a name leads to, so all three are of the file itself.
type Version = (i64, i64, u64, u64);

fn version(metadata: &Metadata) -> Version {
    let (written, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    (written, nanos, metadata.size(), metadata.ino())
}

impl fmt::Debug for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFile")
            .field("path", &self.path)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl SharedFile {
    /// The credentials of a profile, which must be there now.
    pub(crate) fn open(path: &Path, profile: &str) -> Result<Self, ProfileError> {
        let version = fs::metadata(path).ok().as_ref().map(version);
        let credential = read(path, profile)?;
        Ok(Self {
            path: path.to_owned(),
            profile: profile.to_owned(),
            known: Mutex::new(Known {
                version,
                credential: Arc::new(credential),
                troubled: false,
            }),
        })
    }

    /// The credentials as the file says now, or as it said when it last could be read.
    fn current(&self) -> Arc<AwsCredential> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let version = fs::metadata(&self.path).ok().as_ref().map(version);
        if version == known.version {
            known.troubled = false;
        } else {
            match read(&self.path, &self.profile) {
                Ok(credential) => {
                    tracing::info!(path = %self.path.display(), profile = self.profile, "credentials are read again");
                    *known = Known {
                        version,
                        credential: Arc::new(credential),
                        troubled: false,
                    };
                }
                Err(error) => {
                    if !std::mem::replace(&mut known.troubled, true) {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, cause, "going on with the credentials from before");
                    }
                }
            }
        }
        Arc::clone(&known.credential)
    }
}

#[async_trait]
impl CredentialProvider for SharedFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.current())
    }
}

fn read(path: &Path, profile: &str) -> Result<AwsCredential, ProfileError> {
    let failed = |source| ProfileError::File {
        path: path.to_owned(),
        source,
    };
    let format = |found: String| ProfileError::Format {
        path: path.to_owned(),
        found,
    };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > LIMIT {
        return Err(format(format!("{bytes} bytes")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let plain = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        ..ParseOption::default()
    };
    let ini = Ini::load_from_str_opt(&text, plain)
        .map_err(|error| format(format!("a mistake at line {}", error.line)))?;
    let Some(section) = ini.section(Some(profile)) else {
        return Err(ProfileError::Absent {
            path: path.to_owned(),
            profile: profile.to_owned(),
            found: ini.sections().flatten().map(ToOwned::to_owned).collect(),
        });
    };
    let value = |name: &str| {
        let value = section.get(name).map(str::trim);
        value.filter(|it| !it.is_empty()).map(ToOwned::to_owned)
    };
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(key_id), Some(secret_key)) => Ok(AwsCredential {
            key_id,
            secret_key,
            token: value("aws_session_token"),
        }),
        (Some(_), None) => Err(keys(path, profile, "only the first")),
        (None, Some(_)) => Err(keys(path, profile, "only the second")),
        (None, None) => {
            let other = OTHER_WAYS
                .into_iter()
                .find(|name| section.contains_key(*name));
            Err(keys(path, profile, other.unwrap_or("neither")))
        }
    }
}

fn keys(path: &Path, profile: &str, found: &str) -> ProfileError {
    ProfileError::Keys {
        path: path.to_owned(),
        profile: profile.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# of the lab
[default]
aws_access_key_id = first
aws_secret_access_key = a+b/c=
[team]
aws_access_key_id=second
aws_secret_access_key=with\\backslash\"and'quotes
aws_session_token = token==
[process]
credential_process = /bin/make-keys
[half]
aws_access_key_id = third
";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn said(credential: &AwsCredential) -> (&str, &str, Option<&str>) {
        let token = credential.token.as_deref();
        (&credential.key_id, &credential.secret_key, token)
    }

    #[test]
    fn keys_of_a_profile_are_read_letter_by_letter() {
        let (_folder, path) = file(FILE);
        let default = read(&path, "default").unwrap();
        assert_eq!(said(&default), ("first", "a+b/c=", None));
        let team = read(&path, "team").unwrap();
        let secret = "with\\backslash\"and'quotes";
        assert_eq!(said(&team), ("second", secret, Some("token==")));
    }

    #[test]
    fn what_a_profile_lacks_is_told_with_what_to_do_and_without_secrets() {
        let (_folder, path) = file(FILE);
        let told = |profile: &str| read(&path, profile).unwrap_err().to_string();
        let absent = told("other");
        assert!(
            absent.contains("\"team\"") && absent.contains("AWS_PROFILE"),
            "{absent}"
        );
        let process = told("process");
        assert!(process.contains("found credential_process"), "{process}");
        assert!(
            process.contains("export-credentials --profile process"),
            "{process}"
        );
        assert!(told("half").contains("only the first"));
        let missing = read(Path::new("/nowhere"), "default").unwrap_err();
        assert!(matches!(missing, ProfileError::File { .. }), "{missing}");
        let (_folder, path) = file("[default]\naws_secret_access_key\nhunter2 = \n[");
        let broken = read(&path, "default").unwrap_err().to_string();
        assert!(broken.contains("a mistake at line"), "{broken}");
        assert!(!broken.contains("hunter2"), "{broken}");
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_and_one_that_breaks_is_not_believed() {
        let (folder, path) = file(FILE);
        let shared = SharedFile::open(&path, "default").unwrap();
        let key = async || shared.get_credential().await.unwrap().key_id.clone();
        assert_eq!(key().await, "first");
        let replace = |text: &str| {
            let next = folder.path().join("next");
            fs::write(&next, text).unwrap();
            fs::rename(&next, &path).unwrap();
        };
        replace("[default]\naws_access_key_id = later\naws_secret_access_key = s\n");
        assert_eq!(key().await, "later");
        replace("[default]\naws_access_key_id = half\n");
        assert_eq!(key().await, "later");
        fs::remove_file(&path).unwrap();
        assert_eq!(key().await, "later");
        replace("[default]\naws_access_key_id = back\naws_secret_access_key = s\n");
        assert_eq!(key().await, "back");
    }

    #[tokio::test]
    async fn a_file_that_could_not_be_read_is_tried_until_it_can_be_although_it_looks_the_same() {
        let (_folder, path) = file(FILE);
        let shared = SharedFile::open(&path, "default").unwrap();
        let half = "[default]\naws_access_key_id = next\n# secret_access_key = s\n";
        let whole = "[default]\naws_access_key_id = next\naws_secret_access_key=s\n";
        assert_eq!(half.len(), whole.len());
        // Written within one tick of the file system's clock.
        let written = std::time::SystemTime::UNIX_EPOCH;
        for (text, expected) in [(half, "first"), (whole, "next")] {
            fs::write(&path, text).unwrap();
            let file = fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(written).unwrap();
            let credential = shared.get_credential().await.unwrap();
            assert_eq!(credential.key_id, expected);
        }
    }
}
