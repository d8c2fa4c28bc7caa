//! Arguments that must be written in the query, because the whole result depends on them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use kernels::Execution;

use crate::error::{Code, Error};

/// How the kernels run, of all functions of a session.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Execution>);

impl Shared {
    pub(super) fn new(execution: Execution) -> Self {
        Self(Arc::new(execution))
    }
}

impl std::ops::Deref for Shared {
    type Target = Execution;

    fn deref(&self) -> &Execution {
        &self.0
    }
}

// Functions are compared to find equal expressions in a plan: those of one session run alike.
impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Shared {}

impl std::hash::Hash for Shared {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The type that a column of numbers is cast to; anything else is an error.
pub(super) fn numeric(function: &str, name: &str, given: &DataType) -> Result<DataType> {
    if given.is_numeric() || *given == DataType::Null {
        return Ok(DataType::Float64);
    }
    plan_err!("{function}: the {name} is {given}; a number is needed")
}

/// The type that a count is cast to. One that is not whole stays as it is, for [`count`] to name it.
pub(super) fn whole(given: &DataType) -> DataType {
    if given.is_integer() { DataType::Int64 } else { given.clone() }
}

/// Nobody waits for the query any more.
pub(super) fn stopped(function: &str) -> DataFusionError {
    let says = format!("{function}: stopped with its query");
    DataFusionError::External(Box::new(Error::user(Code::Cancelled, says)))
}

/// A bound of a function that was reached.
pub(super) fn beyond(what: String) -> DataFusionError {
    DataFusionError::External(Box::new(Error::user(Code::LimitExceeded, what)))
}

/// A whole number of at least 1.
pub(super) fn count(
    function: &str,
    name: &str,
    argument: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<Option<usize>> {
    let Some(value) = literal(function, name, argument)? else {
        return Ok(None);
    };
    let number = match value.cast_to(&DataType::Int64) {
        // Of a text or a fraction the cast takes what it can.
        Ok(ScalarValue::Int64(Some(number))) if is_whole(value) => {
            usize::try_from(number).ok().filter(|&number| number > 0)
        }
        _ => None,
    };
    number
        .map(Some)
        .ok_or_else(|| wrong(function, name, value, "a whole number of at least 1 is needed"))
}

fn is_whole(value: &ScalarValue) -> bool {
    let number = value.data_type().is_numeric().then(|| value.cast_to(&DataType::Float64));
    matches!(number, Some(Ok(ScalarValue::Float64(Some(number)))) if number.fract() == 0.0)
}

/// A number.
pub(super) fn number(
    function: &str,
    name: &str,
    argument: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<Option<f64>> {
    let Some(value) = literal(function, name, argument)? else {
        return Ok(None);
    };
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(Some(number))) if number.is_finite() => Ok(Some(number)),
        _ => Err(wrong(function, name, value, "a number is needed")),
    }
}

pub(super) fn literal<'a>(
    function: &str,
    name: &str,
    argument: Option<&'a Arc<dyn PhysicalExpr>>,
) -> Result<Option<&'a ScalarValue>> {
    let Some(argument) = argument else {
        return Ok(None);
    };
    match argument.downcast_ref::<Literal>() {
        Some(literal) => Ok(Some(literal.value())),
        None => plan_err!("{function}: {name} is {argument}; it must be a constant in the query"),
    }
}

fn wrong(function: &str, name: &str, found: &ScalarValue, expected: &str) -> DataFusionError {
    plan_datafusion_err!("{function}: {name} is {found}; {expected}")
}

/// Numbers as the kernels take them: what is NULL is missing, and so is NaN.
pub(super) fn numbers(column: &ArrayRef) -> Result<Vec<f64>> {
    let column = cast(column, &DataType::Float64)?;
    let column = column
        .as_any()
        .downcast_ref::<Float64Array>()
        .ok_or_else(|| DataFusionError::Internal("a cast gave another type".into()))?;
    let values = column.values();
    Ok(match column.nulls() {
        None => values.to_vec(),
        Some(nulls) => values
            .iter()
            .zip(nulls)
            .map(|(&value, is_there)| if is_there { value } else { f64::NAN })
            .collect(),
    })
}

/// Results as SQL has them: NaN is NULL.
pub(super) fn nullable(values: impl IntoIterator<Item = f64>) -> Float64Array {
    values.into_iter().map(|value| (!value.is_nan()).then_some(value)).collect()
}

/// A kernel's error as a query's.
pub(super) fn failed(error: kernels::Error) -> DataFusionError {
    DataFusionError::External(Box::new(Error::from(error)))
}
