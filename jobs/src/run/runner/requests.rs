//! Requests that come with a key of their client: each is done once, and who asks again under the same key is told what came of it.
//!
//! What a key was used for is in control state before anything is done, and what came of it before it is answered; both for a day. A
//! request whose process ended in between is not done again: it may have been done, and the client is told so.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use engine::{Code, Error, Principal, Result};

use super::{Runner, Shared};
use crate::control::{RequestKey, RequestState};

/// How long a key is known.
const REQUEST_KEY_HOURS: i64 = 24;
/// Longest key.
const REQUEST_KEY_BYTES_MAX: usize = 255;
/// Longest answer that is kept.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Keys of a tenant that are known at a time.
const KEYS_MAX: i64 = 10_000;
/// How long it takes until an answer that could not be kept is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// What is told of a request in which something stopped.
const STOPPED: &str = r#"{"data":null,"errors":[{"message":"the request stopped in the middle; the dataset audit says what was begun","extensions":{"code":"CONFLICT"}}]}"#;

/// What is to be done with a request that has a key.
pub enum KeyedRequest {
    /// It is to be done.
    New(OpenRequest),
    /// This came of it before.
    Answered(String),
}

/// A request that is being done.
pub struct OpenRequest {
    shared: Arc<Shared>,
    /// None, where it is known what came of it.
    of: Option<RequestKey>,
}

impl Runner {
    /// Begins what `who` asks under `key`, whose digest is `question`. CONFLICT, where the key is that of another request, of one that is
    /// being done, or of one whose process ended before it was seen what came of it.
    pub async fn begin_request(
        &self,
        who: &Principal,
        key: &str,
        question: &str,
    ) -> Result<KeyedRequest> {
        let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || key.len() > REQUEST_KEY_BYTES_MAX {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "idempotency key: expected 1 to {REQUEST_KEY_BYTES_MAX} letters, digits and signs without spaces"
                ),
            ));
        }
        let shared = Arc::clone(&self.shared);
        let of = RequestKey {
            tenant: who.tenant.to_string(),
            subject: who.subject.clone(),
            key: key.to_owned(),
        };
        let (now, worker) = (shared.now(), shared.worker.lock().id.clone());
        let known_for = TimeDelta::hours(REQUEST_KEY_HOURS);
        let times = (now.timestamp_micros(), (now - known_for).timestamp_micros());
        let store = shared.records.store();
        let state = store.begin_request(&of, question, &worker, times, KEYS_MAX).await?;
        let says = match state {
            RequestState::Begun => {
                return Ok(KeyedRequest::New(OpenRequest { shared, of: Some(of) }));
            }
            RequestState::Answered(answer) => return Ok(KeyedRequest::Answered(answer)),
            RequestState::Full => {
                return Err(Error::user(
                    Code::LimitExceeded,
                    format!(
                        "idempotency keys: the tenant has used {KEYS_MAX} in {REQUEST_KEY_HOURS} hours; expected a request without one"
                    ),
                ));
            }
            RequestState::Other => {
                "was used for another request; expected a new key for each request".to_owned()
            }
            RequestState::UnderWay => {
                "is that of a request which is being done; ask again".to_owned()
            }
            RequestState::Lost => format!(
                "is that of a request whose process ended before it was seen what came of it; the dataset audit says when, look \
                 whether it is done, and ask under a new key, or under this one in {REQUEST_KEY_HOURS} hours"
            ),
        };
        Err(Error::user(Code::Conflict, format!("idempotency key {key:?} {says}")))
    }
}

impl OpenRequest {
    /// Keeps what came of it, now or as soon as that can be done.
    pub async fn end(mut self, answer: &str) {
        let too_long = r#"{"data":null,"errors":[{"message":"the request was done, and its answer is too long to be kept","extensions":{"code":"LIMIT_EXCEEDED"}}]}"#;
        let answer = if answer.len() > ANSWER_BYTES_MAX { too_long } else { answer };
        let Some(of) = self.of.take() else { return };
        if let Err(error) = self.shared.records.store().answer_request(&of, answer).await {
            tracing::warn!(%error, "what came of a request could not be kept");
            keep(Arc::clone(&self.shared), of, answer.to_owned());
        }
    }

    /// Lets go of it, where nothing was done.
    pub async fn undone(mut self) {
        let Some(of) = self.of.take() else { return };
        if let Err(error) = self.shared.records.store().forget_request(&of).await {
            tracing::warn!(%error, "a request of which nothing was done is still known");
            keep(Arc::clone(&self.shared), of, STOPPED.to_owned());
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(of) = self.of.take() {
            keep(Arc::clone(&self.shared), of, STOPPED.to_owned());
        }
    }
}

/// Keeps what came of a request as soon as that can be done, while this process lives.
fn keep(shared: Arc<Shared>, of: RequestKey, answer: String) {
    let threads = Arc::clone(&shared);
    let keeping = async move {
        while shared.records.store().answer_request(&of, &answer).await.is_err() {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = shared.closing.cancelled() => return,
            }
        }
    };
    if let Err(error) = threads.threads.spawn(threads.tasks.track_future(keeping)).map(drop) {
        tracing::warn!(%error, "what came of a request could not be kept");
    }
}
