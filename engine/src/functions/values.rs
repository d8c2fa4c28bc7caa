//! Window functions that return a value of another row, such as `first_value` and `lag`. Their results count against the memory of
//! their query: one long value may become that of a million rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowFunctionSimplification, WindowUDFFieldArgs,
};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, ReversedUDWF, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::results::Results;
use super::widths::total_bytes;

/// These functions.
const VALUES: [&str; 5] = ["first_value", "last_value", "nth_value", "lag", "lead"];

/// `function` in a query with the memory of `pool`. `streams` says whether its operator hands rows on while it reads.
pub(crate) fn bounded_values(
    function: Arc<WindowUDF>,
    pool: &Arc<dyn MemoryPool>,
    streams: bool,
) -> Arc<WindowUDF> {
    if !VALUES.contains(&function.name()) {
        return function;
    }
    let results = Results::of(pool, streams);
    Arc::new(WindowUDF::new_from_impl(Values { function, results }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Values {
    function: Arc<WindowUDF>,
    results: Results,
}

impl WindowUDFImpl for Values {
    named_as_function!();

    fn expressions(&self, of: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        self.function.inner().expressions(of)
    }

    fn partition_evaluator(
        &self,
        of: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let constants = of.input_exprs().iter().skip(1);
        let constants = constants.filter_map(|of| of.downcast_ref::<Literal>());
        let default_bytes = constants.map(|of| of.value().size()).max().unwrap_or(0);
        let value = of.input_fields().first().map(|field| field.data_type().clone());
        Ok(Box::new(Counted {
            results: self.results.clone(),
            is_fixed: value.is_some_and(|of| of.primitive_width().is_some()),
            default_bytes,
            evaluator: self.function.inner().partition_evaluator(of)?,
        }))
    }

    fn simplify(&self) -> Option<WindowFunctionSimplification> {
        self.function.inner().simplify()
    }

    fn field(&self, of: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        self.function.inner().field(of)
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.function.inner().sort_options()
    }

    fn coerce_types(&self, of: &[DataType]) -> Result<Vec<DataType>> {
        self.function.inner().coerce_types(of)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.function.inner().reverse_expr() {
            ReversedUDWF::Reversed(function) => {
                let results = self.results.clone();
                ReversedUDWF::Reversed(Arc::new(WindowUDF::new_from_impl(Self {
                    function,
                    results,
                })))
            }
            other => other,
        }
    }

    fn limit_effect(&self, arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.function.inner().limit_effect(arguments)
    }
}

/// An evaluator whose results are counted.
#[derive(Debug)]
struct Counted {
    evaluator: Box<dyn PartitionEvaluator>,
    results: Results,
    is_fixed: bool,
    /// Bytes of the value of rows without another row.
    default_bytes: usize,
}

impl PartitionEvaluator for Counted {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.evaluator.memoize(state)
    }

    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        self.evaluator.get_range(row, rows)
    }

    fn is_causal(&self) -> bool {
        self.evaluator.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if !self.is_fixed {
            let bytes = values.first().map_or(0, |values| total_bytes(values.as_ref()));
            let defaults = (self.default_bytes as u64).saturating_mul(rows as u64);
            self.results.add_all(bytes.saturating_add(defaults))?;
        }
        self.evaluator.evaluate_all(values, rows)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let value = self.evaluator.evaluate(values, range)?;
        if !self.is_fixed {
            self.results.add(value.size())?;
        }
        Ok(value)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        self.evaluator.evaluate_all_with_rank(rows, ranks)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.evaluator.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.evaluator.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.evaluator.include_rank()
    }
}
