//! A small HTTP server: three pages, a bounded number of connections, each for one request and a
//! bounded time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use autorep_measure::Health;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The most connections at a time; one more takes the place of the oldest. A few Prometheus servers and
/// the kubelet need one each, and are answered at once: what is old has asked for nothing.
const CONNECTIONS: usize = 64;

/// How long a request's head may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may live.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);

/// How long to wait after a connection could not be taken: for want of file descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// How often an overload is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What the pages say.
#[derive(Clone)]
pub(super) struct Served {
    metrics: PrometheusHandle,
    health: Health,
}

impl Served {
    pub(super) const fn new(metrics: PrometheusHandle, health: Health) -> Self {
        Self { metrics, health }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n".to_owned());
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        match path {
            "/metrics" => {
                let mut text = page(StatusCode::OK, self.metrics.render());
                let prometheus =
                    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                text.headers_mut().insert(CONTENT_TYPE, prometheus);
                text
            }
            "/livez" => page(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match self.health.unready() {
                None => page(StatusCode::OK, "ok\n".to_owned()),
                Some(reason) => {
                    let text = format!("not ready: {reason}\n");
                    page(StatusCode::SERVICE_UNAVAILABLE, text)
                }
            },
            _ => page(
                StatusCode::NOT_FOUND,
                "expected /metrics, /livez or /readyz\n".to_owned(),
            ),
        }
    }
}

fn page(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(text));
    *page.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    page.headers_mut().insert(CONTENT_TYPE, plain);
    page
}

/// Serves for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, served: Served) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut told = None::<Instant>;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a request for metrics could not be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|conversation| !conversation.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                told = Some(Instant::now());
                tracing::warn!(
                    limit = CONNECTIONS,
                    "a connection for metrics was closed: there are as many as there may be; see who \
                     reaches that port"
                );
            }
        }
        let conversation = tokio::spawn(converse(stream, served.clone()));
        open.push_back(conversation.abort_handle());
    }
}

/// Answers one request.
async fn converse(stream: TcpStream, served: Served) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let answer = served.answer(request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_WITHIN, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request for metrics broke off"),
        Err(_elapsed) => tracing::debug!("a request for metrics took too long"),
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn asked(health: &Health, requests: &[&str]) -> Vec<String> {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("seen_total").increment(3));
        let served = Served::new(recorder.handle(), health.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, served));
        let mut answers = Vec::new();
        for request in requests {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("{request} HTTP/1.1\r\nhost: here\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // It ends because the server closes the connection.
            stream.read_to_string(&mut answer).await.unwrap();
            answers.push(answer);
        }
        serving.abort();
        answers
    }

    #[tokio::test]
    async fn metrics_and_health_are_pages_and_nothing_else_is() {
        let health = Health::new("it stands by");
        let answers = asked(
            &health,
            &[
                "GET /metrics",
                "GET /livez",
                "GET /readyz",
                "GET /",
                "POST /metrics",
            ],
        )
        .await;
        let begins = |at: usize, with: &str| {
            assert!(answers[at].starts_with(with), "{}", answers[at]);
        };
        begins(0, "HTTP/1.1 200");
        assert!(answers[0].contains("text/plain; version=0.0.4"));
        assert!(answers[0].contains("seen_total 3"), "{}", answers[0]);
        begins(1, "HTTP/1.1 200");
        begins(2, "HTTP/1.1 503");
        assert!(answers[2].ends_with("not ready: it stands by\n"));
        begins(3, "HTTP/1.1 404");
        begins(4, "HTTP/1.1 405");
        health.ready();
        assert!(asked(&health, &["GET /readyz"]).await[0].starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn who_says_nothing_keeps_nobody_from_being_answered() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let served = Served::new(recorder.handle(), Health::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, served));
        let mut silent = Vec::new();
        for _ in 0..=CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: here\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_not_waited_for() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let served = Served::new(recorder.handle(), Health::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, served));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let began = tokio::time::Instant::now();
        let mut answer = Vec::new();
        silent.read_to_end(&mut answer).await.unwrap();
        assert!(
            began.elapsed() <= CONNECTION_WITHIN,
            "{:?}",
            began.elapsed()
        );
        serving.abort();
    }
}
