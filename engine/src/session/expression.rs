//! Expressions over the columns of one dataset, as they stand in SQL behind WHERE or SET.

use std::sync::Arc;

use arrow::datatypes::DataType;
use chrono::Utc;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;

use super::arrows::bind_arrows_in;
use super::sql::{check_text, has_query};
use super::whole::exact;
use crate::error::{Code, Error, Result};

/// An expression of the columns of `schema`. What it says of the present is said of one instant, however often it is asked.
pub(super) fn expression(context: &SessionContext, schema: &DFSchema, text: &str) -> Result<Expr> {
    let fail =
        |problem: String| Error::user(Code::BadInput, format!("expression {text:?}: {problem}"));
    check_text(text)?;
    if has_query(text) {
        return Err(fail(
            "queries are not taken here; expected columns of one row, and values".to_owned(),
        ));
    }
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let read = state.sql_to_expr_with_alias(text, &dialect).and_then(|mut read| {
        bind_arrows_in(&mut read.expr);
        state.create_logical_expr_from_sql_expr(read, schema)
    });
    let expression = read.map_err(|e| fail(Error::from(e).to_string()))?;
    let mut refused = None;
    expression.apply(|part| {
        refused = match part {
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Some("aggregates"),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Some("queries"),
            part if part.is_volatile_node() => Some("functions that say something else each time"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
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
    let coerced = coerced.map(|exact| exact.data);
    let simple = coerced.and_then(|e| simplifier.simplify(e));
    simple.map_err(|e| fail(Error::from(e).to_string()))
}

/// The same, which must be true or false.
pub(super) fn condition(context: &SessionContext, schema: &DFSchema, text: &str) -> Result<Expr> {
    let expression = expression(context, schema, text)?;
    let found = expression.get_type(schema)?;
    if found == DataType::Boolean {
        return Ok(expression);
    }
    let says = format!(
        "condition {text:?}: expected one that is true or false, found a value of type {found}"
    );
    Err(Error::user(Code::BadInput, says))
}
