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
pub(super) mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Credential, Result};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::claims::{ClaimRules, Claims};
use super::{Authenticator, Pass, Shown, unauthenticated};
use jwks::KeySet;
use jws::Token;

pub use jwks::JwksSource;
pub use jws::JwtAlgorithm;

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
    /// What it is worth here.
    pub claims: ClaimRules,
}

/// A token that is believed.
pub(super) struct Verified {
    /// What it says.
    pub(super) claims: Claims,
    /// When it ends, by a clock that is as much behind as one may be.
    pub(super) expires_at: DateTime<Utc>,
    /// Whether it says of itself that it is for access (RFC 9068), and so tells nobody who has logged in.
    pub(super) is_for_access: bool,
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

    /// Reads the keys again, now.
    pub(super) async fn read_again(&self) {
        self.keys.read_or_say().await;
    }

    /// What the claims of a token are worth.
    pub(super) fn rules(&self) -> &ClaimRules {
        &self.options.claims
    }

    async fn pass(&self, text: &str) -> Result<Pass> {
        let Verified { claims, expires_at, .. } = self.verify(text).await?;
        let who = self.options.claims.principal(&claims, Credential::Token { expires_at })?;
        Ok(Pass::until(who, None, Some(expires_at)))
    }

    /// What a token claims that is signed as it should be, for this server, and of today.
    pub(super) async fn verify(&self, text: &str) -> Result<Verified> {
        // One answer for all that is not signed as it should be: it is for nobody to find out by trying.
        let unsigned = || unauthenticated("the token is not one that this server takes");
        let token = Token::read(text).ok_or_else(unsigned)?;
        if !self.options.algorithms.contains(&token.algorithm) {
            return Err(unsigned());
        }
        let claims = self.keys.claims(&token).await.ok_or_else(unsigned)?;
        let expires_at = self.check(&claims, Utc::now())?;
        Ok(Verified { claims, expires_at, is_for_access: token.is_for_access })
    }

    /// Fails where it is not for this server, or not now; answers with when it ends.
    fn check(&self, claims: &Claims, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
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

/// Seconds since 1970, which may have parts (RFC 7519, section 2). Nothing else is taken for them.
fn instant(claims: &Claims, name: &str) -> Result<Option<DateTime<Utc>>> {
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
