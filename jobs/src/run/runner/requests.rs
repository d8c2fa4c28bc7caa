//! Requests that come with a key of their client: each is done once, and who asks again under the same key is told what came of it.
//!
//! What a key was used for is in control state before anything is done, and what came of it before it is answered; both for a day. A
//! request whose process ended in between is not done again: it may have been done, and the client is told so.
//!
//! A request of which nothing was done is forgotten, so that the client can send it again. The control database may commit a run and
//! break off before it says so. Then the request keeps the run's id: sent again, it continues with that run and queues no other. A
//! request has parts, such as the fields of a mutation, and each of them continues with its own runs only.
//!
//! ```text
//!             begin                    end
//!   unknown ────────▶ being done ─────────────▶ answered
//!      ▲                │   ▲                     (a day)
//!      │ no run exists  │   │ begin again
//!      └──── undone ────┤   │
//!                       └───▶ has queued runs
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use engine::{Code, Error, Principal, Result, RunId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{RunHandle, Runner, Shared};
use crate::control::{ControlError, RequestBegin, RequestKey, RequestState};

/// How long a key is known.
const REQUEST_KEY_HOURS: i64 = 24;
/// Longest key.
const REQUEST_KEY_BYTES_MAX: usize = 255;
/// Longest answer that is kept.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Keys of a tenant that are known at a time.
const KEYS_MAX: i64 = 10_000;
/// Wait before the end of a request is stored again, and before a run is searched that may be queued.
pub(super) const AGAIN: Duration = Duration::from_secs(2);
/// The answer to a client whose request is being done.
const UNDER_WAY: &str = "is that of a request which is being done; ask again";
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
    of: Option<Begun>,
    runs: Runs,
}

/// A request and its start time: a later request may have the same key.
#[derive(Clone)]
struct Begun {
    key: RequestKey,
    at_us: i64,
}

/// The runs of a request.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<RunsInner>>);

#[derive(Default)]
struct RunsInner {
    /// Runs that an earlier try queued, and that this try has not reached.
    before: OfParts,
    /// Runs that it queued, or may have queued.
    queued: OfParts,
}

/// Runs of the parts of a request, by the names of those. Runs of pipelines are among them.
type OfParts = BTreeMap<String, VecDeque<RunId>>;

/// The stored answer of a request that queued runs and has no other answer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queued {
    queued: OfParts,
}

tokio::task_local! {
    /// The runs of the request that this task executes.
    static RUNS: Runs;
    /// The part of it that the task does.
    static PART: String;
}

/// Does `work`, which is the part `name` of a request: sent again, it continues with the runs of this part and of no other.
pub fn part_of_request<T>(name: String, work: impl Future<Output = T>) -> impl Future<Output = T> {
    PART.scope(name, work)
}

fn part() -> String {
    PART.try_with(Clone::clone).unwrap_or_default()
}

/// Notes that the request which is being done, if one is, queues this run.
pub(crate) fn queues(run: RunId) {
    let _ = RUNS.try_with(|runs| runs.0.lock().queued.entry(part()).or_default().push_back(run));
}

/// Notes that there is no such run, as where the queue was full.
pub(crate) fn has_not_queued(run: RunId) {
    let _ = RUNS.try_with(|runs| {
        for of_part in runs.0.lock().queued.values_mut() {
            of_part.retain(|queued| *queued != run);
        }
    });
}

/// The next run that this part of the request which is being done queued when it was sent before.
pub(crate) fn next_before() -> Option<RunId> {
    let next = RUNS.try_with(|runs| {
        let (mut runs, part) = (runs.0.lock(), part());
        let next = runs.before.get_mut(&part)?.pop_front()?;
        runs.queued.entry(part).or_default().push_back(next);
        Some(next)
    });
    next.ok().flatten()
}

impl Runner {
    /// The next run that an earlier attempt of the current request queued.
    pub(super) async fn queued_before(&self, who: &Principal) -> Result<Option<RunHandle>> {
        let Some(id) = next_before() else { return Ok(None) };
        let record = self.shared.records.get(&self.shared.engine, who, id).await?;
        Ok(Some(RunHandle { id, record: self.shared.watch(&who.tenant, &record) }))
    }
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
        let (at_us, forget_us) = (now.timestamp_micros(), (now - known_for).timestamp_micros());
        let begin = RequestBegin { question, worker: &worker, at_us, forget_us, most: KEYS_MAX };
        let begun = Begun { key: of.clone(), at_us };
        let open = |runs| OpenRequest {
            shared: Arc::clone(&shared),
            of: Some(begun.clone()),
            runs: Runs(Arc::new(Mutex::new(RunsInner { before: runs, queued: OfParts::new() }))),
        };
        let store = shared.records.store();
        let state = match store.begin_request(&of, &begin).await {
            Ok(state) => state,
            Err(error) => {
                // It may have begun all the same, and nobody would end it.
                finish(Arc::clone(&shared), begun, Ended::Nothing(OfParts::new()));
                return Err(error.into());
            }
        };
        let says = match state {
            RequestState::Begun => return Ok(KeyedRequest::New(open(OfParts::new()))),
            RequestState::Answered(answer) => match serde_json::from_str::<Queued>(&answer) {
                Ok(Queued { queued }) => {
                    match store.begin_request_again(&of, &begin, &answer).await {
                        Ok(true) => return Ok(KeyedRequest::New(open(queued))),
                        // Another sender was first.
                        Ok(false) => UNDER_WAY.to_owned(),
                        Err(error) => {
                            finish(Arc::clone(&shared), begun, Ended::Nothing(queued));
                            return Err(error.into());
                        }
                    }
                }
                Err(_) => return Ok(KeyedRequest::Answered(answer)),
            },
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
            RequestState::UnderWay => UNDER_WAY.to_owned(),
            RequestState::Lost => format!(
                "is that of a request whose process ended before it was seen what came of it; the dataset audit says when, look \
                 whether it is done, and ask under a new key, or under this one in {REQUEST_KEY_HOURS} hours"
            ),
        };
        Err(Error::user(Code::Conflict, format!("idempotency key {key:?} {says}")))
    }
}

impl OpenRequest {
    /// Executes the request. Runs that it queues are recorded, and runs that an earlier attempt queued are not queued again.
    pub fn doing<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        RUNS.scope(self.runs.clone(), work)
    }

    /// Keeps what came of it, now or as soon as that can be done.
    pub async fn end(self, answer: &str) {
        let too_long = r#"{"data":null,"errors":[{"message":"the request was done, and its answer is too long to be kept","extensions":{"code":"LIMIT_EXCEEDED"}}]}"#;
        let answer = if answer.len() > ANSWER_BYTES_MAX { too_long } else { answer };
        self.ended(Ended::Answer(answer.to_owned())).await;
    }

    /// Forgets the request if it did nothing, so that it can be sent again. If it queued runs that exist, it stores their ids.
    pub async fn undone(self) {
        let RunsInner { before, queued: mut runs } = std::mem::take(&mut *self.runs.0.lock());
        for (part, before) in before {
            runs.entry(part).or_default().extend(before);
        }
        runs.retain(|_, of_part| !of_part.is_empty());
        self.ended(Ended::Nothing(runs)).await;
    }

    async fn ended(mut self, ended: Ended) {
        let Some(of) = self.of.take() else { return };
        // A database whose connection broke may still commit a run, so it is searched later.
        let is_sure = match &ended {
            Ended::Answer(_) => true,
            Ended::Nothing(runs) => runs.is_empty(),
        };
        if is_sure {
            match ended.store(&self.shared, &of).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the end of a request could not be stored"),
            }
        }
        finish(Arc::clone(&self.shared), of, ended);
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(of) = self.of.take() {
            finish(Arc::clone(&self.shared), of, Ended::Answer(STOPPED.to_owned()));
        }
    }
}

/// How a request ended.
enum Ended {
    /// With this answer.
    Answer(String),
    /// Nothing, unless one of these runs exists.
    Nothing(OfParts),
}

impl Ended {
    async fn store(&self, shared: &Shared, of: &Begun) -> Result<(), ControlError> {
        let store = shared.records.store();
        let runs = match self {
            Self::Answer(answer) => return store.answer_request(&of.key, of.at_us, answer).await,
            Self::Nothing(runs) => runs,
        };
        let mut queued = OfParts::new();
        for (part, runs) in runs {
            for run in runs {
                if store.has_begun(&of.key.tenant, &run.to_string()).await? {
                    queued.entry(part.clone()).or_default().push_back(*run);
                }
            }
        }
        match (queued.is_empty(), serde_json::to_string(&Queued { queued })) {
            (false, Ok(queued)) => store.answer_request(&of.key, of.at_us, &queued).await,
            _ => store.forget_request(&of.key, of.at_us).await,
        }
    }
}

/// Stores the end of a request once the database answers, as long as this process lives.
fn finish(shared: Arc<Shared>, of: Begun, ended: Ended) {
    let threads = Arc::clone(&shared);
    let finishing = async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = shared.closing.cancelled() => return,
            }
            if ended.store(&shared, &of).await.is_ok() {
                return;
            }
        }
    };
    if let Err(error) = threads.threads.spawn(threads.tasks.track_future(finishing)).map(drop) {
        tracing::warn!(%error, "the end of a request could not be stored");
    }
}
