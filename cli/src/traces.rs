//! Traces: every command and call gets its ids, and a collector gets the spans if there is one.
//!
//! Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing is sent anywhere, but trace contexts are made and
//! passed on all the same, so that log lines of several processes can be joined. With it, spans go
//! out over OTLP (gRPC) in the background, on a runtime of their own; a collector that is away is
//! told of once and costs its spans, nothing else.

use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use autorep_core::text::redacted;
use autorep_transport::Credentials;
use autorep_transport::trace::{self, TRACE_ONLY};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{RetryPolicy, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Handle, Runtime};
use tracing::{Level, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

mod doubts;

/// How long a process that ends waits for the collector to take what is left.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// How long a collector may take for a batch, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says.
const BATCH_WITHIN: Duration = Duration::from_secs(10);

/// Which part of the program traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// A person's command.
    Command,
    /// The coordinator as a daemon.
    Coordinator,
    /// A worker.
    Worker,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Command => "autorep",
            Self::Coordinator => "autorep-coordinator",
            Self::Worker => "autorep-worker",
        }
    }

    /// A person is not to wait for a collector that is away; a daemon has time.
    fn retries(self) -> RetryPolicy {
        match self {
            Self::Command => RetryPolicy::disabled(),
            Self::Coordinator | Self::Worker => RetryPolicy::recommended(),
        }
    }
}

/// What makes spans of this process, and where they go.
struct Tracing {
    provider: SdkTracerProvider,
    /// Whether it has been said that nobody takes the spans.
    is_away: Arc<AtomicBool>,
    /// Sends them, if they are sent.
    _runtime: Option<Runtime>,
}

/// The one of this process.
static TRACING: OnceLock<Tracing> = OnceLock::new();

/// What traces this process, to be set up with its logs, once; and what is to be warned of then: why
/// nothing can be sent although that was asked for, or what of it cannot be meant.
pub(crate) fn layer<S>(service: Service) -> (impl Layer<S>, Vec<String>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_away = Arc::default();
    let (exporter, warnings) = match exporter(service, &is_away) {
        Ok(None) => (None, vec![]),
        Ok(exporter) => (exporter, doubts::doubts(said)),
        Err(error) => (None, vec![format!("traces go nowhere: {error:#}")]),
    };
    let mut builder = SdkTracerProvider::builder().with_resource(resource(service));
    let mut runtime = None;
    if let Some((exporter, its_runtime)) = exporter {
        builder = builder.with_batch_exporter(exporter);
        runtime = Some(its_runtime);
    }
    let provider = builder.build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("autorep"))
        // Where in the source a span is made says less than its name.
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|it| {
            it.target().starts_with("autorep") && *it.level() <= Level::INFO
        }));
    let tracing = Tracing {
        provider,
        is_away,
        _runtime: runtime,
    };
    if TRACING.set(tracing).is_err() {
        tracing::debug!("tracing was set up before");
    }
    (layer, warnings)
}

fn command_span(name: &str) -> Span {
    let span = tracing::info_span!(
        target: TRACE_ONLY,
        parent: None,
        "command",
        otel.name = format!("autorep {name}"),
        otel.status_code = tracing::field::Empty,
    );
    let [parent, state] =
        ["TRACEPARENT", "TRACESTATE"].map(|name| env::var(name).unwrap_or_default());
    trace::continue_from(&span, &parent, &state);
    span
}

/// Carries a person's command out inside a span, which continues the trace that the variable
/// TRACEPARENT names.
pub(crate) fn traced<T>(name: &str, command: impl FnOnce() -> Result<T>) -> Result<T> {
    let span = command_span(name);
    let done = span.in_scope(command);
    if done.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    done
}

/// Gives the collector what it has not got yet; called when everything else has ended.
pub(crate) fn flush() {
    let Some(tracing) = TRACING.get() else {
        return;
    };
    let flushed = tracing.provider.shutdown_with_timeout(LAST_CHANCE);
    if let Err(error) = flushed {
        tell(&tracing.is_away, &error.to_string());
    }
}

/// Says once that nobody takes the spans.
fn tell(is_away: &AtomicBool, cause: &str) {
    if !is_away.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            cause,
            "expected a collector that takes traces where OTEL_EXPORTER_OTLP_ENDPOINT says, found \
             none; what is traced is lost until there is one"
        );
    }
}

/// What a variable says, if it says something.
fn said(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the variable of this name for OTLP says, first the one for traces alone.
fn variable(name: &str) -> Option<String> {
    let for_traces = said(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
    for_traces.or_else(|| said(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

fn resource(service: Service) -> Resource {
    let builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let is_named = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"]
        .map(|name| env::var(name).unwrap_or_default());
    let [name, attributes] = is_named;
    if name.is_empty() && !attributes.contains("service.name=") {
        return builder.with_service_name(service.name()).build();
    }
    builder.build()
}

/// What sends spans, with what it runs on; nothing where that is not asked for.
fn exporter(service: Service, is_away: &Arc<AtomicBool>) -> Result<Option<(Exporter, Runtime)>> {
    let is =
        |name: &str, value: &str| env::var(name).is_ok_and(|it| it.eq_ignore_ascii_case(value));
    let Some(endpoint) = variable("ENDPOINT") else {
        return Ok(None);
    };
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    if let Some(protocol) = variable("PROTOCOL").filter(|it| it != "grpc") {
        bail!(
            "expected grpc in OTEL_EXPORTER_OTLP_PROTOCOL, which is all there is, found {protocol:?}"
        );
    }
    let address = address(&endpoint)?;
    let within = match variable("TIMEOUT") {
        None => BATCH_WITHIN,
        Some(text) => Duration::from_millis(text.parse().with_context(|| {
            format!("expected milliseconds in OTEL_EXPORTER_OTLP_TIMEOUT, found {text:?}")
        })?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("traces")
        .enable_all()
        .build()
        .context("start the runtime that sends traces")?;
    let inside = runtime.enter();
    let (channel, _no_token) = credentials(&address).channel(&address, |endpoint| {
        endpoint.connect_timeout(within).timeout(within)
    })?;
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_retry_policy(service.retries())
        .build()
        .context("set up what sends traces")?;
    drop(inside);
    let exporter = Exporter {
        inner: Arc::new(inner),
        runtime: runtime.handle().clone(),
        within,
        is_away: Arc::clone(is_away),
    };
    Ok(Some((exporter, runtime)))
}

/// The collector's address. One without a scheme is encrypted unless the variable for that says not.
fn address(endpoint: &str) -> Result<http::Uri> {
    let is_plain = variable("INSECURE").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let whole = match (endpoint.contains("://"), is_plain) {
        (true, _) => endpoint.to_owned(),
        (false, true) => format!("http://{endpoint}"),
        (false, false) => format!("https://{endpoint}"),
    };
    let address: Option<http::Uri> = whole.parse().ok();
    let is_fit = |it: &http::Uri| {
        matches!(it.scheme_str(), Some("http" | "https"))
            && it.host().is_some_and(|it| !it.is_empty())
    };
    address.filter(is_fit).with_context(|| {
        format!(
            "expected a collector's address like http://HOST:4317 in OTEL_EXPORTER_OTLP_ENDPOINT, \
             found {:?}",
            redacted(endpoint)
        )
    })
}

/// By what the collector is known, and this process to it.
fn credentials(address: &http::Uri) -> Credentials {
    if address.scheme_str() == Some("http") {
        return Credentials::default();
    }
    let file = |name: &str| variable(name).map(PathBuf::from);
    Credentials {
        authorities: file("CERTIFICATE"),
        identity: file("CLIENT_CERTIFICATE").zip(file("CLIENT_KEY")),
        ..Credentials::default()
    }
}

/// Sends spans, and says once if nobody takes them.
#[derive(Debug)]
struct Exporter {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    within: Duration,
    is_away: Arc<AtomicBool>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (inner, within) = (Arc::clone(&self.inner), self.within);
        // The thread that asks has no runtime.
        let sending = self
            .runtime
            .spawn(async move { tokio::time::timeout(within, inner.export(batch)).await });
        let cause = match sending.await {
            Ok(Ok(Ok(()))) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes traces");
                }
                return Ok(());
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_elapsed)) => format!("no answer within {} s", within.as_secs()),
            Err(error) => error.to_string(),
        };
        tell(&self.is_away, &cause);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nothing is being sent yet.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_span_is_in_the_trace_that_a_traceparent_names_or_in_one_of_its_own() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = |parent: &str| {
                let span = tracing::info_span!(parent: None, "span");
                trace::continue_from(&span, parent, "");
                let traceparent = trace::of(&span);
                assert_eq!(traceparent.len(), PARENT.len(), "{traceparent}");
                assert_eq!(span.in_scope(trace::current), traceparent);
                traceparent
            };
            let child = span(PARENT);
            assert_eq!(child[..36], PARENT[..36]);
            assert_ne!(child[36..52], PARENT[36..52]);
            for none in ["", "00-4bf9-00f0-01", "no parent"] {
                assert_ne!(span(none)[..36], PARENT[..36], "{none:?}");
            }
        });
        let untraced = tracing::info_span!("untraced");
        trace::continue_from(&untraced, PARENT, "");
        assert_eq!(trace::of(&untraced), "");
    }

    #[test]
    fn an_address_is_encrypted_unless_it_says_otherwise() {
        let read = |text: &str| address(text).map(|it| it.to_string());
        assert_eq!(
            read("http://collector:4317").unwrap(),
            "http://collector:4317/"
        );
        assert_eq!(read("collector:4317").unwrap(), "https://collector:4317/");
        for bad in ["ftp://me:hunter2@collector", "http://", "no address"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{error}");
        }
    }
}
