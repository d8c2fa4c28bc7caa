//! The parameters that every job has which looks at series on a grid, said once: which series, of which samples or of which rows.

use analysis::calendar::Interval;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Empty, SeriesSource};
use crate::parameters::bad;
use crate::run::context::RunContext;

/// The most values of a series that are looked back on.
const HISTORY_MAX: usize = 100_000;

/// What an interval without rows is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmptyAs {
    /// Zero where the measure is a count or a sum.
    #[default]
    Auto,
    /// Nothing was counted.
    Zero,
    /// Not known.
    Missing,
}

/// A parameter struct with those of the series before its own. Each own one is followed by its default.
macro_rules! series_params {
    (
        job: $job:expr,
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$of:meta])* pub $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Dataset that holds the series, one row for each sample, or rows that they are computed of. Default: metrics.
            #[schemars(with = "String")]
            pub dataset: datasets::DatasetName,
            /// Column that names the series; null makes the whole dataset one series. Default: series.
            pub series_column: Option<String>,
            /// Column with the instant of a sample. Default: at.
            pub time_column: String,
            /// Column with the value of a sample. Default: value.
            pub value_column: String,
            /// In the place of the value column: a measure of the rows of each `interval`, such as "count(*)", "sum(cost_usd)" or the
            /// name of one that the dataset declares. The interval that the newest row lies in is left out. Default: null.
            pub measure: Option<String>,
            /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
            #[serde(rename = "where")]
            pub condition: Option<String>,
            /// Length of an interval: "5m", "1h", or calendar units such as "1d", "1bd" (business days), "1w", "1mo", "1q", "1y".
            /// Its value is the mean of its samples. Null infers the interval of each series from its samples. Default: null.
            pub interval: Option<analysis::calendar::Interval>,
            /// Time zone of calendar intervals, by its IANA name. Default: UTC.
            pub zone: analysis::calendar::Zone,
            /// Days off, which business days exclude: dates, or codes of countries for their public holidays, such as ["DE", "2026-12-24"].
            /// Default: [].
            pub holidays: analysis::calendar::Holidays,
            /// Seasons, such as ["1d", "1w"]; [] for none, null finds those that hold. Default: null.
            pub seasons: Option<Vec<analysis::calendar::Interval>>,
            /// What an interval without rows is: "zero", "missing", or "auto": zero where the measure is a count or a sum.
            /// Default: auto.
            pub empty: crate::series::EmptyAs,
            /// Only these series, by name; empty takes all. Default: [].
            pub series: Vec<String>,
            /// Leave out samples before this instant. Default: null.
            #[schemars(with = "Option<String>", extend("format" = "date-time"))]
            pub from: Option<chrono::DateTime<chrono::Utc>>,
            /// Leave out samples at or after this instant, as if it were now. Default: null.
            #[schemars(with = "Option<String>", extend("format" = "date-time"))]
            pub to: Option<chrono::DateTime<chrono::Utc>>,
            /// Intervals that are looked back on at most, 8 to 100000. Default: 2016, which is a week of 5 minutes.
            pub history: usize,
            $($(#[$of])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    dataset: crate::parameters::dataset_name("metrics"),
                    series_column: Some("series".into()),
                    time_column: "at".into(),
                    value_column: "value".into(),
                    measure: None,
                    condition: None,
                    interval: None,
                    zone: analysis::calendar::Zone::UTC,
                    holidays: analysis::calendar::Holidays::default(),
                    seasons: None,
                    empty: crate::series::EmptyAs::Auto,
                    series: Vec::new(),
                    from: None,
                    to: None,
                    history: 2_016,
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            /// The series that are looked at.
            pub(super) fn source(&self) -> crate::series::SeriesSource<'_> {
                let measure = self.measure.as_deref().zip(self.interval);
                let measure = measure.map(|(text, interval)| {
                    crate::series::MeasureOf::new(text, self.intervals().stated(interval))
                });
                crate::series::SeriesSource {
                    job: $job,
                    dataset: &self.dataset,
                    series_column: self.series_column.as_deref(),
                    time_column: &self.time_column,
                    value_column: &self.value_column,
                    only: &self.series,
                    from: self.from,
                    to: self.to,
                    condition: self.condition.as_deref(),
                    measure,
                }
            }

            /// The intervals of the series.
            pub(super) fn intervals(&self) -> crate::series::Intervals {
                crate::series::Intervals::new(self.interval, self.zone, &self.holidays)
            }

            /// Checks of these what the types can't.
            fn check_series(&self) -> engine::Result<()> {
                let is_measured = self.measure.is_some();
                let (interval, empty, history) = (self.interval, self.empty, self.history);
                crate::series::check_grid($job, is_measured, interval, empty, history)?;
                crate::parameters::check_times($job, self.from, self.to)
            }
        }
    };
}
pub(crate) use series_params;

/// Fails where intervals can't be what is asked.
pub(crate) fn check_grid(
    job: &str,
    is_measured: bool,
    interval: Option<Interval>,
    empty: EmptyAs,
    history: usize,
) -> Result<()> {
    check_measure(job, is_measured, interval.is_some(), empty)?;
    check_count(job, "history", history, super::regular::BUCKETS_MIN, HISTORY_MAX)
}

/// Fails where a measure has no interval, or what has no measure is filled up.
pub(crate) fn check_measure(
    job: &str,
    is_measured: bool,
    has_interval: bool,
    empty: EmptyAs,
) -> Result<()> {
    if is_measured && !has_interval {
        let says = "expected a length, such as \"1h\": a measure is of the rows of an interval";
        return Err(bad(job, "interval", says));
    }
    if empty == EmptyAs::Zero && !is_measured {
        let says = "expected a `measure` beside it: an interval without samples has no value";
        return Err(bad(job, "empty", says));
    }
    Ok(())
}

/// Fails where a number of intervals is not within its bounds.
pub(crate) fn check_count(
    job: &str,
    name: &str,
    found: usize,
    least: usize,
    most: usize,
) -> Result<()> {
    match (least..=most).contains(&found) {
        true => Ok(()),
        false => {
            let says = format!("expected {least} to {most} intervals, found {found}");
            Err(bad(job, name, says))
        }
    }
}

impl SeriesSource<'_> {
    /// What an interval without rows is, of a source that [ends where they do](Self::closed).
    pub(crate) fn empty(&self, ctx: &RunContext, asked: EmptyAs) -> Result<Empty> {
        let (Some(measure), Some(to)) = (&self.measure, self.to) else { return Ok(Empty::Missing) };
        let is_zero = match asked {
            EmptyAs::Zero => true,
            EmptyAs::Missing => false,
            EmptyAs::Auto => measure.read(ctx.session(), self.job, self.dataset)?.is_total(),
        };
        // The interval before the one that begins at `to`.
        let last_us = measure.begin(to.timestamp_micros().saturating_sub(1));
        Ok(if is_zero { Empty::ZeroUntil(last_us) } else { Empty::Missing })
    }
}
