//! GraphQL over Server-Sent Events, in the mode of distinct connections.
//!
//! Source: the `graphql-sse` protocol (github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md): each answer is an event `next`, and the
//! event `complete` says that the operation is over. The next answer is made when the connection can take it, so a client that reads
//! slowly delays only itself.
//!
//! | the stream ends because | last events |
//! |---|---|
//! | the subscription is over | `complete` |
//! | it failed by an error that a retry meets again | `next` with the error, `complete` |
//! | it failed by an error that may pass | `next` with the error |
//! | the server shuts down | none |
//! | the key was revoked, or the session ended | `next` with UNAUTHENTICATED, `complete` |
//! | a token, session or certificate has to be renewed | none |
//! | the client does not read | none: the connection is closed |
//!
//! A stream that ends without `complete` makes published clients reconnect. A message about a version carries it as `id`, which
//! `EventSource` sends back as `Last-Event-ID` (html.spec.whatwg.org, section 9.2).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use engine::{Result, Version};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, once};
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Body, Response};
use tokio::time::{Instant, sleep_until};

use super::auth::Over;
use super::negotiate::Media;
use super::trace::RequestIds;
use super::{App, Pass};
use crate::answer::{Answer, Answers, Event, Stage};
use crate::error::{bad_input, refused};
use crate::service::Room;

/// The final event of a complete stream.
const COMPLETE: &str = "event: complete\ndata:\n\n";
/// The header in which a client sends the last event id that it has received.
const LAST_EVENT_ID: &str = "last-event-id";
/// Shortest time between the last answer and the end of an interrupted stream. graphql-sse 2.6 hangs if it reads both at once.
const REST: Duration = Duration::from_millis(100);

/// The version in `Last-Event-ID`, after which the client continues. Clients send an empty header before the first event.
pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<Version>> {
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else { return Ok(None) };
    let version = id.to_str().ok().and_then(|id| id.parse().ok());
    match version {
        Some(version) => Ok(Some(Version(version))),
        None => Err(bad_input(format!(
            "Last-Event-ID: expected the id of an event of this subscription, which is a version such as 17; found {:?}",
            String::from_utf8_lossy(id.as_bytes())
        ))),
    }
}

/// Sends answers as events while the client has access.
pub(super) fn respond(app: &App, answers: Answers, pass: Pass, ids: &RequestIds) -> Response {
    let events = match answers {
        Answers::One(answer) => once(async move { Event::Answer(*answer) }).boxed(),
        Answers::Many(events) => events,
    };
    let events = Events {
        events: Some(events),
        over: Box::pin(async move { pass.over().await }),
        request_id: ids.request.clone(),
        room: None,
        answered: None,
        heartbeat: app.0.patience.heartbeat,
    };
    let events = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, std::io::Error>(event), events))
    });
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, Media::EventStream.content_type())
        .header(header::CACHE_CONTROL, "no-cache")
        .header("x-accel-buffering", "no")
        .body(Body::from_bytes_stream(events))
}

struct Events {
    events: Option<BoxStream<'static, Event>>,
    /// Ready when the client's access ends.
    over: BoxFuture<'static, Over>,
    request_id: String,
    /// The memory of the previous answer, which the client has received when it asks for the next
    /// one.
    room: Option<Room>,
    /// When the last answer was sent.
    answered: Option<Instant>,
    heartbeat: Duration,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        self.room = None;
        let events = self.events.as_mut()?;
        let event = tokio::select! {
            event = tokio::time::timeout(self.heartbeat, events.next()) => event,
            over = &mut self.over => return self.over(over).await,
        };
        match event {
            Ok(Some(Event::Answer(answer))) => {
                let version = answer.version;
                let (json, room) = answer.into_parts();
                self.room = room;
                self.answered = Some(Instant::now());
                Some(next_event(version, &json))
            }
            // An id without data sets the client's `Last-Event-ID` and dispatches no event.
            Ok(Some(Event::Position(version))) => Some(Bytes::from(format!("id: {version}\n\n"))),
            Ok(Some(Event::Interrupted)) => self.interrupted().await,
            Ok(None) => {
                self.events = None;
                Some(Bytes::from_static(COMPLETE.as_bytes()))
            }
            // A comment keeps proxies from closing an idle connection.
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }

    /// Ends the stream when the client's access ends.
    async fn over(&mut self, over: Over) -> Option<Bytes> {
        match over {
            Over::Ended(why) => {
                self.events = None;
                let last = Answer::unanswered(Stage::Refused, *refused(&why), &self.request_id);
                let mut last = next_event(None, &last.json).to_vec();
                last.extend_from_slice(COMPLETE.as_bytes());
                Some(Bytes::from(last))
            }
            Over::Expired(_) => self.interrupted().await,
        }
    }

    async fn interrupted(&mut self) -> Option<Bytes> {
        self.events = None;
        if let Some(answered) = self.answered {
            sleep_until(answered + REST).await;
        }
        None
    }
}

fn next_event(version: Option<Version>, json: &str) -> Bytes {
    let id = version.map(|version| format!("id: {version}\n")).unwrap_or_default();
    Bytes::from(format!("{id}event: next\ndata: {}\n\n", in_one_line(json)))
}

/// JSON in one line, because a line break would end the data. Strings in JSON contain no raw line breaks, so spaces can replace
/// them.
fn in_one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => json.replace(['\n', '\r'], " ").into(),
        false => json.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;

    fn events(events: Vec<Event>) -> Events {
        Events {
            events: Some(stream::iter(events).boxed()),
            over: Box::pin(std::future::pending()),
            request_id: String::new(),
            room: None,
            answered: None,
            heartbeat: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn an_interrupted_stream_does_not_end_right_after_its_last_answer() {
        let error = *refused(&bad_input("why"));
        let answer = Event::Answer(Answer::unanswered(Stage::Refused, error, "id"));
        let mut answered = events(vec![answer, Event::Interrupted]);
        let began = Instant::now();
        assert!(answered.next().await.is_some());
        assert_eq!(answered.next().await, None);
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        // One without an answer has nothing that a client could read with the end.
        assert_eq!(events(vec![Event::Interrupted]).next().await, None);
    }

    #[test]
    fn an_answer_is_one_line() {
        assert_eq!(in_one_line("{\"a\":\r\n1}"), "{\"a\":  1}");
        assert_eq!(in_one_line(r#"{"a":"\n"}"#), r#"{"a":"\n"}"#);
    }

    #[test]
    fn a_last_event_id_is_a_version() {
        let of = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_EVENT_ID, header::HeaderValue::from_static(id));
            last_event(&headers).map_err(|error| error.to_string())
        };
        assert_eq!(last_event(&HeaderMap::new()).ok(), Some(None));
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("17"), Ok(Some(Version(17))));
        for id in ["-1", "x", "1.5", "99999999999999999999"] {
            let error = of(id).expect_err(id);
            assert!(error.contains("Last-Event-ID") && error.contains(id), "{error}");
        }
    }
}
