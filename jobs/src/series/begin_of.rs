//! The beginning of the interval of each row, for intervals of the calendar.

use std::sync::Arc;

use analysis::calendar::Grid;
use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    lit,
};

use super::microseconds;

/// The beginning of the interval that `at`, a timestamp in microseconds, lies in.
pub(crate) fn begin_of(grid: &Grid, at: Expr) -> Expr {
    let Some((anchor_us, width_us)) = grid.fixed_length() else {
        let signature = Signature::exact(vec![microseconds()], Volatility::Immutable);
        return ScalarUDF::new_from_impl(BeginOf { grid: grid.clone(), signature }).call(vec![at]);
    };
    // `date_bin` counts in nanoseconds, and fails after the year 2262.
    let (at, width) = (cast(at, DataType::Int64), lit(width_us));
    let after = (at.clone() - lit(anchor_us)) % width.clone();
    let begin = at - (after + width.clone()) % width;
    cast(begin, microseconds())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BeginOf {
    grid: Grid,
    signature: Signature,
}

impl ScalarUDFImpl for BeginOf {
    fn name(&self) -> &str {
        "begin_of_interval"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(microseconds())
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let times = arrays.first().and_then(|at| at.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times else {
            return exec_err!("begin_of_interval takes a timestamp in microseconds");
        };
        let mut begins = self.grid.begins();
        let begins: TimestampMicrosecondArray =
            times.iter().map(|at| at.map(|at| begins.of(at))).collect();
        Ok(ColumnarValue::Array(Arc::new(begins.with_timezone_opt(times.timezone()))))
    }
}
