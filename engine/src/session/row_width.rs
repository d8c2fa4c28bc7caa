//! Limits for operators that repeat or collect the rows of their input without reserving memory.
//!
//! A join emits batches of some thousand rows, and repeats a row for each match. A row of a megabyte then becomes gigabytes,
//! allocated at once. So the input of such an operator is measured. A cross join gets smaller batches, and other operators
//! refuse rows that could exceed a limit. Window functions collect their input, so it counts against the query's memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions,
};
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::prelude::SessionConfig;
use futures::{Stream, ready};

use super::wrapper_exec::{StreamWrapper, WrapperExec};
use crate::error::{Code, Error};
use crate::functions::{claim, is_shared, row_bytes, row_ranges, row_values, rows_bytes};

/// Most bytes that an operator may produce by repeating the rows of one batch.
const REPEATED_BYTES_MAX: usize = 128 << 20;
/// Most bytes of the values that the rows of one batch share, as if each were written out.
const SHARED_BYTES_MAX: usize = 32 << 20;
/// Batch size if rows may share values.
const SHARED_ROWS: usize = 64;
/// Batch size at which an operator emits each batch as it is, and coalesces nothing (`coalescing`).
pub(super) const UNCOALESCED_BATCH_SIZE: usize = 1;
/// Batch size of a join of rows that may be wide.
const JOINED_ROWS: usize = 1 << 10;
/// Most bytes that a cross join or unnesting may produce from one batch. Larger batches are split.
const CROSSED_BYTES_MAX: usize = 64 << 20;

/// Bytes of rows that are grouped at once, times their grouping sets.
const GROUPED_BYTES_MAX: usize = 16 << 20;
/// Rows whose computed keys are measured at once.
const MEASURED_ROWS: usize = 64;

/// Bytes of rows that are matched with regular expressions in one batch. A pattern can take a microsecond per byte.
const MATCHED_BYTES: usize = 64 << 10;
/// Rows with a pattern of their own in one batch. Compiling a pattern can take ten milliseconds.
const COMPILED_ROWS: usize = 16;

/// How the rows of an input are limited.
#[derive(Clone, Debug)]
enum Bound {
    /// Records the widest row, for the other side of a cross join.
    Widest(Arc<AtomicUsize>),
    /// Batches small enough to fit together with the widest row of the other side.
    Fewer(Arc<AtomicUsize>),
    /// Batches small enough to match all patterns quickly.
    Matched(Pattern),
    /// Refuses rows that do not fit when they are repeated for each row of a batch.
    Joined,
    /// Refuses rows that do not fit when they are repeated for each item of these lists.
    Unnested(Vec<usize>),
    /// Batches small enough to be grouped by this many grouping sets. Groups are counted against the query's memory after each
    /// batch.
    Grouped(GroupingSets),
    /// Counts the rows against the query's memory.
    Gathered,
    /// Batches whose values fit when they are written out. Rows of the input share values.
    Shared,
}

/// The operator, with limits on its inputs if it needs them. `between` wraps each limited input, because it may split batches.
pub(super) fn with_bounded_rows(
    plan: Arc<dyn ExecutionPlan>,
    between: impl Fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut bounds = match plan.name() {
        "CrossJoinExec" if plan.downcast_ref::<CrossJoinExec>().is_some() => {
            let widest = Arc::new(AtomicUsize::new(0));
            vec![Bound::Widest(Arc::clone(&widest)), Bound::Fewer(widest)]
        }
        name if JOINS.contains(&name) => vec![Bound::Joined; 2],
        "WindowAggExec" | "BoundedWindowAggExec" => vec![Bound::Gathered],
        _ => match plan.downcast_ref::<UnnestExec>() {
            Some(unnest) => {
                let lists = unnest.list_column_indices().iter();
                vec![Bound::Unnested(lists.map(|list| list.index_in_input_schema).collect())]
            }
            None => Vec::new(),
        },
    };
    // A join filter is evaluated on pairs, not on the rows of one input.
    let matched = match bounds.is_empty() {
        true => pattern_of_operator(&plan)?.map(Bound::Matched),
        false => None,
    };
    if let Some(sets) = GroupingSets::of(&plan) {
        bounds = vec![Bound::Grouped(sets)];
    }
    let inputs = plan.children();
    let shares = |input: &&Arc<dyn ExecutionPlan>| has_shared(&input.schema());
    if matched.is_none() && bounds.is_empty() && !inputs.iter().any(&shares) {
        return Ok(plan);
    }
    let mut bounds = bounds.into_iter();
    let inputs = inputs.into_iter().map(|input| {
        let shared = shares(&input).then_some(Bound::Shared);
        // Computed keys are evaluated on the rows that `matched` bounds.
        let own = shared.into_iter().chain(matched.clone()).chain(bounds.next());
        own.fold(Arc::clone(input), |input, bound| between(WrapperExec::plan(input, bound)))
    });
    let inputs = inputs.collect();
    plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

/// The grouping sets that an operator groups its input by.
#[derive(Clone, Debug)]
struct GroupingSets {
    count: usize,
    /// The keys that are computed from the columns of the input.
    computed: Vec<Arc<dyn PhysicalExpr>>,
}

impl GroupingSets {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let groups = plan.downcast_ref::<AggregateExec>()?.group_expr();
        let count = groups.groups().len();
        let keys = groups.expr().iter().map(|(key, _)| key);
        let computed = keys.filter(|key| key.downcast_ref::<Column>().is_none());
        (count > 1).then(|| Self { count, computed: computed.map(Arc::clone).collect() })
    }

    /// Bytes of each row with its computed keys.
    fn bytes(&self, batch: &RecordBatch) -> Result<Vec<u64>> {
        let mut bytes = vec![0_u64; batch.num_rows()];
        for column in batch.columns() {
            add_bytes(&mut bytes, &row_bytes(column.as_ref()));
        }
        // A few rows at a time, since a key may be long.
        for first in (0..batch.num_rows()).step_by(MEASURED_ROWS) {
            let few = batch.slice(first, MEASURED_ROWS.min(batch.num_rows() - first));
            for key in &self.computed {
                let values = key.evaluate(&few)?.into_array(few.num_rows())?;
                add_bytes(&mut bytes[first..], &row_bytes(values.as_ref()));
            }
        }
        Ok(bytes)
    }
}

fn add_bytes(sums: &mut [u64], bytes: &[u64]) {
    sums.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum = sum.saturating_add(*bytes));
}

/// Joins that emit batches of a given size, and repeat a row for each match.
const JOINS: [&str; 5] = [
    "HashJoinExec",
    "NestedLoopJoinExec",
    "SortMergeJoinExec",
    "PiecewiseMergeJoin",
    "SymmetricHashJoinExec",
];

/// Whether rows may be wide: a column is neither primitive nor boolean.
pub(super) fn is_wide(schema: &SchemaRef) -> bool {
    let is_long = |of: &DataType| of.primitive_width().is_none() && *of != DataType::Boolean;
    schema.fields().iter().any(|field| is_long(field.data_type()))
}

/// Whether rows may share values.
pub(super) fn has_shared(schema: &SchemaRef) -> bool {
    schema.fields().iter().any(|field| is_shared(field.data_type()))
}

/// Whether `plan` is a repartition that coalesces rows that may be wide. One that preserves the
/// order of rows coalesces none.
pub(super) fn is_wide_repartition(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let repartition = plan.downcast_ref::<RepartitionExec>();
    repartition.is_some_and(|repartition| !repartition.preserve_order()) && is_wide(&plan.schema())
}

/// The batch size of the session. Some operators get a smaller one.
struct DefaultBatchSize(usize);

pub(super) fn default_batch_size(context: &TaskContext) -> usize {
    let config = context.session_config();
    config.get_extension::<DefaultBatchSize>().map_or(config.batch_size(), |size| size.0)
}

/// The context of an operator. Three kinds of operators get a smaller batch size: repartitions and
/// joins of rows that may be wide, and operators on rows that share values.
pub(super) fn context_of(
    plan: &Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> Arc<TaskContext> {
    let default_size = default_batch_size(&context);
    let schema = plan.schema();
    // An operator may collect a whole batch before it emits rows, and copies the values they share.
    let rows = if is_wide_repartition(plan) {
        UNCOALESCED_BATCH_SIZE
    } else if has_shared(&schema) {
        SHARED_ROWS
    } else if JOINS.contains(&plan.name()) && is_wide(&schema) {
        JOINED_ROWS
    } else {
        default_size
    };
    if rows.min(default_size) == context.session_config().batch_size() {
        return context;
    }
    let mut config = context.session_config().clone().with_batch_size(rows.min(default_size));
    if config.get_extension::<DefaultBatchSize>().is_none() {
        config.set_extension(Arc::new(DefaultBatchSize(default_size)));
    }
    with_config(&context, config)
}

fn with_config(context: &TaskContext, config: SessionConfig) -> Arc<TaskContext> {
    // A plan has the functions that it calls.
    let (scalar, of_lists, aggregate, window) = Default::default();
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        scalar,
        of_lists,
        aggregate,
        window,
        context.runtime_env(),
    ))
}

/// A regular expression that rows are matched with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Constant,
    /// One for each row, which is compiled for each row.
    Computed,
}

impl Pattern {
    /// Splits a batch into ranges that can be matched in a short time.
    pub(super) fn row_ranges(self, batch: &RecordBatch) -> Vec<Range<usize>> {
        let rows = match self {
            Self::Constant => usize::MAX,
            Self::Computed => COMPILED_ROWS,
        };
        batch_row_ranges(batch, MATCHED_BYTES, rows)
    }

    /// The one that takes longer.
    fn or(self, other: Option<Self>) -> Self {
        if other == Some(Self::Computed) { Self::Computed } else { self }
    }
}

/// The pattern that an operator matches rows with.
fn pattern_of_operator(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Pattern>> {
    let mut found: Option<Pattern> = None;
    plan.apply_expressions(&mut |expression| {
        if let Some(pattern) = pattern_of(expression)? {
            found = Some(pattern.or(found));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The pattern in an expression.
pub(super) fn pattern_of(expression: &Arc<dyn PhysicalExpr>) -> Result<Option<Pattern>> {
    let mut found: Option<Pattern> = None;
    expression.apply(|part| {
        let pattern = if let Some(binary) = part.downcast_ref::<BinaryExpr>() {
            is_pattern(binary.op()).then(|| binary.right())
        } else if let Some(call) = part.downcast_ref::<ScalarFunctionExpr>() {
            let is_pattern = call.fun().name().starts_with("regexp_");
            call.args().get(1).filter(|_| is_pattern)
        } else {
            None
        };
        if let Some(pattern) = pattern {
            let is_constant = pattern.downcast_ref::<Literal>().is_some();
            let pattern = if is_constant { Pattern::Constant } else { Pattern::Computed };
            found = Some(pattern.or(found));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether a binary operator matches a regular expression.
pub(crate) fn is_pattern(operator: &Operator) -> bool {
    use Operator as O;
    matches!(operator, O::RegexMatch | O::RegexIMatch | O::RegexNotMatch | O::RegexNotIMatch)
}

impl StreamWrapper for Bound {
    const NAME: &'static str = "BoundedRows";

    fn rows(
        &self,
        rows: SendableRecordBatchStream,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        let memory = Arc::clone(context.memory_pool());
        Box::pin(Rows { rows, bound: self.clone(), memory, left: VecDeque::new() })
    }
}

struct Rows {
    rows: SendableRecordBatchStream,
    bound: Bound,
    memory: Arc<dyn MemoryPool>,
    /// Slices of a batch that are still to be emitted.
    left: VecDeque<RecordBatch>,
}

impl Rows {
    /// The part of `batch` to emit now.
    fn bounded(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let ranges = match &self.bound {
            Bound::Widest(widest) => {
                widest.fetch_max(widest_row(&batch), Ordering::Relaxed);
                return Ok(batch);
            }
            Bound::Joined => {
                let row = widest_row(&batch);
                return match row.saturating_mul(JOINED_ROWS) > REPEATED_BYTES_MAX {
                    true => Err(too_wide("a join", row, REPEATED_BYTES_MAX / JOINED_ROWS)),
                    false => Ok(batch),
                };
            }
            Bound::Gathered => {
                let reservation = MemoryConsumer::new("window functions").register(&self.memory);
                reservation.try_grow(rows_bytes(&batch))?;
                drop(reservation);
                claim(&batch, &self.memory);
                return Ok(batch);
            }
            Bound::Fewer(widest) => {
                let other = widest.load(Ordering::Relaxed).max(1);
                row_ranges(
                    &vec![other as u64; batch.num_rows()],
                    CROSSED_BYTES_MAX as u64,
                    usize::MAX,
                )
            }
            Bound::Matched(pattern) => pattern.row_ranges(&batch),
            Bound::Grouped(sets) => {
                let bytes = sets.bytes(&batch)?;
                let (sets, longest) = (sets.count, bytes.iter().max().copied().unwrap_or(0));
                let row = usize::try_from(longest).unwrap_or(usize::MAX);
                if row.saturating_mul(sets) > REPEATED_BYTES_MAX {
                    let message = format!(
                        "GROUP BY has {sets} grouping sets, so a row may have at most {} KiB, found one of {} KiB; leave out long columns, or shorten them with left(…)",
                        (REPEATED_BYTES_MAX / sets) >> 10,
                        row >> 10
                    );
                    let error = Error::user(Code::LimitExceeded, message);
                    return Err(DataFusionError::External(Box::new(error)));
                }
                row_ranges(&bytes, (GROUPED_BYTES_MAX / sets) as u64, usize::MAX)
            }
            Bound::Shared => batch_row_ranges(&batch, SHARED_BYTES_MAX, usize::MAX),
            Bound::Unnested(lists) => unnested_row_ranges(&batch, lists)?,
        };
        let slices = ranges.into_iter().map(|range| batch.slice(range.start, range.len()));
        self.left.extend(slices);
        Ok(self.left.pop_front().unwrap_or(batch))
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = self.left.pop_front() {
            return Poll::Ready(Some(Ok(batch)));
        }
        Poll::Ready(match ready!(self.rows.as_mut().poll_next(cx)) {
            Some(Ok(batch)) => Some(self.bounded(batch)),
            other => other,
        })
    }
}

impl RecordBatchStream for Rows {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

fn too_wide(operator: &str, row: usize, most: usize) -> DataFusionError {
    let says = format!(
        "{operator} may repeat each row for some thousand others: expected rows of at most {} KiB, found one of {} KiB; leave out long columns, or shorten them with left(…)",
        most >> 10,
        row >> 10
    );
    DataFusionError::External(Box::new(Error::user(Code::LimitExceeded, says)))
}

/// Splits a batch into ranges of at most `max_bytes` bytes and at most `max_rows` rows. A row with
/// more than `max_bytes` gets its own range.
fn batch_row_ranges(batch: &RecordBatch, max_bytes: usize, max_rows: usize) -> Vec<Range<usize>> {
    if rows_bytes(batch) <= max_bytes && batch.num_rows() <= max_rows {
        return std::iter::once(0..batch.num_rows()).collect();
    }
    let columns = batch.columns().iter().map(|column| row_bytes(column.as_ref()));
    let mut bytes = vec![0_u64; batch.num_rows()];
    for column in columns {
        bytes.iter_mut().zip(column).for_each(|(sum, value)| *sum = sum.saturating_add(value));
    }
    row_ranges(&bytes, max_bytes as u64, max_rows)
}

/// Splits a batch into ranges that can be unnested at once. Unnesting repeats each row for every
/// item of its lists, for a whole batch at once. Fails if a single row exceeds the limit.
fn unnested_row_ranges(batch: &RecordBatch, lists: &[usize]) -> Result<Vec<Range<usize>>> {
    let columns: Vec<Vec<u64>> =
        batch.columns().iter().map(|column| row_bytes(column.as_ref())).collect();
    let lists: Vec<_> = lists
        .iter()
        .filter_map(|place| columns.get(*place).zip(batch.columns().get(*place)))
        .map(|(bytes, list)| (bytes, row_values(list.as_ref())))
        .collect();
    let at = |of: &Vec<u64>, row: usize| of.get(row).copied().unwrap_or(0);
    let bytes = (0..batch.num_rows()).map(|row| {
        let all = columns.iter().map(|bytes| at(bytes, row)).fold(0, u64::saturating_add);
        let own = lists.iter().map(|(bytes, _)| at(bytes, row)).fold(0, u64::saturating_add);
        let times = lists.iter().map(|(_, values)| at(values, row)).max().unwrap_or(0);
        let width = all.saturating_sub(own);
        let repeated = width.saturating_mul(times);
        if repeated > REPEATED_BYTES_MAX as u64 {
            let width = usize::try_from(width).unwrap_or(usize::MAX);
            let times = usize::try_from(times).unwrap_or(usize::MAX).max(1);
            return Err(too_wide("unnest", width, REPEATED_BYTES_MAX / times));
        }
        Ok(repeated.saturating_add(own))
    });
    Ok(row_ranges(&bytes.collect::<Result<Vec<_>>>()?, CROSSED_BYTES_MAX as u64, usize::MAX))
}

/// Upper bound for the bytes of the widest row.
fn widest_row(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(widest_value).fold(0, usize::saturating_add)
}

/// Upper bound for the bytes of the longest value of a column.
fn widest_value(column: &ArrayRef) -> usize {
    fn longest<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
        let lengths = offsets.windows(2).map(|pair| match pair {
            [begin, end] => end.as_usize() - begin.as_usize(),
            _ => 0,
        });
        lengths.max().unwrap_or(0)
    }
    match column.data_type() {
        DataType::Utf8 => longest(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => longest(column.as_string::<i64>().value_offsets()),
        DataType::Binary => longest(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => longest(column.as_binary::<i64>().value_offsets()),
        // All views have the same width, wherever they point.
        DataType::Utf8View | DataType::BinaryView => size_of::<u128>(),
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            longest(lists.value_offsets()).saturating_mul(widest_value(lists.values()))
        }
        DataType::LargeList(_) => {
            let lists = column.as_list::<i64>();
            longest(lists.value_offsets()).saturating_mul(widest_value(lists.values()))
        }
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).unwrap_or(0);
            length.saturating_mul(widest_value(column.as_fixed_size_list().values()))
        }
        DataType::Map(..) => {
            let maps = column.as_map();
            let entry: usize = maps.entries().columns().iter().map(widest_value).sum();
            longest(maps.value_offsets()).saturating_mul(entry)
        }
        DataType::Struct(_) => column.as_struct().columns().iter().map(widest_value).sum(),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(0),
        // All other types are numbers, or keys of shared values.
        other => other.primitive_width().unwrap_or(size_of::<u64>()),
    }
}
