//! TLS as a coordinator serves it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::files::{Content, FileError, Reread};
use crate::stream::Secured;
use crate::tls::{ALPN, authorities, certificates, private_key, provider, unusable};

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Where a server's certificate, its key and the authorities of its clients lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerTlsFiles {
    /// The certificate and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Authorities in PEM, one of which must have signed a client's certificate; without them clients
    /// need none.
    pub client_authorities: Option<PathBuf>,
}

/// TLS with files that are read again when they change: connections made after that are under the new
/// ones.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<Reread<Arc<ServerConfig>>>,
    asks_clients: bool,
}

impl ServerTls {
    /// Reads the files.
    pub fn open(files: ServerTlsFiles) -> Result<Self, FileError> {
        let asks_clients = files.client_authorities.is_some();
        let paths = [files.certificate, files.key];
        let paths = paths.into_iter().chain(files.client_authorities).collect();
        let config = Reread::open("certificate of this server", paths, server_config)?;
        Ok(Self {
            config: Arc::new(config),
            asks_clients,
        })
    }

    /// Whether clients must show a certificate.
    pub const fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Agrees on TLS over a connection that was accepted.
    pub async fn accept<C: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: C,
    ) -> std::io::Result<Secured<C>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&*self.config.get()));
        let shaken = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(connection)).await;
        let stream = shaken.map_err(|_elapsed| std::io::ErrorKind::TimedOut)??;
        Ok(Secured::Tls(Box::new(stream.into())))
    }
}

fn server_config(files: &[Content<'_>]) -> Result<Arc<ServerConfig>, FileError> {
    let (certificate, key, authority) = match files {
        [certificate, key] => (certificate, key, None),
        [certificate, key, authority] => (certificate, key, Some(authority)),
        _ => unreachable!("two or three files were named"),
    };
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(certificate.path, error))?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let verifier = verifier.map_err(|error| {
                FileError::content(file.path, "certificates of authorities", error)
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| unusable(certificate.path, error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}
