//! Reading only what came.
//!
//! A run takes the rows that came since the one before ([`crate::tables::came`]), and puts them in the place of the input in the plan. What it makes of them is what a run over everything would make of those rows:
//! a query of which that is not true (an aggregate, a window, …) is refused.
//! Where all is to be read, it takes the place of all that is there.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{JoinType, LogicalPlan, LogicalPlanBuilder, ident};
use datasets::DatasetName;
use engine::Result;

use super::NAME;
use crate::parameters::bad;

/// Fails where the query of new rows of `input` alone does not give the new rows of the query.
pub(super) fn require_rows_alone(plan: &LogicalPlan, input: &DatasetName) -> Result<()> {
    let problem = match parts(plan, input) {
        Ok(true) => return Ok(()),
        Ok(false) => "it is read in a subquery".to_owned(),
        Err(problem) => problem,
    };
    let problem = format!(
        "what the query makes of new rows of {input} alone is not what they add to its result: {problem}; expected a query that \
         makes its rows of one row of {input} each (columns, WHERE, JOIN with other datasets), or none of `incremental`"
    );
    Err(bad(NAME, "incremental", problem))
}

/// Whether a plan reads the input, if so row by row.
fn parts(plan: &LogicalPlan, input: &DatasetName) -> Result<bool, String> {
    if scans(plan, input, true) != scans(plan, input, false) {
        return Err("it is read in a subquery".to_owned());
    }
    if scans(plan, input, false) == 0 {
        return Ok(false);
    }
    match plan {
        LogicalPlan::TableScan(_) => Ok(true),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Unnest(_) => one(plan, input),
        // The order is not kept.
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => one(plan, input),
        LogicalPlan::Join(join) => {
            use JoinType as J;
            let left = parts(&join.left, input)?;
            let right = parts(&join.right, input)?;
            match (left, right, join.join_type) {
                (true, true, _) => Err("it is joined with itself".to_owned()),
                (_, _, J::Inner)
                | (true, _, J::Left | J::LeftSemi | J::LeftAnti | J::LeftMark)
                | (_, true, J::Right | J::RightSemi | J::RightAnti | J::RightMark) => Ok(true),
                (_, _, kind) => {
                    Err(format!("it is on the side of a {kind} join of which rows may be missing"))
                }
            }
        }
        LogicalPlan::Union(union) => {
            for part in &union.inputs {
                if !parts(part, input)? {
                    return Err("a UNION has rows that are not of it".to_owned());
                }
            }
            Ok(true)
        }
        LogicalPlan::Aggregate(_) => Err("it has an aggregate, as of GROUP BY".to_owned()),
        LogicalPlan::Window(_) => Err("it has a window (OVER)".to_owned()),
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => Err("it has a LIMIT".to_owned()),
        LogicalPlan::Distinct(_) => Err("it has DISTINCT, or a UNION without ALL".to_owned()),
        other => {
            let text = other.display().to_string();
            let step = text.split([':', ' ']).next().unwrap_or_default().to_owned();
            Err(format!("it has a step {step:?}"))
        }
    }
}

fn one(plan: &LogicalPlan, input: &DatasetName) -> Result<bool, String> {
    plan.inputs().into_iter().try_fold(false, |is, plan| Ok(is | parts(plan, input)?))
}

/// How often a plan reads the input.
fn scans(plan: &LogicalPlan, input: &DatasetName, within_subqueries: bool) -> usize {
    let mut count = 0;
    let see = |node: &LogicalPlan| {
        count += usize::from(is_scan(node, input));
        Ok(TreeNodeRecursion::Continue)
    };
    // It does not fail, for `see` does not.
    let _ = match within_subqueries {
        true => plan.apply_with_subqueries(see),
        false => plan.apply(see),
    };
    count
}

fn is_scan(plan: &LogicalPlan, input: &DatasetName) -> bool {
    matches!(plan, LogicalPlan::TableScan(scan) if scan.table_name.table() == input.as_str())
}

/// The plan with other rows in the place of the input.
pub(super) fn with_rows(
    plan: LogicalPlan,
    input: &DatasetName,
    rows: &LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.table_name.table() == input.as_str() => {
            let names = scan.projected_schema.fields().iter().map(|field| ident(field.name()));
            LogicalPlanBuilder::from(rows.clone())
                .project(names.collect::<Vec<_>>())?
                .alias(scan.table_name)?
                .build()
        }
        plan if scans(&plan, input, false) == 0 => Ok(plan),
        plan => {
            let with = |part| with_rows(part, input, rows).map(Transformed::yes);
            plan.map_children(with)?.data.recompute_schema()
        }
    }
}
