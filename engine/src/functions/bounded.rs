//! Functions whose result can be as long as a number says, with a bound: what they make is no memory of the pool that queries share,
//! and a process that can not have it ends.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use crate::error::{Code, Error};

/// Bytes that one call may make, for all rows that it is given at a time.
pub(crate) const RESULT_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a character, at most.
const CHARACTER_BYTES: u64 = 4;

/// Bytes of what comes in the place of a pattern up to which the result is of the order of the text.
const REPLACEMENT_SHORT: usize = 64;

/// How long a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Length {
    /// The first argument as often as the second says.
    Times,
    /// As many characters as the second argument says.
    Characters,
    /// As many items as the second argument says.
    Items,
    /// The first argument, with the third in the place of each second in it.
    Replaced,
    /// The same, where the second is a pattern.
    ReplacedByPattern,
    /// The numbers from the first argument to the second, in steps of the third.
    Steps,
}

/// Those functions, under all their names.
const BOUNDED: &[(&str, Length)] = &[
    ("repeat", Length::Times),
    ("lpad", Length::Characters),
    ("rpad", Length::Characters),
    ("replace", Length::Replaced),
    ("regexp_replace", Length::ReplacedByPattern),
    ("array_repeat", Length::Times),
    ("array_resize", Length::Items),
    ("range", Length::Steps),
    ("generate_series", Length::Steps),
];

/// The bounded forms of those that `known` has.
pub(super) fn bounded(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let of = |&(name, length): &(&str, Length)| {
        known(name).map(|function| ScalarUDF::new_from_impl(Bounded { function, length }))
    };
    BOUNDED.iter().filter_map(of).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    function: Arc<ScalarUDF>,
    length: Length,
}

impl ScalarUDFImpl for Bounded {
    of_function!();

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&arguments)?;
        self.function.invoke_with_args(arguments)
    }
}

impl Bounded {
    /// Fails where the result would be longer than the bound.
    pub(super) fn check(&self, arguments: &ScalarFunctionArgs) -> Result<()> {
        let bytes = self.bytes(&arguments.args, arguments.number_rows)?;
        if bytes > RESULT_BYTES_MAX {
            let (name, most) = (self.name(), RESULT_BYTES_MAX >> 20);
            let says = format!(
                "{name}: expected a result of at most {most} MiB for some thousand rows, found one of {} MiB",
                bytes >> 20
            );
            return Err(DataFusionError::External(Box::new(Error::user(
                Code::LimitExceeded,
                says,
            ))));
        }
        Ok(())
    }

    /// Bytes of a text with `to` in the place of each `from`. How often a pattern is found is not looked up: where what comes in its
    /// place is long, it may be everywhere.
    fn replaced(&self, text: &str, from: &str, to: &str) -> u64 {
        let times = match self.length {
            Length::Replaced if to.len() > from.len() => text.matches(from).count(),
            Length::ReplacedByPattern if to.len() > REPLACEMENT_SHORT => text.len() + 1,
            _ => 0,
        };
        (text.len() as u64).saturating_add((times as u64).saturating_mul(to.len() as u64))
    }

    /// What the result takes, about.
    fn bytes(&self, arguments: &[ColumnarValue], rows: usize) -> Result<u64> {
        let is_scalar = arguments.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { rows };
        let columns = arguments.iter().map(|of| of.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let number = |at: usize| columns.get(at).and_then(numbers);
        let item = |at: usize| columns.get(at).map_or(0, item_bytes);
        let sum = |counts: Option<Int64Array>, each: u64| {
            counts.iter().flatten().flatten().fold(0_u64, |sum, count| {
                sum.saturating_add(u64::try_from(count).unwrap_or(0).saturating_mul(each))
            })
        };
        Ok(match self.length {
            Length::Times => sum(number(1), item(0)),
            Length::Characters => sum(number(1), CHARACTER_BYTES),
            Length::Replaced | Length::ReplacedByPattern => {
                let text = |at: usize| columns.get(at).map(|of| cast(of, &DataType::Utf8));
                let (Some(texts), Some(from), Some(to)) = (text(0), text(1), text(2)) else {
                    return Ok(0);
                };
                let (texts, from, to) = (texts?, from?, to?);
                let rows = (texts.as_string::<i32>().iter())
                    .zip(from.as_string::<i32>().iter().zip(to.as_string::<i32>()));
                let bytes = rows.map(|row| match row {
                    (Some(text), (Some(from), Some(to))) => self.replaced(text, from, to),
                    _ => 0,
                });
                bytes.fold(0_u64, u64::saturating_add)
            }
            Length::Items => sum(number(1), item(2).max(size_of::<i64>() as u64)),
            Length::Steps => {
                let (from, to) = match columns.len() {
                    // To a number, from 0 on.
                    1 => (None, number(0)),
                    _ => (number(0), number(1)),
                };
                let Some(to) = to else { return Ok(0) };
                let step = number(2);
                let at = |of: &Option<Int64Array>, row: usize, none: i64| {
                    of.as_ref()
                        .map_or(none, |of| if of.is_valid(row) { of.value(row) } else { none })
                };
                let steps = (0..to.len()).map(|row| {
                    let distance = to.value(row).abs_diff(at(&from, row, 0));
                    distance / at(&step, row, 1).unsigned_abs().max(1)
                });
                let steps = steps.fold(0_u64, u64::saturating_add);
                steps.saturating_mul(size_of::<i64>() as u64)
            }
        })
    }
}

/// A column as whole numbers; none where it has none.
fn numbers(column: &ArrayRef) -> Option<Int64Array> {
    let column = match column.data_type() {
        of if of.is_integer() || *of == DataType::Null => cast(column, &DataType::Int64).ok()?,
        _ => return None,
    };
    Some(column.as_primitive::<Int64Type>().clone())
}

/// Bytes of the longest value of a column, at least one.
fn item_bytes(column: &ArrayRef) -> u64 {
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let bytes = match column.data_type() {
        DataType::Utf8 => longest(&mut column.as_string::<i32>().iter().flatten().map(str::len)),
        DataType::LargeUtf8 => {
            longest(&mut column.as_string::<i64>().iter().flatten().map(str::len))
        }
        DataType::Utf8View => longest(&mut column.as_string_view().iter().flatten().map(str::len)),
        of => of
            .primitive_width()
            .unwrap_or_else(|| column.get_array_memory_size() / column.len().max(1)),
    };
    bytes.max(1) as u64
}
