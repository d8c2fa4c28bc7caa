//! Who is at the door.
//!
//! There are several ways to show who one is, one file each, and the door asks one after the other whether what was shown is theirs:
//!
//! ```text
//!   local          nothing, while nobody has a key and the server is on loopback
//!   settings       a key of the settings
//!   issued         a key of control state
//!   jwt            a token that somebody signed who is trusted
//!   oidc           the session of somebody who has logged in with a browser
//!   certificates   a certificate that was shown when the connection began, and nothing in the request
//! ```
//! Whatever is shown comes in a header or in a WebSocket's first message, never in an address, which logs and histories keep. What is
//! not known, not of use any more, or never was, gets one and the same answer. Who is let in gets a [`Pass`], which says until when:
//! what goes on for long ends with it.

mod certificates;
mod claims;
mod fetch;
mod issued;
mod jwt;
mod local;
pub(super) mod oidc;
mod settings;

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use engine::{Code, Error, Principal, Result, Role};
use futures::future::BoxFuture;
use jobs::KeyRing;
use poem::Request;
use poem::http::{HeaderMap, HeaderValue, header};
use tokio_util::sync::CancellationToken;

pub(crate) use certificates::Certificates;
pub use certificates::{CertificateField, CertificateRule};
pub use claims::{ClaimRules, JwtRole, JwtTenant};
use issued::IssuedKeys;
pub(crate) use jwt::Tokens;
use jwt::TokensAtTheDoor;
pub use jwt::{JwksSource, JwtAlgorithm, JwtOptions};
use local::LocalUser;
pub(crate) use oidc::Sessions;
use oidc::SessionsAtTheDoor;
pub use oidc::{Issuer, OidcOptions, PublicUrl, SealingSecret, Secret};
pub use settings::ApiKey;
use settings::SettingsKeys;

use super::tls::{Certificate, OfClient};

/// Longest key or token.
const SECRET_BYTES_MAX: usize = 16 << 10;
/// How long it may take until it is seen that the clock of the machine was set.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

/// What somebody shows.
#[derive(Clone, Copy)]
struct Shown<'a> {
    /// The headers of the request; none in a WebSocket's first message.
    headers: Option<&'a HeaderMap>,
    /// A key or token.
    secret: Option<&'a str>,
    /// What it is shown for.
    purpose: Purpose,
    /// The certificate of the connection; none where something else is shown.
    certificate: Option<&'a Certificate>,
}

/// What somebody comes for. A browser sends cookies along whichever page had the request sent, so what a cookie lets in depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To read, by a method that changes nothing.
    Read,
    /// For what may change something.
    Change,
    /// To open a WebSocket.
    Socket,
}

/// Who stands at the door: a request, or the headers of one.
pub(crate) struct Asker<'a> {
    headers: &'a HeaderMap,
    certificate: Option<&'a Certificate>,
}

impl<'a> From<&'a Request> for Asker<'a> {
    fn from(request: &'a Request) -> Self {
        let certificate = request.extensions().get::<OfClient>().map(|of| of.0.as_ref());
        Self { headers: request.headers(), certificate }
    }
}

impl<'a> From<&'a HeaderMap> for Asker<'a> {
    fn from(headers: &'a HeaderMap) -> Self {
        Self { headers, certificate: None }
    }
}

/// One way to show who one is.
trait Authenticator: Send + Sync {
    /// Who showed this, or why they are not let in; none, where it is for others to say.
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>>;
}

/// Who was let in, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// Who it is.
    pub(crate) who: Principal,
    ended: Option<CancellationToken>,
    expires_at: Option<DateTime<Utc>>,
}

impl Pass {
    /// Whether a browser has what was shown, and shows it by itself: a certificate, or the cookie of a session.
    pub(crate) fn is_of_browser(&self) -> bool {
        use engine::Credential::{Certificate, Session};
        matches!(self.who.credential, Certificate { .. } | Session { .. })
    }

    fn until(
        who: Principal,
        ended: Option<CancellationToken>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Self {
        Self { who, ended, expires_at }
    }

    /// Waits until the holder's access ends, and returns the reason.
    pub(crate) async fn over(&self) -> Over {
        use engine::Credential::{Certificate, Local, Session, Token};
        let ended = async {
            match &self.ended {
                Some(ended) => ended.cancelled().await,
                None => pending().await,
            }
        };
        let expired = async {
            let Some(expires_at) = self.expires_at else { return pending().await };
            // A moment at a time: the clock may be set meanwhile.
            while let Ok(left) = (expires_at - Utc::now()).to_std() {
                tokio::time::sleep(left.min(CLOCK_LOOK)).await;
            }
        };
        tokio::select! {
            () = ended => Over::Ended(unauthenticated(match &self.who.credential {
                Local => "this server requires a key now: connect again with one",
                Session { .. } => "the session was ended",
                _ if self.expires_at.is_some_and(|at| at <= Utc::now()) => "the key has expired",
                _ => "the key was revoked",
            })),
            () = expired => match &self.who.credential {
                Token { .. } => Over::Expired(unauthenticated("the token has expired")),
                Session { .. } => {
                    Over::Expired(unauthenticated("the session must be renewed: connect again"))
                }
                Certificate { .. } => {
                    Over::Expired(unauthenticated("the certificate has expired"))
                }
                _ => Over::Ended(unauthenticated("the key has expired")),
            },
        }
    }
}

/// Why a client's access has ended.
#[derive(Clone, Debug)]
pub(crate) enum Over {
    /// The credential must be renewed. The client may connect again with the new one.
    Expired(Error),
    /// The credential is not accepted any more.
    Ended(Error),
}

impl Over {
    /// The reason, for the client.
    pub(crate) fn why(self) -> Error {
        match self {
            Self::Expired(why) | Self::Ended(why) => why,
        }
    }
}

/// The door.
pub(crate) struct Door {
    local: LocalUser,
    /// What is asked after that.
    chain: Vec<Arc<dyn Authenticator>>,
    of_settings: Vec<Principal>,
    keys: Arc<KeyRing>,
    tokens: Option<Arc<Tokens>>,
    sessions: Option<Arc<Sessions>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("needs_key", &self.needs_key()).finish_non_exhaustive()
    }
}

impl Door {
    /// A door that these keys open, those of control state, tokens, and sessions; while there is none of them it opens to the local
    /// user.
    pub(crate) fn new(
        keys: Vec<ApiKey>,
        issued: Arc<KeyRing>,
        tokens: Option<Arc<Tokens>>,
        sessions: Option<Arc<Sessions>>,
    ) -> Self {
        let is_open = keys.is_empty() && tokens.is_none() && sessions.is_none();
        let until = is_open.then(|| Arc::clone(&issued));
        let local = LocalUser { until };
        let reader = |key: &ApiKey| Principal::new(key.tenant.clone(), "server", &[Role::Reader]);
        let mut of_settings: Vec<Principal> = keys.iter().map(reader).collect();
        let of_tokens = tokens.iter().flat_map(|tokens| tokens.rules().tenants());
        let tenants = of_tokens.chain(sessions.iter().flat_map(|sessions| sessions.tenants()));
        of_settings.extend(tenants.map(|tenant| Principal::new(tenant, "server", &[Role::Reader])));
        let mut chain: Vec<Arc<dyn Authenticator>> =
            vec![Arc::new(SettingsKeys(keys)), Arc::new(IssuedKeys(Arc::clone(&issued)))];
        if let Some(tokens) = &tokens {
            chain.push(Arc::new(TokensAtTheDoor(Arc::clone(tokens))));
        }
        if let Some(sessions) = &sessions {
            chain.push(Arc::new(SessionsAtTheDoor(Arc::clone(sessions))));
        }
        Self { local, chain, of_settings, keys: issued, tokens, sessions }
    }

    /// The same, which opens to certificates, too; the local user does not come in then.
    pub(crate) fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.local = LocalUser { until: None };
        let tenants = certificates.rules.iter().map(|rule| rule.tenant.clone());
        let reader = |tenant| Principal::new(tenant, "server", &[Role::Reader]);
        self.of_settings.extend(tenants.map(reader));
        self.chain.push(Arc::new(certificates));
        self
    }

    /// Of each tenant that lets somebody in, one who reads it.
    pub(crate) fn tenants(&self) -> Vec<Principal> {
        if !self.needs_key() {
            return vec![Principal::local()];
        }
        let issued = self.keys.principals().into_iter();
        let reader = |who: Principal| Principal::new(who.tenant, "server", &[Role::Reader]);
        let mut all: Vec<Principal> =
            self.of_settings.iter().cloned().chain(issued.map(reader)).collect();
        all.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        all.dedup_by(|a, b| a.tenant == b.tenant);
        all
    }

    /// Whether callers must show a key.
    pub(crate) fn needs_key(&self) -> bool {
        !self.local.is_open()
    }

    /// Whether only those of one tenant come.
    pub(crate) fn is_of_one_tenant(&self) -> bool {
        let by_token = self.tokens.as_ref().is_some_and(|tokens| tokens.rules().names_any_tenant());
        let by_session = self.sessions.as_ref().is_some_and(|sessions| sessions.names_any_tenant());
        !by_token && !by_session && self.tenants().len() == 1
    }

    /// Follows what keys there are, of control state and of who signs tokens, until `ending`.
    pub(crate) async fn follow(&self, ending: CancellationToken) {
        let tokens = async {
            if let Some(tokens) = &self.tokens {
                tokens.keep(ending.clone()).await;
            }
        };
        let sessions = async {
            if let Some(sessions) = &self.sessions {
                sessions.keep(ending.clone()).await;
            }
        };
        tokio::join!(self.keys.keep(ending.clone()), tokens, sessions);
    }

    /// The sessions of those who log in, if anybody can.
    pub(crate) fn sessions(&self) -> Option<&Sessions> {
        self.sessions.as_deref()
    }

    /// Renews the session that `headers` say, where it has to be; answers with the cookie that its browser is to be given.
    pub(crate) async fn renew(&self, headers: &mut HeaderMap) -> Result<Option<HeaderValue>> {
        match &self.sessions {
            Some(sessions) => sessions.renew(headers).await,
            None => Ok(None),
        }
    }

    /// Who sent this, and what for.
    pub(crate) async fn enter<'a>(
        &self,
        asker: impl Into<Asker<'a>>,
        purpose: Purpose,
    ) -> Result<Pass> {
        let Asker { headers, certificate } = asker.into();
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let authorization = text(header::AUTHORIZATION.as_str());
        let secret = match (authorization, text("x-api-key")) {
            (Some(authorization), _) => bearer(authorization),
            (None, Some(secret)) => Ok(Some(secret)),
            (None, None) => Ok(None),
        };
        // Who needs to show nothing may show anything.
        let shown = Shown {
            headers: Some(headers),
            secret: secret.as_ref().copied().unwrap_or_default(),
            purpose,
            certificate: certificate.filter(|_| matches!(secret, Ok(None))),
        };
        match self.ask(shown).await {
            Some(entered) => entered,
            None => Err(match secret {
                Err(error) => error,
                Ok(None) if self.sessions.is_some() => unauthenticated(
                    "this server needs a key or a session: send `Authorization: Bearer …`, or log in at /auth/login",
                ),
                Ok(secret) => refusal(secret),
            }),
        }
    }

    /// Who has the key in `authorization`, the value of a WebSocket's first message.
    pub(crate) async fn enter_with(&self, authorization: &str) -> Result<Pass> {
        let secret = bearer(authorization)?;
        let shown = Shown { headers: None, secret, purpose: Purpose::Socket, certificate: None };
        match self.ask(shown).await {
            Some(entered) => entered,
            None => Err(refusal(secret)),
        }
    }

    async fn ask(&self, shown: Shown<'_>) -> Option<Result<Pass>> {
        let secret = shown.secret.filter(|secret| (1..=SECRET_BYTES_MAX).contains(&secret.len()));
        let shown = Shown { secret, ..shown };
        if let Some(entered) = self.local.admit(shown).await {
            return Some(entered);
        }
        for authenticator in &self.chain {
            if let Some(entered) = authenticator.admit(shown).await {
                return Some(entered);
            }
        }
        None
    }
}

/// Whether a request shows a key or token.
pub(crate) fn has_credentials(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key")
}

/// What is behind `Bearer`.
fn bearer(authorization: &str) -> Result<Option<&str>> {
    authorization
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| Some(secret.trim()))
        .ok_or_else(|| unauthenticated("authorization: expected `Bearer` and a key"))
}

fn refusal(secret: Option<&str>) -> Error {
    unauthenticated(&match secret {
        None => "this server needs a key: send `Authorization: Bearer …`".to_owned(),
        Some("") => "the key is empty".to_owned(),
        Some(secret) if secret.len() > SECRET_BYTES_MAX => {
            format!("the key: expected at most {SECRET_BYTES_MAX} bytes, found {}", secret.len())
        }
        Some(_) => "the key is not known here".to_owned(),
    })
}

fn unauthenticated(message: &str) -> Error {
    Error::user(Code::Unauthenticated, message)
}

#[cfg(test)]
mod tests;
