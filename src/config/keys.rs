//! API keys in the settings. A file holds only the SHA-256 of a key, so that reading it lets nobody in.

use std::collections::BTreeMap;

use engine::{Claim, Code, Error, GrantSet, Grants, Principal, Result, Role};
use graphql::ApiKey;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{InForce, Origin, Settings, bad};

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
    /// The name of grants; all of the tenant is seen when absent.
    #[serde(default)]
    grants: Option<String>,
    /// What grants may say `claim.NAME` of.
    #[serde(default)]
    claims: BTreeMap<String, Claim>,
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
            grants: None,
            claims: BTreeMap::new(),
        })
    }

    /// Checks the key into the form that the server compares with; `grants` has those called `known`.
    pub fn resolve<'a>(
        &self,
        origin: &Origin,
        grants: impl Fn(&str) -> Option<&'a GrantSet>,
        known: &[&str],
    ) -> Result<ApiKey> {
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
                "roles: expected reader (or viewer), writer (or analyst), operator or admin, found none"
                    .to_owned()
            ));
        }
        let roles = self
            .roles
            .iter()
            .map(|role| role.parse::<Role>().map_err(|e| bad(e.to_string())))
            .collect::<Result<Vec<Role>>>()?;
        let grants = match &self.grants {
            None if self.claims.is_empty() => Grants::all(),
            None => {
                return Err(bad("claims: expected grants that are held against them".to_owned()));
            }
            Some(name) => {
                let set = grants(name).ok_or_else(|| {
                    let expected = match known {
                        [] => "a [grants] table".to_owned(),
                        known => known.join(" or "),
                    };
                    bad(format!("grants {name:?} are not there; expected {expected}"))
                })?;
                Grants::limited(set.clone(), self.claims.clone()).map_err(|e| bad(e.to_string()))?
            }
        };
        Ok(ApiKey { secret_sha256, tenant, subject: self.subject.clone(), roles, grants })
    }

    /// Whether `other` has the same secret.
    pub fn has_secret_of(&self, other: &Self) -> bool {
        self.secret_sha256.eq_ignore_ascii_case(&other.secret_sha256)
    }

    /// The key for people: who and what, never the secret.
    pub fn masked(&self) -> String {
        let roles = self.roles.join(", ");
        let grants =
            self.grants.as_ref().map(|name| format!(", grants {name}")).unwrap_or_default();
        format!("{} in {} ({roles}{grants}): ***", self.subject, self.tenant)
    }
}

impl Settings {
    /// The keys that requests may carry.
    pub fn api_keys(&self) -> Result<Vec<ApiKey>> {
        for (i, (key, origin)) in self.keys.iter().enumerate() {
            if let Some((other, _)) = self.keys[..i].iter().find(|(k, _)| k.has_secret_of(key)) {
                return Err(bad(format!(
                    "keys[{i}] (from {origin}): it has the secret of {}; expected one of its own",
                    other.masked()
                )));
            }
        }
        for (name, (set, origin)) in &self.grants {
            set.check().map_err(|e| bad(format!("grants.{name} (from {origin}): {e}")))?;
        }
        let set = |name: &str| self.grants.get(name).map(|(set, _)| set);
        let names: Vec<&str> = self.grants.keys().map(String::as_str).collect();
        self.keys.iter().map(|(key, origin)| key.resolve(origin, set, &names)).collect()
    }

    /// Fails where grants say what is seen of `from` and nothing of `to`, which it is to be called: keys with them would see nothing of
    /// it, or all.
    pub fn require_grants_for(&self, from: &str, to: &str) -> Result<()> {
        for (name, (set, origin)) in &self.grants {
            if set.datasets.contains_key(from) && !set.datasets.contains_key(to) {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "grants.{name} (from {origin}) say what is seen of {from}; expected them to say it of {to}, too, before the \
                         dataset is called so"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Grants by their name, as the settings have them.
    pub fn grants(&self, name: &str) -> Result<GrantSet> {
        let found = self.grants.get(name).map(|(set, _)| set.clone());
        found.ok_or_else(|| {
            let known: Vec<&str> = self.grants.keys().map(String::as_str).collect();
            let expected = match known.as_slice() {
                [] => "a table [grants.NAME] in the settings".to_owned(),
                known => known.join(" or "),
            };
            bad(format!("grants {name:?} are not in the settings; expected {expected}"))
        })
    }

    pub(super) fn keys_in_force(&self) -> impl Iterator<Item = InForce> {
        let keys = self.keys.iter().enumerate().map(|(i, (key, origin))| InForce {
            name: format!("keys[{i}]"),
            value: key.masked(),
            origin: origin.to_string(),
            about: "key that requests may carry".to_owned(),
        });
        let grants = self.grants.iter().map(|(name, (set, origin))| InForce {
            name: format!("grants.{name}"),
            value: set.datasets.keys().cloned().collect::<Vec<_>>().join(", "),
            origin: origin.to_string(),
            about: "datasets that keys with these grants see".to_owned(),
        });
        keys.chain(grants)
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
