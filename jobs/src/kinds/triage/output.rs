//! The rows that `triage` commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::Result;

use super::Rows;
use super::answers::Answer;
use super::params::Params;
use crate::tables::columns::column;

/// Rows of one batch.
const BATCH_ROWS: usize = 65_536;

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name,
        description: "Labels that a model gave, and how sure it is".into(),
        owner: None,
        derived: true,
        key: ["source", "id"].map(String::from).into(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![PartitionSpec {
            column: "source".into(),
            from: None,
            transform: PartitionTransform::Identity,
        }],
        columns: vec![
            text("source", "The dataset that holds the texts"),
            text("id", "The row"),
            text("model", "Who answered, name@version"),
            text("label", "The likeliest label, also where the text is out of scope"),
            column("confidence", ColumnType::Float32, false, "Its calibrated probability, 0 to 1"),
            column(
                "out_of_scope",
                ColumnType::Bool,
                false,
                "Whether the text is of no class at all",
            ),
            column(
                "top",
                ColumnType::Json,
                false,
                "The likeliest labels, each with its probability",
            ),
            column("team", ColumnType::Text, true, "The team that the label goes to"),
            column(
                "reasons",
                ColumnType::Json,
                true,
                "The rows that the model learned from and that are most like this one, each with its label and the cosine of their vectors",
            ),
            column(
                "text_key",
                ColumnType::Text,
                true,
                "Of the text and what was asked: the same model's answer to the same key stands",
            ),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The answers as rows.
pub(super) fn batches(
    spec: &DatasetSpec,
    params: &Params,
    model: &str,
    rows: &Rows,
    answers: &[Answer],
) -> Result<Vec<RecordBatch>> {
    let batch = |((ids, keys), answers): ((&[String], &[String]), &[Answer])| {
        let repeated = |text: &str| {
            let texts = std::iter::repeat_n(text, ids.len());
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let texts = |of: fn(&Answer) -> &String| {
            Arc::new(StringArray::from_iter_values(answers.iter().map(of))) as ArrayRef
        };
        let teams = answers.iter().map(|answer| {
            params.teams.get(&answer.label).filter(|_| !answer.is_out_of_scope).map(String::as_str)
        });
        let columns: Vec<ArrayRef> = vec![
            repeated(params.dataset.as_str()),
            Arc::new(StringArray::from_iter_values(ids)),
            repeated(model),
            texts(|answer| &answer.label),
            Arc::new(Float32Array::from_iter_values(answers.iter().map(|it| it.confidence))),
            Arc::new(BooleanArray::from_iter(answers.iter().map(|it| Some(it.is_out_of_scope)))),
            texts(|answer| &answer.top),
            Arc::new(StringArray::from_iter(teams)),
            texts(|answer| &answer.reasons),
            Arc::new(StringArray::from_iter_values(keys)),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    let rows = rows.ids.chunks(BATCH_ROWS).zip(rows.keys.chunks(BATCH_ROWS));
    rows.zip(answers.chunks(BATCH_ROWS)).map(batch).collect()
}
