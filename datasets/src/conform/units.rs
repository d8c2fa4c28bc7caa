//! Lengths of time of a source as whole numbers in the units that columns and fields state.
//!
//! A file counts in nanoseconds what a dataset keeps in milliseconds: a number that is not multiplied or divided on its way is
//! another length. One that is no whole number of the unit fits no more than a fraction fits an integer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;

use super::leaves::{Leaves, has_leaf, walk};
use crate::column_type::ColumnType;

/// What a source's lengths of time are counted in, as a unit of a column.
pub(crate) fn name_of(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// Whether there are lengths of time among the values, or among their parts.
pub(super) fn has_lengths(data_type: &DataType) -> bool {
    has_leaf(data_type, &is_length)
}

fn is_length(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_))
}

/// The values with numbers where lengths of time are, and whether each of them fits; one that does not is null.
pub(super) struct InUnits {
    pub(super) values: ArrayRef,
    pub(super) all_fit: bool,
}

/// `array`, on its way to `target`, in `unit` or, of a structure, in the units of its fields. Where none is stated that is a
/// length of time, numbers stay as they are.
pub(super) fn in_units(
    array: &ArrayRef,
    target: &ColumnType,
    unit: Option<&str>,
) -> Result<InUnits, ArrowError> {
    let mut units = Units { all_fit: true };
    let values = walk(array, target, unit, None, &mut units)?;
    Ok(InUnits { values, all_fit: units.all_fit })
}

struct Units {
    all_fit: bool,
}

impl Leaves for Units {
    fn is_one(data_type: &DataType) -> bool {
        is_length(data_type)
    }

    fn turn(
        &mut self,
        array: &ArrayRef,
        _: &ColumnType,
        unit: Option<&str>,
        shown: Option<&NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let DataType::Duration(from) = array.data_type() else { return Ok(Arc::clone(array)) };
        let numbers = cast(array, &DataType::Int64)?;
        let from = nanoseconds(name_of(*from));
        let factor = from.zip(unit.and_then(nanoseconds)).filter(|(from, to)| from != to);
        let Some((from, to)) = factor else { return Ok(numbers) };
        let of = |value: i64| {
            let exact = i128::from(value) * from;
            i64::try_from(exact / to).ok().filter(|_| exact % to == 0)
        };
        let numbers = numbers.as_primitive::<Int64Type>();
        let turned: Int64Array = numbers.iter().map(|value| value.and_then(of)).collect();
        self.all_fit &= (0..turned.len()).all(|row| {
            let is_shown = shown.is_none_or(|shown| shown.is_valid(row));
            !is_shown || turned.is_null(row) == numbers.is_null(row)
        });
        Ok(Arc::new(turned))
    }
}
