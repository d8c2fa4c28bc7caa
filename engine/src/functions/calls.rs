//! What a call must not say, seen in the plan of a query: what DataFusion would pass over in silence.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, WindowFunctionDefinition};
use regex::RegexBuilder;

use super::Own;
use super::arguments::beyond;
use super::rolling::Kind;
use crate::session::is_pattern;

/// Fails on a call of a function over a window without an order of its rows, or with what it does not heed.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::WindowFunction(call) => check_call(call)?,
                    Expr::Cast(cast) => check_width(cast.field.data_type())?,
                    Expr::TryCast(cast) => check_width(cast.field.data_type())?,
                    Expr::BinaryExpr(BinaryExpr { right, op, .. }) if is_pattern(op) => {
                        check_pattern(right)?;
                    }
                    Expr::SimilarTo(like) => check_pattern(&like.pattern)?,
                    Expr::ScalarFunction(call) if call.func.name().starts_with("regexp_") => {
                        call.args.get(1).map_or(Ok(()), check_pattern)?;
                    }
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

/// Largest compiled regular expression, in bytes. Matching time per byte of text grows with this size.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Fails for a constant pattern that is too large.
fn check_pattern(pattern: &Expr) -> Result<()> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = pattern else { return Ok(()) };
    match RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build() {
        Err(regex::Error::CompiledTooBig(_)) => Err(beyond(format!(
            "the regular expression {:?}: expected at most {} KiB compiled; repetitions in repetitions, as (a{{1,100}}){{1,100}}, make it long",
            text.chars().take(60).collect::<String>(),
            PATTERN_BYTES_MAX >> 10
        ))),
        // An invalid pattern fails when it is evaluated.
        _ => Ok(()),
    }
}

/// Functions that cast to a type named by a string.
pub(crate) const CASTS: [&str; 2] = ["arrow_cast", "arrow_try_cast"];
/// Widest type of fixed length, in bytes or items. Every value takes that space, even null.
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
