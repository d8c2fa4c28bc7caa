//! API keys in the settings. A file holds only the SHA-256 of a key, so that reading it lets nobody in.

use engine::{Code, Error, Principal, Result, Role};
use graphql::ApiKey;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Origin;

/// Shortest secret that is accepted: below it, guessing is a way in.
const SECRET_MIN_BYTES: usize = 16;

/// One key as the settings hold it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySetting {
    secret_sha256: String,
    #[serde(default = "default_tenant")]
    tenant: String,
    subject: String,
    roles: Vec<String>,
}

impl KeySetting {
    /// The key of a secret given in the clear: all roles, in the default tenant.
    pub fn from_secret(secret: &str) -> Result<Self> {
        if secret.len() < SECRET_MIN_BYTES {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "COLONNADE_API_KEY: expected at least {SECRET_MIN_BYTES} characters, found {}",
                    secret.len()
                ),
            ));
        }
        let digest = Sha256::digest(secret.as_bytes());
        Ok(Self {
            secret_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            tenant: default_tenant(),
            subject: "api-key".to_owned(),
            roles: Principal::local().roles.iter().map(|role| role.to_string()).collect(),
        })
    }

    /// Checks the key into the form that the server compares with.
    pub fn resolve(&self, origin: &Origin) -> Result<ApiKey> {
        let bad = |problem: String| {
            Error::user(
                Code::BadInput,
                format!("key of {:?} (from {origin}): {problem}", self.subject),
            )
        };
        let secret_sha256 = decode_hex(&self.secret_sha256)
            .ok_or_else(|| bad("secret_sha256: expected 64 hexadecimal digits".to_owned()))?;
        if secret_sha256[..] == Sha256::digest(b"")[..] {
            return Err(bad(
                "secret_sha256: it is that of no text at all; expected that of a secret".to_owned(),
            ));
        }
        let tenant = self.tenant.parse().map_err(|e: Error| bad(e.to_string()))?;
        if self.roles.is_empty() {
            return Err(bad(
                "roles: expected reader, writer, operator or admin, found none".to_owned()
            ));
        }
        let roles = self
            .roles
            .iter()
            .map(|role| role.parse::<Role>().map_err(|e| bad(e.to_string())))
            .collect::<Result<Vec<Role>>>()?;
        Ok(ApiKey { secret_sha256, tenant, subject: self.subject.clone(), roles })
    }

    /// Whether `other` has the same secret.
    pub fn has_secret_of(&self, other: &Self) -> bool {
        self.secret_sha256.eq_ignore_ascii_case(&other.secret_sha256)
    }

    /// The key for people: who and what, never the secret.
    pub fn masked(&self) -> String {
        format!("{} in {} ({}): ***", self.subject, self.tenant, self.roles.join(", "))
    }
}

fn default_tenant() -> String {
    "default".to_owned()
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
