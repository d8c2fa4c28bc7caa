//! The dataset `audit`: one row for each act, in the order in which they ended.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::prelude::{ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{AsOf, CommitLabel, Engine, Error, Principal, Result, Version, WriteMode};
use futures::StreamExt;

use super::Act;
use crate::control::ActRow;

/// The name of the dataset that holds what was done.
pub const AUDIT: &str = engine::AUDIT;

/// A row: its number, the hashes before and of it, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) previous: String,
    pub(super) hash: String,
    pub(super) act: Act,
}

/// The spec of the dataset.
pub(crate) fn audit_spec() -> Result<DatasetSpec> {
    let column =
        |name: &str, data_type: ColumnType, nullable: bool, description: &str| ColumnSpec {
            name: name.into(),
            data_type,
            nullable,
            unit: None,
            description: description.into(),
        };
    let text = |name: &str, description: &str| column(name, ColumnType::Text, false, description);
    Ok(DatasetSpec {
        name: DatasetName::new(AUDIT)?,
        description: "What was done by whom, and how it came out: a chain, which `colonnade audit verify` goes along".into(),
        owner: None,
        derived: true,
        key: vec!["number".into()],
        time_column: Some("ended_at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
        columns: vec![
            column("number", ColumnType::Int64, false, "From 1, without gaps"),
            column("ended_at", ColumnType::Timestamp, false, "When it ended"),
            column("begun_at", ColumnType::Timestamp, false, "When it began"),
            text("subject", "Who did it"),
            text("credential", "How they showed who they are: `key PREFIX`, key of the settings, token, local"),
            text("via", "Where it was asked for: graphql or command line"),
            column("operation", ColumnType::Text, true, "The name of the operation that it was in"),
            text("field", "What was done"),
            column("target", ColumnType::Text, true, "To what, by its name"),
            text("arguments_sha256", "SHA-256 of the arguments: a JSON object of them, by name"),
            text("outcome", "OK, the code of an error, or UNKNOWN where its process was gone"),
            text("request_id", "The request, as logs and errors know it"),
            text("id", "The act; the ids sort by the time when they began"),
            text("previous_hash", "The hash of the row before; of the first 64 zeros"),
            text("hash", "SHA-256 of the hash before, the number and what the row says"),
        ],
        validations: Vec::new(),
    })
}

/// The newest row of the dataset, as number and hash, and the version that it was read at; none where there is no such dataset.
pub(crate) async fn last(
    engine: &Engine,
    who: &Principal,
) -> Result<Option<(Version, i64, String)>> {
    let name = DatasetName::new(AUDIT)?;
    engine.look_for(who, &name, None).await.or_else(|error| match error.code() {
        engine::Code::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let catalog = engine.catalog(who).await?;
    if !catalog.has(&name)? {
        return Ok(None);
    }
    if !catalog.dataset(&name)?.spec.derived {
        let says = "a dataset of clients is called audit: what is done can not be written there; rename it";
        return Err(Error::user(engine::Code::Conflict, says));
    }
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
    let version = session.version(&name);
    let version = version.ok_or_else(|| Error::internal("audit has no version"))?;
    let frame = session.table(&name).await?;
    let frame = frame.sort(vec![ident("number").sort(false, false)])?.limit(0, Some(1))?;
    let mut stream = session.stream(frame).await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            let row = row_of(&batch, 0, who)?;
            return Ok(Some((version, row.number, row.hash)));
        }
    }
    Ok(Some((version, 0, super::GENESIS.to_owned())))
}

/// The hash of a row of the dataset; none where there is no such row.
pub(crate) async fn hash_at(
    engine: &Engine,
    who: &Principal,
    number: i64,
) -> Result<Option<String>> {
    let name = DatasetName::new(AUDIT)?;
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
    let frame = session.table(&name).await?.filter(ident("number").eq(lit(number)))?;
    let rows = session.collect(frame.limit(0, Some(1))?).await?;
    match rows.iter().find(|batch| batch.num_rows() > 0) {
        Some(batch) => Ok(Some(row_of(batch, 0, who)?.hash)),
        None => Ok(None),
    }
}

/// Appends rows that follow the newest of `version`; CONFLICT where that is not the newest version any more.
pub(crate) async fn append(
    engine: &Engine,
    who: &Principal,
    version: Version,
    rows: &[ActRow],
) -> Result<()> {
    let spec = audit_spec()?;
    let batch = to_batch(&spec, rows)?;
    let label = CommitLabel { operation: "record acts".into(), ..CommitLabel::default() };
    engine.write(who, &spec.name, WriteMode::AppendAfter(version), vec![batch], label).await?;
    Ok(())
}

fn to_batch(spec: &DatasetSpec, rows: &[ActRow]) -> Result<RecordBatch> {
    let acts = rows.iter().map(|row| Act::read(&row.content)).collect::<Result<Vec<Act>>>()?;
    let text = |of: &dyn Fn(&Act) -> Option<String>| {
        Arc::new(StringArray::from(acts.iter().map(of).collect::<Vec<_>>())) as ArrayRef
    };
    let time = |of: &dyn Fn(&Act) -> i64| {
        let micros = TimestampMicrosecondArray::from_iter_values(acts.iter().map(of));
        Arc::new(micros.with_timezone("UTC")) as ArrayRef
    };
    let of_row = |of: &dyn Fn(&ActRow) -> String| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef
    };
    let columns = spec.columns.iter().map(|column| {
        Ok(match column.name.as_str() {
            "number" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.number)))
                as ArrayRef,
            "ended_at" => time(&|act| act.ended_us),
            "begun_at" => time(&|act| act.begun_us),
            "subject" => text(&|act| Some(act.subject.clone())),
            "credential" => text(&|act| Some(act.credential.clone())),
            "via" => text(&|act| Some(act.via.clone())),
            "operation" => text(&|act| act.operation.clone()),
            "field" => text(&|act| Some(act.field.clone())),
            "target" => text(&|act| act.target.clone()),
            "arguments_sha256" => text(&|act| Some(act.arguments_sha256.clone())),
            "outcome" => text(&|act| Some(act.outcome.clone())),
            "request_id" => text(&|act| Some(act.request_id.clone())),
            "id" => text(&|act| Some(act.id.clone())),
            "previous_hash" => of_row(&|row| row.previous.clone()),
            "hash" => of_row(&|row| row.hash.clone()),
            other => return Err(Error::internal(format!("audit: no value for column {other:?}"))),
        })
    });
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns.collect::<Result<Vec<_>>>()?)?)
}

/// A row as the dataset has it. What is null in it and should not be is read as empty, and so its hash is another one.
pub(super) fn row_of(batch: &RecordBatch, row: usize, who: &Principal) -> Result<Row> {
    let column = |name: &str| {
        let column = batch.column_by_name(name).map(|column| column.slice(row, 1));
        column.ok_or_else(|| {
            Error::user(engine::Code::Conflict, format!("audit: there is no column {name:?}"))
        })
    };
    let optional = |name: &str| -> Result<Option<String>> {
        let text = cast(&column(name)?, &DataType::Utf8)?;
        let text = text.as_string_opt::<i32>();
        Ok(text.filter(|text| text.is_valid(0)).map(|text| text.value(0).to_owned()))
    };
    let text = |name: &str| Ok::<_, Error>(optional(name)?.unwrap_or_default());
    let time = |name: &str| {
        let column = column(name)?;
        let micros = column.as_primitive_opt::<TimestampMicrosecondType>();
        Ok::<_, Error>(micros.map_or(0, |micros| micros.value(0)))
    };
    let number = column("number")?;
    let number = number.as_primitive_opt::<Int64Type>().map_or(0, |numbers| numbers.value(0));
    Ok(Row {
        number,
        previous: text("previous_hash")?,
        hash: text("hash")?,
        act: Act {
            id: text("id")?,
            tenant: who.tenant.to_string(),
            begun_us: time("begun_at")?,
            ended_us: time("ended_at")?,
            subject: text("subject")?,
            credential: text("credential")?,
            via: text("via")?,
            operation: optional("operation")?,
            field: text("field")?,
            target: optional("target")?,
            arguments_sha256: text("arguments_sha256")?,
            outcome: text("outcome")?,
            request_id: text("request_id")?,
        },
    })
}
