//! What ends a query: its client is gone, its time is over, or its rows are all read.
//!
//! Each query has a flag of its own. Functions that compute for long check it, and so do its operators (`cancellation`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result as PlanResult;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::physical_plan::ExecutionPlan;
use futures::Stream;
use kernels::Control;

use super::cancellation::cancellable;
use super::running::{Queries, Query};
use crate::error::{Error, Result};
use crate::functions::{Own, cancellable_window};
use crate::stop::{StopOnDrop, current};

/// A query that runs. Dropping it ends what it computes.
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

    /// `error`, or why the query was ended.
    pub(super) fn why(&self, error: Error) -> Error {
        self.query.why(error)
    }

    /// The task that polls the query now ends it, and no earlier one does.
    fn follow(&self) {
        current().iter().for_each(|task| self.control.follow(task));
    }

    /// The plan of the query, which ends with it.
    pub(super) fn ends(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(cancellable(plan, &self.control)?)
    }
}

/// The query with functions of its own where it calls such, what it is executed in, and what ends it.
pub(super) fn stoppable(frame: DataFrame) -> Result<(DataFrame, Arc<TaskContext>, Stop)> {
    let context = frame.task_ctx();
    let queries = context.session_config().get_extension::<Queries>().unwrap_or_default();
    let stop = Stop::new(&queries);
    let context = Arc::new(stop.query.counting(context));
    if !computes(frame.logical_plan())? {
        return Ok((frame, context, stop));
    }
    let (state, plan) = frame.into_parts();
    let own = Own::of(&state, &stop.control);
    let bind = |expr: Expr| expr.transform_up(|expr| Ok(bound(expr, &own)));
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
                    Expr::WindowFunction(call) => {
                        Own::is_ours(call.fun.name())
                            || matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_))
                    }
                    Expr::ScalarFunction(call) => Own::is_ours(call.func.name()),
                    _ => false,
                };
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(found)
}

fn bound(expr: Expr, own: &Own) -> Transformed<Expr> {
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
            let (fun, is_own) = match (own.window(fun.name()), fun) {
                (Some(own), _) => (WindowFunctionDefinition::WindowUDF(own), true),
                (None, WindowFunctionDefinition::AggregateUDF(function)) => {
                    let function = own.aggregate(function.name()).unwrap_or(function);
                    let function = cancellable_window(function, own.control());
                    (WindowFunctionDefinition::AggregateUDF(function), true)
                }
                (None, fun) => (fun, false),
            };
            let call = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
            if is_own { Transformed::yes(call) } else { Transformed::no(call) }
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => match own.scalar(&func) {
            Some(func) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })),
            None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        },
        other => Transformed::no(other),
    }
}

/// Rows of a query that ends when they are dropped.
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
        // One task after the other may poll the rows.
        self.stop.follow();
        match self.rows.as_mut().poll_next(cx) {
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
