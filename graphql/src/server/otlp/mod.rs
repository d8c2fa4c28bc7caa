//! `POST /v1/traces`: spans by OTLP/HTTP, and an answer when their rows are committed.
//!
//! Spans that follow the conventions for generative AI are rows of `workflow_steps` and `model_calls` (`datasets::otlp`). Exporters number
//! nothing, and send again what was not answered: so a call is left out whose id is there, and steps are known again by the body of rows that
//! they were in. Each of the two is committed by itself, and a request that was answered by an error is sent again as a whole: what of it
//! had been taken is not taken twice.
//!
//! Source: the specification of OTLP (opentelemetry-proto, docs/specification.md, "OTLP/HTTP").

mod answer;

use bytes::Bytes;
use datasets::otlp::{self, SpanRows};
use datasets::read::{Format, Source};
use datasets::specs;
use engine::{
    Code, Engine, Error, IngestReceipt, LoadOptions, OnConflict, Principal, Result, Role,
};
use poem::http::header;
use poem::{Request, Response};

use self::answer::Speech;
use super::ingest::{Encoding, Refusal, encoding, text};
use super::trace::RequestIds;
use super::{App, Purpose, body};
use crate::error::bad_input;

/// Where steps and calls go.
const STEPS: &str = "workflow_steps";
const CALLS: &str = "model_calls";
/// How often rows are committed at most when what is there changes meanwhile, as columns do.
const ATTEMPTS_MAX: usize = 3;

/// Takes spans.
pub(super) async fn traces(app: &App, request: Request, ids: &RequestIds) -> Response {
    let asked = speech(&request);
    let speech = asked.as_ref().copied().unwrap_or(Speech::Json);
    match take(app, asked, request, ids).await {
        Ok(taken) => speech.taken(taken.rejected, &taken.problems),
        Err(refusal) => speech.refused(&refusal, ids),
    }
}

/// What came of a request.
struct Taken {
    /// Spans that are no rows though they should be.
    rejected: u64,
    problems: String,
}

fn speech(request: &Request) -> Result<Speech, Refusal> {
    let content_type = text(request.headers(), header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    Speech::of(media).ok_or_else(|| {
        let shown: String = content_type.chars().take(80).collect();
        Refusal::MediaType(bad_input(format!(
            "Content-Type: expected application/x-protobuf or application/json, found {shown:?}"
        )))
    })
}

async fn take(
    app: &App,
    asked: Result<Speech, Refusal>,
    mut request: Request,
    ids: &RequestIds,
) -> Result<Taken, Refusal> {
    let who = app.0.door.enter(&request, Purpose::Change).await?.who;
    app.0.let_in(&who, &request, ids)?;
    who.require_in_part(Role::Writer)?;
    let speech = asked?;
    let encoding = encoding(request.headers())?;
    let limits = &app.0.service.0.limits;
    let what = "the body of spans";
    let mut held = app.0.uploads.begin(&who.tenant);
    let sent = request.take_body();
    let reading = body::Reading {
        what,
        bytes_max: limits.ingest_bytes_max,
        patience: &app.0.patience,
        held: &mut held,
    };
    let bytes = reading.read(sent, request.headers()).await?;
    let rows_max = limits.ingest_unpacked_bytes_max;
    let (bytes, mut held) = match encoding {
        Encoding::Plain => (bytes, held),
        Encoding::Gzip => body::gunzip(bytes, what, rows_max, held).await?,
    };
    // Reading is for the processor, and a body may be large.
    let read =
        tokio::task::spawn_blocking(move || otlp::rows_of(&bytes, speech.encoding(), rows_max));
    let read = read.await.map_err(|error| Error::internal(format!("reading spans: {error}")))?;
    let SpanRows { steps, step_rows, calls, call_rows, rejected, .. } =
        read.map_err(Error::from)?;
    held.grow(steps.len() + calls.len()).await?;
    // Who reads the rows has their room, whether or not the client still waits for it.
    let step_bytes = steps.len();
    let rows = held.with(Bytes::from([steps, calls].concat()));
    let (steps, calls) = (rows.slice(..step_bytes), rows.slice(step_bytes..));
    let engine = &app.0.service.0.engine;
    let mut taken = Taken { rejected: rejected.spans, problems: rejected.told() };
    let mut quarantined = 0;
    for (dataset, rows, count) in [(STEPS, steps, step_rows), (CALLS, calls, call_rows)] {
        if count == 0 {
            continue;
        }
        let receipt = Box::pin(load(engine, &who, dataset, rows)).await?;
        if receipt.quarantined > 0 {
            // The same span may be in both.
            quarantined = receipt.quarantined.max(quarantined);
            taken.tell_of(dataset, &receipt);
        }
    }
    taken.rejected += quarantined;
    tracing::info!(
        tenant = %who.tenant, subject = who.subject, steps = step_rows, calls = call_rows, rejected = taken.rejected, "spans taken"
    );
    Ok(taken)
}

impl Taken {
    /// Rows that the dataset's own checks refuse.
    fn tell_of(&mut self, dataset: &str, receipt: &IngestReceipt) {
        let between = if self.problems.is_empty() { "" } else { "; " };
        let cause = receipt.causes.first().map_or("", |cause| cause.cause.as_str());
        let says = format!(
            "{between}{} of the rows are in {dataset}_quarantine: {cause}",
            receipt.quarantined
        );
        self.problems.push_str(&says);
    }
}

/// Commits rows of a built-in dataset, which is made by its first ones.
async fn load(
    engine: &Engine,
    who: &Principal,
    dataset: &str,
    rows: Bytes,
) -> Result<IngestReceipt> {
    let missing = || Error::internal(format!("there is no built-in dataset {dataset}"));
    let spec = specs::by_name(dataset).ok_or_else(missing)?;
    let once = async || {
        let source = Source::Body { bytes: rows.clone(), name: "spans".to_owned() };
        let options = LoadOptions { on_conflict: OnConflict::Once, ..LoadOptions::default() };
        engine.load_in_turn(who, &spec.name, source, Format::Ndjson, options).await
    };
    let mut attempts = 1;
    loop {
        match once().await {
            Err(error) if attempts < ATTEMPTS_MAX => match error.code() {
                Code::NotFound => {
                    engine.ensure_dataset(who, &spec).await?;
                }
                Code::Conflict => {}
                _ => return Err(error),
            },
            loaded => return loaded,
        }
        attempts += 1;
    }
}
