//! Traces from a person's command to the trainer, as a collector gets them over OTLP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::daemons::{coordinator_on, end_well};
use crate::kill::tiny;
use crate::sandbox::{Running, Sandbox, finish, program};
use crate::sweep::TINY;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const COMMANDS_PARENT: &str = "00f067aa0ba902b7";

/// A span, with who made it.
#[derive(Clone, Debug)]
struct Seen {
    service: String,
    span: Span,
}

impl Seen {
    fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn attribute(all: &[KeyValue], key: &str) -> Option<String> {
    let found = all.iter().find(|it| it.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other @ (Value::BoolValue(_)
        | Value::DoubleValue(_)
        | Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => Some(format!("{other:?}")),
    }
}

/// Takes spans and keeps them.
#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<Seen>>>,
    headers: Arc<Mutex<BTreeSet<String>>>,
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(value) = request.metadata().get("x-tenant") {
            let value = value.to_str().unwrap().to_owned();
            self.headers.lock().unwrap().insert(value);
        }
        for of_one in request.into_inner().resource_spans {
            let resource = of_one.resource.unwrap_or_default();
            let service = attribute(&resource.attributes, "service.name").unwrap();
            let spans = of_one.scope_spans.into_iter().flat_map(|it| it.spans);
            let seen = spans.map(|span| Seen {
                service: service.clone(),
                span,
            });
            self.spans.lock().unwrap().extend(seen);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector on a port of its own, as long as it lives.
struct Collector {
    kept: Kept,
    url: String,
    _runtime: Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let kept = Kept::default();
        let incoming = {
            let _inside = runtime.enter();
            TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
        };
        let url = format!("http://{}", incoming.local_addr().unwrap());
        let service = TraceServiceServer::new(kept.clone());
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self {
            kept,
            url,
            _runtime: runtime,
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.kept.spans.lock().unwrap().clone()
    }
}

/// Those of one name and service, by their ids.
fn of<'a>(seen: &'a [Seen], service: &str, name: &str) -> BTreeMap<String, &'a Seen> {
    let wanted = seen
        .iter()
        .filter(|it| it.service == service && it.span.name == name);
    wanted.map(|it| (it.id(), it)).collect()
}

/// Whether a span of the worker has a call of the coordinator below it.
fn calls(seen: &[Seen], caller: &Seen, method: &str) -> bool {
    let name = format!("autorep.v1.Fleet/{method}");
    let all = of(seen, "autorep-coordinator", &name);
    all.values().any(|it| it.parent() == caller.id())
}

/// A sweep of five tasks, submitted inside a trace, worked on after the coordinator has been started
/// anew. Returns what the worker has logged, and the log of each task's trainer.
fn traced_sweep(sandbox: &Sandbox, collector: &Collector) -> (String, Vec<String>) {
    sandbox.write("sweep.yaml", &TINY.replace("[450, 40%]", "[450]"));
    // A path, as OTLP over HTTP has it, is passed over.
    let endpoint = format!("{}/v1/traces", collector.url);
    let traced = || -> Command {
        let mut command = sandbox.autorep();
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=lab");
        command
    };
    let (first, url) = coordinator_on(&mut traced(), "store");
    let mut submit = traced();
    submit
        .args(["submit", "sweep.yaml", "--coordinator", &url])
        .env("TRACEPARENT", format!("00-{TRACE}-{COMMANDS_PARENT}-01"));
    finish(&mut submit).expect_code(0);
    first.signal(rustix::process::Signal::TERM);
    first.wait();

    let (coordinator, url) = coordinator_on(&mut traced(), "store");
    let mut worker = traced();
    worker
        .args(["worker", "--name", "w", "--coordinator", &url])
        .args(["--store", "store", "--threads", "1", "--trainer"])
        .arg(program("autorep-trainer"));
    let worker = Running::start(&mut worker);
    let person = |arguments: &[&str]| {
        let mut command = sandbox.autorep();
        command.args(arguments).env("AUTOREP_COORDINATOR", &url);
        finish(&mut command).expect_code(0).stdout
    };
    person(&["watch", "tiny"]);
    worker.signal(rustix::process::Signal::TERM);
    let (status, log) = worker.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let tasks: BTreeSet<String> = (log.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| Some(line["task"].as_str()?.to_owned()))
        .collect();
    let trainers = tasks.iter().map(|task| person(&["logs", task])).collect();
    coordinator.signal(rustix::process::Signal::TERM);
    coordinator.wait();
    (log, trainers)
}

#[test]
fn one_trace_runs_from_the_command_through_a_restart_to_every_trainers_log() {
    let sandbox = Sandbox::new();
    let collector = Collector::start();
    let (worker_log, trainers) = traced_sweep(&sandbox, &collector);

    let seen = collector.seen();
    for poll in ["Acquire", "Renew", "Show"] {
        assert!(
            !seen.iter().any(|it| it.span.name.ends_with(poll)),
            "{poll}"
        );
    }
    // Others' calls, such as the worker's registration, are in traces of their own.
    let seen: Vec<Seen> = (seen.into_iter())
        .filter(|it| hex(&it.span.trace_id) == TRACE)
        .collect();
    let command = of(&seen, "autorep", "autorep submit");
    let [command] = command.values().collect::<Vec<_>>()[..] else {
        panic!("{command:?}");
    };
    assert_eq!(command.parent(), COMMANDS_PARENT);
    let call = of(&seen, "autorep-coordinator", "autorep.v1.Lab/Submit");
    let [call] = call.values().collect::<Vec<_>>()[..] else {
        panic!("{call:?}");
    };
    assert_eq!(call.parent(), command.id());
    assert_eq!(call.attribute("rpc.grpc.status_code").as_deref(), Some("0"));

    let granted = of(&seen, "autorep-coordinator", "attempt");
    assert_eq!(granted.len(), 5);
    for attempt in granted.values() {
        assert_eq!(attempt.parent(), call.id());
        assert_eq!(attempt.attribute("worker").as_deref(), Some("w"));
        assert_eq!(attempt.attribute("sweep").as_deref(), Some("tiny"));
    }
    let worked = of(&seen, "autorep-worker", "attempt");
    let parents: BTreeSet<String> = worked.values().map(|it| it.parent()).collect();
    assert_eq!(parents, granted.keys().cloned().collect());
    for attempt in worked.values() {
        let of_coordinator = granted[&attempt.parent()];
        assert_eq!(attempt.attribute("task"), of_coordinator.attribute("task"));
        for child in ["fetch", "train"] {
            let children = of(&seen, "autorep-worker", child);
            let own = children.values().filter(|it| it.parent() == attempt.id());
            assert_eq!(own.count(), 1, "{child} of {attempt:?}");
        }
    }
    let stored = of(&seen, "autorep-worker", "store");
    assert!(stored.len() >= 3 && stored.values().all(|it| worked.contains_key(&it.parent())));
    assert!(stored.values().all(|it| calls(&seen, it, "Commit")));
    assert!(worked.values().all(|it| calls(&seen, it, "Finish")));
    let headers = collector.kept.headers.lock().unwrap().clone();
    assert_eq!(headers, BTreeSet::from(["lab".to_owned()]));

    assert_eq!(trainers.len(), 5);
    for log in trainers {
        assert!(log.contains(&format!("trace_id={TRACE}\n")), "{log}");
    }
    let lines = worker_log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let told = lines.iter().filter(|line| !line["task"].is_null());
    assert!(told.clone().count() >= 10, "{worker_log}");
    for line in told {
        assert_eq!(line["trace_id"], TRACE, "{line}");
        assert_eq!(line["span_id"].as_str().map(str::len), Some(16), "{line}");
    }
}

#[test]
fn without_a_collector_calls_and_lines_have_their_ids_all_the_same() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 6 2 4096 3\n");
    let (coordinator, url) = coordinator_on(&mut sandbox.autorep(), "store");
    let lab = |arguments: &[&str]| {
        let mut command = sandbox.autorep();
        command
            .args(arguments)
            .env("AUTOREP_COORDINATOR", &url)
            .env("TRACEPARENT", format!("00-{TRACE}-{COMMANDS_PARENT}-01"));
        command
    };
    finish(&mut lab(&["submit", "sweep.yaml"])).expect_code(0);
    let mut worker = lab(&["worker", "--name", "w", "--store", "store", "--trainer"]);
    let mut worker = Running::start(worker.arg(program("autorep-trainer-double")));
    worker.wait_for_line(&["begins", &format!("\"trace_id\":\"{TRACE}\"")]);
    finish(&mut lab(&["watch", "tiny"])).expect_code(0);
    end_well([worker, coordinator]);
}

#[test]
fn a_collector_that_is_away_or_does_not_answer_is_told_of_once_and_stops_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 6 2 4096 3\n");
    let mut run = sandbox.run("store");
    // Nobody listens on this port, which the system keeps for itself.
    run.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("AUTOREP_TRAINER", program("autorep-trainer-double"));
    let run = finish(&mut run).expect_code(0);
    let said = "expected a collector that takes traces";
    let own = run
        .stderr
        .lines()
        .filter(|line| !line.starts_with("worker-"));
    assert_eq!(
        own.filter(|line| line.contains(said)).count(),
        1,
        "{}",
        run.stderr
    );

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut nets = sandbox.autorep();
    let address = format!("http://{}", silent.local_addr().unwrap());
    nets.arg("nets")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        .env("OTEL_TRACES_SAMPLER", "sometimes");
    let since = Instant::now();
    let nets = finish(&mut nets).expect_code(0);
    assert!(
        since.elapsed() < Duration::from_secs(8),
        "{:?}",
        since.elapsed()
    );
    for said in [said, "in OTEL_TRACES_SAMPLER, found \"sometimes\""] {
        assert_eq!(nets.stderr.matches(said).count(), 1, "{}", nets.stderr);
    }

    let mut nets = sandbox.autorep();
    nets.arg("nets")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere at all");
    let nets = finish(&mut nets).expect_code(0);
    assert!(nets.stderr.contains("traces go nowhere"), "{}", nets.stderr);
}
