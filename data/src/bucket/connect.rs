//! Opens the object store that a URL names.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use url::Url;

/// Beginnings of the environment variables that say how to reach a store and who asks.
const SETTINGS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// The store that `url` names, at its prefix. Keys, regions and endpoints come from the usual
/// variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`). Requests that fail in passing are repeated as
/// [`object_store::RetryConfig`] does by default: ten times within three minutes, waiting longer
/// each time.
pub fn connect(url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
    // A variable that is not UTF-8 is none of these.
    let settings = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| SETTINGS.iter().any(|start| name.starts_with(start)));
    let (store, prefix) = object_store::parse_url_opts(url, settings)?;
    if prefix.is_root() {
        Ok(Arc::from(store))
    } else {
        Ok(Arc::new(PrefixStore::new(store, prefix)))
    }
}
