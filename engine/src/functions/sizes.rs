//! Arguments of a call as its bound reads them, row by row.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

use super::widths::{constant_bytes, row_bytes, row_values};

/// Most bytes of a number or a timestamp as text, including the overhead of a list item.
pub(super) const NUMBER_BYTES: u64 = 40;

/// A number for each row.
pub(super) enum Sizes {
    /// The same for all rows.
    Same(u64),
    Each(Vec<u64>),
}

impl Sizes {
    /// Bytes of each value.
    pub(super) fn bytes(of: &ColumnarValue) -> Self {
        match of {
            ColumnarValue::Scalar(value) => Self::Same(constant_bytes(value)),
            ColumnarValue::Array(array) => Self::Each(row_bytes(array.as_ref())),
        }
    }

    /// The number of values in each row, including all nested values.
    pub(super) fn values(of: &ColumnarValue) -> Result<Self> {
        Ok(match of {
            ColumnarValue::Scalar(value) if !value.data_type().is_nested() => Self::Same(1),
            ColumnarValue::Scalar(value) => {
                Self::Same(row_values(value.to_array()?.as_ref()).first().copied().unwrap_or(0))
            }
            ColumnarValue::Array(array) => Self::Each(row_values(array.as_ref())),
        })
    }

    pub(super) fn at(&self, row: usize) -> u64 {
        match self {
            Self::Same(size) => *size,
            Self::Each(sizes) => sizes.get(row).copied().unwrap_or(0),
        }
    }
}

/// Whole numbers, one for each row.
pub(super) struct Counts(Option<Int64Array>);

impl Counts {
    /// None of them are known where the argument has no whole numbers.
    pub(super) fn of(of: Option<&ColumnarValue>) -> Result<Self> {
        let Some(of) = of else { return Ok(Self(None)) };
        let array: ArrayRef = of.to_array(1)?;
        let kind = array.data_type();
        if !kind.is_integer() && *kind != DataType::Null {
            return Ok(Self(None));
        }
        Ok(Self(Some(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())))
    }

    /// The number in `row`; none where it is null.
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        let counts = self.0.as_ref()?;
        let row = if counts.len() == 1 { 0 } else { row };
        (row < counts.len() && counts.is_valid(row)).then(|| counts.value(row))
    }

    /// The number in `row`, or 0 where it is null or negative.
    pub(super) fn at(&self, row: usize) -> u64 {
        self.get(row).and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
    }
}

/// Texts, one for each row.
pub(super) struct Texts<'a>(&'a ColumnarValue);

impl<'a> Texts<'a> {
    pub(super) fn of(of: &'a ColumnarValue) -> Self {
        Self(of)
    }

    /// The text in `row`; none where it is null or no text.
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        let array = match self.0 {
            ColumnarValue::Scalar(value) => return value.try_as_str().flatten(),
            ColumnarValue::Array(array) => array,
        };
        if row >= array.len() || array.is_null(row) {
            return None;
        }
        match array.data_type() {
            DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(array.as_string_view().value(row)),
            _ => None,
        }
    }
}
