//! Secrets in both databases.
#![allow(clippy::unwrap_used)]

use crate::control::{SecretStore, SqlStore};

pub(super) async fn a_secret_is_made_once(store: SqlStore) {
    assert_eq!(store.secret("a", "first").await.unwrap(), "first");
    assert_eq!(store.secret("a", "second").await.unwrap(), "first");
    assert_eq!(store.secret("b", "second").await.unwrap(), "second");
}
