//! The rows that each version of a model learned from: what they are worth as examples, and where they lie among the
//! encoder's vectors, so that an answer can name the rows that are most like its text.
//!
//! Vectors are kept in halves of 16 bits: their cosines are right to about 1e-3, which is enough to name neighbours.

use std::sync::Arc;

use analysis::{HALF_BYTES, append_halves, to_halves};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{cast, ident, lit};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use models::{Issue, RowQuality};
use serde_json::json;

use crate::parameters::dataset_name;
use crate::tables::columns::column;

/// Rows of one batch.
const BATCH_ROWS: usize = 16_384;

/// The dataset.
pub(crate) fn training_rows_name() -> DatasetName {
    dataset_name("training_rows")
}

/// Its spec.
pub(crate) fn training_rows_spec() -> DatasetSpec {
    let text = |name, nullable, about| column(name, ColumnType::Text, nullable, about);
    let partition = |name: &str| PartitionSpec {
        column: name.into(),
        from: None,
        transform: PartitionTransform::Identity,
    };
    DatasetSpec {
        name: training_rows_name(),
        description: "The rows that each version of a model learned from, and what they are worth"
            .into(),
        owner: None,
        derived: true,
        key: ["model", "version", "source", "id"].map(String::from).into(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![partition("model"), partition("version")],
        columns: vec![
            text("model", false, "The model"),
            text("version", false, "The version"),
            text("source", false, "The dataset that holds the row"),
            text("id", false, "The row"),
            text("label", false, "The label that was learned"),
            column(
                "quality",
                ColumnType::Float32,
                false,
                "What it is worth as an example, 0 to 1: support by a head that did not see it, less for each issue",
            ),
            text("language", true, "Its language by ISO 639-3, where the text tells it"),
            column(
                "issues",
                ColumnType::Json,
                false,
                "empty, short, repeated, contradictory, other_language, mixed_languages, doubted",
            ),
            column(
                "vector",
                ColumnType::Bytes,
                false,
                "Its vector: that of its texts by the version's encoder, and its numbers behind it; 16-bit floats, little-endian",
            ),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// A row that was learned from.
pub(crate) struct TrainingRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) label: &'a str,
    pub(crate) quality: &'a RowQuality,
    pub(crate) vector: &'a [f32],
}

/// The rows of a version as batches.
pub(crate) fn batches(
    (model, version, source): (&str, &str, &DatasetName),
    rows: &[TrainingRow<'_>],
) -> Result<Vec<RecordBatch>> {
    let schema = training_rows_spec().arrow_schema();
    let batch = |rows: &[TrainingRow<'_>]| {
        let all = |text: &str| {
            let texts = std::iter::repeat_n(text, rows.len());
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let issues = rows.iter().map(|row| {
            let names: Vec<&str> = row.quality.issues.iter().copied().map(Issue::as_str).collect();
            json!(names).to_string()
        });
        let vectors = rows.iter().map(|row| to_halves(row.vector));
        let columns: Vec<ArrayRef> = vec![
            all(model),
            all(version),
            all(source.as_str()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.id))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.label))),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.quality.quality))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.quality.language))),
            Arc::new(StringArray::from_iter_values(issues)),
            Arc::new(BinaryArray::from_iter_values(vectors)),
        ];
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    };
    rows.chunks(BATCH_ROWS).map(batch).collect()
}

/// Rows that answers are explained by.
#[derive(Default)]
pub(crate) struct Examples {
    pub(crate) ids: Vec<String>,
    pub(crate) labels: Vec<String>,
    /// `[rows, dimension]`.
    pub(crate) vectors: Vec<f32>,
}

/// Reads the rows that a version learned from, whose vectors have `dimension` numbers and may take `bytes_max`.
pub(crate) async fn examples(
    session: &Session,
    (model, version): (&str, &str),
    dimension: usize,
    bytes_max: usize,
) -> Result<Examples> {
    let of_version = ident("model").eq(lit(model)).and(ident("version").eq(lit(version)));
    let columns = [("id", DataType::Utf8), ("label", DataType::Utf8), ("vector", DataType::Binary)];
    let frame = session
        .table(&training_rows_name())
        .await?
        .filter(of_version)?
        .sort(vec![ident("source").sort(true, true), ident("id").sort(true, true)])?
        .select(columns.map(|(name, kind)| cast(ident(name), kind)).to_vec())?;
    let mut rows = session.stream(frame).await?;
    let mut found = Examples::default();
    while let Some(batch) = rows.next().await.transpose()? {
        let (ids, labels) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let vectors = batch.column(2).as_binary::<i32>();
        for row in 0..batch.num_rows() {
            let bytes = if vectors.is_valid(row) { vectors.value(row) } else { &[] };
            if bytes.len() != dimension * HALF_BYTES {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "{}: row {:?} of {model}@{version}: expected a vector of {dimension} numbers, found {} bytes",
                        training_rows_name(),
                        ids.value(row),
                        bytes.len()
                    ),
                ));
            }
            found.ids.push(ids.value(row).to_owned());
            found.labels.push(labels.value(row).to_owned());
            append_halves(bytes, &mut found.vectors);
        }
        if found.vectors.len() * size_of::<f32>() > bytes_max {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "the rows that {model}@{version} learned from take more than a quarter of the memory budget, \
                     {bytes_max} bytes: take a larger budget, or reasons = 0"
                ),
            ));
        }
    }
    Ok(found)
}
