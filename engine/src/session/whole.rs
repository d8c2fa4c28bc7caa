//! Whole numbers and decimals that do not fit: an operation or a sum that leaves its type is an error. DataFusion's own begin again at
//! the other end, and a sum of costs turns negative without a word.

use std::fmt::Display;
use std::iter;
use std::sync::{Arc, LazyLock};

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{Code, Error, type_in_words};
use crate::functions::ExactSum;

/// The rule for plans. It goes last, when all types are known.
#[derive(Debug)]
pub(super) struct WholeNumbersFit;

impl AnalyzerRule for WholeNumbersFit {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            let fitted = plan.map_expressions(|expression| named(expression, &schema, &names))?;
            match fitted.transformed {
                true => fitted.map_data(LogicalPlan::recompute_schema),
                false => Ok(fitted),
            }
        });
        plan.map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "whole_numbers_fit"
    }
}

/// [`exact`], called as it was. Of what rows are grouped by in several ways each has its name.
fn named(expression: Expr, schema: &DFSchema, names: &NamePreserver) -> Result<Transformed<Expr>> {
    if let Expr::GroupingSet(_) = &expression {
        return expression.map_children(|part| named(part, schema, names));
    }
    let name = names.save(&expression);
    Ok(exact(expression, schema)?.update_data(|exact| name.restore(exact)))
}

/// `expression` on columns of `schema`, whose operations on integers and whose sums fail where they do not fit their type.
pub(super) fn exact(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expression.transform_up(|part| match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let kind = match op {
                Operator::Plus | Operator::Minus | Operator::Multiply => integer(&left, schema)
                    .filter(|kind| integer(&right, schema).as_ref() == Some(kind)),
                _ => None,
            };
            let Some(kind) = kind else {
                let same = BinaryExpr { left, op, right };
                return Ok(Transformed::no(Expr::BinaryExpr(same)));
            };
            // A chain is one call, however long: a planner asks each part of an expression for what is below it.
            let (mut operators, mut values) = match *left {
                Expr::ScalarFunction(call) => match call.func.inner().downcast_ref::<Exact>() {
                    Some(exact) => (exact.operators.clone(), call.args),
                    None => (Vec::new(), vec![Expr::ScalarFunction(call)]),
                },
                left => (Vec::new(), vec![left]),
            };
            operators.push(op);
            values.push(*right);
            let signature = Signature::any(values.len(), Volatility::Immutable);
            let function = ScalarUDF::new_from_impl(Exact { signature, operators, kind });
            Ok(Transformed::yes(function.call(values)))
        }
        Expr::AggregateFunction(mut call) if is_sum(&call.func) => {
            call.func = Arc::clone(&EXACT_SUM);
            Ok(Transformed::yes(Expr::AggregateFunction(call)))
        }
        Expr::WindowFunction(mut call) => {
            let is_so =
                matches!(&call.fun, WindowFunctionDefinition::AggregateUDF(of) if is_sum(of));
            if is_so {
                call.fun = WindowFunctionDefinition::AggregateUDF(Arc::clone(&EXACT_SUM));
            }
            Ok(Transformed::new_transformed(Expr::WindowFunction(call), is_so))
        }
        part => Ok(Transformed::no(part)),
    })
}

/// The type of an expression, if that is one of integers. Of a long chain each part is asked for it: what is exact already knows.
fn integer(expression: &Expr, schema: &DFSchema) -> Option<DataType> {
    match expression {
        Expr::ScalarFunction(call) => match call.func.inner().downcast_ref::<Exact>() {
            Some(exact) => Some(exact.kind.clone()),
            None => expression.get_type(schema).ok().filter(DataType::is_integer),
        },
        // Both sides are of one type by now.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide | Operator::Modulo, .. }) => {
            integer(left, schema)
        }
        other => other.get_type(schema).ok().filter(DataType::is_integer),
    }
}

static EXACT_SUM: LazyLock<Arc<AggregateUDF>> =
    LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(ExactSum::new(sum_udaf()))));

fn is_sum(function: &AggregateUDF) -> bool {
    function.name() == EXACT_SUM.name() && function.inner().downcast_ref::<ExactSum>().is_none()
}

/// Operations on integers of one type, one after the other from the left, that fail where a result is none of that type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    signature: Signature,
    operators: Vec<Operator>,
    kind: DataType,
}

impl Exact {
    /// `a + b - c`, as it is called where it stands as it was written.
    fn written<T: Display>(&self, values: impl IntoIterator<Item = T>) -> String {
        let mut written = String::new();
        let operators = iter::once(None).chain(self.operators.iter().map(Some));
        for (operator, value) in operators.zip(values) {
            match operator {
                None => written.push_str(&value.to_string()),
                Some(operator) => written.push_str(&format!(" {operator} {value}")),
            }
        }
        written
    }
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &str {
        "exact"
    }

    fn schema_name(&self, values: &[Expr]) -> Result<String> {
        Ok(self.written(values.iter().map(Expr::schema_name)))
    }

    fn display_name(&self, values: &[Expr]) -> Result<String> {
        Ok(self.written(values))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    /// Empty where one of its values is, as what it stands for: a plan around it was made for that.
    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let is_nullable = of.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.kind.clone(), is_nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [first, later @ ..] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("exact: no values".to_owned()));
        };
        let mut result = Arc::clone(first);
        for (operator, value) in self.operators.iter().zip(later) {
            let next = match operator {
                Operator::Plus => numeric::add(&result, value),
                Operator::Minus => numeric::sub(&result, value),
                _ => numeric::mul(&result, value),
            };
            result = next.map_err(|error| self.refused(error))?;
        }
        let is_one = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        Ok(match arguments.args.iter().all(is_one) {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
}

impl Exact {
    fn refused(&self, error: ArrowError) -> DataFusionError {
        let ArrowError::ArithmeticOverflow(problem) = error else { return error.into() };
        let says = format!(
            "{problem}: the result is no {}; as decimals they go further: CAST(… AS DECIMAL(38, 0))",
            type_in_words(&self.kind)
        );
        DataFusionError::External(Box::new(Error::user(Code::BadInput, says)))
    }
}
