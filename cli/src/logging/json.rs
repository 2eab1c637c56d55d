//! Log lines for machines: one flat JSON object each.
//!
//! A line has `timestamp` (RFC 3339, UTC), `level`, `target` and `message`, then the fields of the
//! spans around it, its own, and `trace_id` and `span_id`, all at top level: of fields of the same
//! name the innermost counts, so that `jq 'select(.task == "…")'` finds every line about a task,
//! whoever wrote it. A field that is called like one of the fixed ones has `field.` before its name.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::Write as _;

use opentelemetry::trace::TraceContextExt as _;
use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::output;

/// What every line has beside its message.
const FIXED: [&str; 3] = ["timestamp", "level", "target"];

/// The field that tells what a line is about.
const MESSAGE: &str = "message";

/// The target of what this module says itself.
const OWN_TARGET: &str = "autorep_cli";

/// Writes events as lines.
pub(super) struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    pub(super) const fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_outer(outer);
            }
        }
        let mut own = Fields::default();
        event.record(&mut own);
        own.add_outer(&fields);
        let current = opentelemetry::Context::current();
        let current = current.span().span_context().clone();
        if current.is_valid() {
            own.set("trace_id", current.trace_id().to_string());
            own.set("span_id", current.span_id().to_string());
        }
        // What comes from the crate `log` says in fields where it comes from.
        let normal = event.normalized_metadata();
        let metadata = normal.as_ref().unwrap_or_else(|| event.metadata());
        let line = line(*metadata.level(), metadata.target(), &own);
        // A broken stderr is no reason to stop. In one piece, or lines of several threads would mix.
        let mut writer = self.writer.make_writer_for(event.metadata());
        drop(writer.write_all(&line));
    }
}

/// Named values, each name once.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        // Names that are words of the language are written so that they are none.
        let name = name.strip_prefix("r#").unwrap_or(name);
        if name.starts_with("log.") {
            return;
        }
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds what is said further out and not here.
    fn add_outer(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if self.get(name).is_none() {
                self.0.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        let number = serde_json::Number::from_f64(value);
        let value = number.map_or_else(|| Value::from(value.to_string()), Value::Number);
        self.set(field.name(), value);
    }
}

/// One line with its end.
fn line(level: Level, target: &str, fields: &Fields) -> Vec<u8> {
    let mut timestamp = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut line = Vec::with_capacity(256);
    let write = |line: &mut Vec<u8>| -> serde_json::Result<()> {
        let mut serializer = serde_json::Serializer::new(line);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &timestamp)?;
        map.serialize_entry("level", level.as_str())?;
        map.serialize_entry("target", target)?;
        let nothing = Value::from("");
        map.serialize_entry(MESSAGE, fields.get(MESSAGE).unwrap_or(&nothing))?;
        for (name, value) in fields.0.iter().filter(|(name, _)| *name != MESSAGE) {
            if FIXED.contains(name) {
                map.serialize_entry(&format!("field.{name}"), value)?;
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    };
    // Text and numbers have a JSON form, and memory takes what is written.
    drop(write(&mut line));
    line.push(b'\n');
    line
}

fn own_line(fields: &Fields) -> String {
    String::from_utf8_lossy(&line(Level::ERROR, OWN_TARGET, fields)).into_owned()
}

/// The line that tells why a process ends: an error, and its causes.
pub(super) fn last_words(said: &[String]) -> String {
    let mut fields = Fields::default();
    if let Some((error, causes)) = said.split_first() {
        fields.set(MESSAGE, error.as_str());
        if !causes.is_empty() {
            fields.set("cause", causes.join(": "));
        }
    }
    own_line(&fields)
}

/// Makes panics lines as well, instead of what the standard library prints.
pub(super) fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut fields = Fields::default();
        fields.set(
            MESSAGE,
            panic.payload_as_str().unwrap_or("a panic without words"),
        );
        if let Some(location) = panic.location() {
            fields.set("panicked_at", location.to_string());
        }
        if let Some(name) = std::thread::current().name() {
            fields.set("thread", name);
        }
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            fields.set("backtrace", backtrace.to_string());
        }
        output::stderr(&own_line(&fields));
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is logged while `work` runs, without the times.
    fn logged(filter: &str, work: impl FnOnce()) -> Vec<Value> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let writer = move || Sink(Arc::clone(&sink));
        let lines = JsonLines::new(writer).with_filter(EnvFilter::new(filter));
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        text.lines().map(without_time).collect()
    }

    /// A line, once its time has been looked at.
    fn without_time(line: &str) -> Value {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        let time = fields.remove("timestamp").unwrap();
        let time = time.as_str().unwrap();
        let shape: String = (time.chars())
            .map(|it| if it.is_ascii_digit() { '0' } else { it })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{time}");
        line
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn fields_of_spans_stand_at_top_level_and_the_innermost_counts() {
        let lines = logged("info", || {
            let outer = tracing::error_span!(
                "outer",
                sweep = "x",
                worker = "a",
                late = tracing::field::Empty
            );
            let _outer = outer.enter();
            let _inner = tracing::error_span!("inner", task = %"ab12", worker = "b").entered();
            outer.record("late", true);
            tracing::info!(worker = "c", generation = 3_u64, share = 0.5, "works");
            tracing::warn!(error = %"none", "fails");
        });
        let target = module_path!();
        assert_eq!(
            lines,
            [
                json!({
                    "level": "INFO", "target": target, "message": "works", "sweep": "x",
                    "task": "ab12", "worker": "c", "generation": 3, "share": 0.5, "late": true,
                }),
                json!({
                    "level": "WARN", "target": target, "message": "fails", "sweep": "x",
                    "task": "ab12", "worker": "b", "error": "none", "late": true,
                }),
            ]
        );
    }

    #[test]
    fn a_filter_that_lets_only_errors_through_leaves_them_their_fields() {
        let lines = logged("error", || {
            let _span = tracing::error_span!("attempt", sweep = "x").entered();
            tracing::warn!("is not told");
            tracing::error!("is told");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["sweep"], "x");
    }

    #[test]
    fn nothing_takes_the_place_of_a_fixed_field_or_breaks_a_line() {
        let lines = logged("info", || {
            tracing::info!(
                level = "high",
                target = "moon",
                timestamp = 7,
                r#type = "odd",
                infinite = f64::INFINITY,
                "two\nlines and \"quotes\""
            );
            tracing::info!(only = 1);
        });
        let target = module_path!();
        assert_eq!(
            lines,
            [
                json!({
                    "level": "INFO", "target": target, "message": "two\nlines and \"quotes\"",
                    "field.level": "high", "field.target": "moon", "field.timestamp": 7,
                    "type": "odd", "infinite": "inf",
                }),
                json!({"level": "INFO", "target": target, "message": "", "only": 1}),
            ]
        );
    }

    #[test]
    fn the_last_words_of_a_process_are_a_line_with_their_causes() {
        let said = ["serve".to_owned(), "no port".to_owned(), "taken".to_owned()];
        assert_eq!(
            without_time(&last_words(&said)),
            json!({
                "level": "ERROR", "target": "autorep_cli", "message": "serve",
                "cause": "no port: taken",
            })
        );
    }
}
