//! Plans that stop when no client waits for their rows any more.
//!
//! Tokio cancels a task only where it awaits. An operator whose input is always ready never awaits.
//! DataFusion's own rule yields only at the leaves of a plan. That is too rare for operators that
//! emit many rows for each input row (joins, unnesting, recursion), or that emit collected rows
//! (sorts, groups, windows). So each of those is wrapped. Between two batches, the wrapper checks
//! whether the query was cancelled, and yields to other tasks when its turn is over.
//!
//! A join that drops all pairs emits no batch at all, so its join filter also checks for
//! cancellation. A sort starts a task for each batch that it holds, so its sort expressions check,
//! too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::sorts::sort::SortExec;
use futures::Stream;
use kernels::Control;

use super::coalescing::coalesced;
use super::row_width::{Pattern, context_of, pattern_of, with_bounded_rows};
use super::wrapper_exec::{StreamWrapper, WrapperExec};
use crate::error::{Code, Error};

/// How long a stream computes before it yields to other tasks.
const TURN: Duration = Duration::from_millis(10);

/// Operators that emit at most one batch for each input batch. Their input yields for them.
const PASS_THROUGH_OPERATORS: [&str; 12] = [
    "AnalyzeExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "EmptyExec",
    "ExplainExec",
    "FilterExec",
    "GlobalLimitExec",
    "LocalLimitExec",
    "OptimizerBarrier",
    "ProjectionExec",
    "UnionExec",
];

/// A scan of the Delta library, which must not have foreign operators below it.
const WHOLE: &str = "DeltaScanExec";

/// Wraps `plan` so that `control` cancels it.
pub(super) fn cancellable(
    plan: Arc<dyn ExecutionPlan>,
    control: &Control,
) -> Result<Arc<dyn ExecutionPlan>> {
    let between = |input| WrapperExec::plan(input, Cancellable(control.clone()));
    let whole = |plan: Arc<dyn ExecutionPlan>| match PASS_THROUGH_OPERATORS.contains(&plan.name()) {
        true => plan,
        false => between(plan),
    };
    let children = plan.children();
    if children.is_empty() || plan.name() == WHOLE {
        return Ok(whole(plan));
    }
    let children: Result<Vec<_>> =
        children.into_iter().map(|child| cancellable(Arc::clone(child), control)).collect();
    // A wrapped child has the same properties as the child itself.
    let plan = plan
        .replace_children(children?, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?;
    let plan = with_bounded_rows(with_checked_join_filter(plan, control)?, between)?;
    let plan = with_checked_sort(plan, control)?;
    Ok(whole(coalesced(plan, between)?))
}

/// A join whose filter checks for cancellation. A semi, anti or mark join without a filter gets one
/// that is always true, because such a join visits all pairs before it emits a batch.
fn with_checked_join_filter(
    plan: Arc<dyn ExecutionPlan>,
    control: &Control,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let Some(filter) = checked(join.filter(), *join.join_type(), control)? else {
            return Ok(plan);
        };
        // A null-aware anti join (`NOT IN`) supports no join filter.
        if join.null_aware {
            return Ok(plan);
        }
        return join.builder().with_filter(Some(filter)).build_exec();
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let Some(filter) = checked(join.filter(), *join.join_type(), control)? else {
            return Ok(plan);
        };
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let builder = NestedLoopJoinExecBuilder::new(left, right, *join.join_type());
        let builder = builder.with_projection_ref(join.projection().clone());
        return Ok(Arc::new(builder.with_filter(Some(filter)).build()?));
    }
    Ok(plan)
}

fn checked(
    filter: Option<&JoinFilter>,
    join: JoinType,
    control: &Control,
) -> Result<Option<JoinFilter>> {
    let checked = |expression: &Arc<dyn PhysicalExpr>| -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Checked::new(Arc::clone(expression), control)?))
    };
    Ok(match filter {
        Some(filter) => Some(JoinFilter::new(
            checked(filter.expression())?,
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )),
        None => {
            use JoinType as J;
            let keeps_one_side = matches!(
                join,
                J::LeftSemi
                    | J::RightSemi
                    | J::LeftAnti
                    | J::RightAnti
                    | J::LeftMark
                    | J::RightMark
            );
            let always: Arc<dyn PhysicalExpr> =
                Arc::new(Literal::new(ScalarValue::Boolean(Some(true))));
            let always = checked(&always)?;
            keeps_one_side.then(|| JoinFilter::new(always, Vec::new(), Arc::new(Schema::empty())))
        }
    })
}

/// A sort whose expressions check for cancellation. A top-k sort, and a sort of rows that are
/// already sorted, start no tasks and need no check.
fn with_checked_sort(
    plan: Arc<dyn ExecutionPlan>,
    control: &Control,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(plan) };
    let input = sort.input();
    let is_sorted =
        input.properties().equivalence_properties().ordering_satisfy(sort.expr().clone())?;
    if sort.fetch().is_some() || is_sorted {
        return Ok(plan);
    }
    let checked = |part: &PhysicalSortExpr| -> Result<PhysicalSortExpr> {
        let expression = Arc::new(Checked::new(Arc::clone(&part.expr), control)?);
        Ok(PhysicalSortExpr::new(expression, part.options))
    };
    let Some(ordering) =
        LexOrdering::new(sort.expr().iter().map(checked).collect::<Result<Vec<_>>>()?)
    else {
        return Ok(plan);
    };
    let checked = SortExec::new(ordering, Arc::clone(input))
        .with_preserve_partitioning(sort.preserve_partitioning());
    Ok(WrapperExec::plan(Arc::new(checked), CheckedSort(Arc::clone(plan.properties()))))
}

/// A sort with checked expressions. It reports the properties of the sort that it replaces, so they
/// contain the original expressions.
#[derive(Clone, Debug)]
struct CheckedSort(Arc<PlanProperties>);

impl StreamWrapper for CheckedSort {
    const NAME: &'static str = "CheckedSort";
    const HAS_METRICS: bool = true;

    fn properties<'a>(&'a self, _: &'a Arc<dyn ExecutionPlan>) -> &'a Arc<PlanProperties> {
        &self.0
    }
}

pub(super) fn cancelled() -> DataFusionError {
    let message = "the query was cancelled: its client disconnected, or its time limit has passed";
    DataFusionError::External(Box::new(Error::user(Code::Cancelled, message)))
}

/// A join filter or a sort expression that fails once the query is cancelled.
#[derive(Debug)]
struct Checked {
    expression: Arc<dyn PhysicalExpr>,
    control: Control,
    /// The kind of regular expression in `expression`, if it has one.
    pattern: Option<Pattern>,
}

impl Checked {
    fn new(expression: Arc<dyn PhysicalExpr>, control: &Control) -> Result<Self> {
        let pattern = pattern_of(&expression)?;
        Ok(Self { expression, control: control.clone(), pattern })
    }

    fn checked(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        match self.control.is_cancelled() {
            true => Err(cancelled()),
            false => self.expression.evaluate(batch),
        }
    }
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.expression.eq(&other.expression)
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl PhysicalExpr for Checked {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.expression.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.expression.nullable(input)
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.expression.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let Some(pattern) = self.pattern else { return self.checked(batch) };
        let slices = pattern.row_ranges(batch).into_iter().map(|range| {
            self.checked(&batch.slice(range.start, range.len()))?.into_array(range.len())
        });
        let slices = slices.collect::<Result<Vec<_>>>()?;
        let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&slices)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expression]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match children.into_iter().next() {
            Some(expression) => Ok(Arc::new(Self::new(expression, &self.control)?)),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt_sql(f)
    }
}

/// Passes rows through until the query is cancelled, and yields to other tasks.
#[derive(Clone, Debug)]
struct Cancellable(Control);

impl StreamWrapper for Cancellable {
    const NAME: &'static str = "Cancellable";
    const HAS_METRICS: bool = true;

    fn context(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Arc<TaskContext> {
        context_of(input, context)
    }

    fn rows(&self, rows: SendableRecordBatchStream, _: &TaskContext) -> SendableRecordBatchStream {
        Box::pin(Rows { rows, control: self.0.clone(), began: Instant::now() })
    }
}

struct Rows {
    rows: SendableRecordBatchStream,
    control: Control,
    /// The start of this stream's current turn.
    began: Instant,
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.control.is_cancelled() {
            return Poll::Ready(Some(Err(cancelled())));
        }
        if self.began.elapsed() > TURN {
            self.began = Instant::now();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.rows.as_mut().poll_next(cx);
        if polled.is_pending() {
            self.began = Instant::now();
        }
        polled
    }
}

impl RecordBatchStream for Rows {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type};
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::collect;

    use super::*;

    #[tokio::test]
    async fn a_sort_checks_for_cancellation_and_keeps_its_properties() {
        let control = Control::new();
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        let values = Arc::new(Int64Array::from(vec![3, 1, 2]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![values]).unwrap();
        let input =
            MemorySourceConfig::try_new_exec(&[vec![batch]], Arc::clone(&schema), None).unwrap();
        let by = PhysicalSortExpr::new_default(col("v", &schema).unwrap());
        let sort: Arc<dyn ExecutionPlan> =
            Arc::new(SortExec::new(LexOrdering::new([by]).unwrap(), input));
        let checked = with_checked_sort(Arc::clone(&sort), &control).unwrap();
        assert_eq!(checked.properties().output_ordering(), sort.properties().output_ordering());

        let context = Arc::new(TaskContext::default());
        let rows = collect(Arc::clone(&checked), Arc::clone(&context)).await.unwrap();
        let sorted = rows[0].column(0).as_primitive::<Int64Type>();
        assert_eq!(sorted.values().as_ref(), [1, 2, 3]);
        control.cancel();
        let error = collect(checked, context).await.unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
    }
}
