//! The models that runs have trained, as datasets of the tenant: `models` holds each version with its weights, and
//! `model_stages` what became of it. A version is the beginning of the SHA-256 of the card, which names the weights by
//! theirs: the same training makes the same version. Rows are only appended: the stage of a version is that of its last row.
//!
//! ```text
//!  triage_train ──▶ candidate ──promote──▶ production ──next one is promoted──▶ archived
//!                                              ▲                                    │
//!                                              └──────────── roll back ─────────────┘
//! ```

pub(crate) mod embedders;
pub(crate) mod encoder_device;
pub(crate) mod evaluations;
pub(crate) mod sides;
#[cfg(test)]
pub(crate) mod tiny_model;
pub(crate) mod training;
pub(crate) mod training_rows;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use models::{ArtifactFiles, Sha256Hash};

use crate::parameters::dataset_name;
use crate::run::context::RunContext;
use crate::tables::columns::{column, timestamps};

/// The dataset of trained models.
pub(crate) fn models_name() -> DatasetName {
    dataset_name("models")
}

/// The dataset of their stages.
pub(crate) fn stages_name() -> DatasetName {
    dataset_name("model_stages")
}

/// The column of `models` that names the weights which are kept beside it.
pub(crate) const WEIGHTS_COLUMN: &str = "weights_sha256";

/// Hexadecimal digits of a version.
const VERSION_DIGITS: usize = 16;

/// Where a version is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelStage {
    /// Trained, and not in use.
    Candidate,
    /// In use.
    Production,
    /// Not in use any more.
    Archived,
}

impl ModelStage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Production => "production",
            Self::Archived => "archived",
        }
    }

    fn of(text: &str) -> Option<Self> {
        let all = [Self::Candidate, Self::Production, Self::Archived];
        all.into_iter().find(|stage| stage.as_str() == text)
    }
}

/// What a training says of the version that it registers.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) files: ArtifactFiles,
    pub(crate) task: &'static str,
    pub(crate) method: String,
    /// Rows that it was evaluated on; 0 where it was not.
    pub(crate) held_out_rows: u64,
    pub(crate) accuracy: Option<f64>,
    pub(crate) macro_f1: Option<f64>,
    /// The version in production at that time, on the same rows.
    pub(crate) compared: Option<Compared>,
}

/// A comparison with the version in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    pub(crate) version: String,
    pub(crate) accuracy: f64,
    pub(crate) p_value: f64,
}

/// The version of an artifact, by its card.
pub(crate) fn version_of(files: &ArtifactFiles) -> String {
    Sha256Hash::of(&files.card).to_string().chars().take(VERSION_DIGITS).collect()
}

/// The spec of `models`.
pub(crate) fn models_spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    let number = |name, about| column(name, ColumnType::Float64, true, about);
    DatasetSpec {
        name: models_name(),
        description: "Models that were trained here: each version with its card and its weights"
            .into(),
        owner: None,
        derived: true,
        key: ["name", "version", "run_id"].map(String::from).into(),
        time_column: Some("trained_at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("name", "The model"),
            text(
                "version",
                "The first 16 digits of the SHA-256 of its card, which names the weights by theirs",
            ),
            column("trained_at", ColumnType::Timestamp, false, "When it was registered"),
            text("run_id", "The run that trained it"),
            text("task", "What it does: triage or embedding"),
            text("method", "How it was trained: head, full or low_rank"),
            column("held_out_rows", ColumnType::Int64, false, "Rows that it was evaluated on"),
            number(
                "accuracy",
                "Part of those rows that it answered right; of an embedder whose nearest other is a copy",
            ),
            number("macro_f1", "Mean F1 of the classes on those rows"),
            column(
                "compared_with",
                ColumnType::Text,
                true,
                "The version in production at that time; of an embedder without one what it was trained from",
            ),
            number("compared_accuracy", "Part of the same rows that that one answered right"),
            number(
                "p_value",
                "How likely so large a difference is when both are as good (McNemar)",
            ),
            text("card", "Its card as JSON: labels, settings, training data, evaluation, licence"),
            column(
                "weights",
                ColumnType::Bytes,
                false,
                "The weights of a version that an earlier release registered; else empty",
            ),
            column(
                "tokenizer",
                ColumnType::Bytes,
                true,
                "The tokenizer, where the encoder is inside",
            ),
            column(
                WEIGHTS_COLUMN,
                ColumnType::Text,
                true,
                "The SHA-256 of the weights, a safetensors file, by which they are kept beside the datasets",
            ),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The spec of `model_stages`.
pub(crate) fn stages_spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name: stages_name(),
        description:
            "What became of each version of a model; of each the row with the highest number counts"
                .into(),
        owner: None,
        derived: true,
        key: ["name", "number", "version"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("name", "The model"),
            text("version", "The version"),
            column("number", ColumnType::Int64, false, "Rises with every change of the model"),
            text("stage", "candidate, production or archived"),
            column("at", ColumnType::Timestamp, false, "When"),
            text("by", "Who asked for it"),
            text("reason", "Why, as far as it was said"),
            column("forced", ColumnType::Bool, false, "Whether the comparison was overruled"),
            text("run_id", "The run that did it"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The row of a version, whose weights are kept by the time that it is there.
pub(crate) async fn model_batch(ctx: &RunContext, model: &Registration) -> Result<RecordBatch> {
    let weights = ctx.keep_artifact(model.files.weights.clone()).await?;
    let text = |value: &str| Arc::new(StringArray::from(vec![value.to_owned()])) as ArrayRef;
    let number = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let compared = model.compared.as_ref();
    let card = String::from_utf8(model.files.card.clone())
        .map_err(|e| Error::internal(format!("card: {e}")))?;
    let tokenizer = model.files.tokenizer.as_deref();
    let rows = i64::try_from(model.held_out_rows).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        text(&model.name),
        text(&model.version),
        timestamps([ctx.now().timestamp_micros()].into_iter()),
        text(&ctx.run_id().to_string()),
        text(model.task),
        text(&model.method),
        Arc::new(Int64Array::from(vec![rows])),
        number(model.accuracy),
        number(model.macro_f1),
        Arc::new(StringArray::from(vec![compared.map(|it| it.version.clone())])),
        number(compared.map(|it| it.accuracy)),
        number(compared.map(|it| it.p_value)),
        text(&card),
        Arc::new(BinaryArray::from_vec(vec![b""])),
        Arc::new(BinaryArray::from_opt_vec(vec![tokenizer])),
        text(&weights),
    ];
    Ok(RecordBatch::try_new(models_spec().arrow_schema(), columns)?)
}

/// A change of stages.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: String,
    pub(crate) stage: ModelStage,
    pub(crate) reason: String,
    pub(crate) forced: bool,
}

/// Rows of `model_stages`: the changes of one model, numbered from `number` on.
pub(crate) fn stage_batch(
    ctx: &RunContext,
    name: &str,
    number: i64,
    changes: &[Change],
) -> Result<RecordBatch> {
    let count = changes.len();
    let all = |text: String| {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
    };
    let each = |of: &dyn Fn(&Change) -> String| {
        Arc::new(StringArray::from_iter_values(changes.iter().map(of))) as ArrayRef
    };
    let now = ctx.now().timestamp_micros();
    let numbers = (number..).take(count);
    let columns: Vec<ArrayRef> = vec![
        all(name.to_owned()),
        each(&|change| change.version.clone()),
        Arc::new(Int64Array::from_iter_values(numbers)),
        each(&|change| change.stage.as_str().to_owned()),
        timestamps(std::iter::repeat_n(now, count)),
        all(ctx.principal().subject.to_string()),
        each(&|change| change.reason.clone()),
        Arc::new(BooleanArray::from_iter(changes.iter().map(|change| Some(change.forced)))),
        all(ctx.run_id().to_string()),
    ];
    Ok(RecordBatch::try_new(stages_spec().arrow_schema(), columns)?)
}

/// What became of the versions of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    /// (number, version, stage), in order.
    events: Vec<(i64, String, ModelStage)>,
}

impl History {
    /// Of the model called `name`; nothing, where there are no stages at all.
    pub(crate) async fn read(session: &Session, name: &str) -> Result<Self> {
        let columns = [
            ident("number"),
            cast(ident("version"), DataType::Utf8),
            cast(ident("stage"), DataType::Utf8),
            ident("at"),
            ident("run_id"),
        ];
        let order = ["number", "at", "run_id"].map(|column| ident(column).sort(true, false));
        let frame = session.table(&stages_name()).await?;
        let frame = frame.filter(ident("name").eq(lit(name)))?.sort(order.into())?;
        let mut rows = session.stream(frame.select(columns)?).await?;
        let mut events = Vec::new();
        while let Some(batch) = rows.next().await.transpose()? {
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            let versions = batch.column(1).as_string::<i32>();
            let stages = batch.column(2).as_string::<i32>();
            for row in 0..batch.num_rows() {
                let stage = ModelStage::of(stages.value(row)).ok_or_else(|| {
                    Error::internal(format!("model_stages: stage {:?}", stages.value(row)))
                })?;
                events.push((numbers.value(row), versions.value(row).to_owned(), stage));
            }
        }
        Ok(Self { events })
    }

    /// The number that the next change has.
    pub(crate) fn next_number(&self) -> i64 {
        self.events.last().map_or(0, |(number, ..)| number + 1)
    }

    /// One of versions that went into production, one after the other.
    #[cfg(test)]
    pub(crate) fn of(versions: &[&str]) -> Self {
        let events = (0..).zip(versions);
        let events = events.map(|(at, it)| (at, (*it).to_owned(), ModelStage::Production));
        Self { events: events.collect() }
    }

    /// The stage of a version.
    pub(crate) fn stage(&self, version: &str) -> Option<ModelStage> {
        self.events.iter().rev().find(|(_, other, _)| other == version).map(|(.., stage)| *stage)
    }

    /// The version in production.
    pub(crate) fn production(&self) -> Option<&str> {
        let last = self.events.iter().rev().find(|(.., stage)| *stage == ModelStage::Production);
        let (_, version, _) = last?;
        (self.stage(version) == Some(ModelStage::Production)).then_some(version.as_str())
    }

    /// Whether a version was in production at some time.
    pub(crate) fn was_in_production(&self, version: &str) -> bool {
        let mut events = self.events.iter();
        events.any(|(_, other, stage)| other == version && *stage == ModelStage::Production)
    }

    /// The version that was promoted before the one in production, or before the last one in production. A version that was
    /// rolled back does not count: returning to a version undoes the promotions after it.
    pub(crate) fn previous(&self) -> Option<&str> {
        let mut promoted: Vec<&str> = Vec::new();
        for (_, version, stage) in &self.events {
            if *stage != ModelStage::Production {
                continue;
            }
            match promoted.iter().position(|earlier| earlier == version) {
                Some(at) => promoted.truncate(at + 1),
                None => promoted.push(version),
            }
        }
        promoted.iter().rev().nth(1).copied()
    }
}

/// A version as `models` has it, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) version: String,
    pub(crate) held_out_rows: i64,
    pub(crate) accuracy: Option<f64>,
    pub(crate) compared: Option<Compared>,
}

/// The versions of a model, the last trained first.
pub(crate) async fn entries(session: &Session, name: &str) -> Result<Vec<Entry>> {
    let text = |name: &str| cast(ident(name), DataType::Utf8);
    let columns = vec![
        text("version"),
        ident("held_out_rows"),
        ident("accuracy"),
        text("compared_with"),
        ident("compared_accuracy"),
        ident("p_value"),
    ];
    let mut entries = Vec::new();
    rows_of(session, name, None, columns, |batch, row| {
        let number = |at: usize| {
            let numbers = batch.column(at).as_primitive::<Float64Type>();
            numbers.is_valid(row).then(|| numbers.value(row))
        };
        let with = batch.column(3).as_string::<i32>();
        let compared = number(4).zip(number(5)).filter(|_| with.is_valid(row));
        entries.push(Entry {
            version: batch.column(0).as_string::<i32>().value(row).to_owned(),
            held_out_rows: batch.column(1).as_primitive::<Int64Type>().value(row),
            accuracy: number(2),
            compared: compared.map(|(accuracy, p_value)| Compared {
                version: with.value(row).to_owned(),
                accuracy,
                p_value,
            }),
        });
        Ok(())
    })
    .await?;
    Ok(entries)
}

/// The card of a version. `NOT_FOUND` where it is not registered.
pub(crate) async fn card(session: &Session, name: &str, version: &str) -> Result<Vec<u8>> {
    let columns = vec![cast(ident("card"), DataType::Utf8)];
    let mut found = None;
    rows_of(session, name, Some(version), columns, |batch, row| {
        found.get_or_insert_with(|| batch.column(0).as_string::<i32>().value(row).into());
        Ok(())
    })
    .await?;
    found.ok_or_else(|| no_version(name, version))
}

/// Fails where versions of that name are registered that do something else: one name is one task.
pub(crate) async fn check_task(job: &str, session: &Session, name: &str, task: &str) -> Result<()> {
    let mut other = None;
    rows_of(session, name, None, vec![cast(ident("task"), DataType::Utf8)], |batch, row| {
        let found = batch.column(0).as_string::<i32>().value(row);
        other = other.take().or_else(|| (found != task).then(|| found.to_owned()));
        Ok(())
    })
    .await?;
    let Some(found) = other else { return Ok(()) };
    let problem =
        format!("{name:?} has versions for {found}: expected another name for one for {task}");
    Err(crate::parameters::bad(job, "model", problem))
}

/// The files of a version. `NOT_FOUND` where it is not registered.
pub(crate) async fn files(session: &Session, name: &str, version: &str) -> Result<ArtifactFiles> {
    let bytes = |name: &str| cast(ident(name), DataType::Binary);
    let mut columns =
        vec![cast(ident("card"), DataType::Utf8), bytes("weights"), bytes("tokenizer")];
    // A table of an earlier release, or a version of it.
    let table = session.table(&models_name()).await?;
    if table.schema().has_column_with_unqualified_name("weights_sha256") {
        columns.push(cast(ident("weights_sha256"), DataType::Utf8));
    }
    let mut found = None;
    rows_of(session, name, Some(version), columns, |batch, row| {
        let of = |at: usize| {
            let values = batch.column(at).as_binary::<i32>();
            values.is_valid(row).then(|| values.value(row).to_vec())
        };
        if found.is_none() {
            let card = batch.column(0).as_string::<i32>().value(row).as_bytes().to_vec();
            let weights = of(1).unwrap_or_default();
            let kept = batch.columns().get(3).map(|names| names.as_string::<i32>());
            let kept =
                kept.filter(|names| names.is_valid(row)).map(|names| names.value(row).to_owned());
            found = Some((ArtifactFiles { card, weights, tokenizer: of(2) }, kept));
        }
        Ok(())
    })
    .await?;
    let (mut files, kept) = found.ok_or_else(|| no_version(name, version))?;
    if let Some(kept) = kept {
        let weights = session.artifact(&kept).await;
        let doing = format_args!("weights of model {name}@{version}");
        files.weights = weights.map_err(|e| e.while_doing(doing))?.to_vec();
    }
    Ok(files)
}

fn no_version(name: &str, version: &str) -> Error {
    let problem = format!("model {name}@{version}: no such version is registered");
    Error::user(Code::NotFound, problem)
}

async fn rows_of(
    session: &Session,
    name: &str,
    version: Option<&str>,
    columns: Vec<Expr>,
    mut take: impl FnMut(&RecordBatch, usize) -> Result<()>,
) -> Result<()> {
    let mut filter = ident("name").eq(lit(name));
    if let Some(version) = version {
        filter = filter.and(ident("version").eq(lit(version)));
    }
    let order = vec![ident("trained_at").sort(false, false), ident("run_id").sort(false, false)];
    let frame = session.table(&models_name()).await?.filter(filter)?.sort(order)?;
    let mut rows = session.stream(frame.select(columns)?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        for row in 0..batch.num_rows() {
            take(&batch, row)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_use_and_the_one_before_follow_from_the_events() {
        let history = |events: &[(&str, ModelStage)]| History {
            events: (0..).zip(events).map(|(n, (v, stage))| (n, (*v).to_owned(), *stage)).collect(),
        };
        use ModelStage::{Archived, Candidate, Production};
        assert_eq!(History::default().production(), None);
        let mut events = vec![("a", Candidate), ("a", Production), ("b", Candidate)];
        let now = history(&events);
        assert_eq!((now.production(), now.previous(), now.next_number()), (Some("a"), None, 3));
        events.extend([("a", Archived), ("b", Production)]);
        let now = history(&events);
        assert_eq!((now.production(), now.previous()), (Some("b"), Some("a")));
        assert!(now.was_in_production("a") && now.stage("a") == Some(Archived));
        events.extend([("b", Archived), ("a", Production)]);
        let now = history(&events);
        // After the rollback to a, b is not the previous version.
        assert_eq!((now.production(), now.previous()), (Some("a"), None));
        events.extend([("a", Archived), ("c", Production)]);
        let now = history(&events);
        assert_eq!((now.production(), now.previous()), (Some("c"), Some("a")));
        events.extend([("c", Archived), ("d", Production), ("d", Archived), ("c", Production)]);
        let now = history(&events);
        assert_eq!((now.production(), now.previous()), (Some("c"), Some("a")));
        // A version that is promoted again by name counts again.
        events.extend([("c", Archived), ("d", Production)]);
        assert_eq!(history(&events).previous(), Some("c"));
        events.extend([("d", Archived), ("a", Production)]);
        events.push(("a", Archived));
        assert_eq!(history(&events).production(), None);
    }
}
