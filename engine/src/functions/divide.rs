//! `safe_divide(a, b)`: a quotient as a float, NULL where there is nothing to divide by. It is what `/` means in the measures and
//! dimensions of a spec: a ratio of counts is no whole number, and a group without rows has none.

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Its name.
pub(crate) const SAFE_DIVIDE: &str = "safe_divide";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SafeDivide {
    signature: Signature,
}

impl Default for SafeDivide {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SafeDivide {
    fn name(&self) -> &str {
        SAFE_DIVIDE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, of: &[DataType]) -> Result<Vec<DataType>> {
        let is_number = |kind: &DataType| kind.is_numeric() || kind.is_null();
        match of {
            [a, b] if is_number(a) && is_number(b) => Ok(vec![DataType::Float64; 2]),
            [a, b] => plan_err!("{SAFE_DIVIDE}: expected two numbers, found {a} and {b}"),
            other => plan_err!("{SAFE_DIVIDE}: expected two numbers, found {} values", other.len()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let [over, under] = arrays.as_slice() else {
            return exec_err!("{SAFE_DIVIDE} takes two numbers");
        };
        let (Some(over), Some(under)) =
            (over.as_primitive_opt::<Float64Type>(), under.as_primitive_opt::<Float64Type>())
        else {
            return exec_err!("{SAFE_DIVIDE} takes two floats");
        };
        let quotients = over.iter().zip(under).map(|(over, under)| {
            let under = under.filter(|under| *under != 0.0)?;
            over.map(|over| over / under)
        });
        Ok(ColumnarValue::Array(Arc::new(quotients.collect::<Float64Array>())))
    }
}
