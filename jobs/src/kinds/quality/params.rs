//! The parameters of `quality`.

use std::collections::{BTreeMap, BTreeSet};

use analysis::calendar::{Holidays, Interval, Zone};
use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};
use crate::tables::period::Periods;

/// Columns that are looked at, at most.
pub(super) const COLUMNS_MAX: usize = 100;

/// What is looked at, and against what it is held.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that is looked at. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column of when a row was made; null takes the one that the dataset declares. Default: null.
    pub time_column: Option<String>,
    /// Columns that are looked at; null takes all but that of time, 100 at most. Default: null.
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
    /// Periods that are held against those before them, the newest ones, 1 to 1,000. Default: 91.
    pub periods: usize,
    /// Periods before one that say what is usual, 14 to 366. Default: 28.
    pub history: usize,
    /// Rows of a period below which its columns are not looked at, 1 to 1,000,000. Default: 30.
    pub min_rows: u64,
    /// False alarms in a quarter of a year, all checks together, about and at most: 0.001 to 100. Default: 1.
    pub alarms: f64,
    /// The instant up to which it is looked; null takes that of the run. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub as_of: Option<DateTime<Utc>>,
    /// Columns whose values come once in a period, such as ["id"]. Default: [].
    pub unique: Vec<String>,
    /// Columns whose values are there in a column of another dataset, such as {"user_id": "users.id"}. Default: {}.
    pub references: BTreeMap<String, String>,
    /// Whether values are held against earlier ones as a whole, too, as the job drift does. Default: true.
    pub distributions: bool,
    /// Limits that are known, in the place of learned ones, such as [{"check": "nulls", "column": "user_id", "max": 0.01}]. Default: [].
    pub limits: Vec<Known>,
    /// Dataset of the checks. Default: quality_checks.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset of the scores. Default: quality_scores.
    #[schemars(with = "String")]
    pub scores_output: DatasetName,
}

/// A limit that is known.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What is measured: gap, rows, nulls, empty, least, greatest, mean, shortest, longest, repeated or orphans.
    pub check: Check,
    /// Of which column; none of gap and rows, and null elsewhere takes all columns.
    #[serde(default)]
    pub column: Option<String>,
    /// The least that it may be, in its unit; null for any.
    #[serde(default)]
    pub min: Option<f64>,
    /// The most that it may be, in its unit; null for any.
    #[serde(default)]
    pub max: Option<f64>,
}

/// What is measured of a period.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The longest time without a row, in seconds.
    Gap,
    /// How many rows there are.
    Rows,
    /// Part of the rows without a value, or with one that is no number.
    Nulls,
    /// Part of the texts that are empty, or white space.
    Empty,
    /// The smallest number.
    Least,
    /// The largest number.
    Greatest,
    /// The mean of the numbers.
    Mean,
    /// The length of the shortest text, in characters.
    Shortest,
    /// The length of the longest text, in characters.
    Longest,
    /// Part of the values that were there before in the period.
    Repeated,
    /// Part of the values that are not there in the dataset that they refer to.
    Orphans,
    /// How far the values are from earlier ones as a whole.
    Distribution,
}

impl Check {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Rows => "rows",
            Self::Nulls => "nulls",
            Self::Empty => "empty",
            Self::Least => "least",
            Self::Greatest => "greatest",
            Self::Mean => "mean",
            Self::Shortest => "shortest",
            Self::Longest => "longest",
            Self::Repeated => "repeated",
            Self::Orphans => "orphans",
            Self::Distribution => "distribution",
        }
    }

    /// Whether it is of all rows and of no column.
    pub(super) fn is_of_rows(self) -> bool {
        matches!(self, Self::Gap | Self::Rows)
    }

    pub(super) fn dimension(self) -> Dimension {
        match self {
            Self::Gap => Dimension::Freshness,
            Self::Rows => Dimension::Volume,
            Self::Nulls | Self::Empty => Dimension::Completeness,
            Self::Least | Self::Greatest | Self::Mean | Self::Shortest | Self::Longest => {
                Dimension::Validity
            }
            Self::Repeated => Dimension::Uniqueness,
            Self::Orphans => Dimension::Integrity,
            Self::Distribution => Dimension::Consistency,
        }
    }
}

/// What checks are about: each counts as much in a score.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Dimension {
    Freshness,
    Volume,
    Completeness,
    Validity,
    Uniqueness,
    Integrity,
    Consistency,
}

impl Dimension {
    pub(super) const ALL: [Self; 7] = [
        Self::Freshness,
        Self::Volume,
        Self::Completeness,
        Self::Validity,
        Self::Uniqueness,
        Self::Integrity,
        Self::Consistency,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Freshness => "freshness",
            Self::Volume => "volume",
            Self::Completeness => "completeness",
            Self::Validity => "validity",
            Self::Uniqueness => "uniqueness",
            Self::Integrity => "integrity",
            Self::Consistency => "consistency",
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("model_calls"),
            time_column: None,
            columns: None,
            condition: None,
            period: Interval::DAY,
            zone: Zone::UTC,
            holidays: Holidays::default(),
            periods: 91,
            history: 28,
            min_rows: 30,
            alarms: 1.0,
            as_of: None,
            unique: Vec::new(),
            references: BTreeMap::new(),
            distributions: true,
            limits: Vec::new(),
            output: dataset_name("quality_checks"),
            scores_output: dataset_name("quality_scores"),
        }
    }
}

impl Params {
    /// Periods by number.
    pub(super) fn periods_of(&self) -> Periods {
        Periods::new(self.period, self.zone, &self.holidays)
    }

    /// What a column refers to: a dataset, and its column.
    pub(super) fn referred(&self) -> Result<Vec<(&str, DatasetName, &str)>> {
        let of = self.references.iter().map(|(column, to)| {
            let parts = to.split_once('.');
            let parts = parts.and_then(|(dataset, of)| Some((DatasetName::new(dataset).ok()?, of)));
            let (dataset, of) = parts.filter(|(_, of)| !of.is_empty()).ok_or_else(|| {
                let says = format!("{column}: expected DATASET.COLUMN, found {to:?}");
                bad(NAME, "references", says)
            })?;
            Ok((column.as_str(), dataset, of))
        });
        of.collect()
    }

    /// The limit that is known of a check.
    pub(super) fn known(&self, check: Check, column: &str) -> Option<&Known> {
        let is_of = |known: &&Known| {
            known.check == check && known.column.as_deref().is_none_or(|of| of == column)
        };
        // One of the column comes before one of all.
        let of_column = self.limits.iter().filter(is_of).find(|known| known.column.is_some());
        of_column.or_else(|| self.limits.iter().find(is_of))
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let columns = self.columns.as_deref().unwrap_or_default();
        if columns.len() > COLUMNS_MAX {
            let says = format!("expected at most {COLUMNS_MAX}, found {}", columns.len());
            return Err(bad(NAME, "columns", says));
        }
        for (name, of) in [("columns", columns), ("unique", &self.unique)] {
            let mut seen = BTreeSet::new();
            if let Some(twice) = of.iter().find(|of| !seen.insert(*of)) {
                return Err(bad(NAME, name, format!("{twice:?} is named twice")));
            }
        }
        let counts = [
            ("periods", self.periods as u64, 1, 1_000),
            ("history", self.history as u64, 14, 366),
            ("min_rows", self.min_rows, 1, 1_000_000),
            ("unique", self.unique.len() as u64, 0, COLUMNS_MAX as u64),
            ("references", self.references.len() as u64, 0, COLUMNS_MAX as u64),
            ("limits", self.limits.len() as u64, 0, 10_000),
        ];
        for (name, found, least, most) in counts {
            if !(least..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected {least} to {most}, found {found}")));
            }
        }
        if !(0.001..=100.0).contains(&self.alarms) {
            let says = format!("expected 0.001 to 100, found {:?}", self.alarms);
            return Err(bad(NAME, "alarms", says));
        }
        let mut seen = BTreeSet::new();
        for known in &self.limits {
            if !seen.insert((known.check, known.column.as_deref())) {
                let says = format!("{}: two limits for one check", known.check.as_str());
                return Err(bad(NAME, "limits", says));
            }
            known.is_right().map_err(|problem| {
                bad(NAME, "limits", format!("{}: {problem}", known.check.as_str()))
            })?;
        }
        let outputs = [("output", &self.output), ("scores_output", &self.scores_output)];
        let mut inputs = vec![self.dataset.clone()];
        inputs.extend(self.referred()?.into_iter().map(|(_, dataset, _)| dataset));
        check_outputs(NAME, &outputs, &inputs)
    }
}

impl Known {
    fn is_right(&self) -> Result<(), String> {
        if self.check == Check::Distribution {
            return Err("is held against what was, and has no limit that could be told".to_owned());
        }
        if self.check.is_of_rows() && self.column.is_some() {
            return Err("is of all rows; expected no `column`".to_owned());
        }
        match (self.min, self.max) {
            (None, None) => Err("expected `min` or `max`".to_owned()),
            (Some(min), Some(max)) if min > max => {
                Err(format!("expected `min` up to `max`, found {min} and {max}"))
            }
            _ => Ok(()),
        }
    }
}
