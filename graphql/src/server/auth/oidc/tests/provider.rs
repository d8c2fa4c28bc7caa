//! An identity provider that does what a test wants of it, and is strict about what it is asked: a code counts once, with its verifier,
//! and so does a refresh token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use parking_lot::Mutex;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::auth::jwt::tests::{Issuer as Signer, unsigned};

pub(super) const CLIENT: &str = "colonnade";
pub(super) const CLIENT_SECRET: &str = "a secret: of the client";

#[derive(Clone)]
pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) says: Arc<Mutex<Says>>,
}

/// What it says, and what it was asked.
pub(super) struct Says {
    pub(super) signer: Signer,
    /// Claims of the next tokens, beside what they must have; null takes one away.
    pub(super) claims: Value,
    /// The header of the next tokens.
    pub(super) header: Option<Value>,
    /// Whether nobody signs them.
    pub(super) is_unsigned: bool,
    /// How long access lasts, for a code and for a refresh token.
    pub(super) lasts: [u64; 2],
    pub(super) gives_refresh: bool,
    pub(super) gives_id_when_refreshed: bool,
    /// What it answers instead of tokens.
    pub(super) answers: Option<(u16, Value)>,
    /// What of its description is otherwise.
    pub(super) metadata: Value,
    pub(super) refreshed: usize,
    pub(super) revoked: Vec<String>,
    codes: BTreeMap<String, Code>,
    refresh_tokens: BTreeSet<String>,
    made: usize,
}

struct Code {
    nonce: String,
    challenge: String,
    redirect: String,
}

fn merge(into: &mut Value, more: &Value) {
    let into = into.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => into.remove(name),
            value => into.insert(name.clone(), value.clone()),
        };
    }
}

impl Says {
    fn token(&self, issuer: &str, nonce: Option<&str>) -> String {
        let now = Utc::now().timestamp();
        let mut claims = json!({
            "iss": issuer, "aud": CLIENT, "sub": "someone", "iat": now, "exp": now + 600, "roles": ["staff", "admins"],
            "padding": "is not kept".repeat(500),
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        merge(&mut claims, &self.claims);
        let header = json!({"alg": "ES256", "kid": "one", "typ": "JWT"});
        let header = self.header.clone().unwrap_or(header);
        match self.is_unsigned {
            true => format!("{}.", unsigned(&header, &claims)),
            false => self.signer.with_header(&header, &claims),
        }
    }

    fn granted(&mut self, issuer: &str, code: Option<&Code>) -> (u16, Value) {
        self.made += 1;
        let mut granted = json!({"access_token": "not used", "token_type": "Bearer"});
        granted["expires_in"] = self.lasts[usize::from(code.is_none())].into();
        if self.gives_refresh {
            let refresh = format!("refresh-{}", self.made);
            self.refresh_tokens.insert(refresh.clone());
            granted["refresh_token"] = refresh.into();
        }
        if code.is_some() || self.gives_id_when_refreshed {
            granted["id_token"] = self.token(issuer, code.map(|code| code.nonce.as_str())).into();
        }
        (200, granted)
    }

    fn tokens(&mut self, issuer: &str, form: &BTreeMap<String, String>) -> (u16, Value) {
        if let Some(answers) = &self.answers {
            return answers.clone();
        }
        let spent = || (400, json!({"error": "invalid_grant"}));
        match form["grant_type"].as_str() {
            "authorization_code" => {
                let Some(code) = self.codes.remove(&form["code"]) else { return spent() };
                let shown =
                    URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
                match shown == code.challenge && form["redirect_uri"] == code.redirect {
                    true => self.granted(issuer, Some(&code)),
                    false => spent(),
                }
            }
            "refresh_token" => {
                self.refreshed += 1;
                match self.refresh_tokens.remove(&form["refresh_token"]) {
                    true => self.granted(issuer, None),
                    false => spent(),
                }
            }
            other => (400, json!({"error": other})),
        }
    }
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/realm", listener.local_addr().unwrap());
        let says = Says {
            signer: Signer::new("one"),
            claims: json!({}),
            header: None,
            is_unsigned: false,
            lasts: [600, 600],
            gives_refresh: true,
            gives_id_when_refreshed: true,
            answers: None,
            metadata: json!({}),
            refreshed: 0,
            revoked: Vec::new(),
            codes: BTreeMap::new(),
            refresh_tokens: BTreeSet::new(),
            made: 0,
        };
        let provider = Self { issuer, says: Arc::new(Mutex::new(says)) };
        let serving = provider.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let provider = serving.clone();
                tokio::spawn(async move { provider.serve(socket).await });
            }
        });
        provider
    }

    async fn serve(&self, mut socket: tokio::net::TcpStream) {
        let mut text = String::new();
        let mut buffer = [0; 4_096];
        let (head, body) = loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break (text.split_once("\r\n\r\n").unwrap().0.to_owned(), body.to_owned());
                }
            }
            match socket.read(&mut buffer).await {
                Ok(read) if read > 0 => {
                    text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
                _ => return,
            }
        };
        let path = head.split(' ').nth(1).unwrap();
        let (status, answer) = self.answer(path, &head, &body);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let _ = socket.write_all(format!("{head}{answer}").as_bytes()).await;
    }

    fn answer(&self, path: &str, head: &str, body: &str) -> (u16, Value) {
        let mut says = self.says.lock();
        let form = pairs(&format!("form:?{body}"));
        let is_client = || {
            let encoded = form_encoded(CLIENT_SECRET);
            let basic =
                base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{encoded}"));
            head.contains(&format!("Basic {basic}"))
        };
        match path {
            "/realm/.well-known/openid-configuration" => {
                let at = |path: &str| format!("{}{path}", self.issuer);
                let mut metadata = json!({
                    "issuer": self.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
                    "jwks_uri": at("/keys"), "end_session_endpoint": at("/end"), "revocation_endpoint": at("/revoke"),
                });
                merge(&mut metadata, &says.metadata);
                (200, metadata)
            }
            "/realm/keys" => (200, json!({"keys": [says.signer.jwk()]})),
            "/realm/token" if is_client() => says.tokens(&self.issuer, &form),
            "/realm/revoke" if is_client() => {
                says.refresh_tokens.remove(&form["token"]);
                says.revoked.push(form["token"].clone());
                (200, json!({}))
            }
            "/realm/token" | "/realm/revoke" => (401, json!({"error": "invalid_client"})),
            _ => (404, json!({})),
        }
    }

    /// Somebody says who it is, where a browser was sent to: the code, and the state that goes with it.
    pub(super) fn authorise(&self, sent_to: &str) -> (String, String) {
        assert!(sent_to.starts_with(&format!("{}/authorize?", self.issuer)), "{sent_to}");
        let asked = pairs(sent_to);
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], CLIENT);
        assert_eq!(asked["code_challenge_method"], "S256");
        assert_eq!(asked["scope"], "openid offline_access");
        assert_eq!(asked["prompt"], "consent");
        let mut says = self.says.lock();
        says.made += 1;
        let code = format!("code-{}", says.made);
        let of = Code {
            nonce: asked["nonce"].clone(),
            challenge: asked["code_challenge"].clone(),
            redirect: asked["redirect_uri"].clone(),
        };
        says.codes.insert(code.clone(), of);
        (code, asked["state"].clone())
    }
}

fn pairs(url: &str) -> BTreeMap<String, String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().into_owned().collect()
}

fn form_encoded(text: &str) -> String {
    let mut url = Url::parse("form:").unwrap();
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap().to_owned()
}
