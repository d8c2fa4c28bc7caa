//! People who log in with a browser, at an identity provider (OpenID Connect), and the sessions that they have then.
//!
//! ```text
//!  GET /auth/login ──▶ login cookie: state, nonce, verifier ──▶ provider: who are you?
//!  GET /auth/callback ◀── code, state        code + verifier ──▶ provider ──▶ ID token, refresh token
//!       ID token: signature, iss, aud, azp, nonce, exp ──▶ claims ──▶ session cookie ──▶ where one was going
//!  any request: session cookie ──▶ claims ──▶ principal        not fresh any more: refresh token ──▶ provider ──▶ a new cookie
//! ```
//! Sources: OpenID Connect Core 1.0, section 3.1 (authorization code flow); RFC 7636 (PKCE); RFC 9700 (best current practices of OAuth);
//! RFC 9207 (who sent the browser back). All that is known of a session is sealed in its cookie, so that servers beside each other need
//! a common secret and no common memory. What a provider gives for access is not used at all: what the ID token claims is what counts,
//! mapped by the same rules as of tokens.
//!
//! A browser sends a cookie with any request, whichever page had it sent. So what changes something also shows a token that only pages
//! of this server can read (`x-csrf-token`, compared with that of the session), and a WebSocket, whose handshake can have no such header, the
//! server's own `Origin`. Deliberately absent: implicit and hybrid flows, and answers that a provider posts.

mod cookie;
mod live;
mod page;
mod provider;
mod renewal;
mod routes;
mod seal;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use engine::{Code, Credential, Error, Result, TenantId};
use futures::future::BoxFuture;
use poem::http::{HeaderMap, HeaderValue, header};
use reqwest::Url;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::claims::ClaimRules;
use super::jwt::{JwtAlgorithm, Verified};
use super::settings::is_equal;
use super::{Authenticator, Pass, Purpose, Shown, fetch, has_credentials, unauthenticated};
use cookie::Cookie;
use live::Live;
use provider::{Known, Provider, Refusal};
use renewal::Renewals;
use seal::Seal;
use session::{Login, Session};

pub(in crate::server) use routes::answer;
pub use seal::SealingSecret;

/// The header that shows that a page of this server has the request sent.
const CSRF_HEADER: &str = "x-csrf-token";
/// How often an old cookie is renewed in a row: by what was granted for it before, and for what was granted then.
const RENEWALS_IN_A_ROW_MAX: usize = 8;

/// Where people log in, and as what.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// Who says who somebody is.
    pub issuer: Issuer,
    /// What this server is called there.
    pub client_id: String,
    /// How it shows that it is the one, if it has to.
    pub client_secret: Option<Secret>,
    /// Where browsers find this server.
    pub public_url: PublicUrl,
    /// What the provider is asked for.
    pub scopes: Vec<String>,
    /// What it is told beside that.
    pub parameters: BTreeMap<String, String>,
    /// How its tokens may be signed.
    pub algorithms: Vec<JwtAlgorithm>,
    /// How often what it says of itself is read.
    pub refresh: Duration,
    /// How much clocks may differ.
    pub leeway: Duration,
    /// What its claims are worth here.
    pub claims: ClaimRules,
    /// What cookies are sealed with: the first, and others that open what was sealed before. None: something that goes with the process.
    pub sealed_with: Vec<SealingSecret>,
    /// How long a session lasts, however often it is renewed.
    pub session_max: Duration,
}

impl OidcOptions {
    /// The names of parameters that are not for the settings to say.
    pub const OWN_PARAMETERS: [&'static str; 10] = [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ];
}

/// A text that is not shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// This text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The name of an identity provider, which is an address.
#[derive(Clone, Debug)]
pub struct Issuer(String);

impl Issuer {
    /// Reads an address: of `https`, or of `http` on this machine.
    pub fn new(text: &str) -> Result<Self> {
        let url = fetch::address(text).map_err(|says| bad_address(says, text))?;
        match url.query().is_some() || url.fragment().is_some() {
            true => Err(bad_address("it has a query or a fragment", text)),
            false => Ok(Self(text.to_owned())),
        }
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where browsers find a server: scheme, host and port.
#[derive(Clone, Debug)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// Reads an address: of `https`, or of `http` on this machine.
    pub fn new(text: &str) -> Result<Self> {
        let url = fetch::address(text).map_err(|says| bad_address(says, text))?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        match is_bare && url.username().is_empty() && url.password().is_none() {
            true => Ok(Self(url)),
            false => Err(bad_address("it has more than scheme, host and port", text)),
        }
    }

    fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// A path of the server, which begins with `/`.
    fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }

    /// As browsers say where a page is from.
    fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Where `to` leads, if that is a path of this server and nothing else.
    fn local(&self, to: &str) -> Option<Url> {
        // What browsers take for a slash, or pass over.
        let is_plain =
            |letter: char| letter != '\\' && !letter.is_control() && !letter.is_whitespace();
        let is_path = to.starts_with('/') && !to.starts_with("//");
        if !is_path || !to.chars().all(is_plain) {
            return None;
        }
        self.0.join(to).ok().filter(|url| url.origin() == self.0.origin())
    }
}

fn bad_address(says: &str, text: &str) -> Error {
    let shown: String = text.chars().take(200).collect();
    let says = format!(
        "{shown:?}: {says}; expected an address that begins with https://, or on this machine http://"
    );
    Error::user(Code::BadInput, says)
}

/// The sessions of those who have logged in.
pub(crate) struct Sessions {
    options: Arc<OidcOptions>,
    provider: Arc<Provider>,
    seal: Seal,
    session_cookie: Cookie,
    login_cookie: Cookie,
    live: Live,
    renewals: Renewals,
}

impl Sessions {
    /// Asks the provider what it is; one that does not answer is asked again when somebody logs in.
    pub(crate) async fn open(options: OidcOptions) -> Result<Arc<Self>> {
        if options.sealed_with.is_empty() {
            tracing::warn!(
                "auth.oidc has no `secret`: sessions end with this process, and no server beside it knows them"
            );
        }
        let options = Arc::new(options);
        Ok(Arc::new(Self {
            provider: Arc::new(Provider::open(Arc::clone(&options)).await?),
            seal: Seal::new(&options.sealed_with)?,
            session_cookie: Cookie::new("colonnade", &options.public_url),
            login_cookie: Cookie::new("colonnade-login", &options.public_url),
            live: Live::default(),
            renewals: Renewals::default(),
            options,
        }))
    }

    /// Keeps what is known of the provider as new as it is to be, until `ending`.
    pub(super) async fn keep(&self, ending: CancellationToken) {
        self.provider.keep(ending).await;
    }

    /// The tenants that are known to be let in.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        self.options.claims.tenants()
    }

    /// Whether a claim may name a tenant that is not among these.
    pub(super) fn names_any_tenant(&self) -> bool {
        self.options.claims.names_any_tenant()
    }

    /// Has `headers` say a session that holds now, where they say one that has to be renewed; answers with what tells the browser so.
    /// Fails where the provider does not answer: then it is for the browser to come again.
    pub(super) async fn renew(&self, headers: &mut HeaderMap) -> Result<Option<HeaderValue>> {
        if has_credentials(headers) || self.session_cookie.of(headers).is_none() {
            return Ok(None);
        }
        let Some(session) = self.session(headers) else {
            return self.session_cookie.forget().map(Some);
        };
        if self.live.has_ended(&session) {
            return self.session_cookie.forget().map(Some);
        }
        if Utc::now() < session.fresh_until {
            return Ok(None);
        }
        let mut session = session;
        for _ in 0..RENEWALS_IN_A_ROW_MAX {
            let refresh = session.refresh.clone().filter(|_| Utc::now() < session.ends_at());
            let Some(refresh) = refresh else { break };
            match self.renewals.renew(&self.provider, session.clone(), refresh).await? {
                Ok(renewed) => session = Session::clone(&renewed),
                Err(Refusal::Spent) => break,
                Err(Refusal::Failed(says)) => {
                    tracing::warn!(says, "the identity provider does not renew a session");
                    return Err(Error::user(
                        Code::ResourcesExhausted,
                        "the session can not be renewed: the identity provider does not answer as it should; try again",
                    ));
                }
            }
            if Utc::now() < session.fresh_until {
                let sealed = self.sealed(&session)?;
                self.session_cookie.put(headers, &sealed);
                return self.set(&session, &sealed).map(Some);
            }
        }
        self.session_cookie.forget().map(Some)
    }

    /// The session in the cookie of a request, whether it is fresh or not.
    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        self.opened("session", self.session_cookie.of(headers)?)
    }

    fn login(&self, headers: &HeaderMap) -> Option<Login> {
        self.opened("login", self.login_cookie.of(headers)?)
    }

    fn opened<T: DeserializeOwned>(&self, what: &str, sealed: &str) -> Option<T> {
        let text = self.seal.open(&self.made_for(what), sealed)?;
        serde_json::from_slice(&text).ok()
    }

    fn sealed(&self, session: &Session) -> Result<String> {
        self.seal.seal(&self.made_for("session"), &session.text()?)
    }

    fn set(&self, session: &Session, sealed: &str) -> Result<HeaderValue> {
        // Rounded up: what is over is for the server to say, which then tells the browser why.
        let left = session.ends_at().signed_duration_since(Utc::now()).num_seconds();
        self.session_cookie.set(sealed, left.max(0) + 1)
    }

    /// What a sealed text is for: under another provider, or as another client of it, it is of no use.
    fn made_for(&self, what: &str) -> String {
        format!("{what}\n{}\n{}", self.options.issuer.as_str(), self.options.client_id)
    }

    fn time_max(&self) -> TimeDelta {
        TimeDelta::from_std(self.options.session_max).unwrap_or_default()
    }

    /// Who has the session in `headers`, if it may be used for this.
    fn pass(&self, headers: &HeaderMap, purpose: Purpose) -> Result<Pass> {
        let over = || unauthenticated("the session is over: log in again at /auth/login");
        let session = self.session(headers).ok_or_else(over)?;
        if Utc::now() >= session.fresh_until {
            return Err(over());
        }
        let ended = self.live.join(&session)?;
        self.require_own(&session, headers, purpose)?;
        let who = self.options.claims.principal(&session.claims, session.credential())?;
        Ok(Pass::until(who, Some(ended), Some(session.fresh_until)))
    }

    /// Fails where the page of somebody else may have had the request sent.
    fn require_own(&self, session: &Session, headers: &HeaderMap, purpose: Purpose) -> Result<()> {
        let forbidden = |says: String| Err(Error::user(Code::Forbidden, says));
        if let Some(shown) = headers.get(CSRF_HEADER) {
            return match is_same(shown.as_bytes(), session.csrf.as_bytes()) {
                true => Ok(()),
                false => forbidden(format!(
                    "{CSRF_HEADER}: it is not that of the session; expected the csrfToken of GET /auth/me"
                )),
            };
        }
        let is_own_origin = |origin: &HeaderValue| {
            origin.as_bytes().eq_ignore_ascii_case(self.options.public_url.origin().as_bytes())
        };
        let origin = headers.get(header::ORIGIN);
        match purpose {
            Purpose::Change => forbidden(format!(
                "a request with a session's cookie may be one of another page: expected the header {CSRF_HEADER} with the csrfToken \
                 of GET /auth/me"
            )),
            Purpose::Socket if origin.is_some_and(is_own_origin) => Ok(()),
            Purpose::Socket => forbidden(format!(
                "Origin: with a session's cookie a WebSocket is opened by pages of {} alone",
                self.options.public_url.origin()
            )),
            Purpose::Read => {
                let site = headers.get("sec-fetch-site");
                let is_own_site = site.is_none_or(|it| it == "same-origin" || it == "none");
                match is_own_site && origin.is_none_or(is_own_origin) {
                    true => Ok(()),
                    false => forbidden("the request comes from a page of another origin; expected one of this server".to_owned()),
                }
            }
        }
    }
}

/// Compares in a time that says nothing of where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    is_equal(&Sha256::digest(a).into(), &Sha256::digest(b).into())
}

/// The token of a login, believed: by its signature, for this client, and not one for access.
async fn verify(known: &Known, client_id: &str, token: &str) -> Result<Verified> {
    let verified = known.tokens.verify(token).await?;
    let refused = |says: &str| Err(unauthenticated(says));
    if verified.is_for_access {
        return refused("the token is one for access, and says of nobody that they have logged in");
    }
    let of_several =
        verified.claims.get("aud").and_then(|aud| aud.as_array()).is_some_and(|aud| aud.len() > 1);
    match verified.claims.get("azp") {
        Some(azp) if azp.as_str() == Some(client_id) => Ok(verified),
        None if !of_several => Ok(verified),
        _ => refused("the token was made for another client (azp)"),
    }
}

/// For the chain.
pub(super) struct SessionsAtTheDoor(pub(super) Arc<Sessions>);

impl Authenticator for SessionsAtTheDoor {
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>> {
        // A key that is shown counts, whatever cookie the browser sends along.
        let headers = shown.headers.filter(|headers| !has_credentials(headers));
        let headers = headers.filter(|headers| self.0.session_cookie.of(headers).is_some());
        let admitted = headers.map(|headers| self.0.pass(headers, shown.purpose));
        Box::pin(async move { admitted })
    }
}

/// Whether `credential` is a session.
fn is_session(credential: &Credential) -> bool {
    matches!(credential, Credential::Session { .. })
}
