//! `now()` in microseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

const KIND: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

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
        Ok(KIND)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), KIND, false)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.function.invoke_with_args(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, of: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = of.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(arguments));
        };
        let now = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), None);
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
    }
}
