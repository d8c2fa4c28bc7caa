//! Who asks too often is told when to ask again, and others are served.

use engine::Role;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::Rig;
use super::http::{JSON, client};
use crate::limits::Limits;
use crate::server::{ApiKey, ServerOptions};

fn options() -> ServerOptions {
    let key = |key: &str, tenant: &str| {
        ApiKey::new(key, tenant.parse().unwrap(), key, vec![Role::Reader, Role::Writer])
    };
    let limits = Limits {
        subject_requests_a_minute_max: 3,
        tenant_requests_a_minute_max: 5,
        ..Limits::default()
    };
    let keys = vec![key("ann", "default"), key("bob", "default"), key("eve", "other")];
    ServerOptions { keys, limits, ..ServerOptions::default() }
}

#[tokio::test]
async fn a_subject_and_a_tenant_have_so_many_requests_a_minute() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, options()).await;
    let asked = json!({"query": "{ __typename }"}).to_string();
    let ask = async |who: &'static str| {
        client.post("/graphql", &[JSON, ("x-api-key", who)], asked.clone()).await
    };
    let (status, headers, _) = ask("ann").await;
    assert_eq!(status, 200);
    assert_eq!(headers["ratelimit-policy"], "\"key\";q=3;w=60, \"tenant\";q=5;w=60");
    assert_eq!(headers["ratelimit"], "\"key\";r=2;t=0, \"tenant\";r=4;t=0");
    // Rows that are sent count as what is asked, and so does what can not be read.
    let row = r#"{"id": "r1", "at": "2026-02-01T00:00:00Z"}"#;
    let sent = [("x-api-key", "ann"), ("content-type", "application/x-ndjson")];
    assert_eq!(client.post("/v1/ingest/calls", &sent, row).await.0, 200);
    assert_eq!(client.post("/graphql", &[JSON, ("x-api-key", "ann")], "{").await.0, 400);

    for path in ["/graphql", "/v1/ingest/calls"] {
        let (status, headers, body) = client.post(path, &sent, row).await;
        assert_eq!(status, 429, "{path}: {body}");
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((15..=20).contains(&wait), "{wait}");
        assert_eq!(headers["ratelimit"], format!("\"key\";r=0;t={wait}"));
        let says = body.to_string();
        assert!(
            says.contains("LIMIT_EXCEEDED")
                && says.contains("requests a minute of one subject: the limit is 3"),
            "{says}"
        );
        if path == "/graphql" {
            assert_eq!(body["errors"][0]["extensions"]["retryAfter"], wait);
        }
    }
    assert_eq!(client.post("/v1/ingest/calls", &sent, row).await.0, 429);

    // What was refused counts for nobody. Two are left to all others of the tenant.
    assert_eq!((ask("bob").await.0, ask("bob").await.0), (200, 200));
    let (status, _, body) = ask("bob").await;
    assert_eq!(status, 429);
    assert!(body.to_string().contains("requests a minute of one tenant: the limit is 5"), "{body}");
    assert_eq!(ask("eve").await.0, 200);
    // Whoever is not let in is told nothing of rates.
    let (status, headers, _) = ask("nobody").await;
    assert!(status == 401 && !headers.contains_key("ratelimit"), "{status}");
}

#[tokio::test]
async fn operations_on_a_websocket_count_as_requests() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(options()).await;
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    headers.insert("x-api-key", "ann".parse().unwrap());
    let mut socket = connect_async(request).await.unwrap().0;
    let mut messages = vec![json!({"type": "connection_init"})];
    messages.extend((0..4).map(|id| {
        json!({"type": "subscribe", "id": id.to_string(), "payload": {"query": "{ __typename }"}})
    }));
    for message in messages {
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    let mut answered = 0;
    let refused = loop {
        let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["type"].as_str().unwrap() {
            "next" => answered += 1,
            "error" => break message,
            _ => {}
        }
    };
    let extensions = &refused["payload"][0]["extensions"];
    assert_eq!((&refused["id"], &extensions["code"]), (&json!("3"), &json!("LIMIT_EXCEEDED")));
    assert!((15..=20).contains(&extensions["retryAfter"].as_u64().unwrap()), "{refused}");
    assert!(answered <= 3);
}
