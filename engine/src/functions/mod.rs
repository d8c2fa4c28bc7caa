//! What the kernels do, as functions of SQL.
//!
//! A job is the way to analyse everything on a schedule; a person with a question wants the same mathematics
//! inside a query, on whatever rows the query has. So they are ordinary DataFusion functions: they compose, see
//! filters and joins, and distribute with the plan. Window functions look at the rows of a partition in order;
//! aggregates gather the rows of a group and answer with a list of rows, for `unnest`.
//!
//! `docs/sql.md` describes each with an example; a test runs the examples.

mod arguments;
mod bounded;
mod calls;
mod changepoints;
mod corr_matrix;
mod divide;
mod exact_sum;
mod explain_change;
mod forecast;
mod gather;
mod isolation;
mod nearest;
mod parts;
mod profile;
mod rolling;
mod seasons;
mod series;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use kernels::Execution;

use crate::error::Result;
use arguments::Shared;
pub(crate) use calls::check;
use changepoints::Changepoints;
use corr_matrix::CorrMatrix;
pub(crate) use divide::SAFE_DIVIDE;
pub(crate) use exact_sum::ExactSum;
pub use exact_sum::wide_sum;
use explain_change::ExplainChange;
use forecast::Forecast;
use gather::Gather;
use isolation::IsolationScore;
use nearest::Nearest;
pub use parts::{JsonAs, json_at, json_has, list_part};
use profile::Profile;
use seasons::Seasons;

/// Makes the functions known to a session; the kernels run as `execution` says.
pub(crate) fn register(state: &mut SessionState, execution: Execution) -> Result<()> {
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
    for function in bounded::bounded(|name| state.udf(name).ok()) {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
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
