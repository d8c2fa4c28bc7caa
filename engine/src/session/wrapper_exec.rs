//! Operators that wrap one input, and change its context or its stream of rows.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};

/// What an operator changes about its input. By default, it changes nothing.
pub(super) trait StreamWrapper: fmt::Debug + Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether the operator reports the metrics of its input as its own.
    const HAS_METRICS: bool = false;

    /// The properties of the plan.
    fn properties<'a>(&'a self, input: &'a Arc<dyn ExecutionPlan>) -> &'a Arc<PlanProperties> {
        input.properties()
    }

    /// The context that the input is executed with.
    fn context(
        &self,
        _input: &Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Arc<TaskContext> {
        context
    }

    /// The stream of the operator, given the stream of its input.
    fn rows(
        &self,
        rows: SendableRecordBatchStream,
        _context: &TaskContext,
    ) -> SendableRecordBatchStream {
        rows
    }

    /// Whether the operator reports the statistics of its input. Otherwise they are unknown.
    fn has_statistics(&self) -> bool {
        true
    }
}

/// An operator that wraps `input`.
#[derive(Debug)]
pub(super) struct WrapperExec<W> {
    input: Arc<dyn ExecutionPlan>,
    wrapper: W,
}

impl<W: StreamWrapper> WrapperExec<W> {
    /// Wraps `input` in `wrapper`.
    pub(super) fn plan(input: Arc<dyn ExecutionPlan>, wrapper: W) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, wrapper })
    }
}

impl<W: StreamWrapper> DisplayAs for WrapperExec<W> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(W::NAME)
    }
}

impl<W: StreamWrapper> ExecutionPlan for WrapperExec<W> {
    fn name(&self) -> &str {
        W::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.wrapper.properties(&self.input)
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _see: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.into_iter().next() {
            Some(input) => Ok(Self::plan(input, self.wrapper.clone())),
            None => Ok(self),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self
            .input
            .execute(partition, self.wrapper.context(&self.input, Arc::clone(&context)))?;
        Ok(self.wrapper.rows(rows, &context))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        if W::HAS_METRICS { self.input.metrics() } else { None }
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        of_input: &[Arc<Statistics>],
        _arguments: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match of_input.first().filter(|_| self.wrapper.has_statistics()) {
            Some(statistics) => Ok(Arc::clone(statistics)),
            None => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}
