//! The paths below `/auth/`, for a browser: in, back from the provider, out, and who one is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{SecondsFormat, Utc};
use engine::{Code, Error, Result};
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::page::{page, shown};
use super::provider::Refusal;
use super::session::{LOGIN_TIME_MAX, Login, Session, subject};
use super::{Purpose, Sessions, is_same, is_session, unauthenticated, verify};
use crate::server::App;
use crate::server::trace::RequestIds;
use crate::server::wire;

/// Longest path that a login leads back to.
const TO_BYTES_MAX: usize = 1 << 10;
/// Longest code that a provider gives.
const CODE_BYTES_MAX: usize = 4 << 10;

/// Answers at `/auth/` and `step`.
pub(in crate::server) async fn answer(
    app: &App,
    step: &str,
    request: Request,
    ids: &RequestIds,
) -> Response {
    let Some(sessions) = app.0.door.sessions() else {
        let says = "nobody logs in here: the settings have no table [auth.oidc]";
        return wire::failed(&Error::user(Code::NotFound, says), ids);
    };
    let is_get = request.method() == Method::GET;
    let answered = match step {
        "login" if is_get => sessions.begin(&request).await,
        "callback" if is_get => sessions.finish(&request).await,
        "logout" if request.method() == Method::POST => {
            sessions.log_out(request.headers()).await.map_err(|e| wire::failed(&e, ids))
        }
        "me" if is_get => {
            let entered = app.0.door.enter(&request, Purpose::Read).await;
            let known = entered.map(|pass| sessions.known_of(&pass.who, request.headers()));
            known.map_err(|error| wire::failed(&error, ids))
        }
        "logout" => Err(wire::method_not_allowed("POST", ids)),
        "login" | "callback" | "me" => Err(wire::method_not_allowed("GET", ids)),
        _ => {
            let says = "there is nothing at this path; expected /auth/login, /auth/callback, /auth/logout or /auth/me";
            Err(wire::failed(&Error::user(Code::NotFound, says), ids))
        }
    };
    let mut response = answered.unwrap_or_else(|refused| refused);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Deserialize)]
struct Asked {
    to: Option<String>,
}

/// What a provider sends back.
#[derive(Deserialize)]
struct Back {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Sessions {
    /// Sends a browser to the provider.
    async fn begin(&self, request: &Request) -> Result<Response, Response> {
        let asked: Asked = request.params().map_err(|error| {
            page(StatusCode::BAD_REQUEST, "This is no way to log in", &shown(&error.to_string()))
        })?;
        let to = asked.to.unwrap_or_else(|| "/".to_owned());
        let fits = Some(to.as_str()).filter(|to| to.len() <= TO_BYTES_MAX);
        let to = fits.and_then(|to| self.options.public_url.local(to)).ok_or_else(|| {
            let says = format!(
                "to: expected a path of this server, which begins with one / and has at most {TO_BYTES_MAX} bytes, found {:?}",
                shown(&to)
            );
            page(StatusCode::BAD_REQUEST, "This is no way to log in", &says)
        })?;
        let known = self.provider.known().await.map_err(|says| away(&says))?;
        let login = Login::begin(to.into()).map_err(|error| broken(&error))?;
        let mut url = known.authorization.clone();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(login.verifier.as_bytes()));
        let redirect = self.options.public_url.at("/auth/callback");
        {
            let mut pairs = url.query_pairs_mut();
            pairs
                .append_pair("response_type", "code")
                .append_pair("client_id", &self.options.client_id)
                .append_pair("redirect_uri", redirect.as_str())
                .append_pair("scope", &self.options.scopes.join(" "))
                .append_pair("state", &login.state)
                .append_pair("nonce", &login.nonce)
                .append_pair("code_challenge", &challenge)
                .append_pair("code_challenge_method", "S256");
            for (name, value) in &self.options.parameters {
                pairs.append_pair(name, value);
            }
        }
        let sealed = serde_json::to_vec(&login)
            .map_err(|error| Error::internal(format!("a login as text: {error}")))
            .and_then(|text| self.seal.seal(&self.made_for("login"), &text));
        let cookie = sealed.and_then(|it| self.login_cookie.set(&it, LOGIN_TIME_MAX.num_seconds()));
        let cookie = cookie.map_err(|error| broken(&error))?;
        Ok(sent_to(url.as_str(), [cookie]))
    }

    /// Makes a session of what the provider sends back.
    async fn finish(&self, request: &Request) -> Result<Response, Response> {
        let not_ours = |says: &str| page(StatusCode::BAD_REQUEST, "You are not logged in", says);
        let back: Back = request.params().map_err(|error| not_ours(&shown(&error.to_string())))?;
        let login = self.login(request.headers()).filter(|login| Utc::now() < login.until);
        let login = login.ok_or_else(|| {
            not_ours(
                "This login was begun in another browser, or too long ago, or it is finished already.",
            )
        })?;
        // Before anything else is looked at: the browser may have been sent here by anybody.
        let state = back.state.unwrap_or_default();
        if !is_same(state.as_bytes(), login.state.as_bytes()) {
            return Err(not_ours(
                "This login is not the one that was begun last in this browser (state).",
            ));
        }
        let known = self.provider.known().await.map_err(|says| away(&says))?;
        let issuer = self.options.issuer.as_str();
        match &back.iss {
            Some(iss) if iss != issuer => {
                return Err(not_ours("The answer is of another identity provider (iss)."));
            }
            None if known.says_who => {
                return Err(not_ours(
                    "The answer does not say which identity provider it is of (iss).",
                ));
            }
            _ => {}
        }
        if let Some(error) = &back.error {
            return Err(refused_by_provider(error, back.error_description.as_deref()));
        }
        let code = back.code.filter(|code| (1..=CODE_BYTES_MAX).contains(&code.len()));
        let code = code.ok_or_else(|| not_ours("The identity provider sent no code."))?;
        let granted =
            self.provider.exchange(&code, &login.verifier).await.map_err(|refusal| {
                match refusal {
                    Refusal::Spent => not_ours(
                        "The identity provider does not take the code: it was used before, or is too old.",
                    ),
                    Refusal::Failed(says) => away(&says),
                }
            })?;
        let token = granted.id_token.as_deref().ok_or_else(|| away("it gave no id_token"))?;
        let unbelieved = |error: Error| {
            tracing::warn!(says = error.to_string(), "the token of a login is not taken");
            page(StatusCode::FORBIDDEN, "You are not logged in", &shown(&error.to_string()))
        };
        let verified = verify(&known, &self.options.client_id, token).await.map_err(unbelieved)?;
        let nonce = verified.claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
        if !is_same(nonce.as_bytes(), login.nonce.as_bytes()) {
            return Err(unbelieved(unauthenticated("the token is of another login (nonce)")));
        }
        if subject(&verified.claims).is_none() {
            return Err(unbelieved(unauthenticated("the token does not say who it is (sub)")));
        }
        let claims = self.options.claims.kept(&verified.claims);
        let session = Session::begin(&login, &granted, &verified, claims, self.time_max())
            .map_err(|error| broken(&error))?;
        let who = self.options.claims.principal(&session.claims, session.credential());
        let who = who.map_err(unbelieved)?;
        let cookie = self.sealed(&session).and_then(|sealed| self.set(&session, &sealed));
        let forget = self.login_cookie.forget();
        let cookies = cookie.and_then(|cookie| Ok([cookie, forget?]));
        let cookies = cookies.map_err(|error| broken(&error))?;
        tracing::info!(subject = who.subject, tenant = %who.tenant, "logged in");
        Ok(sent_to(&login.to, cookies))
    }

    /// Ends the session, whether it is fresh or not, and says where one logs out of the provider, too.
    async fn log_out(&self, headers: &HeaderMap) -> Result<Response> {
        let mut end_session = None;
        if let Some(session) = self.session(headers) {
            self.require_own(&session, headers, Purpose::Change)?;
            self.live.end(&session);
            if let Some(refresh) = &session.refresh {
                self.provider.revoke(refresh).await;
            }
        }
        if let Ok(known) = self.provider.known().await {
            end_session = known.end_session.clone().map(|mut url| {
                let back = self.options.public_url.at("/");
                url.query_pairs_mut()
                    .append_pair("client_id", &self.options.client_id)
                    .append_pair("post_logout_redirect_uri", back.as_str());
                url.to_string()
            });
        }
        let mut response = wire::json(StatusCode::OK, &json!({"endSessionUrl": end_session}));
        response.headers_mut().append(header::SET_COOKIE, self.session_cookie.forget()?);
        Ok(response)
    }

    /// Who it is, until when, and what its pages show when they change something.
    fn known_of(&self, who: &engine::Principal, headers: &HeaderMap) -> Response {
        let session = self.session(headers).filter(|_| is_session(&who.credential));
        let roles: Vec<String> = who.roles.iter().map(ToString::to_string).collect();
        let mut known = json!({
            "subject": who.subject,
            "tenant": who.tenant.as_str(),
            "roles": roles,
            "by": who.credential.to_string(),
        });
        if let Some(session) = session {
            let text = |at: chrono::DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
            known["renewedAt"] = text(session.fresh_until).into();
            known["endsAt"] = text(session.ends_at()).into();
            known["csrfToken"] = session.csrf.into();
        }
        wire::json(StatusCode::OK, &known)
    }
}

/// Sends a browser there, with these cookies.
fn sent_to<const N: usize>(to: &str, cookies: [HeaderValue; N]) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(header::LOCATION, to)
        .header(header::REFERRER_POLICY, "no-referrer")
        .body(());
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The provider did not let somebody in, and says why.
fn refused_by_provider(error: &str, description: Option<&str>) -> Response {
    let (status, title) = match error {
        "access_denied" => (StatusCode::FORBIDDEN, "The identity provider did not let you in"),
        "server_error" | "temporarily_unavailable" => {
            (StatusCode::SERVICE_UNAVAILABLE, "The identity provider is busy")
        }
        _ => (StatusCode::BAD_REQUEST, "The identity provider refused the login"),
    };
    let (error, description) = (shown(error), shown(description.unwrap_or_default()));
    let says = match description.is_empty() {
        true => format!("It says: {error}."),
        false => format!("It says: {error} ({description})."),
    };
    page(status, title, &says)
}

/// The provider does not answer, or not as it should: what it says is for the log.
fn away(says: &str) -> Response {
    tracing::warn!(says, "nobody can log in: the identity provider does not answer as it should");
    let mut response = page(
        StatusCode::SERVICE_UNAVAILABLE,
        "You can not log in just now",
        "The identity provider does not answer as it should. The server's log says why.",
    );
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn broken(error: &Error) -> Response {
    tracing::warn!(detail = error.detail(), "a login did not become a session");
    page(wire::status(error.code()), "You are not logged in", &error.to_string())
}
