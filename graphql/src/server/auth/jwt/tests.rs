//! Tokens as they are made, and as somebody would like them to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use engine::{Access, Code, Engine, EngineOptions, Error, Role, TenantId};
use jobs::{Runner, RunnerOptions};
use parking_lot::Mutex;
use poem::http::HeaderMap;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::jwks::keys_of;
use super::*;
use crate::server::auth::{Door, JwtRole, JwtTenant, Over, Purpose};

/// Keys and tokens of another library.
fn foreign() -> Value {
    serde_json::from_str(include_str!("tokens.json")).unwrap()
}

/// One who signs tokens, on P-256.
pub(in crate::server::auth) struct Issuer {
    pair: EcdsaKeyPair,
    kid: String,
}

impl Issuer {
    pub(in crate::server::auth) fn new(kid: &str) -> Self {
        let (kind, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap();
        Self { pair, kid: kid.to_owned() }
    }

    pub(in crate::server::auth) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": text(&point[1..33]), "y": text(&point[33..])})
    }

    fn token(&self, claims: &Value) -> String {
        self.with_header(&json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"}), claims)
    }

    pub(in crate::server::auth) fn with_header(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(in crate::server::auth) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn claims(more: Value) -> Value {
    let now = Utc::now().timestamp();
    let mut claims = json!({
        "iss": "https://id.example.org", "aud": ["other", "colonnade"], "sub": "someone",
        "exp": now + 60, "iat": now, "nbf": now - 1, "roles": ["staff", "admins"],
    });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn options(jwks: JwksSource) -> JwtOptions {
    let role = |value: &str, role, grants: Option<&str>| JwtRole {
        value: value.to_owned(),
        role,
        grants: grants.map(|text| serde_json::from_str(text).unwrap()),
    };
    let grants = r#"{"datasets": {"calls": {"rows": "model = claim.team"}}}"#;
    JwtOptions {
        issuer: "https://id.example.org".to_owned(),
        audiences: vec!["colonnade".to_owned()],
        algorithms: JwtAlgorithm::NAMED.map(|(_, algorithm)| algorithm).to_vec(),
        jwks,
        refresh: Duration::from_secs(600),
        leeway: Duration::from_secs(5),
        claims: ClaimRules {
            tenant: JwtTenant::Is(TenantId::default()),
            subject_claim: "sub".to_owned(),
            roles_claim: "roles".to_owned(),
            roles: vec![
                role("admins", Role::Admin, None),
                role("support", Role::Reader, Some(grants)),
                role("staff", Role::Reader, None),
            ],
        },
    }
}

/// A file of keys, which is there as long as it is held.
fn file_of(keys: &[Value]) -> (tempfile::NamedTempFile, JwksSource) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"keys": keys}).to_string()).unwrap();
    let source = JwksSource::new(file.path().to_str().unwrap()).unwrap();
    (file, source)
}

async fn tokens_of(issuer: &Issuer) -> Arc<Tokens> {
    let (_file, source) = file_of(&[issuer.jwk()]);
    Tokens::open(options(source)).await.unwrap()
}

/// Why a token is refused.
async fn refusal(tokens: &Tokens, token: &str) -> Error {
    tokens.pass(token).await.expect_err(token)
}

#[tokio::test]
async fn tokens_of_another_library_are_taken_whatever_their_algorithm() {
    let foreign = foreign();
    let (_file, source) = file_of(foreign["jwks"]["keys"].as_array().unwrap());
    let tokens = Tokens::open(options(source.clone())).await.unwrap();
    let all = foreign["tokens"].as_object().unwrap();
    assert_eq!(all.len(), JwtAlgorithm::NAMED.len());
    for (name, token) in all {
        let token = token.as_str().unwrap();
        let pass = tokens.pass(token).await.unwrap_or_else(|error| unreachable!("{name}: {error}"));
        assert_eq!((pass.who.subject.as_str(), &*pass.who.roles), ("someone", &[Role::Admin][..]));
        assert!(matches!(pass.who.credential, Credential::Token { .. }));
        // One that the settings do not name is not taken, and neither is what was touched.
        let others = JwtAlgorithm::NAMED.iter().filter(|(other, _)| other != name);
        let algorithms = others.map(|(_, algorithm)| *algorithm).collect();
        let without = JwtOptions { algorithms, ..options(source.clone()) };
        let without = Tokens::open(without).await.unwrap();
        assert_eq!(refusal(&without, token).await.code(), Code::Unauthenticated, "{name}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        for other in [bytes, vec![], vec![0; 64]] {
            let touched = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(other));
            assert_eq!(refusal(&tokens, &touched).await.code(), Code::Unauthenticated, "{name}");
        }
    }
}

#[tokio::test]
async fn no_algorithm_is_taken_for_another() {
    let foreign = foreign();
    let (_file, source) = file_of(foreign["jwks"]["keys"].as_array().unwrap());
    let tokens = Tokens::open(options(source)).await.unwrap();
    let pem = foreign["rsaPublicPem"].as_str().unwrap();
    let n = foreign["jwks"]["keys"][0]["n"].as_str().unwrap();
    let der = STANDARD.decode(pem.lines().filter(|line| !line.contains("--")).collect::<String>());
    // Signed by what everybody knows, as if it were a shared secret.
    let secrets = [
        pem.as_bytes().to_vec(),
        pem.trim().as_bytes().to_vec(),
        n.as_bytes().to_vec(),
        der.unwrap(),
        vec![],
    ];
    for secret in secrets {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        for header in [
            json!({"alg": "HS256", "kid": "rsa"}),
            json!({"alg": "HS256"}),
            json!({"alg": "RS256", "kid": "rsa"}),
        ] {
            let signed = unsigned(&header, &claims(json!({})));
            let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
            let error = refusal(&tokens, &format!("{signed}.{signature}")).await;
            assert_eq!(error.code(), Code::Unauthenticated, "{header}");
        }
    }
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "ES512", "rs256"] {
        let signed = unsigned(&json!({"alg": algorithm, "kid": "rsa"}), &claims(json!({})));
        for signature in ["", "AA"] {
            let error = refusal(&tokens, &format!("{signed}.{signature}")).await;
            assert_eq!(error.code(), Code::Unauthenticated, "{algorithm}");
        }
    }
    // A key of RSA signs by what it says, and a key on a curve is not asked for what RSA signed.
    let private = STANDARD.decode(foreign["rsaPrivatePkcs8"].as_str().unwrap()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(&private).unwrap();
    let signed_as = |header: Value| {
        let signed = unsigned(&header, &claims(json!({})));
        let mut signature = vec![0; pair.public().modulus_len()];
        let (kind, random) = (&signature::RSA_PKCS1_SHA256, SystemRandom::new());
        pair.sign(kind, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    assert!(tokens.pass(&signed_as(json!({"alg": "RS256", "kid": "rsa"}))).await.is_ok());
    for (algorithm, kid) in
        [("RS512", "rsa"), ("PS256", "rsa"), ("ES256", "p256"), ("RS256", "p256"), ("RS256", "ed")]
    {
        let error = refusal(&tokens, &signed_as(json!({"alg": algorithm, "kid": kid}))).await;
        assert_eq!(error.code(), Code::Unauthenticated, "{algorithm} {kid}");
    }
    for name in ["none", "HS256", "RS1", "", "RS256 "] {
        assert_eq!(name.parse::<JwtAlgorithm>().unwrap_err().code(), Code::BadInput, "{name}");
    }
}

#[tokio::test]
async fn what_a_header_says_fetches_nothing_and_opens_nothing() {
    let (issuer, other) = (Issuer::new("one"), Issuer::new("one"));
    let tokens = tokens_of(&issuer).await;
    assert!(tokens.pass(&issuer.token(&claims(json!({})))).await.is_ok());
    let good = json!({"alg": "ES256"});
    assert!(tokens.pass(&issuer.with_header(&good, &claims(json!({})))).await.is_ok());
    let refused = [
        json!({"alg": "ES256", "kid": "../../one"}),
        json!({"alg": "ES256", "kid": "one' OR '1'='1"}),
        json!({"alg": "ES256", "kid": "/dev/null"}),
        json!({"alg": "ES256", "kid": "a".repeat(10_000)}),
        json!({"alg": "ES256", "kid": ["one"]}),
        json!({"alg": "ES256", "kid": "one", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "one", "zip": "DEF"}),
        json!({"alg": "ES256", "kid": "one", "typ": "dpop+jwt"}),
        json!({"alg": ["ES256"], "kid": "one"}),
        json!(["ES256"]),
    ];
    for header in refused {
        let error = refusal(&tokens, &issuer.with_header(&header, &claims(json!({})))).await;
        assert_eq!(error.code(), Code::Unauthenticated, "{header}");
    }
    // A key that the token itself brings is nobody's.
    let brought =
        json!({"alg": "ES256", "kid": "one", "jwk": other.jwk(), "jku": "https://evil.example"});
    let error = refusal(&tokens, &other.with_header(&brought, &claims(json!({})))).await;
    assert_eq!(error.code(), Code::Unauthenticated);
    let good = issuer.token(&claims(json!({})));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, body) = signed.split_once('.').unwrap();
    for text in [
        format!("{header}.{body}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{header}..{signature}"),
        format!("..{signature}"),
        format!("{header}.{body}.{signature}\n"),
        "..".to_owned(),
        "eyJ.eyJ.x".to_owned(),
    ] {
        assert_eq!(refusal(&tokens, &text).await.code(), Code::Unauthenticated, "{text}");
    }
}

#[tokio::test]
async fn claims_must_say_by_whom_for_whom_and_for_how_long() {
    let issuer = Issuer::new("one");
    let tokens = tokens_of(&issuer).await;
    let now = Utc::now().timestamp();
    let taken = [
        json!({"aud": "colonnade"}),
        json!({"exp": now - 2}),
        json!({"exp": now as f64 + 60.5}),
        json!({"nbf": now + 3, "iat": now + 3}),
        json!({"nbf": null, "iat": null}),
    ];
    for more in taken {
        let pass = tokens.pass(&issuer.token(&claims(more.clone()))).await;
        assert!(pass.is_ok(), "{more}: {pass:?}");
    }
    let refused = [
        (json!({"iss": null}), "iss"),
        (json!({"iss": "https://id.example.org/"}), "iss"),
        (json!({"iss": ["https://id.example.org"]}), "iss"),
        (json!({"aud": null}), "aud"),
        (json!({"aud": "colonnade2"}), "aud"),
        (json!({"aud": []}), "aud"),
        (json!({"aud": {"colonnade": true}}), "aud"),
        (json!({"exp": null}), "exp"),
        (json!({"exp": now - 6}), "expired"),
        (json!({"exp": 0}), "expired"),
        (json!({"exp": -1}), "expired"),
        (json!({"exp": (now + 60).to_string()}), "exp"),
        (json!({"exp": 1e300}), "exp"),
        (json!({"exp": [now + 60]}), "exp"),
        (json!({"nbf": now + 60}), "nbf"),
        (json!({"nbf": "0"}), "nbf"),
        (json!({"iat": now + 60}), "iat"),
    ];
    for (more, says) in refused {
        let error = refusal(&tokens, &issuer.token(&claims(more.clone()))).await;
        assert_eq!(error.code(), Code::Unauthenticated, "{more}: {error}");
        assert!(error.to_string().contains(says), "{more}: {error}");
    }
    for (more, says) in [
        (json!({"sub": null}), "sub"),
        (json!({"sub": 7}), "sub"),
        (json!({"sub": "a\nb"}), "sub"),
        (json!({"sub": "a".repeat(201)}), "sub"),
        (json!({"roles": null}), "roles"),
        (json!({"roles": ["Admins", "admin"]}), "roles"),
        (json!({"roles": {"admins": true}}), "roles"),
    ] {
        let error = refusal(&tokens, &issuer.token(&claims(more.clone()))).await;
        assert_eq!(error.code(), Code::Forbidden, "{more}: {error}");
        assert!(error.to_string().contains(says), "{more}: {error}");
    }
    // Of another who signs, not even what it says is looked at.
    let error = refusal(&tokens, &Issuer::new("one").token(&claims(json!({"exp": 0})))).await;
    assert!(!error.to_string().contains("exp"), "{error}");
}

#[tokio::test]
async fn one_rule_alone_says_what_a_token_may() {
    let issuer = Issuer::new("one");
    let (_file, source) = file_of(&[issuer.jwk()]);
    let open = async |options: JwtOptions| Tokens::open(options).await.unwrap();
    let tokens = open(options(source.clone())).await;
    let who = async |tokens: &Tokens, more: Value| {
        tokens.pass(&issuer.token(&claims(more))).await.map(|pass| pass.who)
    };
    // The first rule that is met, in the order of the settings.
    let admin = who(&tokens, json!({"roles": ["support", "admins"]})).await.unwrap();
    assert!(admin.roles == [Role::Admin] && admin.grants.is_all());
    let words = who(&tokens, json!({"roles": "x support"})).await.unwrap();
    assert!(words.roles == [Role::Reader] && !words.grants.is_all());
    // Claims that no condition asks for make no difference, so that what is kept for one serves all alike.
    let eu = json!({"roles": ["support"], "team": "eu"});
    let one = who(&tokens, eu.clone()).await.unwrap();
    let same = who(&tokens, json!({"roles": ["support"], "team": "eu", "jti": "7"})).await.unwrap();
    let us = who(&tokens, json!({"roles": ["support"], "team": "us"})).await.unwrap();
    assert_eq!(one.grants.digest(), same.grants.digest());
    assert_ne!(one.grants.digest(), us.grants.digest());
    // A claim in objects, and a tenant that a claim names.
    let name = "org".to_owned();
    let of = |among: &[&str]| {
        let mut options = options(source.clone());
        options.claims.roles_claim = "realm_access.roles".to_owned();
        let among = among.iter().map(|tenant| tenant.parse().unwrap()).collect();
        options.claims.tenant = JwtTenant::Claim { name: name.clone(), among };
        options
    };
    let nested = |org: Value| json!({"realm_access": {"roles": ["staff"]}, "org": org});
    let (any, some) = (open(of(&[])).await, open(of(&["acme"])).await);
    assert_eq!(who(&any, nested(json!("other"))).await.unwrap().tenant.as_str(), "other");
    assert_eq!(who(&some, nested(json!("acme"))).await.unwrap().tenant.as_str(), "acme");
    for org in [json!("other"), json!("../acme"), json!(null), json!(["acme"]), json!("")] {
        let error = who(&some, nested(org.clone())).await.unwrap_err();
        assert_eq!(error.code(), Code::Forbidden, "{org}");
        assert!(!error.to_string().contains("acme"), "{error}");
    }
}

#[test]
fn only_keys_that_are_not_shared_are_taken() {
    let issuer = Issuer::new("one");
    let with = |more: Value| {
        let mut key = issuer.jwk();
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    assert_eq!(keys_of(&json!({"keys": [with(json!({"use": "sig", "alg": "ES256"}))]})), Ok(1));
    let rsa = foreign()["jwks"]["keys"][0].clone();
    let mut short = rsa.clone();
    short["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 128]));
    for (key, says) in [
        (json!({"kty": "oct", "kid": "one", "k": "c2VjcmV0"}), "shared"),
        (with(json!({"d": "AAAA"})), "private"),
        (with(json!({"use": "enc"})), "use"),
        (with(json!({"key_ops": ["sign"]})), "key_ops"),
        (with(json!({"alg": "HS256"})), "alg"),
        (with(json!({"alg": "RS256"})), "alg"),
        (with(json!({"crv": "P-521"})), "crv"),
        (with(json!({"x": "AAAA"})), "length"),
        (with(json!({"x": "not base64!"})), "base64"),
        (with(json!({"kid": "a".repeat(300)})), "kid"),
        (short, "2048"),
        (json!("key"), "kty"),
    ] {
        let says_so = keys_of(&json!({"keys": [key]})).unwrap_err();
        assert!(says_so.contains(says), "{key}: {says_so}");
        // Beside one that is taken it is passed over.
        assert_eq!(keys_of(&json!({"keys": [key, issuer.jwk()]})), Ok(1));
    }
    let many: Vec<Value> = vec![issuer.jwk(); 101];
    assert!(keys_of(&json!({"keys": many})).unwrap_err().contains("100"));
    for document in [json!({}), json!([]), json!({"keys": {}}), json!({"keys": []})] {
        assert!(keys_of(&document).is_err(), "{document}");
    }
    for source in ["http://id.example.org/keys", "ftp://x/y", "", "https://"] {
        assert_eq!(JwksSource::new(source).unwrap_err().code(), Code::BadInput, "{source}");
    }
    assert!(JwksSource::new("http://127.0.0.1:9/keys").is_ok());
}

/// A provider that serves what it is told to, and counts how often it is asked.
#[derive(Clone, Default)]
struct Provider {
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, provider) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 4_096];
                let _ = socket.read(&mut request).await;
                provider.asked.fetch_add(1, Ordering::SeqCst);
                let (status, body) = provider.answer.lock().clone();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        address
    }

    fn serves(&self, status: u16, body: impl Into<String>) {
        *self.answer.lock() = (status, body.into());
    }
}

#[tokio::test]
async fn keys_are_changed_while_tokens_come_and_an_address_that_is_down_changes_nothing() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let provider = Provider::default();
    let address = provider.start().await;
    let url = JwksSource::new(&format!("http://{address}/keys")).unwrap();
    provider.serves(503, "");
    let down = Tokens::open(options(url.clone())).await.unwrap();
    assert_eq!(refusal(&down, &old.token(&claims(json!({})))).await.code(), Code::Unauthenticated);

    let all = |keys: &[&Issuer]| {
        json!({"keys": keys.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()}).to_string()
    };
    provider.serves(200, all(&[&old]));
    let tokens = Tokens::open(options(url.clone())).await.unwrap();
    let passes =
        async |issuer: &Issuer| tokens.pass(&issuer.token(&claims(json!({})))).await.is_ok();
    assert!(passes(&old).await);
    // The first token with a new key has it fetched, and not each of many with names that nobody knows.
    provider.serves(200, all(&[&old, &new]));
    let before = provider.asked.load(Ordering::SeqCst);
    assert!(passes(&new).await && passes(&old).await);
    for number in 0..50 {
        let unknown = Issuer::new(&format!("unknown {number}"));
        assert!(!passes(&unknown).await);
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), before + 1);
    // A key that is taken back is taken no more with the next reading; what can not be read changes nothing.
    let refresh = Duration::from_millis(50);
    let often = Tokens::open(JwtOptions { refresh, ..options(url) }).await.unwrap();
    let ending = CancellationToken::new();
    let keeping = tokio::spawn({
        let (often, ending) = (often.clone(), ending.clone());
        async move { often.keep(ending).await }
    });
    let often_passes =
        async |issuer: &Issuer| often.pass(&issuer.token(&claims(json!({})))).await.is_ok();
    for (status, body) in [
        (500, String::new()),
        (302, all(&[&new])),
        (200, "no JSON".to_owned()),
        (200, json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string()),
        (200, format!("{}{}", all(&[&new]), " ".repeat(300 << 10))),
    ] {
        provider.serves(status, body);
        let asked = provider.asked.load(Ordering::SeqCst);
        while provider.asked.load(Ordering::SeqCst) < asked + 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(often_passes(&old).await, "{status}");
    }
    provider.serves(200, all(&[&new]));
    while often_passes(&old).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(often_passes(&new).await);
    ending.cancel();
    keeping.await.unwrap();
}

#[tokio::test]
async fn a_token_opens_the_door_until_it_ends() {
    let engine = EngineOptions {
        root: "memory:".to_owned(),
        access: Access::Writer { holder: "a test".to_owned() },
        threads: 1,
        ..EngineOptions::default()
    };
    let engine = Engine::open(engine).await.unwrap();
    let runner = RunnerOptions { threads: 1, ..RunnerOptions::default() };
    let runner = Runner::start(engine, runner).await.unwrap();
    let issuer = Issuer::new("one");
    let (_file, source) = file_of(&[issuer.jwk()]);
    let leeway = Duration::ZERO;
    let tokens = Tokens::open(JwtOptions { leeway, ..options(source) }).await.unwrap();
    let ring = runner.key_ring().await.unwrap();
    let door = Door::new(vec![], ring, Some(tokens), None);
    // Who can show a token is no local user any more.
    let mut headers = HeaderMap::new();
    headers.insert("host", "localhost".parse().unwrap());
    assert_eq!(
        door.enter(&headers, Purpose::Change).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let end = Utc::now().timestamp() + 2;
    let bearer = format!("Bearer {}", issuer.token(&claims(json!({"exp": end}))));
    headers.insert("authorization", bearer.parse().unwrap());
    let pass = door.enter(&headers, Purpose::Change).await.unwrap();
    assert_eq!(door.enter_with(&bearer).await.unwrap().who, pass.who);
    let over = tokio::time::timeout(Duration::from_secs(10), pass.over()).await.unwrap();
    let Over::Expired(why) = over else { panic!("a new token lets in: {over:?}") };
    assert!(why.to_string().contains("token has expired"), "{why}");
    assert!(door.enter(&headers, Purpose::Change).await.unwrap_err().to_string().contains("exp"));
}
