//! An optimizer barrier: limits and conditions are not pushed through it.
//!
//! Two scans are below one. A scan of rows without columns, as of `SELECT 1 FROM t`, which the Delta library makes from its log: it
//! lets a limit pass, as if something below it would keep to it, and nothing does. And a scan with rows that are hidden from the user
//! (`guard`): no condition of theirs may be tried on hidden rows, and no count be taken from statistics.

use std::sync::Arc;

use datafusion::physical_plan::execution_plan::ExecutionPlan;

use super::wrapper_exec::{StreamWrapper, WrapperExec};

/// The barrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptimizerBarrier {
    has_statistics: bool,
}

impl OptimizerBarrier {
    /// Above this, the statistics of the rows are known.
    pub(super) fn with_statistics(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        WrapperExec::plan(scan, Self { has_statistics: true })
    }

    /// Above this, nothing is known of the rows.
    pub(super) fn without_statistics(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        WrapperExec::plan(scan, Self { has_statistics: false })
    }
}

impl StreamWrapper for OptimizerBarrier {
    const NAME: &'static str = "OptimizerBarrier";

    fn has_statistics(&self) -> bool {
        self.has_statistics
    }
}
