//! Mutations that their clients give a key: each is done once, and who sends it again is told what came of it.
//!
//! The key comes as the header `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header), or among the request's extensions,
//! which WebSockets have, too. What it was used for is kept by control state, with what came of it.

use std::future::Future;

use async_graphql::{Request, ServerError, Value};
use engine::{Code, Principal, Result};
use jobs::{KeyedRequest, Runner};
use serde::Deserialize;

use crate::answer::Answer;
use crate::error::bad_input;
use crate::guard::RootField;

/// Where a request has its key, among its extensions.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotencyKey";

/// Fields whose answers have a secret, which is shown once.
const WITH_SECRETS: [&str; 1] = ["createKey"];
/// What is told of such a request when it comes again.
const SECRET_TOLD: &str = r#"{"data":null,"errors":[{"message":"the request was done; the secret of what it made is shown once and not kept: revoke that, and make another","extensions":{"code":"CONFLICT"}}]}"#;

/// A mutation that has a key.
pub(crate) struct Keyed {
    key: String,
    /// The digest of what is asked.
    question: String,
    has_secret: bool,
}

impl Keyed {
    /// `request`, whose question has this digest, if it has a key.
    pub(crate) fn of(request: &Request, question: String, roots: &[RootField]) -> Result<Option<Self>> {
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

/// Does `work` of `who`, unless a request of this key and question was done before: then its answer is that.
pub(crate) async fn once(
    runner: Runner,
    who: Principal,
    keyed: Option<Keyed>,
    request_id: String,
    work: impl Future<Output = Result<Answer>>,
) -> Result<Answer> {
    let Some(Keyed { key, question, has_secret }) = keyed else { return work.await };
    let open = match runner.begin_request(&who, &key, &question).await? {
        KeyedRequest::New(open) => open,
        KeyedRequest::Answered(text) => return Ok(again(text)),
    };
    let answer = match work.await {
        Ok(answer) => answer,
        Err(error) => {
            // Fields before the one that failed may be done.
            let refused = vec![*crate::error::refused(&error)];
            Answer::of(async_graphql::Response::from_errors(refused), &request_id)
        }
    };
    match is_undone(&answer) {
        true => open.undone().await,
        false if has_secret && answer.has_data => open.end(SECRET_TOLD).await,
        false => open.end(&answer.json).await,
    }
    Ok(answer)
}

/// An answer of before.
fn again(text: String) -> Answer {
    let errors = serde_json::from_str::<Told>(&text).map(|told| told.errors).unwrap_or_default();
    Answer::again(text, errors)
}

/// The part of an answer of before that says how it came out.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    errors: Vec<ServerError>,
}

/// Whether nothing was done, for a reason that passes: nobody would want that told again.
fn is_undone(answer: &Answer) -> bool {
    let passes = |error: &ServerError| {
        let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
        let is = |code: &str| code == Code::ResourcesExhausted.as_str();
        matches!(code, Some(Value::String(code)) if is(code))
    };
    !answer.has_data && !answer.errors.is_empty() && answer.errors.iter().all(passes)
}
