//! Mutations that their clients give a key: each is done once, and who sends it again is told what came of it.
//!
//! A request that failed with a temporary error before it did anything is executed when it is sent
//! again.
//!
//! The key comes as the header `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header), or among the request's extensions,
//! which WebSockets have, too. What it was used for is kept by control state, with what came of it.

use std::future::Future;

use async_graphql::{Request, ServerError, Value};
use engine::{Code, Error, Principal, Result};
use jobs::{KeyedRequest, Runner};
use serde::Deserialize;

use crate::answer::{Answer, Stage, code_of};
use crate::error::bad_input;
use crate::guard::RootField;

/// Where a request has its key, among its extensions.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotencyKey";

/// Fields whose answers have a secret, which is shown once.
const WITH_SECRETS: [&str; 1] = ["createKey"];
/// What is told of such a request when it comes again.
const SECRET_TOLD: &str = "the request was done; the secret of what it made is shown once and not kept: revoke that, and make another";

/// A mutation that has a key.
pub(crate) struct Keyed {
    key: String,
    /// The digest of what is asked.
    question: String,
    has_secret: bool,
}

impl Keyed {
    /// `request`, whose question has this digest, if it has a key.
    pub(crate) fn of(
        request: &Request,
        question: String,
        roots: &[RootField],
    ) -> Result<Option<Self>> {
        let is_secret = |root: &RootField| WITH_SECRETS.contains(&root.name.as_str());
        let has_secret = roots.iter().any(is_secret);
        Ok(key_of(request)?.map(|key| Self { key, question, has_secret }))
    }
}

/// The key of a request.
fn key_of(request: &Request) -> Result<Option<String>> {
    match request.extensions.0.get(IDEMPOTENCY_KEY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) => Ok(Some(key.clone())),
        Some(_) => Err(bad_input("idempotencyKey: expected a text")),
    }
}

/// Does `work` of `who`, unless a request of this key and question was done before: then its answer is that. `failed` is the answer where
/// work fails, and `has_done` whether a field of the mutation is done.
pub(crate) async fn once(
    runner: Runner,
    who: Principal,
    keyed: Option<Keyed>,
    failed: impl Fn(&Error) -> Answer,
    has_done: impl Fn() -> bool,
    work: impl Future<Output = Result<Answer>>,
) -> Result<Answer> {
    let Some(Keyed { key, question, has_secret }) = keyed else { return work.await };
    // Who sees or may do something else asks something else.
    let question = format!("{question} {} {:?}", who.sees().digest(), who.roles);
    let open = match runner.begin_request(&who, &key, &question).await? {
        KeyedRequest::New(open) => open,
        KeyedRequest::Answered(text) => return Ok(again(text)),
    };
    let answer = open.doing(work).await.unwrap_or_else(|error| failed(&error));
    match has_done() {
        false if answer.stage == Stage::Refused || may_pass(&answer.errors) => open.undone().await,
        true if has_secret => {
            open.end(&failed(&Error::user(Code::Conflict, SECRET_TOLD)).json).await
        }
        _ => open.end(&answer.json).await,
    }
    Ok(answer)
}

/// An answer of before.
fn again(text: String) -> Answer {
    let told: Told = serde_json::from_str(&text).unwrap_or_default();
    Answer::again(text, told.data.is_some_and(|data| !data.is_null()), told.errors)
}

/// The parts of an answer of before that say how it came out.
#[derive(Default, Deserialize)]
struct Told {
    #[serde(default)]
    data: Option<serde_json::Value>,
    #[serde(default)]
    errors: Vec<ServerError>,
}

/// Whether one of these errors may disappear for the same request: a retry may help, a limit may have room later, or the caller
/// may get more rights.
fn may_pass(errors: &[ServerError]) -> bool {
    let passes = |code: Code| {
        code.is_retryable()
            || matches!(code, Code::LimitExceeded | Code::Forbidden | Code::Unauthenticated)
    };
    errors.iter().filter_map(code_of).any(passes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refused;

    #[test]
    fn an_answer_is_stored_only_if_its_error_is_permanent() {
        let stored = [Code::BadInput, Code::NotFound, Code::Conflict];
        for code in Code::ALL.into_iter().chain([Code::TooMany]) {
            let errors = [*refused(&Error::user(code, "as it is"))];
            assert_eq!(may_pass(&errors), !stored.contains(&code), "{code:?}");
        }
        assert!(!may_pass(&[]));
    }
}
