//! GraphQL over HTTP: POST with JSON, GET for queries, and the way to SSE and WebSocket.
//!
//! Source: the GraphQL over HTTP specification (graphql.github.io/graphql-over-http/draft). A client
//! that names no form gets `application/json`, as the audits of npm's graphql-http expect.

use std::collections::HashMap;

use async_graphql::{Request as GraphqlRequest, Value, Variables};
use engine::{Code, Error, Principal, Result, Version};
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;

use super::negotiate::{Media, TAKEN, negotiate};
use super::trace::RequestIds;
use super::wire::{self, graphql_failure};
use super::{App, Pass, Purpose, body, etag, rows, sse, websocket};
use crate::answer::{Answer, Answers, Stage, code_of, is_retryable};
use crate::error::bad_input;
use crate::guard::without_query;
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::service::Accepts;
use crate::trusted::{DOCUMENT_ID, names_document};

/// What a client calls a request that it may send again.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Says that an answer is that of a request which was sent before.
const REPLAYED_HEADER: &str = "idempotency-replayed";

/// Answers at `/graphql`.
pub(super) async fn graphql(app: &App, request: Request, ids: &RequestIds) -> Response {
    if is_upgrade(request.headers()) {
        return websocket::upgrade(app, request, ids).await;
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if is_browser(&request, accept) {
        return Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, "/")
            .body(());
    }
    let media = match negotiate(accept) {
        Ok(Some(media)) => media,
        Ok(None) => {
            let error = bad_input(format!("Accept: expected {TAKEN}"));
            return graphql_failure(StatusCode::NOT_ACCEPTABLE, &error, ids);
        }
        Err(error) => return graphql_failure(StatusCode::BAD_REQUEST, &error, ids),
    };
    let method = request.method().clone();
    let purpose = match method {
        Method::GET => Purpose::Read,
        _ => Purpose::Change,
    };
    let pass = match app.0.door.enter(&request, purpose).await {
        Ok(pass) => pass,
        Err(error) => return unauthenticated(&error, ids),
    };
    if let Err(error) = app.0.let_in(&pass.who, &request, ids) {
        return graphql_failure(wire::status(error.code()), &error, ids);
    }
    let key = request.headers().get(IDEMPOTENCY_HEADER).cloned();
    let after = match media {
        Media::EventStream => sse::last_event(request.headers()),
        _ => Ok(None),
    };
    let after = match after {
        Ok(after) => after,
        Err(error) => return graphql_failure(StatusCode::BAD_REQUEST, &error, ids),
    };
    let headers = match method {
        Method::GET => request.headers().clone(),
        _ => HeaderMap::new(),
    };
    let parsed = match method {
        Method::GET => from_query_string(&request),
        Method::POST => from_body(app, &pass.who, request).await,
        _ => {
            let error = bad_input("expected GET or POST");
            let mut response = graphql_failure(StatusCode::METHOD_NOT_ALLOWED, &error, ids);
            let allow = HeaderValue::from_static("GET, POST");
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
    };
    let parsed = match parsed {
        Ok(parsed) if parsed.query.trim().is_empty() && !names_document(&parsed) => {
            return graphql_failure(StatusCode::BAD_REQUEST, &without_query(), ids);
        }
        Ok(mut parsed) => {
            if let Some(key) = key {
                // Bytes that are no text are no key.
                let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
                parsed.extensions.0.insert(IDEMPOTENCY_KEY.to_owned(), Value::from(key));
            }
            parsed
        }
        Err(Unreadable { status, error }) => return graphql_failure(status, &error, ids),
    };
    answer(app, pass, parsed, Asked { method, media, headers, after }, ids).await
}

/// How an answer is asked for.
struct Asked {
    method: Method,
    media: Media,
    /// Those of a GET.
    headers: HeaderMap,
    /// The version after which a subscription continues, if the client names one.
    after: Option<Version>,
}

async fn answer(
    app: &App,
    pass: Pass,
    request: GraphqlRequest,
    asked: Asked,
    ids: &RequestIds,
) -> Response {
    let Asked { method, media, headers, after } = asked;
    if let Media::Rows(media) = media {
        return rows::respond(app, pass, request, &method, media, ids).await;
    }
    let accepts = match (method == Method::GET, media) {
        (true, Media::EventStream) => Accepts::Reads,
        (true, _) => Accepts::Queries,
        (false, Media::EventStream) => Accepts::Streams,
        (false, _) => Accepts::Single,
    };
    let service = &app.0.service;
    let answers = service.answer_after(&pass.who, request, &ids.request, accepts, after).await;
    match (answers, media) {
        (Answers::One(answer), _) if answer.stage == Stage::Misplaced && method == Method::GET => {
            let mut response = respond(*answer, Media::Json);
            response.set_status(StatusCode::METHOD_NOT_ALLOWED);
            let allow = HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, allow);
            response
        }
        // A status makes the client try again. An event would end the subscription.
        (Answers::One(answer), Media::EventStream)
            if answer.stage == Stage::Refused && is_retryable(&answer.errors) =>
        {
            respond(*answer, Media::Json)
        }
        (answers, Media::EventStream) => sse::respond(app, answers, pass, ids),
        (Answers::One(answer), media) if method == Method::GET => {
            let Some(tag) = etag::of(&answer, media) else { return respond(*answer, media) };
            let response = match etag::is_known(&headers, &tag) {
                true => etag::not_modified(),
                false => respond(*answer, media),
            };
            etag::tagged(response, tag)
        }
        (Answers::One(answer), media) => respond(*answer, media),
        (Answers::Many(_), _) => {
            let error = Error::internal("a stream for a client that takes none");
            graphql_failure(StatusCode::INTERNAL_SERVER_ERROR, &error, ids)
        }
    }
}

fn respond(answer: Answer, media: Media) -> Response {
    let code = refusal(&answer);
    // A document that is none is an answer to who takes `application/json`; a server that has no room is not.
    let is_told = match (answer.stage, media) {
        (Stage::Misplaced, _) | (Stage::Refused, Media::GraphqlResponse) => true,
        (Stage::Refused, _) => code.is_some_and(|code| code != Code::BadInput),
        _ => false,
    };
    let status = match is_told {
        true => code.map_or(StatusCode::BAD_REQUEST, wire::status),
        false => StatusCode::OK,
    };
    let is_again = answer.is_again;
    let (json, room) = answer.into_parts();
    let mut response = wire::counted_body(status, media.content_type(), json.into(), room);
    if is_again {
        response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    match code {
        Some(code) if status != StatusCode::OK => wire::told_when(code, response),
        _ => response,
    }
}

/// The code of its first error.
pub(super) fn refusal(answer: &Answer) -> Option<Code> {
    answer.errors.first().and_then(code_of)
}

fn unauthenticated(error: &Error, ids: &RequestIds) -> Response {
    let mut response = graphql_failure(wire::status(error.code()), error, ids);
    if error.code() == Code::Unauthenticated {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

struct Unreadable {
    status: StatusCode,
    error: Error,
}

impl From<Error> for Unreadable {
    fn from(error: Error) -> Self {
        Self { status: wire::status(error.code()), error }
    }
}

/// What a URL says of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    #[serde(default)]
    query: String,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
    document_id: Option<String>,
}

fn from_query_string(request: &Request) -> Result<GraphqlRequest, Unreadable> {
    let unreadable =
        |error: &dyn std::fmt::Display| bad_input(format!("the URL's parameters: {error}"));
    let parameters: Parameters = request.params().map_err(|error| unreadable(&error))?;
    let Parameters { query, operation_name, variables, extensions, document_id } = parameters;
    let mut request = GraphqlRequest::new(query);
    request.operation_name = operation_name.filter(|name| !name.is_empty());
    let no_object = |name, error: serde_json::Error| {
        bad_input(format!("the URL's parameters: {name}: expected an object as JSON: {error}"))
    };
    // Null is as good as none.
    if let Some(text) = variables.filter(|text| !text.is_empty()) {
        let variables: Option<Variables> =
            serde_json::from_str(&text).map_err(|error| no_object("variables", error))?;
        request.variables = variables.unwrap_or_default();
    }
    if let Some(text) = extensions.filter(|text| !text.is_empty()) {
        let extensions: Option<HashMap<String, Value>> =
            serde_json::from_str(&text).map_err(|error| no_object("extensions", error))?;
        request.extensions = async_graphql::Extensions(extensions.unwrap_or_default());
    }
    if let Some(id) = document_id {
        request.extensions.0.insert(DOCUMENT_ID.to_owned(), Value::from(id));
    }
    Ok(request)
}

async fn from_body(
    app: &App,
    who: &Principal,
    mut request: Request,
) -> Result<GraphqlRequest, Unreadable> {
    let content_type = request.content_type().unwrap_or_default().to_owned();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let shown: String = essence.chars().take(80).collect();
        return Err(Unreadable {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error: bad_input(format!("Content-Type: expected application/json, found {shown:?}")),
        });
    }
    let body = request.take_body();
    let bytes_max = app.0.service.0.limits.request_bytes_max;
    let patience = &app.0.patience;
    let held = &mut app.0.requests.begin(&who.tenant);
    let reading = body::Reading { what: "the request", bytes_max, patience, held };
    let bytes = reading.read(body, request.headers()).await?;
    parse(&bytes).map_err(Unreadable::from)
}

/// Reads a GraphQL request as JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<GraphqlRequest> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(bad_input(
            "the body is a list; batches are not taken, send one request at a time",
        ));
    }
    let unreadable = |error: serde_json::Error| {
        bad_input(format!(
            "the body is not a GraphQL request as JSON, like {{\"query\": \"{{ datasets {{ name }} }}\"}}: \
             {error}"
        ))
    };
    let mut request: GraphqlRequest = serde_json::from_slice(bytes).map_err(unreadable)?;
    let named: Named = serde_json::from_slice(bytes).map_err(unreadable)?;
    if let Some(id) = named.document_id {
        request.extensions.0.insert(DOCUMENT_ID.to_owned(), Value::from(id));
    }
    Ok(request)
}

/// What the library does not read of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    #[serde(default)]
    document_id: Option<String>,
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|upgrade| upgrade.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// Somebody typed the address into a browser.
fn is_browser(request: &Request, accept: Option<&str>) -> bool {
    request.method() == Method::GET
        && request.uri().query().is_none()
        && accept.is_some_and(|accept| accept.contains("text/html"))
}
