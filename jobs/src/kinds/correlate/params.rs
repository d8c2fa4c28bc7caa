//! The parameters of `correlate`.

use std::collections::BTreeSet;

use analysis::calendar::{Holidays, Interval, Zone};
use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_times, dataset_name};
use crate::series::{EmptyAs, Intervals, check_measure};

/// Which series to compare, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the series, one row for each sample. Default: metrics.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column that names the series; null makes the whole dataset one series. Default: series.
    pub series_column: Option<String>,
    /// Column with the instant of a sample. Default: at.
    pub time_column: String,
    /// Column with the value of a sample. Default: value.
    pub value_column: String,
    /// Only these series, by name; empty takes all. Default: [].
    pub series: Vec<String>,
    /// In the place of the value column: a measure of the rows of each `interval`, such as "count(*)", "sum(cost_usd)" or the name of
    /// one that the dataset declares. The interval that the newest row lies in is left out. Default: null.
    pub measure: Option<String>,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// What an interval without rows is: "zero", "missing", or "auto": zero where the measure is a count or a sum. Default: auto.
    pub empty: EmptyAs,
    /// Series of other datasets, or others of this one, that are compared with these and with each other. They are called
    /// "name/series", or "name" alone without a `series_column`. Default: [].
    pub also: Vec<Also>,
    /// Leave out samples before this instant. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<DateTime<Utc>>,
    /// Leave out samples at or after this instant. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub to: Option<DateTime<Utc>>,
    /// Length of a bucket of the common grid: "5m", "1h", or calendar units such as "1d", "1bd" (business days), "1w", "1mo", "1q",
    /// "1y". The mean of a series' samples in it is its value. Null takes the usual distance of samples; a measure needs one.
    /// Default: null.
    pub interval: Option<Interval>,
    /// Time zone of calendar intervals, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Days off, which business days exclude: dates, or codes of countries for their public holidays, such as ["DE", "2026-12-24"].
    /// Default: [].
    pub holidays: Holidays,
    /// Gaps of at most this many buckets are filled by a straight line. Default: 3.
    pub fill_buckets: usize,
    /// Series with more of their buckets empty after that are left out, 0 to 1. Default: 0.2.
    pub max_missing: f64,
    /// Series are compared when they share at least this part of the longer one's time, 0 to 1. Default: 0.5.
    pub min_overlap: f64,
    /// What is removed from each series first. "seasonal" removes its seasons, a line, and what is slower than
    /// `trend_buckets`. "difference" takes the change from bucket to bucket. "none" removes nothing; two series that
    /// grow are then reported only if they agree in more than that. Default: seasonal.
    pub detrend: Detrend,
    /// Length of the centred window whose mean is the trend for "seasonal", in buckets, 3 or more. A third of a shorter series is the
    /// most. Default: 288.
    pub trend_buckets: usize,
    /// Values further than this from the median, in robust standard deviations, are moved there, so that two
    /// outliers at one time do not make a correlation; 0 moves none. Default: 6.
    pub clip: f64,
    /// Largest lag to look at either way, in buckets; 0 looks at none. Default: 24.
    pub max_lag: usize,
    /// Which pairs the lags are looked at for: "all", "correlated" (those found without a lag), or "auto", which
    /// takes all unless that is more than 2e12 multiplications. Default: auto.
    pub lag_search: LagSearch,
    /// Least magnitude of a coefficient that is reported, 0 to 1. Default: 0.5.
    pub min_coefficient: f64,
    /// Greatest false-discovery rate among the reported, above 0 and to 1. Default: 0.01.
    pub max_q: f64,
    /// Report at most so many pairs, the strongest. Default: 10000.
    pub pairs_max: usize,
    /// Dataset that the pairs are committed to. Default: correlations.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset that says who leads whom, where lags were looked at and no `series` are named. Default: lead_lag.
    #[schemars(with = "String")]
    pub leads: DatasetName,
}

/// Series of another dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Also {
    /// Dataset that holds the series, one row for each sample, or rows that they are computed of.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// What its series are called by. Default: the dataset's name.
    #[serde(default)]
    pub name: Option<String>,
    /// Column that names the series; null makes the whole dataset one series. Default: null.
    #[serde(default)]
    pub series_column: Option<String>,
    /// Column with the instant of a sample. Default: at.
    #[serde(default = "at")]
    pub time_column: String,
    /// Column with the value of a sample. Default: value.
    #[serde(default = "value")]
    pub value_column: String,
    /// In the place of the value column: a measure of the rows of each `interval`. Default: null.
    #[serde(default)]
    pub measure: Option<String>,
    /// Only rows of which this is true. Default: null.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// What an interval without rows is: "zero", "missing" or "auto". Default: auto.
    #[serde(default)]
    pub empty: EmptyAs,
}

fn at() -> String {
    "at".into()
}

fn value() -> String {
    "value".into()
}

impl Also {
    /// Whether a series of the results is one of it, by its name.
    pub(super) fn has(&self, series: &str) -> bool {
        match series.strip_prefix(self.label()) {
            Some(rest) if self.series_column.is_none() => rest.is_empty(),
            Some(rest) => rest.starts_with('/'),
            None => false,
        }
    }

    /// What its series are called by.
    pub(super) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.dataset.as_str())
    }
}

/// What is taken out of a series before it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detrend {
    /// The season and the trend.
    #[default]
    Seasonal,
    /// All but the change from bucket to bucket.
    Difference,
    /// Nothing.
    None,
}

/// Which pairs lags are looked at for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LagSearch {
    /// All, as long as that is affordable.
    #[default]
    Auto,
    /// All.
    All,
    /// Those that are correlated without a lag.
    Correlated,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("metrics"),
            series_column: Some("series".into()),
            time_column: at(),
            value_column: value(),
            series: Vec::new(),
            measure: None,
            condition: None,
            empty: EmptyAs::Auto,
            also: Vec::new(),
            from: None,
            to: None,
            interval: None,
            zone: Zone::UTC,
            holidays: Holidays::default(),
            fill_buckets: 3,
            max_missing: 0.2,
            min_overlap: 0.5,
            detrend: Detrend::Seasonal,
            trend_buckets: 288,
            clip: 6.0,
            max_lag: 24,
            lag_search: LagSearch::Auto,
            min_coefficient: 0.5,
            max_q: 0.01,
            pairs_max: 10_000,
            output: dataset_name("correlations"),
            leads: dataset_name("lead_lag"),
        }
    }
}

impl Detrend {
    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Seasonal => "seasonal",
            Self::Difference => "difference",
            Self::None => "none",
        }
    }
}

impl Params {
    /// Whether it is told who leads whom.
    pub(super) fn has_leads(&self) -> bool {
        self.max_lag > 0 && self.series.is_empty()
    }

    /// The intervals of the common grid.
    pub(super) fn intervals(&self) -> Intervals {
        Intervals::new(self.interval, self.zone, &self.holidays)
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let parts = [
            ("max_missing", self.max_missing),
            ("min_overlap", self.min_overlap),
            ("min_coefficient", self.min_coefficient),
        ];
        for (name, value) in parts {
            if !(0.0..=1.0).contains(&value) {
                return Err(bad(NAME, name, format!("expected 0 to 1, found {value}")));
            }
        }
        if !(self.max_q > 0.0 && self.max_q <= 1.0) {
            return Err(bad(
                NAME,
                "max_q",
                format!("expected above 0 and at most 1, found {}", self.max_q),
            ));
        }
        if !(self.clip.is_finite() && self.clip >= 0.0) {
            return Err(bad(NAME, "clip", format!("expected 0 or more, found {}", self.clip)));
        }
        if self.trend_buckets < 3 {
            return Err(bad(
                NAME,
                "trend_buckets",
                format!("expected 3 or more buckets, found {}", self.trend_buckets),
            ));
        }
        if self.max_lag > MAX_LAG_MOST {
            return Err(bad(
                NAME,
                "max_lag",
                format!("expected at most {MAX_LAG_MOST} buckets, found {}", self.max_lag),
            ));
        }
        if !(1..=PAIRS_MOST).contains(&self.pairs_max) {
            return Err(bad(
                NAME,
                "pairs_max",
                format!("expected 1 to {PAIRS_MOST}, found {}", self.pairs_max),
            ));
        }
        if self.leads == self.output {
            return Err(bad(NAME, "leads", "expected another dataset than `output`"));
        }
        self.check_sources()?;
        check_times(NAME, self.from, self.to)
    }

    fn check_sources(&self) -> Result<()> {
        if self.also.len() > ALSO_MOST {
            let says = format!("expected at most {ALSO_MOST}, found {}", self.also.len());
            return Err(bad(NAME, "also", says));
        }
        if !self.also.is_empty() && !self.series.is_empty() {
            let says = "expected none beside `also`, whose series have no names here: leave others out by `where`";
            return Err(bad(NAME, "series", says));
        }
        let of = |measure: &Option<String>, empty| {
            check_measure(NAME, measure.is_some(), self.interval.is_some(), empty)
        };
        of(&self.measure, self.empty)?;
        let mut labels = BTreeSet::new();
        for (at, also) in self.also.iter().enumerate() {
            of(&also.measure, also.empty)?;
            let name = format!("also[{at}]: name");
            if also.label().is_empty() || also.label().len() > LABEL_BYTES_MOST {
                let says = format!("expected 1 to {LABEL_BYTES_MOST} bytes");
                return Err(bad(NAME, &name, says));
            }
            if !labels.insert(also.label()) {
                let says =
                    format!("another one is called {:?}, too: give each a `name`", also.label());
                return Err(bad(NAME, &name, says));
            }
        }
        Ok(())
    }
}

/// Most datasets beside the first.
const ALSO_MOST: usize = 32;
/// Longest name of one.
const LABEL_BYTES_MOST: usize = 100;
/// Most lags either way.
const MAX_LAG_MOST: usize = 10_000;
/// Most pairs in one result.
const PAIRS_MOST: usize = 10_000_000;
