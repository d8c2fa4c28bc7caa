//! Functions that compute for long end with the query that asked for them: each query has its own, and they look now and then whether
//! anybody still waits.

use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result as PlanResult;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use futures::Stream;

use crate::error::Result;
use crate::functions::Own;
use crate::stop::StopOnDrop;

/// Ends what a query computes when it is dropped.
pub(super) struct Stop(Option<(Own, StopOnDrop)>);

/// The query with functions of its own, and what ends them; as it was where it calls none.
pub(super) fn stoppable(frame: DataFrame) -> Result<(DataFrame, Stop)> {
    if !computes(frame.logical_plan())? {
        return Ok((frame, Stop(None)));
    }
    let (state, plan) = frame.into_parts();
    let own = Own::of(&state);
    let bind = |expr: Expr| expr.transform_up(|expr| Ok(bound(expr, &own)));
    let plan = plan.transform_up_with_subqueries(|plan| plan.map_expressions(bind))?.data;
    let stop = own.stop_on_drop();
    Ok((DataFrame::new(state, plan), Stop(Some((own, stop)))))
}

fn computes(plan: &LogicalPlan) -> PlanResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= match expr {
                    Expr::AggregateFunction(call) => Own::is_ours(call.func.name()),
                    Expr::WindowFunction(call) => Own::is_ours(call.fun.name()),
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
            let (fun, is_own) = match own.window(fun.name()) {
                Some(own) => (WindowFunctionDefinition::WindowUDF(own), true),
                None => (fun, false),
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

/// Rows of a query that ends with whoever takes them.
pub(super) struct Stoppable {
    rows: SendableRecordBatchStream,
    stop: Stop,
}

impl Stoppable {
    pub(super) fn wrap(rows: SendableRecordBatchStream, stop: Stop) -> SendableRecordBatchStream {
        match stop.0.is_some() {
            true => Box::pin(Self { rows, stop }),
            false => rows,
        }
    }
}

impl Stream for Stoppable {
    type Item = PlanResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Rows are taken by one task after the other.
        self.stop.0.iter().for_each(|(own, _)| own.follow());
        self.rows.as_mut().poll_next(cx)
    }
}

impl RecordBatchStream for Stoppable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
