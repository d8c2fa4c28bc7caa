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
use arrow::datatypes::{ArrowNativeType, DataType, SchemaRef};
use datafusion::common::Statistics;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};
use futures::{Stream, ready};

use super::constants::rows_bytes;
use crate::error::{Code, Error};
use crate::functions::claim;

/// Most bytes that an operator may produce by repeating the rows of one batch.
const REPEATED_BYTES_MAX: usize = 1 << 30;
/// The same for a cross join, which gets smaller batches instead of an error.
const CROSSED_BYTES_MAX: usize = 64 << 20;

/// Bytes of rows that are matched with regular expressions in one batch. A pattern can take a microsecond per byte.
const MATCHED_BYTES: usize = 64 << 10;

/// How the rows of an input are limited.
#[derive(Clone, Debug)]
enum Bound {
    /// Records the widest row, for the other side of a cross join.
    Widest(Arc<AtomicUsize>),
    /// Batches small enough to fit together with the widest row of the other side.
    Fewer(Arc<AtomicUsize>),
    /// Batches small enough to match all patterns quickly.
    Matched,
    /// Refuses rows that do not fit when they are repeated for each row of a batch.
    Joined(&'static str),
    /// Refuses rows that do not fit when they are repeated for each item of these lists.
    Unnested(Vec<usize>),
    /// Counts the rows against the query's memory.
    Gathered,
}

/// The operator, with limits on its inputs if it needs them. `between` wraps each limited input, because it may split batches.
pub(super) fn with_bounded_rows(
    plan: Arc<dyn ExecutionPlan>,
    between: impl Fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let bounds = match plan.name() {
        "FilterExec" | "ProjectionExec" if matches_patterns(&plan)? => vec![Bound::Matched],
        "CrossJoinExec" if plan.downcast_ref::<CrossJoinExec>().is_some() => {
            let widest = Arc::new(AtomicUsize::new(0));
            vec![Bound::Widest(Arc::clone(&widest)), Bound::Fewer(widest)]
        }
        "HashJoinExec"
        | "NestedLoopJoinExec"
        | "SortMergeJoinExec"
        | "PiecewiseMergeJoin"
        | "SymmetricHashJoinExec" => vec![Bound::Joined("a join"), Bound::Joined("a join")],
        "WindowAggExec" | "BoundedWindowAggExec" => vec![Bound::Gathered],
        _ => match plan.downcast_ref::<UnnestExec>() {
            Some(unnest) => {
                let lists = unnest.list_column_indices().iter();
                vec![Bound::Unnested(lists.map(|list| list.index_in_input_schema).collect())]
            }
            None => return Ok(plan),
        },
    };
    let inputs = plan.children().into_iter().zip(bounds);
    let inputs = inputs
        .map(|(input, bound)| between(Arc::new(Bounded { input: Arc::clone(input), bound })))
        .collect();
    plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

/// Whether an operator matches rows with regular expressions.
fn matches_patterns(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(&mut |expression| {
        expression.apply(|part| {
            found |= part.downcast_ref::<BinaryExpr>().is_some_and(|of| is_pattern(of.op()))
                || part
                    .downcast_ref::<ScalarFunctionExpr>()
                    .is_some_and(|of| of.fun().name().starts_with("regexp_"));
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
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
        let at_a_time = context.session_config().batch_size();
        let memory = Arc::clone(context.memory_pool());
        let rows = self.input.execute(partition, context)?;
        let bound = self.bound.clone();
        Ok(Box::pin(Rows { rows, bound, at_a_time, memory, left: None }))
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
    /// Batch size of the operator, in rows.
    at_a_time: usize,
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
            Bound::Matched => {
                let row = (rows_bytes(&batch) / batch.num_rows().max(1)).max(1);
                let few = (MATCHED_BYTES / row).max(1);
                if batch.num_rows() > few {
                    self.left = Some(batch.slice(few, batch.num_rows() - few));
                    return Ok(batch.slice(0, few));
                }
            }
            Bound::Joined(operator) => {
                let row = widest_row(&batch);
                if row.saturating_mul(self.at_a_time) > REPEATED_BYTES_MAX {
                    return Err(too_wide(operator, row, REPEATED_BYTES_MAX / self.at_a_time));
                }
            }
            Bound::Unnested(lists) => require_unnested(&batch, lists)?,
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

/// Fails if a row, repeated for each item of its longest list, exceeds the limit.
fn require_unnested(batch: &RecordBatch, lists: &[usize]) -> Result<()> {
    let longest = lists.iter().filter_map(|list| batch.columns().get(*list)).map(longest_list);
    let longest = longest.max().unwrap_or(0);
    let others = batch.columns().iter().enumerate().filter(|(place, _)| !lists.contains(place));
    let width: usize = others.map(|(_, column)| widest_value(column)).sum();
    match width.saturating_mul(longest) > REPEATED_BYTES_MAX {
        true => Err(too_wide("unnest", width, REPEATED_BYTES_MAX / longest.max(1))),
        false => Ok(()),
    }
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

/// Number of items in the longest list of a column.
fn longest_list(column: &ArrayRef) -> usize {
    let lengths = |offsets: &mut dyn Iterator<Item = usize>| offsets.max().unwrap_or(0);
    match column.data_type() {
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            lengths(&mut (0..lists.len()).map(|row| lists.value_length(row).as_usize()))
        }
        DataType::LargeList(_) => {
            let lists = column.as_list::<i64>();
            lengths(&mut (0..lists.len()).map(|row| lists.value_length(row).as_usize()))
        }
        DataType::FixedSizeList(_, length) => usize::try_from(*length).unwrap_or(0),
        _ => 1,
    }
}
