//! GraphQL over WebSocket, by the protocol `graphql-transport-ws`.
//!
//! Source: github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Clients decide by the close code whether they reconnect. graphql-ws
//! reconnects after 1001, 1005, 1006, 1012, 1013, 4403 and 4408; 1002, 1007, 1009, 4400, 4401, 4406, 4409 and 4429 are fatal to it.
//!
//! | the connection ends because | code |
//! |---|---|
//! | the server shuts down | 1012: operations under way are answered first, and subscriptions get no `complete` |
//! | the client shows no sign of life | 1001 |
//! | the client does not read | none: the connection is closed |
//! | the server needs the place, or has no room for one more | 1013 |
//! | the key does not let in, was revoked or has expired | 4403 |
//! | the client breaks the protocol | as the protocol says |
//!
//! A subscription that fails gets `error`, which says by `extensions.code` whether a retry helps; the others of its connection continue.
//!
//! ```text
//!   client ──▶ reader ──▶ operation tasks ──▶ queue of few messages ──▶ writer ──▶ client
//! ```
//! The queue is short and operations wait for a place in it, so what a client does not read is not
//! made. A client that takes nothing for too long is closed by the connection itself (`listen`).

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;

use async_graphql::Request as GraphqlRequest;
use engine::{Code, Error, Principal, Taken};
use futures::{FutureExt as _, SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use poem::http::{StatusCode, header};
use poem::web::websocket::{Message, WebSocket, WebSocketConfig, WebSocketStream};
use poem::{FromRequest, IntoResponse, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::Instrument;

use super::auth::has_credentials;
use super::listen::{Busy, OfConnection};
use super::trace::RequestIds;
use super::wire::{self, graphql_failure};
use super::{App, Pass, Patience, Purpose};
use crate::answer::{Answer, Answers, Event, Stage};
use crate::error::{RETRY_AFTER, bad_input, over_limit, to_graphql};
use crate::service::{Accepts, Room};

const PROTOCOL: &str = "graphql-transport-ws";
/// Most messages are small, and most sockets are quiet. What each holds all the time counts ten thousand times.
const READ_BUFFER_BYTES: usize = 512;
/// Messages that wait for the client at most.
const QUEUE_MESSAGES_MAX: usize = 8;
/// Bytes of what a client calls an operation, which is kept as long as that goes on.
const ID_BYTES_MAX: usize = 256;
/// A close frame's reason has at most 123 bytes.
const REASON_BYTES_MAX: usize = 120;

/// A connection's end: a code of the protocol and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Close(u16, String);

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        Self(code, reason)
    }

    /// The end of a connection whose client was not let in.
    fn refused(error: &Error) -> Self {
        match error.code().is_retryable() {
            true => Self::new(1013, format!("Try again later: {error}")),
            false => Self::new(4403, format!("Forbidden: {error}")),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Value>,
    },
    Subscribe {
        id: String,
        payload: Box<GraphqlRequest>,
    },
    Complete {
        id: String,
    },
    Ping {
        #[serde(default)]
        payload: Option<Value>,
    },
    Pong {},
}

/// Answers the handshake and serves the connection.
pub(super) async fn upgrade(app: &App, request: Request, ids: &RequestIds) -> Response {
    // With keys, the key may come in the first message; browsers can send no header here.
    let known = match app.0.door.enter(&request, Purpose::Socket).await {
        Ok(pass) => Some(pass),
        // Who has a session, and may not come with it from there, is told.
        Err(error)
            if error.code() != Code::Forbidden
                && app.0.door.needs_key()
                && !has_credentials(request.headers()) =>
        {
            None
        }
        Err(error) => return graphql_failure(wire::status(error.code()), &error, ids),
    };
    let protocols = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let is_ours = protocols
        .and_then(|protocols| protocols.to_str().ok())
        .is_some_and(|protocols| protocols.split(',').any(|p| p.trim() == PROTOCOL));
    let (request, mut body) = request.split();
    let socket = match WebSocket::from_request(&request, &mut body).await {
        Ok(socket) => socket,
        Err(_) => {
            let error = bad_input("the WebSocket handshake is not complete");
            return graphql_failure(StatusCode::BAD_REQUEST, &error, ids);
        }
    };
    let bytes_max = app.0.service.0.limits.request_bytes_max;
    let config = WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
        .read_buffer_size(READ_BUFFER_BYTES);
    let (app, ids) = (app.clone(), ids.clone());
    let span = tracing::Span::current();
    let tasks = app.0.sockets.clone();
    let of = request.extensions().get::<OfConnection>().cloned();
    socket
        .protocols([PROTOCOL])
        .config(config)
        .on_upgrade(move |stream| {
            tasks.track_future(serve(app, stream, known, is_ours, ids, of).instrument(span))
        })
        .into_response()
}

async fn serve(
    app: App,
    stream: WebSocketStream,
    known: Option<Pass>,
    is_ours: bool,
    ids: RequestIds,
    of: Option<OfConnection>,
) {
    app.0.service.0.meter.sockets_opened.add(1);
    let (mut sink, source) = stream.split();
    if !is_ours {
        let close = Message::close_with(4406u16, "Subprotocol not acceptable");
        let _ = timeout(app.0.patience.stalled_max, sink.send(close)).await;
        return;
    }
    let (queue, mut queued) = mpsc::channel::<Box<Outgoing>>(QUEUE_MESSAGES_MAX);
    let patience = app.0.patience.clone();
    let meter_app = app.clone();
    let reader = async move {
        let mut connection = Connection::new(app, queue, known, ids, of);
        let close = connection.read(source).await;
        Box::pin(connection.close(close)).await;
    };
    let writer = async move {
        while let Some(outgoing) = queued.recv().await {
            let Outgoing { message, room: _room } = *outgoing;
            // The connection itself sees that a client takes nothing, however long a message is.
            if let Err(error) = sink.send(message).await {
                if error.kind() == ErrorKind::TimedOut {
                    meter_app.0.service.0.meter.clients_closed.add(1);
                }
                return;
            }
        }
        let _ = Box::pin(timeout(patience.stalled_max, sink.close())).await;
    };
    // When either ends, so does the other: the reader's queue closes, or it is dropped.
    tokio::pin!(reader);
    tokio::pin!(writer);
    tokio::select! {
        () = &mut writer => {}
        () = &mut reader => writer.await,
    }
}

/// A message that waits for the client, and the room that it takes meanwhile. Boxed, because a queue has room for dozens from the start.
struct Outgoing {
    message: Message,
    room: Option<Room>,
}

impl Outgoing {
    fn new(message: Message, room: Option<Room>) -> Box<Self> {
        Box::new(Self { message, room })
    }
}

struct Connection {
    app: App,
    queue: mpsc::Sender<Box<Outgoing>>,
    /// Who the handshake told.
    known: Option<Pass>,
    /// Who is acknowledged.
    pass: Option<Pass>,
    ids: RequestIds,
    of: Option<OfConnection>,
    /// From then on.
    held: Option<(Taken, Option<Busy>)>,
    operations: Operations,
    tasks: JoinSet<()>,
}

/// The operations under way, by the client's ids.
#[derive(Clone, Default)]
struct Operations(Arc<Mutex<HashMap<String, AbortHandle>>>);

impl Connection {
    fn new(
        app: App,
        queue: mpsc::Sender<Box<Outgoing>>,
        known: Option<Pass>,
        ids: RequestIds,
        of: Option<OfConnection>,
    ) -> Self {
        let (operations, tasks) = (Operations::default(), JoinSet::new());
        Self { app, queue, known, pass: None, ids, of, held: None, operations, tasks }
    }

    /// Reads messages until the connection is to be closed; `None` when the client left.
    async fn read(
        &mut self,
        mut source: impl Stream<Item = Result<Message, std::io::Error>> + Unpin,
    ) -> Option<Close> {
        let Patience { init_max, heartbeat, .. } = self.app.0.patience.clone();
        let ending = self.app.0.service.0.ending.clone();
        let started = tokio::time::Instant::now();
        let mut silent_beats = 0;
        let of = self.of.clone();
        let evicted = async {
            match of {
                Some(of) => of.evicted().await,
                None => std::future::pending().await,
            }
        };
        let mut evicted = std::pin::pin!(evicted);
        loop {
            let wait = match self.pass {
                None => init_max.saturating_sub(started.elapsed()),
                Some(_) => heartbeat,
            };
            let over = async {
                match self.pass.as_ref().or(self.known.as_ref()) {
                    Some(pass) => pass.over().await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = source.next() => message,
                over = over => {
                    return Some(Close::new(4403, format!("Forbidden: {}", over.why())));
                }
                () = ending.cancelled() => {
                    self.drain().await;
                    return Some(Close::new(1012, "The server is shutting down: reconnect"));
                }
                () = evicted.as_mut(), if self.pass.is_none() => {
                    return Some(Close::new(1013, "The server needs the place"));
                }
                () = tokio::time::sleep(wait) => {
                    if self.pass.is_none() {
                        return Some(Close::new(4408, "Connection initialisation timeout"));
                    }
                    silent_beats += 1;
                    if silent_beats > 3 {
                        return Some(Close::new(1001, "No sign of life"));
                    }
                    if !Box::pin(self.send(json!({"type": "ping"}))).await {
                        return None;
                    }
                    continue;
                }
            };
            silent_beats = 0;
            let text = match message {
                None => return None,
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Binary(_))) => {
                    return Some(Close::new(4400, "Messages are text, found a binary one"));
                }
                Some(Ok(Message::Close(_))) => return None,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Err(error)) => return Some(Close::new(close_code(&error), error.to_string())),
            };
            while self.tasks.try_join_next().is_some() {}
            if let Err(close) = Box::pin(self.message(&text)).await {
                return close;
            }
        }
    }

    async fn message(&mut self, text: &str) -> Result<(), Option<Close>> {
        let message = serde_json::from_str(text)
            .map_err(|error| Close::new(4400, format!("Invalid message: {error}")))?;
        match message {
            ClientMessage::ConnectionInit { payload } => self.init(payload).await,
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, *payload).await,
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.operations.0.lock().remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
            ClientMessage::Ping { payload } => {
                let pong = match payload {
                    Some(payload) => json!({"type": "pong", "payload": payload}),
                    None => json!({"type": "pong"}),
                };
                self.sent(pong).await
            }
            ClientMessage::Pong {} => Ok(()),
        }
    }

    async fn init(&mut self, payload: Option<Value>) -> Result<(), Option<Close>> {
        if self.pass.is_some() {
            return Err(Some(Close::new(4429, "Too many initialisation requests")));
        }
        let payload = payload.as_ref().and_then(Value::as_object);
        let authorization = payload.and_then(|payload| {
            let mut pairs = payload.iter();
            pairs.find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        });
        let authorization = authorization.map(|(_, value)| value.as_str().unwrap_or_default());
        let pass = match (self.known.take(), authorization) {
            (Some(pass), None) => pass,
            (Some(pass), Some(_)) if !pass.is_of_browser() => pass,
            (_, authorization) => {
                let entered = self.app.0.door.enter_with(authorization.unwrap_or_default()).await;
                entered.map_err(|error| Close::refused(&error))?
            }
        };
        let Some(place) = self.app.0.clients.try_take(&pass.who.tenant) else {
            return Err(Some(Close::new(1013, "The tenant has as many connections as it may")));
        };
        self.held = Some((place, self.of.as_ref().map(OfConnection::busy)));
        self.pass = Some(pass);
        self.sent(json!({"type": "connection_ack"})).await
    }

    async fn subscribe(
        &mut self,
        id: String,
        request: GraphqlRequest,
    ) -> Result<(), Option<Close>> {
        let Some(who) = self.pass.as_ref().map(|pass| pass.who.clone()) else {
            return Err(Some(Close::new(4401, "Unauthorized")));
        };
        if id.is_empty() {
            return Err(Some(Close::new(4400, "An operation needs an id that is not empty")));
        }
        if id.len() > ID_BYTES_MAX {
            let says = format!("An operation's id has at most {ID_BYTES_MAX} bytes");
            return Err(Some(Close::new(4400, says)));
        }
        let operations_max = self.app.0.service.0.limits.socket_operations_max;
        let under_way = self.operations.0.lock().len();
        if self.operations.0.lock().contains_key(&id) {
            return Err(Some(Close::new(4409, format!("Subscriber for {id} already exists"))));
        }
        if under_way >= operations_max {
            let error = over_limit("operations on one WebSocket", operations_max, under_way + 1);
            return self.sent(error_message(&id, &error, &self.ids)).await;
        }
        if let Err(often) = self.app.0.rates.take(&who) {
            let mut message = error_message(&id, &often.error, &self.ids);
            message["payload"][0]["extensions"][RETRY_AFTER] = json!(often.seconds);
            return self.sent(message).await;
        }
        let operation = Operation {
            app: self.app.clone(),
            queue: self.queue.clone(),
            operations: self.operations.clone(),
            request_id: uuid::Uuid::now_v7().to_string(),
            id: id.clone(),
        };
        let mut operations = self.operations.0.lock();
        let span = tracing::info_span!("operation", request_id = operation.request_id);
        let handle = self.tasks.spawn(operation.run(who, request).instrument(span));
        operations.insert(id, handle);
        Ok(())
    }

    async fn send(&self, message: Value) -> bool {
        self.queue.send(Outgoing::new(Message::text(message.to_string()), None)).await.is_ok()
    }

    async fn sent(&self, message: Value) -> Result<(), Option<Close>> {
        match self.send(message).await {
            true => Ok(()),
            false => Err(None),
        }
    }

    /// Waits for operations with a single answer. The service interrupts subscriptions.
    async fn drain(&mut self) {
        // A client that does not read must not delay the shutdown.
        let most = self.app.0.patience.shutdown_max / 2;
        let _ = timeout(most, async { while self.tasks.join_next().await.is_some() {} }).await;
    }

    async fn close(mut self, close: Option<Close>) {
        self.tasks.shutdown().await;
        if let Some(Close(code, reason)) = close {
            tracing::debug!(code, reason, "socket closed");
            let _ = self.queue.send(Outgoing::new(Message::close_with(code, reason), None)).await;
        }
    }
}

/// What a frame that can not be read ends the connection with (RFC 6455, section 7.4.1). Of the reason there is only the text.
fn close_code(error: &std::io::Error) -> u16 {
    let says = error.to_string();
    let begins = |with: &str| says.starts_with(with);
    match () {
        () if begins("Space limit exceeded") => 1009,
        () if begins("UTF-8 encoding error") => 1007,
        () => 1002,
    }
}

struct Operation {
    app: App,
    queue: mpsc::Sender<Box<Outgoing>>,
    operations: Operations,
    request_id: String,
    id: String,
}

impl Operation {
    fn run(self, who: Principal, request: GraphqlRequest) -> impl Future<Output = ()> {
        let (service, id) = (self.app.0.service.clone(), self.request_id.clone());
        // What it takes to begin is not held for as long as a subscription goes on.
        let begun =
            Box::pin(async move { service.answer(&who, request, &id, Accepts::Streams).await });
        async move {
            let mut events = match begun.await {
                Answers::One(answer) => async move { Event::Answer(*answer) }.into_stream().boxed(),
                Answers::Many(events) => events,
            };
            while let Some(event) = events.next().await {
                match event {
                    Event::Answer(answer) => {
                        if Box::pin(self.answer(answer)).await == Next::Ended {
                            return;
                        }
                    }
                    // The protocol has no message for a position: the client states it by `since`.
                    Event::Position(_) => {}
                    Event::Interrupted => return Box::pin(self.interrupted()).await,
                }
            }
            Box::pin(self.complete()).await;
        }
    }

    async fn answer(&self, answer: Answer) -> Next {
        if answer.stage != Stage::Executed || (!answer.has_data && !answer.errors.is_empty()) {
            let errors = serde_json::to_value(&answer.errors).unwrap_or_default();
            let message = json!({"type": "error", "id": self.id, "payload": errors}).to_string();
            let room = answer.room.map(|room| room.of(message.len()));
            self.send_last(message, room).await;
            return Next::Ended;
        }
        let (payload, room) = answer.into_parts();
        let id = Value::from(self.id.as_str());
        let message = format!("{{\"type\":\"next\",\"id\":{id},\"payload\":{}}}", &*payload);
        drop(payload);
        match self.send(message, room).await {
            true => Next::Complete,
            false => Next::Ended,
        }
    }

    /// Ends a subscription that is not complete. During a shutdown the close code says so instead.
    async fn interrupted(&self) {
        if self.app.0.service.0.ending.is_cancelled() {
            return;
        }
        let says = "the subscription was interrupted: subscribe again after the last version";
        let error = to_graphql(&Error::user(Code::Cancelled, says));
        let error = json!({"message": error.message, "extensions": {"code": Code::Cancelled.as_str(), "requestId": self.request_id}});
        let message = json!({"type": "error", "id": self.id, "payload": [error]});
        self.send_last(message.to_string(), None).await;
    }

    async fn complete(&self) {
        self.send_last(json!({"type": "complete", "id": self.id}).to_string(), None).await;
    }

    /// Sends what nothing follows. The client may use the id again as soon as it reads that; until there is a place for it, the
    /// operation is one of those that a socket may have.
    async fn send_last(&self, message: String, room: Option<Room>) {
        if let Ok(place) = self.queue.reserve().await {
            self.operations.0.lock().remove(&self.id);
            place.send(Outgoing::new(Message::text(message), room));
        }
    }

    async fn send(&self, message: String, room: Option<Room>) -> bool {
        self.queue.send(Outgoing::new(Message::text(message), room)).await.is_ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// More may follow, else `complete`.
    Complete,
    /// Nothing may follow.
    Ended,
}

fn error_message(id: &str, error: &Error, ids: &RequestIds) -> Value {
    let error = to_graphql(error);
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    let code = code.and_then(|code| code.clone().into_json().ok());
    let extensions = json!({"code": code, "requestId": ids.request});
    json!({"type": "error", "id": id, "payload": [{"message": error.message, "extensions": extensions}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_was_not_let_in_learns_by_the_code_whether_a_retry_helps() {
        let code = |code| Close::refused(&Error::user(code, "why")).0;
        for passes in [Code::StorageUnavailable, Code::TooMany, Code::Timeout, Code::Internal] {
            assert_eq!(code(passes), 1013, "{passes:?}");
        }
        for stays in [Code::Unauthenticated, Code::Forbidden, Code::BadInput] {
            assert_eq!(code(stays), 4403, "{stays:?}");
        }
    }
}
