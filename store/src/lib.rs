//! Object stores: which one a URL names, how it is reached and who asks, what its errors mean, and
//! how a large file gets there. It knows nothing of what is stored.
//!
//! S3 is set up by the usual `AWS_…` variables; `docs/storage.md` has the table.

mod advice;
mod connect;
mod create_only;
mod credentials;
mod folder;
mod options;
mod place;
mod upload;

pub use connect::{ConnectError, Multipart, connect, connect_with};
pub use credentials::ProfileError;
pub use folder::folder_store;
pub use options::{OptionsError, Variables};
pub use place::{Place, PlaceError};
pub use upload::{TooLarge, Upload, UploadError, Uploaded};

#[cfg(test)]
mod stub;
