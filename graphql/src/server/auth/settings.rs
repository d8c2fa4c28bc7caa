//! The keys of the settings, of which the server knows the digests.

use engine::{Credential, Grants, Principal, Result, Role, TenantId};
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use super::{Authenticator, Pass, Shown};

/// A key that lets somebody in. The server knows its digest only.
#[derive(Clone)]
pub struct ApiKey {
    /// SHA-256 of the key's text.
    pub secret_sha256: [u8; 32],
    /// The tenant that it opens.
    pub tenant: TenantId,
    /// Who has it, for records and logs.
    pub subject: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// What its holder may see.
    pub grants: Grants,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("tenant", &self.tenant)
            .field("subject", &self.subject)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl ApiKey {
    /// A key with this text.
    pub fn new(
        secret: &str,
        tenant: TenantId,
        subject: impl Into<String>,
        roles: Vec<Role>,
    ) -> Self {
        let secret_sha256 = Sha256::digest(secret.as_bytes()).into();
        let grants = Grants::all();
        Self { secret_sha256, tenant, subject: subject.into(), roles, grants }
    }

    fn principal(&self) -> Principal {
        Principal {
            tenant: self.tenant.clone(),
            subject: self.subject.clone(),
            roles: self.roles.clone(),
            grants: self.grants.clone(),
            credential: Credential::Setting,
        }
    }
}

/// Those of the settings.
pub(super) struct SettingsKeys(pub(super) Vec<ApiKey>);

impl Authenticator for SettingsKeys {
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>> {
        let admitted = shown.secret.and_then(|secret| {
            let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
            // Every key is compared whole, so that the time tells nothing.
            let mut found = None;
            for key in &self.0 {
                if is_equal(&key.secret_sha256, &digest) {
                    found = Some(key);
                }
            }
            found.map(|key| Ok(Pass::until(key.principal(), None, None)))
        });
        Box::pin(async move { admitted })
    }
}

/// Compares without stopping at the first difference.
pub(super) fn is_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |difference, (x, y)| difference | (x ^ y));
    std::hint::black_box(difference) == 0
}
