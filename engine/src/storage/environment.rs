//! Environment variables that configure object stores.

use std::sync::OnceLock;

/// Variables that were removed from the process environment.
static SEALED: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Prefixes of the variables that configure object stores.
#[cfg(feature = "cloud")]
const PREFIXES: [&str; 3] = ["aws_", "azure_", "google_"];

/// Adds variables for stores to those of the environment. A process may have removed secrets from its environment, because
/// `/proc/PID/environ` shows them to other processes. Only the first call has an effect.
pub fn add_store_variables(variables: impl IntoIterator<Item = (String, String)>) {
    let variables = SEALED.set(variables.into_iter().collect());
    if variables.is_err() {
        tracing::debug!("variables for object stores were already set");
    }
}

/// The variables that configure object stores, by lower-case name.
#[cfg(feature = "cloud")]
pub(crate) fn of_stores() -> impl Iterator<Item = (String, String)> {
    let shown = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let sealed = SEALED.get().cloned().unwrap_or_default();
    let all = shown.chain(sealed).map(|(name, value)| (name.to_ascii_lowercase(), value));
    all.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}
