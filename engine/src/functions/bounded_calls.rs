//! The rule that gives every call in a plan a bound.
//!
//! A call by name finds the bounded function in the session. But the planner creates some calls itself: `[a, b]`, `a || b`,
//! `overlay`, `{'k': v}`. This rule replaces those by function name, once all types are known.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::bounded::is_bounded;
use super::bounds::SCALAR;
use super::joined::{joined, kind_of_joined};
use super::memory::Memory;
use super::paced::Paced;

/// The bounded functions of a session, and the rule that inserts them into plans.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    functions: HashMap<&'static str, Arc<ScalarUDF>>,
    memory: Memory,
}

impl Bounds {
    /// The bounded functions that `state` has registered so far.
    pub(super) fn of(state: &SessionState, memory: Memory) -> Self {
        let known = state.scalar_functions();
        let bounded = SCALAR.iter().filter_map(|(name, _)| {
            let function = known.get(*name).filter(|of| is_bounded(of))?;
            Some((*name, Arc::clone(function)))
        });
        Self { functions: bounded.collect(), memory }
    }

    /// Replaces the calls in `expression`, on columns of `schema`, by bounded ones.
    pub(crate) fn bounded(&self, expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        expression.transform_up(|part| {
            Ok(match part {
                Expr::ScalarFunction(mut call) => {
                    let has_bound = is_bounded(&call.func) || Paced::wraps_bounded(&call.func);
                    match self.functions.get(call.func.name()).filter(|_| !has_bound) {
                        Some(function) => {
                            call.func = Arc::clone(function);
                            Transformed::yes(Expr::ScalarFunction(call))
                        }
                        None => Transformed::no(Expr::ScalarFunction(call)),
                    }
                }
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
                    match text_type(&left, schema).or_else(|| text_type(&right, schema)) {
                        Some(kind) => Transformed::yes(joined(*left, *right, kind, &self.memory)),
                        None => {
                            let op = Operator::StringConcat;
                            Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))
                        }
                    }
                }
                part => Transformed::no(part),
            })
        })
    }
}

/// The type of an expression, if it is text or bytes. A joined chain stores its type: computing it for each part of a long
/// chain would take quadratic time.
fn text_type(expression: &Expr, schema: &DFSchema) -> Option<DataType> {
    use DataType as D;
    if let Expr::ScalarFunction(call) = expression
        && let Some(kind) = kind_of_joined(&call.func)
    {
        return Some(kind.clone());
    }
    expression.get_type(schema).ok().filter(|of| {
        matches!(
            of,
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView
        )
    })
}

impl AnalyzerRule for Bounds {
    fn name(&self) -> &str {
        "bounded_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            let bounded = plan.map_expressions(|expression| {
                // Each expression of a grouping set has its own name.
                if let Expr::GroupingSet(_) = &expression {
                    return expression.map_children(|part| self.named(part, &schema, &names));
                }
                self.named(expression, &schema, &names)
            })?;
            match bounded.transformed {
                true => bounded.map_data(LogicalPlan::recompute_schema),
                false => Ok(bounded),
            }
        });
        plan.map(|plan| plan.data)
    }
}

impl Bounds {
    /// [`Self::bounded`], without a change of the expression's name.
    fn named(
        &self,
        expression: Expr,
        schema: &DFSchema,
        names: &NamePreserver,
    ) -> Result<Transformed<Expr>> {
        let name = names.save(&expression);
        Ok(self.bounded(expression, schema)?.update_data(|bounded| name.restore(bounded)))
    }
}
