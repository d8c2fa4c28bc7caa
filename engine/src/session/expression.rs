//! Expressions over the columns of one dataset, as they stand in SQL behind WHERE or SET.

use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use chrono::Utc;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;

use super::arrows::bind_arrows_in;
use super::sql::{check_text, has_query};
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
    let simple = coerced.and_then(|e| simplifier.simplify(e));
    simple.map_err(|e| fail(Error::from(e).to_string()))
}

/// `expression` with sums and products of integers that fail where they do not fit their type: SQL's own begin again at the other end.
fn exact(expression: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let exact = expression.transform_up(|part| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
            return Ok(Transformed::no(part));
        };
        let kind = left.get_type(schema)?;
        let is_so = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
            && kind.is_integer()
            && right.get_type(schema)? == kind;
        if !is_so {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
        }
        let function = Exact { signature: Signature::any(2, Volatility::Immutable), operator: op };
        let function = ScalarUDF::new_from_impl(function);
        Ok(Transformed::yes(function.call(vec![*left, *right])))
    });
    exact.map(|exact| exact.data)
}

/// An operation on integers that fails where its result is none of their type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    signature: Signature,
    operator: Operator,
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "exact_sum",
            Operator::Minus => "exact_difference",
            _ => "exact_product",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType, DataFusionError> {
        let internal = || DataFusionError::Internal(format!("{} of nothing", self.name()));
        of.first().cloned().ok_or_else(internal)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [left, right] = arrays.as_slice() else {
            return Err(DataFusionError::Internal(format!("{} of two", self.name())));
        };
        let result = match self.operator {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            _ => numeric::mul(left, right),
        };
        let result = result.map_err(|error| match error {
            ArrowError::ArithmeticOverflow(problem) => {
                let kind = left.data_type();
                let says = format!("{problem}: the result is no {kind}; nothing was changed");
                DataFusionError::External(Box::new(Error::user(Code::BadInput, says)))
            }
            other => other.into(),
        })?;
        let is_one = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        Ok(match arguments.args.iter().all(is_one) {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
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
