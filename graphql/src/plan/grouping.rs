//! The plan of groups, a stage at a time; each is left out where it is not asked for.
//!
//! ```text
//!   rows ─▶ keys ─▶ top: keys of rows that are not at the top ─▶ null    (joined with the ranked groups)
//!        ─▶ groups, and totals as grouping sets ─▶ having
//!        ─▶ fill: each part of time is followed by those until the next of its group   (lead, unnest)
//!        ─▶ previous: beside each part of time what the one before had                 (lag)
//!        ─▶ order, first
//! ```
//!
//! The measures of what is not at the top are those of its rows, not of its groups: so are medians and distinct counts right.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use async_graphql::Value;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn as aggregates;
use datafusion::functions_window::expr_fn::{lag, lead, row_number};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, GroupingSet, JoinType, Operator, SortExpr, binary_expr, cast, lit, when,
};
use datasets::ColumnType;
use engine::{Error, Result, Session, Taken};

use super::bucket::{bucket_behind, buckets_between};
use super::computed::{Computed, Measured};
use super::groups::{Every, Fill, GroupsRequest, Totals, filter_name, key_name};
use super::holding::Holding;
use super::measures::filtered;
use super::order::{Direction, by_name};
use super::page::{Collected, collect_bounded, count_rows, named};
use super::values::to_values;
use crate::shape::Shape;

const ASCENDING: Direction = Direction { ascending: true, nulls_first: false };
/// What the columns of groups begin with that have aggregates of their rows.
const AGGREGATE: &str = "_aggregate_";
/// The place of a group at the top, null of all others.
pub(crate) const RANK: &str = "_rank";
/// Whether a part of time has no rows.
pub(crate) const FILLED: &str = "_filled";
/// Whether a group has rows in the part of time before.
pub(crate) const HAS_EARLIER: &str = "_has_earlier";

/// What is shown of the part of time before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Earlier {
    /// Its measures.
    Previous,
    /// The differences to them.
    Change,
    /// These in percent of them.
    Percent,
}

impl Earlier {
    const ALL: [Self; 3] = [Self::Previous, Self::Change, Self::Percent];

    /// The column of a plan that has it.
    pub(crate) fn name(self, of: &Computed) -> String {
        let begin = match self {
            Self::Previous => "_previous",
            Self::Change => "_change",
            Self::Percent => "_percent",
        };
        format!("{begin}{}", of.name())
    }

    /// The type of its values; none where there is no difference.
    pub(crate) fn result(self, shape: &Shape, of: &Computed) -> Option<ColumnType> {
        let kind = of.result(shape)?;
        match self {
            Self::Previous => Some(kind),
            Self::Change => kind.is_numeric().then_some(kind),
            Self::Percent => kind.is_numeric().then_some(ColumnType::Float64),
        }
    }
}

/// Groups that were read.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// How many.
    pub rows: usize,
    /// Whether more were there.
    pub has_more: bool,
    /// Key columns.
    pub keys: HashMap<usize, Vec<Value>>,
    /// What was computed.
    pub computed: HashMap<Computed, Vec<Value>>,
    /// For each, whether it has the rows of all that are not at the top.
    pub others: Vec<bool>,
    /// For each, whether it is a part of time without rows.
    pub filled: Vec<bool>,
    /// For each, whether it is a total over the key.
    pub totals: HashMap<usize, Vec<bool>>,
    /// For each, whether its group has rows in the part of time before.
    pub has_earlier: Vec<bool>,
    /// What was computed in the part of time before, the change since, and that in percent.
    pub earlier: HashMap<(Earlier, Computed), Vec<Value>>,
    /// Filters, by the key of the answer that a measure has one under.
    filters: HashMap<String, Option<usize>>,
    /// Values that could not be expressed.
    pub not_finite: u64,
    /// Bytes that are counted for its values.
    pub bytes: usize,
    /// Where they are counted as long as subscriptions keep them.
    pub kept: Option<Taken>,
}

impl Groups {
    /// What was computed in a group; null where a group has no values.
    pub(crate) fn value(&self, of: &Computed, row: usize) -> Value {
        let values = self.computed.get(of);
        values.and_then(|values| values.get(row)).cloned().unwrap_or_default()
    }

    /// What is shown of the part of time before.
    pub(crate) fn earlier_value(&self, earlier: Earlier, of: &Computed, row: usize) -> Value {
        let values = self.earlier.get(&(earlier, *of));
        values.and_then(|values| values.get(row)).cloned().unwrap_or_default()
    }

    /// What a group is known by, and all that stands in it.
    pub(crate) fn told(&self, row: usize) -> (String, String) {
        fn add<K: Ord>(text: &mut String, columns: impl Iterator<Item = (K, String)>) {
            let mut columns: Vec<_> = columns.collect();
            columns.sort_by(|a, b| a.0.cmp(&b.0));
            for (_, value) in columns {
                let _ = writeln!(text, "{value}");
            }
        }
        let at = |values: &Vec<Value>| values.get(row).map_or_else(String::new, Value::to_string);
        let is = |values: &Vec<bool>| values.get(row).copied().unwrap_or_default();
        let mut key = is(&self.others).to_string();
        add(&mut key, self.totals.iter().map(|(column, totals)| (column, is(totals).to_string())));
        add(&mut key, self.keys.iter().map(|(column, values)| (column, at(values))));
        let (mut values, empty) = (String::new(), (is(&self.filled), is(&self.has_earlier)));
        let _ = write!(values, "{empty:?}");
        add(&mut values, self.computed.iter().map(|(of, values)| (*of, at(values))));
        let earlier = self.earlier.iter();
        add(&mut values, earlier.map(|((which, of), values)| ((*which as u8, *of), at(values))));
        (key, values)
    }

    /// The filter of the measure that has `key` in the answer.
    pub(crate) fn filter(&self, key: &str) -> Option<usize> {
        self.filters.get(key).copied().flatten()
    }
}

impl GroupsRequest {
    fn plan(&self, shape: &Shape, table: DataFrame) -> Result<DataFrame> {
        // Each is held against a row once, whatever is measured by it.
        let mut conditions = self.filters.conditions.iter().enumerate();
        let table = conditions
            .try_fold(table, |table, (at, of)| table.with_column(&filter_name(at), of.clone()))?;
        let mut keys = self.keys.iter();
        let table = keys.try_fold(table, |table, (column, key)| {
            table.with_column(&key_name(*column), key.clone())
        })?;
        let table = match self.top {
            Some(top) => self.folded(shape, table, top)?,
            None => table,
        };
        let mut keys: Vec<Expr> = self.keys().map(|key| by_name(&key_name(key))).collect();
        let mut computed = Aggregates::of(shape, &self.computed)?;
        let keys = match self.totals {
            None => {
                keys.extend(self.top.map(|_| by_name(RANK)));
                keys
            }
            Some(totals) => {
                computed.marks.extend(self.keys().map(|key| {
                    aggregates::grouping(by_name(&key_name(key))).alias(total_name(key))
                }));
                vec![Expr::GroupingSet(match totals {
                    Totals::All => GroupingSet::GroupingSets(vec![keys, vec![]]),
                    Totals::Rollup => GroupingSet::Rollup(keys),
                    Totals::Cube => GroupingSet::Cube(keys),
                })]
            }
        };
        let groups = computed.grouped(table, keys)?;
        let groups = match self.having.iter().cloned().reduce(Expr::and) {
            Some(having) => groups.filter(having)?,
            None => groups,
        };
        let groups = match self.every {
            Some(every @ Every { fill: Some(fill), .. }) => {
                self.filled(shape, groups, every, fill)?
            }
            _ => groups,
        };
        match self.every {
            Some(every) if !self.earlier.is_empty() => self.compared_with(shape, groups, every),
            _ => Ok(groups),
        }
    }

    /// Rows of `table`, of which those have null keys that are in no group at the top.
    fn folded(&self, shape: &Shape, table: DataFrame, top: usize) -> Result<DataFrame> {
        let keys: Vec<usize> = self.ranked_keys().collect();
        let count = Computed::rows(None);
        let ranking: BTreeSet<Computed> = self.ranking.iter().copied().chain([count]).collect();
        let computed = Aggregates::of(shape, &ranking)?;
        let mut order = self.sorting.clone();
        if order.is_empty() {
            order.push(by_name(&count.name()).sort(false, false));
        }
        order.extend(keys.iter().map(|key| ASCENDING.sort(by_name(&key_name(*key)))));
        let rank = row_number().order_by(order).build()?.alias(RANK);
        let top_name = |key: usize| format!("_top{}", key_name(key));
        let mut output: Vec<Expr> =
            keys.iter().map(|key| by_name(&key_name(*key)).alias(top_name(*key))).collect();
        output.push(by_name(RANK));
        let of_keys = keys.iter().map(|key| by_name(&key_name(*key))).collect();
        let ranked = computed
            .grouped(table.clone(), of_keys)?
            .window(vec![rank])?
            .filter(by_name(RANK).lt_eq(lit(top as u64)))?
            .select(output)?;
        let same = keys.iter().map(|key| {
            let (left, right) = (by_name(&key_name(*key)), by_name(&top_name(*key)));
            binary_expr(left, Operator::IsNotDistinctFrom, right)
        });
        let joined = table.join_on(ranked, JoinType::Left, same)?;
        let is_top = || by_name(RANK).is_not_null();
        keys.iter().try_fold(joined, |joined, key| {
            let name = key_name(*key);
            Ok(joined.with_column(&name, when(is_top(), by_name(&name)).end()?)?)
        })
    }

    /// What stands beside measures in a group.
    fn marks(&self) -> Vec<Expr> {
        let keys = self.ranked_keys().map(|key| by_name(&key_name(key)));
        keys.chain(self.top.map(|_| by_name(RANK))).collect()
    }

    /// `groups` with those of the parts of time between.
    fn filled(
        &self,
        shape: &Shape,
        groups: DataFrame,
        every: Every,
        fill: Fill,
    ) -> Result<DataFrame> {
        let bucket = key_name(every.column);
        let next_name = |name: &str| format!("_next{name}");
        let next = |name: &str| -> Result<Expr> {
            let next = lead(by_name(name), Some(1), None)
                .partition_by(self.marks())
                .order_by(vec![ASCENDING.sort(by_name(&bucket))])
                .build()?;
            Ok(next.alias(next_name(name)))
        };
        let is_number = |of: &&Computed| of.result(shape).is_some_and(|kind| kind.is_numeric());
        let mut windows = vec![next(&bucket)?];
        if fill == Fill::Linear {
            for of in self.computed.iter().filter(is_number) {
                windows.push(next(&of.name())?);
            }
        }
        const BUCKETS: &str = "_buckets";
        let (from, until) = (by_name(&bucket), by_name(&next_name(&bucket)));
        let buckets = buckets_between(from.clone(), until.clone(), every.width, every.zone);
        let groups =
            groups.window(windows)?.with_column(BUCKETS, buckets)?.unnest_columns(&[BUCKETS])?;
        let at = by_name(BUCKETS);
        let is_filled = at.clone().not_eq(from.clone()).is_true();
        let part = number(at.clone()) - number(from.clone());
        let part = part / (number(until) - number(from));
        let mut output = self.marks();
        output.push(at.alias(&bucket));
        output.push(is_filled.clone().alias(FILLED));
        for of in &self.computed {
            let (name, kind) = (of.name(), of.result(shape));
            let value = by_name(&name);
            let kind = kind.filter(ColumnType::is_numeric).map(|kind| kind.arrow_type());
            let filler = match (fill, &kind) {
                // It has no rows, whatever its measures are taken for.
                _ if *of == Computed::rows(None) => Some(lit(0i64)),
                (_, _) if of.of == Measured::Rows => Some(lit(0i64)),
                (Fill::Previous, _) => Some(value.clone()),
                (Fill::Zero, Some(kind)) => Some(cast(lit(0i64), kind.clone())),
                (Fill::Linear, Some(kind)) => {
                    let (low, high) = (float(value.clone()), float(by_name(&next_name(&name))));
                    let between = low.clone() + (high - low) * part.clone();
                    Some(match kind {
                        DataType::Int32 | DataType::Int64 | DataType::Decimal128(_, 0) => {
                            // Which rounds.
                            cast(cast(between, DataType::Decimal128(38, 0)), kind.clone())
                        }
                        _ => cast(between, kind.clone()),
                    })
                }
                (Fill::Null | Fill::Zero | Fill::Linear, _) => None,
            };
            let shown = match filler {
                Some(filler) => when(is_filled.clone(), filler).otherwise(value)?,
                None => when(is_filled.clone().is_not_true(), value).end()?,
            };
            output.push(shown.alias(name));
        }
        Ok(groups.select(output)?)
    }

    /// `groups` with what the part of time before had.
    fn compared_with(&self, shape: &Shape, groups: DataFrame, every: Every) -> Result<DataFrame> {
        let bucket = key_name(every.column);
        let last_name = |name: &str| format!("_last{name}");
        let last = |name: &str| -> Result<Expr> {
            let last = lag(by_name(name), Some(1), None)
                .partition_by(self.marks())
                .order_by(vec![ASCENDING.sort(by_name(&bucket))])
                .build()?;
            Ok(last.alias(last_name(name)))
        };
        let mut windows = vec![last(&bucket)?];
        for of in &self.earlier {
            windows.push(last(&of.name())?);
        }
        let behind = bucket_behind(by_name(&last_name(&bucket)), every.width, every.zone);
        let is_next = by_name(&bucket).eq(behind).is_true();
        let mut groups = groups.window(windows)?.with_column(HAS_EARLIER, is_next)?;
        for of in &self.earlier {
            let Some(kind) = of.result(shape) else { continue };
            let (now, last) = (by_name(&of.name()), by_name(&last_name(&of.name())));
            let previous = when(by_name(HAS_EARLIER), last).end()?;
            groups = groups.with_column(&Earlier::Previous.name(of), previous)?;
            if !kind.is_numeric() {
                continue;
            }
            let previous = by_name(&Earlier::Previous.name(of));
            let change = cast(now - previous.clone(), kind.arrow_type());
            groups = groups.with_column(&Earlier::Change.name(of), change)?;
            let (change, previous) = (float(by_name(&Earlier::Change.name(of))), float(previous));
            let percent = change * lit(100.0) / previous.clone();
            let percent = when(previous.not_eq(lit(0.0)), percent).end()?;
            groups = groups.with_column(&Earlier::Percent.name(of), percent)?;
        }
        Ok(groups)
    }

    /// The order of what is shown.
    fn order(&self) -> Vec<SortExpr> {
        let key = |key: usize| ASCENDING.sort(by_name(&key_name(key)));
        if self.top.is_some() {
            let bucket = self.every.map(|every| key(every.column));
            return bucket.into_iter().chain([ASCENDING.sort(by_name(RANK))]).collect();
        }
        let mut order = self.sorting.clone();
        for column in self.keys() {
            order.extend(self.totals.map(|_| ASCENDING.sort(by_name(&total_name(column)))));
            order.push(key(column));
        }
        order
    }

    /// The first groups of `table`, and one more where there are more, as the columns of the plan.
    pub(crate) async fn collect<'a>(
        &self,
        session: &Session,
        shape: &Shape,
        table: DataFrame,
        first: usize,
        holding: &'a Holding,
    ) -> Result<Collected<'a>> {
        let mut frame = self.plan(shape, table)?;
        let order = self.order();
        if !order.is_empty() {
            frame = frame.sort(order)?;
        }
        collect_bounded(session, frame.limit(0, Some(first + 1))?, holding).await
    }

    /// Reads the first groups of `table`.
    pub(crate) async fn read(
        &self,
        session: &Session,
        shape: &Shape,
        table: DataFrame,
        first: usize,
        holding: &Holding,
    ) -> Result<Groups> {
        let batch = self.collect(session, shape, table, first, holding).await?;
        let rows = batch.num_rows().min(first);
        let mut groups = Groups { rows, has_more: batch.num_rows() > first, ..Groups::default() };
        let mut values = |name: &str, kind: &ColumnType| -> Result<Vec<Value>> {
            let converted = to_values(&named(&batch, name)?.slice(0, rows), kind, holding)?;
            groups.not_finite += converted.not_finite;
            groups.bytes += converted.bytes;
            Ok(converted.values)
        };
        let mut keys = HashMap::new();
        for column in self.keys() {
            keys.insert(column, values(&key_name(column), &shape.at(column).kind)?);
        }
        let mut computed = HashMap::new();
        for of in &self.computed {
            let Some(kind) = of.result(shape) else { continue };
            computed.insert(*of, values(&of.name(), &kind)?);
        }
        let mut earlier = HashMap::new();
        for of in &self.earlier {
            for which in Earlier::ALL {
                let Some(kind) = which.result(shape, of) else { continue };
                earlier.insert((which, *of), values(&which.name(of), &kind)?);
            }
        }
        (groups.keys, groups.computed, groups.earlier) = (keys, computed, earlier);
        groups.filters.clone_from(&self.filters.by_key);
        if self.top.is_some() {
            let ranks = named(&batch, RANK)?;
            groups.others = (0..rows).map(|row| ranks.is_null(row)).collect();
        }
        if self.every.is_some_and(|every| every.fill.is_some()) {
            groups.filled = flags(&batch, FILLED, rows)?;
        }
        if !self.earlier.is_empty() {
            groups.has_earlier = flags(&batch, HAS_EARLIER, rows)?;
        }
        if self.totals.is_some() {
            for key in self.keys() {
                groups.totals.insert(key, flags(&batch, &total_name(key), rows)?);
            }
        }
        Ok(groups)
    }

    /// Counts the groups of `table`.
    pub(crate) async fn count(
        &self,
        session: &Session,
        shape: &Shape,
        table: DataFrame,
    ) -> Result<u64> {
        count_rows(session, self.plan(shape, table)?, None).await
    }
}

/// What is computed of the rows of groups, and what is made of that.
#[derive(Default)]
struct Aggregates {
    of_rows: Vec<Expr>,
    of_groups: Vec<Expr>,
    /// What tells totals from groups.
    marks: Vec<Expr>,
}

impl Aggregates {
    fn of(shape: &Shape, all: &BTreeSet<Computed>) -> Result<Self> {
        let mut aggregates = Self::default();
        for of in all {
            aggregates.add(shape, of)?;
        }
        Ok(aggregates)
    }

    fn add(&mut self, shape: &Shape, of: &Computed) -> Result<()> {
        let (name, filter) = (of.name(), of.filter.map(|filter| by_name(&filter_name(filter))));
        let value = match of.of {
            Measured::Rows => {
                self.split(filtered(aggregates::count(lit(1i64)), filter.as_ref()))?
            }
            Measured::Column { measure, column, with } => {
                let with = with.map(|with| shape.at(with));
                self.split(measure.over(shape, shape.at(column), with, filter.as_ref()))?
            }
            Measured::Declared(number) => {
                let declared = shape.measures.get(number);
                let declared = declared.ok_or_else(|| Error::internal("no such measure"))?;
                declared.measure.value(filter.as_ref(), |aggregate| self.column_of(aggregate))?
            }
        };
        self.of_groups.push(value.alias(name));
        Ok(())
    }

    /// The same, of what the aggregates in it are.
    fn split(&mut self, value: Expr) -> Result<Expr> {
        let value = value.transform_down(|part| match part {
            Expr::AggregateFunction(_) => {
                let column = by_name(&self.column_of(part));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            }
            part => Ok(Transformed::no(part)),
        })?;
        Ok(value.data)
    }

    /// The column of the groups that has an aggregate. Each is computed once, whatever is made of it.
    fn column_of(&mut self, aggregate: Expr) -> String {
        let known = self.of_rows.iter().position(|known| *known == aggregate);
        let at = known.unwrap_or(self.of_rows.len());
        if known.is_none() {
            self.of_rows.push(aggregate);
        }
        format!("{AGGREGATE}{at}")
    }

    /// The groups of `table` by `keys`, with all of it.
    fn grouped(self, table: DataFrame, keys: Vec<Expr>) -> Result<DataFrame> {
        let of_rows = self.of_rows.into_iter().enumerate();
        let of_rows = of_rows.map(|(at, it)| it.alias(format!("{AGGREGATE}{at}")));
        let groups = table.aggregate(keys, of_rows.chain(self.marks).collect())?;
        let others = groups.schema().iter().filter(|(_, it)| !it.name().starts_with(AGGREGATE));
        let others = others.map(|(of, field)| Expr::from((of, field)));
        let columns: Vec<Expr> = others.chain(self.of_groups).collect();
        Ok(groups.select(columns)?)
    }
}

/// Whether a row is a total over a key.
pub(crate) fn total_name(key: usize) -> String {
    format!("_total{}", key_name(key))
}

fn float(value: Expr) -> Expr {
    cast(value, DataType::Float64)
}

/// An instant or a day as a number.
fn number(time: Expr) -> Expr {
    float(cast(time, DataType::Int64))
}

/// A column of truth values, or of numbers of which 0 is false.
pub(super) fn flags(batch: &RecordBatch, name: &str, rows: usize) -> Result<Vec<bool>> {
    let column = named(batch, name)?;
    if let Some(flags) = column.as_boolean_opt() {
        return Ok((0..rows).map(|row| flags.is_valid(row) && flags.value(row)).collect());
    }
    let numbers = arrow::compute::cast(column, &DataType::Int64)?;
    let numbers = numbers.as_primitive_opt::<Int64Type>();
    let numbers = numbers.ok_or_else(|| Error::internal("a mark that is no truth value"))?;
    Ok((0..rows).map(|row| numbers.is_valid(row) && numbers.value(row) != 0).collect())
}
