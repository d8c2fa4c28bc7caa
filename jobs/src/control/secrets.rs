//! What servers of one root share and nobody else knows.

use futures::future::BoxFuture;

use super::Result;

/// Where secrets are kept.
pub trait SecretStore {
    /// The secret of this name; `fresh` is it from now on, where there was none.
    fn secret<'a>(&'a self, name: &'a str, fresh: &'a str) -> BoxFuture<'a, Result<String>>;
}
