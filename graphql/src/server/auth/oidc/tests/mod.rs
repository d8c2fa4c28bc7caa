//! Logins as they go, and as somebody would like them to go, over real ports.
#![allow(clippy::unwrap_used)]

mod attacks;
mod provider;
mod sockets;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Role;
use poem::http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::server::ServerOptions;
use crate::server::auth::{JwtRole, JwtTenant};
use crate::tests::{Rig, short_patience};
use provider::{CLIENT, CLIENT_SECRET, Provider as FakeProvider};

const PUBLIC: &str = "https://colonnade.example.org";
const SESSION: &str = "__Host-colonnade";
const LOGIN: &str = "__Host-colonnade-login";
const CALLS: &str = "{ calls(first: 1) { nodes { id } } }";

fn secret(letter: &str) -> SealingSecret {
    SealingSecret::new(letter.repeat(32)).unwrap()
}

fn options(provider: &FakeProvider) -> OidcOptions {
    let role = |value: &str, role, grants: Option<&str>| JwtRole {
        value: value.to_owned(),
        role,
        grants: grants.map(|text| serde_json::from_str(text).unwrap()),
    };
    OidcOptions {
        issuer: Issuer::new(&provider.issuer).unwrap(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(Secret::new(CLIENT_SECRET)),
        public_url: PublicUrl::new(PUBLIC).unwrap(),
        scopes: vec!["openid".to_owned(), "offline_access".to_owned()],
        parameters: [("prompt".to_owned(), "consent".to_owned())].into(),
        algorithms: JwtAlgorithm::NAMED.map(|(_, algorithm)| algorithm).to_vec(),
        refresh: Duration::from_secs(600),
        leeway: Duration::from_secs(5),
        claims: ClaimRules {
            tenant: JwtTenant::Is(TenantId::default()),
            subject_claim: "sub".to_owned(),
            roles_claim: "roles".to_owned(),
            roles: vec![
                role("admins", Role::Admin, None),
                role(
                    "support",
                    Role::Reader,
                    Some(r#"{"datasets": {"calls": {"rows": "id = claim.team"}}}"#),
                ),
                role("guests", Role::Reader, None),
            ],
        },
        sealed_with: vec![secret("a")],
        session_max: Duration::from_secs(3_600),
    }
}

/// A server on which somebody logs in.
struct Site {
    provider: FakeProvider,
    address: String,
    rig: Rig,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Site {
    async fn new() -> Self {
        let provider = FakeProvider::start().await;
        let options = options(&provider);
        Self::with(provider, options).await
    }

    async fn with(provider: FakeProvider, oidc: OidcOptions) -> Self {
        let rig = Rig::with_calls().await;
        let (address, stop) = beside(&rig, oidc).await;
        Self { provider, address, rig, _stop: stop }
    }

    fn browser(&self) -> Browser {
        Browser::at(&self.address)
    }

    /// A browser in which somebody has logged in.
    async fn logged_in(&self) -> Browser {
        let mut browser = self.browser();
        let back = browser.begin(&self.provider, "/auth/login").await;
        let answer = browser.get(&back).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        browser
    }
}

async fn beside(rig: &Rig, oidc: OidcOptions) -> (String, tokio::sync::oneshot::Sender<()>) {
    let patience = short_patience();
    let options = ServerOptions { oidc: Some(oidc), patience, ..ServerOptions::default() };
    let (address, stop, _) = rig.serve(options).await;
    (address, stop)
}

/// What keeps cookies, and sends them.
#[derive(Clone)]
struct Browser {
    client: reqwest::Client,
    address: String,
    cookies: BTreeMap<String, String>,
    csrf: Option<String>,
}

struct Seen {
    status: u16,
    headers: HeaderMap,
    text: String,
    /// Whether a session was given or taken.
    sets_session: bool,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn location(&self) -> &str {
        self.headers["location"].to_str().unwrap()
    }

    fn code(&self) -> Value {
        self.json()["errors"][0]["extensions"]["code"].clone()
    }
}

impl Browser {
    fn at(address: &str) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.build().unwrap();
        let address = address.to_owned();
        Self { client, address, cookies: BTreeMap::new(), csrf: None }
    }

    fn cookie(&self) -> String {
        let all = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        all.collect::<Vec<_>>().join("; ")
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Seen {
        let response = request.header("cookie", self.cookie()).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut sets_session = false;
        for set in headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let (pair, about) = set.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            sets_session |= name == SESSION;
            for word in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
                assert!(about.split("; ").any(|it| it == word), "{set}");
            }
            match about.contains("Max-Age=0;") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        Seen { status, headers, text: response.text().await.unwrap(), sets_session }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&mut self, path: &str) -> Seen {
        self.get_with(path, &[]).await
    }

    async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Seen {
        let mut request = self.client.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    async fn post(&mut self, path: &str, body: &str, headers: &[(&str, &str)]) -> Seen {
        let mut request = self.client.post(self.url(path)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// A query as a page of the server asks it.
    async fn ask(&mut self, query: &str) -> Seen {
        if self.csrf.is_none() {
            let me = self.get("/auth/me").await.json();
            self.csrf = me["csrfToken"].as_str().map(str::to_owned);
        }
        let csrf = self.csrf.clone().unwrap_or_default();
        let headers = [("content-type", "application/json"), (CSRF_HEADER, csrf.as_str())];
        self.post("/graphql", &json!({"query": query}).to_string(), &headers).await
    }

    /// Begins a login; answers with where the provider sends the browser back to.
    async fn begin(&mut self, provider: &FakeProvider, path: &str) -> String {
        let begun = self.get(path).await;
        assert_eq!(begun.status, 303, "{}", begun.text);
        let (code, state) = provider.authorise(begun.location());
        format!("/auth/callback?code={code}&state={state}")
    }
}

#[tokio::test]
async fn somebody_logs_in_changes_something_and_logs_out() {
    let site = Site::new().await;
    let mut browser = site.browser();
    // Who could log in is no local user any more.
    let nobody = browser.ask(CALLS).await;
    assert_eq!((nobody.status, nobody.code()), (401, json!("UNAUTHENTICATED")));
    assert!(nobody.text.contains("/auth/login"), "{}", nobody.text);
    assert_eq!(browser.get("/auth/me").await.status, 401);

    let back = browser.begin(&site.provider, "/auth/login?to=/explorer/%3Fa=b%23c").await;
    let answer = browser.get(&back).await;
    assert_eq!(
        (answer.status, answer.location()),
        (303, "https://colonnade.example.org/explorer/?a=b#c")
    );
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), [SESSION]);
    assert!(browser.cookies[SESSION].len() < 1_000, "{}", browser.cookies[SESSION].len());

    let seen = browser.get("/auth/me").await;
    assert_eq!(seen.headers["cache-control"], "no-store");
    let me = seen.json();
    assert_eq!((&me["subject"], &me["tenant"]), (&json!("someone"), &json!("default")), "{me}");
    assert_eq!((&me["roles"], &me["by"]), (&json!(["admin"]), &json!("session")), "{me}");
    let [renewed, ends] = ["renewedAt", "endsAt"].map(|name| {
        let at: chrono::DateTime<Utc> = me[name].as_str().unwrap().parse().unwrap();
        (at - Utc::now()).num_seconds()
    });
    assert!((590..=600).contains(&renewed) && (3_590..=3_600).contains(&ends), "{me}");
    assert_eq!(browser.ask(CALLS).await.status, 200);
    let made = "mutation { createKey(subject: \"k\", roles: [READER], expiresAt: \"2099-01-01T00:00:00Z\") { secret } }";
    let made = browser.ask(made).await;
    assert_eq!(made.code(), "FORBIDDEN", "{}", made.text);

    let csrf = browser.csrf.clone().unwrap();
    assert_eq!(browser.post("/auth/logout", "", &[]).await.status, 403);
    assert_eq!(browser.get("/auth/logout").await.status, 405);
    let copy = browser.clone();
    let out = browser.post("/auth/logout", "", &[(CSRF_HEADER, &csrf)]).await;
    assert_eq!(out.status, 200, "{}", out.text);
    let end = out.json()["endSessionUrl"].as_str().unwrap().to_owned();
    assert_eq!(
        end,
        format!(
            "{}/end?client_id=colonnade&post_logout_redirect_uri=https%3A%2F%2Fcolonnade.example.org%2F",
            site.provider.issuer
        )
    );
    assert!(browser.cookies.is_empty());
    assert_eq!(site.provider.says.lock().revoked.len(), 1);
    // Whoever kept a copy has nothing of it.
    for mut thief in [browser, copy] {
        assert_eq!(thief.ask(CALLS).await.status, 401);
        assert!(thief.cookies.is_empty());
    }
}

#[tokio::test]
async fn claims_are_worth_what_the_rules_say_and_no_more_is_kept_of_them() {
    let site = Site::new().await;
    site.provider.says.lock().claims = json!({"roles": ["x", "support"], "team": "c3"});
    let mut browser = site.logged_in().await;
    let seen = browser.ask("{ calls { nodes { id } } }").await.json();
    assert_eq!(seen["data"]["calls"]["nodes"], json!([{"id": "c3"}]), "{seen}");
    let many = (0..500).map(|number| format!("group-{number}"));
    let many: Vec<String> = many.chain(["guests".to_owned()]).collect();
    site.provider.says.lock().claims = json!({"roles": many});
    let mut browser = site.logged_in().await;
    assert!(browser.cookies[SESSION].len() < 1_000);
    assert_eq!(browser.get("/auth/me").await.json()["roles"], json!(["reader"]));
    // Who is nothing here is told so, and has no session.
    for roles in [json!([]), json!(["other"]), Value::Null] {
        site.provider.says.lock().claims = json!({"roles": roles});
        let mut browser = site.browser();
        let back = browser.begin(&site.provider, "/auth/login").await;
        let answer = browser.get(&back).await;
        assert_eq!((answer.status, answer.sets_session), (403, false), "{}", answer.text);
        assert!(answer.text.contains("claim roles"), "{}", answer.text);
    }
    // What does not fit into a cookie is said, and not dropped by the browser.
    site.provider.says.lock().claims = json!({"roles": ["support"], "team": "c3".repeat(1_900)});
    let mut browser = site.browser();
    let back = browser.begin(&site.provider, "/auth/login").await;
    let answer = browser.get(&back).await;
    assert!(answer.status == 413 && answer.text.contains("4093 bytes"), "{}", answer.text);
}

#[tokio::test]
async fn a_session_is_renewed_once_however_many_requests_come_with_it() {
    let site = Site::new().await;
    // What is known does not hold for a moment.
    site.provider.says.lock().lasts = [0, 600];
    let mut browser = site.logged_in().await;
    let before = browser.clone();
    let asked = (0..8).map(|_| {
        let mut browser = before.clone();
        async move { browser.get("/auth/me").await }
    });
    let seen = futures::future::join_all(asked).await;
    for seen in &seen {
        assert_eq!(seen.status, 200, "{}", seen.text);
        assert!(seen.sets_session);
    }
    assert_eq!(site.provider.says.lock().refreshed, 1);
    // The cookie of before is good for a moment more, and the new one for as long as it says.
    assert_eq!(browser.ask(CALLS).await.status, 200);
    let csrf = browser.csrf.clone();
    let again = browser.ask(CALLS).await;
    assert!(again.status == 200 && !again.sets_session);
    assert_eq!(site.provider.says.lock().refreshed, 1);
    // Of one and the same session, and so with one token for all its pages.
    let mut old = before.clone();
    assert_eq!(old.ask(CALLS).await.status, 200);
    assert_eq!(old.csrf, csrf);
    assert_eq!(site.provider.says.lock().refreshed, 1);
}

#[tokio::test]
async fn an_old_cookie_leads_to_the_session_of_now() {
    let site = Site::new().await;
    // Each is renewed at once, until one holds.
    site.provider.says.lock().lasts = [0, 0];
    let before = site.logged_in().await;
    let mut browser = before.clone();
    assert_eq!(browser.get("/auth/me").await.status, 401);
    let often = site.provider.says.lock().refreshed;
    assert_eq!(often, RENEWALS_IN_A_ROW_MAX);
    let before = site.logged_in().await;
    site.provider.says.lock().lasts = [0, 1];
    let mut browser = before.clone();
    assert_eq!(browser.get("/auth/me").await.status, 200);
    let first = browser.clone();
    site.provider.says.lock().lasts = [0, 600];
    tokio::time::sleep(Duration::from_secs(1)).await;
    for mut browser in [first, before] {
        assert_eq!(browser.get("/auth/me").await.status, 200);
        assert_eq!(site.provider.says.lock().refreshed, often + 2);
    }
}

#[tokio::test]
async fn a_renewed_session_is_what_the_provider_says_now() {
    let site = Site::new().await;
    site.provider.says.lock().lasts = [0, 0];
    let mut browser = site.logged_in().await;
    site.provider.says.lock().claims = json!({"roles": ["guests"]});
    site.provider.says.lock().lasts = [0, 600];
    assert_eq!(browser.get("/auth/me").await.json()["roles"], json!(["reader"]));

    // A provider that gives no token with a refresh says nothing new of anybody.
    site.provider.says.lock().claims = json!({});
    site.provider.says.lock().gives_id_when_refreshed = false;
    let mut browser = site.logged_in().await;
    site.provider.says.lock().claims = json!({"roles": ["guests"]});
    assert_eq!(browser.get("/auth/me").await.json()["roles"], json!(["admin"]));

    // One who is nothing any more has a session, and may do nothing with it.
    site.provider.says.lock().claims = json!({});
    site.provider.says.lock().gives_id_when_refreshed = true;
    let mut browser = site.logged_in().await;
    site.provider.says.lock().claims = json!({"roles": []});
    let seen = browser.get("/auth/me").await;
    assert!(seen.status == 403 && seen.text.contains("claim roles"), "{}", seen.text);
}

#[tokio::test]
async fn a_session_that_is_not_renewed_is_over() {
    let site = Site::new().await;
    let says = || site.provider.says.lock();
    // A provider that is away ends nothing.
    says().lasts = [0, 600];
    let mut browser = site.logged_in().await;
    for answers in [
        (503, json!({})),
        (500, json!({"error": "server_error"})),
        (401, json!({"error": "invalid_client"})),
        (200, json!("no tokens")),
    ] {
        says().answers = Some(answers);
        let seen = browser.get("/auth/me").await;
        assert!(seen.status == 503 && !seen.sets_session, "{}", seen.text);
        assert_eq!(seen.headers["retry-after"], "1");
        let seen = browser.ask(CALLS).await;
        assert_eq!((seen.status, seen.code()), (503, json!("RESOURCES_EXHAUSTED")));
        assert!(browser.cookies.contains_key(SESSION));
    }
    says().answers = None;
    assert_eq!(browser.ask(CALLS).await.status, 200);

    // One that says no does, and so does one that answers with somebody else.
    says().claims = json!({});
    for (answers, claims) in [
        (Some((400, json!({"error": "invalid_grant"}))), json!({})),
        (None, json!({"sub": "somebody else"})),
        (None, json!({"nonce": "of another login"})),
    ] {
        let mut browser = site.logged_in().await;
        let mut copy = browser.clone();
        says().answers = answers;
        says().claims = claims;
        let seen = browser.ask(CALLS).await;
        assert_eq!((seen.status, seen.code()), (401, json!("UNAUTHENTICATED")), "{}", seen.text);
        assert!(browser.cookies.is_empty());
        says().answers = None;
        says().claims = json!({});
        assert_eq!(copy.ask(CALLS).await.status, 401);
    }
    // And one for which there is nothing to renew it with.
    says().gives_refresh = false;
    let mut browser = site.logged_in().await;
    let seen = browser.get("/auth/me").await;
    assert!(seen.status == 401 && seen.sets_session, "{}", seen.text);
    assert!(browser.cookies.is_empty());
}

#[tokio::test]
async fn a_session_ends_at_last_however_often_it_is_renewed() {
    let provider = FakeProvider::start().await;
    let options = OidcOptions { session_max: Duration::ZERO, ..options(&provider) };
    let site = Site::with(provider, options).await;
    let mut browser = site.logged_in().await;
    let seen = browser.get("/auth/me").await;
    assert_eq!((seen.status, seen.sets_session), (401, true), "{}", seen.text);
    assert_eq!(site.provider.says.lock().refreshed, 0);
}

#[tokio::test]
async fn servers_with_one_secret_know_each_others_sessions() {
    let site = Site::new().await;
    let browser = site.logged_in().await;
    let with = async |change: &dyn Fn(&mut OidcOptions)| {
        let mut options = options(&site.provider);
        change(&mut options);
        let (address, _stop) = beside(&site.rig, options).await;
        let mut browser = Browser { address, ..browser.clone() };
        let status = browser.get("/auth/me").await.status;
        (status, browser.cookies.contains_key(SESSION))
    };
    assert_eq!(with(&|_| {}).await, (200, true));
    assert_eq!(with(&|it| it.sealed_with = vec![secret("b"), secret("a")]).await, (200, true));
    assert_eq!(with(&|it| it.sealed_with = vec![secret("b")]).await, (401, false));
    assert_eq!(with(&|it| it.sealed_with = vec![]).await, (401, false));
    // As another client it is another session.
    assert_eq!(with(&|it| it.client_id = "other".to_owned()).await, (401, false));
}

#[tokio::test]
async fn a_provider_that_comes_late_lets_people_in_then() {
    let provider = FakeProvider::start().await;
    for (metadata, says) in [
        (json!({"token_endpoint": null}), "no token endpoint"),
        (json!({"jwks_uri": "http://id.example.org/keys"}), "keys over what anybody could change"),
        (json!({"issuer": "https://id.example.org"}), "another issuer"),
    ] {
        provider.says.lock().metadata = metadata;
        let site = Site::with(provider.clone(), options(&provider)).await;
        let mut browser = site.browser();
        let seen = browser.get("/auth/login").await;
        assert_eq!(seen.status, 503, "{says}: {}", seen.text);
        assert!(seen.text.contains("log says why"), "{}", seen.text);
        assert!(browser.cookies.is_empty());
    }
    // It is asked again soon, and not by everybody who comes.
    let site = Site::with(provider.clone(), options(&provider)).await;
    let mut browser = site.browser();
    assert_eq!(browser.get("/auth/login").await.status, 503);
    provider.says.lock().metadata = json!({});
    assert_eq!(browser.get("/auth/login").await.status, 503);
    let came = async {
        while browser.get("/auth/login").await.status != 303 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), came).await.unwrap();
    assert_eq!(site.logged_in().await.ask(CALLS).await.status, 200);
}
