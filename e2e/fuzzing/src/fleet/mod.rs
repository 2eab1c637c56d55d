//! What workers say: any bytes as each request, put to the ledger ([`ledger`]) and to the real
//! service with the ledger's owner behind it ([`service`]).
//!
//! An input is a row of requests: a byte for the method, two for the length, and the message. So
//! that inputs lead further than to "no such task", ids and digests that are one character long
//! stand for those of the sweep that is there.

use std::sync::OnceLock;

use autorep_core::digest::Digest;
use autorep_core::manifest;
use autorep_core::plan::Plan;
use autorep_proto::{PROTOCOL_VERSION, v1};
use prost::Message;

pub(crate) mod ledger;
pub(crate) mod service;

/// Requests of one input at most.
const REQUESTS: usize = 24;

/// The sweep that is there: a baseline, two searches, two finetunes, and three evaluations.
pub(crate) const MANIFEST: &str = "
apiVersion: autorep/v1
kind: Sweep
metadata: { name: tiny }
spec:
  data: { name: fashion-mnist, train_limit: 1000 }
  net: { name: resnet9, width: 8 }
  budgets: [1K, 3K]
  seeds: [0]
  baseline: { epochs: 1 }
  replace: { epochs: 1 }
  finetune: { epochs: 1 }
  retry: { attempts: 2, backoff: 0s }
  checkpoint: { every: 7s }
";

/// Its plan.
pub(crate) fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let manifest = manifest::parse(MANIFEST).expect("the manifest is good");
        Plan::expand(&manifest)
    })
}

/// One request, decoded.
enum Request {
    Register(v1::RegisterRequest),
    Acquire(v1::AcquireRequest),
    Renew(v1::RenewRequest),
    Commit(v1::CommitRequest),
    Finish(v1::FinishRequest),
    Fail(v1::FailRequest),
    Release(v1::ReleaseRequest),
    /// No request: so much time goes by.
    Wait {
        ms: u64,
    },
}

/// The requests of an input.
fn requests(mut input: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let [method, high, low, rest @ ..] = input
        && requests.len() < REQUESTS
    {
        let length = u16::from_be_bytes([*high, *low]);
        let (body, after) = rest.split_at(usize::from(length).min(rest.len()));
        // What does not decode is refused before any of our code sees it.
        if let Ok(request) = request(*method, body) {
            requests.push(request);
        }
        input = after;
    }
    requests
}

fn request(method: u8, body: &[u8]) -> Result<Request, prost::DecodeError> {
    Ok(match method % 8 {
        0 => Request::Register(Message::decode(body)?),
        1 => Request::Acquire(Message::decode(body)?),
        2 => {
            let mut renew = v1::RenewRequest::decode(body)?;
            claimed(&mut renew.claim);
            Request::Renew(renew)
        }
        3 => {
            let mut commit = v1::CommitRequest::decode(body)?;
            claimed(&mut commit.claim);
            referred(&mut commit.checkpoint);
            Request::Commit(commit)
        }
        4 => {
            let mut finish = v1::FinishRequest::decode(body)?;
            claimed(&mut finish.claim);
            Request::Finish(finish)
        }
        5 => {
            let mut fail = v1::FailRequest::decode(body)?;
            claimed(&mut fail.claim);
            referred(&mut fail.bad_checkpoint);
            Request::Fail(fail)
        }
        6 => {
            let mut release = v1::ReleaseRequest::decode(body)?;
            claimed(&mut release.claim);
            Request::Release(release)
        }
        _ => Request::Wait {
            ms: body
                .iter()
                .fold(0, |ms, byte| (ms << 8 | u64::from(*byte)) % 10_000),
        },
    })
}

fn claimed(claim: &mut Option<v1::LeaseClaim>) {
    if let Some(claim) = claim {
        task(&mut claim.task);
    }
}

fn referred(checkpoint: &mut Option<v1::CheckpointRef>) {
    if let Some(checkpoint) = checkpoint {
        task(&mut checkpoint.task);
        if checkpoint.manifest_sha256.len() == 1 {
            checkpoint.manifest_sha256 =
                Digest::of(checkpoint.manifest_sha256.as_bytes()).to_string();
        }
    }
}

fn task(id: &mut String) {
    if let [short] = id.as_bytes() {
        let tasks = &plan().tasks;
        *id = tasks[usize::from(*short) % tasks.len()].id.to_string();
    }
}

/// A row of requests for an input.
#[derive(Default)]
struct Row(Vec<u8>);

impl Row {
    fn add(&mut self, method: u8, message: &impl Message) -> &mut Self {
        let body = message.encode_to_vec();
        let length = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
        self.0.push(method);
        self.0.extend(length);
        self.0.extend(body);
        self
    }

    fn begin(&mut self, worker: &str) -> &mut Self {
        let register = v1::RegisterRequest {
            worker: worker.to_owned(),
            protocol_version: PROTOCOL_VERSION,
            device: "cpu".to_owned(),
            ..v1::RegisterRequest::default()
        };
        self.add(0, &register).acquire(worker)
    }

    fn acquire(&mut self, worker: &str) -> &mut Self {
        let acquire = v1::AcquireRequest {
            worker: worker.to_owned(),
            wait_ms: 0,
            ..v1::AcquireRequest::default()
        };
        self.add(1, &acquire)
    }

    /// Commits the outputs of the lease on a task of the plan and finishes it.
    fn complete(&mut self, place: u8, generation: u64) -> &mut Self {
        for output in plan().tasks[usize::from(place)].spec.outputs() {
            self.commit(place, generation, v1::CheckpointRole::Output, &output);
        }
        self.finish(place, generation)
    }

    fn commit(
        &mut self,
        place: u8,
        generation: u64,
        role: v1::CheckpointRole,
        output: &str,
    ) -> &mut Self {
        let commit = v1::CommitRequest {
            claim: Some(claim(place, generation)),
            checkpoint: Some(checkpoint(place, generation, role, output)),
        };
        self.add(3, &commit)
    }

    fn finish(&mut self, place: u8, generation: u64) -> &mut Self {
        use autorep_core::task::Work;
        let total = 24_000;
        let (count, tested) = match &plan().tasks[usize::from(place)].spec.work {
            Work::Baseline { .. } => (total, false),
            Work::Replace { budgets, .. } => (budgets[0], false),
            Work::Finetune { budget, .. } => (*budget, false),
            Work::Evaluate { budget, .. } => (*budget, true),
        };
        let accuracy = v1::Accuracy {
            correct: 9,
            images: 10,
        };
        let observation = v1::Observation {
            relu_count: count,
            relu_total: total,
            validation: Some(accuracy),
            test: tested.then_some(accuracy),
            epochs: 1,
            seconds: 1.5,
            ..v1::Observation::default()
        };
        let finish = v1::FinishRequest {
            claim: Some(claim(place, generation)),
            observation: Some(observation),
            take_next: generation % 2 == 1,
            started_unix_ns: 0,
        };
        self.add(4, &finish)
    }

    fn wait(&mut self, ms: u16) -> &mut Self {
        self.0.extend([7, 0, 2]);
        self.0.extend(ms.to_be_bytes());
        self
    }
}

fn claim(place: u8, generation: u64) -> v1::LeaseClaim {
    v1::LeaseClaim {
        task: char::from(place).to_string(),
        generation,
        node: 0,
    }
}

fn checkpoint(
    place: u8,
    generation: u64,
    role: v1::CheckpointRole,
    output: &str,
) -> v1::CheckpointRef {
    v1::CheckpointRef {
        task: char::from(place).to_string(),
        generation,
        role: role.into(),
        output: output.to_owned(),
        step: 9,
        manifest_sha256: "d".to_owned(),
    }
}

/// Lives of workers: one that does the whole sweep, one that fails in several ways, and two of
/// whom one is lost.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut whole = Row::default();
    whole.begin("w");
    whole.complete(0, 1);
    for place in [1, 2, 3] {
        whole.acquire("w").complete(place, 1);
    }
    let progress = v1::Progress {
        epoch: 1,
        loss: Some(0.5),
        ..v1::Progress::default()
    };
    let renew = v1::RenewRequest {
        claim: Some(claim(0, 1)),
        progress: Some(progress),
        rendezvous: String::new(),
        leaving: false,
    };
    let resume = v1::CheckpointRole::Resume;
    let fail = |class: v1::FailureClass, generation, bad| v1::FailRequest {
        claim: Some(claim(0, generation)),
        class: class.into(),
        message: "it broke".to_owned(),
        stderr_tail: "at line 7".to_owned(),
        bad_checkpoint: bad,
    };
    let mut failing = Row::default();
    failing.begin("w").add(2, &renew).commit(0, 1, resume, "");
    failing.add(5, &fail(v1::FailureClass::TrainerCrashed, 1, None));
    failing.acquire("w").add(
        6,
        &v1::ReleaseRequest {
            claim: Some(claim(0, 2)),
            curve: Some(v1::LearningCurve {
                images: 10,
                relu_counts: vec![100, 50],
                correct: vec![7, 8],
            }),
            seconds: 2.5,
        },
    );
    let bad = Some(checkpoint(0, 1, resume, ""));
    failing
        .acquire("w")
        .add(5, &fail(v1::FailureClass::BadCheckpoint, 3, bad));
    let mut lost = Row::default();
    lost.begin("a")
        .begin("b")
        .add(2, &renew)
        .wait(9000)
        .wait(9000)
        .wait(9000)
        .wait(9000);
    lost.acquire("b").complete(0, 2).finish(0, 1).acquire("a");
    [whole, failing, lost].map(|row| row.0).to_vec()
}
