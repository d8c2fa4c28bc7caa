//! Interrupts planning when no client waits for the query any more. The check runs before each
//! relation and operator of the SQL planner, and between every two rules of the optimizer. Limits on
//! the breadth of a query (`breadth`, `planning_cost`) keep the time between two checks short.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RelationPlanner, RelationPlannerContext,
    RelationPlanning,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::TableFactor;

use crate::error::{Code, Error};
use crate::stop::current;

/// The check.
#[derive(Debug)]
struct Interrupt;

/// `rules`, with a check before each.
pub(super) fn interrupted(
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let check: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(Interrupt);
    rules.into_iter().flat_map(|rule| [Arc::clone(&check), rule]).collect()
}

/// The same for physical rules.
pub(super) fn interrupted_physical(
    rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let check: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(Interrupt);
    rules.into_iter().flat_map(|rule| [Arc::clone(&check), rule]).collect()
}

/// `state`, whose SQL planner stops when the current task is cancelled. Other expressions, such as the
/// row filters of grants, are planned without it: their results are cached.
pub(super) fn with_interrupted_planner(mut state: SessionState) -> Result<SessionState> {
    state.register_relation_planner(Arc::new(Interrupt))?;
    state.register_expr_planner(Arc::new(Interrupt))?;
    Ok(state)
}

fn check() -> Result<()> {
    match current().is_some_and(|task| task.is_cancelled()) {
        true => {
            let says = "the query was cancelled during planning";
            Err(DataFusionError::External(Box::new(Error::user(Code::Cancelled, says))))
        }
        false => Ok(()),
    }
}

impl RelationPlanner for Interrupt {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        check()?;
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}

impl ExprPlanner for Interrupt {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        check()?;
        Ok(PlannerResult::Original(expr))
    }
}

impl OptimizerRule for Interrupt {
    fn name(&self) -> &str {
        "interrupt"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        check()?;
        Ok(Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for Interrupt {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check()?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "interrupt"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
