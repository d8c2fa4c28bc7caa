//! The variables from which object stores take what their options do not say.

use std::sync::OnceLock;

/// Variables that the environment of the process does not show.
static SEALED: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Names of the variables that concern object stores begin so.
#[cfg(feature = "cloud")]
const PREFIXES: [&str; 3] = ["aws_", "azure_", "google_"];

/// Gives stores variables besides those of the environment: a process may have taken its secrets out of that, since
/// `/proc/PID/environ` shows them to others. What is given first stays.
pub fn add_store_variables(variables: impl IntoIterator<Item = (String, String)>) {
    let variables = SEALED.set(variables.into_iter().collect());
    if variables.is_err() {
        tracing::debug!("variables of object stores were given before");
    }
}

/// The variables of object stores, by lower-case name.
#[cfg(feature = "cloud")]
pub(crate) fn of_stores() -> impl Iterator<Item = (String, String)> {
    let shown = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let sealed = SEALED.get().cloned().unwrap_or_default();
    let all = shown.chain(sealed).map(|(name, value)| (name.to_ascii_lowercase(), value));
    all.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}
