//! Who is let in: certificates and tokens over real sockets, each refusal with its status.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use autorep_coordinator::{Config, Door};
use autorep_proto::v1;
use autorep_proto::v1::fleet_client::FleetClient;
use autorep_proto::v1::lab_client::LabClient;
use autorep_transport::{
    Bearer, Credentials, LiveTokens, Secret, ServerTls, ServerTlsFiles, TokenSource,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::lab::{Lab, manifest, until, within};

/// A certificate and its key as files.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// An authority with a folder for what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Signs a certificate for `name` that is valid until `year`.
    fn sign(&self, file: &str, name: &str, year: i32) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            certificate: self.folder.path().join(format!("{file}.crt")),
            key: self.folder.path().join(format!("{file}.key")),
        };
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        std::fs::write(&pair.certificate, certificate.pem()).unwrap();
        pair
    }
}

/// Valid for as long as these tests are run.
const FOR_LONG: i32 = 2200;

/// What is behind the door.
struct Guarded {
    address: String,
    shutdown: CancellationToken,
    _lab: Lab,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Guarded {
    async fn start(tls: Option<ServerTlsFiles>, tokens: Option<&Path>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let door = Door {
            listener,
            tls: tls.map(|files| ServerTls::open(files).unwrap()),
            tokens: tokens.map(|path| LiveTokens::open(path.to_owned()).unwrap()),
        };
        let lab = Lab::new();
        let serving =
            autorep_coordinator::run(Config::default(), lab.store(), door, shutdown.clone());
        tokio::spawn(serving);
        Self {
            address,
            shutdown,
            _lab: lab,
        }
    }

    async fn connect(
        &self,
        scheme: &str,
        credentials: &Credentials,
    ) -> Result<(Channel, Bearer), String> {
        let address = format!("{scheme}://{}", self.address).parse().unwrap();
        let connected = credentials.connect(&address, |endpoint| endpoint);
        let connected = within("a connection or none", connected).await.unwrap();
        connected.map_err(|error| causes(&error))
    }

    async fn people(
        &self,
        credentials: &Credentials,
    ) -> LabClient<InterceptedService<Channel, Bearer>> {
        let scheme = if credentials.authorities.is_some() {
            "https"
        } else {
            "http"
        };
        let (channel, bearer) = self.connect(scheme, credentials).await.unwrap();
        LabClient::with_interceptor(channel, bearer)
    }

    /// What listing the sweeps comes to: an answer or why there is none.
    async fn list(&self, scheme: &str, credentials: &Credentials) -> Result<(), String> {
        let (channel, bearer) = self.connect(scheme, credentials).await?;
        let mut people = LabClient::with_interceptor(channel, bearer);
        let answer = within("an answer", people.list(v1::ListRequest {})).await;
        answer.map(|_| ()).map_err(|status| causes(&status))
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}

fn files(pair: &Pair, client_authorities: Option<PathBuf>) -> ServerTlsFiles {
    ServerTlsFiles {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        client_authorities,
    }
}

fn trusting(authority: &Authority) -> Credentials {
    Credentials {
        authorities: Some(authority.file()),
        ..Credentials::default()
    }
}

fn with_token(token: &str) -> Credentials {
    Credentials {
        token: Some(TokenSource::Given(Secret::parse(token).unwrap())),
        ..Credentials::default()
    }
}

#[tokio::test]
async fn a_certificate_lets_in_whoever_trusts_its_authority_and_nobody_else() {
    let (authority, another) = (Authority::new(), Authority::new());
    let pair = authority.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, None)), None).await;
    guarded.list("https", &trusting(&authority)).await.unwrap();

    let refused = guarded
        .list("https", &trusting(&another))
        .await
        .unwrap_err();
    assert!(
        refused.contains("signed by an authority that is trusted"),
        "{refused}"
    );
    let refused = guarded
        .list("https", &Credentials::default())
        .await
        .unwrap_err();
    assert!(
        refused.contains("signed by an authority that is trusted"),
        "{refused}"
    );
    guarded
        .list("http", &Credentials::default())
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_anothers_is_told_by_name() {
    let authority = Authority::new();
    let expired = authority.sign("expired", "127.0.0.1", 2021);
    let guarded = Guarded::start(Some(files(&expired, None)), None).await;
    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    assert!(refused.contains("to have expired; renew it"), "{refused}");

    let elsewhere = authority.sign("elsewhere", "elsewhere.example", FOR_LONG);
    let guarded = Guarded::start(Some(files(&elsewhere, None)), None).await;
    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    let says = "expected a certificate for 127.0.0.1, found one for ";
    assert!(
        refused.contains(says) && refused.contains("elsewhere.example"),
        "{refused}"
    );
}

#[tokio::test]
async fn tls_where_there_is_none_is_told() {
    let authority = Authority::new();
    let guarded = Guarded::start(None, None).await;
    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    assert!(
        refused.contains("without TLS the address begins with http://"),
        "{refused}"
    );
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let pair = authority.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, Some(clients.file()))), None).await;
    let showing = |pair: Pair| Credentials {
        identity: Some((pair.certificate, pair.key)),
        ..trusting(&authority)
    };
    let mine = showing(clients.sign("mine", "worker", FOR_LONG));
    guarded.list("https", &mine).await.unwrap();

    let refused = guarded
        .list("https", &trusting(&authority))
        .await
        .unwrap_err();
    assert!(
        refused.contains("a client certificate is wanted"),
        "{refused}"
    );
    let stranger = showing(authority.sign("stranger", "worker", FOR_LONG));
    let refused = guarded.list("https", &stranger).await.unwrap_err();
    assert!(
        refused.contains("found the certificate refused"),
        "{refused}"
    );
    let expired = showing(clients.sign("expired", "worker", 2021));
    let refused = guarded.list("https", &expired).await.unwrap_err();
    assert!(
        refused.contains("found the certificate refused"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let pair = old.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, None)), None).await;
    guarded.list("https", &trusting(&old)).await.unwrap();
    let renewed = new.sign("server", "127.0.0.1", FOR_LONG);
    // Between the two the certificate and the key do not belong together.
    std::fs::copy(&renewed.certificate, &pair.certificate).unwrap();
    std::fs::copy(&renewed.key, &pair.key).unwrap();
    until("the new certificate", || async {
        guarded.list("https", &trusting(&new)).await.ok()
    })
    .await;
    guarded.list("https", &trusting(&old)).await.unwrap_err();
}

#[tokio::test]
async fn whoever_connects_and_says_nothing_holds_nobody_up() {
    let authority = Authority::new();
    let pair = authority.sign("server", "127.0.0.1", FOR_LONG);
    let guarded = Guarded::start(Some(files(&pair, None)), None).await;
    let mut silent = vec![];
    for _ in 0..50 {
        silent.push(TcpStream::connect(&guarded.address).await.unwrap());
    }
    let credentials = trusting(&authority);
    let answer = guarded.list("https", &credentials);
    tokio::time::timeout(Duration::from_secs(5), answer)
        .await
        .unwrap()
        .unwrap();
}

const ALICE: &str = "token-of-alice-0";
const BOB: &str = "token-of-bob-0000";
const VIEWER: &str = "token-of-a-viewer";
const BOBS_VIEWER: &str = "token-of-bobs-viewer";
const WORKER: &str = "token-of-a-worker";
const ADMIN: &str = "token-of-an-admin";

/// A file of tokens.
fn tokens(folder: &TempDir, but: &[&str]) -> PathBuf {
    let all = [
        (ALICE, "submitter, owner: alice"),
        (BOB, "submitter, owner: bob"),
        (VIEWER, "viewer"),
        (BOBS_VIEWER, "viewer, owner: bob"),
        (WORKER, "worker"),
        (ADMIN, "admin"),
    ];
    let entries = all.iter().filter(|(token, _)| !but.contains(token));
    let entries: Vec<String> = entries
        .map(|(token, role)| {
            let digest = Secret::parse(token).unwrap().digest();
            format!("- {{ name: {token}, role: {role}, sha256: {digest} }}\n")
        })
        .collect();
    let path = folder.path().join("tokens.yaml");
    std::fs::write(&path, entries.concat()).unwrap();
    path
}

async fn submit(guarded: &Guarded, token: &str, manifest: String) -> Result<(), Status> {
    let mut people = guarded.people(&with_token(token)).await;
    let request = v1::SubmitRequest {
        manifest,
        ..v1::SubmitRequest::default()
    };
    people.submit(request).await.map(|_| ())
}

async fn show(guarded: &Guarded, token: &str, sweep: &str) -> Result<v1::ShowResponse, Status> {
    let mut people = guarded.people(&with_token(token)).await;
    let sweep = sweep.to_owned();
    let answer = people.show(v1::ShowRequest { sweep }).await;
    answer.map(tonic::Response::into_inner)
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn each_role_reaches_what_it_may_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let mut found = vec![];
    for token in [ALICE, VIEWER, WORKER, ADMIN, "token-of-nobody-0"] {
        let credentials = with_token(token);
        let mut people = guarded.people(&credentials).await;
        let listed = code(people.list(v1::ListRequest {}).await);
        let submitted = code(submit(&guarded, token, manifest("any")).await);
        let collected = code(
            people
                .collect_garbage(v1::CollectGarbageRequest::default())
                .await,
        );
        let (channel, bearer) = guarded.connect("http", &credentials).await.unwrap();
        let mut fleet = FleetClient::with_interceptor(channel, bearer);
        let request = v1::RegisterRequest {
            worker: "w".to_owned(),
            protocol_version: autorep_proto::PROTOCOL_VERSION,
            device: "cpu".to_owned(),
            ..v1::RegisterRequest::default()
        };
        let registered = code(fleet.register(request).await);
        found.push([listed, submitted, collected, registered]);
    }
    let (yes, no) = (Code::Ok, Code::PermissionDenied);
    let expected = [
        [yes, yes, no, no],
        [yes, no, no, no],
        [no, no, no, yes],
        [yes, yes, yes, no],
        [Code::Unauthenticated; 4],
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn without_a_token_only_health_is_told() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let (channel, _) = guarded
        .connect("http", &Credentials::default())
        .await
        .unwrap();
    let mut people = LabClient::new(channel.clone());
    let refused = people.list(v1::ListRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("AUTOREP_TOKEN_FILE"),
        "{refused}"
    );
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest::default();
    health.check(request).await.unwrap();
}

#[tokio::test]
async fn a_revoked_token_is_refused_without_a_restart_and_a_new_one_let_in() {
    let folder = TempDir::new().unwrap();
    let path = tokens(&folder, &[BOB]);
    let guarded = Guarded::start(None, Some(&path)).await;
    let people = guarded.people(&with_token(ALICE)).await;
    people.clone().list(v1::ListRequest {}).await.unwrap();
    assert_eq!(
        code(show(&guarded, BOB, "any").await),
        Code::Unauthenticated
    );

    tokens(&folder, &[ALICE]);
    until("the token to be revoked", || async {
        let mut people = people.clone();
        let answer = people.list(v1::ListRequest {}).await;
        (code(answer) == Code::Unauthenticated).then_some(())
    })
    .await;
    assert_eq!(code(show(&guarded, BOB, "any").await), Code::NotFound);
}

#[tokio::test]
async fn a_callers_token_file_is_read_again() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    let mine = folder.path().join("token");
    std::fs::write(&mine, "token-of-nobody-0\n").unwrap();
    let credentials = Credentials {
        token: Some(TokenSource::File(mine.clone())),
        ..Credentials::default()
    };
    let people = guarded.people(&credentials).await;
    let answer = people.clone().list(v1::ListRequest {}).await;
    assert_eq!(code(answer), Code::Unauthenticated);
    std::fs::write(&mine, format!("{ALICE}\n")).unwrap();
    until("the new token", || async {
        let mut people = people.clone();
        people.list(v1::ListRequest {}).await.ok()
    })
    .await;
}

#[tokio::test]
async fn sweeps_of_others_are_as_if_they_were_not_there() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let shown = show(&guarded, ALICE, "hers").await.unwrap();
    assert_eq!(shown.summary.unwrap().owner, "alice");
    show(&guarded, VIEWER, "hers").await.unwrap();
    show(&guarded, ADMIN, "hers").await.unwrap();

    for token in [BOB, BOBS_VIEWER] {
        let mut people = guarded.people(&with_token(token)).await;
        let listed = people.list(v1::ListRequest {}).await.unwrap().into_inner();
        assert_eq!(listed.sweeps, []);
        assert_eq!(code(show(&guarded, token, "hers").await), Code::NotFound);
        let sweep = "hers".to_owned();
        let watch = v1::WatchFrontRequest {
            sweep,
            follow: true,
        };
        assert_eq!(code(people.watch_front(watch).await), Code::NotFound);
        let task = "0".to_owned();
        let logs = v1::LogsRequest {
            task,
            follow: true,
            ..v1::LogsRequest::default()
        };
        assert_eq!(code(people.logs(logs).await), Code::NotFound);
    }
    let mut bob = guarded.people(&with_token(BOB)).await;
    let sweep = || "hers".to_owned();
    let cancelled = bob.cancel(v1::CancelRequest { sweep: sweep() }).await;
    assert_eq!(code(cancelled), Code::NotFound);
    let paused = bob.pause(v1::PauseRequest { sweep: sweep() }).await;
    assert_eq!(code(paused), Code::NotFound);
    let asked = bob
        .checkpoint(v1::CheckpointRequest { sweep: sweep() })
        .await;
    assert_eq!(code(asked), Code::NotFound);
    let taken = submit(&guarded, BOB, manifest("hers")).await;
    assert_eq!(code(taken), Code::PermissionDenied);
    let hers = manifest("another").replace("name: another", "name: another, owner: alice");
    assert_eq!(
        code(submit(&guarded, BOB, hers).await),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_task_is_reached_by_the_owners_of_all_sweeps_that_want_it() {
    let folder = TempDir::new().unwrap();
    let guarded = Guarded::start(None, Some(&tokens(&folder, &[]))).await;
    submit(&guarded, ALICE, manifest("hers")).await.unwrap();
    let (channel, bearer) = guarded.connect("http", &with_token(WORKER)).await.unwrap();
    let mut fleet = FleetClient::with_interceptor(channel, bearer);
    let request = v1::RegisterRequest {
        worker: "w".to_owned(),
        protocol_version: autorep_proto::PROTOCOL_VERSION,
        device: "cpu".to_owned(),
        ..v1::RegisterRequest::default()
    };
    fleet.register(request).await.unwrap();
    let request = v1::AcquireRequest {
        worker: "w".to_owned(),
        wait_ms: 10_000,
    };
    let given = fleet.acquire(request).await.unwrap().into_inner();
    let task = given.assignment.unwrap().claim.unwrap().task;
    let pin = |task: &str| v1::PinRequest {
        task: task.to_owned(),
        pinned: true,
    };
    let mut alice = guarded.people(&with_token(ALICE)).await;
    alice.pin(pin(&task)).await.unwrap();
    let mut bob = guarded.people(&with_token(BOB)).await;
    assert_eq!(code(bob.pin(pin(&task)).await), Code::NotFound);
    let workers = bob.list_workers(v1::ListWorkersRequest {}).await.unwrap();
    let workers = workers.into_inner().workers;
    assert_eq!((workers.len(), workers[0].task.as_str()), (1, ""));

    // Equal tasks are done once, whoever wants them.
    submit(&guarded, BOB, manifest("his")).await.unwrap();
    bob.pin(pin(&task)).await.unwrap();
    let workers = bob.list_workers(v1::ListWorkersRequest {}).await.unwrap();
    assert_eq!(workers.into_inner().workers[0].task, task);
}

#[tokio::test]
async fn credentials_that_would_betray_themselves_are_refused() {
    let exposed = "http://192.0.2.1:7070".parse().unwrap();
    let refused = with_token(ALICE).channel(&exposed, |endpoint| endpoint);
    assert!(refused.unwrap_err().to_string().contains("--plain-token"));
    let meant = Credentials {
        plain_token: true,
        ..with_token(ALICE)
    };
    meant.channel(&exposed, |endpoint| endpoint).unwrap();

    let authority = Authority::new();
    let plain = "http://127.0.0.1:7070".parse().unwrap();
    let refused = trusting(&authority).channel(&plain, |endpoint| endpoint);
    assert!(refused.unwrap_err().to_string().contains("https://"));
    for address in ["127.0.0.1:7070", "ftp://host", "/path"] {
        let address = address.parse().unwrap();
        let refused = Credentials::default().channel(&address, |endpoint| endpoint);
        assert!(refused.is_err(), "{address}");
    }
}
