//! GraphQL over HTTP: POST with JSON, GET for queries, and the way to SSE and WebSocket.
//!
//! Source: the GraphQL over HTTP specification (graphql.github.io/graphql-over-http/draft). A client
//! that names no form gets `application/json`, as the audits of npm's graphql-http expect.

use std::collections::HashMap;

use async_graphql::{Request as GraphqlRequest, Value, Variables};
use engine::{Code, Error, Principal, Result};
use poem::http::{HeaderMap, Method, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;

use super::negotiate::{Media, negotiate};
use super::trace::RequestIds;
use super::wire::{self, graphql_failure};
use super::{App, Pass, body, sse, websocket};
use crate::answer::{Answer, Answers, Stage};
use crate::error::bad_input;
use crate::guard::without_query;
use crate::service::Accepts;

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
    let Some(media) = negotiate(accept) else {
        let error = bad_input(
            "Accept: expected application/graphql-response+json, application/json or \
             text/event-stream",
        );
        return graphql_failure(StatusCode::NOT_ACCEPTABLE, &error, ids);
    };
    let method = request.method().clone();
    let pass = match app.0.door.enter(&request).await {
        Ok(pass) => pass,
        Err(error) => return unauthenticated(&error, ids),
    };
    if let Err(error) = app.0.let_in(&pass.who, &request) {
        return graphql_failure(wire::status(error.code()), &error, ids);
    }
    let parsed = match method {
        Method::GET => from_query_string(&request),
        Method::POST => from_body(app, &pass.who, request).await,
        _ => {
            let error = bad_input("expected GET or POST");
            let mut response = graphql_failure(StatusCode::METHOD_NOT_ALLOWED, &error, ids);
            let allow = poem::http::HeaderValue::from_static("GET, POST");
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
    };
    let parsed = match parsed {
        Ok(parsed) if parsed.query.trim().is_empty() => {
            return graphql_failure(StatusCode::BAD_REQUEST, &without_query(), ids);
        }
        Ok(parsed) => parsed,
        Err(Unreadable { status, error }) => return graphql_failure(status, &error, ids),
    };
    answer(app, pass, parsed, &method, media, ids).await
}

async fn answer(
    app: &App,
    pass: Pass,
    request: GraphqlRequest,
    method: &Method,
    media: Media,
    ids: &RequestIds,
) -> Response {
    let accepts = match (method == Method::GET, media) {
        (true, Media::EventStream) => Accepts::Reads,
        (true, _) => Accepts::Queries,
        (false, Media::EventStream) => Accepts::Streams,
        (false, _) => Accepts::Single,
    };
    let answers = app.0.service.answer(&pass.who, request, &ids.request, accepts).await;
    match (answers, media) {
        (Answers::One(answer), _) if answer.stage == Stage::Misplaced && method == Method::GET => {
            let mut response = respond(*answer, Media::Json);
            response.set_status(StatusCode::METHOD_NOT_ALLOWED);
            let allow = poem::http::HeaderValue::from_static("POST");
            response.headers_mut().insert(header::ALLOW, allow);
            response
        }
        (answers, Media::EventStream) => sse::respond(app, answers, pass, ids),
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
    let (json, room) = answer.into_parts();
    let response = wire::counted_body(status, media.content_type(), json.into(), room);
    match code {
        Some(code) if status != StatusCode::OK => wire::told_when(code, response),
        _ => response,
    }
}

/// The code of its first error.
fn refusal(answer: &Answer) -> Option<Code> {
    let extensions = answer.errors.first().and_then(|error| error.extensions.as_ref());
    let code = match extensions.and_then(|extensions| extensions.get("code")) {
        Some(Value::String(code)) => code.as_str(),
        _ => "",
    };
    Code::ALL.into_iter().find(|known| known.as_str() == code)
}

fn unauthenticated(error: &Error, ids: &RequestIds) -> Response {
    let mut response = graphql_failure(wire::status(error.code()), error, ids);
    if error.code() == Code::Unauthenticated {
        let scheme = poem::http::HeaderValue::from_static("Bearer");
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
}

fn from_query_string(request: &Request) -> Result<GraphqlRequest, Unreadable> {
    let unreadable =
        |error: &dyn std::fmt::Display| bad_input(format!("the URL's parameters: {error}"));
    let parameters: Parameters = request.params().map_err(|error| unreadable(&error))?;
    let Parameters { query, operation_name, variables, extensions } = parameters;
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
    serde_json::from_slice(bytes).map_err(|error| {
        bad_input(format!(
            "the body is not a GraphQL request as JSON, like {{\"query\": \"{{ datasets {{ name }} }}\"}}: \
             {error}"
        ))
    })
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
