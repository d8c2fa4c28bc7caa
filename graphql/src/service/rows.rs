//! Requests that are answered in rows: the same way as any other until their root field has planned its page, which is then streamed.
//!
//! ```text
//!  place of a stream ─▶ admitted, prepared, executed ─▶ page planned ─▶ first piece ─▶ head of the answer
//!       └──────────── held until the client has the last piece ◀── next piece, in a turn of its own ◀──┘
//! ```
//!
//! Nothing is computed while the client takes a piece, and no place among those that compute is held. What fails before the first
//! piece is an answer with an error; what fails behind it ends the stream without its end.

use std::time::Instant;

use async_graphql::Request;
use async_graphql::parser::types::OperationType;
use engine::{Error, ExportOptions, Principal, Result};

use super::streamed::{Begun, InPieces as _, Streamed, bytes_of};
use super::{Accepts, Prepared, Service, before};
use crate::accepted::complete;
use crate::answer::{Answer, Stage};
use crate::error::{bad_input, refused};
use crate::guard::cost::{Given, RowsOf};
use crate::rows::{AboutRows, Rows, Source};

/// Rows on their way to a client.
pub(crate) struct RowsAnswer {
    /// What is told of them.
    pub about: AboutRows,
    /// What asking for them cost.
    pub cost: u64,
    /// The rows.
    pub pieces: Streamed<Rows>,
}

impl Service {
    /// Answers `request` of `who` in rows, as `options` say; or with what is wrong with it.
    pub(crate) async fn rows(
        &self,
        who: &Principal,
        request: Request,
        request_id: &str,
        accepts: Accepts,
        options: ExportOptions,
    ) -> Result<RowsAnswer, Box<Answer>> {
        let limits = &self.0.limits;
        let began = Instant::now();
        let unanswered = |stage, error| Box::new(Answer::unanswered(stage, error, request_id));
        let refuse = |error: Error| unanswered(Stage::Refused, *refused(&error));
        let waiting_max = limits.queries_waiting_max;
        let place = self.stream_place(who).await.map_err(refuse)?;
        let prepared = self.prepared(who, request, request_id, waiting_max, Given::Columns);
        let prepared = Box::pin(prepared).await;
        let (prepared, held) = prepared.map_err(|(stage, error)| unanswered(stage, *error))?;
        let misplaced = |error: Error| unanswered(Stage::Misplaced, *refused(&error));
        accepts.require(prepared.kind).map_err(misplaced)?;
        require_rows(&prepared, options.form.media_type()).map_err(refuse)?;
        let Prepared { schema, state, cost, request, .. } = prepared;
        let tenant = state.tenant().clone();
        state.rows.ask();
        state.hold(held);
        let (id, bytes_max) = (request_id.to_owned(), limits.stream_bytes_max);
        let work = Box::pin(async move {
            let mut response = state.answered(schema.schema.execute(request)).await?;
            complete(&schema.schema, &state.service().limits, &mut response.errors).await;
            let Some(given) = state.rows.take() else {
                return Ok(Err(Box::new(Answer::of(response, &id))));
            };
            let whole = match &given.source {
                Source::Batch(batch, _) => batch.get_array_memory_size(),
                Source::Plan { .. } => 0,
            };
            let mut rows = Rows::begin(given, &options, bytes_max).await?;
            let piece = rows.piece().await?;
            let room = state.let_go().map(|held| held.room.of(whole + bytes_of(&piece)));
            let (held, room) = if whole > 0 { (room, None) } else { (None, room) };
            Ok(Ok(Begun { rows, piece, room, held }))
        });
        let work = async { self.0.lanes.run(&tenant, work).await.flatten() };
        let until = began + limits.operation_time_max;
        let made = before(until, limits.operation_time_max, work).await.map_err(refuse)?;
        let begun = made?;
        let about = begun.rows.about.clone();
        Ok(RowsAnswer { about, cost, pieces: self.streamed(who, begun, began, place) })
    }
}

/// Fails unless a request asks for the rows of one dataset, or groups or combinations of them.
fn require_rows(prepared: &Prepared, form: &str) -> Result<()> {
    let wrong = |found: String| {
        Err(bad_input(format!(
            "{found}: in {form} one field of a dataset is answered; expected a query such as \
             {{ modelCalls(first: 10) {{ nodes {{ id }} }} }}, of modelCalls, modelCallsDistinct or modelCallsGroups"
        )))
    };
    if prepared.kind != OperationType::Query {
        return wrong(format!("a {}", prepared.kind));
    }
    let [root] = prepared.roots.as_slice() else {
        return wrong(format!("{} fields at the root", prepared.roots.len()));
    };
    match prepared.schema.paged.roots.get(root.name.as_str()) {
        Some(RowsOf::First) => Ok(()),
        _ => wrong(format!("the field {}", root.name)),
    }
}
