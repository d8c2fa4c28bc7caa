//! What came of a request, as the JSON that its client gets.
//!
//! It is written where it was made, on the threads for queries: a long answer takes as long to write as to make, and so does
//! letting go of what it was made of.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use async_graphql::{Response, ServerError, Value};
use engine::{Code, Version};
use futures::stream::BoxStream;
use serde::Serialize;

use crate::error::{INTERNAL_MESSAGE, RETRY_AFTER};
use crate::service::Room;
use crate::subscribe::shared::Weigh;

/// Errors of one answer that are shown.
const ERRORS_MAX: usize = 100;

/// What came of a request.
pub struct Answer {
    /// The response as JSON, its errors with `extensions.code` and `extensions.requestId`.
    pub json: Text,
    /// Whether it was executed; a request that was refused has no data, not even null.
    pub stage: Stage,
    /// Whether the response has data that is not null.
    pub(crate) has_data: bool,
    /// Whether it ends with `extensions`.
    pub(crate) has_extensions: bool,
    /// Those of its errors that are shown.
    pub errors: Vec<ServerError>,
    /// Whether it was given before, to the same request.
    pub is_again: bool,
    /// The version that a subscription's message reports. A client that reconnects continues after it.
    pub(crate) version: Option<Version>,
    /// Where its bytes are counted, until the client has taken them.
    pub(crate) room: Option<Room>,
}

/// A text of one, or of many who get the same.
#[derive(Clone, Debug)]
pub enum Text {
    /// Of one.
    Own(String),
    /// Of many.
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Own(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text {
            Text::Own(text) => text,
            Text::Shared(text) => text.as_ref().to_owned(),
        }
    }
}

/// A message of a subscription as all get it who ask the same.
pub(crate) struct Message {
    json: Arc<str>,
    has_data: bool,
    has_extensions: bool,
}

impl Weigh for Message {
    fn bytes(&self) -> usize {
        self.json.len()
    }
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is of a kind that is not taken the way it came.
    Misplaced,
    /// It was refused before anything of it ran.
    Refused,
    /// It ran.
    Executed,
}

/// The answers to a request: one, or a stream of them.
pub enum Answers {
    /// Of a query or mutation, or of a subscription that was refused.
    One(Box<Answer>),
    /// Of a subscription.
    Many(BoxStream<'static, Event>),
}

/// An item of a subscription's stream. A stream that ends without [`Event::Interrupted`] is complete.
pub enum Event {
    /// A message.
    Answer(Answer),
    /// The version before the first message. A client that reconnects without a message continues after it.
    Position(Version),
    /// The stream ends but the subscription is not complete: the client has to subscribe again.
    Interrupted,
}

/// Whether one of these errors is temporary, so that the same request may succeed later.
pub(crate) fn is_retryable(errors: &[ServerError]) -> bool {
    errors.iter().filter_map(code_of).any(Code::is_retryable)
}

/// The code of an error. LIMIT_EXCEEDED with a retry time is [`Code::TooMany`].
pub(crate) fn code_of(error: &ServerError) -> Option<Code> {
    let extensions = error.extensions.as_ref()?;
    let Some(Value::String(name)) = extensions.get("code") else { return None };
    match Code::ALL.into_iter().find(|code| code.as_str() == name) {
        Some(Code::LimitExceeded) if extensions.get(RETRY_AFTER).is_some() => Some(Code::TooMany),
        code => code,
    }
}

impl Answer {
    /// A response to a request that ran, unless its errors say that it did not.
    pub(crate) fn of(mut response: Response, request_id: &str) -> Self {
        let was_refused = response.data == Value::Null
            && !response.errors.is_empty()
            && !response.errors.iter().any(is_coded);
        finish(&mut response.errors, request_id);
        let stage = if was_refused { Stage::Refused } else { Stage::Executed };
        Self::written(response, stage)
    }

    /// The answer to a request of which nothing ran, for `error`.
    pub(crate) fn unanswered(stage: Stage, error: ServerError, request_id: &str) -> Self {
        let mut response = Response::from_errors(vec![error]);
        finish(&mut response.errors, request_id);
        Self::written(response, stage)
    }

    fn written(response: Response, stage: Stage) -> Self {
        let body = GraphqlBody {
            errors: &response.errors,
            data: (stage == Stage::Executed).then_some(&response.data),
            extensions: &response.extensions,
        };
        Self {
            json: Text::Own(body.json()),
            stage,
            has_data: response.data != Value::Null,
            has_extensions: !response.extensions.is_empty(),
            is_again: false,
            errors: response.errors,
            version: None,
            room: None,
        }
    }

    /// The message that another subscriber was told, who asks the same.
    pub(crate) fn told(message: &Message) -> Self {
        Self {
            json: Text::Shared(Arc::clone(&message.json)),
            stage: Stage::Executed,
            has_data: message.has_data,
            has_extensions: message.has_extensions,
            is_again: false,
            errors: Vec::new(),
            version: None,
            room: None,
        }
    }

    /// What came of the same request before.
    pub(crate) fn again(text: String, has_data: bool, errors: Vec<ServerError>) -> Self {
        Self {
            json: Text::Own(text),
            stage: Stage::Executed,
            has_data,
            has_extensions: false,
            is_again: true,
            errors,
            version: None,
            room: None,
        }
    }

    /// For others who ask the same; none where it is about this request alone.
    pub(crate) fn message(&mut self) -> Option<Message> {
        if self.stage != Stage::Executed || !self.errors.is_empty() {
            return None;
        }
        let json: Arc<str> = Arc::from(&*self.json);
        self.json = Text::Shared(Arc::clone(&json));
        let Self { has_data, has_extensions, .. } = *self;
        Some(Message { json, has_data, has_extensions })
    }

    /// Tells what it cost beside what it says.
    pub(crate) fn says_cost(&mut self, cost: u64) {
        // One that was refused has nothing else to say, and ends in the same way.
        let (end, begin) = match self.has_extensions {
            true => ("}}", ","),
            false => ("}", ",\"extensions\":{"),
        };
        if let Some(before) = self.json.strip_suffix(end) {
            self.json = Text::Own(format!("{before}{begin}\"cost\":{cost}}}}}"));
            self.has_extensions = true;
        }
    }

    /// Its text, and the room that this takes while it waits for the client.
    pub(crate) fn into_parts(self) -> (Text, Option<Room>) {
        let bytes = self.json.len();
        (self.json, self.room.map(|room| room.of(bytes)))
    }
}

/// An answer as GraphQL has it: without `data` when nothing was executed.
#[derive(Serialize)]
struct GraphqlBody<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: &'a BTreeMap<String, Value>,
}

impl GraphqlBody<'_> {
    /// As JSON.
    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            tracing::error!(%error, "an answer can not be written as JSON");
            r#"{"errors":[{"message":"the answer can not be written","extensions":{"code":"INTERNAL"}}]}"#
                .to_owned()
        })
    }
}

fn is_coded(error: &ServerError) -> bool {
    error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some())
}

/// Gives every error a code and the request's id. Errors of the GraphQL library are about the request's
/// text, except those that it marks as its own.
fn finish(errors: &mut Vec<ServerError>, request_id: &str) {
    let more = errors.len().saturating_sub(ERRORS_MAX);
    errors.truncate(ERRORS_MAX);
    if let Some(last) = errors.last_mut().filter(|_| more > 0) {
        last.message.push_str(&format!(" (and {more} errors more)"));
    }
    for error in errors {
        let is_coded = is_coded(error);
        let extensions = error.extensions.get_or_insert_default();
        if !is_coded {
            let code = match error.message.starts_with("internal:") {
                true => Code::Internal,
                false => Code::BadInput,
            };
            if code == Code::Internal {
                tracing::error!(code = "INTERNAL", detail = error.message, "request failed");
                error.message = INTERNAL_MESSAGE.to_owned();
            }
            extensions.set("code", code.as_str());
        }
        extensions.set("requestId", request_id);
        error.locations.retain(|at| at.line > 0);
    }
}
