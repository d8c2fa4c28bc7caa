//! Limits for long constants. A function of a long constant can return a long value for each row of
//! a batch, and the shared memory pool does not count these values.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;

use super::batches::of_bytes;
use crate::error::{Code, Error};
use crate::functions::constant_bytes;

/// Bytes that the constants of one step may take for all rows of a batch.
const SPREAD_BYTES_MAX: usize = 256 << 20;
/// Bytes of the literals from which a query gets a smaller batch size.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// A constant up to this length is like any other value.
const SHORT_BYTES: usize = 256;
/// Maximum bytes of copies of constants. The optimizer may replace each reference to a column with a copy.
const COPIED_BYTES_MAX: usize = 64 << 20;
/// Maximum bytes of the constants that the planner computes for one query, together.
const COMPUTED_BYTES_MAX: usize = 16 << 20;

/// The rule for plans. It goes last, when what could be computed beforehand was: `repeat('x', 1000000)` is a constant by then.
#[derive(Debug)]
pub(super) struct ConstantsFit;

impl OptimizerRule for ConstantsFit {
    fn name(&self) -> &str {
        "constants_fit"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let bytes = long_bytes_of(&plan)?;
        // The rows of a VALUES stand in the query themselves.
        if bytes == 0 || matches!(plan, LogicalPlan::Values(_)) {
            return Ok(Transformed::no(plan));
        }
        let at_a_time = config.options().execution.batch_size.get();
        let most: Option<Vec<usize>> = plan.inputs().iter().map(|input| input.max_rows()).collect();
        let rows =
            most.map_or(at_a_time, |most| most.into_iter().max().unwrap_or(1).clamp(1, at_a_time));
        if bytes.saturating_mul(rows) > SPREAD_BYTES_MAX {
            let most = SPREAD_BYTES_MAX / rows;
            let says = format!(
                "the query has constants of {bytes} bytes for each row; expected at most {most} where there are some thousand rows"
            );
            let error = Error::user(Code::LimitExceeded, says);
            return Err(DataFusionError::External(Box::new(error)));
        }
        Ok(Transformed::no(plan))
    }
}

/// Maximum bytes of the constants that the planner may compute for this plan. Fails if the plan's own
/// constants could be copied too often.
pub(super) fn computed_bytes_max(plan: &LogicalPlan) -> Result<u64> {
    // All long constants count for the branches of UNION, those outside comparisons for the columns.
    let (mut bytes, mut all_bytes, mut columns, mut branches) =
        (0_usize, 0_usize, 0_usize, 0_usize);
    plan.apply_with_subqueries(|plan| {
        // The rows of a VALUES are not copied.
        if matches!(plan, LogicalPlan::Values(_)) {
            return Ok(TreeNodeRecursion::Continue);
        }
        if let LogicalPlan::Union(union) = plan {
            branches += union.inputs.len();
        }
        bytes = bytes.saturating_add(long_bytes_of(plan)?);
        plan.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::Column(_) => columns += 1,
                    Expr::Literal(value, _) => all_bytes = all_bytes.saturating_add(long(value)),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let bytes_max = COPIED_BYTES_MAX / columns.max(1);
    if bytes > bytes_max {
        return Err(too_long(bytes, format!("{columns} column references"), bytes_max));
    }
    let all_bytes_max = COPIED_BYTES_MAX / branches.max(1);
    if all_bytes > all_bytes_max {
        return Err(too_long(all_bytes, format!("{branches} branches of UNION"), all_bytes_max));
    }
    Ok(bytes_max.min(COMPUTED_BYTES_MAX) as u64)
}

fn too_long(bytes: usize, copied_for: String, bytes_max: usize) -> DataFusionError {
    let message = format!(
        "the query has {bytes} bytes of long constants and {copied_for}; expected at most {bytes_max} bytes"
    );
    DataFusionError::External(Box::new(Error::user(Code::LimitExceeded, message)))
}

/// Bytes of a constant; 0 for a short one.
fn long(value: &ScalarValue) -> usize {
    let bytes = usize::try_from(constant_bytes(value)).unwrap_or(usize::MAX);
    if bytes > SHORT_BYTES { bytes } else { 0 }
}

/// A query with a smaller batch size if it has long constants.
pub(crate) fn for_constants_of(frame: DataFrame) -> Result<DataFrame> {
    let mut most = 0;
    frame.logical_plan().apply_with_subqueries(|plan| {
        most = most.max(long_bytes_of(plan)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(of_bytes(BATCH_BYTES_MAX, most, frame))
}

/// Bytes of the long constants of one step.
fn long_bytes_of(plan: &LogicalPlan) -> Result<usize> {
    let mut bytes = 0_usize;
    plan.apply_expressions(|expression| {
        bytes = bytes.saturating_add(long_bytes(expression)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}

/// Bytes of the long constants of an expression, but for those that something is only compared with.
fn long_bytes(expression: &Expr) -> Result<usize> {
    let mut bytes = 0_usize;
    expression.apply(|part| {
        match part {
            Expr::Literal(value, _) => {
                bytes = bytes.saturating_add(long(value));
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
                for side in [left, right] {
                    if !matches!(**side, Expr::Literal(..)) {
                        bytes = bytes.saturating_add(long_bytes(side)?);
                    }
                }
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::InList(list) => {
                bytes = bytes.saturating_add(long_bytes(&list.expr)?);
                return Ok(TreeNodeRecursion::Jump);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}

pub(crate) fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
