//! A large object that is put together from parts is created only once, too.
//!
//! `object_store` ends an upload in parts without a condition: what lies under the key would be
//! replaced. S3 takes `If-None-Match: *` with the request that ends it, and SeaweedFS keeps it. The
//! header is added to that request on its way out; it is none of those that a signature must cover.

use std::fmt;

use async_trait::async_trait;
use http::header::IF_NONE_MATCH;
use http::{HeaderValue, Method, Uri};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// Makes clients that end uploads in parts on the condition that there is no such object yet.
#[derive(Debug, Default)]
pub(crate) struct CreateOnly {
    inner: ReqwestConnector,
}

impl HttpConnector for CreateOnly {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = self.inner.connect(options)?;
        Ok(HttpClient::new(Conditional { inner }))
    }
}

struct Conditional {
    inner: HttpClient,
}

impl fmt::Debug for Conditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditional").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Conditional {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if ends_an_upload(request.method(), request.uri()) {
            let any = HeaderValue::from_static("*");
            request.headers_mut().insert(IF_NONE_MATCH, any);
        }
        self.inner.execute(request).await
    }
}

/// Whether a request is `CompleteMultipartUpload`: a POST that names the upload and nothing else.
fn ends_an_upload(method: &Method, uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    method == Method::POST && query.starts_with("uploadId=") && !query.contains('&')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_request_that_ends_an_upload_has_a_condition() {
        let ends = |method: Method, uri: &str| ends_an_upload(&method, &uri.parse().unwrap());
        assert!(ends(Method::POST, "http://h/b/key?uploadId=abc"));
        for (method, uri) in [
            (Method::POST, "http://h/b/key?uploads="),
            (Method::POST, "http://h/b?delete"),
            (Method::PUT, "http://h/b/key?partNumber=1&uploadId=abc"),
            (Method::DELETE, "http://h/b/key?uploadId=abc"),
            (Method::POST, "http://h/b/key"),
        ] {
            assert!(!ends(method.clone(), uri), "{method} {uri}");
        }
    }
}
