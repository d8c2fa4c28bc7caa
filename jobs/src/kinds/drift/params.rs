//! The parameters of `drift`.

use analysis::calendar::{Holidays, Interval, Zone};
use analysis::drift::Rule;
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};
use crate::tables::period::Periods;

/// Bytes of an expression that names rows, at most.
const NAME_MAX: usize = 1_000;
/// What is watched, at most.
const COLUMNS_MAX: usize = 50;
/// Periods that later ones are compared with unless another number is given: two weeks at least, if there are no more than that.
const REFERENCE: usize = 28;
const REFERENCE_MAX: usize = 1_344;
/// What is watched where nothing is named, as far as it is there.
pub(super) const USUAL: [&str; 7] =
    ["input_tokens", "output_tokens", "latency_ms", "status", "label", "confidence", "vector"];

/// What is watched, and against what it is held.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset with a row for each input or output. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column of when that was; null takes the one that the dataset declares, or `at` where it declares none. Default: null.
    pub time_column: Option<String>,
    /// Column of the model, or of whatever else is watched by itself; null watches all rows together. Default: model.
    pub group_column: Option<String>,
    /// What is watched, as it stands in SQL behind SELECT: numbers, texts, truth values or vectors, such as ["output_tokens", "length(answer)"];
    /// null takes `input_tokens`, `output_tokens`, `latency_ms`, `status`, `label`, `confidence` and `vector`, where there are such columns.
    /// Default: null.
    pub columns: Option<Vec<String>>,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// How long a period is: "1h", or calendar units such as "1d", "1bd" (business days), "1w", "1mo", "1q". Default: 1d.
    pub period: Interval,
    /// Time zone of calendar periods, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Days off, which business days exclude: dates, or codes of countries for their public holidays, such as ["DE", "2026-12-24"].
    /// Default: [].
    pub holidays: Holidays,
    /// Periods, the first of a group, that later ones are compared with, 14 to 1,344; null takes 28, or two weeks of shorter periods.
    /// Default: null.
    pub reference: Option<usize>,
    /// Rows of a group in a period below which it does not count, 1 to 1,000,000. Default: 30.
    pub min_rows: u64,
    /// False alarms in a group and a quarter of a year, on the average, at most: 0.001 to 100. Default: 1.
    pub alarms: f64,
    /// Dataset of what drifts. Default: drifts.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset of how far each period is from the reference. Default: drift_scores.
    #[schemars(with = "String")]
    pub scores_output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("model_calls"),
            time_column: None,
            group_column: Some("model".into()),
            columns: None,
            condition: None,
            period: Interval::DAY,
            zone: Zone::UTC,
            holidays: Holidays::default(),
            reference: None,
            min_rows: 30,
            alarms: 1.0,
            output: dataset_name("drifts"),
            scores_output: dataset_name("drift_scores"),
        }
    }
}

impl Params {
    /// Periods by number.
    pub(super) fn periods_of(&self) -> Periods {
        Periods::new(self.period, self.zone, &self.holidays)
    }

    /// What is watched.
    pub(super) fn watched(&self) -> &[String] {
        self.columns.as_deref().unwrap_or_default()
    }

    /// Periods of the reference.
    pub(super) fn reference(&self) -> usize {
        let week = self.periods_of().seasons().into_iter().max().unwrap_or(0);
        self.reference.unwrap_or((2 * week).clamp(REFERENCE, REFERENCE_MAX))
    }

    /// False alarms that a rule gives in a group and a quarter of a year, about.
    pub(super) fn false_alarms(&self, rule: &Rule) -> f64 {
        rule.false_alarms(self.watched().len(), self.periods_of().per_quarter())
    }

    /// How drift is told from chance. BAD_INPUT where the reference is too short for that.
    pub(super) fn rule(&self) -> Result<Rule> {
        let watched = self.watched().len();
        let periods = self.periods_of();
        let (seasons, looks) = (periods.seasons(), periods.per_quarter());
        let rule = |reference| Rule::of(reference, seasons, (watched, looks), self.alarms);
        rule(self.reference()).ok_or_else(|| {
            let least =
                (self.reference()..=REFERENCE_MAX).find(|reference| rule(*reference).is_some());
            let least =
                least.map_or("fewer columns".to_owned(), |least| format!("at least {least}"));
            let says = format!(
                "expected {least} for {watched} columns and {} false alarms, found {}",
                self.alarms,
                self.reference()
            );
            bad(NAME, "reference", says)
        })
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let watched = self.watched().len();
        if watched > COLUMNS_MAX || self.columns.as_ref().is_some_and(Vec::is_empty) {
            let says = format!("expected 1 to {COLUMNS_MAX}, found {watched}");
            return Err(bad(NAME, "columns", says));
        }
        // They name rows of the results.
        if let Some(long) = self.watched().iter().map(String::len).find(|long| *long > NAME_MAX) {
            let says = format!("expected at most {NAME_MAX} bytes, found {long}");
            return Err(bad(NAME, "columns", says));
        }
        if let Some((_, twice)) = self
            .watched()
            .iter()
            .enumerate()
            .find(|(at, of)| self.watched().iter().take(*at).any(|before| before == *of))
        {
            return Err(bad(NAME, "columns", format!("{twice:?} is named twice")));
        }
        if !(14..=REFERENCE_MAX).contains(&self.reference()) {
            let says = format!("expected 14 to {REFERENCE_MAX}, found {}", self.reference());
            return Err(bad(NAME, "reference", says));
        }
        if !(1..=1_000_000).contains(&self.min_rows) {
            let says = format!("expected 1 to 1,000,000, found {}", self.min_rows);
            return Err(bad(NAME, "min_rows", says));
        }
        if !(0.001..=100.0).contains(&self.alarms) {
            let says = format!("expected 0.001 to 100, found {}", self.alarms);
            return Err(bad(NAME, "alarms", says));
        }
        let outputs = [("output", &self.output), ("scores_output", &self.scores_output)];
        check_outputs(NAME, &outputs, std::slice::from_ref(&self.dataset))
    }
}
