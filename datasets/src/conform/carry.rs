//! One column's values as those of another type, where nothing is lost on the way.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};

use super::cast::{Cast, Unfit};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::validate::Failures;

/// A way from one type to another that tells which values it would change.
#[derive(Debug)]
pub struct Carry {
    cast: Cast,
    /// What each value must come back from as it was: a number of fewer digits is another one.
    back: Back,
    /// Whether values are texts that become numbers: one that no number is written as, such as 007, is a name.
    are_names: bool,
}

/// How it is seen whether a value is another one.
#[derive(Debug)]
enum Back {
    /// It is not: the way there tells.
    None,
    /// By its own type.
    Own,
    /// By a decimal with as many digits of the fraction as there can be.
    Wide(DataType),
}

impl Carry {
    /// The way from the values of `field`, if there is one.
    pub fn new(field: &Field, to: &ColumnType) -> Option<Self> {
        let cast = Cast::plan(field, to)?;
        let from = field.data_type();
        let back = match to {
            // Items are not held against each other one by one.
            _ if !to.is_scalar() && from.is_nested() && *from != to.arrow_type() => return None,
            _ if from.is_numeric() && to.is_numeric() => Back::Own,
            ColumnType::Decimal(digits, fraction) if !from.is_nested() => {
                let whole = digits - fraction;
                Back::Wide(DataType::Decimal128(38, (38 - whole).min(37) as i8))
            }
            _ => Back::None,
        };
        let texts = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
        let are_names = texts.contains(from) && to.is_numeric();
        Some(Self { cast, back, are_names })
    }

    /// The way where `to` is what a column of `field` is taken for: parts are found by their names.
    pub fn alike(field: &Field, to: &ColumnType) -> Option<Self> {
        Some(Self { cast: Cast::plan(field, to)?, back: Back::None, are_names: false })
    }

    /// The values, null where one does not fit, and those that do not; `column` is what they are called in what is said of them.
    pub fn apply(&self, values: &ArrayRef, column: &str) -> Result<(ArrayRef, Failures)> {
        let mut failures = Failures::none(values.len());
        let carried = self.cast.apply(values, column, &mut failures);
        let carried = carried.map_err(|Unfit(problem)| Error::Internal(problem))?;
        let unfit = match &self.back {
            Back::Own if carried.data_type() != values.data_type() => {
                self.cast.note_unlike(values, &carried, column, &mut failures)
            }
            Back::Wide(wide) => {
                self.cast.note_unlike_in(wide, values, &carried, column, &mut failures)
            }
            Back::None | Back::Own => Ok(()),
        };
        unfit.map_err(|Unfit(problem)| Error::Internal(problem))?;
        if self.are_names {
            let noted = self.cast.note_names(values, column, &mut failures);
            noted.map_err(|Unfit(problem)| Error::Internal(problem))?;
        }
        Ok((carried, failures))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Array, Float64Array, Int64Array, StringArray};

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
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["0.125", "0.25", "-7", "12.340"]));
        let (_, unfit) = carried(texts, "decimal(12,2)");
        assert_eq!(unfit, ["\"v\": expected decimal(12,2), found \"0.125\""]);
        let large: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1 << 53, (1 << 53) + 1]));
        assert_eq!(carried(large, "float64").1.len(), 2);
    }

    #[test]
    fn a_text_that_no_number_is_written_as_is_none() {
        for to in ["int32", "float64", "decimal(12,2)"] {
            let texts = ["01067", "+7", " 5", "5 ", "-007", "00", "7", "-7", "0"];
            let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            assert_eq!(carried(texts, to).1.len(), 6, "{to}");
        }
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["0.5", "1.50", "-0.25", "1e3"]));
        assert!(carried(texts, "float64").1.is_empty());
    }

    #[test]
    fn there_may_be_no_way() {
        let field = Field::new("v", DataType::Float64, true);
        assert!(Carry::new(&field, &ColumnType::Text).is_none());
        assert!(Carry::new(&field, &ColumnType::Timestamp).is_none());
        let floats = DataType::new_list(DataType::Float64, true);
        let field = Field::new("v", floats, true);
        assert!(Carry::new(&field, &"list(float32)".parse().unwrap()).is_none());
        assert!(Carry::new(&field, &"vector(3)".parse().unwrap()).is_none());
    }
}
