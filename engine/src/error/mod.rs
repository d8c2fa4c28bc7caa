//! What can go wrong, said once for the whole product: what the user did, what the environment did,
//! and what is our bug.
//!
//! The [`Code`] is what a client acts on; it maps to GraphQL, HTTP and the process exit in this one
//! place. The message is for people who may not see the server: it never holds a path of the server,
//! a credential or another tenant's name. What only the log may hold is in [`Error::detail`].

mod arguments;
mod convert;
mod plain;
mod scrub;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use arguments::of_arguments;
pub(crate) use convert::{FULL, exhausted, find};
pub(crate) use plain::{ASOF, OF_SUBQUERY, SUBQUERY, plain, type_in_words};
pub(crate) use scrub::scrub;
use scrub::untraced;

use crate::storage::store_answer;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The one code set of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The request can't be right, whatever the state.
    BadInput,
    /// What it names does not exist.
    NotFound,
    /// It contradicts what is there: another spec, another sequence, another writer.
    Conflict,
    /// Nobody is known to be asking.
    Unauthenticated,
    /// The one who asks may not.
    Forbidden,
    /// A stated bound of the product was reached.
    LimitExceeded,
    /// The same, of how many there may be at a time or in a minute: it helps to ask again later. Clients know it by its status, and
    /// by `retryAfter`.
    #[serde(rename(serialize = "LIMIT_EXCEEDED", deserialize = "TOO_MANY"))]
    TooMany,
    /// Memory or disk ran out.
    ResourcesExhausted,
    /// The GPU that was required is not there.
    DeviceUnavailable,
    /// The store can't be reached or answers with errors.
    StorageUnavailable,
    /// It was cancelled.
    Cancelled,
    /// It took longer than allowed.
    Timeout,
    /// A bug of ours.
    Internal,
}

impl Code {
    /// Every code, each by its name once.
    pub const ALL: [Self; 12] = [
        Self::BadInput,
        Self::NotFound,
        Self::Conflict,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::LimitExceeded,
        Self::ResourcesExhausted,
        Self::DeviceUnavailable,
        Self::StorageUnavailable,
        Self::Cancelled,
        Self::Timeout,
        Self::Internal,
    ];

    /// The code as clients see it: `BAD_INPUT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadInput => "BAD_INPUT",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::LimitExceeded | Self::TooMany => "LIMIT_EXCEEDED",
            Self::ResourcesExhausted => "RESOURCES_EXHAUSTED",
            Self::DeviceUnavailable => "DEVICE_UNAVAILABLE",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
            Self::Cancelled => "CANCELLED",
            Self::Timeout => "TIMEOUT",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status of an answer that fails with this code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadInput => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::LimitExceeded => 413,
            Self::TooMany => 429,
            // nginx's "client closed request": the one status in use for a cancelled call.
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::ResourcesExhausted | Self::DeviceUnavailable | Self::StorageUnavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether the same request may succeed later without any change to it: memory becomes free, a store answers again, or
    /// another server takes over. Clients and idempotency keys decide by this whether to retry.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::TooMany
            | Self::ResourcesExhausted
            | Self::DeviceUnavailable
            | Self::StorageUnavailable
            | Self::Cancelled
            | Self::Timeout
            | Self::Internal => true,
            Self::BadInput
            | Self::NotFound
            | Self::Conflict
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::LimitExceeded => false,
        }
    }

    /// The exit code of a command that fails with this code: 130, as shells have it, for one that was told to stop. Wrong usage
    /// of the command line is 2, and is told before there is an error of this type.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Cancelled => 130,
            _ => 1,
        }
    }
}

fn told(mut message: String) -> String {
    message.truncate(untraced(&message).len());
    message
}

/// Replaces the XML of a store's answer in `text` by its code and message.
fn without_markup(text: &str) -> String {
    let markup = text.find("<?xml").or_else(|| text.find("<Error>"));
    match (markup, store_answer(text)) {
        (Some(at), Some((code, message))) => format!("{}{code}: {message}", &text[..at]),
        _ => text.to_owned(),
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong. Cloning is cheap: all requests of one group commit share its error.
#[derive(Clone, Debug)]
pub enum Error {
    /// The user can mend it.
    User {
        /// What a client acts on.
        code: Code,
        /// What was attempted, expected and found.
        message: String,
    },
    /// The operator can mend it.
    Environment {
        /// What a client acts on.
        code: Code,
        /// What was attempted.
        message: String,
        /// What the environment said. For the log only.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// We must mend it.
    Internal {
        /// What was found that can't be.
        message: String,
        /// What was behind it, for the log only.
        source: Option<Arc<dyn StdError + Send + Sync>>,
    },
}

impl Error {
    /// An error that the user can mend.
    pub fn user(code: Code, message: impl Into<String>) -> Self {
        Self::User { code, message: told(message.into()) }
    }

    /// An error of the environment; `source` is shown in the log only.
    pub fn environment(
        code: Code,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Environment { code, message: told(message.into()), source: Arc::from(source.into()) }
    }

    /// A bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal { message: told(message.into()), source: None }
    }

    /// A bug, with what was behind it.
    pub(crate) fn bug(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Internal { message: told(message.into()), source: Some(Arc::from(source.into())) }
    }

    /// What a client acts on.
    pub fn code(&self) -> Code {
        match self {
            Self::User { code, .. } | Self::Environment { code, .. } => *code,
            Self::Internal { .. } => Code::Internal,
        }
    }

    /// The message with everything behind it, for the log. May hold paths of the server.
    pub fn detail(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(source) = next {
            let says = without_markup(&source.to_string());
            // Many say all that is behind them as well.
            if !text.contains(&says) {
                text.push_str(": ");
                text.push_str(&says);
            }
            next = source.source();
        }
        text
    }

    /// The same error, said of `attempt` ("reading dataset calls").
    pub fn while_doing(self, attempt: impl fmt::Display) -> Self {
        self.said_as(|message| format!("{attempt}: {message}"))
    }

    /// The same error, and what can be done.
    pub(crate) fn with_advice(self, advice: impl fmt::Display) -> Self {
        self.said_as(|message| format!("{message}; {advice}"))
    }

    fn said_as(mut self, say: impl FnOnce(&str) -> String) -> Self {
        let (Self::User { message, .. }
        | Self::Environment { message, .. }
        | Self::Internal { message, .. }) = &mut self;
        *message = say(message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { message, .. } | Self::Environment { message, .. } => f.write_str(message),
            Self::Internal { message, .. } => write!(f, "bug: {message}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::User { .. } => None,
            Self::Environment { source, .. } => Some(source.as_ref()),
            Self::Internal { source, .. } => source.as_deref().map(|s| s as _),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_as_serde_writes_it() {
        for code in Code::ALL {
            let json = serde_json::to_value(code).unwrap_or_default();
            assert_eq!(json, code.as_str());
            assert!((400..600).contains(&code.http_status()));
        }
    }

    #[test]
    fn a_code_with_a_status_of_the_server_is_retryable() {
        for code in Code::ALL.into_iter().chain([Code::TooMany]) {
            let by_status = matches!(code.http_status(), 429 | 499..600);
            assert_eq!(code.is_retryable(), by_status, "{code:?}");
        }
    }

    #[test]
    fn a_backtrace_is_for_the_log_only() {
        let trace = "it failed\n\nbacktrace:    0: std::backtrace_rs\n  at /rustc/x.rs:5";
        assert_eq!(Error::user(Code::Timeout, trace).to_string(), "it failed");
        let frames = "it failed: no file\n   0: core::fmt\n             at /rustc/y.rs";
        assert_eq!(Error::user(Code::Timeout, frames).to_string(), "it failed: no file");
        for text in ["line 1\nline 2: no", "expected\n  a: b", "backtrace: of a word"] {
            assert_eq!(Error::user(Code::BadInput, text).to_string(), text);
        }
    }

    #[test]
    fn a_source_is_for_the_log_only() {
        let secret = std::io::Error::other("/srv/data/acme/calls: permission denied");
        let error = Error::environment(Code::StorageUnavailable, "writing a commit failed", secret)
            .while_doing("ingest into calls");
        assert_eq!(error.to_string(), "ingest into calls: writing a commit failed");
        assert!(error.detail().contains("/srv/data"));
    }
}
