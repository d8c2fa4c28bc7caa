//! What the kernels do, as functions of SQL.
//!
//! A job is the way to analyse everything on a schedule; a person with a question wants the same mathematics
//! inside a query, on whatever rows the query has. So they are ordinary DataFusion functions: they compose, see
//! filters and joins, and distribute with the plan. Window functions look at the rows of a partition in order;
//! aggregates gather the rows of a group and answer with a list of rows, for `unnest`.
//!
//! `docs/sql.md` describes each with an example; a test runs the examples.

mod arguments;
mod changepoints;
mod corr_matrix;
mod forecast;
mod gather;
mod nearest;
mod rolling;
mod series;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, WindowUDF};

use crate::error::Result;
use changepoints::Changepoints;
use corr_matrix::CorrMatrix;
use forecast::Forecast;
use gather::Gather;
use nearest::Nearest;

/// Makes the functions known to a session.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    for function in window_functions() {
        state.register_udwf(Arc::new(function))?;
    }
    for function in aggregate_functions() {
        state.register_udaf(Arc::new(function))?;
    }
    Ok(())
}

fn window_functions() -> Vec<WindowUDF> {
    rolling::Kind::ALL.iter().map(|&kind| WindowUDF::from(rolling::Rolling::new(kind))).collect()
}

fn aggregate_functions() -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::from(Gather::new(Changepoints)),
        AggregateUDF::from(Gather::new(CorrMatrix)),
        AggregateUDF::from(Gather::new(Forecast)),
        AggregateUDF::from(Gather::new(Nearest)),
    ]
}

/// The names of all functions of this module.
#[cfg(test)]
pub(crate) fn names() -> Vec<String> {
    let windows = window_functions().iter().map(|function| function.name().to_owned()).collect();
    let aggregates = aggregate_functions();
    let aggregates = aggregates.iter().map(|function| function.name().to_owned());
    [windows, aggregates.collect::<Vec<_>>()].concat()
}
