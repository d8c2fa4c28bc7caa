//! Expressions over the columns of one dataset, as they stand in SQL behind WHERE or SET.

use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::Utc;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;

use super::arrows::bind_arrows_in;
use super::instants::{met, number_is_seconds};
use super::parsing;
use super::planning_cost::require_small;
use super::query::{UNSTEADY, gives_another_value};
use super::semantics::with_safe_quotients;
use super::sql::{check_text, has_query};
use super::whole::exact;
use crate::error::{Code, Error, Result, type_in_words};
use crate::functions::Bounds;

/// What `/` and `%` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotients {
    /// As in SQL: of whole numbers whole, and an error where there is nothing to divide by.
    OfSql,
    /// As in measures: a float, null where there is nothing to divide by.
    Safe,
}

/// An expression of the columns of `schema`. What it says of the present is said of one instant, however often it is asked.
pub(super) fn expression(
    context: &SessionContext,
    schema: &DFSchema,
    text: &str,
    quotients: Quotients,
) -> Result<Expr> {
    match quotients {
        Quotients::OfSql => planned(context, schema, text, quotients, false),
        // What is no number is divided as SQL does. Jobs ask so, and of the same rows they say the same.
        Quotients::Safe => planned(context, schema, text, quotients, true)
            .or_else(|_| planned(context, schema, text, Quotients::OfSql, true)),
    }
}

fn planned(
    context: &SessionContext,
    schema: &DFSchema,
    text: &str,
    quotients: Quotients,
    is_steady: bool,
) -> Result<Expr> {
    let fail =
        |problem: String| Error::user(Code::BadInput, format!("expression {text:?}: {problem}"));
    check_text(text)?;
    if has_query(text) {
        return Err(fail(
            "queries are not taken here; expected columns of one row, and values".to_owned(),
        ));
    }
    let state = context.state();
    let read = parsing::expression(text).and_then(|mut read| {
        require_small(&read.expr).map_err(|error| DataFusionError::External(Box::new(error)))?;
        bind_arrows_in(&mut read.expr);
        if quotients == Quotients::Safe {
            with_safe_quotients(&mut read.expr);
        }
        let expression = state.create_logical_expr_from_sql_expr(read, schema)?;
        let expression = number_is_seconds(expression, schema)?.data;
        met(expression, schema).map(|met| met.data)
    });
    let expression = read.map_err(|e| fail(Error::from(e).to_string()))?;
    let mut refused = None;
    let mut unsteady = None;
    expression.apply(|part| {
        if let Expr::ScalarFunction(call) = part
            && is_steady
            && UNSTEADY.contains(call.func.name())
        {
            unsteady = Some(gives_another_value(call.func.name()));
            return Ok(TreeNodeRecursion::Stop);
        }
        refused = match part {
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Some("aggregates"),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Some("queries"),
            part if part.is_volatile_node() => Some("functions that say something else each time"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    if let Some(unsteady) = unsteady {
        return Err(fail(unsteady));
    }
    if let Some(refused) = refused {
        return Err(fail(format!(
            "{refused} are not taken here; expected columns of one row, and values"
        )));
    }
    let simplify = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_query_execution_start_time(Some(Utc::now()))
        .build();
    let simplifier = ExprSimplifier::new(simplify);
    let coerced = simplifier.coerce(expression, schema).and_then(|e| exact(e, schema));
    let bounds = state.config().get_extension::<Bounds>().unwrap_or_default();
    let coerced = coerced.and_then(|exact| bounds.bounded(exact.data, schema));
    let coerced = coerced.map(|bounded| bounded.data);
    let simple = coerced.and_then(|e| simplifier.simplify(e));
    simple.map_err(|e| fail(Error::from(e).to_string()))
}

/// The same, which must be true or false.
pub(super) fn condition(
    context: &SessionContext,
    schema: &DFSchema,
    text: &str,
    quotients: Quotients,
) -> Result<Expr> {
    let expression = expression(context, schema, text, quotients)?;
    let found = expression.get_type(schema)?;
    if found == DataType::Boolean {
        return Ok(expression);
    }
    let says = format!(
        "condition {text:?}: expected one that is true or false, found a value of type {}",
        type_in_words(&found)
    );
    Err(Error::user(Code::BadInput, says))
}
