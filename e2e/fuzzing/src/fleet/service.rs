//! Requests put to the real service: everything but the network and the disk is the coordinator's.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use autorep_coordinator::{Config, embedded};
use autorep_proto::v1;
use autorep_proto::v1::fleet_server::Fleet;
use autorep_proto::v1::lab_server::Lab;
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::Request as Call;

use super::{MANIFEST, Request, requests};

pub(crate) fn body(input: &[u8]) {
    let requests = requests(input);
    if requests.is_empty() {
        return;
    }
    let store = Arc::new(with_sweep().fork());
    let runtime = runtime();
    runtime.block_on(live(Arc::clone(&store), requests));
    // What it left is what a coordinator starts from, and every invariant holds.
    runtime.block_on(live(store, Vec::new()));
}

/// A store in which the sweep has been submitted.
fn with_sweep() -> &'static InMemory {
    static STORE: OnceLock<InMemory> = OnceLock::new();
    STORE.get_or_init(|| {
        let store = Arc::new(InMemory::new());
        runtime().block_on(submit(Arc::clone(&store)));
        store.fork()
    })
}

async fn submit(store: Arc<InMemory>) {
    let stop = CancellationToken::new();
    let opened = embedded::services(Config::one_machine(), store, stop.clone()).await;
    let (_fleet, lab, owner) = opened.unwrap_or_else(|error| panic!("a start: {error:?}"));
    let talking = async {
        let request = v1::SubmitRequest {
            manifest: MANIFEST.to_owned(),
            dry_run: false,
            rehearsal: None,
        };
        let submitted = lab.submit(Call::new(request)).await;
        assert!(submitted.is_ok(), "{submitted:?}");
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(owner, talking);
    assert!(ended.is_ok(), "{ended:?}");
}

/// One thread; time goes on by itself where everybody waits.
fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let built = builder.enable_time().start_paused(true).build();
    built.expect("a runtime without sockets")
}

/// A coordinator's life from start to orderly end: it answers after whatever was asked.
async fn live(store: Arc<InMemory>, requests: Vec<Request>) {
    let stop = CancellationToken::new();
    let opened = embedded::services(Config::one_machine(), store, stop.clone()).await;
    let (fleet, lab, owner) = opened.unwrap_or_else(|error| panic!("a start: {error:?}"));
    let talking = async {
        for request in requests {
            ask(&fleet, request).await;
        }
        let listed = lab.list(Call::new(v1::ListRequest {})).await;
        assert!(listed.is_ok(), "{listed:?}");
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(owner, talking);
    assert!(ended.is_ok(), "{ended:?}");
}

/// Puts a request to the service. It may refuse; a defect of its own it must not have.
async fn ask(fleet: &impl Fleet, request: Request) {
    let refused = match request {
        Request::Register(it) => fleet.register(Call::new(it)).await.err(),
        Request::Acquire(it) => fleet.acquire(Call::new(it)).await.err(),
        Request::Renew(it) => fleet.renew(Call::new(it)).await.err(),
        Request::Commit(it) => fleet.commit(Call::new(it)).await.err(),
        Request::Finish(it) => fleet.finish(Call::new(it)).await.err(),
        Request::Fail(it) => fleet.fail(Call::new(it)).await.err(),
        Request::Release(it) => fleet.release(Call::new(it)).await.err(),
        Request::Wait { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            None
        }
    };
    if let Some(status) = refused {
        let defect = [
            tonic::Code::Internal,
            tonic::Code::Unknown,
            tonic::Code::Unavailable,
        ];
        assert!(!defect.contains(&status.code()), "{status:?}");
    }
}
