//! An optimizer barrier: limits and filters are not pushed through it.
//!
//! Two kinds of scans need one:
//!
//! - A scan that the Delta library reads from its log, such as that of `SELECT 1 FROM t`. The scan
//!   lets a limit pass to its input, but nothing applies the limit.
//! - A scan with rows that are hidden from the user (`guard`). No filter of the query may be
//!   evaluated on hidden rows, and no count may come from statistics.

use std::sync::Arc;

use datafusion::physical_plan::execution_plan::ExecutionPlan;

use super::wrapper_exec::{StreamWrapper, WrapperExec};

/// The barrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptimizerBarrier {
    has_statistics: bool,
}

impl OptimizerBarrier {
    /// A barrier that reports the statistics of `scan`.
    pub(super) fn with_statistics(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        WrapperExec::plan(scan, Self { has_statistics: true })
    }

    /// A barrier that reports no statistics.
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
