//! The service behind all transports: it takes a request and who asks, and gives answers.
//!
//! HTTP, SSE and WebSocket differ in how a request arrives and how an answer leaves. What lies between
//! (admission, the tenant's schema, execution, time, cost, warnings) is here, once.

pub(crate) mod rows;
pub(crate) mod sql;
pub(crate) mod stream;
pub(crate) mod streamed;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Request, Response, ServerError, Value};
use engine::{Code, Engine, Error, Lanes, Places, Principal, Result, Taken, TenantId, Version};
use jobs::Runner;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{AcquireError, OnceCell};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::accepted::complete;
use crate::answer::{Answer, Answers, Stage};
use crate::error::{bad_input, busy, over_limit, refused};
use crate::guard::cost::Given;
use crate::guard::{Admitted, RootField, Since, admit, keep_declared, twice};
use crate::idempotency::{Keyed, once};
use crate::kept::KeptAnswers;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::names::is_field_of;
use crate::request::{Acts, RequestState};
use crate::schema::cache::SchemaCache;
use crate::schema::{TenantSchema, groups_live};
use crate::subscribe::hub::Hubs;
use crate::subscribe::shared::SharedResults;
use crate::trusted::TrustedDocuments;

/// Answers requests. Cloning is free.
#[derive(Clone)]
pub struct Service(pub(crate) Arc<ServiceInner>);

/// What all requests share.
pub(crate) struct ServiceInner {
    /// Datasets.
    pub engine: Engine,
    /// Runs.
    pub runner: Runner,
    /// Bounds.
    pub limits: Limits,
    /// Bounds of what is answered in rows.
    pub limits_of_rows: Limits,
    /// Results that subscribers share.
    pub shared: SharedResults,
    /// Subscriptions that wait together.
    pub hubs: Hubs,
    /// Answers to queries.
    kept: KeptAnswers,
    /// Documents that are known by ids.
    documents: TrustedDocuments,
    /// What links to exports are signed with, once one was.
    links: OnceCell<Vec<u8>>,
    /// What is counted.
    pub meter: Meter,
    /// Cancelled when the server ends.
    pub ending: CancellationToken,
    schemas: SchemaCache,
    subscriptions: Places,
    subscribers: Mutex<HashMap<(TenantId, String), usize>>,
    /// Bytes of answers that are made, or that their clients have not taken.
    answers: Places,
    /// Pages that are streamed.
    streams: Places,
    /// Bytes of groups that subscriptions keep until the next version.
    pub(crate) live_groups: Places,
    /// Threads for requests, and places for those that run at a time.
    pub(crate) lanes: Lanes,
    /// Mutations that are made, whether or not their clients still wait.
    pub(crate) mutations: TaskTracker,
}

/// One of the subscriptions that may be open at a time; dropping it frees the place.
pub(crate) struct SubscriptionPlace {
    service: Arc<ServiceInner>,
    subscriber: (TenantId, String),
    _place: Taken,
}

impl Drop for SubscriptionPlace {
    fn drop(&mut self) {
        let mut subscribers = self.service.subscribers.lock();
        if let Entry::Occupied(mut open) = subscribers.entry(self.subscriber.clone()) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

impl ServiceInner {
    /// What links to exports are signed with.
    pub(crate) async fn link_secret(&self) -> Result<&[u8]> {
        let secret = self.links.get_or_try_init(|| self.runner.link_secret()).await?;
        Ok(secret)
    }

    /// Takes a place for one more subscription of `who`: a tenant has at most half of them, and one subject half of those.
    pub(crate) fn subscribe(self: &Arc<Self>, who: &Principal) -> Result<SubscriptionPlace> {
        let of_tenant = self.subscriptions.share();
        let of_subject = (of_tenant / 2).max(1);
        let subscriber = (who.tenant.clone(), who.subject.clone());
        let mut subscribers = self.subscribers.lock();
        let open = subscribers.get(&subscriber).copied().unwrap_or_default();
        if open >= of_subject {
            let what = "open subscriptions of one subject";
            return Err(over_limit(what, of_subject, open + 1));
        }
        let Some(place) = self.subscriptions.try_take(&who.tenant) else {
            let found = "all of them taken";
            return Err(over_limit("open subscriptions of one tenant", of_tenant, found));
        };
        subscribers.insert(subscriber.clone(), open + 1);
        Ok(SubscriptionPlace { service: Arc::clone(self), subscriber, _place: place })
    }

    /// Waits for room for the longest answer that there may be, and for a place to make it; not with more requests of `tenant`
    /// than may wait.
    async fn admit(&self, who: &Principal, waiting_max: usize) -> Result<Held> {
        let too_many =
            || busy("queries of one tenant that wait, half of them of one subject", waiting_max);
        let room = self.answers.queue_of(who, self.room_units(), waiting_max).await;
        let room = Room(room.map_err(no_places)?.ok_or_else(too_many)?);
        self.held(&who.tenant, room).await
    }

    /// The same for what goes on: a message of a subscription, the end of what was waited for. Of those there are not more than
    /// subscriptions and connections.
    pub(crate) async fn turn(&self, who: &Principal) -> Result<Held> {
        let room = self.answers.take_of(who, self.room_units()).await.map_err(no_places)?;
        self.held(&who.tenant, Room(room)).await
    }

    /// Waits for a place where something is made for which there is room.
    pub(crate) async fn place(&self, who: &Principal) -> Result<Taken> {
        self.lanes.places().take(&who.tenant, 1).await.map_err(no_places)
    }

    /// Waits for room for an answer of so many bytes that is there.
    pub(crate) async fn room(&self, who: &Principal, bytes: usize) -> Result<Room> {
        let units = bytes.div_ceil(ROOM_UNIT_BYTES).min(self.answers.share_of_subject());
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Ok(Room(self.answers.take_of(who, units).await.map_err(no_places)?))
    }

    /// With the place last: who has one makes something there, and waits for no client that takes no answer.
    async fn held(&self, tenant: &TenantId, room: Room) -> Result<Held> {
        let place = self.lanes.places().take(tenant, 1).await.map_err(no_places)?;
        Ok(Held { _place: place, room })
    }

    fn room_units(&self) -> u32 {
        let units = self.limits.answer_bytes_max.div_ceil(ROOM_UNIT_BYTES);
        u32::try_from(units.min(self.answers.share_of_subject())).unwrap_or(u32::MAX)
    }

    /// Subscriptions that are open.
    pub(crate) fn subscriptions_open(&self) -> usize {
        self.subscribers.lock().values().sum()
    }
}

/// Bytes of a request on a stream that may wait with all others.
const PATIENT_BYTES_MAX: usize = 4 << 10;
/// Bytes of the text and variables of a subscription.
const SUBSCRIPTION_BYTES_MAX: usize = 64 << 10;
/// The unit in which bytes of answers are counted.
const ROOM_UNIT_BYTES: usize = 64 << 10;

/// Room for an answer; dropping it frees the room.
#[derive(Debug)]
pub(crate) struct Room(Taken);

impl Room {
    /// No more of it than so many bytes take.
    pub(crate) fn of(mut self, bytes: usize) -> Self {
        self.0.keep(bytes.div_ceil(ROOM_UNIT_BYTES));
        self
    }
}

/// What an answer takes while it is made.
pub(crate) struct Held {
    _place: Taken,
    room: Room,
}

/// Which operations a transport takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Queries: of a GET request, which must change nothing.
    Queries,
    /// Queries and subscriptions: of one that takes a stream.
    Reads,
    /// Queries and mutations.
    Single,
    /// All.
    Streams,
}

impl Limits {
    /// How many requests like this one may wait. When a server comes back, all its subscribers do at once: as many as may be there wait
    /// for their turn, where each is small.
    fn waiting_max(&self, request: &Request, accepts: Accepts) -> usize {
        // Nothing else that a request may bring is small by itself.
        let is_small = || {
            let bytes =
                request.query.len() + request.operation_name.as_ref().map_or(0, String::len);
            let values = serde_json::to_string(&request.variables);
            request.extensions.0.is_empty()
                && bytes <= PATIENT_BYTES_MAX
                && values.is_ok_and(|values| bytes + values.len() <= PATIENT_BYTES_MAX)
        };
        match accepts {
            Accepts::Streams | Accepts::Reads if is_small() => {
                self.queries_waiting_max.max(self.subscriptions_max)
            }
            _ => self.queries_waiting_max,
        }
    }
}

impl Accepts {
    fn require(self, kind: OperationType) -> Result<()> {
        match (kind, self) {
            (OperationType::Mutation | OperationType::Subscription, Self::Queries)
            | (OperationType::Mutation, Self::Reads) => Err(bad_input(format!(
                "a GET request takes queries, and this is a {kind}; send it by POST"
            ))),
            (OperationType::Subscription, Self::Single) => Err(bad_input(
                "a subscription needs a stream: ask with `Accept: text/event-stream`, or open a \
                 WebSocket with the protocol graphql-transport-ws",
            )),
            _ => Ok(()),
        }
    }
}

struct Prepared {
    /// What the answer is called, where it may be kept.
    name: Option<String>,
    /// What the client calls the request, if it has a name for it.
    keyed: Option<Keyed>,
    schema: Arc<TenantSchema>,
    state: Arc<RequestState>,
    kind: OperationType,
    cost: u64,
    roots: Vec<RootField>,
    request: Request,
}

impl Service {
    /// A service over an engine and its runner.
    pub fn new(engine: Engine, runner: Runner, limits: Limits) -> Result<Self> {
        Self::taking(engine, runner, limits, TrustedDocuments::default())
    }

    /// The same, which knows documents by their ids.
    pub fn taking(
        engine: Engine,
        runner: Runner,
        limits: Limits,
        documents: TrustedDocuments,
    ) -> Result<Self> {
        Ok(Self(Arc::new(ServiceInner {
            runner,
            shared: SharedResults::new(limits.shared_results_max),
            hubs: Hubs::default(),
            kept: KeptAnswers::new(&limits),
            documents,
            answers: Places::new(limits.answers_in_flight_bytes_max / ROOM_UNIT_BYTES),
            subscriptions: Places::new(limits.subscriptions_max),
            subscribers: Mutex::default(),
            lanes: engine.lanes("query", limits.queries_at_a_time_max)?,
            engine,
            limits_of_rows: limits.of_rows(),
            streams: Places::new(limits.streams_at_a_time_max),
            live_groups: groups_live::places(),
            limits,
            links: OnceCell::new(),
            meter: Meter::default(),
            ending: CancellationToken::new(),
            schemas: SchemaCache::default(),
            mutations: TaskTracker::new(),
        })))
    }

    /// Answers `request` of `who`. `request_id` is put into each error.
    pub async fn answer(
        &self,
        who: &Principal,
        request: Request,
        request_id: &str,
        accepts: Accepts,
    ) -> Answers {
        self.answer_after(who, request, request_id, accepts, None).await
    }

    /// The same; a subscription to the versions of a dataset continues after `after`, if given.
    pub(crate) async fn answer_after(
        &self,
        who: &Principal,
        request: Request,
        request_id: &str,
        accepts: Accepts,
        after: Option<Version>,
    ) -> Answers {
        let span = tracing::info_span!("graphql", operation = request.operation_name.as_deref());
        let answers = Box::pin(self.answer_in(who, request, request_id, (accepts, after)));
        let answers = answers.instrument(span).await;
        let unanswered =
            |(stage, error): (_, Box<_>)| Answer::unanswered(stage, *error, request_id);
        answers.unwrap_or_else(|why| Answers::One(Box::new(unanswered(why))))
    }

    async fn answer_in(
        &self,
        who: &Principal,
        request: Request,
        request_id: &str,
        (accepts, after): (Accepts, Option<Version>),
    ) -> Result<Answers, (Stage, Box<ServerError>)> {
        let time_max = self.0.limits.operation_time_max;
        let until = Instant::now() + time_max;
        let waiting_max = self.0.limits.waiting_max(&request, accepts);
        let (prepared, held) =
            Box::pin(self.prepared(who, request, request_id, waiting_max, Given::Values)).await?;
        accepts.require(prepared.kind).map_err(|error| (Stage::Misplaced, refused(&error)))?;
        if prepared.kind == OperationType::Subscription {
            return Ok(Answers::Many(self.stream(prepared, request_id.to_owned(), after)));
        }
        let answer = Box::pin(self.execute(prepared, held, until, request_id)).await;
        Ok(Answers::One(Box::new(answer)))
    }

    /// `request`, to be executed in the place that it was prepared in.
    async fn prepared(
        &self,
        who: &Principal,
        mut request: Request,
        request_id: &str,
        waiting_max: usize,
        given: Given,
    ) -> Result<(Prepared, Held), (Stage, Box<ServerError>)> {
        let documents = &self.0.documents;
        documents.resolve(&mut request).map_err(|error| (Stage::Refused, refused(&error)))?;
        let (service, asks) = (self.clone(), who.clone());
        let id = request_id.to_owned();
        let prepare = Box::pin(async move { service.prepare(&asks, request, id, given).await });
        // The place is given back when the work has really ended, which is not when nobody waits for it any more.
        let admitted = async {
            let held = self.0.admit(who, waiting_max).await?;
            let prepare = async move { (prepare.await, held) };
            self.0.lanes.run(&who.tenant, prepare).await
        };
        let admitted = in_time(self.0.limits.operation_time_max, admitted).await;
        let (prepared, held) = admitted.map_err(|error| (Stage::Refused, refused(&error)))?;
        Ok((prepared.map_err(|error| (Stage::Refused, error))?, held))
    }

    /// The schema of the tenant of `who`, as text.
    pub async fn sdl(&self, who: &Principal) -> Result<String> {
        Ok(self.schema(who).await?.schema.sdl())
    }

    async fn schema(&self, who: &Principal) -> Result<Arc<TenantSchema>> {
        let catalog = self.0.engine.catalog(who).await?;
        self.0.schemas.get(&catalog, &who.sees(), &self.0.limits).await
    }

    async fn prepare(
        &self,
        who: &Principal,
        mut request: Request,
        request_id: String,
        given: Given,
    ) -> Result<Prepared, Box<ServerError>> {
        let refuse = |error: Error| refused(&error);
        let limits = &self.0.limits;
        let catalog = self.0.engine.catalog(who).await.map_err(refuse)?;
        let schema = self.0.schemas.get(&catalog, &who.sees(), limits).await.map_err(refuse)?;
        let name = request.operation_name.as_deref();
        let Admitted { document, kind, cost, typename_bytes, roots, since } =
            admit(&request.query, name, &request.variables, &schema.paged, limits, given)?;
        // The schema has no field for them, and says no more than that.
        let unreadable = |root: &RootField| {
            let mut all = catalog.unreadable.iter();
            all.find(|(dataset, _)| is_field_of(&root.name, dataset.as_str()))
        };
        if let Some((_, reason)) = roots.iter().find_map(unreadable) {
            return Err(refuse(reason.clone()));
        }
        let question = match kind {
            OperationType::Subscription => question_of(&request, since.as_ref()).into(),
            _ => "".into(),
        };
        let name = self.0.kept.name(who, &request, &schema, &catalog, (kind, &roots));
        let keyed = match kind {
            OperationType::Mutation => {
                Keyed::of(&request, question_of(&request, None), &roots).map_err(refuse)?
            }
            _ => None,
        };
        let acts = (kind == OperationType::Mutation).then(|| Acts {
            operation: request.operation_name.clone(),
            request_id,
            target: Default::default(),
        });
        if kind == OperationType::Subscription {
            let name = request.operation_name.as_deref();
            keep_declared(&document, name, &mut request.variables).map_err(refuse)?;
            request.extensions = Default::default();
            let values = serde_json::to_string(&request.variables).map_or(0, |text| text.len());
            let bytes = request.query.len() + values;
            if bytes > SUBSCRIPTION_BYTES_MAX {
                let what = "bytes of a subscription's text and variables, which are kept";
                return Err(refuse(over_limit(what, SUBSCRIPTION_BYTES_MAX, bytes)));
            }
        }
        let twice = twice(&roots);
        if let (Some(key), OperationType::Mutation) = (&twice, kind) {
            return Err(refuse(bad_input(format!(
                "{key}: a field of a mutation is selected twice under one key, and each would be done; select it once, or give one of them an alias"
            ))));
        }
        request.set_parsed_query(document);
        let state =
            RequestState::recording(self.0.clone(), who.clone(), typename_bytes, acts, question);
        if twice.is_some() {
            state.will_merge();
        }
        request.data.insert(state.clone());
        Ok(Prepared { name, keyed, schema, state, kind, cost, roots, request })
    }

    async fn execute(
        &self,
        prepared: Prepared,
        held: Held,
        until: Instant,
        request_id: &str,
    ) -> Answer {
        let Prepared { name, keyed, schema, state, kind, cost, roots, request } = prepared;
        let kept = name.as_ref().and_then(|name| self.0.kept.find(name, &self.0.meter));
        if let Some(kept) = kept {
            return Answer { room: Some(held.room), ..Answer::told(&kept) };
        }
        let (tenant, who) = (state.tenant().clone(), state.principal().clone());
        let has_done = {
            let state = state.clone();
            move || state.has_done()
        };
        state.hold(held);
        let id = request_id.to_owned();
        // Wherever it is handed on to, it stays where it is: a stack would have it several times.
        let work = Box::pin(async move {
            let mut response = state.answered(schema.schema.execute(request)).await?;
            complete(&schema.schema, &state.service().limits, &mut response.errors).await;
            let mut response = with_warnings(response.extension("cost", Value::from(cost)), &state);
            if let Value::Object(fields) = &mut response.data {
                // Root fields run side by side and come in the order of their ends.
                let place = |key: &Name| roots.iter().position(|root| root.key == *key);
                fields.sort_by_cached_key(|key, _| place(key).unwrap_or(usize::MAX));
            }
            let mut answer = Answer::of(response, &id);
            if let Some(name) = name {
                state.service().kept.keep(&name, &mut answer);
            }
            let room = state.let_go().map(|held| held.room);
            Ok(Answer { room, ..answer })
        });
        let failed = {
            let id = request_id.to_owned();
            move |error: &Error| {
                let response = Response::from_errors(vec![*refused(error)]);
                Answer::of(response.extension("cost", Value::from(cost)), &id)
            }
        };
        let is_mutation = kind == OperationType::Mutation;
        let work = async move {
            work.await.map_err(|error: Error| match error.code() {
                Code::LimitExceeded if is_mutation => Error::user(
                    Code::LimitExceeded,
                    format!(
                        "{error}; the field that was being answered and those before it are done"
                    ),
                ),
                _ => error,
            })
        };
        let work = once(self.0.runner.clone(), who, keyed, failed.clone(), has_done, work);
        let result = match kind {
            // A mutation is not cut off in the middle, whoever waits for it: it would be done and look undone.
            OperationType::Mutation => {
                let work = self.0.mutations.track_future(work);
                let stopped = |error| Error::internal(format!("a mutation stopped: {error}"));
                match self.0.lanes.spawn(&tenant, work) {
                    Ok(work) => work.await.map_err(stopped).flatten(),
                    Err(error) => Err(error),
                }
            }
            _ => {
                let work = async { self.0.lanes.run(&tenant, work).await.flatten() };
                before(until, self.0.limits.operation_time_max, work).await
            }
        };
        result.unwrap_or_else(|error| failed(&error))
    }
}

/// What a request asks, in few bytes: of two that ask the same it is the same, wherever it goes on from.
pub(crate) fn question_of(request: &Request, since: Option<&Since>) -> String {
    let (text, name) = (request.query.as_str(), request.operation_name.as_deref());
    let (variable, before, behind) = match since {
        Some(Since::Variable(name)) => (Some(name), text, None),
        Some(Since::Written(at)) => (None, &text[..at.start], Some(&text[at.end..])),
        None => (None, text, None),
    };
    let values = request.variables.iter().filter(|(name, _)| Some(*name) != variable);
    let mut digest = Sha256::new();
    for part in [before, name.unwrap_or_default()] {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    for (name, value) in values {
        let value = value.to_string();
        for part in [name.as_str(), value.as_str()] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
    }
    // Last, so that what was asked before there was this is still what it was.
    if let Some(behind) = behind {
        digest.update("since");
        digest.update(behind);
    }
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn no_places(error: AcquireError) -> Error {
    Error::internal(format!("places for queries: {error}"))
}

/// Runs `work` for at most `time`; TIMEOUT names the bound.
pub(crate) async fn in_time<T>(time: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    before(Instant::now() + time, time, work).await
}

/// Runs `work` that began earlier and is to end `until` then, `time` after it began.
async fn before<T>(
    until: Instant,
    time: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout_at(until.into(), work).await {
        Ok(result) => result,
        Err(_) => Err(too_late(time)),
    }
}

/// The error for an operation that exceeds its time limit.
fn too_late(time: Duration) -> Error {
    let says = format!(
        "the operation took longer than the limit of {} ms; ask for less, or narrow `where`",
        time.as_millis()
    );
    Error::user(Code::Timeout, says)
}

fn with_warnings(mut response: Response, state: &RequestState) -> Response {
    if let Some(warnings) = state.warnings.take() {
        response = response.extension("warnings", warnings);
    }
    response
}
