//! Limits for operators that repeat or collect the rows of their input without reserving memory.
//!
//! A join emits batches of some thousand rows, and repeats a row for each match. A row of a megabyte then becomes gigabytes,
//! allocated at once. So the input of such an operator is measured. A cross join gets smaller batches, and other operators
//! refuse rows that could exceed a limit. Window functions collect their input, so it counts against the query's memory.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Statistics;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use datafusion::prelude::SessionConfig;
use futures::{Stream, ready};

use crate::error::{Code, Error};
use crate::functions::{claim, row_bytes, row_values, rows_bytes, total_bytes};

/// Most bytes that an operator may produce by repeating the rows of one batch.
const REPEATED_BYTES_MAX: usize = 128 << 20;
/// Most bytes of the values that the rows of one batch share, as if each were written out.
const SHARED_BYTES_MAX: usize = 32 << 20;
/// Rows of one batch where rows may share values.
const SHARED_ROWS: usize = 512;
/// Rows that a join of texts hands on at a time.
const JOINED_ROWS: usize = 1 << 10;
/// The same for a cross join, which gets smaller batches instead of an error.
const CROSSED_BYTES_MAX: usize = 64 << 20;

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
    // The condition of a join sees pairs, and not the rows of its inputs.
    if bounds.is_empty()
        && let Some(pattern) = pattern_of_operator(&plan)?
    {
        bounds = vec![Bound::Matched(pattern); plan.children().len()];
    }
    let inputs = plan.children();
    let shares = |input: &&Arc<dyn ExecutionPlan>| {
        input.schema().fields().iter().any(|field| is_shared(field.data_type()))
    };
    if bounds.is_empty() && !inputs.iter().any(|input| shares(&input)) {
        return Ok(plan);
    }
    let mut bounds = bounds.into_iter();
    let inputs = inputs.into_iter().map(|input| {
        let shared = shares(&input).then_some(Bound::Shared);
        let own = shared.into_iter().chain(bounds.next());
        own.fold(Arc::clone(input), |input, bound| between(Arc::new(Bounded { input, bound })))
    });
    let inputs = inputs.collect();
    plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

/// Whether rows of a type may share the bytes of one value.
fn is_shared(of: &DataType) -> bool {
    match of {
        DataType::Utf8View
        | DataType::BinaryView
        | DataType::Dictionary(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => is_shared(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_shared(field.data_type())),
        _ => false,
    }
}

/// Joins that hand on some rows at a time, and repeat a row for each match.
const JOINS: [&str; 5] = [
    "HashJoinExec",
    "NestedLoopJoinExec",
    "SortMergeJoinExec",
    "PiecewiseMergeJoin",
    "SymmetricHashJoinExec",
];

/// The rows that the operators below a join hand on at a time.
struct UsualRows(usize);

/// The context of an operator. A join of texts copies each row that it hands on, so it hands on fewer at a time, and so does an
/// operator on rows that share values.
pub(super) fn context_of(
    plan: &Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> Arc<TaskContext> {
    let is_long = |of: &DataType| of.primitive_width().is_none() && *of != DataType::Boolean;
    let has = |is: &dyn Fn(&DataType) -> bool| {
        plan.schema().fields().iter().any(|field| is(field.data_type()))
    };
    let usual = context.session_config().batch_size();
    // An operator may gather that many rows before it hands them on, and copies what they share.
    let rows = if has(&is_shared) {
        SHARED_ROWS
    } else if JOINS.contains(&plan.name()) && has(&is_long) {
        JOINED_ROWS
    } else {
        usual
    };
    if rows >= usual {
        return context;
    }
    let mut config = context.session_config().clone().with_batch_size(rows);
    if config.get_extension::<UsualRows>().is_none() {
        config.set_extension(Arc::new(UsualRows(usual)));
    }
    with_config(&context, config)
}

/// The context of what is below a join.
fn usual(context: Arc<TaskContext>) -> Arc<TaskContext> {
    let config = context.session_config();
    match config.get_extension::<UsualRows>() {
        Some(rows) if rows.0 != config.batch_size() => {
            with_config(&context, config.clone().with_batch_size(rows.0))
        }
        _ => context,
    }
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
    /// Rows of `batch` that are matched in a short time.
    pub(super) fn rows(self, batch: &RecordBatch) -> usize {
        let row = (rows_bytes(batch) / batch.num_rows().max(1)).max(1);
        let rows = (MATCHED_BYTES / row).max(1);
        match self {
            Self::Constant => rows,
            Self::Computed => rows.min(COMPILED_ROWS),
        }
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

/// An input with limited rows.
#[derive(Debug)]
struct Bounded {
    input: Arc<dyn ExecutionPlan>,
    bound: Bound,
}

impl DisplayAs for Bounded {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedRows")
    }
}

impl ExecutionPlan for Bounded {
    fn name(&self) -> &str {
        "BoundedRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _see: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.into_iter().next() {
            Some(input) => Ok(Arc::new(Self { input, bound: self.bound.clone() })),
            None => Ok(self),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let context = match self.bound {
            Bound::Joined => usual(context),
            _ => context,
        };
        let memory = Arc::clone(context.memory_pool());
        let rows = self.input.execute(partition, context)?;
        let bound = self.bound.clone();
        Ok(Box::pin(Rows { rows, bound, memory, left: None }))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        of_input: &[Arc<Statistics>],
        _arguments: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match of_input.first() {
            Some(statistics) => Ok(Arc::clone(statistics)),
            None => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}

struct Rows {
    rows: SendableRecordBatchStream,
    bound: Bound,
    memory: Arc<dyn MemoryPool>,
    /// Rows that are still to be emitted.
    left: Option<RecordBatch>,
}

impl Rows {
    /// The part of `batch` to emit now.
    fn bounded(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        match &self.bound {
            Bound::Widest(widest) => {
                widest.fetch_max(widest_row(&batch), Ordering::Relaxed);
            }
            Bound::Fewer(widest) => {
                let other = widest.load(Ordering::Relaxed).max(1);
                let fit = (CROSSED_BYTES_MAX / other).max(1);
                if batch.num_rows() > fit {
                    self.left = Some(batch.slice(fit, batch.num_rows() - fit));
                    return Ok(batch.slice(0, fit));
                }
            }
            Bound::Matched(pattern) => {
                let few = pattern.rows(&batch);
                if batch.num_rows() > few {
                    self.left = Some(batch.slice(few, batch.num_rows() - few));
                    return Ok(batch.slice(0, few));
                }
            }
            Bound::Joined => {
                let row = widest_row(&batch);
                if row.saturating_mul(JOINED_ROWS) > REPEATED_BYTES_MAX {
                    return Err(too_wide("a join", row, REPEATED_BYTES_MAX / JOINED_ROWS));
                }
            }
            Bound::Shared => {
                let few = rows_within(&batch, SHARED_BYTES_MAX);
                if batch.num_rows() > few {
                    self.left = Some(batch.slice(few, batch.num_rows() - few));
                    return Ok(batch.slice(0, few));
                }
            }
            Bound::Unnested(lists) => {
                let few = unnested_rows(&batch, lists)?;
                if batch.num_rows() > few {
                    self.left = Some(batch.slice(few, batch.num_rows() - few));
                    return Ok(batch.slice(0, few));
                }
            }
            Bound::Gathered => {
                let reservation = MemoryConsumer::new("window functions").register(&self.memory);
                reservation.try_grow(rows_bytes(&batch))?;
                drop(reservation);
                claim(&batch, &self.memory);
            }
        }
        Ok(batch)
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.left.take() {
            Some(batch) => Some(Ok(batch)),
            None => ready!(self.rows.as_mut().poll_next(cx)),
        };
        Poll::Ready(match next {
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

/// The first rows of a batch whose values take at most `most` bytes together, and at least one.
fn rows_within(batch: &RecordBatch, most: usize) -> usize {
    if rows_bytes(batch) <= most {
        return batch.num_rows();
    }
    let bytes: Vec<Vec<u64>> =
        batch.columns().iter().map(|column| row_bytes(column.as_ref())).collect();
    let mut sum = 0_u64;
    let fits = |row: &usize| {
        let width = bytes.iter().filter_map(|column| column.get(*row));
        sum = width.fold(sum, |sum, bytes| sum.saturating_add(*bytes));
        sum <= most as u64
    };
    (0..batch.num_rows()).take_while(fits).count().max(1)
}

/// The first rows of a batch that may be unnested together: an operator repeats each for every item of its lists, all at once.
/// Fails where one row alone takes more than the bound.
fn unnested_rows(batch: &RecordBatch, lists: &[usize]) -> Result<usize> {
    let lists: Vec<&ArrayRef> = lists.iter().filter_map(|at| batch.columns().get(*at)).collect();
    let items: Vec<Vec<u64>> = lists.iter().map(|list| row_values(list.as_ref())).collect();
    let bytes: Vec<Vec<u64>> =
        batch.columns().iter().map(|column| row_bytes(column.as_ref())).collect();
    let at = |of: &Vec<u64>, row: usize| of.get(row).copied().unwrap_or(0);
    let mut sum = 0_u64;
    for row in 0..batch.num_rows() {
        let width = bytes.iter().map(|column| at(column, row)).fold(0, u64::saturating_add);
        let own = lists.iter().map(|list| total_bytes(list.slice(row, 1).as_ref()));
        let own = own.fold(0, u64::saturating_add).min(width);
        let times = items.iter().map(|items| at(items, row)).max().unwrap_or(0);
        let repeated = (width - own).saturating_mul(times);
        if repeated > REPEATED_BYTES_MAX as u64 {
            let width = usize::try_from(width - own).unwrap_or(usize::MAX);
            let times = usize::try_from(times).unwrap_or(usize::MAX).max(1);
            return Err(too_wide("unnest", width, REPEATED_BYTES_MAX / times));
        }
        sum = sum.saturating_add(repeated).saturating_add(own);
        if sum > CROSSED_BYTES_MAX as u64 && row > 0 {
            return Ok(row);
        }
    }
    Ok(batch.num_rows())
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
