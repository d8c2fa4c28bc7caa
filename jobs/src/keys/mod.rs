//! API keys that are made while servers run, and kept in control state.
//!
//! A key is `col_PREFIX_SECRET`. The prefix may be listed and logged; of the whole there is only the SHA-256, which is enough for what
//! nobody can guess: the secret has 256 bits. Whoever makes a key must have all that it has; that a key was made or revoked every server
//! of the root sees within a moment ([`KeyRing`]).

mod ring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use engine::{
    Claim, Code, Credential, Engine, Error, Grant, GrantSet, Grants, Principal, Result, Role,
    RootMark, TenantId,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::control::{KeyAdded, KeyEntry, KeyRoom};
use crate::run::records::Records;
use crate::run::runner::Runner;

pub use ring::{Admitted, KeyRing};

/// What every key begins with, so that one that is found somewhere is known for what it is.
pub const KEY_BEGINS: &str = "col_";
/// Letters of the part of a key that is no secret.
const PREFIX_LETTERS: usize = 8;
/// Letters of the secret: with 62 to choose from, 43 have 256 bits.
const SECRET_LETTERS: usize = 43;
/// How often a prefix is drawn until one is free.
const PREFIX_TRIES: usize = 8;
/// Longest name of who has a key.
const SUBJECT_BYTES_MAX: usize = 200;
/// Longest grants of a key, with its claims, as JSON.
const GRANTS_BYTES_MAX: usize = 64 << 10;
/// Keys of a tenant that are listed.
pub const KEYS_LISTED_MAX: i64 = 2_000;
/// How many keys there may be.
const ROOM: KeyRoom = KeyRoom { of_tenant_max: 1_000, all_max: 20_000, ended_max: 1_000 };

/// A key that is asked for.
#[derive(Clone, Debug, Default)]
pub struct KeyRequest {
    /// Who is to have it.
    pub subject: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// What its holder may see; all of the tenant when absent.
    pub grants: Option<GrantSet>,
    /// What grants may say `claim.NAME` of.
    pub claims: BTreeMap<String, Claim>,
    /// When it ends; never, when absent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key as it stands, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiKeyState {
    /// What of it may be seen.
    pub prefix: String,
    /// The tenant that it opens.
    pub tenant: String,
    /// Who has it.
    pub subject: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// What its holder may see, by dataset; all of the tenant when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<BTreeMap<String, Grant>>,
    /// What grants may say `claim.NAME` of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Claim>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// About when it was used last.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Whether it is of use.
    pub state: KeyState,
}

/// Whether a key is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It lets its holder in.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

impl KeyState {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A key that was made, and its text, which is nowhere else.
pub struct CreatedKey {
    /// The whole key.
    pub text: String,
    /// What is kept of it.
    pub key: ApiKeyState,
    /// Datasets that its grants name, and that are not there yet.
    pub absent: Vec<String>,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What of grants is kept beside a key.
#[derive(Serialize, Deserialize)]
struct KeptGrants {
    set: GrantSet,
    claims: BTreeMap<String, Claim>,
}

impl Runner {
    /// Makes a key of the tenant of `who`, who must be an admin of all of it, and have all that the key is to have.
    pub async fn create_key(&self, who: &Principal, request: KeyRequest) -> Result<CreatedKey> {
        who.require(Role::Admin)?;
        if self.forgets() {
            return Err(bad(
                "keys: nothing would remember them; expected the setting `control` to name a database, such as \
                 sqlite:/var/lib/colonnade/control.db",
            ));
        }
        let now = self.now();
        check(who, &request, now)?;
        let (roles, grants) = (roles_text(&request.roles), kept(&request)?);
        let absent = match &grants {
            Some(text) => {
                let given: KeptGrants = serde_json::from_str(text)
                    .map_err(|error| Error::internal(format!("grants as text: {error}")))?;
                let given = Grants::limited(given.set, given.claims)?;
                self.engine().require_fitting(who, &given).await?
            }
            None => Vec::new(),
        };
        // The mark is set before the key is stored. A root without the mark and without keys is
        // open to the local user, even if its control database was lost.
        self.engine().set_mark(RootMark::Keys).await?;
        for _ in 0..PREFIX_TRIES {
            let prefix = letters(PREFIX_LETTERS, b"abcdefghijklmnopqrstuvwxyz234567")?;
            let secret = letters(
                SECRET_LETTERS,
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            )?;
            let text = format!("{KEY_BEGINS}{prefix}_{secret}");
            let entry = KeyEntry {
                secret_sha256: in_digits(&Sha256::digest(text.as_bytes())),
                prefix,
                tenant: who.tenant.to_string(),
                subject: request.subject.clone(),
                roles: roles.clone(),
                grants: grants.clone(),
                created_us: now.timestamp_micros(),
                created_by: who.subject.clone(),
                expires_us: request.expires_at.map(|at| at.timestamp_micros()),
                used_us: None,
                revoked_us: None,
                revoked_by: None,
            };
            match self.store().add_key(&entry, ROOM).await? {
                KeyAdded::Added => {
                    self.look_at_keys().await;
                    tracing::info!(
                        tenant = %who.tenant, key = entry.prefix, of = entry.subject, by = who.subject, "key made"
                    );
                    return Ok(CreatedKey { text, key: state_of(entry, now)?, absent });
                }
                KeyAdded::Taken => {}
                KeyAdded::Full { live, of_tenant } => {
                    let (whose, most) = match of_tenant {
                        true => (" of the tenant", ROOM.of_tenant_max),
                        false => ("", ROOM.all_max),
                    };
                    let says = format!(
                        "keys: {live}{whose} are of use; the limit is {most}, revoke some that nobody needs"
                    );
                    return Err(Error::user(Code::LimitExceeded, says));
                }
            }
        }
        Err(Error::internal("no prefix for a key was free"))
    }

    /// The keys of the tenant of `who`, newest first, those that are of no use any more, too.
    pub async fn keys(&self, who: &Principal) -> Result<Vec<ApiKeyState>> {
        who.require(Role::Admin)?;
        let now = self.now();
        let entries = self.store().keys(who.tenant.as_str(), KEYS_LISTED_MAX).await?;
        entries.into_iter().map(|entry| state_of(entry, now)).collect()
    }

    /// Ends a key of the tenant of `who`, everywhere and within a moment, and answers with it as it is then; NOT_FOUND where the tenant
    /// has none of that prefix. One that was revoked before stays as it was.
    pub async fn revoke_key(&self, who: &Principal, key: &str) -> Result<ApiKeyState> {
        who.require(Role::Admin)?;
        let prefix = prefix_of(key);
        let now = self.now();
        let revoked = self
            .store()
            .revoke_key(who.tenant.as_str(), &prefix, now.timestamp_micros(), &who.subject)
            .await?;
        let Some(entry) = revoked else {
            return Err(Error::user(Code::NotFound, no_such_key(&prefix)));
        };
        self.look_at_keys().await;
        tracing::info!(tenant = %who.tenant, key = entry.prefix, by = who.subject, "key revoked");
        state_of(entry, now)
    }

    /// What is made or revoked here counts here before it is answered.
    async fn look_at_keys(&self) {
        for ring in self.key_rings() {
            if let Err(error) = ring.look().await {
                tracing::warn!(detail = error.detail(), "keys are looked at later");
            }
        }
    }

    /// Whether there was ever a key in control state: from then on nobody is let in without one.
    pub async fn has_had_keys(&self) -> Result<bool> {
        Ok(self.store().keys_change().await? > 0)
    }
}

/// Whether there was ever a key in the control state of a root, for who has no runner.
pub async fn has_had_keys(engine: &Engine, control: Option<&str>) -> Result<bool> {
    match Records::open_if_there(engine, control).await? {
        Some(records) => {
            let change = records.store().keys_change().await;
            records.store().close().await;
            Ok(change? > 0)
        }
        None => Ok(false),
    }
}

/// Fails where the grants of a key of use say what is seen of `from` and nothing of `to`, which it is to be called: its holder would
/// see nothing of it, or all.
pub async fn require_keys_for(
    engine: &Engine,
    control: Option<&str>,
    tenant: &TenantId,
    from: &str,
    to: &str,
) -> Result<()> {
    let Some(records) = Records::open_if_there(engine, control).await? else { return Ok(()) };
    let keys = records.store().keys(tenant.as_str(), KEYS_LISTED_MAX).await;
    records.store().close().await;
    for key in keys? {
        let Some(kept) = kept_of(&key)? else { continue };
        let names = &kept.set.datasets;
        if key.revoked_us.is_none() && names.contains_key(from) && !names.contains_key(to) {
            let says = format!(
                "key {} of {:?} has grants that say what is seen of {from}, and not of {to}; expected it to be revoked, and another made, \
                 before the dataset is called so",
                key.prefix, key.subject
            );
            return Err(Error::user(Code::Conflict, says));
        }
    }
    Ok(())
}

/// Fails where a key can not be, or where `who` would give what it does not have.
fn check(who: &Principal, request: &KeyRequest, now: DateTime<Utc>) -> Result<()> {
    let subject = &request.subject;
    let is_plain = !subject.chars().any(char::is_control);
    if subject.trim().is_empty() || subject.len() > SUBJECT_BYTES_MAX || !is_plain {
        let shown: String = subject.chars().take(80).collect();
        return Err(bad(format!(
            "key: subject {shown:?}: expected who is to have it, 1 to {SUBJECT_BYTES_MAX} bytes in one line"
        )));
    }
    if request.roles.is_empty() {
        return Err(bad(
            "key: roles: expected reader (or viewer), writer (or analyst), operator or admin, found none",
        ));
    }
    for role in &request.roles {
        who.require_in_part(*role)?;
    }
    if let Some(at) = request.expires_at.filter(|at| *at <= now) {
        let (at, now) = (at.to_rfc3339(), now.to_rfc3339());
        return Err(bad(format!(
            "key: expires at {at}: expected a time that is to come, after {now}"
        )));
    }
    // Who is let in for a while would hold a key for ever.
    let own = match &who.credential {
        Credential::Key { expires_at, .. } => *expires_at,
        Credential::Token { expires_at } | Credential::Certificate { expires_at } => {
            Some(*expires_at)
        }
        Credential::Session { ends_at } => Some(*ends_at),
        Credential::Local | Credential::Setting => None,
    };
    if let Some(own) = own
        && request.expires_at.is_none_or(|at| at > own)
    {
        let own = own.to_rfc3339();
        let says = format!(
            "key: it would outlive the key, token, certificate or session that makes it; expected an end, at {own} at the latest"
        );
        return Err(Error::user(Code::Forbidden, says));
    }
    if request.grants.is_none() && !request.claims.is_empty() {
        return Err(bad("key: claims: expected grants that are held against them"));
    }
    Ok(())
}

/// Grants as they are kept. Where a mask needs a salt and there is none, one is drawn.
fn kept(request: &KeyRequest) -> Result<Option<String>> {
    let Some(mut set) = request.grants.clone() else { return Ok(None) };
    if set.salt.is_none() {
        set.salt = Some(letters(SECRET_LETTERS, b"abcdefghijklmnopqrstuvwxyz0123456789")?);
    }
    let says = |error: Error| bad(format!("key: grants: {error}"));
    set.check().map_err(says)?;
    let kept = KeptGrants { set, claims: request.claims.clone() };
    let text = serde_json::to_string(&kept)
        .map_err(|error| Error::internal(format!("grants as text: {error}")))?;
    match text.len() {
        bytes if bytes > GRANTS_BYTES_MAX => {
            let says =
                format!("key: grants: expected at most {GRANTS_BYTES_MAX} bytes, found {bytes}");
            Err(Error::user(Code::LimitExceeded, says))
        }
        _ => Ok(Some(text)),
    }
}

fn kept_of(entry: &KeyEntry) -> Result<Option<KeptGrants>> {
    let read = |text: &String| {
        let error = |e| Error::internal(format!("grants of the key {}: {e}", entry.prefix));
        serde_json::from_str(text).map_err(error)
    };
    entry.grants.as_ref().map(read).transpose()
}

/// Who comes with a key.
fn principal_of(entry: &KeyEntry) -> Result<Principal> {
    let grants = match kept_of(entry)? {
        None => Grants::all(),
        Some(kept) => Grants::limited(kept.set, kept.claims)?,
    };
    Ok(Principal {
        tenant: TenantId::new(&entry.tenant)?,
        subject: entry.subject.clone(),
        roles: roles_of(entry)?,
        grants,
        credential: Credential::Key {
            prefix: entry.prefix.as_str().into(),
            expires_at: entry.expires_us.and_then(DateTime::from_timestamp_micros),
        },
    })
}

fn roles_of(entry: &KeyEntry) -> Result<Vec<Role>> {
    entry.roles.split(',').map(str::parse).collect()
}

fn roles_text(roles: &[Role]) -> String {
    let roles: Vec<String> = roles.iter().map(Role::to_string).collect();
    roles.join(",")
}

fn state_of(entry: KeyEntry, now: DateTime<Utc>) -> Result<ApiKeyState> {
    let kept = kept_of(&entry)?;
    let roles = roles_of(&entry)?;
    let at = DateTime::from_timestamp_micros;
    let expires_at = entry.expires_us.and_then(at);
    let state = match (entry.revoked_us, expires_at) {
        (Some(_), _) => KeyState::Revoked,
        (None, Some(expires_at)) if expires_at <= now => KeyState::Expired,
        _ => KeyState::Active,
    };
    let (grants, claims) = match kept {
        Some(kept) => (Some(kept.set.datasets), kept.claims),
        None => (None, BTreeMap::new()),
    };
    Ok(ApiKeyState {
        prefix: entry.prefix,
        tenant: entry.tenant,
        subject: entry.subject,
        roles,
        grants,
        claims,
        created_at: at(entry.created_us).unwrap_or_default(),
        created_by: entry.created_by,
        expires_at,
        last_used_at: entry.used_us.and_then(at),
        revoked_at: entry.revoked_us.and_then(at),
        revoked_by: entry.revoked_by,
        state,
    })
}

/// The part of a key that is no secret, of that part or of the whole key.
pub fn prefix_of(key: &str) -> String {
    let behind = key.trim().strip_prefix(KEY_BEGINS).unwrap_or(key.trim());
    let prefix = behind.split('_').next().unwrap_or_default();
    prefix.chars().take(PREFIX_LETTERS).collect()
}

fn no_such_key(prefix: &str) -> String {
    let shown: String = prefix.chars().take(PREFIX_LETTERS).collect();
    format!(
        "key {shown:?}: there is none; expected the {PREFIX_LETTERS} letters behind {KEY_BEGINS} of a key of this tenant"
    )
}

/// Letters drawn by the system, each of them equally likely.
pub(crate) fn letters(count: usize, of: &[u8]) -> Result<String> {
    let fair = 256 - 256 % of.len();
    let mut text = String::with_capacity(count);
    let mut bytes = [0_u8; 64];
    while text.len() < count {
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::internal(format!("the system gives no random bytes: {error}"))
        })?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(fair.take(count - text.len()).map(|byte| char::from(of[byte % of.len()])));
    }
    Ok(text)
}

fn in_digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bad(says: impl Into<String>) -> Error {
    Error::user(Code::BadInput, says)
}
