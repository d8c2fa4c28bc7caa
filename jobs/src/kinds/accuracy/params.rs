//! The parameters of `accuracy`.

use analysis::calendar::{Holidays, Interval, Zone};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};
use crate::tables::period::Periods;

/// Datasets of answers, and columns of a key, at most.
const PREDICTIONS_MAX: usize = 20;
const KEY_MAX: usize = 8;

/// Which answers are held against what.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Datasets of answers, each with a row for each answer of a model, such as those that the job triage commits. Default: ["triage"].
    #[schemars(with = "Vec<String>")]
    pub predictions: Vec<DatasetName>,
    /// Dataset of what is so; of several rows of one key the newest counts. Default: labels_by_hand.
    #[schemars(with = "String")]
    pub truth: DatasetName,
    /// Columns of answers that name what is answered. Default: ["source", "id"].
    pub key: Vec<String>,
    /// The same columns of what is so, in the same order; null takes those of `key`. Default: null.
    pub truth_key: Option<Vec<String>>,
    /// Column of who answered. Default: model.
    pub model_column: String,
    /// Column of the answer. Default: label.
    pub label_column: String,
    /// Column of the probability that it is right, as the model says, 0 to 1; null where none says that. Default: confidence.
    pub confidence_column: Option<String>,
    /// Column of what is so. Default: label.
    pub truth_column: String,
    /// Column of the instant at which that was known; null takes the one that the dataset declares. Default: null.
    pub truth_time_column: Option<String>,
    /// How long a period is: "1h", or calendar units such as "1d", "1bd" (business days), "1w", "1mo", "1q". Default: 1w.
    pub period: Interval,
    /// Time zone of calendar periods, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Days off, which business days exclude: dates, or codes of countries for their public holidays, such as ["DE", "2026-12-24"].
    /// Default: [].
    pub holidays: Holidays,
    /// Known answers of a model in a period below which it is not told, 1 to 1,000,000. Default: 20.
    pub min_rows: u64,
    /// False alarms of a model in a quarter of a year, about and at most, 0.001 to 100. Default: 0.1.
    pub alarms: f64,
    /// The model that the others are held against, such as "triage@3"; null holds each against each. Default: null.
    pub champion: Option<String>,
    /// Models that are held against each other, or against the champion, those with the most answers, 1 to 100. Default: 20.
    pub compared: usize,
    /// Chance of any false "better" in a run, 0.0001 to 0.5. Default: 0.05.
    pub alpha: f64,
    /// Dataset of models. Default: model_scores.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset of models and periods. Default: model_accuracy.
    #[schemars(with = "String")]
    pub periods_output: DatasetName,
    /// Dataset of models and how sure they are. Default: model_calibration.
    #[schemars(with = "String")]
    pub calibration_output: DatasetName,
    /// Dataset of pairs of models. Default: model_comparisons.
    #[schemars(with = "String")]
    pub comparisons_output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            predictions: vec![dataset_name("triage")],
            truth: dataset_name("labels_by_hand"),
            key: ["source", "id"].map(String::from).into(),
            truth_key: None,
            model_column: "model".into(),
            label_column: "label".into(),
            confidence_column: Some("confidence".into()),
            truth_column: "label".into(),
            truth_time_column: None,
            period: Interval::WEEK,
            zone: Zone::UTC,
            holidays: Holidays::default(),
            min_rows: 20,
            alarms: 0.1,
            champion: None,
            compared: 20,
            alpha: 0.05,
            output: dataset_name("model_scores"),
            periods_output: dataset_name("model_accuracy"),
            calibration_output: dataset_name("model_calibration"),
            comparisons_output: dataset_name("model_comparisons"),
        }
    }
}

impl Params {
    /// Periods by number.
    pub(super) fn periods_of(&self) -> Periods {
        Periods::new(self.period, self.zone, &self.holidays)
    }

    pub(super) fn truth_key(&self) -> &[String] {
        self.truth_key.as_deref().unwrap_or(&self.key)
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [
            ("predictions", self.predictions.len() as u64, 1, PREDICTIONS_MAX as u64),
            ("key", self.key.len() as u64, 1, KEY_MAX as u64),
            ("min_rows", self.min_rows, 1, 1_000_000),
            ("compared", self.compared as u64, 1, 100),
        ];
        for (name, found, least, most) in counts {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        let [own, theirs] = [self.key.len(), self.truth_key().len()];
        if own != theirs {
            let says = format!("expected as many columns as `key` has, {own}, found {theirs}");
            return Err(bad(NAME, "truth_key", says));
        }
        for (at, dataset) in self.predictions.iter().enumerate() {
            if self.predictions[..at].contains(dataset) {
                return Err(bad(NAME, "predictions", format!("{dataset} is named twice")));
            }
            if *dataset == self.truth {
                return Err(bad(NAME, "truth", format!("{dataset} is what is held against it")));
            }
        }
        for (name, found, [least, most]) in
            [("alarms", self.alarms, [0.001, 100.0]), ("alpha", self.alpha, [0.0001, 0.5])]
        {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        let outputs = [
            ("output", &self.output),
            ("periods_output", &self.periods_output),
            ("calibration_output", &self.calibration_output),
            ("comparisons_output", &self.comparisons_output),
        ];
        let mut inputs = self.predictions.clone();
        inputs.push(self.truth.clone());
        check_outputs(NAME, &outputs, &inputs)
    }
}
