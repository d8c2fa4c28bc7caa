//! Keys that are made and revoked while a server runs, over a real port.

use std::time::Duration;

use engine::{Credential, Principal, Role};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{Rig, calls, short_patience, who};
use crate::server::ServerOptions;

/// A server, as one who has a key or none asks it.
struct Asked {
    address: String,
    client: reqwest::Client,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Asked {
    async fn of(rig: &Rig) -> Self {
        let options = ServerOptions { patience: short_patience(), ..ServerOptions::default() };
        let (address, stop, _) = rig.serve(options).await;
        Self { address, client: reqwest::Client::new(), _stop: stop }
    }

    async fn send(&self, key: Option<&str>, query: &str, accept: &str) -> reqwest::Response {
        let request = self.client.post(format!("http://{}/graphql", self.address));
        let request = request.header("content-type", "application/json").header("accept", accept);
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        request.body(json!({"query": query}).to_string()).send().await.unwrap()
    }

    async fn ask(&self, key: Option<&str>, query: &str) -> (u16, Value) {
        let response = self.send(key, query, "application/json").await;
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// The data of an answer without errors.
    async fn data(&self, key: Option<&str>, query: &str) -> Value {
        let (status, answer) = self.ask(key, query).await;
        assert!(status == 200 && answer.get("errors").is_none(), "{query}\n{status} {answer:#}");
        answer["data"].clone()
    }

    async fn code(&self, key: Option<&str>, query: &str) -> Value {
        let (_, answer) = self.ask(key, query).await;
        answer["errors"][0]["extensions"]["code"].clone()
    }

    /// A key that is made with `by`: the whole, and what of it may be seen.
    async fn made(&self, by: Option<&str>, arguments: &str) -> (String, String) {
        let query = format!("mutation {{ createKey({arguments}) {{ secret key {{ prefix }} }} }}");
        let made = self.data(by, &query).await["createKey"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["secret"]), text(&made["key"]["prefix"]))
    }
}

const CALLS: &str = "{ calls(first: 1) { nodes { id } } }";

#[tokio::test]
async fn from_the_first_key_on_nobody_comes_in_without_one() {
    let rig = Rig::with_calls().await;
    let server = Asked::of(&rig).await;
    server.data(None, CALLS).await;
    // Who could never make another is not shut out.
    let reader = "mutation { createKey(subject: \"a\", roles: [READER]) { secret } }";
    let (_, refused) = server.ask(None, reader).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_INPUT", "{refused}");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("ADMIN"), "{refused}");
    let (admin, prefix) = server.made(None, "subject: \"first\", roles: [ADMIN]").await;
    assert_eq!(server.code(None, CALLS).await, "UNAUTHENTICATED");
    server.data(Some(&admin), CALLS).await;
    let (viewer, _) = server.made(Some(&admin), "subject: \"b\", roles: [VIEWER]").await;
    server.data(Some(&viewer), CALLS).await;
    for query in [
        "{ keys { prefix } }",
        "mutation { createKey(subject: \"c\", roles: [READER]) { secret } }",
        &format!("mutation {{ revokeKey(prefix: \"{prefix}\") {{ state }} }}"),
    ] {
        assert_eq!(server.code(Some(&viewer), query).await, "FORBIDDEN", "{query}");
    }
    let fields = "prefix subject roles state grants createdBy revokedBy expiresAt";
    let listed = server.data(Some(&admin), &format!("{{ keys {{ {fields} }} }}")).await;
    assert_eq!(listed["keys"][1]["prefix"], *prefix);
    assert_eq!(listed["keys"][0]["roles"], json!(["READER"]));
    assert_eq!(listed["keys"][0]["createdBy"], "first");
    assert!(!listed.to_string().contains(&viewer[13..]), "{listed}");
    // In an address it is nothing.
    let url = format!("http://{}/graphql?query={{__typename}}&key={viewer}", server.address);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 401);
    let url = format!("http://{}/graphql?query={{__typename}}&x-api-key={viewer}", server.address);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 401);
    // The last one is revoked, and the door stays shut.
    let revoke = format!("mutation {{ revokeKey(prefix: \"{prefix}\") {{ state revokedBy }} }}");
    let revoked = server.data(Some(&admin), &revoke).await;
    assert_eq!(revoked["revokeKey"], json!({"state": "REVOKED", "revokedBy": "first"}));
    refused_soon(&server, &admin).await;
    assert_eq!(server.code(None, CALLS).await, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_key_sees_what_its_grants_say_and_no_other_tenant() {
    let rig = Rig::with_calls().await;
    let server = Asked::of(&rig).await;
    let (admin, prefix) = server.made(None, "subject: \"first\", roles: [ADMIN]").await;
    let grants = r#"grants: {datasets: {calls: {rows: "model = claim.model"}}}"#;
    let (alpha, _) = server
        .made(
            Some(&admin),
            &format!("subject: \"x\", roles: [READER], {grants}, claims: {{model: \"alpha\"}}"),
        )
        .await;
    let counted = server.data(Some(&alpha), "{ calls { totalCount } }").await;
    assert_eq!(counted["calls"]["totalCount"], "3");
    // What is known of nobody shows nothing, and no text of a claim is SQL.
    for claims in ["{}", "{model: \"alpha' OR '1'='1\"}", "{model: \"x\\\" OR true --\"}"] {
        let arguments = format!("subject: \"x\", roles: [READER], {grants}, claims: {claims}");
        let (key, _) = server.made(Some(&admin), &arguments).await;
        let counted = server.data(Some(&key), "{ calls { totalCount } }").await;
        assert_eq!(counted["calls"]["totalCount"], "0", "{claims}");
    }
    // An admin who sees a part makes none, whatever it asks for.
    let (part, _) =
        server.made(Some(&admin), &format!("subject: \"y\", roles: [ADMIN], {grants}")).await;
    let create = "mutation { createKey(subject: \"z\", roles: [READER]) { secret } }";
    assert_eq!(server.code(Some(&part), create).await, "FORBIDDEN");
    // Of another tenant the key is as if it were not there.
    let acme = Principal::new("acme".parse().unwrap(), "x", &[Role::Admin]);
    let request = jobs::KeyRequest {
        subject: "acme".to_owned(),
        roles: vec![Role::Admin],
        ..Default::default()
    };
    let acme = rig.runner.create_key(&acme, request).await.unwrap();
    let revoke =
        |prefix: &str| format!("mutation {{ revokeKey(prefix: \"{prefix}\") {{ state }} }}");
    soon(async || server.ask(Some(&acme.text), "{ keys { prefix } }").await.0 == 200).await;
    let keys = server.data(Some(&acme.text), "{ keys { prefix } }").await;
    assert_eq!(keys["keys"], json!([{"prefix": acme.key.prefix}]));
    let (_, foreign) = server.ask(Some(&acme.text), &revoke(&prefix)).await;
    let (_, unknown) = server.ask(Some(&acme.text), &revoke("zzzzzzzz")).await;
    assert_eq!(foreign["errors"][0]["extensions"]["code"], "NOT_FOUND");
    let says = |answer: &Value| answer["errors"][0]["message"].as_str().unwrap().to_owned();
    assert_eq!(says(&foreign).replace(&prefix, "zzzzzzzz"), says(&unknown));
    server.data(Some(&admin), CALLS).await;
}

#[tokio::test]
async fn what_goes_on_with_a_key_ends_with_it() {
    let rig = Rig::with_calls().await;
    let server = Asked::of(&rig).await;
    let (local, _) = {
        let mut socket = socket(&server.address, None).await;
        socket.send(text(&json!({"type": "connection_init"}))).await.unwrap();
        assert_eq!(message(&mut socket).await["type"], "connection_ack");
        (socket, ())
    };
    let mut local = local;
    let (admin, _) = server.made(None, "subject: \"first\", roles: [ADMIN]").await;
    // Who was in without a key is out.
    assert_eq!(message(&mut local).await["close"], 4403);

    let (key, prefix) = server.made(Some(&admin), "subject: \"s\", roles: [READER]").await;
    let changes = "subscription { callsChanged(since: 0) { version } }";
    let mut by_header = socket(&server.address, Some(&key)).await;
    by_header.send(text(&json!({"type": "connection_init"}))).await.unwrap();
    let mut by_message = socket(&server.address, None).await;
    let payload = json!({"authorization": format!("Bearer {key}")});
    let init = json!({"type": "connection_init", "payload": payload});
    by_message.send(text(&init)).await.unwrap();
    for socket in [&mut by_header, &mut by_message] {
        assert_eq!(message(socket).await["type"], "connection_ack");
        let subscribe = json!({"type": "subscribe", "id": "s", "payload": {"query": changes}});
        socket.send(text(&subscribe)).await.unwrap();
        assert_eq!(message(socket).await["payload"]["data"]["callsChanged"]["version"], 1);
    }
    // One that has not said yet who it is, and showed it in the handshake.
    let mut silent = socket(&server.address, Some(&key)).await;
    let events = server.send(Some(&key), changes, "text/event-stream").await;
    assert_eq!(events.status(), 200);
    let mut events = events.bytes_stream();
    let first = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("\"version\":1"), "{first}");

    let at = std::time::Instant::now();
    let revoke = format!("mutation {{ revokeKey(prefix: \"{prefix}\") {{ state }} }}");
    server.data(Some(&admin), &revoke).await;
    for socket in [&mut by_header, &mut by_message, &mut silent] {
        let closed = message(socket).await;
        assert_eq!(closed["close"], 4403, "{closed}");
        assert!(closed["reason"].as_str().unwrap().contains("revoked"), "{closed}");
    }
    let mut rest = String::new();
    while let Some(some) =
        tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap()
    {
        rest.push_str(std::str::from_utf8(&some.unwrap()).unwrap());
    }
    assert!(rest.contains("UNAUTHENTICATED") && rest.contains("event: complete"), "{rest}");
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    refused_soon(&server, &key).await;
}

#[tokio::test]
async fn a_stream_ends_when_its_key_expires() {
    let rig = Rig::with_calls().await;
    let server = Asked::of(&rig).await;
    let request = |roles: &[Role], for_ms: Option<i64>| jobs::KeyRequest {
        subject: "x".to_owned(),
        roles: roles.to_vec(),
        expires_at: for_ms.map(|ms| chrono::Utc::now() + chrono::TimeDelta::milliseconds(ms)),
        ..Default::default()
    };
    let key = rig.runner.create_key(&who(), request(&[Role::Reader], Some(1_500))).await.unwrap();
    soon(async || server.ask(Some(&key.text), CALLS).await.0 == 200).await;
    let mut socket = socket(&server.address, Some(&key.text)).await;
    socket.send(text(&json!({"type": "connection_init"}))).await.unwrap();
    assert_eq!(message(&mut socket).await["type"], "connection_ack");
    let closed = message(&mut socket).await;
    assert_eq!(closed["close"], 4403, "{closed}");
    assert!(closed["reason"].as_str().unwrap().contains("expired"), "{closed}");
    assert_eq!(server.ask(Some(&key.text), CALLS).await.0, 401);
    // A key that ends can not make one that does not.
    let admin = rig.runner.create_key(&who(), request(&[Role::Admin], Some(60_000))).await.unwrap();
    let expires_at = admin.key.expires_at;
    let credential = Credential::Key { prefix: admin.key.prefix.as_str().into(), expires_at };
    let holder = Principal { credential, ..who() };
    // A time is a text, and nothing else is passed over.
    let query =
        "mutation { createKey(subject: \"z\", roles: [ADMIN], expiresAt: 1798761600) { secret } }";
    let answer = rig.ask(query).await.to_string();
    assert!(answer.contains("createKey.expiresAt: expected a time"), "{answer}");
    let query = "mutation { createKey(subject: \"z\", roles: [READER]) { secret } }";
    let answer = rig.ask_as(&holder, query).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer}");
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(address: &str, key: Option<&str>) -> Socket {
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    if let Some(key) = key {
        headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    connect_async(request).await.unwrap().0
}

fn text(message: &Value) -> Message {
    Message::text(message.to_string())
}

/// The next message that is no ping, or why the socket was closed.
async fn message(socket: &mut Socket) -> Value {
    loop {
        let waited = tokio::time::timeout(Duration::from_secs(20), socket.next());
        match waited.await.unwrap().unwrap().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                match message["type"] == "ping" {
                    true => socket.send(Message::text("{\"type\":\"pong\"}")).await.unwrap(),
                    false => return message,
                }
            }
            Message::Close(close) => {
                let close = close.unwrap();
                return json!({"close": u16::from(close.code), "reason": close.reason.as_str()});
            }
            _ => {}
        }
    }
}

async fn refused_soon(server: &Asked, key: &str) {
    soon(async || server.ask(Some(key), CALLS).await.0 == 401).await;
}

/// Waits until it is so, for as long as a server may take to hear of a key.
async fn soon(mut is_so: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
