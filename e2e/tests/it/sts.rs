//! A stand-in for the service that gives credentials of a role for an identity's token: real
//! requests over TLS, one role, one token at a time.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/sweeps";

/// The service. It ends when it is dropped.
pub(crate) struct Sts {
    folder: TempDir,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

struct State {
    /// The token that is good now.
    token: String,
    /// The keys that it is good for.
    keys: (&'static str, &'static str),
    /// When they expire, as the answer says it.
    expiry: &'static str,
    given: u32,
    refused: u32,
}

/// So long that a client keeps the keys.
const LONG: &str = "2099-01-01T00:00:00Z";

/// So short that a client asks again before each request.
const OVER: &str = "2000-01-01T00:00:00Z";

impl Sts {
    /// A service that gives these keys for `token`.
    pub(crate) fn start(token: &str, keys: (&'static str, &'static str)) -> Self {
        let folder = TempDir::new().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listener).unwrap();
        let state = Arc::new(Mutex::new(State {
            token: token.to_owned(),
            keys,
            expiry: LONG,
            given: 0,
            refused: 0,
        }));
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(serve(listener, acceptor, Arc::clone(&state)));
        let sts = Self {
            folder,
            address,
            state,
            _runtime: runtime,
        };
        sts.write_token(token);
        sts
    }

    /// Writes the token that clients send, as a cluster does that rotates it.
    pub(crate) fn write_token(&self, token: &str) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, token).unwrap();
        std::fs::rename(next, self.token_file()).unwrap();
    }

    /// From now on another token is good, and keys expire at once.
    pub(crate) fn expect(&self, token: &str) {
        let mut state = self.state.lock().unwrap();
        token.clone_into(&mut state.token);
        state.expiry = OVER;
    }

    /// From now on keys expire at once.
    pub(crate) fn give_short_lived(&self) {
        self.state.lock().unwrap().expiry = OVER;
    }

    /// How often keys were given and refused.
    pub(crate) fn asked(&self) -> (u32, u32) {
        let state = self.state.lock().unwrap();
        (state.given, state.refused)
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// The variables of web identity, as a cluster injects them, and those that lead here.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", text(&self.token_file())),
            ("AWS_ROLE_ARN", ROLE.to_owned()),
            ("AWS_ENDPOINT_URL_STS", format!("https://{}", self.address)),
            ("AWS_CA_BUNDLE", text(&self.folder.path().join("ca.pem"))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(socket) = acceptor.accept(socket).await else {
                return;
            };
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, &mut state.lock().unwrap());
                async move { Ok::<_, Infallible>(response) }
            });
            // A client may go in the middle of an answer.
            let _gone = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, state: &mut State) -> Response<Full<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    let said = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(it, _)| *it == name)
            .map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
    };
    let is_good = request.method() == Method::POST
        && said("Action").as_deref() == Some("AssumeRoleWithWebIdentity")
        && said("RoleArn").as_deref() == Some(ROLE)
        && said("WebIdentityToken").as_ref() == Some(&state.token);
    let (status, text) = if is_good {
        state.given += 1;
        let ((key, secret), expiry) = (state.keys, state.expiry);
        let credentials = format!(
            "<SessionToken></SessionToken><SecretAccessKey>{secret}</SecretAccessKey>\
             <Expiration>{expiry}</Expiration><AccessKeyId>{key}</AccessKeyId>"
        );
        let name = "AssumeRoleWithWebIdentity";
        let text = format!(
            "<{name}Response><{name}Result><Credentials>{credentials}</Credentials>\
             </{name}Result></{name}Response>"
        );
        (StatusCode::OK, text)
    } else {
        state.refused += 1;
        let text = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code>\
                    </Error></ErrorResponse>";
        (StatusCode::BAD_REQUEST, text.to_owned())
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
