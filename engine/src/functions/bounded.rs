//! Functions whose result can be longer than their arguments. Each has a bound, and its results count against the query's
//! memory.
//!
//! Arrow allocates results outside the shared memory pool, and a process that runs out of memory dies for every tenant. So each
//! such call first computes the most bytes that it can return (see `bounds`). If that exceeds the bound, the call is refused.
//! Otherwise long results are reserved in the pool before they are allocated, and stay reserved until the last owner of the
//! array drops it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::bounds::{Length, SCALAR};
use super::memory::Memory;
use crate::error::{Code, Error};

/// Bytes that one call may make, for all rows that it is given at a time.
pub(crate) const RESULT_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a character, at most.
const CHARACTER_BYTES: u64 = 4;
/// Most bytes of a number or an instant as text, including the overhead of a list item.
const NUMBER_BYTES: u64 = 40;

/// Longest replacement of a pattern, in bytes, that is not multiplied by the number of matches.
const REPLACEMENT_SHORT: usize = 64;

/// Bounded versions of the functions in `known` that can return more bytes than they are given.
pub(super) fn bounded(
    known: impl Fn(&str) -> Option<Arc<ScalarUDF>>,
    memory: &Memory,
) -> Vec<ScalarUDF> {
    let grows = |length: Length| !matches!(length, Length::Fixed | Length::Part);
    let of = |&(name, length): &(&str, Length)| {
        let function = known(name).filter(|_| grows(length))?;
        let memory = memory.clone();
        Some(ScalarUDF::new_from_impl(Bounded { function, length, memory }))
    };
    SCALAR.iter().filter_map(of).collect()
}

/// Whether a function already has a bound.
pub(super) fn is_bounded(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Bounded>().is_some()
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    function: Arc<ScalarUDF>,
    length: Length,
    memory: Memory,
}

impl ScalarUDFImpl for Bounded {
    of_function!();

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.check(&arguments)?;
        self.memory.holds(bytes, || self.function.invoke_with_args(arguments))
    }
}

/// Fails if a result of `bytes` exceeds the bound.
pub(super) fn require_bounded(name: &str, bytes: u64) -> Result<()> {
    if bytes <= RESULT_BYTES_MAX {
        return Ok(());
    }
    let says = format!(
        "{name}: expected a result of at most {} MiB for some thousand rows, found one of {} MiB",
        RESULT_BYTES_MAX >> 20,
        bytes >> 20
    );
    Err(DataFusionError::External(Box::new(Error::user(Code::LimitExceeded, says))))
}

impl Bounded {
    /// The most bytes of the result. Fails if they exceed the bound.
    pub(super) fn check(&self, arguments: &ScalarFunctionArgs) -> Result<u64> {
        let bytes = self.bytes(&arguments.args, arguments.number_rows)?;
        require_bounded(self.name(), bytes)?;
        Ok(bytes)
    }

    /// The pool that results are reserved in.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
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
        if let Length::Fixed | Length::Part | Length::Arguments(_) = self.length {
            let factor = if let Length::Arguments(factor) = self.length { factor } else { 1 };
            return Ok(argument_bytes(arguments, rows).saturating_mul(factor));
        }
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
            Length::Fixed | Length::Part | Length::Arguments(_) => 0,
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
            Length::Groups => {
                let groups = columns.get(1).map_or(0, |pattern| {
                    let pattern = cast(pattern, &DataType::Utf8).ok();
                    let groups = pattern.iter().flat_map(|of| of.as_string::<i32>().iter());
                    groups.flatten().map(|of| of.matches('(').count() as u64).max().unwrap_or(0)
                });
                argument_bytes(&arguments[..1], rows).saturating_mul(groups + 1)
            }
            Length::Separated => {
                let is_list = |of: &&ArrayRef| of.data_type().is_list();
                let items = columns.iter().filter(is_list).map(items).fold(0, u64::saturating_add);
                let items = items.max((columns.len() * rows) as u64);
                let others = columns.iter().filter(|of| !is_list(of));
                let longest = others.map(item_bytes).max().unwrap_or(0);
                argument_bytes(arguments, rows)
                    .saturating_add(items.saturating_mul(longest.saturating_add(NUMBER_BYTES)))
            }
            Length::Steps if columns.first().is_some_and(|of| of.data_type().is_temporal()) => {
                instants(&columns)?.saturating_mul(size_of::<i64>() as u64)
            }
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

/// Total bytes of all arguments. A constant counts once per row.
pub(super) fn argument_bytes(arguments: &[ColumnarValue], rows: usize) -> u64 {
    let is_scalar = arguments.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)));
    let rows = if is_scalar { 1 } else { rows as u64 };
    let bytes = arguments.iter().map(|of| match of {
        ColumnarValue::Scalar(value) => (value.size() as u64).saturating_mul(rows),
        ColumnarValue::Array(array) => slice_bytes(array.as_ref()) as u64,
    });
    bytes.fold(0, u64::saturating_add)
}

/// Bytes of an array's own values, without those of other slices of its buffers.
fn slice_bytes(array: &dyn Array) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// Number of items in all lists of a column.
fn items(column: &ArrayRef) -> u64 {
    let count = match column.data_type() {
        DataType::List(_) => {
            let offsets = column.as_list::<i32>().value_offsets();
            offsets.last().zip(offsets.first()).map(|(last, first)| i64::from(last - first))
        }
        DataType::LargeList(_) => {
            let offsets = column.as_list::<i64>().value_offsets();
            offsets.last().zip(offsets.first()).map(|(last, first)| last - first)
        }
        DataType::FixedSizeList(_, length) => {
            i64::try_from(column.len()).ok().and_then(|count| count.checked_mul(i64::from(*length)))
        }
        _ => None,
    };
    count.map_or(column.len() as u64, |count| u64::try_from(count).unwrap_or(0))
}

/// Number of instants from the first column to the second, in steps of the third.
fn instants(columns: &[ArrayRef]) -> Result<u64> {
    let micros = |column: &ArrayRef| -> Result<Int64Array> {
        let instants = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        Ok(cast(&instants, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    };
    let [from, to, steps, ..] = columns else { return Ok(0) };
    let (from, to) = (micros(from)?, micros(to)?);
    let steps = cast(steps, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
    let count = (0..from.len()).map(|row| {
        if from.is_null(row) || to.is_null(row) || steps.is_null(row) {
            return 0;
        }
        let step = steps.value(row);
        let days = i128::from(step.months) * 28 + i128::from(step.days);
        let step = days * 86_400_000_000 + i128::from(step.nanoseconds) / 1_000;
        let step = u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX).max(1);
        to.value(row).abs_diff(from.value(row)) / step
    });
    Ok(count.fold(0, u64::saturating_add))
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
