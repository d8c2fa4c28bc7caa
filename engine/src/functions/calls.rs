//! What a call must not say, seen in the plan of a query: what DataFusion would pass over in silence.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use super::Own;
use super::arguments::beyond;
use super::rolling::Kind;

/// Fails on a call of a function over a window without an order of its rows, or with what it does not heed.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::WindowFunction(call) => check_call(call)?,
                    Expr::Cast(cast) => check_width(cast.field.data_type())?,
                    Expr::TryCast(cast) => check_width(cast.field.data_type())?,
                    Expr::ScalarFunction(call) if CASTS.contains(&call.func.name()) => {
                        if let [_, Expr::Literal(ScalarValue::Utf8(Some(to)), _)] = &call.args[..]
                            && let Ok(to) = to.parse()
                        {
                            check_width(&to)?;
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

/// Functions that cast to a type that a text names.
const CASTS: [&str; 2] = ["arrow_cast", "arrow_try_cast"];
/// Bytes or items of a type whose values are all of one length. Each takes them, also where it is null.
const WIDTH_MAX: i32 = 4_096;

fn check_width(of: &DataType) -> Result<()> {
    match of {
        DataType::FixedSizeBinary(width) | DataType::FixedSizeList(_, width)
            if *width > WIDTH_MAX =>
        {
            let says = format!(
                "the type {of}: expected at most {WIDTH_MAX} bytes or items for each value; expected Binary or List for longer ones"
            );
            Err(beyond(says))
        }
        DataType::FixedSizeList(item, _)
        | DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => check_width(item.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|of| check_width(of.data_type())),
        DataType::Dictionary(_, value) => check_width(value),
        _ => Ok(()),
    }
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
