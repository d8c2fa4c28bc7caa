//! What a call must not say, seen in the plan of a query: what DataFusion would pass over in silence.

use datafusion::common::Result;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use super::Own;
use super::rolling::Kind;

/// Fails on a call of a function over a window without an order of its rows, or with what it does not heed.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::WindowFunction(call) = part {
                    check_call(call)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn check_call(call: &WindowFunction) -> Result<()> {
    let function = match &call.fun {
        WindowFunctionDefinition::WindowUDF(function) => function,
        WindowFunctionDefinition::AggregateUDF(function) if Own::is_ours(function.name()) => {
            let name = function.name();
            return plan_err!(
                "{name}: OVER is not taken: each row would have all computed anew; group the rows in a subquery"
            );
        }
        WindowFunctionDefinition::AggregateUDF(_) => return Ok(()),
    };
    let name = function.name();
    if !Kind::ALL.iter().any(|kind| kind.name() == name) {
        return Ok(());
    }
    if call.params.order_by.is_empty() {
        return plan_err!("{name}: OVER has no ORDER BY; the rows before a row depend on it");
    }
    for (clause, is_there) in [
        ("DISTINCT", call.params.distinct),
        ("IGNORE NULLS or RESPECT NULLS", call.params.null_treatment.is_some()),
    ] {
        if is_there {
            return plan_err!("{name}: {clause} is not taken; choose the rows in a subquery");
        }
    }
    Ok(())
}
