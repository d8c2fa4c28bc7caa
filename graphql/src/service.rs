//! The service behind all transports: it takes a request and who asks, and gives answers.
//!
//! HTTP, SSE and WebSocket differ in how a request arrives and how an answer leaves. What lies between
//! (admission, the tenant's schema, execution, time, cost, warnings) is here, once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Request, Response, ServerError, Value};
use engine::{Code, Engine, Error, Principal, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use jobs::Runner;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::{INTERNAL_MESSAGE, bad_input, over_limit, to_graphql};
use crate::guard::{Admitted, admit};
use crate::limits::Limits;
use crate::meter::Meter;
use crate::request::RequestState;
use crate::schema::TenantSchema;
use crate::schema::cache::SchemaCache;
use crate::subscribe::shared::SharedResults;

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
    /// Results that subscribers share.
    pub shared: SharedResults,
    /// What is counted.
    pub meter: Meter,
    /// Cancelled when the server ends.
    pub ending: CancellationToken,
    schemas: SchemaCache,
    subscriptions: Arc<AtomicUsize>,
    /// Queries that run at a time; others wait their turn.
    reading: Semaphore,
}

/// One of the subscriptions that may be open at a time; dropping it frees the place.
pub(crate) struct SubscriptionPlace(Arc<AtomicUsize>);

impl Drop for SubscriptionPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ServiceInner {
    /// Takes a place for one more subscription.
    pub(crate) fn subscribe(&self) -> Result<SubscriptionPlace> {
        let open = self.subscriptions.fetch_add(1, Ordering::Relaxed);
        let place = SubscriptionPlace(self.subscriptions.clone());
        if open >= self.limits.subscriptions_max {
            return Err(over_limit("open subscriptions", self.limits.subscriptions_max, open + 1));
        }
        Ok(place)
    }

    /// Subscriptions that are open.
    pub(crate) fn subscriptions_open(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }
}

/// What came of a request.
pub struct Answer {
    /// The response, its errors with `extensions.code` and `extensions.requestId`.
    pub response: Response,
    /// Whether it was executed; a request that was refused has no data, not even null.
    pub stage: Stage,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
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
    Many(BoxStream<'static, Answer>),
}

/// Which operations a transport takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Queries: of a GET request, which must change nothing.
    Queries,
    /// Queries and mutations.
    Single,
    /// All.
    Streams,
}

struct Prepared {
    schema: Arc<TenantSchema>,
    state: Arc<RequestState>,
    kind: OperationType,
    cost: u64,
    root_keys: Vec<Name>,
    request: Request,
}

impl Service {
    /// A service over an engine and its runner.
    pub fn new(engine: Engine, runner: Runner, limits: Limits) -> Self {
        Self(Arc::new(ServiceInner {
            engine,
            runner,
            shared: SharedResults::new(limits.shared_results_max),
            reading: Semaphore::new(limits.queries_at_a_time_max.max(1)),
            limits,
            meter: Meter::default(),
            ending: CancellationToken::new(),
            schemas: SchemaCache::default(),
            subscriptions: Arc::default(),
        }))
    }

    /// Answers `request` of `who`. `request_id` is put into each error.
    pub async fn answer(
        &self,
        who: &Principal,
        request: Request,
        request_id: &str,
        accepts: Accepts,
    ) -> Answers {
        let span = tracing::info_span!("graphql", operation = request.operation_name.as_deref());
        let prepared = self.prepare(who, request, accepts).instrument(span.clone()).await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let answer = finished(Response::from_errors(vec![*error]), request_id);
                return Answers::One(Box::new(Answer { stage: Stage::Refused, ..answer }));
            }
        };
        if prepared.kind == OperationType::Subscription {
            return Answers::Many(self.stream(prepared, request_id.to_owned()));
        }
        let answer = self.execute(prepared, request_id).instrument(span).await;
        Answers::One(Box::new(answer))
    }

    /// The schema of the tenant of `who`, as text.
    pub async fn sdl(&self, who: &Principal) -> Result<String> {
        Ok(self.schema(who).await?.schema.sdl())
    }

    async fn schema(&self, who: &Principal) -> Result<Arc<TenantSchema>> {
        let catalog = self.0.engine.catalog(who).await?;
        self.0.schemas.get(&catalog, &self.0.limits).await
    }

    async fn prepare(
        &self,
        who: &Principal,
        mut request: Request,
        accepts: Accepts,
    ) -> Result<Prepared, Box<ServerError>> {
        let refuse =
            |error: Error| Box::new(to_graphql(&error).into_server_error(Default::default()));
        let limits = &self.0.limits;
        let schema = self.schema(who).await.map_err(refuse)?;
        let name = request.operation_name.as_deref();
        let Admitted { document, kind, cost, root_keys } =
            admit(&request.query, name, &request.variables, &schema.paged, limits)?;
        match (kind, accepts) {
            (OperationType::Mutation | OperationType::Subscription, Accepts::Queries) => {
                return Err(refuse(bad_input(format!(
                    "a GET request takes queries, and this is a {kind}; send it by POST"
                ))));
            }
            (OperationType::Subscription, Accepts::Single) => {
                return Err(refuse(bad_input(
                    "a subscription needs a stream: ask with `Accept: text/event-stream`, or open a \
                     WebSocket with the protocol graphql-transport-ws",
                )));
            }
            _ => {}
        }
        request.set_parsed_query(document);
        let state = RequestState::new(self.0.clone(), who.clone());
        request.data.insert(state.clone());
        Ok(Prepared { schema, state, kind, cost, root_keys, request })
    }

    async fn execute(&self, prepared: Prepared, request_id: &str) -> Answer {
        let Prepared { schema, state, kind, cost, root_keys, request } = prepared;
        let result = match kind {
            // A mutation is not cut off in the middle: it would be done and look undone.
            OperationType::Mutation => Ok(schema.schema.execute(request).await),
            _ => {
                let reading = async {
                    let _place = self.0.reading.acquire().await;
                    Ok(schema.schema.execute(request).await)
                };
                in_time(self.0.limits.operation_time_max, reading).await
            }
        };
        let response = result.unwrap_or_else(|error| {
            Response::from_errors(vec![to_graphql(&error).into_server_error(Default::default())])
        });
        let mut response = with_warnings(response.extension("cost", Value::from(cost)), &state);
        if let Value::Object(fields) = &mut response.data {
            // Root fields run side by side and come in the order of their ends.
            let place = |key: &Name| root_keys.iter().position(|known| known == key);
            fields.sort_by_cached_key(|key, _| place(key).unwrap_or(usize::MAX));
        }
        finished(response, request_id)
    }

    fn stream(&self, prepared: Prepared, request_id: String) -> BoxStream<'static, Answer> {
        let Prepared { schema, state, cost, request, .. } = prepared;
        let mut meter_first = Some(cost);
        let service = self.0.clone();
        let ending = service.ending.clone();
        schema
            .schema
            .execute_stream(request)
            .map(move |mut response| {
                if let Some(cost) = meter_first.take() {
                    response = response.extension("cost", Value::from(cost));
                }
                service.meter.messages_pushed.add(1);
                finished(with_warnings(response, &state), &request_id)
            })
            .take_until(ending.cancelled_owned())
            .boxed()
    }
}

/// Runs `work` for at most `time`; TIMEOUT names the bound.
pub(crate) async fn in_time<T>(time: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(time, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::user(
            Code::Timeout,
            format!(
                "the operation took longer than the limit of {} ms; ask for less, or narrow `where`",
                time.as_millis()
            ),
        )),
    }
}

fn with_warnings(mut response: Response, state: &RequestState) -> Response {
    if let Some(warnings) = state.warnings.take() {
        response = response.extension("warnings", warnings);
    }
    response
}

/// Gives every error a code and the request's id. Errors of the GraphQL library are about the request's
/// text, except those that it marks as its own.
fn finished(mut response: Response, request_id: &str) -> Answer {
    let is_coded = |error: &ServerError| {
        error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some())
    };
    let was_refused = response.data == Value::Null
        && !response.errors.is_empty()
        && !response.errors.iter().any(is_coded);
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
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
    let stage = if was_refused { Stage::Refused } else { Stage::Executed };
    Answer { response, stage }
}
