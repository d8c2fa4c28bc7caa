//! What a job found, in the one form in which findings of all jobs are compared.

use serde_json::{Value, json};

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Anomaly,
    Level,
    Slope,
    Season,
    Record,
    ForecastMiss,
    Correlation,
    Change,
    Duplicates,
    OutOfScope,
    Quality,
    Drift,
    Saving,
    Better,
    TargetMiss,
    BadData,
    Worse,
}

impl Kind {
    pub(super) const ALL: [Self; 17] = [
        Self::Anomaly,
        Self::Level,
        Self::Slope,
        Self::Season,
        Self::Record,
        Self::ForecastMiss,
        Self::Correlation,
        Self::Change,
        Self::Duplicates,
        Self::OutOfScope,
        Self::Quality,
        Self::Drift,
        Self::Saving,
        Self::Better,
        Self::TargetMiss,
        Self::BadData,
        Self::Worse,
    ];

    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Level => "level",
            Self::Slope => "slope",
            Self::Season => "season",
            Self::Record => "record",
            Self::ForecastMiss => "forecast_miss",
            Self::Correlation => "correlation",
            Self::Change => "change",
            Self::Duplicates => "duplicates",
            Self::OutOfScope => "out_of_scope",
            Self::Quality => "quality",
            Self::Drift => "drift",
            Self::Saving => "saving",
            Self::Better => "better",
            Self::TargetMiss => "target_miss",
            Self::BadData => "bad_data",
            Self::Worse => "worse",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Kinds of one family that are about one subject at one time are one finding: several jobs saw it.
    pub(super) fn family(self) -> Family {
        match self {
            Self::Anomaly | Self::Level | Self::Season | Self::ForecastMiss => Family::Moment,
            Self::Slope => Family::Slope,
            Self::Record => Family::Record,
            Self::Correlation => Family::Correlation,
            Self::Change => Family::Change,
            Self::Duplicates => Family::Duplicates,
            Self::OutOfScope => Family::OutOfScope,
            Self::Quality => Family::Quality,
            Self::Drift => Family::Drift,
            Self::Saving => Family::Saving,
            Self::Better => Family::Better,
            Self::TargetMiss => Family::TargetMiss,
            Self::BadData => Family::BadData,
            Self::Worse => Family::Worse,
        }
    }
}

/// What is said once, whichever job says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    /// Something that happened at a time.
    Moment,
    Slope,
    Record,
    Correlation,
    Change,
    Duplicates,
    OutOfScope,
    Quality,
    Drift,
    Saving,
    Better,
    TargetMiss,
    BadData,
    Worse,
}

impl Family {
    /// Whether two findings of one subject are two things when they are of two times. Others go on, and are the same however often
    /// they are looked at.
    pub(super) fn is_of_a_time(self) -> bool {
        match self {
            Self::Moment
            | Self::Record
            | Self::Change
            | Self::Quality
            | Self::Drift
            | Self::TargetMiss
            | Self::BadData
            | Self::Worse => true,
            Self::Slope
            | Self::Correlation
            | Self::Duplicates
            | Self::OutOfScope
            | Self::Saving
            | Self::Better => false,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Moment => "moment",
            Self::Slope => "slope",
            Self::Record => "record",
            Self::Correlation => "correlation",
            Self::Change => "change",
            Self::Duplicates => "duplicates",
            Self::OutOfScope => "out_of_scope",
            Self::Quality => "quality",
            Self::Drift => "drift",
            Self::Saving => "saving",
            Self::Better => "better",
            Self::TargetMiss => "target_miss",
            Self::BadData => "bad_data",
            Self::Worse => "worse",
        }
    }
}

/// Rows that a finding was read off.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evidence {
    pub(super) dataset: String,
    pub(super) version: u64,
    /// Of which rows, as it stands in SQL behind WHERE.
    pub(super) condition: String,
}

impl Evidence {
    pub(super) fn to_json(&self) -> Value {
        json!({ "dataset": self.dataset, "version": self.version, "where": self.condition })
    }
}

/// A finding of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// The dataset that it is about.
    pub(super) source: String,
    /// What of it: a series, a pair, a group of rows.
    pub(super) subject: String,
    pub(super) started_us: i64,
    pub(super) ended_us: i64,
    /// Times that are less apart than this are one.
    pub(super) interval_us: i64,
    pub(super) headline: String,
    /// 0 to 100.
    pub(super) severity: f64,
    /// Chance that it is not by chance.
    pub(super) confidence: f64,
    /// Rows or samples that it is about.
    pub(super) reach: u64,
    pub(super) evidence: Vec<Evidence>,
    pub(super) chart: Value,
    pub(super) action: String,
    /// Other kinds that say the same.
    pub(super) also: Vec<Kind>,
}

/// The condition that columns have these values.
pub(super) fn only(columns: &[(&str, &str)]) -> String {
    let of = |(column, value): &(&str, &str)| format!("{column} = {}", quoted(value));
    columns.iter().map(of).collect::<Vec<_>>().join(" AND ")
}

/// A text as it stands in SQL.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
