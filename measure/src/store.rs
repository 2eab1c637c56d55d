//! The object store behind counters.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};
use tokio::time::Instant;

use crate::table::{Kind, Metric, SECONDS, Unit};

const REQUESTS: &str = "autorep_store_requests_total";
const TIME: &str = "autorep_store_request_seconds";
const SENT: &str = "autorep_store_sent_bytes_total";
const RECEIVED: &str = "autorep_store_received_bytes_total";
const RETRIES: &str = "autorep_store_retries_total";
const FAILED_TRIES: &str = "autorep_store_failed_tries_total";

/// What is asked of a store.
const OPERATIONS: [&str; 11] = [
    "put",
    "create_upload",
    "put_part",
    "complete",
    "abort",
    "get",
    "head",
    "list",
    "copy",
    "rename",
    "delete",
];

/// How it ends.
const OUTCOMES: [&str; 7] = [
    "ok",
    "absent",
    "exists",
    "changed",
    "unsupported",
    "denied",
    "error",
];

/// The metrics of every daemon's store.
pub const TABLE: &[Metric] = &[
    Metric::counter(
        REQUESTS,
        &["operation", "outcome"],
        "Requests to the object store. Outcomes: `ok`; `absent`, `exists`, `changed` (answers to a condition, no errors); `unsupported` (a store of this kind cannot, which a coordinator tries when it starts); `denied` (credentials or rights); `error` (anything else, after the store client's own retries).",
    ),
    Metric::seconds(
        TIME,
        SECONDS,
        &["operation"],
        "Time of a request to the object store until its answer begins, retries of the store client included.",
    ),
    Metric::new(
        SENT,
        Kind::Counter,
        Unit::Bytes,
        &[],
        "Bytes of objects that were sent to the object store and taken by it.",
    ),
    Metric::new(
        RECEIVED,
        Kind::Counter,
        Unit::Bytes,
        &[],
        "Bytes of objects that the object store began to send.",
    ),
    Metric::counter(
        RETRIES,
        &[],
        "Operations on the object store that failed, after its client's own tries, and were begun anew by the worker.",
    ),
    Metric::counter(
        FAILED_TRIES,
        &["reason"],
        "Tries of the store's client that failed and that it repeats within its patience: no `connection`, `throttled` (429, 503), `server` (408, other 5xx). Of S3 stores only.",
    ),
];

/// An operation on the store failed and is tried again.
pub fn retried() {
    metrics::counter!(RETRIES).increment(1);
}

/// One try of the store's client failed.
pub(crate) fn try_failed(reason: &'static str) {
    metrics::counter!(FAILED_TRIES, "reason" => reason).increment(1);
}

/// Makes the counters of a store appear with 0, so that their first increase can be seen.
pub fn prepare() {
    for operation in OPERATIONS {
        for outcome in OUTCOMES {
            count(operation, outcome, 0);
        }
    }
    metrics::counter!(SENT).increment(0);
    metrics::counter!(RECEIVED).increment(0);
    metrics::counter!(RETRIES).increment(0);
    for reason in ["connection", "throttled", "server"] {
        metrics::counter!(FAILED_TRIES, "reason" => reason).increment(0);
    }
}

/// A store whose requests are counted and timed.
#[derive(Clone, Debug)]
pub struct MeasuredStore {
    inner: Arc<dyn ObjectStore>,
}

impl MeasuredStore {
    /// Counts what goes to `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

impl fmt::Display for MeasuredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

fn count(operation: &'static str, outcome: &'static str, requests: u64) {
    metrics::counter!(REQUESTS, "operation" => operation, "outcome" => outcome).increment(requests);
}

/// How a request ended, in one word. A store that says what a condition was for has not failed.
fn outcome(error: &Error) -> &'static str {
    if let Error::NotFound { .. } = error {
        "absent"
    } else if let Error::AlreadyExists { .. } = error {
        "exists"
    } else if let Error::Precondition { .. } | Error::NotModified { .. } = error {
        "changed"
    } else if let Error::PermissionDenied { .. } | Error::Unauthenticated { .. } = error {
        "denied"
    } else if let Error::NotImplemented { .. } | Error::NotSupported { .. } = error {
        "unsupported"
    } else {
        "error"
    }
}

fn note<T>(operation: &'static str, result: &Result<T>) {
    let outcome = result.as_ref().err().map_or("ok", outcome);
    count(operation, outcome, 1);
}

async fn timed<T>(operation: &'static str, request: impl Future<Output = Result<T>>) -> Result<T> {
    let began = Instant::now();
    let result = request.await;
    metrics::histogram!(TIME, "operation" => operation).record(began.elapsed().as_secs_f64());
    note(operation, &result);
    result
}

fn sent(bytes: usize) {
    metrics::counter!(SENT).increment(bytes as u64);
}

/// Counts what a stream of answers says; a page without errors is one request.
fn counted<T: Send + 'static>(
    operation: &'static str,
    answers: BoxStream<'static, Result<T>>,
) -> BoxStream<'static, Result<T>> {
    answers
        .inspect(move |answer| note(operation, answer))
        .boxed()
}

/// Counts the end of a listing, however many objects it has.
fn listed(
    answers: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let errors = answers.inspect(|answer| {
        if answer.is_err() {
            note("list", answer);
        }
    });
    count("list", "ok", 1);
    errors.boxed()
}

/// Counts an object that breaks off while it is read: its answer had begun well.
fn watched(result: GetResult) -> GetResult {
    metrics::counter!(RECEIVED).increment(result.range.end - result.range.start);
    let payload = match result.payload {
        GetResultPayload::Stream(stream) => {
            let stream = stream.inspect(|chunk| {
                if chunk.is_err() {
                    note("get", chunk);
                }
            });
            GetResultPayload::Stream(stream.boxed())
        }
        file @ GetResultPayload::File(..) => file,
    };
    GetResult { payload, ..result }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "a default would go around the counters"
)]
impl ObjectStore for MeasuredStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length();
        let result = timed("put", self.inner.put_opts(location, payload, options)).await;
        if result.is_ok() {
            sent(bytes);
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = timed(
            "create_upload",
            self.inner.put_multipart_opts(location, options),
        )
        .await?;
        Ok(Box::new(MeasuredUpload { inner }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let operation = if is_head { "head" } else { "get" };
        let result = timed(operation, self.inner.get_opts(location, options)).await;
        if is_head { result } else { result.map(watched) }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let result = timed("get", self.inner.get_ranges(location, ranges)).await?;
        let bytes: usize = result.iter().map(Bytes::len).sum();
        metrics::counter!(RECEIVED).increment(bytes as u64);
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        counted("delete", self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        listed(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        timed("list", self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        timed("copy", self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        timed("rename", self.inner.rename_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct MeasuredUpload {
    inner: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for MeasuredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = data.content_length();
        let part = self.inner.put_part(data);
        Box::pin(async move {
            timed("put_part", part).await?;
            sent(bytes);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        timed("complete", self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        timed("abort", self.inner.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt as _, PutMode};

    use super::*;

    #[test]
    fn what_a_folder_cannot_do_is_no_failure_of_the_store() {
        let unsupported = Error::NotImplemented {
            operation: "put if unchanged".to_owned(),
            implementer: "folder".to_owned(),
        };
        assert_eq!(outcome(&unsupported), "unsupported");
        let broken = Error::Generic {
            store: "folder",
            source: "no room".into(),
        };
        assert_eq!(outcome(&broken), "error");
    }

    async fn use_it(store: &MeasuredStore) -> Result<()> {
        let key = Path::from("a");
        store.put(&key, Bytes::from_static(b"12345").into()).await?;
        let create = PutOptions::from(PutMode::Create);
        let again = store.put_opts(&key, Bytes::from_static(b"1").into(), create);
        assert!(matches!(again.await, Err(Error::AlreadyExists { .. })));
        assert_eq!(store.get(&key).await?.bytes().await?.len(), 5);
        assert!(store.get(&Path::from("b")).await.is_err());
        let mut upload = store.put_multipart(&Path::from("c")).await?;
        upload.put_part(Bytes::from_static(b"123").into()).await?;
        upload.complete().await?;
        let listed: Vec<_> = store.list(None).collect().await;
        assert_eq!(listed.len(), 2);
        store.put_multipart(&Path::from("d")).await?.abort().await?;
        store.head(&key).await?;
        store.copy(&key, &Path::from("e")).await?;
        store.rename(&Path::from("e"), &Path::from("f")).await?;
        store.delete(&key).await
    }

    #[test]
    fn every_way_to_the_store_is_counted_and_a_missing_object_is_no_error() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let store = MeasuredStore::new(Arc::new(InMemory::new()));
        let runtime = (tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build())
        .unwrap();
        metrics::with_local_recorder(&recorder, || runtime.block_on(use_it(&store))).unwrap();
        let text = recorder.handle().render();
        for expected in [
            "requests_total{operation=\"put\",outcome=\"ok\"} 1",
            "requests_total{operation=\"put\",outcome=\"exists\"} 1",
            "requests_total{operation=\"get\",outcome=\"ok\"} 1",
            "requests_total{operation=\"get\",outcome=\"absent\"} 1",
            "requests_total{operation=\"put_part\",outcome=\"ok\"} 1",
            "requests_total{operation=\"complete\",outcome=\"ok\"} 1",
            "requests_total{operation=\"list\",outcome=\"ok\"} 1",
            "requests_total{operation=\"delete\",outcome=\"ok\"} 1",
            "requests_total{operation=\"create_upload\",outcome=\"ok\"} 2",
            "requests_total{operation=\"abort\",outcome=\"ok\"} 1",
            "requests_total{operation=\"head\",outcome=\"ok\"} 1",
            "requests_total{operation=\"copy\",outcome=\"ok\"} 1",
            "requests_total{operation=\"rename\",outcome=\"ok\"} 1",
            "sent_bytes_total 8",
            "received_bytes_total 5",
        ] {
            let line = format!("autorep_store_{expected}");
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
        assert!(!text.contains("outcome=\"error\""), "{text}");
        let counters = |text: &str| -> BTreeSet<String> {
            let counters = text.lines().filter(|line| line.contains("_total"));
            let names = counters.filter_map(|line| line.rsplit_once(' '));
            names.map(|(name, _)| name.to_owned()).collect()
        };
        let prepared = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&prepared, prepare);
        let prepared = counters(&prepared.handle().render());
        let unprepared: Vec<_> = counters(&text).difference(&prepared).cloned().collect();
        assert!(unprepared.is_empty(), "{unprepared:?}");
    }
}
