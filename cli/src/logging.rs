//! Logs to stderr: plain for people, JSON where a machine collects them.

use std::io::IsTerminal as _;

use autorep_transport::trace::TRACE_ONLY;
use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::args::Command;
use crate::output;
use crate::traces::{self, Service};
use json::JsonLines;

mod json;

/// The variable that says what to log, as in `info` or `autorep_worker=debug`.
pub const FILTER: &str = "AUTOREP_LOG";

/// Names every crate that this program is made of.
static LOCK: &str = include_str!("../../Cargo.lock");

/// What is logged for a person: warnings, but not those about failed attempts, which a run's own
/// lines tell, nor those of the figures' painter about lines without length.
const FOR_A_PERSON: &str =
    "warn,autorep_worker::attempt=error,autorep_coordinator::owner::events=error,tiny_skia=error";

/// What is logged for an operator: state changes, but not the state store's housekeeping.
const FOR_AN_OPERATOR: &str = "info,slatedb=warn";

/// How a daemon's log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// Json unless stderr is a terminal.
    #[default]
    Auto,
    /// For people: without times, in colours on a terminal.
    Text,
    /// For machines: one flat JSON object a line.
    Json,
}

/// How a daemon logs.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogArgs {
    /// How to write the log, which goes to stderr: text, json (one flat object a line, with sweep,
    /// task, generation and worker where it is about an attempt), or auto: json unless stderr is a
    /// terminal.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = true,
        env = "AUTOREP_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
}

/// Who is going to read the logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// A person who runs a command: warnings only.
    Person,
    /// Whoever runs a daemon: state changes too.
    Operator,
}

/// How this process logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logs {
    audience: Audience,
    is_json: bool,
    service: Service,
}

impl Logs {
    /// As it befits a command.
    pub fn of(command: &Command) -> Self {
        let (audience, format, service) = if let Command::Coordinator(args) = command {
            (
                Audience::Operator,
                args.logs.log_format,
                Service::Coordinator,
            )
        } else if let Command::Worker(args) = command {
            // A worker with a parent writes for the person who watches the parent.
            let is_watched = args.exit_with_parent;
            let audience = if is_watched {
                Audience::Person
            } else {
                Audience::Operator
            };
            (audience, args.logs.log_format, Service::Worker)
        } else {
            return Self::for_a_person();
        };
        let is_json = match format {
            LogFormat::Auto => audience == Audience::Operator && !std::io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        Self {
            audience,
            is_json,
            service,
        }
    }

    /// Warnings, as text.
    pub const fn for_a_person() -> Self {
        Self {
            audience: Audience::Person,
            is_json: false,
            service: Service::Command,
        }
    }

    /// Whether this is a daemon, which has no one command to trace.
    pub fn is_of_a_daemon(self) -> bool {
        self.service != Service::Command
    }

    /// Sets up logging and tracing for this process. Called once, first thing.
    ///
    /// A filter that cannot be read is reported and replaced by the default: logging is no reason
    /// to refuse work.
    pub fn init(self, writer: BoxMakeWriter) {
        let default = match self.audience {
            Audience::Person => FOR_A_PERSON,
            Audience::Operator => FOR_AN_OPERATOR,
        };
        let wanted = std::env::var(FILTER).unwrap_or_default();
        let (filter, problem) = match filter(&wanted) {
            Ok(filter) => (filter, None),
            Err(problem) => (None, Some(problem)),
        };
        let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
        let filter = filter.and(filter_fn(|it| it.target() != TRACE_ONLY));
        let (traces, warnings) = traces::layer(self.service);
        let lines = if self.is_json {
            json::tell_of_panics();
            JsonLines::new(writer).with_filter(filter).boxed()
        } else {
            tracing_subscriber::fmt::layer()
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(writer)
                // The default reports a broken stderr to stderr, by a print that panics.
                .log_internal_errors(false)
                .without_time()
                .with_filter(filter)
                .boxed()
        };
        let both = tracing_subscriber::registry().with(traces).with(lines);
        if let Err(error) = both.try_init() {
            tracing::debug!("logging was set up before: {error}");
        }
        if let Some(problem) = problem {
            tracing::warn!("{problem}; logging {default}");
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
    }

    /// Tells why the process ends, whatever is logged otherwise: an error with its causes, one a line
    /// or as one JSON object.
    pub fn report(self, error: &anyhow::Error) {
        let mut said: Vec<String> = Vec::new();
        for cause in error.chain().map(ToString::to_string) {
            // Some errors print their cause themselves.
            if !said.iter().any(|text| text.contains(&cause)) {
                said.push(cause);
            }
        }
        output::stderr(&if self.is_json {
            json::last_words(&said)
        } else {
            format!("error: {}\n", said.join("\n  because: "))
        });
    }
}

/// The filter that `wanted` is, if anything is wanted.
fn filter(wanted: &str) -> Result<Option<EnvFilter>, String> {
    let parts = wanted.split(',').map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let wanted = parts.join(",");
    if wanted.is_empty() {
        return Ok(None);
    }
    if let Some(found) = unknown(&wanted) {
        return Err(format!(
            "expected a level (error, warn, info, debug, trace or off) or a crate as in \
             autorep_worker=debug in {FILTER}, found {found:?}"
        ));
    }
    let filter = EnvFilter::try_new(&wanted);
    filter.map(Some).map_err(|error| {
        format!(
            "expected levels and crates as in info,autorep_worker=debug in {FILTER}, found \
                 {wanted:?} ({error})"
        )
    })
}

/// What in a filter is neither a level nor a crate of which this program is made. It would be taken for
/// a target, and a slip such as `inf` would silence everything.
fn unknown(filter: &str) -> Option<&str> {
    // Behind a target there may be a span, in brackets, and a level.
    let words = filter
        .split(',')
        .filter_map(|part| part.split(['=', '[']).next());
    words
        .filter(|word| !word.is_empty() && word.parse::<LevelFilter>().is_err())
        .find(|word| !is_a_crate(word.split("::").next().unwrap_or(word)))
}

fn is_a_crate(name: &str) -> bool {
    // The beginning of all of this program's own.
    name == "autorep"
        || LOCK.lines().any(|line| {
            let package = line.strip_prefix("name = \"");
            let package = package.and_then(|rest| rest.strip_suffix('"'));
            package.is_some_and(|package| package.replace('-', "_") == name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_neither_a_level_nor_a_crate_is_no_filter() {
        for fit in [
            "info",
            "WARN",
            "0",
            "info,autorep_worker=debug",
            "warn,autorep=trace,autorep_coordinator::owner::events=off",
            "h2,object_store=debug",
            "debug, hyper=warn ",
            "[attempt{task=ab}]=debug,autorep_worker[train]=info",
            FOR_A_PERSON,
            FOR_AN_OPERATOR,
        ] {
            assert!(filter(fit).is_ok_and(|it| it.is_some()), "{fit}");
        }
        for (unfit, found) in [
            ("inf", "\"inf\""),
            ("[attempt]=debug,inf", "\"inf\""),
            ("verbose", "\"verbose\""),
            ("info,autorep_wroker=debug", "\"autorep_wroker\""),
            ("autorep_worker=loud", "found \"autorep_worker=loud\""),
            ("debug,[[[", "found \"debug,[[[\""),
        ] {
            let problem = filter(unfit).unwrap_err();
            assert!(problem.contains(found), "{problem}");
        }
        for nothing in ["", ",", " , "] {
            assert!(filter(nothing).is_ok_and(|it| it.is_none()), "{nothing}");
        }
    }
}
