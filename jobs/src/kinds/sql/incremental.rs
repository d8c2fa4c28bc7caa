//! Reading only what came.
//!
//! A run says in its commit up to which version of the input it has read ([`engine::CommitLabel::marks`]), under a name made of all its
//! parameters. The next one takes the rows that were added between that version and its own, however late their times are, and
//! puts them in the place of the input in the plan. What it makes of them is what a run over everything would make of those rows:
//! a query of which that is not true (an aggregate, a window, …) is refused.
//!
//! Everything is read, and takes the place of all that is there, where there is no such commit, where another run wrote after it, or
//! where rows of the input went or changed. The run says which.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{JoinType, LogicalPlan, LogicalPlanBuilder, ident};
use datasets::DatasetName;
use engine::{Code, Result, Version};
use futures::StreamExt;

use super::{NAME, Params};
use crate::parameters::{self, bad};
use crate::run::context::{RunContext, is_still};

/// How far back the last commit of a run is looked for: behind it there are only those that put files together.
const HISTORY_COMMITS: [usize; 2] = [8, 1_000];

/// What a run has to read.
pub(super) enum Reach {
    /// Nothing: all of it was read before, up to this version.
    Nothing(Version),
    /// The rows that came after one version.
    Since(Since),
    /// All, and why.
    All(String),
}

/// Rows that came.
pub(super) struct Since {
    pub(super) from: Version,
    pub(super) rows: DataFrame,
    /// The version of the output that these rows follow from.
    pub(super) after: Version,
}

/// The name under which a commit says how far the input was read.
pub(super) fn mark(params: &Params) -> Result<String> {
    Ok(format!("colonnade-read-{}", parameters::digest(params)?))
}

/// What is to be read of `input`.
pub(super) async fn reach(ctx: &RunContext, params: &Params, input: &DatasetName) -> Result<Reach> {
    let (to, output) = (ctx.input(input)?.version, &params.output);
    let mut history = Vec::new();
    for commits in HISTORY_COMMITS {
        history = ctx.history(output, commits).await?;
        if history.len() < commits || history.iter().any(|commit| !is_still(commit)) {
            break;
        }
    }
    let (newest, last) = (history.first(), history.iter().find(|commit| !is_still(commit)));
    let (Some(newest), Some(last)) = (newest, last) else {
        return Ok(Reach::All(format!("{output} has no rows of an earlier run")));
    };
    let read = last.numbers.get(&mark(params)?).and_then(|read| u64::try_from(*read).ok());
    let Some(from) = read.map(Version) else {
        return Ok(Reach::All(format!(
            "the last commit to {output} (version {}) is not of a run of these parameters",
            last.version
        )));
    };
    if from >= to {
        return Ok(Reach::Nothing(from));
    }
    let changes = match ctx.engine().changes(ctx.principal(), input, from, to).await {
        Err(error) if error.code() == Code::NotFound => {
            return Ok(Reach::All(format!("version {from} of {input} is gone")));
        }
        changes => changes?,
    };
    if has_rows(ctx, changes.removed).await? {
        return Ok(Reach::All(format!("rows of {input} went or changed after version {from}")));
    }
    if !has_rows(ctx, changes.added.clone()).await? {
        return Ok(Reach::Nothing(from));
    }
    Ok(Reach::Since(Since { from, rows: changes.added, after: newest.version }))
}

async fn has_rows(ctx: &RunContext, frame: DataFrame) -> Result<bool> {
    let mut rows = ctx.session().stream(frame.limit(0, Some(1))?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

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
