//! The fixture: a coordinator behind certificates and tokens, and callers with theirs.

#![expect(clippy::unwrap_used, reason = "a fixture for tests")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use autorep_coordinator::{Config, Door};
use autorep_proto::v1;
use autorep_proto::v1::lab_client::LabClient;
use autorep_transport::{
    Bearer, Credentials, LiveTokens, Secret, ServerTls, ServerTlsFiles, TokenSource,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::subscriber::DefaultGuard;

use crate::lab::{Lab, within};

/// A certificate and its key as files.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// An authority with a folder for what it signs.
pub(crate) struct Authority {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Signs a certificate for `name` that is valid until `year`.
    pub(crate) fn sign(&self, file: &str, name: &str, year: i32) -> Pair {
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
pub(crate) const FOR_LONG: i32 = 2200;

/// What is behind the door.
pub(crate) struct Guarded {
    pub(crate) address: String,
    shutdown: CancellationToken,
    /// Where its state is.
    pub(crate) lab: Lab,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Guarded {
    pub(crate) async fn start(tls: Option<ServerTlsFiles>, tokens: Option<&Path>) -> Self {
        Self::start_with(Config::default(), Lab::new(), tls, tokens).await
    }

    pub(crate) async fn start_with(
        config: Config,
        lab: Lab,
        tls: Option<ServerTlsFiles>,
        tokens: Option<&Path>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let door = Door {
            listener,
            tls: tls.map(|files| ServerTls::open(files).unwrap()),
            tokens: tokens.map(|path| LiveTokens::open(path.to_owned()).unwrap()),
        };
        let serving = autorep_coordinator::run(config, lab.store(), door, shutdown.clone());
        tokio::spawn(serving);
        Self {
            address,
            shutdown,
            lab,
        }
    }

    pub(crate) async fn connect(
        &self,
        scheme: &str,
        credentials: &Credentials,
    ) -> Result<(Channel, Bearer), String> {
        let address = format!("{scheme}://{}", self.address).parse().unwrap();
        let connected = credentials.connect(&address, |endpoint| endpoint);
        let connected = within("a connection or none", connected).await.unwrap();
        connected.map_err(|error| causes(&error))
    }

    pub(crate) async fn people(
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
    pub(crate) async fn list(&self, scheme: &str, credentials: &Credentials) -> Result<(), String> {
        let (channel, bearer) = self.connect(scheme, credentials).await?;
        let mut people = LabClient::with_interceptor(channel, bearer);
        let answer = within("an answer", people.list(v1::ListRequest {})).await;
        answer.map(|_| ()).map_err(|status| causes(&status))
    }
}

pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}

pub(crate) fn files(pair: &Pair, client_authorities: Option<PathBuf>) -> ServerTlsFiles {
    ServerTlsFiles {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        client_authorities,
    }
}

pub(crate) fn trusting(authority: &Authority) -> Credentials {
    Credentials {
        authorities: Some(authority.file()),
        ..Credentials::default()
    }
}

pub(crate) fn with_token(token: &str) -> Credentials {
    Credentials {
        token: Some(TokenSource::Given(Secret::parse(token).unwrap())),
        ..Credentials::default()
    }
}

pub(crate) const ALICE: &str = "token-of-alice-0";
pub(crate) const BOB: &str = "token-of-bob-0000";
pub(crate) const VIEWER: &str = "token-of-a-viewer";
pub(crate) const BOBS_VIEWER: &str = "token-of-bobs-viewer";
pub(crate) const WORKER: &str = "token-of-a-worker";
pub(crate) const ADMIN: &str = "token-of-an-admin";

/// A file of tokens.
pub(crate) fn tokens(folder: &TempDir, but: &[&str]) -> PathBuf {
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
    // At once: an empty file would be a list of none.
    let new = folder.path().join("new.yaml");
    std::fs::write(&new, entries.concat()).unwrap();
    std::fs::rename(&new, &path).unwrap();
    path
}

pub(crate) async fn submit(guarded: &Guarded, token: &str, manifest: String) -> Result<(), Status> {
    let mut people = guarded.people(&with_token(token)).await;
    let request = v1::SubmitRequest {
        manifest,
        ..v1::SubmitRequest::default()
    };
    people.submit(request).await.map(|_| ())
}

pub(crate) async fn show(
    guarded: &Guarded,
    token: &str,
    sweep: &str,
) -> Result<v1::ShowResponse, Status> {
    let mut people = guarded.people(&with_token(token)).await;
    let sweep = sweep.to_owned();
    let answer = people.show(v1::ShowRequest { sweep }).await;
    answer.map(tonic::Response::into_inner)
}

pub(crate) fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// What this thread logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps it for as long as the guard lives.
    pub(crate) fn keep() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines in which all of these stand.
    pub(crate) fn lines(&self, says: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(str::to_owned);
        lines
            .filter(|line| says.iter().all(|it| line.contains(it)))
            .collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
