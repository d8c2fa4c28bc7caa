//! Series that are computed of rows: a measure of those of each interval, for each group.

use std::collections::BTreeSet;
use std::sync::Arc;

use analysis::calendar::Grid;
use arrow::datatypes::{DataType, Field};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, ExprSchemable, cast, ident, lit};
use datafusion::prelude::DataFrame;
use datasets::{DatasetName, MeasureFormat, MeasureSpec};
use engine::{Measure, Result, Semantics, Session};

use super::begin_of::begin_of;
use super::{AT, ROWS, VALUE, microseconds};
use crate::parameters::bad;
use crate::run::context::RunContext;

/// Fixed intervals are counted from here: 1970-01-05, a Monday.
pub(crate) const ORIGIN_US: i64 = 4 * 86_400_000_000;
/// What it is called among the measures of its dataset.
const NAME: &str = "computed_for_series";

/// The measure of `dataset` of that name, or of that expression. BAD_INPUT names the parameter and says what is wrong with it.
pub(crate) fn read_measure(
    session: &Session,
    job: &str,
    dataset: &DatasetName,
    text: &str,
) -> Result<Measure> {
    // What is asked for is no measure of the spec, whatever it is made of here.
    let of_spec = format!("spec of {dataset}: measure {NAME:?}: ");
    let fails = |error: engine::Error| {
        bad(job, "measure", error.to_string().replacen(&of_spec, &format!("{text}: "), 1))
    };
    let Some(entry) = session.catalog().datasets.get(dataset) else {
        return Err(bad(job, "dataset", format!("there is no dataset {dataset}")));
    };
    let mut spec = entry.spec.clone();
    let is_declared = spec.measures.iter().any(|measure| measure.name == text);
    let name = if is_declared { text } else { NAME };
    if !is_declared {
        spec.measures.push(MeasureSpec {
            name: NAME.to_owned(),
            expression: text.to_owned(),
            unit: None,
            description: String::new(),
            format: MeasureFormat::default(),
            decimals: None,
        });
    }
    let measure = Semantics::of(&spec).measure(name).cloned().map_err(fails)?;
    match measure.kind.arrow_type() {
        kind if kind.is_numeric() => Ok(measure),
        kind => Err(bad(job, "measure", format!("expected a number, {text:?} is {kind}"))),
    }
}

/// A measure of the rows of each interval.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MeasureOf<'a> {
    /// The name of one that the dataset declares, or an expression of aggregates.
    pub(crate) text: &'a str,
    grid: Grid,
}

impl<'a> MeasureOf<'a> {
    pub(crate) fn new(text: &'a str, grid: Grid) -> Self {
        Self { text, grid }
    }

    /// Its intervals.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The mean length of an interval.
    pub(crate) fn interval_us(&self) -> i64 {
        self.grid.interval().mean_micros()
    }

    /// What it is. BAD_INPUT names the parameter and says what is wrong with it.
    pub(crate) fn read(
        &self,
        session: &Session,
        job: &str,
        dataset: &DatasetName,
    ) -> Result<Measure> {
        read_measure(session, job, dataset, self.text)
    }

    /// The beginning of the interval that holds an instant.
    pub(crate) fn begin(&self, at_us: i64) -> i64 {
        self.grid.begin(at_us)
    }

    /// The beginning of the interval after the one that holds an instant.
    pub(crate) fn end(&self, at_us: i64) -> i64 {
        self.grid.end(at_us)
    }

    /// A row for each group and interval that has rows: the groups, then [`AT`], [`VALUE`] and [`ROWS`].
    pub(crate) fn of_intervals(
        &self,
        ctx: &RunContext,
        rows: DataFrame,
        measure: &Measure,
        mut groups: Vec<Expr>,
        at: Expr,
    ) -> Result<DataFrame> {
        groups.push(self.begin_of(at).alias(AT));
        of_groups(ctx, rows, &[(VALUE.to_owned(), measure)], groups)
    }

    /// The beginning of the interval that an instant lies in.
    pub(crate) fn begin_of(&self, at: Expr) -> Expr {
        begin_of(&self.grid, cast(at, microseconds()))
    }
}

/// A row for each group: its keys, the measures under their names as floats, and [`ROWS`]. One row must not stop the groups of all others:
/// what can't be computed of it counts for nothing, and is told.
pub(crate) fn of_groups(
    ctx: &RunContext,
    rows: DataFrame,
    measures: &[(String, &Measure)],
    keys: Vec<Expr>,
) -> Result<DataFrame> {
    let (session, uncomputed) = (ctx.session(), ctx.uncomputed());
    let (mut aggregates, mut values) = (Vec::new(), Vec::new());
    for (name, measure) in measures {
        let value = measure.value(None, |aggregate| {
            aggregates.push(aggregate);
            format!("part_{}", aggregates.len())
        })?;
        values.push((name, cast(value, DataType::Float64)));
    }
    let mut parts: Vec<Expr> = vec![count(lit(1)).alias(ROWS)];
    let mut wide = BTreeSet::new();
    for (at, aggregate) in aggregates.into_iter().enumerate() {
        let name = format!("part_{}", at + 1);
        let part = session.aggregate_or_null(aggregate.clone(), rows.schema(), uncomputed)?;
        let kind = |of: &Expr| of.get_type(rows.schema());
        if kind(&part)? != kind(&aggregate)? {
            wide.insert(name.clone());
        }
        parts.push(part.alias(name));
    }
    let names = keys.iter().map(|key| ident(key.schema_name().to_string()));
    let mut wanted: Vec<Expr> = names.collect();
    let computed = rows.aggregate(keys, parts)?;
    // As floats sums of sums have room, too; other decimals stay exact.
    let as_float = |field: &Arc<Field>| match wide.contains(field.name()) {
        true => cast(ident(field.name()), DataType::Float64).alias(field.name()),
        false => ident(field.name()),
    };
    let floats: Vec<Expr> = computed.schema().fields().iter().map(as_float).collect();
    let computed = computed.select(floats)?;
    for (name, value) in values {
        wanted.push(session.or_null(value, computed.schema(), uncomputed)?.alias(name));
    }
    wanted.push(cast(ident(ROWS), DataType::Int64).alias(ROWS));
    Ok(computed.select(wanted)?)
}
