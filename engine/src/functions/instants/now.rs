//! `now()` in microseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

/// An instant, so that `AT TIME ZONE` converts it.
fn kind() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

const UTC: &str = "UTC";

/// `now`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Now {
    function: Arc<ScalarUDF>,
}

impl Now {
    /// Wraps DataFusion's function.
    pub(super) fn new(function: Arc<ScalarUDF>) -> Self {
        Self { function }
    }
}

impl ScalarUDFImpl for Now {
    named_as_function!();

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(kind())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), kind(), false)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.function.invoke_with_args(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, of: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = of.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(arguments));
        };
        let now = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), Some(UTC.into()));
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
    }
}
