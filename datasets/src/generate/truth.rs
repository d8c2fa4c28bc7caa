//! What a generator hid in its rows, so that what a job finds can be scored.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Everything planted in one generated dataset. Only what fits the asked number of rows is listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Times at which something was made wrong on purpose.
    pub anomalies: Vec<PlantedAnomaly>,
    /// Pairs of series that move together.
    pub correlations: Vec<PlantedCorrelation>,
    /// Keys of rows that say the same thing, exactly or nearly; each group in order of appearance.
    pub duplicates: Vec<Vec<String>>,
    /// Cases of a workflow that took too long.
    pub slow_cases: Vec<PlantedSlowCase>,
}

/// What is wrong during a planted anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A few samples far above what is normal.
    Spike,
    /// A few samples far below what is normal.
    Dip,
    /// The level is another one for hours.
    LevelShift,
    /// Samples are missing.
    Gap,
    /// Calls to one provider fail far more often than usual.
    ErrorBurst,
    /// One model answers several times slower than usual.
    LatencyRise,
    /// Events of one kind come many times more often than usual.
    EventBurst,
}

/// Something wrong, from `start` to `end`, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlantedAnomaly {
    /// The series; for other datasets the provider, the model or the kind of event that it concerns.
    pub series: String,
    /// What is wrong.
    pub kind: AnomalyKind,
    /// First instant concerned.
    pub start: DateTime<Utc>,
    /// Last instant concerned.
    pub end: DateTime<Utc>,
}

/// Two series that move together: `b` repeats `a` after `lag_samples`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlantedCorrelation {
    /// The series that leads.
    pub a: String,
    /// The series that follows.
    pub b: String,
    /// By how many samples it follows.
    pub lag_samples: i64,
    /// Pearson's coefficient at that lag, of the process; a sample of it scatters.
    pub coefficient: f64,
}

/// A case that took too long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlantedSlowCase {
    /// The case.
    pub case_id: String,
    /// The step that took too long.
    pub activity: String,
    /// Why: `resource:NAME` or `activity:NAME`.
    pub cause: String,
}
