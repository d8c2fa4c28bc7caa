//! The rule that replaces window aggregates by ones without cancellation errors.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::Sliding;

/// The rule. It runs after the one that replaces sums.
#[derive(Debug)]
pub(super) struct WindowsMoveWithoutCancellation;

impl AnalyzerRule for WindowsMoveWithoutCancellation {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Window(_) => plan.map_expressions(|window| window.transform_up(sliding)),
            plan => Ok(Transformed::no(plan)),
        });
        plan.map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "windows_move_without_cancellation"
    }
}

fn sliding(part: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut call) = part else { return Ok(Transformed::no(part)) };
    let sliding = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => Sliding::of(function),
        WindowFunctionDefinition::WindowUDF(_) => None,
    };
    let is_other = sliding.is_some();
    if let Some(sliding) = sliding {
        call.fun = WindowFunctionDefinition::AggregateUDF(sliding);
    }
    Ok(Transformed::new_transformed(Expr::WindowFunction(call), is_other))
}
