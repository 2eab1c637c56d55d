//! Who talks to whom: TLS between coordinator, workers and people, and the tokens by which a
//! coordinator knows who calls.
//!
//! Both sides read certificates, keys and tokens from files and read them again when they change, so
//! that what a secret store renews needs no restart. Calls carry the trace that they belong to.
//! Nothing here knows a service or a message; which call needs which [`Right`] is the coordinator's
//! to say.

mod client;
mod files;
mod rights;
mod secret;
mod server;
mod stream;
mod tls;
mod tokens;
pub mod trace;

pub use client::{Bearer, Credentials, CredentialsError, TokenSource, names_a_host};
pub use files::{FileError, MAX_FILE_BYTES};
pub use rights::{Caller, Right, Role};
pub use secret::{Secret, SecretError};
pub use server::{ServerTls, ServerTlsFiles};
pub use stream::Secured;
pub use tokens::{LiveTokens, Tokens};
