//! The values of a metric in the intervals that a run computes.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr, cast, ident, lit, when};
use engine::{Code, Error, Measure, Result};
use futures::StreamExt;
use serde_json::{Map, Value};

use super::NAME;
use super::output::{Group, Point, Points};
use super::params::Params;
use super::reach::within;
use crate::run::context::RunContext;
use crate::series::{AT, MeasureOf, ROWS, SeriesSource, VALUE, check_instant, instant_of};
use crate::tables::columns::texts;

/// Memory of a value in all steps: in the list, and as a row with its texts.
const POINT_BYTES: usize = 256;

/// What is computed.
pub(super) struct Asked<'a> {
    pub(super) source: &'a SeriesSource<'a>,
    pub(super) measure: &'a MeasureOf<'a>,
    pub(super) of_rows: &'a Measure,
    /// The first instant whose interval is not over.
    pub(super) closed_us: i64,
    /// Only intervals in these.
    pub(super) stretches: Option<&'a [(i64, i64)]>,
    /// Whether an interval without rows is zero.
    pub(super) is_zero: bool,
}

/// The values of intervals that have rows. Second, the rows that were read.
pub(super) async fn values(
    ctx: &RunContext,
    params: &Params,
    asked: &Asked<'_>,
) -> Result<(Points, u64)> {
    let (mut rows, _, at) = asked.source.rows(ctx).await?;
    rows = rows.filter(at.clone().lt(instant_of(asked.closed_us)))?;
    if let Some(stretches) = asked.stretches {
        rows = rows.filter(within(&at, stretches).unwrap_or_else(|| lit(false)))?;
    }
    let groups =
        params.dimensions.iter().enumerate().map(|(at, column)| {
            cast(ident(column), DataType::Utf8).alias(format!("dimension_{at}"))
        });
    let computed = asked.measure.of_intervals(rows, asked.of_rows, groups.collect(), at)?;
    let mut points = Points::new();
    let (mut count, mut read) = (0, 0u64);
    let mut batches = ctx.session().stream(computed).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        ctx.check()?;
        count += batch.num_rows();
        require_room(ctx, count)?;
        read += add(&mut points, &batch, params.dimensions.len())?;
    }
    for (at_us, _) in points.values().flatten() {
        check_instant(NAME, params.metric(), *at_us)?;
    }
    Ok((points, read))
}

fn add(points: &mut Points, batch: &RecordBatch, dimensions: usize) -> Result<u64> {
    let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
    let column = |name: &str| batch.column_by_name(name).ok_or_else(broken);
    let at = column(AT)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)?;
    let values = column(VALUE)?.as_primitive_opt::<Float64Type>().ok_or_else(broken)?;
    let rows = column(ROWS)?.as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
    let groups = (0..dimensions).map(|at| texts(batch, at)).collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        let group = groups
            .iter()
            .map(|texts| texts.is_valid(row).then(|| texts.value(row).to_owned()))
            .collect();
        let value = values.is_valid(row).then(|| values.value(row)).filter(|v| v.is_finite());
        let point = Point { value, rows: rows.value(row) };
        points.entry(group).or_default().insert(at.value(row), point);
    }
    Ok(rows.values().iter().map(|rows| rows.unsigned_abs()).sum())
}

fn require_room(ctx: &RunContext, points: usize) -> Result<()> {
    let most = ctx.memory_budget_bytes() / 2 / POINT_BYTES;
    if points <= most {
        return Ok(());
    }
    let says = format!(
        "{NAME}: expected at most {most} values, which are half of the memory budget; take fewer `dimensions`, a longer \
         `interval`, or a larger budget"
    );
    Err(Error::user(Code::ResourcesExhausted, says))
}

/// Of a series that has values from runs before: the first interval, and the last one with rows.
#[derive(Clone, Copy)]
struct Before {
    first: i64,
    last: i64,
}

async fn before(ctx: &RunContext, params: &Params) -> Result<BTreeMap<Group, Before>> {
    let session = ctx.present().await?;
    let rows = session.table(&params.output).await?;
    let of_metric = rows.filter(ident("metric").eq(lit(params.metric())))?;
    let groups = vec![cast(ident("dimensions"), DataType::Utf8).alias("dimensions")];
    let at = || cast(ident("at"), DataType::Int64);
    let with_rows = when(ident("rows").gt(lit(0_i64)), at()).end()?;
    let ends = vec![min(at()).alias("first"), max(with_rows).alias("last")];
    let found = session.collect(of_metric.aggregate(groups, ends)?).await?;
    let mut before = BTreeMap::new();
    for batch in &found {
        let dimensions = texts(batch, 0)?;
        let number = |column: usize| batch.column(column).as_primitive::<Int64Type>();
        let (first, last) = (number(1), number(2));
        for (row, dimensions) in dimensions.iter().enumerate() {
            let Some(dimensions) = dimensions.filter(|_| first.is_valid(row)) else { continue };
            let by_column: Map<String, Value> = serde_json::from_str(dimensions)
                .map_err(|e| Error::internal(format!("{NAME}: dimensions {dimensions:?}: {e}")))?;
            let value = |column: &String| by_column.get(column)?.as_str().map(str::to_owned);
            let first = first.value(row);
            let last = if last.is_valid(row) { last.value(row) } else { first };
            before.insert(params.dimensions.iter().map(value).collect(), Before { first, last });
        }
    }
    Ok(before)
}

/// Zeros that are filled in after an interval with rows, at most: one row of another age does not make millions of them.
const ZEROS_MAX: i64 = 100_000;

/// Fills intervals without rows with zeros: from each series' first interval on, as far as intervals are over. `before`: the series that
/// have values already, whose intervals outside of the stretches are there.
fn fill(
    points: &mut Points,
    before: &BTreeMap<Group, Before>,
    asked: &Asked<'_>,
    mut require_room: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let width = asked.measure.interval.micros();
    let mut count = points.values().map(BTreeMap::len).sum::<usize>();
    let groups: Vec<Group> = points.keys().chain(before.keys()).cloned().collect();
    for group in groups.into_iter().collect::<BTreeSet<_>>() {
        let known = before.get(&group);
        let own = points.entry(group).or_default();
        let with_rows: BTreeSet<i64> =
            own.keys().copied().chain(known.map(|known| known.last)).collect();
        let firsts = own.first_key_value().map(|(first, _)| *first);
        let Some(first) = firsts.into_iter().chain(known.map(|known| known.first)).min() else {
            continue;
        };
        // What is not there yet of a series that began earlier than was known, or is new.
        let new = (first, known.map_or(asked.closed_us, |known| known.first));
        let whole = [(first, asked.closed_us)];
        let stretches = asked.stretches.unwrap_or(&whole);
        for (from, to) in stretches.iter().copied().chain([new]) {
            let mut at = from.max(first);
            while at < to {
                let last = with_rows.range(..=at).next_back();
                let is_far = last.is_some_and(|last| (at - last) / width > ZEROS_MAX);
                if is_far {
                    let Some(next) = with_rows.range(at..).next() else { break };
                    at = *next;
                    continue;
                }
                if let std::collections::btree_map::Entry::Vacant(place) = own.entry(at) {
                    count += 1;
                    require_room(count)?;
                    place.insert(Point { value: Some(0.0), rows: 0 });
                }
                at += width;
            }
        }
    }
    points.retain(|_, of| !of.is_empty());
    Ok(())
}

impl Asked<'_> {
    /// The rows of the output that these values take the place of.
    pub(super) fn replaced(&self, params: &Params) -> Expr {
        let of_metric = ident("metric").eq(lit(params.metric()));
        match self.stretches.map(|stretches| within(&ident("at"), stretches)) {
            None => of_metric,
            Some(within) => of_metric.and(within.unwrap_or_else(|| lit(false))),
        }
    }

    /// With intervals without rows as the parameters want them.
    pub(super) async fn filled(
        &self,
        ctx: &RunContext,
        params: &Params,
        points: &mut Points,
    ) -> Result<()> {
        if !self.is_zero {
            return Ok(());
        }
        let before = match self.stretches {
            Some(_) => before(ctx, params).await?,
            None => BTreeMap::new(),
        };
        fill(points, &before, self, |count| {
            ctx.check()?;
            require_room(ctx, count)
        })
    }
}
