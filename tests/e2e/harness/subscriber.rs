//! A client of `graphql-transport-ws`, no more than the protocol asks for.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{PATIENCE, Server};

/// One open subscription.
pub struct Subscriber {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    field: String,
}

/// One message of a `…Changed` subscription.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub previous_version: Option<u64>,
    pub body: Value,
}

impl Subscriber {
    /// Opens a socket, greets, and subscribes. `field` is the subscription's field in `query`.
    pub async fn open(server: &Server, field: &str, query: &str) -> Self {
        Self::try_open(&server.address, field, query).await.expect("a server that subscribes")
    }

    /// The same on a server that may be dead, or die.
    pub async fn try_open(address: &str, field: &str, query: &str) -> Option<Self> {
        let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", "graphql-transport-ws".parse().unwrap());
        let (socket, response) = tokio_tungstenite::connect_async(request).await.ok()?;
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "graphql-transport-ws");
        let mut subscriber = Self { socket, field: field.to_owned() };
        subscriber.send(json!({"type": "connection_init"})).await?;
        assert_eq!(subscriber.try_receive().await?["type"], "connection_ack");
        let subscribe = json!({"id": "1", "type": "subscribe", "payload": {"query": query}});
        subscriber.send(subscribe).await?;
        Some(subscriber)
    }

    /// The next change; an error of the subscription fails the test.
    pub async fn change(&mut self) -> Change {
        self.try_change().await.expect("an open socket")
    }

    /// The next change, unless the server dies first.
    pub async fn try_change(&mut self) -> Option<Change> {
        let message = self.try_receive().await?;
        assert_eq!(message["type"], "next", "{message}");
        let payload = &message["payload"];
        assert!(payload.get("errors").is_none(), "{payload}");
        let body = payload["data"][&self.field].clone();
        let number = |name: &str| match &body[name] {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        Some(Change {
            version: number("version").unwrap_or_else(|| panic!("no version in {payload}")),
            previous_version: number("previousVersion"),
            body,
        })
    }

    /// The next message of the subscription, whatever it is.
    pub async fn receive(&mut self) -> Value {
        self.try_receive().await.expect("an open socket")
    }

    async fn try_receive(&mut self) -> Option<Value> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match next.expect("a message in time")?.ok()? {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] != "ping" {
                        return Some(message);
                    }
                    self.send(json!({"type": "pong"})).await?;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("the socket was closed: {other:?}"),
            }
        }
    }

    async fn send(&mut self, message: Value) -> Option<()> {
        self.socket.send(Message::text(message.to_string())).await.ok()
    }
}
