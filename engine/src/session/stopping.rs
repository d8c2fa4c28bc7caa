//! Cancels a query when its client disconnects, its time limit passes, or all of its rows are read.
//!
//! Each query has its own flag. Long-running functions check it, and so do operators (`cancellation`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result as PlanResult;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::physical_plan::ExecutionPlan;
use futures::Stream;
use kernels::Control;

use super::cancellation::{cancellable, cancelled};
use super::constants::computed_bytes_max;
use super::running::{Queries, Query};
use crate::error::{Error, Result};
use crate::functions::{
    Own, OwnMemory, bounded_values, cancellable_window, with_bounded_constants,
};
use crate::stop::{StopOnDrop, current, stopped_by};

/// A running query. Dropping it cancels the query.
pub(super) struct Stop {
    control: Control,
    query: Arc<Query>,
    _on_drop: StopOnDrop,
}

impl Stop {
    fn new(queries: &Queries) -> Self {
        let control = Control::new();
        let query = queries.begin(&control);
        let stop = Self { _on_drop: StopOnDrop::new(control.clone()), query, control };
        stop.follow();
        stop
    }

    /// `error`, or the reason for which the query was cancelled.
    pub(super) fn why(&self, error: Error) -> Error {
        self.query.why(error)
    }

    /// From now on, only the task that currently polls the query can cancel it.
    fn follow(&self) {
        current().iter().for_each(|task| self.control.follow(task));
    }

    /// Plans `frame`. Planning stops when the query is cancelled. All constants that the planner
    /// computes share one limit, and the returned plan can be cancelled.
    pub(super) async fn plan(&self, frame: DataFrame) -> Result<Arc<dyn ExecutionPlan>> {
        let bytes_max = computed_bytes_max(frame.logical_plan())?;
        let planning = with_bounded_constants(bytes_max, frame.create_physical_plan());
        let plan = stopped_by(self.control.clone(), planning).await?;
        Ok(cancellable(plan, &self.control)?)
    }
}

/// The query, with cancellable functions in place of shared ones, its execution context, and the handle that cancels it.
pub(super) fn stoppable(frame: DataFrame) -> Result<(DataFrame, Arc<TaskContext>, Stop)> {
    let context = frame.task_ctx();
    let queries = context.session_config().get_extension::<Queries>().unwrap_or_default();
    let stop = Stop::new(&queries);
    let context = Arc::new(stop.query.query_context(context)?);
    let (mut state, plan) = frame.into_parts();
    let pool = context.memory_pool();
    state.add_analyzer_rule(Arc::new(OwnMemory::of(pool)));
    if !computes(&plan)? {
        return Ok((DataFrame::new(state, plan), context, stop));
    }
    let own = Own::of(&state, &stop.control);
    let bind = |expr: Expr| expr.transform_up(|expr| Ok(bound(expr, &own, pool)));
    let plan = plan.transform_up_with_subqueries(|plan| plan.map_expressions(bind))?.data;
    Ok((DataFrame::new(state, plan), context, stop))
}

fn computes(plan: &LogicalPlan) -> PlanResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= match expr {
                    Expr::AggregateFunction(call) => Own::is_ours(call.func.name()),
                    Expr::WindowFunction(_) => true,
                    Expr::ScalarFunction(call) => Own::is_ours(call.func.name()),
                    _ => false,
                };
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(found)
}

fn bound(expr: Expr, own: &Own, pool: &Arc<dyn MemoryPool>) -> Transformed<Expr> {
    match expr {
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let (func, is_own) = match own.aggregate(func.name()) {
                Some(own) => (own, true),
                None => (func, false),
            };
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            if is_own { Transformed::yes(call) } else { Transformed::no(call) }
        }
        Expr::WindowFunction(call) => {
            let WindowFunction { fun, params } = *call;
            let streams = !params.window_frame.end_bound.is_unbounded();
            let fun = match (own.window(fun.name()), fun) {
                (Some(own), _) => WindowFunctionDefinition::WindowUDF(own),
                (None, WindowFunctionDefinition::AggregateUDF(function)) => {
                    let function = own.aggregate(function.name()).unwrap_or(function);
                    let function = cancellable_window(function, own.control(), pool, streams);
                    WindowFunctionDefinition::AggregateUDF(function)
                }
                (None, WindowFunctionDefinition::WindowUDF(function)) => {
                    let function = bounded_values(function, pool, streams);
                    WindowFunctionDefinition::WindowUDF(function)
                }
            };
            Transformed::yes(Expr::WindowFunction(Box::new(WindowFunction { fun, params })))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => match own.scalar(&func) {
            Some(func) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })),
            None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        },
        other => Transformed::no(other),
    }
}

/// Rows of a query that is cancelled when they are dropped.
pub(super) struct Stoppable {
    rows: SendableRecordBatchStream,
    stop: Stop,
}

impl Stoppable {
    pub(super) fn wrap(rows: SendableRecordBatchStream, stop: Stop) -> SendableRecordBatchStream {
        Box::pin(Self { rows, stop })
    }
}

impl Stream for Stoppable {
    type Item = PlanResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Different tasks may poll the rows in turn.
        self.stop.follow();
        // Operators may wait for each other. Then none of them notices that the query was
        // cancelled.
        let polled = match self.stop.query.is_shed(cx) {
            true => Poll::Ready(Some(Err(cancelled()))),
            false => self.rows.as_mut().poll_next(cx),
        };
        match polled {
            Poll::Ready(Some(Err(error))) => {
                let error = self.stop.why(Error::from(error));
                Poll::Ready(Some(Err(DataFusionError::External(Box::new(error)))))
            }
            polled => polled,
        }
    }
}

impl RecordBatchStream for Stoppable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
