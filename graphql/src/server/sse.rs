//! GraphQL over Server-Sent Events, in the mode of distinct connections.
//!
//! Source: the `graphql-sse` protocol (github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md): each
//! answer is an event `next`, the end is an event `complete`. The next answer is made when the
//! connection can take it, so a client that reads slowly holds nothing up but itself.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use engine::Error;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, once};
use poem::http::{StatusCode, header};
use poem::{Body, Response};

use super::negotiate::Media;
use super::trace::RequestIds;
use super::{App, Pass};
use crate::answer::{Answer, Answers, Stage};
use crate::error::refused;
use crate::service::Room;

/// The event behind the last.
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// Answers as events, as long as who asked may have them.
pub(super) fn respond(app: &App, answers: Answers, pass: Pass, ids: &RequestIds) -> Response {
    let answers = match answers {
        Answers::One(answer) => once(async move { *answer }).boxed(),
        Answers::Many(answers) => answers,
    };
    let events = Events {
        answers: Some(answers),
        over: Box::pin(async move { pass.over().await }),
        request_id: ids.request.clone(),
        room: None,
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
    answers: Option<BoxStream<'static, Answer>>,
    /// Ready when who asked is no longer let in.
    over: BoxFuture<'static, Error>,
    request_id: String,
    /// Of the answer before, which is taken when a next one is asked for.
    room: Option<Room>,
    heartbeat: Duration,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        self.room = None;
        let answers = self.answers.as_mut()?;
        let answer = tokio::select! {
            answer = tokio::time::timeout(self.heartbeat, answers.next()) => answer,
            why = &mut self.over => {
                self.answers = None;
                let error = refused(&why);
                let last = Answer::unanswered(Stage::Refused, *error, &self.request_id).json;
                let last = in_one_line(&last);
                return Some(Bytes::from(format!("event: next\ndata: {last}\n\n{COMPLETE}")));
            }
        };
        match answer {
            Ok(Some(answer)) => {
                let (json, room) = answer.into_parts();
                self.room = room;
                Some(Bytes::from(format!("event: next\ndata: {}\n\n", in_one_line(&json))))
            }
            Ok(None) => {
                self.answers = None;
                Some(Bytes::from_static(COMPLETE.as_bytes()))
            }
            // A comment keeps proxies from closing an idle connection.
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

/// JSON in one line, since a line ends what is said: in a text no line breaks, and elsewhere a space is as good.
fn in_one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => json.replace(['\n', '\r'], " ").into(),
        false => json.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        assert_eq!(in_one_line("{\"a\":\r\n1}"), "{\"a\":  1}");
        assert_eq!(in_one_line(r#"{"a":"\n"}"#), r#"{"a":"\n"}"#);
    }
}
