//! What a training says of itself, as rows.

use std::sync::Arc;

use analysis::trial::wilson;
use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::Result;

use super::fit::{Doubt, Fitted, Survey};
use super::judge::ScopeFigures;
use super::params::Params;
use super::prepare::{Prepared, Side};
use crate::parameters::dataset_name;
use crate::registry::evaluations::{self, Measured};
use crate::registry::training_rows::{self, TrainingRow};
use crate::tables::columns::column;

/// Measures with the ends of their intervals.
const PRECISION: [&str; 3] = ["precision", "precision_lower", "precision_upper"];
const RECALL: [&str; 3] = ["recall", "recall_lower", "recall_upper"];
const SCOPE_AUROC: [&str; 3] =
    ["out_of_scope_auroc", "out_of_scope_auroc_lower", "out_of_scope_auroc_upper"];
const SCOPE_RECALL: [&str; 3] =
    ["out_of_scope_recall", "out_of_scope_recall_lower", "out_of_scope_recall_upper"];
const SCOPE_PRECISION: [&str; 3] =
    ["out_of_scope_precision", "out_of_scope_precision_lower", "out_of_scope_precision_upper"];
const IN_SCOPE_ACCURACY: [&str; 3] =
    ["in_scope_accuracy", "in_scope_accuracy_lower", "in_scope_accuracy_upper"];

/// The dataset of labels that are in doubt.
pub(super) fn suspects_name() -> DatasetName {
    dataset_name("label_suspects")
}

pub(super) fn suspects_spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    let number = |name, about| column(name, ColumnType::Float32, false, about);
    DatasetSpec {
        name: suspects_name(),
        description: "Rows whose label others of their like do not bear: look at these first"
            .into(),
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
            text("source", "The dataset that holds the row"),
            text("id", "The row"),
            text("label", "Its label"),
            text("answered", "What a head answers that learned from the other rows"),
            number("confidence", "How sure that one is, 0 to 1"),
            number("of_label", "What it gives to the label, 0 to 1"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// The rows that were learned from.
pub(super) fn training_rows(
    params: &Params,
    version: &str,
    prepared: &Prepared,
    survey: &Survey,
    fitted: &Fitted,
) -> Result<Vec<RecordBatch>> {
    let train = prepared.of(Side::Train);
    let dimension = fitted.vectors.len() / train.len().max(1);
    let vectors = fitted.vectors.chunks_exact(dimension.max(1));
    let row = |((row, quality), vector): ((&usize, _), _)| TrainingRow {
        id: &prepared.rows.ids[*row],
        label: &prepared.rows.labels[*row],
        quality,
        vector,
    };
    let rows: Vec<TrainingRow<'_>> =
        train.iter().zip(&survey.quality).zip(vectors).map(row).collect();
    training_rows::batches((&params.model, version, &params.dataset), &rows)
}

/// All that was measured.
pub(super) fn evaluations(
    params: &Params,
    version: &str,
    prepared: &Prepared,
    fitted: &Fitted,
) -> Result<RecordBatch> {
    let mut rows: Vec<Measured<'_>> = vec![
        ("accuracy", None, None, fitted.scores.accuracy),
        ("macro_f1", None, None, fitted.scores.macro_f1),
        ("held_out_rows", None, None, fitted.scores.rows as f64),
        ("unseen_labels", None, None, prepared.unseen() as f64),
        ("temperature", None, None, fitted.calibration.temperature),
        ("calibration_error_before", None, None, fitted.calibration_error[0]),
        ("calibration_error", None, None, fitted.calibration_error[1]),
    ];
    if let Some([lower, upper]) = fitted.accuracy_interval {
        rows.extend([("accuracy_lower", None, None, lower), ("accuracy_upper", None, None, upper)]);
    }
    if let Some([lower, upper]) = fitted.macro_f1_interval {
        rows.extend([("macro_f1_lower", None, None, lower), ("macro_f1_upper", None, None, upper)]);
    }
    if let [Some(before), Some(after)] = fitted.calibration_error_interval {
        rows.extend([
            ("calibration_error_before_lower", None, None, before[0]),
            ("calibration_error_before_upper", None, None, before[1]),
            ("calibration_error_lower", None, None, after[0]),
            ("calibration_error_upper", None, None, after[1]),
        ]);
    }
    let names = prepared.labels.names();
    for (at, (name, class)) in names.iter().zip(&fitted.scores.classes).enumerate() {
        let name = Some(name.as_str());
        let answered = fitted.scores.confusion.iter().skip(at).step_by(names.len()).sum::<usize>();
        // Without rows of a kind nothing is known of their part.
        let parts = [(PRECISION, class.precision, answered), (RECALL, class.recall, class.support)];
        for ([measure, lower, upper], part, of) in parts {
            let right = (part * of as f64).round() as u64;
            let Some(rate) = wilson(right, of as u64) else { continue };
            rows.extend([
                (measure, name, None, rate.rate),
                (lower, name, None, rate.lower),
                (upper, name, None, rate.upper),
            ]);
        }
        if class.support + answered > 0 {
            rows.push(("f1", name, None, class.f1));
        }
        rows.push(("support", name, None, class.support as f64));
    }
    for (at, count) in fitted.scores.confusion.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (truth, answer) = (&names[at / names.len()], &names[at % names.len()]);
        rows.push(("confusion", Some(truth), Some(answer), *count as f64));
    }
    if let Some(scope) = &fitted.scope {
        let found = ScopeFigures::new(scope);
        let figures = [
            (SCOPE_AUROC, found.auroc),
            (SCOPE_RECALL, found.recall),
            (SCOPE_PRECISION, found.precision),
            (IN_SCOPE_ACCURACY, found.in_scope_accuracy),
        ];
        for ([measure, lower, upper], rate) in figures {
            let Some(rate) = rate else { continue };
            rows.extend([
                (measure, None, None, rate.rate),
                (lower, None, None, rate.lower),
                (upper, None, None, rate.upper),
            ]);
        }
        rows.push(("out_of_scope_rows", None, None, scope.out_of_scope_rows as f64));
    }
    if let Some((other, compared)) = &fitted.comparison {
        let other = Some(other.as_str());
        rows.extend([
            ("only_this_right", None, other, compared.only_first as f64),
            ("only_other_right", None, other, compared.only_second as f64),
            ("p_value", None, other, compared.p_value),
        ]);
    }
    evaluations::batch(&params.model, version, &rows)
}

/// The rows whose label is in doubt.
pub(super) fn suspects(
    params: &Params,
    prepared: &Prepared,
    doubts: &[Doubt],
) -> Result<RecordBatch> {
    let source = std::iter::repeat_n(params.dataset.as_str(), doubts.len());
    let ids = doubts.iter().map(|doubt| prepared.rows.ids[doubt.row].as_str());
    let labels = doubts.iter().map(|doubt| prepared.rows.labels[doubt.row].as_str());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(source)),
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(StringArray::from_iter_values(labels)),
        Arc::new(StringArray::from_iter_values(doubts.iter().map(|doubt| &doubt.answered))),
        Arc::new(Float32Array::from_iter_values(doubts.iter().map(|doubt| doubt.confidence))),
        Arc::new(Float32Array::from_iter_values(doubts.iter().map(|doubt| doubt.of_label))),
    ];
    Ok(RecordBatch::try_new(suspects_spec().arrow_schema(), columns)?)
}
