//! The rows that `correlate` commits.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};

use super::behind::EXPLAINED;
use super::params::Detrend;
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

/// Two series that move together; a row of the output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Correlation {
    pub(super) series_a: String,
    pub(super) series_b: String,
    pub(super) coefficient: f64,
    pub(super) n: usize,
    pub(super) effective_n: f64,
    pub(super) p: f64,
    pub(super) q: f64,
    pub(super) lag: Option<BestLag>,
    pub(super) interval_us: i64,
    pub(super) started_at: i64,
    pub(super) ended_at: i64,
    /// `None` where it was not asked.
    pub(super) told: Option<Told>,
}

/// What lies behind a pair.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) origin: &'static str,
    /// The series that explains most of it, and what remains given that.
    pub(super) given: Option<(String, Option<f64>)>,
    pub(super) course: Option<&'static str>,
    /// When it becomes another, and the coefficients before and after.
    pub(super) breaks: Option<(i64, [f64; 2])>,
}

/// The lag at which two series agree best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BestLag {
    pub(super) samples: i64,
    pub(super) coefficient: f64,
    pub(super) p: f64,
    /// `None` where lags were looked at for chosen pairs only.
    pub(super) q: Option<f64>,
}

impl Correlation {
    /// The larger magnitude of the two coefficients.
    pub(super) fn strength(&self) -> f64 {
        self.coefficient.abs().max(self.lag.map_or(0.0, |lag| lag.coefficient.abs()))
    }
}

impl Correlation {
    /// The series that explains it, where one does.
    pub(super) fn explained_by(&self) -> Option<&str> {
        let told = self.told.as_ref().filter(|told| told.origin == EXPLAINED)?;
        told.given.as_ref().map(|(series, _)| series.as_str())
    }
}

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let float = |name, about| column(name, ColumnType::Float64, true, about);
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset that was looked at"),
        required("series_a", ColumnType::Text, "The series whose name sorts first"),
        required("series_b", ColumnType::Text, "The other series"),
        with_unit(
            required("coefficient", ColumnType::Float64, "Pearson's coefficient without a lag"),
            "-1 to 1",
        ),
        with_unit(required("n", ColumnType::Int64, "Buckets that both series have"), "samples"),
        with_unit(
            required(
                "effective_n",
                ColumnType::Float64,
                "Independent samples that n are worth, given the autocorrelation of both",
            ),
            "samples",
        ),
        with_unit(
            required(
                "p_value",
                ColumnType::Float64,
                "Chance of such a coefficient when there is no relation",
            ),
            "probability",
        ),
        with_unit(
            required(
                "q_value",
                ColumnType::Float64,
                "Share of false ones among all pairs at least as significant, over every pair tested",
            ),
            "probability",
        ),
        with_unit(
            column(
                "lag_samples",
                ColumnType::Int64,
                true,
                "Buckets by which b follows a at the best lag; negative where it leads",
            ),
            "samples",
        ),
        with_unit(float("lag_seconds", "The same in seconds"), "s"),
        with_unit(float("lag_coefficient", "Pearson's coefficient at the best lag"), "-1 to 1"),
        with_unit(
            float(
                "lag_p_value",
                "Chance of such a best coefficient over all lags when there is no relation",
            ),
            "probability",
        ),
        with_unit(
            float(
                "lag_q_value",
                "As q_value, of lag_p_value; null where lags were looked at for chosen pairs",
            ),
            "probability",
        ),
        with_unit(required("interval_seconds", ColumnType::Float64, "Length of a bucket"), "s"),
        required("started_at", ColumnType::Timestamp, "Start of the first bucket compared"),
        required("ended_at", ColumnType::Timestamp, "Start of the last bucket compared"),
        required(
            "detrend",
            ColumnType::Text,
            "What was taken out first: seasonal, difference or none",
        ),
        column(
            "origin",
            ColumnType::Text,
            true,
            "direct, explained by another series, or undecided; null beyond the strongest 2000 pairs of series that are compared together",
        ),
        column("given", ColumnType::Text, true, "The series that explains most of it"),
        with_unit(float("remaining", "The coefficient that remains given that series"), "-1 to 1"),
        column(
            "course",
            ColumnType::Text,
            true,
            "Over time: steady, breaks (changes once) or wavers; null where there are too few samples to tell",
        ),
        column(
            "breaks_at",
            ColumnType::Timestamp,
            true,
            "Of one that breaks: from when on it is another",
        ),
        with_unit(float("coefficient_before", "The coefficient before that"), "-1 to 1"),
        with_unit(float("coefficient_after", "The same from then on"), "-1 to 1"),
        column(
            "across",
            ColumnType::Bool,
            true,
            "Whether a series of the two is of another dataset than the source, whose name stands before its own",
        ),
    ];
    of_sources(
        name,
        "Pairs of series that move together, at once or one after the other",
        ["source", "series_a", "series_b"],
        Some("ended_at"),
        columns,
    )
}

/// The pairs of one source as rows.
pub(super) fn batch(
    spec: &DatasetSpec,
    source: &str,
    detrend: Detrend,
    is_across: &dyn Fn(&str) -> bool,
    found: &[Correlation],
) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Correlation) -> String| {
        Arc::new(StringArray::from_iter_values(found.iter().map(get))) as ArrayRef
    };
    let floats = |get: &dyn Fn(&Correlation) -> Option<f64>| {
        Arc::new(Float64Array::from_iter(found.iter().map(get))) as ArrayRef
    };
    let integers = |get: &dyn Fn(&Correlation) -> Option<i64>| {
        Arc::new(Int64Array::from_iter(found.iter().map(get))) as ArrayRef
    };
    let times = |get: &dyn Fn(&Correlation) -> i64| timestamps(found.iter().map(get));
    let words = |get: &dyn Fn(&Told) -> Option<String>| {
        let of = |c: &Correlation| c.told.as_ref().and_then(get);
        Arc::new(StringArray::from_iter(found.iter().map(of))) as ArrayRef
    };
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "source" => texts(&|_| source.to_owned()),
                "series_a" => texts(&|c| c.series_a.clone()),
                "series_b" => texts(&|c| c.series_b.clone()),
                "coefficient" => floats(&|c| Some(c.coefficient)),
                "n" => integers(&|c| Some(c.n as i64)),
                "effective_n" => floats(&|c| Some(c.effective_n)),
                "p_value" => floats(&|c| Some(c.p)),
                "q_value" => floats(&|c| Some(c.q)),
                "lag_samples" => integers(&|c| c.lag.map(|lag| lag.samples)),
                "lag_seconds" => {
                    floats(&|c| c.lag.map(|lag| lag.samples as f64 * c.interval_us as f64 / 1e6))
                }
                "lag_coefficient" => floats(&|c| c.lag.map(|lag| lag.coefficient)),
                "lag_p_value" => floats(&|c| c.lag.map(|lag| lag.p)),
                "lag_q_value" => floats(&|c| c.lag.and_then(|lag| lag.q)),
                "interval_seconds" => floats(&|c| Some(c.interval_us as f64 / 1e6)),
                "started_at" => times(&|c| c.started_at),
                "ended_at" => times(&|c| c.ended_at),
                "detrend" => texts(&|_| detrend.as_str().to_owned()),
                "origin" => words(&|told| Some(told.origin.to_owned())),
                "given" => words(&|told| told.given.as_ref().map(|(series, _)| series.clone())),
                "remaining" => floats(&|c| c.told.as_ref()?.given.as_ref()?.1),
                "course" => words(&|told| told.course.map(str::to_owned)),
                "breaks_at" => {
                    let at = |c: &Correlation| Some(c.told.as_ref()?.breaks?.0);
                    let at = TimestampMicrosecondArray::from_iter(found.iter().map(at));
                    Arc::new(at.with_timezone("UTC"))
                }
                "across" => {
                    let is = |c: &Correlation| is_across(&c.series_a) || is_across(&c.series_b);
                    Arc::new(BooleanArray::from_iter(found.iter().map(|c| Some(is(c)))))
                }
                "coefficient_before" => floats(&|c| Some(c.told.as_ref()?.breaks?.1[0])),
                "coefficient_after" => floats(&|c| Some(c.told.as_ref()?.breaks?.1[1])),
                other => {
                    return Err(Error::internal(format!(
                        "correlate: no value for column {other:?}"
                    )));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_as_strong_as_the_larger_magnitude_of_its_coefficients() {
        let of = |coefficient: f64, at_lag: Option<f64>| {
            let lag = |coefficient| BestLag { samples: 1, coefficient, p: 0.0, q: None };
            Correlation {
                series_a: "a".into(),
                series_b: "b".into(),
                coefficient,
                n: 9,
                effective_n: 9.0,
                p: 0.0,
                q: 0.0,
                lag: at_lag.map(lag),
                interval_us: 1,
                started_at: 0,
                ended_at: 8,
                told: None,
            }
            .strength()
        };
        assert_eq!([of(-0.9, None), of(0.4, None)], [0.9, 0.4]);
        assert_eq!([of(-0.9, Some(-0.5)), of(0.4, Some(-0.5))], [0.9, 0.5]);
    }
}
