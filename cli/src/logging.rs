//! Logs to stderr: plain for people, JSON where a machine collects them.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// The variable that says what to log, as in `info` or `autorep_worker=debug`.
pub const FILTER: &str = "AUTOREP_LOG";

/// What is logged for a person: warnings, but not those about failed attempts, which a run's own
/// lines tell, nor those of the figures' painter about lines without length.
const FOR_A_PERSON: &str =
    "warn,autorep_worker::attempt=error,autorep_coordinator::owner::events=error,tiny_skia=error";

/// What is logged for an operator: state changes, but not the state store's housekeeping.
const FOR_AN_OPERATOR: &str = "info,slatedb=warn";

/// Who is going to read the logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// A person who runs a command: warnings only.
    Person,
    /// Whoever runs a daemon: state changes too, as JSON unless stderr is a terminal.
    Operator,
}

/// Sets up logging for this process. Called once, first thing.
///
/// A filter that cannot be read is reported and replaced by the default: logging is no reason
/// to refuse work.
pub fn init(audience: Audience, writer: BoxMakeWriter) {
    let (default, json) = match audience {
        Audience::Person => (FOR_A_PERSON, false),
        Audience::Operator => (FOR_AN_OPERATOR, !std::io::stderr().is_terminal()),
    };
    let wanted = std::env::var(FILTER).unwrap_or_default();
    let (filter, problem) = if wanted.is_empty() {
        (EnvFilter::new(default), None)
    } else {
        match EnvFilter::try_new(&wanted) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(default), Some(error)),
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!json && std::io::stderr().is_terminal())
        .with_writer(writer)
        // The default reports a broken stderr to stderr, by a print that panics.
        .log_internal_errors(false);
    let installed = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.without_time().try_init()
    };
    if let Err(error) = installed {
        tracing::debug!("logging was set up before: {error}");
    }
    if let Some(error) = problem {
        tracing::warn!("{FILTER} is not a filter ({error}); logging {default}");
    }
}
