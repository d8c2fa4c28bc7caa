//! What is measured of each period of a dataset.

use std::collections::{BTreeMap, BTreeSet};

use analysis::calendar::Interval;
use analysis::drift::Rule;
use analysis::quality::{Measure, Reading};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::functions::string::expr_fn::btrim;
use datafusion::functions::unicode::expr_fn::character_length;
use datafusion::functions_aggregate::expr_fn::{avg, count, count_distinct, max, min};
use datafusion::logical_expr::{Expr, JoinType, cast, ident, lit, not, try_cast, when};
use datafusion::prelude::DataFrame;
use engine::{Error, Result, Session};
use futures::StreamExt;

use super::NAME;
use super::params::{COLUMNS_MAX, Check, Params};
use super::window::{Gaps, Window};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::{instant_of, microseconds};
use crate::tables::input::{INSTANTS, InputTable, is_text, time_column};

/// Columns whose values are held against earlier ones as a whole, at most.
const DISTRIBUTIONS_MAX: usize = 50;
/// What a text is empty with.
const WHITE: &str = " \t\n\r\u{b}\u{c}\u{a0}";

/// What a column has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Numbers,
    Texts,
    Flags,
    Other,
}

impl Form {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            of if of.is_numeric() => Self::Numbers,
            of if is_text(of) => Self::Texts,
            DataType::Boolean => Self::Flags,
            _ => Self::Other,
        }
    }

    fn has(self, check: Check) -> bool {
        match check {
            Check::Nulls | Check::Repeated | Check::Orphans => true,
            Check::Least | Check::Greatest => self == Self::Numbers,
            Check::Mean => matches!(self, Self::Numbers | Self::Flags),
            Check::Empty | Check::Shortest | Check::Longest => self == Self::Texts,
            Check::Distribution => self != Self::Other,
            Check::Gap | Check::Rows => false,
        }
    }
}

/// A column of the dataset that something is measured of.
struct Column {
    name: String,
    form: Form,
    /// Whether it is looked at; otherwise it is only counted how often values come again.
    is_looked_at: bool,
}

/// What is asked, held against the columns of the dataset.
pub(super) struct Asked<'a> {
    pub(super) params: &'a Params,
    pub(super) table: InputTable<'a>,
    pub(super) time: String,
    columns: Vec<Column>,
    /// Columns that there are beyond those that are looked at.
    pub(super) columns_left_out: usize,
    /// Those whose values are held against earlier ones as a whole.
    pub(super) distributions: Vec<String>,
}

/// A measure, period by period.
pub(super) struct Measured {
    pub(super) check: Check,
    /// Empty where it is of all rows.
    pub(super) column: String,
    pub(super) readings: Vec<Reading>,
}

impl Measured {
    pub(super) fn measure(&self, period: Interval) -> Measure {
        match self.check {
            Check::Gap => Measure::Most,
            Check::Rows => Measure::Count { weekly: period == Interval::DAY },
            Check::Mean => Measure::Mean,
            Check::Nulls | Check::Empty | Check::Repeated | Check::Orphans => Measure::Share,
            Check::Least | Check::Shortest => Measure::Least,
            Check::Greatest | Check::Longest => Measure::Greatest,
            Check::Distribution => Measure::Value,
        }
    }
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) measured: Vec<Measured>,
    /// Rows of the periods that are looked at.
    pub(super) rows: u64,
    /// Rows without an instant, and those at or after the instant up to which it is looked.
    pub(super) left_out: u64,
    pub(super) later: u64,
    /// The newest one before that, in these periods or not.
    pub(super) newest_us: Option<i64>,
}

/// Checks what is asked against the columns of the datasets.
pub(super) async fn asked<'a>(session: &Session, params: &'a Params) -> Result<Asked<'a>> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    let time = time_column(session, NAME, &params.dataset, params.time_column.as_deref())?;
    table.check("time_column", &time, INSTANTS, |of| of.is_temporal())?;
    table.check_condition(session, "where", params.condition.as_deref()).await?;
    let fields = table.frame.schema().fields().clone();
    for (parameter, columns) in [
        ("columns", params.columns.as_deref().unwrap_or_default()),
        ("unique", &params.unique),
        ("references", &params.references.keys().cloned().collect::<Vec<_>>()),
    ] {
        for column in columns {
            table.check(parameter, column, "a column", |_| true)?;
        }
    }
    for (_, dataset, of) in params.referred()? {
        let other = InputTable::open(session, NAME, &dataset).await?;
        other.check("references", of, "a column", |_| true)?;
    }
    let (mut columns, mut chosen) = (Vec::new(), 0);
    for field in &fields {
        let name = field.name();
        let is_chosen = match &params.columns {
            Some(columns) => columns.contains(name),
            None => *name != time,
        };
        chosen += usize::from(is_chosen);
        let is_looked_at = is_chosen && chosen <= COLUMNS_MAX;
        let form = Form::of(field.data_type());
        columns.push(Column { name: name.clone(), form, is_looked_at });
    }
    let columns_left_out = chosen.saturating_sub(COLUMNS_MAX);
    columns.retain(|of| of.is_looked_at || params.unique.contains(&of.name));
    for known in &params.limits {
        if known.check.is_of_rows() {
            continue;
        }
        let is_measured = |column: &str| match known.check {
            Check::Repeated => params.unique.iter().any(|of| of == column),
            Check::Orphans => params.references.contains_key(column),
            check => {
                let is_it = |of: &Column| of.is_looked_at && of.name == column;
                columns.iter().any(|of| is_it(of) && of.form.has(check))
            }
        };
        let check = known.check.as_str();
        let (found, problem) = match &known.column {
            Some(column) => {
                table.check("limits", column, "a column", |_| true)?;
                (is_measured(column), format!("{check} is not measured of column {column:?}"))
            }
            None => {
                let found = fields.iter().any(|field| is_measured(field.name()));
                (found, format!("{check} is not measured of any column"))
            }
        };
        if !found {
            let says = format!(
                "{problem}; nulls are of all columns, least, greatest and mean of numbers, empty, shortest and longest of texts, \
                 repeated of `unique`, orphans of `references`"
            );
            return Err(bad(NAME, "limits", says));
        }
    }
    // Names are of one row each: as a whole they are never as they were.
    let keys: BTreeSet<&String> = session
        .catalog()
        .datasets
        .get(&params.dataset)
        .map(|entry| entry.spec.key.iter().collect())
        .unwrap_or_default();
    let is_named = |name: &String| keys.contains(name) || params.unique.contains(name);
    let distributions: Vec<String> = match params.distributions {
        true => columns
            .iter()
            .filter(|of| of.is_looked_at && !is_named(&of.name) && of.form.has(Check::Distribution))
            .map(|of| of.name.clone())
            .take(DISTRIBUTIONS_MAX)
            .collect(),
        false => Vec::new(),
    };
    let asked = Asked { params, table, time, columns, columns_left_out, distributions };
    let per_quarter = params.periods_of().per_quarter();
    let distributions = &asked.distributions;
    let alarms = asked.alarms_of(distributions.len());
    let seasons = params.periods_of().seasons();
    let rule = Rule::of(params.history, seasons, (distributions.len(), per_quarter), alarms);
    if !distributions.is_empty() && rule.is_none() {
        let says = format!(
            "expected more for distributions of {} columns and {} false alarms, found {}; or `distributions` of false",
            distributions.len(),
            params.alarms,
            params.history
        );
        return Err(bad(NAME, "history", says));
    }
    Ok(asked)
}

/// Whether a column has floats.
fn is_float(table: &InputTable<'_>, column: &str) -> bool {
    let fields = table.frame.schema().fields();
    fields.iter().any(|field| field.name() == column && field.data_type().is_floating())
}

/// A column of the aggregates of a period.
struct Aggregate {
    check: Check,
    column: usize,
    expression: Expr,
}

impl Asked<'_> {
    /// How many checks there are of each period but those of distributions.
    fn measures(&self) -> usize {
        const ALL: [Check; 7] = [
            Check::Nulls,
            Check::Least,
            Check::Greatest,
            Check::Mean,
            Check::Empty,
            Check::Shortest,
            Check::Longest,
        ];
        let of = |form: Form| ALL.into_iter().filter(|check| form.has(*check)).count();
        let looked_at = self.columns.iter().filter(|of| of.is_looked_at);
        let columns: usize = looked_at.map(|column| of(column.form)).sum();
        2 + columns + self.params.unique.len() + self.params.references.len()
    }

    /// Of the false alarms that may be those of so many checks.
    pub(super) fn alarms_of(&self, checks: usize) -> f64 {
        let all = self.measures() + self.distributions.len();
        self.params.alarms * checks as f64 / all.max(1) as f64
    }

    fn at(&self) -> Expr {
        cast(ident(&self.time), microseconds())
    }

    /// The rows that are looked at.
    pub(super) async fn rows(&self, ctx: &RunContext, window: &Window) -> Result<DataFrame> {
        let frame = self.table.only_where(ctx, self.params.condition.as_deref()).await?;
        let from = instant_of(window.start_us(window.first));
        let within = self.at().gt_eq(from).and(self.at().lt(instant_of(window.until_us)));
        Ok(frame.filter(within)?)
    }

    /// When the period of a row begins, in microseconds.
    fn period(&self, window: &Window) -> Expr {
        cast(window.periods.begin_of(self.at()), DataType::Int64)
    }

    /// Reads all of it.
    pub(super) async fn read(
        &self,
        ctx: &RunContext,
        window: &Window,
        stage: &mut Stage,
    ) -> Result<Read> {
        let mut read = Read::default();
        self.left_out(ctx, window, &mut read).await?;
        let rows = self.times(ctx, window, &mut read).await?;
        stage.record.rows_in = read.rows;
        self.columns(ctx, window, &rows, &mut read).await?;
        for (column, dataset, of) in self.params.referred()? {
            let other = InputTable::open(ctx.session(), NAME, &dataset).await?;
            let other = other.frame.select(vec![text(of).alias("there")])?.distinct()?;
            self.orphans(ctx, window, column, other, &mut read).await?;
        }
        stage.record.rows_out = read.measured.iter().map(|of| of.readings.len() as u64).sum();
        Ok(read)
    }

    async fn left_out(&self, ctx: &RunContext, window: &Window, read: &mut Read) -> Result<()> {
        let frame = self.table.only_where(ctx, self.params.condition.as_deref()).await?;
        let later = self.at().gt_eq(instant_of(window.until_us));
        let counts = vec![
            count(lit(1)).alias("all"),
            count(self.at()).alias("timed"),
            count(when(later.clone(), lit(1)).end()?).alias("later"),
            max(when(not(later), cast(self.at(), DataType::Int64)).end()?).alias("newest"),
        ];
        let frame = frame.aggregate(Vec::new(), counts)?;
        for batch in ctx.session().collect(frame).await? {
            let found = numbers(&batch)?;
            let of = |column: usize| found.get(column).and_then(|of| *of.first()?).unwrap_or(0.0);
            read.left_out = (of(0) - of(1)) as u64;
            read.later = of(2) as u64;
            read.newest_us = found.get(3).and_then(|of| *of.first()?).map(|at| at as i64);
        }
        Ok(())
    }

    /// How many rows a period has, and the longest time without one.
    async fn times(
        &self,
        ctx: &RunContext,
        window: &Window,
        read: &mut Read,
    ) -> Result<BTreeMap<i64, u64>> {
        let at = cast(self.at(), DataType::Int64).alias("at");
        let frame = self.rows(ctx, window).await?.select(vec![at])?;
        let frame = frame.sort(vec![ident("at").sort(true, true)])?;
        let mut rows = BTreeMap::new();
        let mut gaps = Gaps::new(window.clone());
        let mut batches = ctx.session().stream(frame).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            ctx.check()?;
            let at = batch.column(0).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
            for at in at.iter().flatten() {
                *rows.entry(window.periods.of(at)).or_default() += 1;
                gaps.row(at);
            }
        }
        gaps.finish();
        read.rows = rows.values().sum();
        let Some(first) = rows.keys().next().copied() else { return Ok(rows) };
        // The one in which they begin is not whole.
        let from = if first == window.first { first } else { first + 1 };
        let reading = |at: i64, value: f64| {
            let rows = rows.get(&at).copied().unwrap_or(0);
            Reading { at, rows, value }
        };
        let all = |of: i64| rows.get(&of).copied().unwrap_or(0) as f64;
        let readings = (from..=window.last).filter(|at| window.is_over(*at));
        read.measured.push(Measured {
            check: Check::Rows,
            column: String::new(),
            readings: readings.map(|at| reading(at, all(at))).collect(),
        });
        let gap = |at: i64| gaps.longest.get(&at).copied().unwrap_or(0) as f64 / 1e6;
        read.measured.push(Measured {
            check: Check::Gap,
            column: String::new(),
            readings: (from..=window.last).map(|at| reading(at, gap(at))).collect(),
        });
        Ok(rows)
    }

    /// What is measured of each column.
    async fn columns(
        &self,
        ctx: &RunContext,
        window: &Window,
        rows: &BTreeMap<i64, u64>,
        read: &mut Read,
    ) -> Result<()> {
        let mut aggregates = Vec::new();
        for (column, Column { name, form, is_looked_at }) in self.columns.iter().enumerate() {
            let value = value(name, *form)?;
            let mut add = |check: Check, expression: Expr| {
                aggregates.push(Aggregate { check, column, expression });
            };
            // How many there are, which is what parts are of.
            add(Check::Nulls, count(value.clone()));
            if self.params.unique.contains(name) {
                // As it stands: whole numbers beyond 2^53 are not the same for being near.
                let own = if is_float(&self.table, name) { value.clone() } else { ident(name) };
                add(Check::Repeated, count_distinct(own));
            }
            if !is_looked_at {
                continue;
            }
            match form {
                Form::Numbers => {
                    add(Check::Least, min(value.clone()));
                    add(Check::Greatest, max(value.clone()));
                    add(Check::Mean, avg(value));
                }
                Form::Flags => add(Check::Mean, avg(cast(value, DataType::Float64))),
                Form::Texts => {
                    let is_empty = btrim(vec![value.clone(), lit(WHITE)]).eq(lit(""));
                    add(Check::Empty, count(when(is_empty, lit(1)).end()?));
                    add(Check::Shortest, min(character_length(value.clone())));
                    add(Check::Longest, max(character_length(value)));
                }
                Form::Other => {}
            }
        }
        let expressions = aggregates.iter().enumerate();
        let expressions =
            expressions.map(|(at, of)| of.expression.clone().alias(format!("of_{at}"))).collect();
        let frame = self.rows(ctx, window).await?;
        let frame = frame.aggregate(vec![self.period(window).alias("period")], expressions)?;
        let mut found: BTreeMap<i64, Vec<Option<f64>>> = BTreeMap::new();
        let mut batches = ctx.session().stream(frame).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            ctx.check()?;
            let values = numbers(&batch)?;
            let (Some(periods), Some(values)) = (values.first(), values.get(1..)) else { continue };
            for (row, period) in periods.iter().enumerate() {
                let Some(period) = period else { continue };
                let of_row = values.iter().map(|of| of.get(row).copied().flatten()).collect();
                found.insert(window.periods.of(*period as i64), of_row);
            }
        }
        let count_at = |column: usize| {
            aggregates.iter().position(|of| of.column == column && of.check == Check::Nulls)
        };
        for (place, of) in aggregates.iter().enumerate() {
            let Some(column) = self.columns.get(of.column) else { continue };
            if of.check == Check::Nulls && !column.is_looked_at {
                continue;
            }
            let mut readings = Vec::new();
            for (at, values) in &found {
                let all = rows.get(at).copied().unwrap_or(0);
                if all < self.params.min_rows {
                    continue;
                }
                let there = count_at(of.column).and_then(|at| *values.get(at)?).unwrap_or(0.0);
                let Some(value) = values.get(place).copied().flatten() else { continue };
                let (rows, value) = match of.check {
                    Check::Nulls => (all, 1.0 - value / all.max(1) as f64),
                    // There is nothing to be a part of.
                    Check::Repeated | Check::Empty if there == 0.0 => continue,
                    // Of numbers whose sum is none it is not known.
                    Check::Mean if !value.is_finite() => continue,
                    Check::Repeated => (there as u64, 1.0 - value / there),
                    Check::Empty => (there as u64, value / there),
                    _ => (there as u64, value),
                };
                readings.push(Reading { at: *at, rows, value });
            }
            let column = column.name.clone();
            read.measured.push(Measured { check: of.check, column, readings });
        }
        Ok(())
    }

    /// The part of the values of a column that are not there in another dataset.
    async fn orphans(
        &self,
        ctx: &RunContext,
        window: &Window,
        column: &str,
        there: DataFrame,
        read: &mut Read,
    ) -> Result<()> {
        let wanted = vec![self.period(window).alias("period"), text(column).alias("value")];
        let every = self.rows(ctx, window).await?.select(wanted)?;
        let frame = every.clone().filter(ident("value").is_not_null())?;
        let by_period = |frame: DataFrame| {
            Ok::<_, Error>(
                frame.aggregate(vec![ident("period")], vec![count(lit(1)).alias("rows")])?,
            )
        };
        let lost = frame.clone().join(there, JoinType::LeftAnti, &["value"], &["there"], None)?;
        let mut counts = Vec::new();
        for frame in [by_period(every)?, by_period(frame)?, by_period(lost)?] {
            let mut of = BTreeMap::new();
            for batch in ctx.session().collect(frame).await? {
                let values = numbers(&batch)?;
                let (Some(periods), Some(rows)) = (values.first(), values.get(1)) else { continue };
                for (period, rows) in periods.iter().zip(rows) {
                    if let (Some(period), Some(rows)) = (period, rows) {
                        of.insert(window.periods.of(*period as i64), *rows as u64);
                    }
                }
            }
            counts.push(of);
        }
        let [every, all, lost] = counts.as_slice() else { return Ok(()) };
        // A period is looked at by its rows, however many of them refer to something.
        let are_enough = |at: &i64| every.get(at).is_some_and(|rows| *rows >= self.params.min_rows);
        let enough = all.iter().filter(|(at, _)| are_enough(at));
        let reading = |(at, rows): (&i64, &u64)| {
            let lost = lost.get(at).copied().unwrap_or(0);
            Reading { at: *at, rows: *rows, value: lost as f64 / (*rows).max(1) as f64 }
        };
        let readings = enough.map(reading).collect();
        read.measured.push(Measured { check: Check::Orphans, column: column.to_owned(), readings });
        Ok(())
    }
}

fn broken() -> Error {
    Error::internal(format!("{NAME}: other columns than were asked for"))
}

fn text(column: &str) -> Expr {
    cast(ident(column), DataType::Utf8)
}

/// The values of a column; of numbers those that are none are null.
fn value(column: &str, form: Form) -> Result<Expr> {
    let value = ident(column);
    Ok(match form {
        Form::Numbers => {
            let value = try_cast(value, DataType::Float64);
            let is_finite = value.clone().between(lit(f64::MIN), lit(f64::MAX));
            when(is_finite, value).end()?
        }
        Form::Texts => cast(value, DataType::Utf8),
        Form::Flags | Form::Other => value,
    })
}

/// All columns of a batch as numbers.
pub(super) fn numbers(batch: &RecordBatch) -> Result<Vec<Vec<Option<f64>>>> {
    let of = |column: &arrow::array::ArrayRef| {
        let column = cast_array(column, &DataType::Float64)?;
        let column = column.as_primitive_opt::<Float64Type>().ok_or_else(broken)?;
        Ok(column.iter().collect())
    };
    batch.columns().iter().map(of).collect()
}
