//! The rule by which `NOT IN` compares with each value of a subquery once.
//!
//! The join that answers `NOT IN` with nulls takes no condition, so it cannot check whether its query was cancelled. With values
//! that occur once, it visits each row of the other side once, and not as often as a value occurs.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion::optimizer::AnalyzerRule;

/// The rule.
#[derive(Debug)]
pub(super) struct NotInOnce;

impl AnalyzerRule for NotInOnce {
    fn name(&self) -> &str {
        "not_in_once"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expression| expression.transform_up(once))
        });
        plan.map(|plan| plan.data)
    }
}

fn once(part: Expr) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(InSubquery { expr, subquery, negated: true }) = part else {
        return Ok(Transformed::no(part));
    };
    let is_distinct = matches!(*subquery.subquery, LogicalPlan::Distinct(_));
    let is_changed = !is_distinct && subquery.outer_ref_columns.is_empty();
    let subquery = match is_changed {
        true => {
            let values = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery.subquery));
            Subquery { subquery: Arc::new(values.distinct()?.build()?), ..subquery }
        }
        false => subquery,
    };
    let part = Expr::InSubquery(InSubquery { expr, subquery, negated: true });
    Ok(Transformed::new_transformed(part, is_changed))
}
