//! Reading series out of a dataset, for every job that looks at values over time. The rows come sorted
//! by series and time through DataFusion, which spills when they do not fit; they are cut into chunks of
//! whole series that keep to a number of points, so that a job holds a few series at a time and never
//! the dataset.

use std::borrow::Cow;
use std::sync::Arc;

use analysis::series::Series;
use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::prelude::DataFrame;
use datasets::DatasetName;
use engine::{Code, Error, Result};
use futures::StreamExt;

use crate::context::RunContext;
use crate::table::{InputTable, is_text};

/// Which columns of which dataset hold the series.
#[derive(Clone, Debug)]
pub(crate) struct SeriesSource<'a> {
    pub(crate) job: &'static str,
    pub(crate) dataset: &'a DatasetName,
    /// `None`: the whole dataset is one series, named as the dataset.
    pub(crate) series_column: Option<&'a str>,
    pub(crate) time_column: &'a str,
    pub(crate) value_column: &'a str,
    /// Only these; all when empty.
    pub(crate) only: &'a [String],
    /// Rows before this are not read.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Rows at or after this are not read.
    pub(crate) to: Option<DateTime<Utc>>,
}

/// Names of the columns of [`SeriesSource::frame`].
pub(crate) const SERIES: &str = "series";
pub(crate) const AT: &str = "at";
pub(crate) const VALUE: &str = "value";

impl SeriesSource<'_> {
    /// The rows as (series text, at timestamp, value float64), in no order. Fails with `BAD_INPUT`
    /// naming the parameter when a column is not there or of a wrong type.
    pub(crate) async fn frame(&self, ctx: &RunContext) -> Result<DataFrame> {
        let table = InputTable::open(ctx, self.job, self.dataset).await?;
        if let Some(column) = self.series_column {
            table.check("series_column", column, "a text or whole number", |t| {
                t.is_integer() || is_text(t)
            })?;
        }
        table.check("time_column", self.time_column, "a timestamp or date", |t| t.is_temporal())?;
        table.check("value_column", self.value_column, "a number", DataType::is_numeric)?;
        let series = match self.series_column {
            Some(column) => cast(ident(column), DataType::Utf8),
            None => lit(self.dataset.as_str()),
        };
        let at = cast(ident(self.time_column), microseconds());
        let mut frame = table.frame.select(vec![
            series.alias(SERIES),
            at.alias(AT),
            cast(ident(self.value_column), DataType::Float64).alias(VALUE),
        ])?;
        let mut conditions = vec![ident(AT).is_not_null(), ident(SERIES).is_not_null()];
        if !self.only.is_empty() {
            let names = self.only.iter().map(|name| lit(name.as_str())).collect();
            conditions.push(ident(SERIES).in_list(names, false));
        }
        conditions.extend(self.from.map(|from| ident(AT).gt_eq(instant(from))));
        conditions.extend(self.to.map(|to| ident(AT).lt(instant(to))));
        for condition in conditions {
            frame = frame.filter(condition)?;
        }
        Ok(frame)
    }

    /// Begins to read, sorted by series and time.
    pub(crate) async fn read(&self, ctx: &RunContext) -> Result<SeriesReader> {
        let frame = self.frame(ctx).await?;
        let frame =
            frame.sort(vec![ident(SERIES).sort(true, false), ident(AT).sort(true, false)])?;
        Ok(SeriesReader {
            job: self.job,
            rows: ctx.session().stream(frame).await?,
            open: None,
            rows_read: 0,
            bytes_read: 0,
        })
    }
}

/// Whole series, a few at a time.
pub(crate) struct SeriesReader {
    job: &'static str,
    rows: SendableRecordBatchStream,
    open: Option<Series>,
    pub(crate) rows_read: u64,
    pub(crate) bytes_read: u64,
}

impl SeriesReader {
    /// The next series, together at most about `points_max` points; empty at the end. A single series
    /// beyond that is `RESOURCES_EXHAUSTED`.
    pub(crate) async fn chunk(&mut self, points_max: usize) -> Result<Vec<Series>> {
        let mut chunk: Vec<Series> = Vec::new();
        let mut points = 0;
        while let Some(batch) = self.rows.next().await {
            let batch = batch?;
            self.rows_read += batch.num_rows() as u64;
            self.bytes_read += batch.get_array_memory_size() as u64;
            for series in self.take(&batch)? {
                points += series.times.len();
                chunk.push(series);
            }
            if let Some(open) = &self.open
                && open.times.len() > points_max
            {
                return Err(Error::user(
                    Code::ResourcesExhausted,
                    format!(
                        "{}: series {:?} has more than {points_max} points, which is what the memory \
                         budget holds; raise the budget, or narrow `from` and `to`",
                        self.job, open.name
                    ),
                ));
            }
            // The open one is counted in, or a long one would double the chunk.
            if points + self.open.as_ref().map_or(0, |open| open.times.len()) >= points_max
                && !chunk.is_empty()
            {
                return Ok(chunk);
            }
        }
        chunk.extend(self.open.take());
        Ok(chunk)
    }

    /// Adds the rows of a batch; returns the series that they show to be complete.
    fn take(&mut self, batch: &RecordBatch) -> Result<Vec<Series>> {
        let broken = || Error::internal("series: the rows have other columns than were asked for");
        let names = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let names = names.as_string_opt::<i32>().ok_or_else(broken)?;
        let times =
            batch.column(1).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)?;
        let values = batch.column(2).as_primitive_opt::<Float64Type>().ok_or_else(broken)?;
        let values = or_nan(values);
        let mut complete = Vec::new();
        for rows in arrow::compute::partition(&[Arc::new(names.clone())])?.ranges() {
            let (name, times) = (names.value(rows.start), &times.values()[rows.clone()]);
            // They are in order: the others are between these.
            for &at_us in times.first().into_iter().chain(times.last()) {
                check_instant(self.job, name, at_us)?;
            }
            if self.open.as_ref().is_none_or(|open| open.name != name) {
                let next = Series { name: name.to_owned(), ..Series::default() };
                complete.extend(self.open.replace(next));
            }
            if let Some(open) = &mut self.open {
                open.times.extend_from_slice(times);
                open.values.extend_from_slice(&values[rows]);
            }
        }
        Ok(complete)
    }
}

/// The values, NaN where there is none.
fn or_nan(values: &Float64Array) -> Cow<'_, [f64]> {
    let mut all = Cow::Borrowed(&values.values()[..]);
    if let Some(nulls) = values.nulls() {
        let all = all.to_mut();
        (0..all.len()).filter(|&row| nulls.is_null(row)).for_each(|row| all[row] = f64::NAN);
    }
    all
}

/// Furthest instant from 1970 that series may have, in microseconds: 73,000 years. Differences of two such instants, and a few
/// intervals more, are whole numbers of 64 bits.
const INSTANT_MAX_US: u64 = 1 << 61;

/// `BAD_INPUT` for an instant beyond what can be computed with.
pub(crate) fn check_instant(job: &str, series: &str, at_us: i64) -> Result<()> {
    if at_us.unsigned_abs() <= INSTANT_MAX_US {
        return Ok(());
    }
    let says = "expected an instant within 73,000 years of 1970";
    let found = format!("found {at_us} microseconds from it; narrow `from` and `to`");
    Err(Error::user(Code::BadInput, format!("{job}: series {series:?}: {says}, {found}")))
}

fn microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn instant(at: DateTime<Utc>) -> Expr {
    let micros = Some(at.timestamp_micros());
    lit(datafusion::scalar::ScalarValue::TimestampMicrosecond(micros, Some("UTC".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_too_far_away_names_its_series() {
        let most = INSTANT_MAX_US as i64;
        for at_us in [most, -most, 0] {
            assert!(check_instant("correlate", "s", at_us).is_ok());
        }
        for at_us in [most + 1, -most - 1, i64::MIN, i64::MAX] {
            let error = check_instant("correlate", "s", at_us).map_err(|error| error.to_string());
            assert!(error.is_err_and(|says| says.contains("series \"s\"")), "{at_us}");
        }
    }
}
