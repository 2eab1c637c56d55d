//! Certificates and keys as rustls wants them.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::files::{Content, FileError};

/// HTTP/2, the only protocol that is spoken.
pub(crate) const ALPN: &[u8] = b"h2";

/// The cryptography, named here so that it does not depend on what else is linked.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates of a file, the holder's own first.
pub(crate) fn certificates(file: &Content<'_>) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let expected = "certificates in PEM";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    let read = read.map_err(|error| FileError::content(file.path, expected, error))?;
    if read.is_empty() {
        return Err(FileError::content(file.path, expected, "none"));
    }
    Ok(read)
}

/// The private key of a file.
pub(crate) fn private_key(file: &Content<'_>) -> Result<PrivateKeyDer<'static>, FileError> {
    let key = PrivateKeyDer::from_pem_slice(&file.bytes);
    key.map_err(|error| FileError::content(file.path, "a private key in PEM", error))
}

/// The authorities of a file.
pub(crate) fn authorities(file: &Content<'_>) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let added = roots.add(certificate);
        added
            .map_err(|error| FileError::content(file.path, "certificates of authorities", error))?;
    }
    Ok(roots)
}

/// A certificate and a key that do not belong together, or that cannot be used.
pub(crate) fn unusable(certificate: &Path, error: rustls::Error) -> FileError {
    FileError::content(
        certificate,
        "a certificate that belongs to the key beside it",
        error,
    )
}
