//! What the kernels do, as functions of SQL.
//!
//! A job is the way to analyse everything on a schedule; a person with a question wants the same mathematics
//! inside a query, on whatever rows the query has. So they are ordinary DataFusion functions: they compose, see
//! filters and joins, and distribute with the plan. Window functions look at the rows of a partition in order;
//! aggregates gather the rows of a group and answer with a list of rows, for `unnest`.
//!
//! `docs/sql.md` describes each with an example; a test runs the examples.

/// Delegates name, aliases, signature and documentation of a function to its field `function`.
macro_rules! named_as_function {
    () => {
        fn name(&self) -> &str {
            self.function.name()
        }

        fn aliases(&self) -> &[String] {
            self.function.aliases()
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.function.signature()
        }

        fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
            self.function.documentation()
        }
    };
}

/// Delegates everything that describes a `ScalarUDFImpl` to its field `function`. Fails for a
/// return type with too many fields or levels.
macro_rules! of_function {
    () => {
        named_as_function!();

        fn return_type(
            &self,
            of: &[arrow::datatypes::DataType],
        ) -> datafusion::common::Result<arrow::datatypes::DataType> {
            self.function.return_type(of)
        }

        fn return_field_from_args(
            &self,
            arguments: datafusion::logical_expr::ReturnFieldArgs<'_>,
        ) -> datafusion::common::Result<arrow::datatypes::FieldRef> {
            let field = self.function.return_field_from_args(arguments)?;
            $crate::functions::nested::require_narrow(self.name(), field.data_type())?;
            Ok(field)
        }

        fn coerce_types(
            &self,
            of: &[arrow::datatypes::DataType],
        ) -> datafusion::common::Result<Vec<arrow::datatypes::DataType>> {
            self.function.coerce_types(of)
        }
    };
}

mod arguments;
mod bounded;
mod bounded_calls;
mod bounds;
mod calls;
mod cancellable;
mod casts;
mod changepoints;
mod corr_matrix;
mod divide;
mod exact_sum;
mod explain_change;
mod forecast;
mod gather;
mod instants;
mod isolation;
mod joined;
mod memory;
mod nearest;
mod nested;
mod paced;
mod parts;
mod plain_text;
mod profile;
mod results;
mod rolling;
mod seasons;
mod series;
mod sizes;
mod slices;
mod sliding;
mod values;
mod widths;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use kernels::{Control, Execution};

use crate::error::Result;
use arguments::Shared;
pub(crate) use bounded_calls::{Bounds, OwnMemory};
#[cfg(test)]
pub(crate) use bounds::has_bound;
pub(crate) use calls::{CASTS, check};
pub(crate) use cancellable::cancellable_window;
use changepoints::Changepoints;
use corr_matrix::CorrMatrix;
pub(crate) use divide::SAFE_DIVIDE;
pub(crate) use exact_sum::ExactSum;
pub use exact_sum::wide_sum;
pub(crate) use exact_sum::widened;
use explain_change::ExplainChange;
use forecast::Forecast;
use gather::Gather;
use isolation::IsolationScore;
use memory::Memory;
pub(crate) use memory::claim;
use nearest::Nearest;
pub(crate) use nested::NestedLiterals;
use paced::Paced;
pub use parts::{JsonAs, json_at, json_has, list_part};
use profile::Profile;
use seasons::Seasons;
pub(crate) use slices::{RESULT_BYTES_MAX, row_ranges, with_bounded_constants};
pub(crate) use sliding::Sliding;
pub(crate) use values::bounded_values;
pub use widths::rows_bytes;
pub(crate) use widths::{constant_bytes, is_shared, row_bytes, row_values};

/// Makes the functions known to a session; the kernels run as `execution` says.
pub(crate) fn register(state: &mut SessionState, execution: Execution) -> Result<()> {
    state.config_mut().set_extension(Arc::new(Kernels(execution.clone())));
    let execution = Shared::new(execution);
    for function in window_functions(&execution) {
        state.register_udwf(Arc::new(function))?;
    }
    for function in aggregate_functions(&execution) {
        state.register_udaf(Arc::new(function))?;
    }
    for function in scalar_functions() {
        state.register_udf(Arc::new(function))?;
    }
    datafusion_functions_json::register_all(state)?;
    for name in plain_text::VIEWED {
        let function = plain_text::PlainText::new(state.udf(name)?);
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
    }
    instants::register(state)?;
    let memory = Memory::of(&state.runtime_env().memory_pool);
    for function in bounded::bounded(|name| state.udf(name).ok(), &memory) {
        state.register_udf(Arc::new(function))?;
    }
    for function in paced::paced(|name| state.udf(name).ok(), &execution) {
        state.register_udf(Arc::new(function))?;
    }
    let bounds = Arc::new(Bounds::of(state, memory));
    state.config_mut().set_extension(Arc::clone(&bounds));
    state.add_analyzer_rule(bounds);
    Ok(())
}

/// How the kernels of a session run.
struct Kernels(Execution);

/// The functions of one query, which end together.
pub(crate) struct Own {
    execution: Shared,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
}

/// The names of the functions that a query has of its own.
static OURS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let execution = Shared::new(Execution::default());
    let windows = window_functions(&execution).into_iter().map(|of| of.name().to_owned());
    let aggregates = aggregate_functions(&execution).into_iter().map(|of| of.name().to_owned());
    windows.chain(aggregates).collect()
});

impl Own {
    /// Whether a function of this name is one of them.
    pub(crate) fn is_ours(name: &str) -> bool {
        OURS.contains(name) || paced::is_paced(name)
    }

    /// The functions of a new query, which `control` cancels.
    pub(crate) fn of(state: &SessionState, control: &Control) -> Self {
        let kernels = state.config().get_extension::<Kernels>();
        let execution = kernels.map(|kernels| kernels.0.clone()).unwrap_or_default();
        let execution = Shared::new(Execution { control: control.clone(), ..execution });
        let aggregates = aggregate_functions(&execution).into_iter();
        let windows = window_functions(&execution).into_iter();
        Self {
            aggregates: aggregates.map(|of| (of.name().to_owned(), Arc::new(of))).collect(),
            windows: windows.map(|of| (of.name().to_owned(), Arc::new(of))).collect(),
            execution,
        }
    }

    /// The control that cancels them.
    pub(crate) fn control(&self) -> &Control {
        &self.execution.control
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    pub(crate) fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).cloned()
    }

    /// The same function, which ends with the query; none where it is done before anybody stops waiting.
    pub(crate) fn scalar(&self, function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
        let is_paced = paced::is_paced(function.name());
        is_paced.then(|| Arc::new(Paced::of(function, &self.execution)))
    }
}

fn scalar_functions() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::new_from_impl(parts::ListPart::default()),
        ScalarUDF::new_from_impl(divide::SafeDivide::default()),
    ]
}

fn window_functions(execution: &Shared) -> Vec<WindowUDF> {
    let kinds = rolling::Kind::ALL.iter();
    kinds.map(|&kind| WindowUDF::from(rolling::Rolling::new(kind, execution.clone()))).collect()
}

fn aggregate_functions(execution: &Shared) -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::from(Gather::new(Changepoints, execution.clone())),
        AggregateUDF::from(Gather::new(CorrMatrix, execution.clone())),
        AggregateUDF::from(Gather::new(ExplainChange, execution.clone())),
        AggregateUDF::from(Gather::new(Forecast, execution.clone())),
        AggregateUDF::from(Gather::new(IsolationScore, execution.clone())),
        AggregateUDF::from(Gather::new(Profile::All, execution.clone())),
        AggregateUDF::from(Gather::new(Profile::Discords, execution.clone())),
        AggregateUDF::from(Gather::new(Seasons, execution.clone())),
        AggregateUDF::from(Gather::new(Nearest, execution.clone())),
    ]
}

/// The names of all functions of this module.
#[cfg(test)]
pub(crate) fn names() -> Vec<String> {
    let execution = Shared::new(Execution::default());
    let windows = window_functions(&execution);
    let windows = windows.iter().map(|function| function.name().to_owned()).collect();
    let aggregates = aggregate_functions(&execution);
    let aggregates = aggregates.iter().map(|function| function.name().to_owned());
    let scalars = scalar_functions();
    let scalars = scalars.iter().map(|function| function.name().to_owned());
    [windows, aggregates.collect::<Vec<_>>(), scalars.collect()].concat()
}
