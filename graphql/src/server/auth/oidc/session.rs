//! A login that was begun, and the session that it becomes: all that is known of either is in its cookie.

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Credential, Error, Result};
use serde::{Deserialize, Serialize};

use super::super::claims::Claims;
use super::super::jwt::Verified;
use super::provider::Granted;
use super::seal::drawn_text;

/// How long somebody may take to log in.
pub(super) const LOGIN_TIME_MAX: TimeDelta = TimeDelta::minutes(10);

/// A login that was begun.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Login {
    /// What the provider sends back, so that nobody is logged in by an address that somebody else made.
    pub(super) state: String,
    /// What the token must say, so that it is one of this login.
    pub(super) nonce: String,
    /// What the provider is shown with the code, so that nobody else can use it (RFC 7636).
    pub(super) verifier: String,
    /// Where its browser goes then: an address of this server.
    pub(super) to: String,
    /// Until when it may be finished.
    pub(super) until: DateTime<Utc>,
}

impl Login {
    /// A new one.
    pub(super) fn begin(to: String) -> Result<Self> {
        let (state, nonce, verifier) = (drawn_text()?, drawn_text()?, drawn_text()?);
        Ok(Self { state, nonce, verifier, to, until: Utc::now() + LOGIN_TIME_MAX })
    }
}

/// Somebody who has logged in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Which one, for what goes on with it.
    #[serde(rename = "i")]
    pub(super) id: String,
    /// What only pages of this server can read.
    #[serde(rename = "x")]
    pub(super) csrf: String,
    /// That of the login.
    #[serde(rename = "n")]
    nonce: String,
    /// Who it is, for the provider.
    #[serde(rename = "s")]
    sub: String,
    /// What makes a difference to who it is here.
    #[serde(rename = "c")]
    pub(super) claims: Claims,
    /// What the provider is asked with whether that one is still let in.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<String>,
    /// Until when what is known holds.
    #[serde(rename = "f", with = "chrono::serde::ts_milliseconds")]
    pub(super) fresh_until: DateTime<Utc>,
    /// Until when it may be renewed.
    #[serde(rename = "e", with = "chrono::serde::ts_milliseconds")]
    last: DateTime<Utc>,
}

impl Session {
    /// That of a login which the provider granted, for `time_max` at most; of what the token claims it keeps `claims`.
    pub(super) fn begin(
        login: &Login,
        granted: &Granted,
        verified: &Verified,
        claims: Claims,
        time_max: TimeDelta,
    ) -> Result<Self> {
        let last = Utc::now() + time_max;
        Ok(Self {
            id: drawn_text()?,
            csrf: drawn_text()?,
            nonce: login.nonce.clone(),
            sub: subject(&verified.claims).unwrap_or_default().to_owned(),
            claims,
            refresh: granted.refresh_token.clone(),
            fresh_until: fresh_until(granted, Some(verified)).min(last),
            last,
        })
    }

    /// The same, as the provider granted it again; `verified` and `claims` are those of a new token, if there is one. Fails where that
    /// is somebody else's.
    pub(super) fn renewed(
        &self,
        granted: &Granted,
        verified: Option<&Verified>,
        claims: Option<Claims>,
    ) -> Result<Self, String> {
        if let Some(Verified { claims, .. }) = verified {
            if subject(claims) != Some(self.sub.as_str()) {
                return Err("the new token is somebody else's (sub)".to_owned());
            }
            if claims.get("nonce").is_some_and(|nonce| nonce.as_str() != Some(self.nonce.as_str()))
            {
                return Err("the new token is of another login (nonce)".to_owned());
            }
        }
        let refresh = granted.refresh_token.clone().or_else(|| self.refresh.clone());
        let fresh_until = fresh_until(granted, verified).min(self.last);
        let claims = claims.unwrap_or_else(|| self.claims.clone());
        Ok(Self { claims, refresh, fresh_until, ..self.clone() })
    }

    /// When it ends, however often it is renewed.
    pub(super) fn ends_at(&self) -> DateTime<Utc> {
        match self.refresh {
            Some(_) => self.last,
            None => self.fresh_until,
        }
    }

    /// How somebody who has it shows who it is.
    pub(super) fn credential(&self) -> Credential {
        Credential::Session { ends_at: self.ends_at() }
    }

    /// As it is sealed.
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("a session as text: {e}")))
    }
}

/// Who it is for the provider (`sub`), whatever claim says who it is here.
pub(super) fn subject(claims: &Claims) -> Option<&str> {
    claims.get("sub").and_then(|sub| sub.as_str()).filter(|sub| !sub.is_empty())
}

/// Until when it holds what the provider said just now: no longer than access lasts, nor than the token does.
fn fresh_until(granted: &Granted, verified: Option<&Verified>) -> DateTime<Utc> {
    let after =
        |time| TimeDelta::from_std(time).ok().and_then(|time| Utc::now().checked_add_signed(time));
    let of_access = granted.lasts().and_then(after);
    let of_token = verified.map(|verified| verified.expires_at);
    let by_default = || after(Granted::lasts_by_default()).unwrap_or_default();
    of_access.into_iter().chain(of_token).min().unwrap_or_else(by_default)
}
