//! The `runs` dataset: runs that ended as rows of the tenant, so that history, queries and exports of runs need nothing of their
//! own. Rows are only ever appended, many at a time. Earlier releases also wrote one when a run was queued and one when it began:
//! the row with the highest revision of an id counts.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::prelude::{Expr, ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{AsOf, Code, CommitLabel, Engine, Error, Principal, Result, RunId, WriteMode};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::record::{RUNS_LISTED_MAX, RunError, RunFilter, RunRecord, RunState, now};

/// The name of the dataset that holds the runs.
pub const RUNS: &str = "runs";
/// The revision of a run's last row.
const REVISION_ENDED: i32 = 2;

/// The spec of the `runs` dataset.
pub fn runs_spec() -> Result<DatasetSpec> {
    let column =
        |name: &str, data_type: ColumnType, nullable: bool, description: &str| ColumnSpec {
            name: name.into(),
            data_type,
            nullable,
            unit: None,
            description: description.into(),
        };
    let mut progress = column(
        "progress",
        ColumnType::Float64,
        false,
        "Part done, 0 to 1, when the row was written",
    );
    progress.unit = Some("ratio".into());
    Ok(DatasetSpec {
        name: DatasetName::new(RUNS)?,
        description: "Runs of jobs; of each id the row with the highest revision counts".into(),
        owner: None,
        derived: true,
        key: vec!["id".into(), "revision".into()],
        time_column: Some("written_at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            column("id", ColumnType::Text, false, "The run; ids sort by the time of the request"),
            column("revision", ColumnType::Int32, false, "0 queued, 1 running, 2 ended"),
            column("written_at", ColumnType::Timestamp, false, "When this row was written"),
            column("job", ColumnType::Text, false, "The job kind"),
            column(
                "state",
                ColumnType::Text,
                false,
                "queued, running, succeeded, failed or cancelled",
            ),
            column("params", ColumnType::Json, false, "The parameters with defaults filled in"),
            column("inputs", ColumnType::Json, false, "The datasets read, each at its version"),
            column(
                "outputs",
                ColumnType::Json,
                false,
                "The datasets committed, each with its version",
            ),
            column(
                "stages",
                ColumnType::Json,
                false,
                "The steps with device, time, rows and memory",
            ),
            column("requested_by", ColumnType::Text, false, "Who asked"),
            column("requested_at", ColumnType::Timestamp, false, "When it was asked for"),
            column("started_at", ColumnType::Timestamp, true, "When it began"),
            column("finished_at", ColumnType::Timestamp, true, "When it ended"),
            progress,
            column("repeated_of", ColumnType::Text, true, "The run whose results this one found"),
            column("error_code", ColumnType::Text, true, "Why there is no result: the code"),
            column("error_message", ColumnType::Text, true, "Why there is no result, in words"),
            column(
                "attempts",
                ColumnType::Json,
                true,
                "The tries before the one that counts, each with its error",
            ),
            column("schedule", ColumnType::Text, true, "The schedule that the run is of"),
            column(
                "logical_time",
                ColumnType::Text,
                true,
                "The time of the schedule that it stands for, as the clock of its zone shows it",
            ),
            column("summary", ColumnType::Json, false, "What the job says of its result"),
            column(
                "run_key",
                ColumnType::Text,
                false,
                "SHA-256 of job, parameters and input versions; empty of one that does another again as it was",
            ),
            column(
                "as_it_was",
                ColumnType::Text,
                true,
                "The run that it does again as it was, to compare what comes out: it commits nothing",
            ),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    })
}

/// Appends records, as one commit.
pub(crate) async fn append(engine: &Engine, who: &Principal, records: &[RunRecord]) -> Result<()> {
    let spec = runs_spec()?;
    engine.ensure_derived(who, &spec).await?;
    let rows = records.iter().map(|record| to_batch(&spec, record));
    let rows = concat_batches(&spec.arrow_schema(), &rows.collect::<Result<Vec<_>>>()?)?;
    let label = CommitLabel { operation: "record runs".into(), ..CommitLabel::default() };
    engine.write(who, &spec.name, WriteMode::Append, vec![rows], label).await?;
    Ok(())
}

/// Those of the ids that are rows already.
pub(crate) async fn known(
    engine: &Engine,
    who: &Principal,
    ids: &[RunId],
) -> Result<HashSet<RunId>> {
    let ids = ids.iter().map(|id| lit(id.to_string())).collect();
    let ended = ident("revision").eq(lit(REVISION_ENDED));
    let conditions = vec![ident("id").in_list(ids, false), ended];
    // Whoever was writing them may have been another process, and a moment ago.
    engine.look_for(who, &DatasetName::new(RUNS)?, None).await?;
    let found = newest(engine, who, conditions, usize::MAX, |_| true).await?;
    Ok(found.into_iter().map(|record| record.id).collect())
}

/// The records that `filter` asks for, newest first.
pub(crate) async fn list(
    engine: &Engine,
    who: &Principal,
    filter: &RunFilter,
) -> Result<Vec<RunRecord>> {
    let mut conditions = Vec::new();
    if let Some(job) = &filter.job {
        conditions.push(ident("job").eq(lit(job.clone())));
    }
    if let Some(before) = filter.before {
        conditions.push(ident("id").lt(lit(before.to_string())));
    }
    let limit = filter.limit.min(RUNS_LISTED_MAX);
    newest(engine, who, conditions, limit, |record| filter.takes(record)).await
}

/// The newest `limit` runs.
pub(crate) async fn newest_runs(
    engine: &Engine,
    who: &Principal,
    limit: usize,
) -> Result<Vec<RunRecord>> {
    newest(engine, who, Vec::new(), limit, |_| true).await
}

/// The newest state of one run.
pub(crate) async fn get(engine: &Engine, who: &Principal, id: &str) -> Result<Option<RunRecord>> {
    let of_id = ident("id").eq(lit(id.to_owned()));
    Ok(newest(engine, who, vec![of_id], 1, |_| true).await?.pop())
}

/// The newest `limit` runs with this key.
pub(crate) async fn with_key(
    engine: &Engine,
    who: &Principal,
    key: &str,
    limit: usize,
) -> Result<Vec<RunRecord>> {
    newest(engine, who, vec![ident("run_key").eq(lit(key.to_owned()))], limit, |_| true).await
}

/// Reads rows by id and revision, newest first, and keeps the first of each id that `takes`.
async fn newest(
    engine: &Engine,
    who: &Principal,
    conditions: Vec<Expr>,
    limit: usize,
    takes: impl Fn(&RunRecord) -> bool,
) -> Result<Vec<RunRecord>> {
    let name = DatasetName::new(RUNS)?;
    if !engine.catalog(who).await?.has(&name)? {
        return Ok(Vec::new());
    }
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
    let mut frame = session.table(&name).await?;
    for condition in conditions {
        frame = frame.filter(condition)?;
    }
    frame =
        frame.sort(vec![ident("id").sort(false, false), ident("revision").sort(false, false)])?;
    let mut stream = session.stream(frame).await?;
    let mut seen = HashSet::new();
    let mut records = Vec::new();
    let mut unreadable: Option<(u64, Error)> = None;
    while records.len() < limit
        && let Some(batch) = stream.next().await
    {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            if records.len() == limit {
                break;
            }
            let record = match from_row(&batch, row) {
                Ok(record) => record,
                Err(error) => {
                    unreadable.get_or_insert((0, error)).0 += 1;
                    continue;
                }
            };
            if seen.insert(record.id) && takes(&record) {
                records.push(record);
            }
        }
    }
    // One row that is damaged must not hide the others.
    if let Some((rows, first)) = unreadable {
        let detail = first.detail();
        tracing::warn!(rows, detail, "rows of the dataset runs can not be read and are left out");
    }
    Ok(records)
}

fn to_batch(spec: &DatasetSpec, record: &RunRecord) -> Result<RecordBatch> {
    let schema = spec.arrow_schema();
    let text = |value: Option<String>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let time = |value: Option<DateTime<Utc>>| {
        let micros = TimestampMicrosecondArray::from(vec![value.map(|t| t.timestamp_micros())]);
        Arc::new(micros.with_timezone("UTC")) as ArrayRef
    };
    let revision = match record.state {
        RunState::Queued => 0,
        RunState::Running => 1,
        RunState::Succeeded | RunState::Failed | RunState::Cancelled => REVISION_ENDED,
    };
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "id" => text(Some(record.id.to_string())),
                "revision" => Arc::new(Int32Array::from(vec![revision])),
                "written_at" => time(Some(now())),
                "job" => text(Some(record.job.clone())),
                "state" => text(Some(record.state.to_string())),
                "params" => text(Some(record.params.to_string())),
                "inputs" => text(Some(to_json(&record.inputs)?)),
                "outputs" => text(Some(to_json(&record.outputs)?)),
                "stages" => text(Some(to_json(&record.stages)?)),
                "requested_by" => text(Some(record.requested_by.clone())),
                "requested_at" => time(Some(record.requested_at)),
                "started_at" => time(record.started_at),
                "finished_at" => time(record.finished_at),
                "progress" => Arc::new(Float64Array::from(vec![record.progress])),
                "repeated_of" => text(record.repeated_of.map(|id| id.to_string())),
                "error_code" => text(record.error.as_ref().map(|e| e.code.clone())),
                "error_message" => text(record.error.as_ref().map(|e| e.message.clone())),
                "attempts" => text(Some(to_json(&record.attempts)?)),
                "schedule" => text(record.schedule.clone()),
                "logical_time" => text(record.logical_time.clone()),
                "as_it_was" => text(record.as_it_was.map(|id| id.to_string())),
                "summary" => text(Some(record.summary.to_string())),
                "run_key" => text(Some(record.key.clone())),
                other => {
                    return Err(Error::internal(format!("runs: no value for column {other:?}")));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn from_row(batch: &RecordBatch, row: usize) -> Result<RunRecord> {
    let json =
        |name: &str| text_at(batch, name, row)?.ok_or_else(|| unreadable(name, "it is null"));
    let (code, message) =
        (text_at(batch, "error_code", row)?, text_at(batch, "error_message", row)?);
    Ok(RunRecord {
        workers_lost: 0,
        as_it_was: later_text_at(batch, "as_it_was", row)?.map(|id| id.parse()).transpose()?,
        id: json("id")?.parse()?,
        job: json("job")?,
        state: json("state")?.parse()?,
        params: from_json("params", &json("params")?)?,
        inputs: from_json("inputs", &json("inputs")?)?,
        outputs: from_json("outputs", &json("outputs")?)?,
        attempts: match later_text_at(batch, "attempts", row)? {
            Some(attempts) => from_json("attempts", &attempts)?,
            None => Vec::new(),
        },
        schedule: later_text_at(batch, "schedule", row)?,
        logical_time: later_text_at(batch, "logical_time", row)?,
        next_attempt_at: None,
        waits_for: None,
        estimate: None,
        beside: Vec::new(),
        contents: Default::default(),
        deadline_at: None,
        priority: 0,
        stages: from_json("stages", &json("stages")?)?,
        requested_by: json("requested_by")?,
        requested_at: time_at(batch, "requested_at", row)?
            .ok_or_else(|| unreadable("requested_at", "it is null"))?,
        started_at: time_at(batch, "started_at", row)?,
        finished_at: time_at(batch, "finished_at", row)?,
        progress: column(batch, "progress")?
            .as_primitive_opt::<Float64Type>()
            .map_or(0.0, |values| values.value(row)),
        activity: serde_json::Value::Null,
        repeated_of: text_at(batch, "repeated_of", row)?.map(|id| id.parse()).transpose()?,
        error: code.map(|code| RunError { code, message: message.unwrap_or_default() }),
        summary: from_json("summary", &json("summary")?)?,
        key: json("run_key")?,
    })
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| unreadable(name, "there is no such column"))
}

fn text_at(batch: &RecordBatch, name: &str, row: usize) -> Result<Option<String>> {
    // The scan may bring views or large strings; one value at a time is cast.
    let text = arrow::compute::cast(&column(batch, name)?.slice(row, 1), &DataType::Utf8)?;
    let text = text.as_string_opt::<i32>().ok_or_else(|| unreadable(name, "it is no text"))?;
    Ok(text.is_valid(0).then(|| text.value(0).to_owned()))
}

/// A text of a column that an earlier release had not.
fn later_text_at(batch: &RecordBatch, name: &str, row: usize) -> Result<Option<String>> {
    match batch.column_by_name(name) {
        Some(_) => text_at(batch, name, row),
        None => Ok(None),
    }
}

fn time_at(batch: &RecordBatch, name: &str, row: usize) -> Result<Option<DateTime<Utc>>> {
    let times = column(batch, name)?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| unreadable(name, "it is no timestamp in microseconds"))?;
    Ok(times.is_valid(row).then(|| DateTime::from_timestamp_micros(times.value(row))).flatten())
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(format!("run record as JSON: {e}")))
}

fn from_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| unreadable(name, &e.to_string()))
}

fn unreadable(name: &str, problem: &str) -> Error {
    Error::user(
        Code::Conflict,
        format!(
            "dataset runs: column {name:?}: {problem}; expected rows that Colonnade has written"
        ),
    )
}
