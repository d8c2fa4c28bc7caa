//! One column's values as those of another type, where nothing is lost on the way.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use super::cast::{Cast, Unfit};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::validate::Failures;

/// A way from one type to another that tells which values it would change.
#[derive(Debug)]
pub struct Carry {
    cast: Cast,
    /// Whether each value must come back as it was: a number of fewer digits is another one.
    is_number: bool,
}

impl Carry {
    /// The way from the values of `field`, if there is one.
    pub fn new(field: &Field, to: &ColumnType) -> Option<Self> {
        let cast = Cast::plan(field, to)?;
        Some(Self { cast, is_number: field.data_type().is_numeric() && to.is_numeric() })
    }

    /// The values, null where one does not fit, and those that do not; `column` is what they are called in what is said of them.
    pub fn apply(&self, values: &ArrayRef, column: &str) -> Result<(ArrayRef, Failures)> {
        let mut failures = Failures::none(values.len());
        let carried = self.cast.apply(values, column, &mut failures);
        let carried = carried.map_err(|Unfit(problem)| Error::Internal(problem))?;
        if self.is_number && carried.data_type() != values.data_type() {
            let unfit = self.cast.note_unlike(values, &carried, column, &mut failures);
            unfit.map_err(|Unfit(problem)| Error::Internal(problem))?;
        }
        Ok((carried, failures))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Array, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::DataType;

    use super::*;

    fn carried(values: ArrayRef, to: &str) -> (usize, Vec<String>) {
        let field = Field::new("v", values.data_type().clone(), true);
        let (carried, failures) =
            Carry::new(&field, &to.parse().unwrap()).unwrap().apply(&values, "v").unwrap();
        let reasons = (0..values.len()).filter_map(|row| failures.get(row));
        (carried.null_count(), reasons.map(|failure| failure.reason.clone()).collect())
    }

    #[test]
    fn what_would_be_lost_is_told() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.0, 0.125, -3.0]));
        assert_eq!(carried(Arc::clone(&floats), "int64").1.len(), 2);
        let (_, unfit) = carried(Arc::clone(&floats), "decimal(12,2)");
        assert_eq!(unfit, ["\"v\": expected decimal(12,2), found \"0.125\""]);
        assert!(carried(Arc::clone(&floats), "decimal(12,3)").1.is_empty());
        assert!(carried(Arc::clone(&floats), "float32").1.is_empty());
        let tenth: ArrayRef = Arc::new(Float64Array::from(vec![0.1]));
        assert_eq!(carried(tenth, "float32").1.len(), 1);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(1 << 40)]));
        assert_eq!(carried(Arc::clone(&numbers), "int32").1.len(), 1);
        assert_eq!(carried(numbers, "text"), (1, vec![]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["7", "seven"]));
        assert_eq!(carried(texts, "int64").1.len(), 1);
    }

    #[test]
    fn there_may_be_no_way() {
        let field = Field::new("v", DataType::Float64, true);
        assert!(Carry::new(&field, &ColumnType::Text).is_none());
        assert!(Carry::new(&field, &ColumnType::Timestamp).is_none());
    }
}
