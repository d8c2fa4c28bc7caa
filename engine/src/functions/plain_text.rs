//! Functions that return views of text, with plain text as their result.
//!
//! Views can share one value, so operators must treat a column of views as if each row were as long
//! as the longest (see `row_width`). A result without shared values should not cost that.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

/// The functions whose result is a view whatever their argument is.
pub(super) const VIEWED: [&str; 1] = ["md5"];

/// A function whose result is plain text.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PlainText {
    function: Arc<ScalarUDF>,
}

impl PlainText {
    /// Wraps a function that returns views of text.
    pub(super) fn new(function: Arc<ScalarUDF>) -> Self {
        Self { function }
    }
}

impl ScalarUDFImpl for PlainText {
    named_as_function!();

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.function.return_field_from_args(arguments)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.function.invoke_with_args(arguments)?.cast_to(&DataType::Utf8, None)
    }
}
