//! A coordinator as its callers reach it.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use autorep_core::text::redacted;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::files::{Content, FileError, Reread};
use crate::secret::{Secret, SecretError};
use crate::stream::{Secured, explained};
use crate::tls::{ALPN, authorities, certificates, private_key, provider, unusable};
use crate::trace;

/// How long the other side may take to say its first word before it is taken to wait for ours.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(1);

/// Where a caller's token comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenSource {
    /// The token itself.
    Given(Secret),
    /// A file with nothing else in it, read again when it changes.
    File(PathBuf),
}

/// By what a caller knows its coordinator, and that one it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Credentials {
    /// Authorities in PEM, one of which must have signed the coordinator's certificate; without them
    /// those that this machine trusts.
    pub authorities: Option<PathBuf>,
    /// This caller's certificate and its private key, in PEM, where the coordinator asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The token that says what it may do.
    pub token: Option<TokenSource>,
    /// Whether the token may be sent without encryption to another machine.
    pub plain_token: bool,
}

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The address is none.
    #[error("expected an address like https://HOST:7070, found {found:?}")]
    Address {
        /// What it is.
        found: String,
    },
    /// Certificates for an address without encryption.
    #[error(
        "expected an address that begins with https:// where certificates are given, found {found}; without encryption nobody looks at them"
    )]
    NotEncrypted {
        /// The address.
        found: Uri,
    },
    /// A token that everybody on the way could read.
    #[error(
        "expected an address that begins with https:// or is on this machine, found {found}: everybody on the way could read the token; if only your own machines are, say --plain-token"
    )]
    PlainToken {
        /// The address.
        found: Uri,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The token is none.
    #[error(transparent)]
    Token(#[from] SecretError),
}

impl Credentials {
    /// The coordinator at `address`, once `tune` has set how the connection behaves; and what puts the
    /// token into each call. Nothing is connected yet: a [`Channel`] connects when it is first used and
    /// whenever the connection was lost, each time under the certificates as they are then.
    pub fn channel(
        &self,
        address: &Uri,
        tune: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<(Channel, Bearer), CredentialsError> {
        let bearer = self.bearer(address)?;
        let (endpoint, connector) = self.prepared(address)?;
        let channel = tune(endpoint).connect_with_connector_lazy(connector.service());
        Ok((channel, bearer))
    }

    /// As [`channel`](Self::channel), but connected. The error is of the credentials or, the inner one,
    /// of the connection.
    pub async fn connect(
        &self,
        address: &Uri,
        tune: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Result<(Channel, Bearer), tonic::transport::Error>, CredentialsError> {
        let (endpoint, connector) = self.prepared(address)?;
        let bearer = self.bearer(address)?;
        let endpoint = tune(endpoint);
        let connected = endpoint.connect_with_connector(connector.service()).await;
        Ok(connected.map(|channel| (channel, bearer)))
    }

    fn prepared(&self, address: &Uri) -> Result<(Endpoint, Connector), CredentialsError> {
        let bad = || CredentialsError::Address {
            found: redacted(&address.to_string()),
        };
        let host = address
            .host()
            .filter(|_| names_a_host(address))
            .ok_or_else(bad)?;
        let tls = match address.scheme_str() {
            Some("https") => Some(Arc::new(self.tls()?)),
            Some("http") if self.authorities.is_some() || self.identity.is_some() => {
                return Err(CredentialsError::NotEncrypted {
                    found: address.clone(),
                });
            }
            Some("http") => None,
            _ => return Err(bad()),
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let default_port = if tls.is_some() { 443 } else { 80 };
        let port = address.port_u16().unwrap_or(default_port);
        let connector = Connector { host, port, tls };
        Ok((Endpoint::from(address.clone()), connector))
    }

    fn tls(&self) -> Result<Reread<Arc<ClientConfig>>, FileError> {
        let (authorities, identity) = (self.authorities.clone(), self.identity.clone());
        let (has_authorities, has_identity) = (authorities.is_some(), identity.is_some());
        let identity = identity.map(|(certificate, key)| [certificate, key]);
        let paths = authorities
            .into_iter()
            .chain(identity.into_iter().flatten());
        Reread::open("certificates", paths.collect(), move |files| {
            let (own, rest) = files.split_at(usize::from(has_authorities));
            client_config(own.first(), has_identity.then_some(rest))
        })
    }

    fn bearer(&self, address: &Uri) -> Result<Bearer, CredentialsError> {
        let header = match &self.token {
            None => return Ok(Bearer(None)),
            Some(_) if !self.plain_token && is_exposed(address) => {
                return Err(CredentialsError::PlainToken {
                    found: address.clone(),
                });
            }
            Some(TokenSource::Given(token)) => Header::Given(header(token)),
            Some(TokenSource::File(path)) => {
                let file = Reread::open("token", vec![path.clone()], |files| {
                    let [file] = files else {
                        unreachable!("one file was named")
                    };
                    let token = Secret::parse(&String::from_utf8_lossy(&file.bytes));
                    let token = token.map_err(|error| {
                        let found = format!("another text ({error})");
                        FileError::content(file.path, "a token and nothing else", found)
                    })?;
                    Ok(header(&token))
                })?;
                Header::File(Arc::new(file))
            }
        };
        Ok(Bearer(Some(header)))
    }
}

/// Whether an address has a host, and a port that is one if it has any: another one would count as if
/// there were none.
pub fn names_a_host(address: &Uri) -> bool {
    let has_port = address.authority().is_some_and(|it| {
        let port = it.as_str().rsplit(['@', ']']).next();
        port.is_some_and(|it| it.contains(':'))
    });
    let has_host = address.host().is_some_and(|host| !host.is_empty());
    has_host && has_port == address.port_u16().is_some()
}

/// Whether others than this machine's own users could read what is sent to an address.
fn is_exposed(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    let number: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let here = number.map_or(host == "localhost", |number| number.is_loopback());
    address.scheme_str() != Some("https") && !here
}

fn client_config(
    own: Option<&Content<'_>>,
    identity: Option<&[Content<'_>]>,
) -> Result<Arc<ClientConfig>, FileError> {
    let roots = match own {
        Some(file) => authorities(file)?,
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("the provider has the default versions: {error}"))
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some([certificate, key]) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| unusable(certificate.path, error))?,
        Some(_) => unreachable!("two files were named"),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The authorities that this machine trusts. Some of its certificates may be of no use; if all are,
/// connecting says so.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "a certificate of this machine cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

fn header(token: &Secret) -> MetadataValue<Ascii> {
    let value = format!("Bearer {}", token.expose());
    // A secret is visible ASCII, so this cannot fail.
    let mut value = MetadataValue::try_from(value)
        .unwrap_or_else(|error| unreachable!("a token fits into a header: {error}"));
    value.set_sensitive(true);
    value
}

/// Puts the token, if there is one, into each call, and the trace that the call belongs to.
#[derive(Clone, Debug)]
pub struct Bearer(Option<Header>);

#[derive(Clone)]
enum Header {
    Given(MetadataValue<Ascii>),
    File(Arc<Reread<MetadataValue<Ascii>>>),
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given"),
            Self::File(file) => file.fmt(f),
        }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        trace::inject(request.metadata_mut());
        let header = match &self.0 {
            None => return Ok(request),
            Some(Header::Given(header)) => header.clone(),
            Some(Header::File(file)) => (*file.get()).clone(),
        };
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }
}

/// Makes connections, under TLS where the address says so.
struct Connector {
    host: String,
    port: u16,
    tls: Option<Arc<Reread<Arc<ClientConfig>>>>,
}

type Connection = TokioIo<Secured<TcpStream>>;
type Connecting = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

impl Connector {
    fn service(
        self,
    ) -> impl tower::Service<Uri, Response = Connection, Error = io::Error, Future = Connecting>
    + Send
    + 'static {
        let connector = Arc::new(self);
        tower::service_fn(move |_: Uri| {
            let connector = Arc::clone(&connector);
            Box::pin(async move { connector.connect().await.map(TokioIo::new) }) as Connecting
        })
    }

    async fn connect(&self) -> io::Result<Secured<TcpStream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Secured::Plain(stream));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&*tls.get()));
        let stream = connector.connect(name, stream).await;
        let mut stream = stream.map_err(|error| explained(error, &self.host))?;
        // Earlier versions refuse a certificate within the handshake.
        if stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            let heard = tokio::time::timeout(FIRST_WORD_WITHIN, first_word(&mut stream)).await;
            if let Ok(Err(error)) = heard {
                return Err(explained(error, &self.host));
            }
        }
        Ok(Secured::Tls(Box::new(stream.into())))
    }
}

/// Waits for the other side's first word, which stays to be read. Under TLS 1.3 a server refuses a
/// client's certificate only after the handshake: who writes to it meanwhile learns of a broken
/// connection, and not why. Servers of HTTP/2 speak first; one that does not is taken as it is.
async fn first_word(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let (connection, session) = stream.get_mut();
    loop {
        // It may have come with the end of the handshake.
        let state = (session.process_new_packets())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
            return Ok(());
        }
        connection.readable().await?;
        match session.read_tls(&mut Ready(connection)) {
            // It has closed, as whoever reads next learns.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// What has come over a connection, without waiting for more.
struct Ready<'a>(&'a TcpStream);

impl io::Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}
