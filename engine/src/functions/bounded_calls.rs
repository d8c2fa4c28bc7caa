//! The rule that gives every call in a plan a bound.
//!
//! A call by name finds the bounded function in the session. But the planner creates some calls itself: `[a, b]`, `a || b`,
//! `overlay`, `{'k': v}`. This rule replaces those by function name, once all types are known.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, Subquery,
};
use datafusion::optimizer::AnalyzerRule;

use super::bounded::{Bounded, is_bounded};
use super::bounds::SCALAR;
use super::casts::{Copies, bounded_cast, bounded_constant, copies, is_long, without_bound};
use super::joined::{Joined, joined, kind_of_joined};
use super::memory::Memory;
use super::paced::Paced;
use crate::session::compares;

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
                    if let Some(cast) = self.named_cast(&call, schema) {
                        return Ok(Transformed::yes(cast));
                    }
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
                Expr::Cast(Cast { ref expr, ref field }) => {
                    bounded_or(self.cast(&part, expr, field, false, schema), part)
                }
                Expr::TryCast(TryCast { ref expr, ref field }) => {
                    bounded_or(self.cast(&part, expr, field, true, schema), part)
                }
                Expr::ScalarSubquery(subquery) => self.constant(subquery),
                Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
                    let (left, right) = (without_bound(*left), without_bound(*right));
                    let (left, right) = (Box::new(left), Box::new(right));
                    Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))
                }
                part => Transformed::no(part),
            })
        })
    }

    /// The cast of `value` with a bound. `None` if the cast writes no more bytes than it reads.
    fn cast(
        &self,
        cast: &Expr,
        value: &Expr,
        to: &FieldRef,
        or_null: bool,
        schema: &DFSchema,
    ) -> Option<Expr> {
        // `get_type` visits the whole expression, so the type of the result is checked first.
        let is_bounded =
            is_long(to.data_type()) && copies(&value.get_type(schema).ok()?, to.data_type());
        is_bounded.then(|| {
            let shown = cast.schema_name().to_string();
            bounded_cast(value.clone(), Arc::clone(to), or_null, shown, &self.memory)
        })
    }

    /// The value of a scalar subquery, with a bound. A correlated subquery becomes a join and stays
    /// as it is.
    fn constant(&self, subquery: Subquery) -> Transformed<Expr> {
        let of = match subquery.outer_ref_columns.is_empty() {
            true => subquery.subquery.schema().fields().first().map(|of| of.data_type().clone()),
            false => None,
        };
        let subquery = Expr::ScalarSubquery(subquery);
        let bounded = of.and_then(|of| bounded_constant(&subquery, &of, &self.memory));
        bounded_or(bounded, subquery)
    }

    /// The bounded form of a function that casts to a type named by its second argument, such as
    /// `arrow_cast`.
    fn named_cast(&self, call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
        let or_null = match call.func.name() {
            "arrow_cast" | "cast_to_type" => false,
            "arrow_try_cast" | "try_cast_to_type" => true,
            _ => return None,
        };
        let value = call.args.first()?;
        let whole = Expr::ScalarFunction(call.clone());
        let (_, to) = whole.to_field(schema).ok()?;
        self.cast(&whole, value, &to, or_null, schema)
    }
}

/// `bounded` if it exists, otherwise the unchanged `expression`.
fn bounded_or(bounded: Option<Expr>, expression: Expr) -> Transformed<Expr> {
    bounded.map_or_else(|| Transformed::no(expression), Transformed::yes)
}

/// The rule by which the results of a query's functions count against the memory of that query.
#[derive(Debug)]
pub(crate) struct OwnMemory(Memory);

impl OwnMemory {
    pub(crate) fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        Self(Memory::of(pool))
    }
}

impl AnalyzerRule for OwnMemory {
    fn name(&self) -> &str {
        "own_memory"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let own = |part: Expr| {
            Ok(match part {
                Expr::ScalarFunction(mut call) => match within(&call.func, &self.0) {
                    Some(own) => {
                        call.func = Arc::new(own);
                        Transformed::yes(Expr::ScalarFunction(call))
                    }
                    None => Transformed::no(Expr::ScalarFunction(call)),
                },
                part => Transformed::no(part),
            })
        };
        let plan = plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expression| expression.transform_up(own))
        });
        plan.map(|plan| plan.data)
    }
}

/// The same function, whose results count against `memory`. None for a function without a bound.
fn within(function: &ScalarUDF, memory: &Memory) -> Option<ScalarUDF> {
    let function = function.inner();
    if let Some(bounded) = function.downcast_ref::<Bounded>() {
        return Some(ScalarUDF::new_from_impl(bounded.within(memory)));
    }
    if let Some(joined) = function.downcast_ref::<Joined>() {
        return Some(ScalarUDF::new_from_impl(joined.within(memory)));
    }
    if let Some(copies) = function.downcast_ref::<Copies>() {
        return Some(ScalarUDF::new_from_impl(copies.within(memory)));
    }
    let paced = function.downcast_ref::<Paced>()?.within(memory)?;
    Some(ScalarUDF::new_from_impl(paced))
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
