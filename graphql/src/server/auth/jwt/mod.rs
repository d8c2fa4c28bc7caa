//! Tokens that an identity provider signed (JSON Web Tokens, RFC 7519): who somebody is without a key of ours.
//!
//! ```text
//!  token ──▶ header: an algorithm that the settings name ──▶ a public key of its kind ──▶ signature
//!        ──▶ iss, aud, exp, nbf ──▶ tenant, subject, the first rule that one of its roles meets ──▶ principal
//! ```
//! Nothing in a token is believed before its signature is right, and nothing in it is ever fetched (`jku`, `x5u`, `jwk`). What a token
//! may do comes of one rule of the settings, never of several together: a role of one and the rows of another would be more than
//! either gives.

mod jwks;
mod jws;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Claim, Code, Credential, Error, GrantSet, Grants, Principal, Result, Role, TenantId};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Authenticator, Pass, Shown, unauthenticated};
use jwks::KeySet;
use jws::Token;

pub use jwks::JwksSource;
pub use jws::JwtAlgorithm;

/// Longest subject.
const SUBJECT_BYTES_MAX: usize = 200;
/// Longest claim that grants are held against, and how many texts it may have.
const CLAIM_BYTES_MAX: usize = 4 << 10;

/// Whose tokens are taken, and for whom they let in.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    /// Who must have made a token (`iss`).
    pub issuer: String,
    /// For whom it must be (`aud`): one of these.
    pub audiences: Vec<String>,
    /// How it may be signed.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where the keys of who made it are.
    pub jwks: JwksSource,
    /// How often these are read.
    pub refresh: Duration,
    /// How much clocks may differ.
    pub leeway: Duration,
    /// Whose data it is about.
    pub tenant: JwtTenant,
    /// The claim that says who it is.
    pub subject_claim: String,
    /// The claim that says what the holder is; `.` goes into objects.
    pub roles_claim: String,
    /// What that is worth here: the first that one of its values meets.
    pub roles: Vec<JwtRole>,
}

/// Whose data a token is about.
#[derive(Clone, Debug)]
pub enum JwtTenant {
    /// Always this one's.
    Is(TenantId),
    /// Whom a claim names, and only these where some are listed.
    Claim {
        /// The claim.
        name: String,
        /// Those that it may name; any, where there are none.
        among: Vec<TenantId>,
    },
}

/// What a value of the claim of roles is worth.
#[derive(Clone, Debug)]
pub struct JwtRole {
    /// The value.
    pub value: String,
    /// What its holder may do.
    pub role: Role,
    /// What its holder may see; all of the tenant when absent.
    pub grants: Option<GrantSet>,
}

/// The tokens that are taken.
pub(crate) struct Tokens {
    options: JwtOptions,
    keys: KeySet,
}

impl Tokens {
    /// Reads the keys.
    pub(crate) async fn open(options: JwtOptions) -> Result<Arc<Self>> {
        let keys = KeySet::open(options.jwks.clone(), options.refresh).await?;
        Ok(Arc::new(Self { options, keys }))
    }

    /// Keeps the keys as new as they are to be, until `ending`.
    pub(super) async fn keep(&self, ending: CancellationToken) {
        self.keys.keep(ending).await;
    }

    /// The tenants that it is known to let in.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        match &self.options.tenant {
            JwtTenant::Is(tenant) => vec![tenant.clone()],
            JwtTenant::Claim { among, .. } => among.clone(),
        }
    }

    /// Whether a token may name a tenant that is not among these.
    pub(super) fn names_any_tenant(&self) -> bool {
        matches!(&self.options.tenant, JwtTenant::Claim { among, .. } if among.is_empty())
    }

    async fn pass(&self, text: &str) -> Result<Pass> {
        // One answer for all that is not signed as it should be: it is for nobody to find out by trying.
        let unsigned = || unauthenticated("the token is not one that this server takes");
        let token = Token::read(text).ok_or_else(unsigned)?;
        if !self.options.algorithms.contains(&token.algorithm) {
            return Err(unsigned());
        }
        let claims = self.keys.claims(&token).await.ok_or_else(unsigned)?;
        let expires_at = self.check(&claims, Utc::now())?;
        let who = self.principal(&claims, expires_at)?;
        Ok(Pass::until(who, None, Some(expires_at)))
    }

    /// Fails where it is not for this server, or not now; answers with when it ends.
    fn check(&self, claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let options = &self.options;
        if claims.get("iss").and_then(Value::as_str) != Some(options.issuer.as_str()) {
            return Err(unauthenticated(
                "the token is of another issuer (iss) than this server trusts",
            ));
        }
        let is_for_us = |value: &Value| {
            value.as_str().is_some_and(|text| options.audiences.iter().any(|known| known == text))
        };
        let for_whom = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_for_us),
            Some(one) => is_for_us(one),
            None => false,
        };
        if !for_whom {
            return Err(unauthenticated("the token is not for this server (aud)"));
        }
        let leeway = TimeDelta::from_std(options.leeway).unwrap_or_default();
        let expires_at = instant(claims, "exp")?
            .ok_or_else(|| unauthenticated("the token does not say when it ends (exp)"))?;
        let expires_at = expires_at.checked_add_signed(leeway).unwrap_or(expires_at);
        if expires_at <= now {
            return Err(unauthenticated("the token has expired (exp)"));
        }
        for name in ["nbf", "iat"] {
            if instant(claims, name)?.is_some_and(|at| at > now + leeway) {
                return Err(unauthenticated(&format!("the token does not hold yet ({name})")));
            }
        }
        Ok(expires_at)
    }

    fn principal(
        &self,
        claims: &Map<String, Value>,
        expires_at: DateTime<Utc>,
    ) -> Result<Principal> {
        let options = &self.options;
        let forbidden = |says: String| Error::user(Code::Forbidden, format!("the token: {says}"));
        let subject = at(claims, &options.subject_claim).and_then(Value::as_str);
        let is_plain = |text: &&str| {
            !text.trim().is_empty()
                && text.len() <= SUBJECT_BYTES_MAX
                && !text.chars().any(char::is_control)
        };
        let subject = subject.filter(is_plain).ok_or_else(|| {
            forbidden(format!(
                "claim {}: expected who it is, 1 to {SUBJECT_BYTES_MAX} bytes in one line",
                options.subject_claim
            ))
        })?;
        let tenant = match &options.tenant {
            JwtTenant::Is(tenant) => tenant.clone(),
            JwtTenant::Claim { name, among } => {
                let named = at(claims, name).and_then(Value::as_str);
                let tenant = named.and_then(|named| named.parse::<TenantId>().ok());
                let is_known = |tenant: &TenantId| among.is_empty() || among.contains(tenant);
                tenant.filter(is_known).ok_or_else(|| {
                    forbidden(format!("claim {name}: expected a tenant of this server"))
                })?
            }
        };
        let has = at(claims, &options.roles_claim);
        let meets = |rule: &&JwtRole| match has {
            // As RFC 8693 has scopes: words with spaces between them.
            Some(Value::String(words)) => words.split(' ').any(|word| word == rule.value),
            Some(Value::Array(values)) => values.iter().any(|value| *value == *rule.value),
            _ => false,
        };
        let rule = options.roles.iter().find(meets).ok_or_else(|| {
            forbidden(format!(
                "claim {}: expected one of the values that this server knows",
                options.roles_claim
            ))
        })?;
        let grants = match &rule.grants {
            None => Grants::all(),
            Some(set) => {
                // A claim of another kind is as good as none: of none no row is seen.
                let known = set.claims_used().into_iter();
                let known = known.filter_map(|name| {
                    let value = claim(claims.get(&name)?)?;
                    Some((name, value))
                });
                Grants::limited(set.clone(), known.collect::<BTreeMap<_, _>>())?
            }
        };
        Ok(Principal {
            tenant,
            subject: subject.to_owned(),
            roles: vec![rule.role],
            grants,
            credential: Credential::Token { expires_at },
        })
    }
}

/// For the chain.
pub(super) struct TokensAtTheDoor(pub(super) Arc<Tokens>);

impl Authenticator for TokensAtTheDoor {
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>> {
        Box::pin(async move {
            // Three parts, the first of which begins as every JSON object does in base64.
            let is_one = |text: &&str| text.starts_with("ey") && text.matches('.').count() == 2;
            let secret = shown.secret.filter(is_one)?;
            Some(self.0.pass(secret).await)
        })
    }
}

/// A claim, which may lie in objects.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    // Names may have dots themselves, as those of namespaces have.
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let mut value = claims.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// Seconds since 1970, which may have parts (RFC 7519, section 2). Nothing else is taken for them.
fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| seconds.abs() < 1e15)?;
        Some(seconds.floor() as i64)
    });
    let at = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.map(Some).ok_or_else(|| {
        unauthenticated(&format!(
            "the token: claim {name}: expected seconds since 1970, as a number"
        ))
    })
}

/// A claim as grants know such.
fn claim(value: &Value) -> Option<Claim> {
    let fits = |text: &str| text.len() <= CLAIM_BYTES_MAX;
    match value {
        Value::Bool(flag) => Some(Claim::Flag(*flag)),
        Value::Number(number) => number.as_i64().map(Claim::Number),
        Value::String(text) if fits(text) => Some(Claim::Text(text.clone())),
        Value::Array(texts) => {
            let texts: Option<Vec<String>> =
                texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
            texts.filter(|texts| texts.iter().all(|text| fits(text))).map(Claim::Texts)
        }
        _ => None,
    }
}
