//! Waiting for what may not be there. Both waits are cancel safe.

use futures::future::BoxFuture;
use tokio::time::Instant;

/// Waits for the future in `slot` and takes it out; for ever, if there is none.
pub(crate) async fn finish<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = slot else {
        return std::future::pending().await;
    };
    let result = future.await;
    *slot = None;
    result
}

/// Waits until `instant`; for ever, if there is none.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
