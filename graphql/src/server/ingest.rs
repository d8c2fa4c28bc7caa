//! `POST /v1/ingest/{dataset}`: rows in, and an answer when they are committed.
//!
//! The whole body is read before any of it is handed on, so a body that is cut off, too large or badly
//! packed changes nothing. What the body's rows are is the engine's to say.

use datasets::read::{Format, ReadOptions, Source};
use datasets::{DatasetName, LoadSettings, specs};
use engine::{
    Code, Engine, Error, IngestReceipt, IngestRequest, IngestRows, LoadOptions, NewColumns,
    Numbering, OnConflict, Principal, ProducerSequence, RejectsMax, Result, Role,
};
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Request, Response};
use serde_json::json;

use super::trace::RequestIds;
use super::{App, Purpose, body, wire};
use crate::error::bad_input;

/// Content types that are taken, for the error.
const CONTENT_TYPES: &str = "application/x-ndjson, text/csv, application/vnd.apache.arrow.stream, \
                             application/vnd.apache.arrow.file, application/vnd.apache.parquet or \
                             application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// Takes rows.
pub(super) async fn ingest(
    app: &App,
    dataset: &str,
    request: Request,
    ids: &RequestIds,
) -> Response {
    match take(app, dataset, request, ids).await {
        Ok(receipt) => wire::json(StatusCode::OK, &json!(receipt)),
        Err(Refusal::Error(error)) => wire::failed(&error, ids),
        Err(Refusal::MediaType(error)) => {
            wire::failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error, ids)
        }
    }
}

/// Why nothing is taken.
pub(super) enum Refusal {
    Error(Error),
    MediaType(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

async fn take(
    app: &App,
    dataset: &str,
    mut request: Request,
    ids: &RequestIds,
) -> Result<IngestReceipt, Refusal> {
    let who = app.0.door.enter(&request, Purpose::Change).await?.who;
    app.0.let_in(&who, &request, ids)?;
    who.require_in_part(Role::Writer)?;
    let dataset = DatasetName::new(dataset).map_err(Error::from)?;
    let headers = request.headers();
    let format = format(headers)?;
    let encoding = encoding(headers)?;
    let producer = producer(headers)?;
    let asked = Asked::of(&request)?;
    let limits = &app.0.service.0.limits;
    let what = "the ingest body";
    let mut held = app.0.uploads.begin(&who.tenant);
    let sent = request.take_body();
    let reading = body::Reading {
        what,
        bytes_max: limits.ingest_bytes_max,
        patience: &app.0.patience,
        held: &mut held,
    };
    let bytes = reading.read(sent, request.headers()).await?;
    let (bytes, held) = match encoding {
        Encoding::Plain => (bytes, held),
        Encoding::Gzip => body::gunzip(bytes, what, limits.ingest_unpacked_bytes_max, held).await?,
    };
    // Who reads them has their room, whether or not the client still waits for it.
    let bytes = held.with(bytes);
    let engine = &app.0.service.0.engine;
    const NAME: &str = "body";
    let numbering = match producer {
        Some(_) => Numbering::Numbered,
        None => Numbering::Unnumbered,
    };
    let ingest = async || match asked.on_conflict(engine, &who, &dataset, numbering).await? {
        OnConflict::Add if asked.is_plain() => {
            let rows = IngestRows::Body { bytes: bytes.clone(), format, name: NAME.to_owned() };
            let request = IngestRequest { rows, producer: producer.clone() };
            engine.ingest(&who, &dataset, request).await
        }
        on_conflict => {
            let source = Source::Body { bytes: bytes.clone(), name: NAME.to_owned() };
            let producer = producer.clone().map(|of| (of.producer, of.sequence));
            let options = LoadOptions {
                producer,
                on_conflict,
                settings: asked.settings.clone(),
                read: asked.read.clone(),
                new_columns: asked.new_columns,
                rejects_max: asked.rejects_max,
                ..LoadOptions::default()
            };
            engine.load_in_turn(&who, &dataset, source, format, options).await
        }
    };
    let receipt = match ingest().await {
        // A dataset that comes with Colonnade is made by its first rows.
        Err(error) if error.code() == Code::NotFound => match specs::by_name(dataset.as_str()) {
            Some(spec) => {
                engine.ensure_dataset(&who, &spec).await?;
                ingest().await?
            }
            None => return Err(error.into()),
        },
        ingested => ingested?,
    };
    Ok(receipt)
}

/// The parameter that adds columns which the dataset lacks.
const ADD_COLUMNS: &str = "add_columns";
/// The parameter that bounds the rows which may be rejected.
const MAX_QUARANTINED: &str = "max_quarantined";

/// The parameters that may be repeated: each of them adds a value.
const REPEATABLE: [&str; 2] = ["null", "rename"];

/// What the URL's parameters ask for: settings by the names of [`LoadSettings`], options of one file by those of
/// [`ReadOptions`], `add_columns` and `max_quarantined`.
#[derive(Default)]
struct Asked {
    on_conflict: Option<OnConflict>,
    settings: LoadSettings,
    read: ReadOptions,
    new_columns: NewColumns,
    rejects_max: Option<RejectsMax>,
}

impl Asked {
    fn of(request: &Request) -> Result<Self> {
        let parameters: Vec<(String, String)> = request
            .params()
            .map_err(|error| bad_input(format!("the URL's parameters: {error}")))?;
        let mut asked = Self::default();
        for (at, (name, value)) in parameters.iter().enumerate() {
            let is_again = parameters[..at].iter().any(|(before, _)| before == name);
            if is_again && !REPEATABLE.contains(&name.as_str()) {
                let shown: String = name.chars().take(80).collect();
                return Err(bad_input(format!(
                    "the URL's parameters: expected {shown} once, found it again; {} may be repeated",
                    REPEATABLE.join(" and ")
                )));
            }
            asked.take(name, value)?;
        }
        Ok(asked)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: String| {
            let shown: String = format!("{name}={value}").chars().take(80).collect();
            bad_input(format!("the URL's parameters: expected {expected}, found {shown:?}"))
        };
        match (name, value) {
            ("on_conflict", value) => {
                let known = OnConflict::NAMED.iter().find(|(of, _)| *of == value);
                let (_, on_conflict) = known.ok_or_else(|| {
                    wrong(format!(
                        "on_conflict= one of {}",
                        OnConflict::NAMED.map(|it| it.0).join(", ")
                    ))
                })?;
                self.on_conflict = Some(*on_conflict);
            }
            (ADD_COLUMNS, "true") => self.new_columns = NewColumns::Add,
            (ADD_COLUMNS, "false") => self.new_columns = NewColumns::BySpec,
            (ADD_COLUMNS, _) => return Err(wrong(format!("{ADD_COLUMNS}= true or false"))),
            (name, value) if LoadSettings::has(name) => {
                let doing = |e| Error::from(e).while_doing(format_args!("the URL's parameters"));
                self.settings.set(name, value).map_err(doing)?;
            }
            (name, value) if ReadOptions::NAMES.contains(&name) => {
                let doing = |e| Error::from(e).while_doing(format_args!("the URL's parameters"));
                self.read.set(name, value).map_err(doing)?;
            }
            (MAX_QUARANTINED, value) => {
                let doing = |e: Error| e.while_doing(format_args!("{MAX_QUARANTINED}"));
                self.rejects_max = Some(value.parse().map_err(doing)?);
            }
            _ => {
                let stored = LoadSettings::NAMES.join(", ");
                let of_file = ReadOptions::NAMES.join(", ");
                let others = format!("{ADD_COLUMNS}, {MAX_QUARANTINED}");
                return Err(wrong(format!("one of {stored}, {of_file}, {others}")));
            }
        }
        Ok(())
    }

    /// Whether only the dataset's own settings apply.
    fn is_plain(&self) -> bool {
        self.settings.is_empty()
            && self.read.is_plain()
            && self.new_columns == NewColumns::BySpec
            && self.rejects_max.is_none()
    }

    async fn on_conflict(
        &self,
        engine: &Engine,
        who: &Principal,
        dataset: &DatasetName,
        numbering: Numbering,
    ) -> Result<OnConflict> {
        match self.on_conflict {
            Some(on_conflict) => Ok(on_conflict),
            None => engine.stored_on_conflict(who, dataset, numbering).await,
        }
    }
}

/// How a body is packed.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Plain,
    Gzip,
}

/// The text of a header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    headers
        .get(name)
        .map(|value| {
            value.to_str().map_err(|_| bad_input(format!("{name}: expected printable ASCII")))
        })
        .transpose()
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let content_type = text(headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    Format::from_content_type(content_type).ok_or_else(|| {
        let shown: String = content_type.chars().take(80).collect();
        Refusal::MediaType(bad_input(format!(
            "Content-Type: expected {CONTENT_TYPES}, found {shown:?}"
        )))
    })
}

/// What the header says of how the body is packed.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    match text(headers, header::CONTENT_ENCODING.as_str())?.map(str::trim) {
        None | Some("" | "identity") => Ok(Encoding::Plain),
        Some(gzip) if gzip.eq_ignore_ascii_case("gzip") => Ok(Encoding::Gzip),
        Some(other) => {
            let shown: String = other.chars().take(80).collect();
            Err(Refusal::MediaType(bad_input(format!(
                "Content-Encoding: expected gzip or identity, found {shown:?}"
            ))))
        }
    }
}

fn producer(headers: &HeaderMap) -> Result<Option<ProducerSequence>> {
    match (text(headers, "producer")?, text(headers, "sequence")?) {
        (None, None) => Ok(None),
        (Some(producer), Some(sequence)) => {
            let sequence = sequence.trim().parse().map_err(|_| {
                let shown: String = sequence.chars().take(80).collect();
                bad_input(format!("Sequence: expected a whole number, found {shown:?}"))
            })?;
            Ok(Some(ProducerSequence { producer: producer.trim().to_owned(), sequence }))
        }
        (Some(_), None) => Err(lone("Producer", "Sequence")),
        (None, Some(_)) => Err(lone("Sequence", "Producer")),
    }
}

fn lone(given: &str, missing: &str) -> Error {
    Error::user(
        Code::BadInput,
        format!("{given} is given without {missing}; a repeat is recognised by both together"),
    )
}
