//! API keys as control state has them: of the secret there is only its SHA-256.

use futures::future::BoxFuture;

use super::Result;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// What of it may be seen; no other key of the root has the same.
    pub prefix: String,
    /// SHA-256 of the whole key, in hexadecimal digits.
    pub secret_sha256: String,
    /// The tenant that it opens.
    pub tenant: String,
    /// Who has it.
    pub subject: String,
    /// What its holder may do, with commas between them.
    pub roles: String,
    /// What its holder may see; all of the tenant where it is not said.
    pub grants: Option<String>,
    /// When it was made, in microseconds.
    pub created_us: i64,
    /// By whom.
    pub created_by: String,
    /// When it ends, in microseconds.
    pub expires_us: Option<i64>,
    /// About when it was used last, in microseconds.
    pub used_us: Option<i64>,
    /// When it was revoked, in microseconds.
    pub revoked_us: Option<i64>,
    /// By whom.
    pub revoked_by: Option<String>,
}

/// How many keys there may be.
#[derive(Clone, Copy, Debug)]
pub struct KeyRoom {
    /// That are of use, of one tenant.
    pub of_tenant_max: i64,
    /// The same, of all tenants.
    pub all_max: i64,
    /// That are not any more, of one tenant: the oldest of them are let go of.
    pub ended_max: i64,
}

/// What became of a key that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAdded {
    /// It is there.
    Added,
    /// Another has its prefix.
    Taken,
    /// So many are of use, of the tenant alone where it says so.
    Full { live: i64, of_tenant: bool },
}

/// Where keys are kept. All times come from the caller.
pub trait KeyStore {
    /// Adds a key, if there is room.
    fn add_key<'a>(&'a self, key: &'a KeyEntry, room: KeyRoom) -> BoxFuture<'a, Result<KeyAdded>>;

    /// Keys of a tenant, newest first, those that are of no use any more, too.
    fn keys<'a>(&'a self, tenant: &'a str, limit: i64) -> BoxFuture<'a, Result<Vec<KeyEntry>>>;

    /// Ends a key of a tenant, unless it is revoked already, and answers with it as it is then; none, where the tenant has no such key.
    fn revoke_key<'a>(
        &'a self,
        tenant: &'a str,
        prefix: &'a str,
        now_us: i64,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeyEntry>>>;

    /// The keys of all tenants that are of use.
    fn live_keys(&self, now_us: i64, limit: i64) -> BoxFuture<'_, Result<Vec<KeyEntry>>>;

    /// How often a key was made or revoked: 0, as long as there never was one.
    fn keys_change(&self) -> BoxFuture<'_, Result<i64>>;

    /// Says of keys, by their prefixes, when they were used last.
    fn keys_used<'a>(&'a self, used: &'a [(String, i64)]) -> BoxFuture<'a, Result<()>>;
}
