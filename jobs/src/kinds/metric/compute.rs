//! The values of a metric in the intervals that a run computes.

use std::collections::{BTreeMap, BTreeSet};

use analysis::calendar::Grid;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
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
    let (measure, groups) = (asked.measure, groups.collect());
    let computed = measure.of_intervals(ctx, rows, asked.of_rows, groups, at)?;
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

/// The rows of the output that are of the metric.
pub(super) fn of_metric(params: &Params) -> Expr {
    ident("metric").eq(lit(params.metric()))
}

/// How many values of the metric there are.
pub(super) async fn kept_values(ctx: &RunContext, params: &Params) -> Result<i64> {
    let session = ctx.present().await?;
    if !session.catalog().datasets.contains_key(&params.output) {
        return Ok(0);
    }
    let rows = session.table(&params.output).await?.filter(of_metric(params))?;
    let counted = rows.aggregate(vec![], vec![count(lit(1_i64))])?;
    let counted = session.collect(counted).await?;
    let counts = counted.first().map(|batch| batch.column(0).as_primitive::<Int64Type>());
    Ok(counts.and_then(|counts| counts.iter().next().flatten()).unwrap_or(0))
}

async fn before(ctx: &RunContext, params: &Params) -> Result<BTreeMap<Group, Before>> {
    let session = ctx.present().await?;
    let rows = session.table(&params.output).await?;
    let of_metric = rows.filter(of_metric(params))?;
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
            let first = first.value(row);
            let last = if last.is_valid(row) { last.value(row) } else { first };
            before.insert(group_of(params, dimensions)?, Before { first, last });
        }
    }
    Ok(before)
}

/// The values of the dimensions that a row of the output has as JSON.
fn group_of(params: &Params, dimensions: &str) -> Result<Group> {
    let by_column: Map<String, Value> = serde_json::from_str(dimensions)
        .map_err(|e| Error::internal(format!("{NAME}: dimensions {dimensions:?}: {e}")))?;
    let value = |column: &String| by_column.get(column)?.as_str().map(str::to_owned);
    Ok(params.dimensions.iter().map(value).collect())
}

/// Zeros that are filled in after an interval with rows, at most: one row of another age does not make millions of them.
const ZEROS_MAX: i64 = 100_000;
/// Zeros that a run fills in, at most: nor do many such rows.
const ZEROS_OF_RUN_MAX: usize = 1_000_000;

/// The intervals that are filled.
#[derive(Clone, Copy)]
struct Reached<'a> {
    intervals: &'a Grid,
    closed_us: i64,
    stretches: Option<&'a [(i64, i64)]>,
}

/// Intervals of one series that have no rows, one after the other.
struct Gap<'a> {
    group: &'a Group,
    /// The number of the first interval.
    first: i64,
    count: usize,
}

/// Fills intervals without rows with zeros: from each series' first interval on, as far as intervals are over. `before`: the series that
/// have values already, whose intervals outside of the stretches are there. The newest gaps are filled first; says how many intervals
/// beyond `zeros_max` were left empty.
fn fill(
    points: &mut Points,
    before: &BTreeMap<Group, Before>,
    reached: Reached<'_>,
    zeros_max: usize,
    mut require_room: impl FnMut(usize) -> Result<()>,
) -> Result<u64> {
    let intervals = reached.intervals;
    let mut count = points.values().map(BTreeMap::len).sum::<usize>();
    let groups: BTreeSet<Group> = points.keys().chain(before.keys()).cloned().collect();
    let of = |group| gaps(group, points.get(group), before.get(group), reached);
    let mut gaps: Vec<Gap<'_>> = groups.iter().flat_map(of).collect();
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.first));
    let (mut room, mut left_out) = (zeros_max, 0);
    for gap in gaps {
        let taken = gap.count.min(room);
        room -= taken;
        left_out += (gap.count - taken) as u64;
        if taken == 0 {
            continue;
        }
        count += taken;
        require_room(count)?;
        let own = points.entry(gap.group.clone()).or_default();
        // Of the last of them the newest, too.
        let first = gap.first + (gap.count - taken) as i64;
        let zero = |at: i64| (intervals.at(first + at), Point { value: Some(0.0), rows: 0 });
        let zeros = (0..taken as i64).map(zero);
        own.extend(zeros);
    }
    points.retain(|_, of| !of.is_empty());
    Ok(left_out)
}

/// The gaps of one series that are to be filled.
fn gaps<'a>(
    group: &'a Group,
    own: Option<&BTreeMap<i64, Point>>,
    known: Option<&Before>,
    Reached { intervals, closed_us, stretches }: Reached<'_>,
) -> Vec<Gap<'a>> {
    let with_rows: BTreeSet<i64> = own
        .into_iter()
        .flat_map(BTreeMap::keys)
        .copied()
        .chain(known.map(|known| known.last))
        .collect();
    let firsts = own.and_then(BTreeMap::first_key_value).map(|(first, _)| *first);
    let Some(first) = firsts.into_iter().chain(known.map(|known| known.first)).min() else {
        return Vec::new();
    };
    // What is not there yet of a series that began earlier than was known, or is new.
    let new = (first, known.map_or(closed_us, |known| known.first));
    let whole = [(first, closed_us)];
    let stretches = stretches.unwrap_or(&whole).iter().copied().chain([new]);
    let mut found: Vec<(i64, i64)> = Vec::new();
    for (from, to) in stretches {
        // From one interval with rows to the next, the part of the stretch that is not too far behind the first of them.
        let mut at = from.max(first);
        while at < to {
            if own.is_some_and(|own| own.contains_key(&at)) {
                at = intervals.end(at);
                continue;
            }
            let next = with_rows.range(at.saturating_add(1)..).next().copied();
            let last = with_rows.range(..=at).next_back();
            let near = last.map_or(i64::MAX, |last| {
                intervals.at(intervals.number_before(*last).saturating_add(ZEROS_MAX + 1))
            });
            let end = next.unwrap_or(i64::MAX).min(to).min(near);
            if at < end {
                found.push((at, end));
            }
            at = next.unwrap_or(to);
        }
    }
    // Stretches may lie over one another.
    found.sort_unstable();
    let mut gaps: Vec<Gap<'a>> = Vec::with_capacity(found.len());
    let mut over = i64::MIN;
    for (from, to) in found {
        let first = from.max(over);
        over = over.max(to);
        if first < to {
            let [first, last] = [first, to - 1].map(|at_us| intervals.number_before(at_us));
            gaps.push(Gap { group, first, count: (last - first + 1) as usize });
        }
    }
    gaps
}

impl Asked<'_> {
    /// The rows of the output that these values take the place of.
    pub(super) fn replaced(&self, params: &Params) -> Expr {
        let of_metric = of_metric(params);
        match self.stretches.map(|stretches| within(&ident("at"), stretches)) {
            None => of_metric,
            Some(within) => of_metric.and(within.unwrap_or_else(|| lit(false))),
        }
    }

    /// Makes of intervals without rows what the parameters want; says how many were left empty that should be zero.
    pub(super) async fn filled(
        &self,
        ctx: &RunContext,
        params: &Params,
        points: &mut Points,
    ) -> Result<u64> {
        if !self.is_zero {
            return Ok(0);
        }
        let before = match self.stretches {
            Some(_) => before(ctx, params).await?,
            None => BTreeMap::new(),
        };
        let reached = Reached {
            intervals: self.measure.grid(),
            closed_us: self.closed_us,
            stretches: self.stretches,
        };
        fill(points, &before, reached, ZEROS_OF_RUN_MAX, |count| {
            ctx.check()?;
            require_room(ctx, count)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use analysis::series::Span;

    use super::*;

    fn tens() -> Grid {
        Grid::fixed(Span::from_micros(10).unwrap(), 0)
    }

    /// Series by their intervals with rows, filled: the intervals that are zero, of each, and how many were left out.
    fn filled(rows: &[&[i64]], closed_us: i64, zeros_max: usize) -> (Vec<Vec<i64>>, u64) {
        let group = |at: usize| vec![Some(at.to_string())];
        let one = Point { value: Some(1.0), rows: 1 };
        let of = |(at, rows): (usize, &&[i64])| {
            (group(at), rows.iter().map(|at| (*at, one.clone())).collect())
        };
        let mut points: Points = rows.iter().enumerate().map(of).collect();
        let tens = tens();
        let reached = Reached { intervals: &tens, closed_us, stretches: None };
        let filled = fill(&mut points, &BTreeMap::new(), reached, zeros_max, |_| Ok(()));
        let left_out = filled.unwrap_or_else(|error| unreachable!("{error}"));
        let zeros = points
            .values()
            .map(|of| of.iter().filter(|(_, point)| point.rows == 0).map(|(at, _)| *at).collect());
        (zeros.collect(), left_out)
    }

    #[test]
    fn the_newest_intervals_are_zero_first_and_what_is_beyond_the_bound_is_counted() {
        let rows: [&[i64]; 2] = [&[0, 30, 50], &[20]];
        let all = (vec![vec![10, 20, 40, 60], vec![30, 40, 50, 60]], 0);
        assert_eq!(filled(&rows, 70, 8), all);
        // A gap counts from its first interval: that of the second series is older than the last of the first.
        assert_eq!(filled(&rows, 70, 7), (vec![vec![20, 40, 60], vec![30, 40, 50, 60]], 1));
        assert_eq!(filled(&rows, 70, 3), (vec![vec![40, 60], vec![60]], 5));
        assert_eq!(filled(&rows, 70, 0), (vec![vec![], vec![]], 8));
    }

    /// What is known of a series says how far zeros reach, and is no row.
    #[test]
    fn an_interval_that_is_known_and_has_no_row_is_zero() {
        let one = Point { value: Some(1.0), rows: 1 };
        let mut points: Points = [(vec![], [(10, one.clone()), (30, one)].into())].into();
        let before = [(vec![], Before { first: 20, last: 20 })].into();
        let tens = tens();
        let reached = Reached { intervals: &tens, closed_us: 50, stretches: Some(&[(0, 50)]) };
        assert!(matches!(fill(&mut points, &before, reached, 9, |_| Ok(())), Ok(0)));
        let zeros = points[&vec![]].iter().filter(|(_, point)| point.rows == 0);
        assert_eq!(zeros.map(|(at, _)| *at).collect::<Vec<_>>(), [20, 40]);
    }

    #[test]
    fn many_rows_of_other_ages_make_no_more_zeros_than_a_run_may() {
        let far = 10 * (ZEROS_MAX + 5);
        let rows: Vec<i64> = (0..30).map(|at| at * far).collect();
        let (zeros, left_out) = filled(&[&rows], 30 * far, ZEROS_OF_RUN_MAX);
        let of = |rows: u64| rows * ZEROS_MAX as u64;
        assert_eq!(
            (zeros[0].len(), left_out),
            (ZEROS_OF_RUN_MAX, of(30) - ZEROS_OF_RUN_MAX as u64)
        );
        assert!(zeros[0].iter().all(|at| *at > 20 * far));
        // One alone is filled as far as one row reaches.
        let (zeros, left_out) = filled(&[&[0]], far, ZEROS_OF_RUN_MAX);
        assert_eq!(
            (zeros[0].len() as i64, zeros[0].last(), left_out),
            (ZEROS_MAX, Some(&(10 * ZEROS_MAX)), 0)
        );
    }
}
