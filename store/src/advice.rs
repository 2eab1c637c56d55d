//! What to do about what a store answers.
//!
//! S3 answers with a code and a sentence for programmers. [`Advised`] is a store whose errors say
//! first what a person can do; wherever an error is printed, that is printed with it. A bucket that
//! is not there is no missing object: the two have the same status, and whoever took the one for
//! the other would make finished work anew.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What sentences need to know of the store.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) bucket: String,
    pub(crate) region: String,
    /// Whose credentials are used, for people.
    pub(crate) credentials: String,
}

/// A store whose errors say what to do.
#[derive(Debug)]
pub(crate) struct Advised<S> {
    inner: S,
    facts: Arc<Facts>,
}

/// An error with what to do about it.
#[derive(Debug)]
struct Advice {
    text: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Advice {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl Facts {
    /// What to do about an answer of S3 with this code.
    fn advice(&self, code: &str, said: &str) -> Option<String> {
        let Self {
            bucket,
            region,
            credentials,
        } = self;
        let text = match code {
            "RequestTimeTooSkewed" => "expected this machine's clock to be within 15 minutes of \
                 the store's, found that it is not; set it right (`timedatectl set-ntp true`)"
                .to_owned(),
            "InvalidAccessKeyId" => format!(
                "expected credentials that the store knows, found that it does not know \
                 {credentials}; give this process others (docs/storage.md has the ways)"
            ),
            "SignatureDoesNotMatch" => format!(
                "expected the secret key that belongs to the access key, found another in \
                 {credentials}; correct it, or look for something between here and the store that \
                 changes requests"
            ),
            "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" => format!(
                "expected a session token that is good now, found that the store takes that of \
                 {credentials} no more; get new ones: a shared credentials file may be replaced \
                 while this runs"
            ),
            "NoSuchBucket" => format!(
                "expected a bucket {bucket}, found none; make it, or name another in the URL"
            ),
            "InvalidBucketName" => format!(
                "expected a name that a bucket can have, found {bucket}: 3 to 63 lower-case \
                 letters, digits, dots and dashes"
            ),
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => format!(
                "expected the right to do this in the bucket {bucket}, found that {credentials} \
                 have it not; grant them s3:PutObject, s3:GetObject, s3:DeleteObject, \
                 s3:AbortMultipartUpload and s3:ListBucket there"
            ),
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException" => format!(
                "expected the bucket {bucket} in the region {region}, found it in {}; set \
                 AWS_REGION to it",
                element(said, "Region").unwrap_or("another")
            ),
            "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest" => {
                "expected the store to receive the bytes that were sent, found others; look for a \
                 proxy or a network card between here and there that changes them"
                    .to_owned()
            }
            "KMS.NotFoundException"
            | "KMS.DisabledException"
            | "KMS.KMSInvalidStateException"
            | "KMS.InvalidKeyUsageException" => format!(
                "expected a KMS key that {credentials} may use, found that it cannot be; name \
                 another with AWS_SSE_KMS_KEY_ID, or enable it"
            ),
            "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity" => {
                format!("expected room in the bucket {bucket}, found none; make some")
            }
            _ => return None,
        };
        Some(text)
    }

    /// What to do where the credentials themselves could not be had.
    fn about_credentials(&self, said: &str) -> Option<String> {
        let credentials = &self.credentials;
        if said.contains("<ErrorResponse") {
            // So answers the service that gives credentials of a role for a token.
            let code = element(said, "Code").unwrap_or("a refusal");
            return Some(format!(
                "expected to be given {credentials}, found {code}; let the role trust the token's \
                 issuer, audience and subject, and see that the token has not expired"
            ));
        }
        if said.contains("/latest/api/token") {
            return Some(
                "expected credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in a shared \
                 credentials file, by web identity, or from the machine's metadata service, found \
                 none of the first and no answer from the last; set one of them \
                 (docs/storage.md has the ways)"
                    .to_owned(),
            );
        }
        said.contains("Failed to read").then(|| {
            format!("expected to be given {credentials}, found that the token cannot be read")
        })
    }

    /// The same error, with what to do if that is known.
    fn advise(&self, error: Error) -> Error {
        let said = in_full(&error);
        if let Some(text) = self.about_credentials(&said) {
            return Error::Generic {
                store: "S3",
                source: Box::new(Advice {
                    text,
                    source: error.into(),
                }),
            };
        }
        let code = element(&said, "Code");
        let redirected = said.contains("redirect without LOCATION");
        let code = code.or_else(|| redirected.then_some("PermanentRedirect"));
        let Some(code) = code else { return error };
        let Some(text) = self.advice(code, &said) else {
            return error;
        };
        let advised =
            |source| -> Box<dyn StdError + Send + Sync> { Box::new(Advice { text, source }) };
        // Others do not come from an answer with a code.
        if let Error::PermissionDenied { path, source } = error {
            let source = advised(source);
            Error::PermissionDenied { path, source }
        } else if let Error::Generic { store, source } = error {
            let source = advised(source);
            Error::Generic { store, source }
        } else if let Error::NotFound { path, source } = error {
            if code == "NoSuchBucket" {
                let (store, source) = ("S3", advised(source));
                Error::Generic { store, source }
            } else {
                Error::NotFound { path, source }
            }
        } else {
            error
        }
    }
}

/// An error with its causes: some print their cause themselves, others do not.
fn in_full(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push('\n');
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What stands in the first element of this name in an answer of S3.
fn element<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0)
}

impl<S> Advised<S> {
    pub(crate) fn new(inner: S, facts: Facts) -> Self {
        let facts = Arc::new(facts);
        Self { inner, facts }
    }

    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.facts.advise(error))
    }

    fn told_each<T: 'static>(
        &self,
        results: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let facts = Arc::clone(&self.facts);
        results
            .map(move |result| result.map_err(|error| facts.advise(error)))
            .boxed()
    }
}

impl<S: fmt::Display> fmt::Display for Advised<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Advised<S> {
    async fn put_opts(
        &self,
        key: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.told(self.inner.put_opts(key, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.told(self.inner.put_multipart_opts(key, options).await)?;
        let facts = Arc::clone(&self.facts);
        Ok(Box::new(AdvisedUpload { inner, facts }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.told(self.inner.get_opts(key, options).await)
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.told(self.inner.get_ranges(key, ranges).await)
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.told_each(self.inner.delete_stream(keys))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.told_each(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.told_each(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.told(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.told(self.inner.copy_opts(from, to, options).await)
    }
}

#[derive(Debug)]
struct AdvisedUpload {
    inner: Box<dyn MultipartUpload>,
    facts: Arc<Facts>,
}

#[async_trait]
impl MultipartUpload for AdvisedUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (part, facts) = (self.inner.put_part(payload), Arc::clone(&self.facts));
        Box::pin(async move { part.await.map_err(|error| facts.advise(error)) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.inner.complete().await;
        completed.map_err(|error| self.facts.advise(error))
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.inner.abort().await;
        aborted.map_err(|error| self.facts.advise(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            bucket: "sweeps".to_owned(),
            region: "us-east-1".to_owned(),
            credentials: "those of AWS_ACCESS_KEY_ID".to_owned(),
        }
    }

    fn answer(code: &str) -> Box<dyn StdError + Send + Sync> {
        let body = format!("<Error><Code>{code}</Code><Region>eu-west-3</Region></Error>");
        format!("Server returned non-2xx status code: 4xx: {body}").into()
    }

    #[test]
    fn a_bucket_that_is_not_there_is_no_missing_object() {
        let not_found = |code| Error::NotFound {
            path: "k".to_owned(),
            source: answer(code),
        };
        let bucket = facts().advise(not_found("NoSuchBucket"));
        assert!(matches!(bucket, Error::Generic { .. }), "{bucket:?}");
        assert!(in_full(&bucket).contains("expected a bucket sweeps"));
        let object = facts().advise(not_found("NoSuchKey"));
        assert!(matches!(object, Error::NotFound { .. }), "{object:?}");
    }

    #[test]
    fn each_code_that_a_person_can_act_on_says_how_and_keeps_what_the_store_said() {
        for (code, mend) in [
            ("RequestTimeTooSkewed", "set-ntp"),
            ("InvalidAccessKeyId", "docs/storage.md"),
            ("SignatureDoesNotMatch", "correct it"),
            ("ExpiredToken", "may be replaced"),
            ("AccessDenied", "s3:AbortMultipartUpload"),
            ("PermanentRedirect", "found it in eu-west-3; set AWS_REGION"),
            ("KMS.DisabledException", "AWS_SSE_KMS_KEY_ID"),
            ("BadDigest", "proxy"),
        ] {
            let error = facts().advise(Error::PermissionDenied {
                path: "k".to_owned(),
                source: answer(code),
            });
            assert!(matches!(error, Error::PermissionDenied { .. }));
            let text = in_full(&error);
            assert!(text.contains(mend), "{text}");
            assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
        }
    }

    #[test]
    fn credentials_that_cannot_be_had_are_told_from_a_store_that_refuses() {
        let said = |text: &'static str| {
            in_full(&facts().advise(Error::Generic {
                store: "S3",
                source: text.into(),
            }))
        };
        let refused =
            said("<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>");
        assert!(refused.contains("let the role trust"), "{refused}");
        let nowhere = said("Error performing PUT http://169.254.169.254/latest/api/token in 1s");
        assert!(nowhere.contains("found none of the first"), "{nowhere}");
    }

    #[test]
    fn what_nobody_knows_more_about_stays_as_it_is() {
        let error = facts().advise(Error::Generic {
            store: "S3",
            source: answer("InternalError"),
        });
        assert!(!in_full(&error).contains("expected"), "{error:?}");
    }
}
