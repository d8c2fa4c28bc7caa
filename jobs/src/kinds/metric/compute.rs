//! The values of a metric in the intervals that a run computes.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::{Expr, cast, ident, lit};
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

/// The first interval of each series that has values from runs before.
pub(super) async fn firsts(ctx: &RunContext, params: &Params) -> Result<BTreeMap<Group, i64>> {
    let session = ctx.present().await?;
    let rows = session.table(&params.output).await?;
    let of_metric = rows.filter(ident("metric").eq(lit(params.metric())))?;
    let groups = vec![cast(ident("dimensions"), DataType::Utf8).alias("dimensions")];
    let first = min(cast(ident("at"), DataType::Int64)).alias("first");
    let found = session.collect(of_metric.aggregate(groups, vec![first])?).await?;
    let mut firsts = BTreeMap::new();
    for batch in &found {
        let (dimensions, first) = (texts(batch, 0)?, batch.column(1).as_primitive::<Int64Type>());
        for (dimensions, first) in dimensions.iter().flatten().zip(first.iter().flatten()) {
            let by_column: Map<String, Value> = serde_json::from_str(dimensions)
                .map_err(|e| Error::internal(format!("{NAME}: dimensions {dimensions:?}: {e}")))?;
            let value = |column: &String| by_column.get(column)?.as_str().map(str::to_owned);
            firsts.insert(params.dimensions.iter().map(value).collect(), first);
        }
    }
    Ok(firsts)
}

/// Fills intervals without rows with zeros: from each series' first interval on, as far as intervals are over. `firsts`: the first
/// interval of those that have values already, whose intervals outside of the stretches are there.
pub(super) fn fill(
    points: &mut Points,
    firsts: &BTreeMap<Group, i64>,
    asked: &Asked<'_>,
    mut require_room: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let width = asked.measure.interval.micros();
    let mut count = points.values().map(BTreeMap::len).sum::<usize>();
    let mut groups: Vec<(Group, i64)> =
        firsts.iter().map(|(group, at)| (group.clone(), *at)).collect();
    groups.extend(points.iter().filter_map(|(group, of)| {
        let first = of.first_key_value()?.0;
        (!firsts.contains_key(group)).then(|| (group.clone(), *first))
    }));
    for (group, known) in groups {
        let own = points.entry(group.clone()).or_default();
        let first = own.first_key_value().map_or(known, |(first, _)| known.min(*first));
        // What is not there yet of a series that began earlier than was known, or is new.
        let new = match firsts.contains_key(&group) {
            true => (first, known),
            false => (first, asked.closed_us),
        };
        let whole = [(first, asked.closed_us)];
        let stretches = asked.stretches.unwrap_or(&whole);
        for (from, to) in stretches.iter().copied().chain([new]) {
            let mut at = from.max(first);
            while at < to {
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
        let firsts = match self.stretches {
            Some(_) => firsts(ctx, params).await?,
            None => BTreeMap::new(),
        };
        fill(points, &firsts, self, |count| require_room(ctx, count))
    }
}
