//! Rows, or instants, that are unlike all others in several columns together: a call that is short and dear, an hour with few orders and
//! many visits.
//!
//! Each series is a table of its own, of the named columns of its rows, or of measures of the rows of each interval, whose day or week
//! is taken out first. Columns are made comparable and uncorrelated, an isolation forest says which rows have nothing near them, and
//! [`analysis::outlying`] how rare what is found is. Of rows of one instant the rarest is told, and how many there are.
//!
//! Cost: reads every row once, sorted. Memory: the table of one series, eight times over, in half of the budget.

use analysis::calendar::Interval;
use analysis::outlying::{Contribution, Evidence, Options, Outlying, Silence, outlying, prepare};
use analysis::series::{Samples, Season, Span, deseasonalise};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use datafusion::logical_expr::{Expr, cast, ident};
use datafusion::prelude::DataFrame;
use engine::{Code, Error, Result};
use futures::StreamExt;
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::{Device, Execution, MatrixView};

use super::baseline::KernelWork;
use super::detect::Found;
use super::explain::{Anomaly, Kind};
use super::params::Params;
use super::{NAME, source};
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::words::{instant, number, once_in, severity};
use crate::series::{AT, SERIES, check_instant, of_groups, read_measure};
use crate::tables::columns::texts;

/// Rows of one series, at most.
const ROWS_MAX: usize = 1_000_000;
/// How often a table is held in all steps together.
const COPIES: usize = 8;
/// Columns that an explanation names, at most, and the least part that one has in it.
const NAMED: usize = 3;
const PART_MIN: f64 = 0.15;

/// The rows of one series.
#[derive(Debug, Default)]
struct Table {
    series: String,
    times: Vec<i64>,
    /// Row after row.
    values: Vec<f64>,
}

/// Looks at every series.
pub(super) async fn find(ctx: &RunContext, params: &Params) -> Result<Found> {
    let mut stage = ctx.stage("detect");
    let width = params.columns.len();
    let mut rows = ctx.session().stream(frame(ctx, params).await?).await?;
    let bytes_max = ctx.memory_budget_bytes() / 2;
    let (mut found, mut open) = (Found::default(), Table::default());
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        stage.record.rows_in += batch.num_rows() as u64;
        stage.record.bytes_read += batch.get_array_memory_size() as u64;
        for table in open.take(&batch, width)? {
            found.add(look(ctx, params, table).await?);
        }
        if open.times.len() > ROWS_MAX || open.bytes() * COPIES > bytes_max {
            let shown: String = open.series.chars().take(80).collect();
            let says = format!(
                "{NAME}: series {shown:?} has more rows than {ROWS_MAX}, or than half of the memory budget holds: narrow it by `to` or \
                 `where`, give an `interval`, or raise the budget"
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
    }
    if !open.times.is_empty() {
        found.add(look(ctx, params, open).await?);
    }
    finish(&mut stage, &found);
    stage.finish();
    Ok(found)
}

fn finish(stage: &mut Stage, found: &Found) {
    stage.record.rows_out = found.anomalies.len() as u64;
    stage.record.gpu_seconds = found.gpu_seconds;
    if let Some(report) = &found.device {
        stage.on_device(report.device.to_string(), report.reason.clone());
    }
    stage.facts(serde_json::json!({ "kernel_seconds": found.kernel_seconds }));
}

/// The rows as (series, at, the columns), sorted by series and instant.
async fn frame(ctx: &RunContext, params: &Params) -> Result<DataFrame> {
    let session = ctx.session();
    let mut source = source(params);
    if source.measure.is_some() {
        let newest = source.newest(ctx).await?;
        source = source.closed(newest);
    }
    let (rows, series, at) = source.rows(ctx).await?;
    let name = |column: usize| format!("column_{column}");
    let columns = params.columns.iter().enumerate();
    // Rows of one instant by their values: the forest draws by place.
    let by = [SERIES.to_owned(), AT.to_owned()];
    let by = by.into_iter().chain((0..params.columns.len()).map(name));
    let order: Vec<_> = by.map(|name| ident(name).sort(true, false)).collect();
    let Some(interval) = params.interval else {
        let values = columns
            .map(|(at, column)| cast(ident(column.as_str()), DataType::Float64).alias(name(at)));
        let wanted: Vec<Expr> =
            [series.alias(SERIES), at.alias(AT)].into_iter().chain(values).collect();
        return Ok(rows.select(wanted)?.sort(order)?);
    };
    let read = |text: &String| read_measure(session, NAME, &params.dataset, text);
    let measures = params.columns.iter().map(read).collect::<Result<Vec<_>>>()?;
    let named: Vec<_> = measures.iter().enumerate().map(|(at, of)| (name(at), of)).collect();
    let begin = params.measure("", interval).begin_of(at);
    let groups = vec![series.alias(SERIES), begin.alias(AT)];
    let wanted = [SERIES.to_owned(), AT.to_owned()].into_iter();
    let wanted: Vec<Expr> = wanted.chain((0..named.len()).map(name)).map(ident).collect();
    Ok(of_groups(ctx, rows, &named, groups)?.select(wanted)?.sort(order)?)
}

impl Table {
    fn bytes(&self) -> usize {
        (self.values.len() + self.times.len()) * size_of::<f64>()
    }

    /// Takes the rows of a batch, and gives the tables that are whole with them.
    fn take(&mut self, batch: &RecordBatch, width: usize) -> Result<Vec<Self>> {
        let mut whole = Vec::new();
        let series = texts(batch, 0)?;
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let columns = (2..2 + width).map(|at| batch.column(at).as_primitive::<Float64Type>());
        let columns: Vec<_> = columns.collect();
        for row in 0..batch.num_rows() {
            let name = series.value(row);
            if self.times.is_empty() || self.series != name {
                let next = Self { series: name.to_owned(), ..Self::default() };
                let before = std::mem::replace(self, next);
                whole.extend((!before.times.is_empty()).then_some(before));
            }
            check_instant(NAME, name, times.value(row))?;
            self.times.push(times.value(row));
            let value = |of: &&arrow::array::Float64Array| {
                if of.is_valid(row) { of.value(row) } else { f64::NAN }
            };
            self.values.extend(columns.iter().map(value));
        }
        Ok(whole)
    }

    /// The same without what each column does every day or week, where rows are of intervals.
    fn deseasonalised(
        &self,
        width: usize,
        interval_us: i64,
        season: Season,
    ) -> (Vec<f64>, Vec<Option<Span>>) {
        let (mut values, mut seasons) = (self.values.clone(), vec![None; width]);
        for column in 0..width {
            let of_column = || self.values.iter().skip(column).step_by(width);
            let is_there: Vec<bool> = of_column().map(|value| value.is_finite()).collect();
            let there = |at: &usize| is_there[*at];
            let rows: Vec<usize> = (0..self.times.len()).filter(there).collect();
            let samples = Samples {
                name: String::new(),
                times: rows.iter().map(|row| self.times[*row]).collect(),
                values: rows.iter().map(|row| self.values[row * width + column]).collect(),
                interval_us,
            };
            let flat = deseasonalise(&samples, season);
            seasons[column] = flat.season;
            if flat.season.is_some() {
                let left = rows.iter().zip(flat.residual);
                left.for_each(|(row, left)| values[row * width + column] = left);
            }
        }
        (values, seasons)
    }
}

async fn look(ctx: &RunContext, params: &Params, table: Table) -> Result<Found> {
    let (asked, execution) = (params.clone(), ctx.execution(ctx.memory_budget_bytes() / 4));
    let pool = ctx.pool().clone();
    ctx.compute(move || pool.install(|| told(table, &asked, &execution))).await
}

/// What is unlike all others in one series.
fn told(table: Table, params: &Params, execution: &Execution) -> Result<Found> {
    let width = params.columns.len();
    let mut found = Found::default();
    found.tally.series = 1;
    found.tally.samples = table.times.len() as u64;
    found.labelled.insert(table.series.clone());
    let span = table.times.last().zip(table.times.first()).map_or(0, |(last, first)| last - first);
    let usual_us = span / (table.times.len() as i64 - 1).max(1);
    let interval_us = params.interval.map_or(usual_us.max(1), Interval::mean_micros);
    let is_missing = |value: &&f64| !value.is_finite();
    found.tally.cleaning.values_missing = table.values.iter().filter(is_missing).count() as u64;
    let (values, seasons) = match params.interval {
        Some(_) => table.deseasonalised(width, interval_us, params.season),
        None => (table.values.clone(), vec![None; width]),
    };
    found.with_season = u64::from(seasons.iter().any(Option::is_some));
    crate::series::check_cancelled(NAME, execution)?;
    let silent = |silence: Silence| match silence {
        Silence::Few { .. } => "fewer than 64 rows that have all values",
        Silence::Constant => "no column varies enough",
        Silence::Shape => "no columns",
    };
    let prepared = match prepare(&values, width) {
        Ok(prepared) => prepared,
        Err(silence) => {
            found.tally.skipped.add(silent(silence), table.series);
            return Ok(found);
        }
    };
    if !prepared.dropped.is_empty() {
        found.tally.skipped.add(
            "with columns that vary too little, of which nothing is said",
            table.series.clone(),
        );
    }
    let (rows, kept) = (table.times.len(), prepared.kept.len());
    let mut isolation = vec![f64::NAN; rows];
    let view = MatrixView::new(&prepared.values, rows, kept)?;
    let options = ForestOptions { seed: params.columns_seed, ..ForestOptions::default() };
    let forest = Forest::fit(view, &options, execution)?;
    let scored = forest.score(view, &mut isolation, execution)?;
    let mut work = KernelWork::default();
    for stats in [forest.fitted(), &scored.stats] {
        work.seconds += stats.seconds;
        if stats.device.device != Device::Cpu {
            work.gpu_seconds += stats.seconds;
        }
        work.device = Some(stats.device.clone());
    }
    let all =
        outlying(&values, &prepared, &isolation, &Options { score_min: params.columns_score });
    match all {
        Ok(all) => {
            let told = by_instant(all, &table.times);
            let of = |(outlying, others): (Outlying, usize)| {
                let first = outlying.contributions.first();
                let season = first.and_then(|first| seasons[first.column]);
                Anomaly { season, ..anomaly(&table, &outlying, others, params, interval_us) }
            };
            let all = told.into_iter().map(of);
            found.anomalies = all.filter(|found| super::detect::is_asked(found, params)).collect();
        }
        Err(silence) => found.tally.skipped.add(silent(silence), table.series),
    }
    (found.device, found.kernel_seconds) = (work.device, work.seconds);
    found.gpu_seconds = work.gpu_seconds;
    Ok(found)
}

/// The rarest of each instant, and how many others there are.
fn by_instant(all: Vec<Outlying>, times: &[i64]) -> Vec<(Outlying, usize)> {
    let mut told: Vec<(Outlying, usize)> = Vec::new();
    for next in all {
        match told.last_mut() {
            Some((last, others)) if times[last.row] == times[next.row] => {
                *others += 1;
                if next.score > last.score {
                    *last = next;
                }
            }
            _ => told.push((next, 0)),
        }
    }
    told
}

fn anomaly(
    table: &Table,
    found: &Outlying,
    others: usize,
    params: &Params,
    interval_us: i64,
) -> Anomaly {
    let width = params.columns.len();
    let at = table.times[found.row];
    let observed = |of: &Contribution| table.values[found.row * width + of.column];
    // Where a day was taken out, what is usual then.
    let usual = |of: &Contribution| observed(of) - (of.value - of.usual);
    let named = found.contributions.iter().enumerate();
    let named = named.take(NAMED).filter(|(at, of)| *at == 0 || of.share >= PART_MIN);
    let column = |(_, of): (usize, &Contribution)| {
        // Its own distance, or that from what the others say, whichever is farther.
        let (far, what) = match of.given_others.abs() > of.deviation.abs() {
            true => (of.given_others, "what the other columns say"),
            false => (of.deviation, "that"),
        };
        format!(
            "{} {} (usually {}; {} robust standard deviations {} {what})",
            params.columns[of.column],
            number(observed(of)),
            number(usual(of)),
            number(far.abs()),
            if far >= 0.0 { "above" } else { "below" },
        )
    };
    let named: Vec<String> = named.map(column).collect();
    let why = match found.evidence {
        Evidence::Column(_) => "one column by itself is like no other",
        Evidence::GivenOthers(_) => "its columns do not go together as elsewhere",
        Evidence::Distance => "all columns together are far from the others",
        Evidence::Isolation => "nothing is near it",
    };
    let others = match others {
        0 => String::new(),
        1 => "; one more row of this instant is, too".to_owned(),
        more => format!("; {more} more rows of this instant are, too"),
    };
    let explanation = format!(
        "{} at {}: {why} among {} rows; by chance, that happens {}{others}",
        named.join(", "),
        instant(at),
        table.times.len(),
        once_in(found.score, "such tables"),
    );
    let first = found.contributions.first();
    Anomaly {
        series: table.series.clone(),
        kind: Kind::Unlike,
        started_at: at,
        ended_at: at,
        peak_at: at,
        observed: first.map(observed),
        expected: first.map(usual),
        score: found.score,
        severity: severity(10_f64.powf(found.score - params.columns_score), 1.0),
        samples: 1,
        interval_us,
        season: None,
        explanation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_rows_of_one_instant_the_rarest_is_told_and_the_others_are_counted() {
        let of = |(row, score)| Outlying {
            row,
            score,
            evidence: Evidence::Distance,
            contributions: Vec::new(),
        };
        let times = [10, 20, 20, 20, 30, 30];
        let all = [(0, 3.0), (1, 4.0), (2, 6.0), (3, 5.0), (4, 2.0), (5, 2.0)];
        let told = by_instant(all.map(of).into(), &times);
        let told: Vec<_> = told.iter().map(|(of, others)| (of.row, of.score, *others)).collect();
        assert_eq!(told, [(0, 3.0, 0), (2, 6.0, 2), (4, 2.0, 1)]);
    }
}
