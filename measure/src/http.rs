//! Tries of the store's client, counted where they leave the process: it tries again by itself, and
//! says nothing of it.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::store::try_failed;

/// Connects as another connector does, and counts the tries that the client will repeat. For the
/// builder of a store in a bucket: `with_http_connector(CountedConnector::default())`.
#[derive(Debug)]
pub struct CountedConnector {
    inner: Box<dyn HttpConnector>,
}

impl CountedConnector {
    /// Around this one.
    pub fn around(inner: impl HttpConnector) -> Self {
        let inner = Box::new(inner);
        Self { inner }
    }
}

impl Default for CountedConnector {
    /// Around the client's own.
    fn default() -> Self {
        Self::around(ReqwestConnector::default())
    }
}

impl HttpConnector for CountedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = self.inner.connect(options)?;
        Ok(HttpClient::new(Counted { inner }))
    }
}

#[derive(Debug)]
struct Counted {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let result = self.inner.execute(request).await;
        match &result {
            Ok(response) => {
                if let Some(reason) = failure(response.status().as_u16()) {
                    try_failed(reason);
                }
            }
            Err(_) => try_failed("connection"),
        }
        result
    }
}

/// What kind of failure an answer is that another try may mend.
const fn failure(status: u16) -> Option<&'static str> {
    match status {
        // S3 says SlowDown with the latter.
        429 | 503 => Some("throttled"),
        408 | 500..=599 => Some("server"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_condition_or_a_right_refuses_is_no_failed_try() {
        assert_eq!([200, 206, 304, 403, 404, 412].map(failure), [None; 6]);
        assert_eq!(failure(503), Some("throttled"));
        assert_eq!(failure(500), Some("server"));
    }
}
