//! A connection as either side has it, and what its errors mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{AlertDescription, CertificateError, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

/// A connection, under TLS or plain.
#[derive(Debug)]
pub enum Secured<C> {
    /// Under TLS.
    Tls(Box<TlsStream<C>>),
    /// As it came.
    Plain(C),
}

impl<C> Secured<C> {
    /// The connection below.
    fn connection(&self) -> &C {
        match self {
            Self::Tls(stream) => stream.get_ref().0,
            Self::Plain(connection) => connection,
        }
    }
}

impl<C: Connected> Connected for Secured<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> C::ConnectInfo {
        self.connection().connect_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // A server may end a connection with an alert at any time.
            Self::Tls(stream) => Pin::new(stream)
                .poll_read(context, buffer)
                .map_err(|error| explained(error, "the other side")),
            Self::Plain(connection) => Pin::new(connection).poll_read(context, buffer),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
            Self::Plain(connection) => Pin::new(connection).poll_write(context, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Plain(connection) => Pin::new(connection).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Plain(connection) => Pin::new(connection).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Plain(connection) => Pin::new(connection).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Plain(connection) => connection.is_write_vectored(),
        }
    }
}

/// An error of TLS in words that say what to do; others as they are.
pub(crate) fn explained(error: io::Error, host: &str) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner.and_then(|inner| sentence(inner, host)) {
        Some(sentence) => io::Error::new(error.kind(), sentence),
        None => error,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls adds errors at any time; those that are no person's to mend say enough themselves"
)]
fn sentence(error: &Error, host: &str) -> Option<String> {
    let sentence = match error {
        // The latter where an authority has the name of one that is trusted, and another key.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => format!(
            "expected the certificate of {host} to be signed by an authority that is trusted, found \
             another; name the authority's certificate with --ca"
        ),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => format!(
            "expected a certificate that is valid now, found that of {host} to have expired; renew it"
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => format!(
            "expected a certificate that is valid now, found that of {host} not to be valid yet; look \
             at this machine's clock"
        ),
        Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented, ..
        }) => format!(
            "expected a certificate for {host}, found one for {}; call it by a name that is in its \
             certificate, or have one made for this name",
            presented.join(", ")
        ),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "expected to be let in, found that a client certificate is wanted; name one with \
             --client-cert and --client-key"
                .to_owned()
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => format!(
            "expected to be let in, found the certificate refused ({error}); a client's must be valid \
             and signed by an authority of --tls-client-ca"
        ),
        Error::InvalidMessage(_) => format!(
            "expected TLS of {host}, found something else; without TLS the address begins with http://"
        ),
        _ => return None,
    };
    Some(sentence)
}
