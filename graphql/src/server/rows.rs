//! Answers in rows: CSV, lines of JSON, Arrow. What stands beside rows in other answers is in their headers.

use std::io;

use engine::{Code, Error};
use futures::stream;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Body, Response};

use super::http::refusal;
use super::negotiate::{Media, RowsMedia};
use super::trace::RequestIds;
use super::{App, Pass, wire};
use crate::answer::{Answer, Stage};
use crate::service::Accepts;
use crate::service::rows::RowsAnswer;

/// Answers `request` as its client likes its rows.
pub(super) async fn respond(
    app: &App,
    pass: Pass,
    request: async_graphql::Request,
    method: &Method,
    media: RowsMedia,
    ids: &RequestIds,
) -> Response {
    let accepts = if method == Method::GET { Accepts::Queries } else { Accepts::Single };
    let service = &app.0.service;
    let rows = service.rows(&pass.who, request, &ids.request, accepts, media.options());
    match Box::pin(rows).await {
        Ok(rows) => streamed(rows, pass, media),
        Err(answer) => failed(*answer, method),
    }
}

/// What is wrong, as JSON, whatever else the client takes.
fn failed(answer: Answer, method: &Method) -> Response {
    let code = refusal(&answer);
    let is_misplaced = answer.stage == Stage::Misplaced && method == Method::GET;
    let status = match is_misplaced {
        true => StatusCode::METHOD_NOT_ALLOWED,
        false => code.map_or(StatusCode::BAD_REQUEST, wire::status),
    };
    let (json, room) = answer.into_parts();
    let media = Media::GraphqlResponse.content_type();
    let mut response = wire::counted_body(status, media, json.into(), room);
    if is_misplaced {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    wire::told_when(code.unwrap_or(Code::BadInput), response)
}

fn streamed(rows: RowsAnswer, pass: Pass, media: RowsMedia) -> Response {
    let about = rows.about.clone();
    let content_type = Media::Rows(media).content_type();
    let cost = rows.cost;
    // Who asked may be let in no longer while it goes on.
    let pieces = stream::unfold(Some((rows, pass)), |going| async move {
        let (mut rows, pass) = going?;
        let piece = tokio::select! {
            piece = rows.next() => piece,
            why = pass.over() => Err(why),
        };
        match piece {
            Ok(piece) => Some((Ok(piece?), Some((rows, pass)))),
            Err(error) => Some((Err(broken(&rows, &error)), None)),
        }
    });
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from_bytes_stream(pieces));
    let texts = [
        ("x-colonnade-dataset", Some(about.dataset)),
        ("x-colonnade-version", Some(about.version.to_string())),
        ("x-colonnade-rows", Some(about.rows.to_string())),
        ("x-colonnade-has-next-page", Some(about.has_next.to_string())),
        ("x-colonnade-end-cursor", about.end_cursor),
        ("x-colonnade-cost", Some(cost.to_string())),
    ];
    for (name, text) in texts {
        if let Some(Ok(value)) = text.map(|text| HeaderValue::from_str(&text)) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Ends the connection, so that nobody takes for whole what is not.
fn broken(rows: &RowsAnswer, error: &Error) -> io::Error {
    rows.count_broken();
    tracing::warn!(
        code = error.code().as_str(),
        dataset = rows.about.dataset,
        detail = error.detail(),
        "a streamed page is broken off"
    );
    io::Error::other("the answer is not whole")
}
