//! Errors on their way out: the engine's errors with their codes become GraphQL errors or HTTP
//! bodies, in this one place, so that no answer tells more than its message is meant to.

use async_graphql::{Error as GraphqlError, ErrorExtensions, ServerError};
use engine::{Code, Error};
use serde_json::{Value, json};

/// What a client is told instead of the message of a bug.
pub(crate) const INTERNAL_MESSAGE: &str =
    "an error of the server's own; its log has the details under this request id";

/// BAD_INPUT with this message.
pub(crate) fn bad_input(message: impl Into<String>) -> Error {
    Error::user(Code::BadInput, message)
}

/// LIMIT_EXCEEDED that names the bound.
pub(crate) fn over_limit(
    what: &str,
    limit: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> Error {
    Error::user(Code::LimitExceeded, format!("{what}: the limit is {limit}, found {found}"))
}

/// LIMIT_EXCEEDED that names the bound: there are too many of them at a time, and what is asked for is not at fault.
pub(crate) fn busy(what: &str, limit: impl std::fmt::Display) -> Error {
    let says = format!("{what}: the limit is {limit}, all of them taken; try again in a moment");
    Error::user(Code::TooMany, says)
}

/// Seconds after which it helps to ask again, in errors that pass by themselves.
pub(crate) const RETRY_AFTER: &str = "retryAfter";

/// As a GraphQL error with `extensions.code`. What is not the user's doing is logged here.
pub(crate) fn to_graphql(error: &Error) -> GraphqlError {
    log(error);
    GraphqlError::new(public_message(error)).extend_with(|_, extensions| {
        extensions.set("code", error.code().as_str());
        if error.code() == Code::TooMany {
            extensions.set(RETRY_AFTER, 1);
        }
    })
}

/// As the only error of a request.
pub(crate) fn refused(error: &Error) -> Box<ServerError> {
    Box::new(to_graphql(error).into_server_error(Default::default()))
}

/// As the body of an HTTP answer outside GraphQL.
pub(crate) fn to_body(error: &Error, request_id: &str) -> Value {
    log(error);
    json!({"error": {
        "code": error.code().as_str(),
        "message": public_message(error),
        "requestId": request_id,
    }})
}

/// As the message of a status of gRPC.
pub(crate) fn status_message(error: &Error) -> String {
    log(error);
    public_message(error)
}

fn public_message(error: &Error) -> String {
    match error {
        Error::Internal { .. } => INTERNAL_MESSAGE.to_owned(),
        other => other.to_string(),
    }
}

fn log(error: &Error) {
    match error {
        Error::User { .. } => {}
        Error::Environment { code, .. } => {
            tracing::warn!(code = code.as_str(), detail = error.detail(), "request failed");
        }
        Error::Internal { .. } => {
            tracing::error!(code = "INTERNAL", detail = error.detail(), "request failed");
        }
    }
}
