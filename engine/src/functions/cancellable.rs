//! Aggregates as window functions that stop when their query is cancelled.
//!
//! For an aggregate that cannot remove rows, a window recomputes the whole frame for each row. A million rows with frames of a
//! million rows take days, in one call that never yields. So the accumulator checks whether the query was cancelled. Its
//! results count against the query's memory: `array_agg` over a growing frame returns the square of its input.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunctionParams};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, SetMonotonicity,
};
use kernels::Control;

use super::arguments::{beyond, stopped};
use super::bounds::gathers;
use super::results::{Frame, Results};
use super::slices::RESULT_BYTES_MAX;

/// Results up to this size count as single values and are not added up.
const VALUE_BYTES: usize = 4 << 10;

/// `function` for a window of a query that `control` cancels, with the memory of `pool`. `streams`
/// states whether the window's operator emits rows while it reads.
pub(crate) fn cancellable_window(
    function: Arc<AggregateUDF>,
    control: &Control,
    pool: &Arc<dyn MemoryPool>,
    streams: bool,
) -> Arc<AggregateUDF> {
    let flag = Flag(control.clone());
    let results = Results::of(pool, streams);
    Arc::new(AggregateUDF::new_from_impl(Cancellable { function, flag, results }))
}

/// The flag that cancels a query. All flags are equal, so that equal functions of a plan compare as
/// equal.
#[derive(Clone, Debug)]
struct Flag(Control);

impl PartialEq for Flag {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Flag {}

impl std::hash::Hash for Flag {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Cancellable {
    function: Arc<AggregateUDF>,
    flag: Flag,
    results: Results,
}

impl Cancellable {
    /// The function inside.
    pub(super) fn function(&self) -> &Arc<AggregateUDF> {
        &self.function
    }

    /// The same for another function.
    pub(super) fn of(&self, function: Arc<AggregateUDF>) -> Self {
        Self { function, flag: self.flag.clone(), results: self.results.clone() }
    }

    fn wrap(
        &self,
        accumulator: Box<dyn Accumulator>,
        of: &DataType,
        keeps_rows: bool,
    ) -> Box<dyn Accumulator> {
        Box::new(Checked {
            accumulator,
            name: self.function.name().to_owned(),
            flag: self.flag.clone(),
            bytes: 0,
            results: of.primitive_width().is_none().then(|| self.results.clone()),
            frame: keeps_rows.then(|| self.results.frame()),
        })
    }
}

impl AggregateUDFImpl for Cancellable {
    named_as_function!();

    fn schema_name(&self, parameters: &AggregateFunctionParams) -> Result<String> {
        self.function.schema_name(parameters)
    }

    fn human_display(&self, parameters: &AggregateFunctionParams) -> Result<String> {
        self.function.human_display(parameters)
    }

    fn window_function_schema_name(&self, parameters: &WindowFunctionParams) -> Result<String> {
        self.function.window_function_schema_name(parameters)
    }

    fn display_name(&self, parameters: &AggregateFunctionParams) -> Result<String> {
        self.function.display_name(parameters)
    }

    fn window_function_display_name(&self, parameters: &WindowFunctionParams) -> Result<String> {
        self.function.window_function_display_name(parameters)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.function.return_type(given)
    }

    fn return_field(&self, given: &[FieldRef]) -> Result<FieldRef> {
        self.function.return_field(given)
    }

    fn is_nullable(&self) -> bool {
        self.function.is_nullable()
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = arguments.return_field.data_type().clone();
        let gathers = gathers(self.function.name());
        Ok(self.wrap(self.function.accumulator(arguments)?, &of, gathers))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.function.state_fields(arguments)
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        let of = arguments.return_field.data_type().clone();
        // What a moving frame is computed of must be known when its rows leave. A count needs none of them.
        let keeps_rows = self.function.name() != "count";
        Ok(self.wrap(self.function.create_sliding_accumulator(arguments)?, &of, keeps_rows))
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = self.function.inner().clone();
        let ordered = ordered.with_beneficial_ordering(beneficial_ordering)?;
        Ok(ordered.map(|function| {
            let function = Arc::new(AggregateUDF::new_from_shared_impl(function));
            Arc::new(self.of(function)) as _
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.function.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.function.simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.function.reverse_udf() {
            ReversedUDAF::Reversed(function) => {
                ReversedUDAF::Reversed(Arc::new(AggregateUDF::new_from_impl(self.of(function))))
            }
            ReversedUDAF::Identical => ReversedUDAF::Identical,
            ReversedUDAF::NotSupported => ReversedUDAF::NotSupported,
        }
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(given)
    }

    fn is_descending(&self) -> Option<bool> {
        self.function.is_descending()
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.function.default_value(of)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.function.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.function.supports_within_group_clause()
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.function.inner().set_monotonicity(of)
    }
}

/// An accumulator that fails when the query is cancelled, or when its results take too much memory.
#[derive(Debug)]
struct Checked {
    accumulator: Box<dyn Accumulator>,
    name: String,
    flag: Flag,
    /// Total bytes of long results so far.
    bytes: usize,
    /// Where its results are counted. None for numbers.
    results: Option<Results>,
    /// The rows that the accumulator keeps, where it keeps any.
    frame: Option<Frame>,
}

impl Checked {
    fn check(&self) -> Result<()> {
        match self.flag.0.is_cancelled() {
            true => Err(stopped(&self.name)),
            false => Ok(()),
        }
    }
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.check()?;
        if let Some(frame) = &mut self.frame {
            frame.keep(values)?;
        }
        self.accumulator.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.check()?;
        let value = self.accumulator.evaluate()?;
        let bytes = value.size();
        if bytes > VALUE_BYTES {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        if self.bytes as u64 > RESULT_BYTES_MAX {
            return Err(beyond(format!(
                "{} OVER (…): the results of one partition take more than {} MiB; expected a shorter frame, as ROWS BETWEEN 100 PRECEDING AND CURRENT ROW, or a GROUP BY",
                self.name,
                RESULT_BYTES_MAX >> 20
            )));
        }
        if let Some(results) = &self.results {
            results.add(bytes)?;
        }
        Ok(value)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.accumulator.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.accumulator.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.check()?;
        self.accumulator.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.check()?;
        if let Some(frame) = &mut self.frame {
            frame.release(values);
        }
        self.accumulator.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.accumulator.supports_retract_batch()
    }
}
