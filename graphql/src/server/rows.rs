//! Answers in rows: CSV, lines of JSON, Arrow. What stands beside rows in other answers is in their headers.

use engine::{Code, Error, Result};
use futures::future::BoxFuture;
use poem::Response;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::http::refusal;
use super::negotiate::{Media, RowsMedia};
use super::trace::RequestIds;
use super::{App, Pass, pieces, wire};
use crate::answer::{Answer, Stage};
use crate::service::Accepts;
use crate::service::rows::RowsAnswer;
use crate::service::streamed::{InPieces, Streamed};

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
    let RowsAnswer { about, cost, pieces } = rows;
    let sent = Rows { of: about.dataset.clone(), pieces };
    let content_type = Media::Rows(media).content_type();
    let mut response = wire::body(StatusCode::OK, content_type, pieces::body(sent, Some(pass)));
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

/// Rows that are sent.
pub(super) struct Rows<P: InPieces> {
    /// What they are of.
    pub(super) of: String,
    pub(super) pieces: Streamed<P>,
}

impl<P: InPieces> pieces::Sent for Rows<P> {
    type Piece = P::Piece;

    fn next(&mut self) -> BoxFuture<'_, Result<Option<P::Piece>>> {
        Box::pin(self.pieces.next())
    }

    fn broken(&self, error: &Error) {
        self.pieces.count_broken();
        let (code, detail) = (error.code().as_str(), error.detail());
        tracing::warn!(code, dataset = self.of, detail, "streamed rows are broken off");
    }
}
