//! Labels by hand: what a person says that a row is. They are rows of the dataset `labels_by_hand`, one for each time that
//! somebody said so; of each row the last one counts. Training takes them with the parameter `corrections`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use chrono::Utc;
use datafusion::logical_expr::{cast, ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{Code, Commit, CommitLabel, Engine, Error, Principal, Result, WriteMode};
use futures::StreamExt;
use models::LABEL_BYTES_MAX;

use crate::columns::{column, timestamps};
use crate::parameters::dataset_name;

/// Rows that can be labelled at a time.
pub const ROWS_LABELLED_MAX: usize = 10_000;
/// Ids that an error names at most.
const IDS_SHOWN: usize = 5;

/// A row and its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLabel {
    /// The row, by the dataset's key.
    pub id: String,
    /// What it is.
    pub label: String,
}

/// The spec of `labels_by_hand`.
pub fn labels_spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name: dataset_name("labels_by_hand"),
        description: "What people say that rows are; of each row the last label counts".into(),
        owner: None,
        key: ["source", "id", "at"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        partition_by: Vec::new(),
        columns: vec![
            text("source", "The dataset that holds the row"),
            text("id", "The row"),
            text("label", "What it is"),
            column("at", ColumnType::Timestamp, false, "When it was said"),
            text("by", "Who said it"),
        ],
        validations: Vec::new(),
    }
}

/// Commits labels of rows of `dataset`, whose key is one column. `BAD_INPUT` for none, for too many, for a label that is
/// empty or longer than a class's name may be, and for a key of more columns; `NOT_FOUND` names rows that are not there.
/// All or none are committed.
pub async fn label_rows(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    labels: &[RowLabel],
) -> Result<Commit> {
    let bad = |text: String| Error::user(Code::BadInput, format!("labels of {dataset}: {text}"));
    if labels.is_empty() || labels.len() > ROWS_LABELLED_MAX {
        let found = labels.len();
        return Err(bad(format!("expected 1 to {ROWS_LABELLED_MAX} rows, found {found}")));
    }
    let is_good = |label: &str| !label.trim().is_empty() && label.len() <= LABEL_BYTES_MAX;
    if let Some(row) = labels.iter().find(|row| !is_good(&row.label)) {
        return Err(bad(format!(
            "row {:?}: expected a label of 1 to {LABEL_BYTES_MAX} bytes, found {}",
            row.id,
            row.label.len()
        )));
    }
    let session = engine.session(who, &[]).await?;
    let entry = session.catalog().dataset(dataset)?;
    let [key] = &entry.spec.key[..] else {
        let found = entry.spec.key.len();
        return Err(bad(format!("expected a dataset whose key is one column, found {found}")));
    };
    let mut missing: BTreeSet<&str> = labels.iter().map(|row| row.id.as_str()).collect();
    let id = cast(ident(key), DataType::Utf8);
    let asked = missing.iter().map(|id| lit(*id)).collect();
    let frame = session.table(dataset).await?.filter(id.clone().in_list(asked, false))?;
    let mut rows = session.stream(frame.select(vec![id.alias("id")])?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        let ids = batch.column(0).as_string::<i32>();
        ids.iter().flatten().for_each(|id| {
            missing.remove(id);
        });
    }
    if !missing.is_empty() {
        let shown: Vec<&str> = missing.iter().copied().take(IDS_SHOWN).collect();
        return Err(Error::user(
            Code::NotFound,
            format!(
                "labels of {dataset}: {} of {} rows are not there: {}",
                missing.len(),
                labels.len(),
                shown.join(", ")
            ),
        ));
    }
    let spec = labels_spec();
    let count = labels.len();
    let all = |text: &str| {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
    };
    let now = Utc::now().timestamp_micros();
    let columns: Vec<ArrayRef> = vec![
        all(dataset.as_str()),
        Arc::new(StringArray::from_iter_values(labels.iter().map(|row| &row.id))),
        Arc::new(StringArray::from_iter_values(labels.iter().map(|row| &row.label))),
        timestamps(std::iter::repeat_n(now, count)),
        all(&who.subject),
    ];
    let batch = RecordBatch::try_new(spec.arrow_schema(), columns)?;
    engine.ensure_dataset(who, &spec).await?;
    let label = CommitLabel { operation: "label rows".into(), ..CommitLabel::default() };
    engine.write(who, &spec.name, WriteMode::Append, vec![batch], label).await
}
