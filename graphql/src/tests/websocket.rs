//! The protocol `graphql-transport-ws`, over a real port.

use engine::{Role, TenantId};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Rig, calls, short_patience};
use crate::limits::Limits;
use crate::server::{ApiKey, ServerOptions};

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

async fn open(address: &str, protocol: &str) -> Socket {
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    Socket(connect_async(request).await.unwrap().0)
}

async fn acknowledged(address: &str) -> Socket {
    let mut socket = open(address, "graphql-transport-ws").await;
    socket.send(json!({"type": "connection_init"})).await;
    assert_eq!(socket.next().await, json!({"type": "connection_ack"}));
    socket
}

impl Socket {
    async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn subscribe(&mut self, id: &str, query: &str) {
        self.send(json!({"type": "subscribe", "id": id, "payload": {"query": query}})).await;
    }

    /// The next message; pings are answered.
    async fn next(&mut self) -> Value {
        loop {
            let waited = tokio::time::timeout(std::time::Duration::from_secs(20), self.0.next());
            match waited.await.expect("no message came").expect("the socket ended").unwrap() {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    match message["type"] == "ping" {
                        true => self.send(json!({"type": "pong"})).await,
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

    async fn closed_with(&mut self) -> u16 {
        let message = self.next().await;
        u16::try_from(message["close"].as_u64().unwrap_or_else(|| panic!("{message}"))).unwrap()
    }
}

#[tokio::test]
async fn operations_run_side_by_side_and_end_by_the_protocol() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let mut socket = acknowledged(&address).await;
    socket.subscribe("q", "{ calls(first: 1) { nodes { id } } }").await;
    let next = socket.next().await;
    assert_eq!((&next["type"], &next["id"]), (&json!("next"), &json!("q")));
    assert_eq!(next["payload"]["data"]["calls"]["nodes"][0]["id"], "c0");
    assert_eq!(socket.next().await, json!({"type": "complete", "id": "q"}));

    socket.subscribe("bad", "{ nothing }").await;
    let error = socket.next().await;
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("bad")));
    assert_eq!(error["payload"][0]["extensions"]["code"], "BAD_INPUT");

    socket.subscribe("s", "subscription { callsChanged(since: 0) { version } }").await;
    assert_eq!(socket.next().await["payload"]["data"]["callsChanged"]["version"], 1);
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    // The server of this test has an engine of its own handle, but one bus.
    assert_eq!(socket.next().await["payload"]["data"]["callsChanged"]["version"], 2);
    socket.send(json!({"type": "complete", "id": "s"})).await;
    socket.send(json!({"type": "ping", "payload": {"n": 1}})).await;
    assert_eq!(socket.next().await, json!({"type": "pong", "payload": {"n": 1}}));
    rig.append("calls", vec![calls().slice(1, 1)]).await;
    socket.subscribe("s", "{ calls { version } }").await;
    assert_eq!(socket.next().await["payload"]["data"]["calls"]["version"], 3);
}

#[tokio::test]
async fn each_breach_of_the_protocol_has_its_close_code() {
    let rig = Rig::with_calls().await;
    let patience = short_patience();
    let (address, _stop, _) =
        rig.serve(ServerOptions { patience, ..ServerOptions::default() }).await;
    let fresh = || open(&address, "graphql-transport-ws");
    assert_eq!(fresh().await.closed_with().await, 4408);

    let mut socket = fresh().await;
    socket.subscribe("a", "{ datasets { name } }").await;
    assert_eq!(socket.closed_with().await, 4401);

    let mut socket = acknowledged(&address).await;
    socket.send(json!({"type": "connection_init"})).await;
    assert_eq!(socket.closed_with().await, 4429);

    let mut socket = acknowledged(&address).await;
    let query = "subscription { callsChanged { version } }";
    socket.subscribe("a", query).await;
    socket.subscribe("a", query).await;
    assert_eq!(socket.closed_with().await, 4409);

    for text in ["{", "{\"type\": \"dance\"}", "{\"type\": \"subscribe\", \"id\": \"a\"}", "[]"] {
        let mut socket = acknowledged(&address).await;
        socket.0.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.closed_with().await, 4400, "{text}");
    }
    let mut socket = acknowledged(&address).await;
    socket.0.send(Message::binary(vec![0u8; 4])).await.unwrap();
    assert_eq!(socket.closed_with().await, 4400);

    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().remove("sec-websocket-protocol");
    let mut socket = Socket(connect_async(request).await.unwrap().0);
    assert_eq!(socket.closed_with().await, 4406);
}

#[tokio::test]
async fn a_key_may_come_in_the_first_message() {
    let rig = Rig::with_calls().await;
    let keys = vec![ApiKey::new("secret", TenantId::default(), "s", vec![Role::Reader])];
    let (address, _stop, _) = rig.serve(ServerOptions { keys, ..ServerOptions::default() }).await;
    let mut socket = open(&address, "graphql-transport-ws").await;
    socket
        .send(json!({"type": "connection_init", "payload": {"Authorization": "Bearer secret"}}))
        .await;
    assert_eq!(socket.next().await, json!({"type": "connection_ack"}));
    socket.subscribe("q", "{ calls { version } }").await;
    assert_eq!(socket.next().await["payload"]["data"]["calls"]["version"], 1);
    for payload in [json!(null), json!({}), json!({"authorization": "Bearer wrong"})] {
        let mut socket = open(&address, "graphql-transport-ws").await;
        socket.send(json!({"type": "connection_init", "payload": payload})).await;
        assert_eq!(socket.closed_with().await, 4403, "{payload}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_socket() {
    let rig = Rig::new().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    match connect_async(request).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 403)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn operations_of_one_socket_are_bounded_and_a_silent_one_is_closed() {
    let rig = Rig::with_calls().await;
    let limits = Limits { socket_operations_max: 2, ..Limits::default() };
    let mut patience = short_patience();
    patience.heartbeat = std::time::Duration::from_millis(20);
    let (address, _stop, _) =
        rig.serve(ServerOptions { limits, patience, ..ServerOptions::default() }).await;
    let mut socket = acknowledged(&address).await;
    for id in ["a", "b", "c"] {
        socket.subscribe(id, "subscription { callsChanged { version } }").await;
    }
    let refused = socket.next().await;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("c")));
    assert_eq!(refused["payload"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
    // No pong from here on: frames are read, but none is answered.
    let close = loop {
        match socket.0.next().await.unwrap().unwrap() {
            Message::Close(close) => break close.unwrap(),
            _ => continue,
        }
    };
    assert_eq!(u16::from(close.code), 1001);
}

#[tokio::test]
async fn a_shutdown_closes_sockets_and_completes_no_subscription() {
    let rig = Rig::with_calls().await;
    let (address, stop, running) = rig.serve(ServerOptions::default()).await;
    let mut socket = acknowledged(&address).await;
    socket.subscribe("s", "subscription { callsChanged(since: 0) { version } }").await;
    socket.next().await;
    stop.send(()).unwrap();
    assert_eq!(socket.closed_with().await, 1012);
    running.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_counted() {
    let rig = Rig::with_calls().await;
    let long = format!(
        "{{\"id\": \"long\", \"at\": \"2026-03-01T00:00:00Z\", \"model\": \"{}\"}}\n",
        "x".repeat(1 << 20)
    );
    assert_eq!(rig.ingest("calls", &long).await.accepted, 1);
    let mut patience = short_patience();
    patience.stalled_max = std::time::Duration::from_millis(100);
    patience.heartbeat = std::time::Duration::from_secs(60);
    let (address, _stop, _) =
        rig.serve(ServerOptions { patience, ..ServerOptions::default() }).await;
    let mut socket = acknowledged(&address).await;
    // More than the buffers of both ends of a socket hold.
    for i in 0..60 {
        let query = "{ calls(where: {id: {eq: \"long\"}}) { nodes { model } } }";
        socket.subscribe(&i.to_string(), query).await;
    }
    let closed = async {
        loop {
            let page = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
            if page.text().await.unwrap().contains("colonnade_slow_clients_closed_total 1") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), closed)
        .await
        .expect("it is not closed");
}

#[tokio::test]
async fn errors_that_nobody_reads_are_operations_under_way() {
    let rig = Rig::with_calls().await;
    let limits = Limits { socket_operations_max: 4, ..Limits::default() };
    let (address, _stop, _) = rig.serve(ServerOptions { limits, ..ServerOptions::default() }).await;
    let mut socket = acknowledged(&address).await;
    // What is unknown is named in the error, so these fill the buffers of both sides.
    let unknown = format!("{{ {} }}", "x".repeat(60_000));
    let mut sent = 0;
    for id in 0..600 {
        let message =
            json!({"type": "subscribe", "id": id.to_string(), "payload": {"query": unknown}});
        let sending = socket.0.send(Message::text(message.to_string()));
        if tokio::time::timeout(std::time::Duration::from_secs(5), sending).await.is_err() {
            break;
        }
        sent += 1;
    }
    let mut refused = 0;
    for _ in 0..sent {
        let error = socket.next().await;
        assert_eq!(error["type"], "error");
        refused += usize::from(error["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED");
    }
    assert!(refused > 0, "{sent} were sent and all were worked on");
}

#[tokio::test]
async fn a_tenant_has_half_of_the_sockets() {
    let rig = Rig::with_calls().await;
    let limits = Limits { connections_max: 9, ..Limits::default() };
    let key = |secret: &str, tenant: &str| {
        ApiKey::new(secret, tenant.parse().unwrap(), secret, vec![Role::Reader])
    };
    let keys = vec![key("one", "default"), key("other", "other")];
    let (address, _stop, _) =
        rig.serve(ServerOptions { limits, keys, ..ServerOptions::default() }).await;
    let mut open_with = Vec::new();
    for (key, is_taken) in [
        ("one", true),
        ("one", true),
        ("one", true),
        ("one", true),
        ("one", false),
        ("other", true),
    ] {
        let mut socket = open(&address, "graphql-transport-ws").await;
        let payload = json!({"authorization": format!("Bearer {key}")});
        socket.send(json!({"type": "connection_init", "payload": payload})).await;
        match is_taken {
            true => assert_eq!(socket.next().await, json!({"type": "connection_ack"})),
            false => assert_eq!(socket.closed_with().await, 1013),
        }
        open_with.push(socket);
    }
}
