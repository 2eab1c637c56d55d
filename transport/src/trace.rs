//! Which trace a call and a span belong to, as W3C Trace Context says it: nothing where this process
//! does not trace, so that whoever asks need not know.

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, global};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of spans that are made for traces alone: they are in no log.
pub const TRACE_ONLY: &str = "autorep::trace";

/// The header that names a trace and a span in it, and the variable of the same name.
const PARENT: &str = "traceparent";

/// The header with what others who trace want kept beside it.
const STATE: &str = "tracestate";

/// The two headers.
#[derive(Debug, Default)]
struct Carrier {
    parent: String,
    state: String,
}

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        match key {
            PARENT => self.parent = value,
            STATE => self.state = value,
            _ => {}
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        let value = match key {
            PARENT => &self.parent,
            STATE => &self.state,
            _ => return None,
        };
        (!value.is_empty()).then_some(value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}

impl Carrier {
    fn of(context: &Context) -> Self {
        let mut carrier = Self::default();
        global::get_text_map_propagator(|it| it.inject_context(context, &mut carrier));
        carrier
    }

    /// Makes `span`, which must not have been entered, a part of the trace; leaves it alone where this
    /// names none.
    fn lead(&self, span: &Span) {
        let nowhere = Context::new();
        let context = global::get_text_map_propagator(|it| it.extract_with_context(&nowhere, self));
        if context.span().span_context().is_valid() {
            // Where nothing is traced there is nothing to be a part of.
            let _ = span.set_parent(context);
        }
    }
}

/// The span that this thread is in, as a `traceparent`; empty outside of any.
pub fn current() -> String {
    Carrier::of(&Context::current()).parent
}

/// A span as a `traceparent`; empty where nothing is traced.
pub fn of(span: &Span) -> String {
    Carrier::of(&span.context()).parent
}

/// Makes `span` a child of the one that a `traceparent` names, with its `tracestate`. One that is
/// empty or is none changes nothing.
pub fn continue_from(span: &Span, parent: &str, state: &str) {
    let (parent, state) = (parent.to_owned(), state.to_owned());
    Carrier { parent, state }.lead(span);
}

/// Makes `span` a child of the one that a call's headers name.
pub fn continue_call(span: &Span, headers: &HeaderMap) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let [parent, state] = [PARENT, STATE].map(|name| text(name).unwrap_or_default());
    continue_from(span, parent, state);
}

/// Puts the span that this thread is in into a call.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let Carrier { parent, state } = Carrier::of(&Context::current());
    for (name, value) in [(PARENT, parent), (STATE, state)] {
        if let Ok(value) = MetadataValue::<Ascii>::try_from(value)
            && !value.is_empty()
        {
            metadata.insert(MetadataKey::from_static(name), value);
        }
    }
}
