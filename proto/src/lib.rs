//! The wire: messages and services generated from `proto/autorep/v1/*.proto`, and their conversions from and
//! to the types of `autorep-core`. Nothing here decides anything.

pub mod convert;
pub mod frame;
#[cfg(feature = "services")]
pub mod status;

/// Raised with every change that an older peer would misunderstand; compared at registration.
pub const PROTOCOL_VERSION: u32 = 3;

/// The object by which a store is told from others: a line of text that the first coordinator on it
/// makes up, and nobody changes. A worker compares it with what its coordinator says.
pub const STORE_ID_KEY: &str = "coordinator/store-id";

/// Generated from `proto/autorep/v1/*.proto`; the documentation is in those files.
#[expect(missing_docs, clippy::pedantic, reason = "generated code")]
#[cfg_attr(
    feature = "services",
    expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/autorep.v1.rs"));
}

/// The encoded descriptors of every message and service, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/autorep.v1.descriptors"));
