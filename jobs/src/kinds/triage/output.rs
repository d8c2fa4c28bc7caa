//! The rows that `triage` commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::{Error, Result};
use models::{Labels, Prediction};
use serde_json::json;

use super::params::Params;
use crate::columns::column;

/// Rows of one batch.
const BATCH_ROWS: usize = 65_536;

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name,
        description: "Labels that a model gave, and how sure it is".into(),
        owner: None,
        key: ["source", "id"].map(String::from).into(),
        time_column: None,
        evolution: Evolution::AddNullable,
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
        ],
        validations: Vec::new(),
    }
}

/// The answers as rows.
pub(super) fn batches(
    spec: &DatasetSpec,
    params: &Params,
    model: &str,
    labels: &Labels,
    ids: &[String],
    answers: &[Prediction],
) -> Result<Vec<RecordBatch>> {
    let name = |class: usize| {
        let name = labels.names().get(class);
        name.map(String::as_str).ok_or_else(|| Error::internal(format!("triage: class {class}")))
    };
    let batch = |(ids, answers): (&[String], &[Prediction])| {
        let repeated = |text: &str| {
            let texts = std::iter::repeat_n(text, ids.len());
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let mut found = Vec::with_capacity(ids.len());
        let mut tops = Vec::with_capacity(ids.len());
        for answer in answers {
            let top = answer.top.iter().map(|(class, share)| Ok((name(*class)?, *share)));
            let top: Vec<(&str, f32)> = top.collect::<Result<_>>()?;
            let (label, _) =
                top.first().copied().ok_or_else(|| Error::internal("triage: no class"))?;
            found.push(label);
            let shown =
                top.iter().map(|(label, share)| json!({ "label": label, "confidence": share }));
            tops.push(serde_json::Value::Array(shown.collect()).to_string());
        }
        let teams = found.iter().zip(answers).map(|(label, answer)| {
            params.teams.get(*label).filter(|_| !answer.is_out_of_scope).map(String::as_str)
        });
        let columns: Vec<ArrayRef> = vec![
            repeated(params.dataset.as_str()),
            Arc::new(StringArray::from_iter_values(ids)),
            repeated(model),
            Arc::new(StringArray::from_iter_values(&found)),
            Arc::new(Float32Array::from_iter_values(answers.iter().map(|it| it.confidence))),
            Arc::new(BooleanArray::from_iter(answers.iter().map(|it| Some(it.is_out_of_scope)))),
            Arc::new(StringArray::from_iter_values(&tops)),
            Arc::new(StringArray::from_iter(teams)),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    ids.chunks(BATCH_ROWS).zip(answers.chunks(BATCH_ROWS)).map(batch).collect()
}
