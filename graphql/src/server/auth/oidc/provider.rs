//! The identity provider: what it says of itself, and what it is asked for behind the browser's back.
//!
//! Sources: OpenID Connect Discovery 1.0, sections 3 and 4; OpenID Connect Core 1.0, sections 3.1.3 and 12; RFC 6749 (OAuth 2.0),
//! section 2.3.1; RFC 7009 (revocation); RFC 7636 (PKCE). What it says of itself is kept and read again from time to time; where it
//! can not be, what it said before holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::super::fetch;
use super::super::jwt::{JwksSource, JwtOptions, Tokens};
use super::OidcOptions;

/// Where a provider says what it is, behind its name.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// How often it is asked for that by those who want to log in, while it has not said it.
const UNKNOWN_EVERY: Duration = Duration::from_secs(2);
/// Most that is asked of it at a time, and how long one may wait for its turn.
const ASKED_MAX: usize = 64;
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long access lasts where nobody says so.
const ACCESS_DEFAULT: Duration = Duration::from_secs(300);

/// The provider.
pub(super) struct Provider {
    options: Arc<OidcOptions>,
    client: reqwest::Client,
    known: RwLock<Option<Arc<Known>>>,
    tried: Mutex<Option<Instant>>,
    turns: Semaphore,
}

/// What it says of itself.
pub(super) struct Known {
    pub(super) authorization: Url,
    pub(super) end_session: Option<Url>,
    /// Whether it says who it is where it sends a browser back (RFC 9207).
    pub(super) says_who: bool,
    /// The tokens that say who has logged in.
    pub(super) tokens: Arc<Tokens>,
    token: Url,
    revocation: Option<Url>,
    jwks: Url,
    /// Whether it takes the client's secret among the parameters, and nowhere else.
    takes_posted: bool,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What it gives for a code, or for a refresh token.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    expires_in: Option<Value>,
}

impl Granted {
    /// How long access lasts, if it says so.
    pub(super) fn lasts(&self) -> Option<Duration> {
        // Some write numbers as texts.
        let seconds = match self.expires_in.as_ref()? {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        };
        seconds.map(Duration::from_secs)
    }

    /// How long it lasts where no token says it either.
    pub(super) fn lasts_by_default() -> Duration {
        ACCESS_DEFAULT
    }
}

/// Why it gives nothing.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// What was shown to it is not, or not any more, worth anything.
    Spent,
    /// It does not answer, or not as it should.
    Failed(String),
}

impl Provider {
    /// Asks it what it is; where it does not answer, it is asked again later.
    pub(super) async fn open(options: Arc<OidcOptions>) -> engine::Result<Self> {
        let provider = Self {
            options,
            client: fetch::client()?,
            known: RwLock::default(),
            tried: Mutex::default(),
            turns: Semaphore::new(ASKED_MAX),
        };
        if let Err(says) = provider.discover().await {
            let issuer = provider.options.issuer.as_str();
            tracing::warn!(
                issuer,
                says,
                "the identity provider can not be read yet; nobody logs in until it can"
            );
        }
        Ok(provider)
    }

    /// Whom it knows this server as.
    pub(super) fn client_id(&self) -> &str {
        &self.options.client_id
    }

    /// Reads again what it says, and its keys, from time to time until `ending`.
    pub(super) async fn keep(&self, ending: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.options.refresh) => {}
                () = ending.cancelled() => return,
            }
            if let Err(says) = self.discover().await {
                tracing::warn!(
                    says,
                    "the identity provider can not be read; what it said before goes on"
                );
            }
        }
    }

    /// What it says of itself, asked for if that is not known.
    pub(super) async fn known(&self) -> Result<Arc<Known>, String> {
        let known = || self.known.read().clone();
        if let Some(known) = known() {
            return Ok(known);
        }
        let mut tried = self.tried.lock().await;
        if known().is_none() && tried.is_none_or(|at| at.elapsed() >= UNKNOWN_EVERY) {
            *tried = Some(Instant::now());
            self.discover().await?;
        }
        known().ok_or_else(|| "the identity provider could not be read just now".to_owned())
    }

    async fn discover(&self) -> Result<(), String> {
        let issuer = self.options.issuer.as_str();
        let url = format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'));
        let url = fetch::address(&url)?;
        let request = self.client.get(url.clone()).header("accept", "application/json");
        let (status, bytes) = fetch::document(request).await?;
        if !status.is_success() {
            return Err(format!("{url}: expected status 200, found {}", status.as_u16()));
        }
        let metadata: Metadata =
            serde_json::from_slice(&bytes).map_err(|error| format!("{url}: {error}"))?;
        if metadata.issuer != issuer {
            let found: String = metadata.issuer.chars().take(200).collect();
            return Err(format!("{url}: issuer: expected {issuer:?}, found {found:?}"));
        }
        let at = |name: &str, text: &str| {
            fetch::address(text).map_err(|says| format!("{url}: {name}: {says}"))
        };
        let at_if_any = |name: &str, text: &Option<String>| {
            text.as_ref().map(|text| at(name, text)).transpose()
        };
        let jwks = at("jwks_uri", &metadata.jwks_uri)?;
        let before = self.known.read().clone().filter(|known| known.jwks == jwks);
        let tokens = match before {
            Some(known) => {
                known.tokens.read_again().await;
                Arc::clone(&known.tokens)
            }
            None => self.tokens(jwks.clone()).await?,
        };
        let methods = metadata.token_endpoint_auth_methods_supported.unwrap_or_default();
        let takes = |method: &str| methods.iter().any(|it| it == method);
        let known = Known {
            authorization: at("authorization_endpoint", &metadata.authorization_endpoint)?,
            token: at("token_endpoint", &metadata.token_endpoint)?,
            end_session: at_if_any("end_session_endpoint", &metadata.end_session_endpoint)?,
            revocation: at_if_any("revocation_endpoint", &metadata.revocation_endpoint)?,
            says_who: metadata.authorization_response_iss_parameter_supported,
            takes_posted: takes("client_secret_post") && !takes("client_secret_basic"),
            tokens,
            jwks,
        };
        *self.known.write() = Some(Arc::new(known));
        Ok(())
    }

    async fn tokens(&self, jwks: Url) -> Result<Arc<Tokens>, String> {
        let options = &self.options;
        let of_logins = JwtOptions {
            issuer: options.issuer.as_str().to_owned(),
            audiences: vec![options.client_id.clone()],
            algorithms: options.algorithms.clone(),
            jwks: JwksSource::Url(jwks),
            refresh: options.refresh,
            leeway: options.leeway,
            claims: options.claims.clone(),
        };
        Tokens::open(of_logins).await.map_err(|error| error.to_string())
    }

    /// What it gives for `code`, to who began the login.
    pub(super) async fn exchange(&self, code: &str, verifier: &str) -> Result<Granted, Refusal> {
        let redirect = self.options.public_url.at("/auth/callback").to_string();
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", verifier),
        ];
        self.granted(&parameters).await
    }

    /// What it gives for a refresh token: whether its owner is still let in, and as what.
    pub(super) async fn refresh(&self, token: &str) -> Result<Granted, Refusal> {
        self.granted(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn granted(&self, parameters: &[(&str, &str)]) -> Result<Granted, Refusal> {
        let known = self.known().await.map_err(Refusal::Failed)?;
        let request = self.as_client(&known, known.token.clone(), parameters);
        let (status, bytes) = self.in_turn(request).await.map_err(Refusal::Failed)?;
        if status.is_success() {
            let unreadable = |error| Refusal::Failed(format!("its tokens: {error}"));
            return serde_json::from_slice(&bytes).map_err(unreadable);
        }
        #[derive(Deserialize)]
        struct Says {
            error: String,
        }
        match serde_json::from_slice(&bytes) {
            Ok(Says { error }) if error == "invalid_grant" => Err(Refusal::Spent),
            // Of the client, not of who logs in.
            Ok(Says { error }) => {
                let error: String = error.chars().take(200).collect();
                Err(Refusal::Failed(format!("it says {error:?}, with status {}", status.as_u16())))
            }
            Err(_) => Err(Refusal::Failed(format!("status {}", status.as_u16()))),
        }
    }

    /// Has it forget a refresh token, where it can.
    pub(super) async fn revoke(&self, token: &str) {
        let Ok(known) = self.known().await else { return };
        let Some(url) = known.revocation.clone() else { return };
        let parameters = [("token", token), ("token_type_hint", "refresh_token")];
        let request = self.as_client(&known, url, &parameters);
        let says = match self.in_turn(request).await {
            Ok((status, _)) if status.is_success() => return,
            Ok((status, _)) => format!("status {}", status.as_u16()),
            Err(says) => says,
        };
        tracing::warn!(says, "the identity provider did not revoke what a session had");
    }

    async fn in_turn(
        &self,
        request: RequestBuilder,
    ) -> Result<(reqwest::StatusCode, Vec<u8>), String> {
        let turn = tokio::time::timeout(TURN_MAX, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| "too many wait for the identity provider".to_owned())?;
        fetch::document(request).await
    }

    /// A request that says which client asks.
    fn as_client(&self, known: &Known, url: Url, parameters: &[(&str, &str)]) -> RequestBuilder {
        let id = self.options.client_id.as_str();
        let mut all = parameters.to_vec();
        let request = self.client.post(url).header("accept", "application/json");
        let request = match &self.options.client_secret {
            Some(secret) if known.takes_posted => {
                all.extend([("client_id", id), ("client_secret", secret.text())]);
                request
            }
            // Both parts are written as in a form first.
            Some(secret) => request.basic_auth(as_in_a_form(id), Some(as_in_a_form(secret.text()))),
            None => {
                all.push(("client_id", id));
                request
            }
        };
        request.form(&all)
    }
}

fn as_in_a_form(text: &str) -> String {
    let Ok(mut url) = Url::parse("form:") else { return text.to_owned() };
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_written_as_in_a_form() {
        assert_eq!(as_in_a_form("colonnade-1_a.b"), "colonnade-1_a.b");
        assert_eq!(as_in_a_form("a b:c%d&ä"), "a+b%3Ac%25d%26%C3%A4");
    }
}
