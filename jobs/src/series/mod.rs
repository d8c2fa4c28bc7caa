//! Reading series out of a dataset, for every job that looks at values over time. The rows come sorted
//! by series and time through DataFusion, which spills when they do not fit; they are cut into chunks of
//! whole series that keep to a number of points, so that a job holds a few series at a time and never
//! the dataset.

mod begin_of;
pub mod evaluate;
mod look;
mod measure;
mod params;
mod regular;
mod seasons;
pub(crate) mod words;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use analysis::series::Series;
use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session, did_you_mean};
use futures::StreamExt;

pub(crate) use begin_of::begin_of;
pub(crate) use look::{Skipped, Tally, check_cancelled};
#[cfg(test)]
pub(crate) use measure::ORIGIN_US;
pub(crate) use measure::{MeasureOf, of_groups, read_measure};
pub use params::EmptyAs;
pub(crate) use params::{check_count, check_grid, check_measure, series_params};
pub(crate) use regular::{BUCKETS_MIN, Empty, Intervals, Regular, is_about};
pub(crate) use seasons::seasons;

use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::tables::input::{INSTANTS, InputTable, is_text};
use crate::tables::replacing::in_place_of;

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
    /// Only rows of which this is true.
    pub(crate) condition: Option<&'a str>,
    /// In the place of the value column: what is computed of the rows of each interval.
    pub(crate) measure: Option<MeasureOf<'a>>,
}

/// What a series takes in memory besides its points, in points: its name, and lists that are never smaller than four.
const SERIES_POINTS: usize = 4;

/// Names that one of a series that is not there is compared with, and the most bytes that one has.
const NAMES_COMPARED: usize = 10_000;
const NAME_SHOWN_BYTES: usize = 100;
/// Series whose groups are looked up at once.
const GROUPS_MAX: usize = 1_000_000;

/// Names of the columns of [`SeriesSource::frame`].
pub(crate) const SERIES: &str = "series";
pub(crate) const AT: &str = "at";
pub(crate) const VALUE: &str = "value";
/// How many rows a value of an interval was computed of.
pub(crate) const ROWS: &str = "rows";

impl<'a> SeriesSource<'a> {
    /// Fails with `BAD_INPUT` naming the parameter when a column is not there or of a wrong type.
    pub(crate) async fn check(&self, session: &Session) -> Result<InputTable<'a>> {
        let table = InputTable::open(session, self.job, self.dataset).await?;
        if let Some(column) = self.series_column {
            table.check("series_column", column, "a text or whole number", |t| {
                t.is_integer() || is_text(t)
            })?;
        }
        table.check("time_column", self.time_column, INSTANTS, |t| t.is_temporal())?;
        table.check_condition(session, "where", self.condition).await?;
        match &self.measure {
            Some(measure) => drop(measure.read(session, self.job, self.dataset)?),
            None => {
                table.check("value_column", self.value_column, "a number", DataType::is_numeric)?;
            }
        }
        Ok(table)
    }

    /// The rows that are read, and what is their series and their instant.
    pub(crate) async fn rows(&self, ctx: &RunContext) -> Result<(DataFrame, Expr, Expr)> {
        let all = self.check(ctx.session()).await?.frame;
        self.of(ctx, all).await
    }

    /// The same of some rows of the dataset.
    async fn of(&self, ctx: &RunContext, mut frame: DataFrame) -> Result<(DataFrame, Expr, Expr)> {
        let series = match self.series_column {
            Some(column) => cast(ident(column), DataType::Utf8),
            None => lit(self.dataset.as_str()),
        };
        let at = cast(ident(self.time_column), microseconds());
        let mut conditions = vec![at.clone().is_not_null(), series.clone().is_not_null()];
        if !self.only.is_empty() {
            let names = self.only.iter().map(|name| lit(name.as_str())).collect();
            conditions.push(series.clone().in_list(names, false));
        }
        conditions.extend(self.from.map(|from| at.clone().gt_eq(instant(from))));
        conditions.extend(self.to.map(|to| at.clone().lt(instant(to))));
        if let Some(condition) = self.condition {
            let condition = ctx.session().safe_condition(self.dataset, condition).await?;
            let schema = frame.schema();
            conditions.push(ctx.session().or_null(condition, schema, ctx.uncomputed())?);
        }
        for condition in conditions {
            frame = frame.filter(condition)?;
        }
        Ok((frame, series, at))
    }

    /// The rows as (series text, at timestamp, value float64), in no order.
    pub(crate) async fn frame(&self, ctx: &RunContext) -> Result<DataFrame> {
        let all = self.check(ctx.session()).await?.frame;
        self.frame_of(ctx, all).await
    }

    async fn frame_of(&self, ctx: &RunContext, rows: DataFrame) -> Result<DataFrame> {
        let (rows, series, at) = self.of(ctx, rows).await?;
        let Some(measure) = &self.measure else {
            let value = cast(ident(self.value_column), DataType::Float64);
            return Ok(rows.select(vec![
                series.alias(SERIES),
                at.alias(AT),
                value.alias(VALUE),
            ])?);
        };
        let read = measure.read(ctx.session(), self.job, self.dataset)?;
        let groups = vec![series.alias(SERIES)];
        let intervals = measure.of_intervals(ctx, rows, &read, groups, at)?;
        Ok(intervals.select(vec![ident(SERIES), ident(AT), ident(VALUE)])?)
    }

    /// The names of the series that some rows of the dataset are of, in order.
    pub(crate) async fn names_of(
        &self,
        ctx: &RunContext,
        rows: DataFrame,
    ) -> Result<BTreeSet<String>> {
        let (rows, series, _) = self.of(ctx, rows).await?;
        let distinct = rows.select(vec![series.alias(SERIES)])?.distinct()?;
        let mut rows = ctx.session().stream(distinct).await?;
        let mut found = BTreeSet::new();
        while let Some(batch) = rows.next().await.transpose()? {
            ctx.check()?;
            let names = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
            found.extend(names.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(found)
    }

    /// The values of `columns`, which `parameter` names, beside each series: more than once where it has several.
    pub(crate) async fn groups(
        &self,
        ctx: &RunContext,
        parameter: &str,
        columns: &[String],
    ) -> Result<Vec<(String, Vec<Option<String>>)>> {
        let table = self.check(ctx.session()).await?;
        for column in columns {
            table.check(parameter, column, "a text or whole number", |t| {
                t.is_integer() || is_text(t)
            })?;
        }
        let (rows, series, _) = self.rows(ctx).await?;
        let texts = columns
            .iter()
            .enumerate()
            .map(|(at, column)| cast(ident(column), DataType::Utf8).alias(format!("group_{at}")));
        let wanted: Vec<Expr> = [series.alias(SERIES)].into_iter().chain(texts).collect();
        let mut rows = ctx.session().stream(rows.select(wanted)?.distinct()?).await?;
        let mut found = Vec::new();
        while let Some(batch) = rows.next().await.transpose()? {
            let text = |at: usize, row: usize| {
                let texts = batch.column(at).as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            };
            for row in 0..batch.num_rows() {
                let groups = (1..=columns.len()).map(|at| text(at, row)).collect();
                found.push((text(0, row).unwrap_or_default(), groups));
            }
            if found.len() > GROUPS_MAX {
                let says = format!("expected at most {GROUPS_MAX} series with their groups");
                return Err(bad(self.job, parameter, says));
            }
        }
        // The engine gives them in no order.
        found.sort_unstable();
        Ok(found)
    }

    /// Of a measure, without the last interval where more rows may come to it: that of the newest row, whosesoever it is.
    /// `newest` is [what it says](Self::newest), which only a measure needs.
    pub(crate) fn closed(self, newest: Option<i64>) -> Self {
        let (Some(measure), Some(newest)) = (&self.measure, newest) else { return self };
        let asked = self.to.map_or(i64::MAX, |to| measure.begin(to.timestamp_micros()));
        let to = DateTime::from_timestamp_micros(measure.begin(newest).min(asked));
        // Nor with a part of the first one.
        let from = self.from.and_then(|from| {
            let before = from.timestamp_micros().saturating_sub(1);
            DateTime::from_timestamp_micros(measure.end(before))
        });
        Self { to: to.or(self.to), from: from.or(self.from), ..self }
    }

    /// The instant of the newest row, whosesoever it is, that is not in the future; none without rows.
    pub(crate) async fn newest(&self, ctx: &RunContext) -> Result<Option<i64>> {
        let all = Self { only: &[], condition: None, from: None, to: None, ..self.clone() };
        let (rows, _, at) = all.rows(ctx).await?;
        let past = rows.filter(at.clone().lt_eq(instant(ctx.now())))?;
        let newest = past.aggregate(vec![], vec![max(at).alias(AT)])?;
        let newest = ctx.session().collect(newest).await?;
        let instants = newest.first().map(|batch| batch.column(0));
        let instants =
            instants.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let newest = instants.and_then(|instants| instants.iter().next().flatten());
        if let Some(newest) = newest {
            check_instant(self.job, self.dataset.as_str(), newest)?;
        }
        Ok(newest)
    }

    /// Fails with `BAD_INPUT` where a series is asked for by a name that none has, at any time.
    pub(crate) async fn require_named(&self, ctx: &RunContext) -> Result<()> {
        if self.only.is_empty() {
            return Ok(());
        }
        let everywhere = SeriesSource { only: &[], from: None, to: None, ..self.clone() };
        let (rows, series, _) = everywhere.rows(ctx).await?;
        let there = rows.select(vec![series.alias(SERIES)])?.distinct()?;
        let mut wanted: HashSet<&str> = self.only.iter().map(String::as_str).collect();
        let mut some: BTreeSet<String> = BTreeSet::new();
        let mut rows = ctx.session().stream(there).await?;
        while let Some(batch) = rows.next().await {
            let names = arrow::compute::cast(batch?.column(0), &DataType::Utf8)?;
            for name in names.as_string::<i32>().iter().flatten() {
                wanted.remove(name);
                if name.len() <= NAME_SHOWN_BYTES && some.len() < NAMES_COMPARED {
                    some.insert(name.to_owned());
                }
            }
        }
        // The first in the order that they were asked in.
        let Some(missing) = self.only.iter().find(|name| wanted.contains(name.as_str())) else {
            return Ok(());
        };
        let shown: String = missing.chars().take(NAME_SHOWN_BYTES).collect();
        let near = did_you_mean(&shown, some.iter().map(String::as_str));
        let hint = near.unwrap_or_else(|| {
            let few: Vec<&str> = some.iter().take(5).map(String::as_str).collect();
            match few.is_empty() {
                true => "it has no others".to_owned(),
                false => format!("there are, among others, {}", few.join(", ")),
            }
        });
        let more = match wanted.len() {
            1 => String::new(),
            count => format!(" (and {} more of those named)", count - 1),
        };
        let says = format!("dataset {} has no series {shown:?}{more}; {hint}", self.dataset);
        Err(bad(self.job, "series", says))
    }

    /// The rows of a result that a run on some series of `source` replaces; none where it is on all.
    pub(crate) fn part(&self, columns: &[&str]) -> Option<Expr> {
        if self.only.is_empty() {
            return None;
        }
        let of_source = ident("source").eq(lit(self.dataset.as_str()));
        let is_named = |column: &&str| {
            let names = self.only.iter().map(|name| lit(name.as_str())).collect();
            ident(*column).in_list(names, false)
        };
        Some(columns.iter().map(is_named).fold(of_source, Expr::and))
    }

    /// Begins to read, sorted by series and time.
    pub(crate) async fn read(&self, ctx: &RunContext) -> Result<SeriesReader> {
        let all = self.check(ctx.session()).await?.frame;
        self.read_of(ctx, all).await
    }

    /// The same of some rows of the dataset, such as those that came.
    pub(crate) async fn read_of(&self, ctx: &RunContext, rows: DataFrame) -> Result<SeriesReader> {
        let frame = self.frame_of(ctx, rows).await?;
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

/// Commits what was found of series: in the place of all of their source, or of pairs or single ones of those named alone.
pub(crate) async fn commit_series(
    ctx: &RunContext,
    spec: DatasetSpec,
    source: &SeriesSource<'_>,
    columns: &[&str],
    found: RecordBatch,
) -> Result<()> {
    match source.part(columns) {
        Some(part) => ctx.commit_part(spec, part, vec![found]).await,
        None => ctx.commit(spec, in_place_of(source.dataset.as_str()), vec![found]).await,
    }
}

/// What the results of a run on some series, or on all, take the place of, in words.
pub(crate) fn replaces(dataset: &DatasetName, series: &[String]) -> String {
    match series {
        [] => format!("all earlier results of {dataset}"),
        [one] => format!("earlier results of series {one} of {dataset}; those of others stay"),
        some => {
            format!("earlier results of {} series of {dataset}; those of others stay", some.len())
        }
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
    /// The next series, together at most about `points_max` points, each counted as four more than it has; empty at the end. A
    /// single series beyond that is `RESOURCES_EXHAUSTED`.
    pub(crate) async fn chunk(&mut self, points_max: usize) -> Result<Vec<Series>> {
        self.chunk_of(points_max, 0).await
    }

    /// The same where each series takes as much as so many more points.
    pub(crate) async fn chunk_of(
        &mut self,
        points_max: usize,
        series_points: usize,
    ) -> Result<Vec<Series>> {
        let mut chunk: Vec<Series> = Vec::new();
        let mut points = 0;
        while let Some(batch) = self.rows.next().await {
            let batch = batch?;
            self.rows_read += batch.num_rows() as u64;
            self.bytes_read += batch.get_array_memory_size() as u64;
            for series in self.take(&batch)? {
                points += series.times.len() + SERIES_POINTS + series_points;
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
        let series = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let names = series.as_string_opt::<i32>().ok_or_else(broken)?;
        let times =
            batch.column(1).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)?;
        let values = batch.column(2).as_primitive_opt::<Float64Type>().ok_or_else(broken)?;
        let values = or_nan(values);
        let mut complete = Vec::new();
        for rows in arrow::compute::partition(&[Arc::clone(&series)])?.ranges() {
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
    let Some(nulls) = values.nulls() else { return Cow::Borrowed(values.values()) };
    let or_nan = |(value, is_there): (&f64, bool)| if is_there { *value } else { f64::NAN };
    Cow::Owned(values.values().iter().zip(nulls.iter()).map(or_nan).collect())
}

/// Furthest instant from 1970 that series may have, in microseconds: 73,000 years. Differences of two such instants, and a few
/// intervals more, are whole numbers of 64 bits.
pub(crate) const INSTANT_MAX_US: u64 = 1 << 61;

/// `BAD_INPUT` for an instant beyond what can be computed with.
pub(crate) fn check_instant(job: &str, series: &str, at_us: i64) -> Result<()> {
    if at_us.unsigned_abs() <= INSTANT_MAX_US {
        return Ok(());
    }
    let says = "expected an instant within 73,000 years of 1970";
    let found = format!("found {at_us} microseconds from it; narrow `from` and `to`");
    Err(Error::user(Code::BadInput, format!("{job}: series {series:?}: {says}, {found}")))
}

pub(crate) fn microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn instant(at: DateTime<Utc>) -> Expr {
    instant_of(at.timestamp_micros())
}

/// An instant in microseconds.
pub(crate) fn instant_of(at_us: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(at_us), Some("UTC".into())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    /// A reader of batches of (series, instant, value).
    fn reader(batches: &[&[(&str, i64, Option<f64>)]]) -> SeriesReader {
        let columns = |rows: &&[(&str, i64, Option<f64>)]| {
            let series = StringArray::from_iter_values(rows.iter().map(|row| row.0));
            let at = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1));
            let value = Float64Array::from_iter(rows.iter().map(|row| row.2));
            RecordBatch::try_from_iter([
                (SERIES, Arc::new(series) as ArrayRef),
                (AT, Arc::new(at.with_timezone("UTC"))),
                (VALUE, Arc::new(value)),
            ])
        };
        let batches: Vec<RecordBatch> =
            batches.iter().map(columns).collect::<Result<_, _>>().unwrap();
        let stream = futures::stream::iter(batches.clone().into_iter().map(Ok));
        let rows = Box::pin(RecordBatchStreamAdapter::new(batches[0].schema(), stream));
        SeriesReader { job: "correlate", rows, open: None, rows_read: 0, bytes_read: 0 }
    }

    #[tokio::test]
    async fn a_series_goes_on_from_batch_to_batch() {
        let mut reader = reader(&[
            &[("a", 1, Some(1.0)), ("a", 2, None)],
            &[("a", 3, Some(3.0)), ("b", 1, Some(4.0))],
            &[("c", 1, Some(5.0))],
        ]);
        let mut read = Vec::new();
        for _ in 0..3 {
            // With room for no more than `a`.
            let chunk = reader.chunk(3 + SERIES_POINTS).await.unwrap();
            read.push(chunk.into_iter().map(|s| (s.name, s.times, s.values)).collect::<Vec<_>>());
        }
        assert_eq!((read[0].len(), read[1].len(), read[2].len()), (1, 2, 0));
        assert_eq!((&*read[0][0].0, &read[0][0].1), ("a", &vec![1, 2, 3]));
        assert!(read[0][0].2[1].is_nan() && read[0][0].2[2] == 3.0, "{read:?}");
        assert_eq!((&*read[1][0].0, &*read[1][1].0), ("b", "c"));
        assert_eq!(reader.rows_read, 5);
    }

    #[tokio::test]
    async fn a_series_too_long_or_too_far_away_is_refused_by_its_name() {
        let rows: Vec<_> = (0..4).map(|at| ("long", at, Some(1.0))).collect();
        let error = reader(&[&rows]).chunk(3).await.map(|_| ()).unwrap_err();
        let says = error.to_string();
        assert!(says.contains("correlate: series \"long\" has more than 3 points"), "{says}");
        assert_eq!(reader(&[&rows]).chunk(4).await.unwrap()[0].times.len(), 4);
        // Rows come sorted by instant: the first or the last is the furthest.
        let far = INSTANT_MAX_US as i64 + 1;
        for ends in [[-far, 0], [0, far]] {
            let rows = ends.map(|at| ("far", at, Some(1.0)));
            let error = reader(&[&rows]).chunk(9).await.map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("correlate: series \"far\""), "{error}");
        }
    }

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
