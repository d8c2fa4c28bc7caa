//! The keys of control state, which come and go while the server runs.

use std::sync::Arc;

use engine::Result;
use futures::future::BoxFuture;
use jobs::{KEY_BEGINS, KeyRing};

use super::{Authenticator, Pass, Shown};

/// Those of control state.
pub(super) struct IssuedKeys(pub(super) Arc<KeyRing>);

impl Authenticator for IssuedKeys {
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>> {
        let secret = shown.secret.filter(|secret| secret.starts_with(KEY_BEGINS));
        let admitted = secret.and_then(|secret| {
            let found = self.0.find(secret).transpose()?;
            Some(found.map(|key| Pass::until(key.principal, Some(key.ended), key.expires_at)))
        });
        Box::pin(async move { admitted })
    }
}
