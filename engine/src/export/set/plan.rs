//! What an export is of: the rows, in parts, and what is said of them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, ident, lit};
use datasets::{DatasetName, DatasetSpec, did_you_mean};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::manifest::{Column, Described, Pinned};
use super::request::{ExportRequest, ExportSource};
use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::export::ExportOptions;
use crate::grants::hex;
use crate::identity::{Principal, Version};
use crate::session::{Part, Session};

/// Of changes: whether a row came or went, as Delta's own feed of changes calls it.
const CHANGE: &str = "_change_type";

/// What is exported, as the journal has it: of two exports that write the same files it is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) source: Described,
    pub(super) datasets: Vec<Pinned>,
    pub(super) columns: Vec<Column>,
    pub(super) partition_by: Vec<String>,
    pub(super) form: String,
    pub(super) packing: String,
    csv: String,
    /// Whose rows, and what tells what is seen of them.
    tenant: String,
    pub(super) sees: String,
    /// What tells each dataset, as it was at its version, from another of its name.
    tables: Vec<String>,
    file_rows: usize,
    /// Of each part its files; none, where it is all rows.
    pub(super) parts: Vec<Option<Part>>,
}

impl Plan {
    pub(super) fn is_of(&self, other: &Self) -> bool {
        // The same files may come in another order.
        let files = |plan: &Self| {
            let mut files: Vec<Option<String>> = Vec::new();
            for part in &plan.parts {
                match part {
                    None => files.push(None),
                    Some(part) => files.extend(part.iter().cloned().map(Some)),
                }
            }
            files.sort_unstable();
            files
        };
        let parts = other.parts.clone();
        files(self) == files(other) && Self { parts, ..self.clone() } == *other
    }

    /// What tells it from others in few letters.
    pub(super) fn digest(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|e| Error::bug("a plan as JSON", e))?;
        Ok(hex(&Sha256::digest(text)))
    }
}

/// The rows, and what is said of them.
pub(super) async fn planned(
    engine: &Engine,
    who: &Principal,
    session: &Session,
    request: &ExportRequest,
) -> Result<(DataFrame, Plan)> {
    let ordered = session.in_order();
    let (frame, source, parts, datasets, spec) = match &request.source {
        ExportSource::Dataset { dataset, condition, columns: _, since } => {
            let version = session
                .version(dataset)
                .ok_or_else(|| session.catalog().unknown(dataset.as_str()))?;
            let frame = match since {
                None => ordered.table(dataset).await?,
                Some(since) => changed(engine, who, dataset, *since, version).await?,
            };
            let frame = narrowed(&ordered, request, frame).await?;
            let parts = match since {
                None => session.parts(dataset, request.file_rows.max(1)).await?,
                Some(_) => None,
            };
            let parts = match parts {
                None => vec![None],
                Some(parts) if parts.is_empty() => vec![None],
                Some(parts) => parts.into_iter().map(Some).collect(),
            };
            let source = Described {
                dataset: Some(dataset.clone()),
                condition: condition.clone(),
                since: *since,
                ..Described::default()
            };
            let datasets = vec![Pinned { dataset: dataset.clone(), version }];
            let spec = session.spec(dataset).await?;
            (frame, source, parts, datasets, Some(spec))
        }
        ExportSource::Sql(sql) => {
            let frame = ordered.sql(sql).await?;
            let read = session.reads(&frame)?.into_iter();
            let datasets = read.map(|(dataset, version)| Pinned { dataset, version }).collect();
            let source = Described { sql: Some(sql.clone()), ..Described::default() };
            (frame, source, vec![None], datasets, None)
        }
    };
    require_folders(&frame, &request.partition_by)?;
    let columns = columns_of(&frame, spec.as_ref());
    let mut tables = Vec::with_capacity(datasets.len());
    for Pinned { dataset, .. } in &datasets {
        tables.push(session.made_and_changed(dataset).await?);
    }
    let ExportOptions { form, packing, csv } = &request.options;
    let plan = Plan {
        source,
        datasets,
        columns,
        partition_by: request.partition_by.clone(),
        form: form.name().to_owned(),
        packing: packing.name().to_owned(),
        csv: format!("{csv:?}"),
        tenant: who.tenant.to_string(),
        sees: session.grants().digest().to_owned(),
        tables,
        file_rows: request.file_rows,
        parts,
    };
    Ok((grouped(frame, request)?, plan))
}

/// The rows of one part.
pub(super) async fn of_part(
    session: &Session,
    request: &ExportRequest,
    files: Part,
) -> Result<DataFrame> {
    let ExportSource::Dataset { dataset, .. } = &request.source else {
        return Err(Error::internal("a query has no parts"));
    };
    let frame = session.part(dataset, files).await?;
    grouped(narrowed(session, request, frame).await?, request)
}

/// Rows that came and went after one version up to another.
async fn changed(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    since: Version,
    version: Version,
) -> Result<DataFrame> {
    if since > version {
        let says = format!(
            "since: {dataset} is at version {version} here; expected an earlier version, found {since}"
        );
        return Err(Error::user(Code::BadInput, says));
    }
    let changes = engine.changes(who, dataset, since, version).await?;
    if changes.added.schema().has_column_with_unqualified_name(CHANGE) {
        let says = format!(
            "since: {dataset} has a column {CHANGE}, which says of changes what they are; expected another name"
        );
        return Err(Error::user(Code::BadInput, says));
    }
    let went = changes.removed.with_column(CHANGE, lit("delete"))?;
    let came = changes.added.with_column(CHANGE, lit("insert"))?;
    Ok(went.union(came)?)
}

/// The rows and columns that are asked for.
async fn narrowed(
    session: &Session,
    request: &ExportRequest,
    frame: DataFrame,
) -> Result<DataFrame> {
    let ExportSource::Dataset { dataset, condition, columns, since } = &request.source else {
        return Ok(frame);
    };
    let frame = match condition {
        None => frame,
        Some(condition) => frame.filter(session.condition(dataset, condition).await?)?,
    };
    if columns.is_empty() {
        return Ok(frame);
    }
    let there = names(&frame);
    let mut shown: Vec<Expr> = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        require_column("columns", &dataset.to_string(), column, &there)?;
        if columns[..at].contains(column) {
            return Err(twice("columns", column));
        }
        shown.push(ident(column));
    }
    if since.is_some() && !columns.iter().any(|column| column == CHANGE) {
        shown.push(ident(CHANGE));
    }
    Ok(frame.select(shown)?)
}

fn names(frame: &DataFrame) -> Vec<String> {
    frame.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn require_column(argument: &str, of: &str, column: &str, there: &[String]) -> Result<()> {
    if there.iter().any(|name| name == column) {
        return Ok(());
    }
    let near = did_you_mean(column, there.iter().map(String::as_str));
    let near = near.unwrap_or_else(|| format!("it has {}", there.join(", ")));
    let says = format!("{argument}: {of} has no column {column:?}; {near}");
    Err(Error::user(Code::BadInput, says))
}

fn twice(argument: &str, column: &str) -> Error {
    Error::user(Code::BadInput, format!("{argument}: {column:?} is named twice"))
}

/// Fails where the values of these columns can be no folders.
fn require_folders(frame: &DataFrame, partition_by: &[String]) -> Result<()> {
    let there = names(frame);
    for (at, column) in partition_by.iter().enumerate() {
        require_column("partition_by", "what is exported", column, &there)?;
        if partition_by[..at].contains(column) {
            return Err(twice("partition_by", column));
        }
        let kind = frame.schema().field_with_unqualified_name(column)?.data_type();
        let kind = match kind {
            DataType::Dictionary(_, values) => values.as_ref(),
            kind => kind,
        };
        let is_folder = kind.is_integer()
            || kind.is_string()
            || matches!(kind, DataType::Boolean | DataType::Date32);
        if !is_folder {
            let says = format!(
                "partition_by: {column} is of type {kind}; expected text, whole numbers, truth values or days, which a query can make of it: \
                 CAST({column} AS DATE)"
            );
            return Err(Error::user(Code::BadInput, says));
        }
    }
    if !partition_by.is_empty() && partition_by.len() == there.len() {
        let says = "partition_by: it names all columns, and nothing is left for the files";
        return Err(Error::user(Code::BadInput, says));
    }
    Ok(())
}

/// Rows of one folder behind each other.
fn grouped(frame: DataFrame, request: &ExportRequest) -> Result<DataFrame> {
    if request.partition_by.is_empty() {
        return Ok(frame);
    }
    let order = request.partition_by.iter().map(|column| ident(column).sort(true, true));
    Ok(frame.sort(order.collect())?)
}

fn columns_of(frame: &DataFrame, spec: Option<&DatasetSpec>) -> Vec<Column> {
    let fields = frame.schema().fields().iter();
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let known = spec.and_then(|spec| spec.columns.iter().find(|c| c.name == *field.name()));
        Column {
            name: field.name().clone(),
            kind: known.map_or_else(|| field.data_type().to_string(), |c| c.data_type.to_string()),
            nullable: known.map_or(field.is_nullable(), |c| c.nullable),
            unit: known.and_then(|c| c.unit.clone()),
            description: known.map(|c| c.description.clone()).filter(|text| !text.is_empty()),
        }
    };
    fields.map(column).collect()
}
