//! Answers as bytes.

use std::io;

use bytes::Bytes;
use engine::{Code, Error};
use futures::stream;
use poem::Response;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::trace::RequestIds;
use crate::answer::{Answer, Stage};
use crate::error::{RETRY_AFTER, to_body, to_graphql};
use crate::rates::Told;
use crate::service::Room;

/// Bytes of an answer that are handed over at once.
const PIECE_BYTES: usize = 64 << 10;

/// An answer with this body.
pub(super) fn body(
    status: StatusCode,
    media: &'static str,
    body: impl Into<poem::Body>,
) -> Response {
    Response::builder().status(status).header(header::CONTENT_TYPE, media).body(body)
}

/// The same, handed over in pieces as the client takes them; its room is freed after the last.
pub(super) fn counted_body(
    status: StatusCode,
    media: &'static str,
    text: String,
    room: Option<Room>,
) -> Response {
    let Some(room) = room.filter(|_| text.len() > PIECE_BYTES) else {
        return body(status, media, text);
    };
    let length = text.len();
    let pieces = stream::unfold((Bytes::from(text), room), |(mut left, room)| async move {
        let piece = left.split_to(left.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok::<_, io::Error>(piece), (left, room)))
    });
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, media);
    response.header(header::CONTENT_LENGTH, length).body(poem::Body::from_bytes_stream(pieces))
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &serde_json::Value) -> Response {
    body(status, "application/json", document.to_string())
}

/// A failure outside GraphQL.
pub(super) fn failure(status: StatusCode, error: &Error, ids: &RequestIds) -> Response {
    told_when(error.code(), json(status, &to_body(error, &ids.request)))
}

/// A failure outside GraphQL, with the status of its code.
pub(super) fn failed(error: &Error, ids: &RequestIds) -> Response {
    failure(status(error.code()), error, ids)
}

/// A failure of the GraphQL route, in GraphQL's form.
pub(super) fn graphql_failure(status: StatusCode, error: &Error, ids: &RequestIds) -> Response {
    let code = error.code();
    let mut error = to_graphql(error).into_server_error(Default::default());
    error.locations.clear();
    if let Some((_, Some(seconds))) = ids.rates.get() {
        error.extensions.get_or_insert_default().set(RETRY_AFTER, *seconds);
    }
    let refused = Answer::unanswered(Stage::Refused, error, &ids.request).json;
    told_when(code, body(status, "application/json", String::from(refused)))
}

/// `response`, which says when to try again where that helps: room is made soon, but nothing mends a store by itself.
pub(super) fn told_when(code: Code, mut response: Response) -> Response {
    if matches!(code, Code::ResourcesExhausted | Code::TooMany)
        && !response.headers().contains_key(header::RETRY_AFTER)
    {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Tells what is left of the rates, and after how many seconds to ask again where nothing was.
pub(super) fn tell_rates(headers: &mut HeaderMap, told: &Told, wait: Option<u64>) {
    let wait = wait.map(|seconds| (header::RETRY_AFTER.as_str(), seconds.to_string()));
    let rates = [("ratelimit-policy", told.policy()), ("ratelimit", told.left())];
    for (name, value) in rates.into_iter().chain(wait) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The status of a code.
pub(super) fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// 405, with the method that is taken.
pub(super) fn method_not_allowed(allowed: &'static str, ids: &RequestIds) -> Response {
    let error = Error::user(Code::BadInput, format!("this path takes {allowed}"));
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, &error, ids);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_says_when_to_try_again() {
        for (code, says) in [
            (Code::ResourcesExhausted, true),
            (Code::TooMany, true),
            (Code::LimitExceeded, false),
            (Code::StorageUnavailable, false),
        ] {
            let error = Error::user(code, "as it is");
            let ids = RequestIds::new(&Default::default());
            for response in [failed(&error, &ids), graphql_failure(status(code), &error, &ids)] {
                assert_eq!(response.headers().contains_key(header::RETRY_AFTER), says, "{code:?}");
            }
        }
    }
}
