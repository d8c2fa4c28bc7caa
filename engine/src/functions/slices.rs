//! Calls of functions on a few rows at a time, so that a result is measured before more of it is allocated.
//!
//! A bound is often far above the size of the result: `replace`, for example, rarely replaces every
//! character. So a call with a high bound is split into slices of rows. Each slice reserves its
//! bound, and afterwards keeps only the bytes of its result reserved.

use std::cell::Cell;
use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::arguments::{beyond, stopped};
use super::memory::{Memory, RESERVED_BYTES_MIN};
use super::widths::{constant_bytes, total_bytes};
use crate::stop::current;

/// Most bytes of the result of one call, for the rows of one batch.
pub(crate) const RESULT_BYTES_MAX: u64 = 256 << 20;
/// A constant up to this length stays a constant.
const SHORT_BYTES: u64 = 256;
/// The bound above which a call is made in slices.
const SLICE_BYTES_MAX: u64 = 32 << 20;

tokio::task_local! {
    /// The constants that the planner computed for the current query.
    static CONSTANTS: Constants;
}

struct Constants {
    bytes: Cell<u64>,
    bytes_max: u64,
}

/// Plans a query. All constants that the planner computes take at most `bytes_max` bytes together.
pub(crate) async fn with_bounded_constants<F: Future>(bytes_max: u64, planning: F) -> F::Output {
    CONSTANTS.scope(Constants { bytes: Cell::new(0), bytes_max }, planning).await
}

/// Adds to the constants of the query that is planned, if one is. If a call fails, the planner
/// keeps it, and it runs with the query.
fn add_constant(name: &str, bytes: u64) -> Result<()> {
    let is_within = CONSTANTS.try_with(|constants| {
        constants.bytes.set(constants.bytes.get().saturating_add(bytes));
        constants.bytes.get() <= constants.bytes_max
    });
    match is_within {
        Ok(false) => Err(beyond(format!("{name}: the constants of the query take too many bytes"))),
        _ => Ok(()),
    }
}

/// Fails if a result of `bytes` exceeds the bound.
pub(super) fn require_bounded(name: &str, bytes: u64) -> Result<()> {
    if bytes <= RESULT_BYTES_MAX {
        return Ok(());
    }
    Err(beyond(format!(
        "{name}: expected a result of at most {} MiB for some thousand rows, found one of {} MiB",
        RESULT_BYTES_MAX >> 20,
        bytes >> 20
    )))
}

pub(super) fn is_constant(arguments: &ScalarFunctionArgs) -> bool {
    arguments.args.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)))
}

/// The arguments of `count` rows from `first` on.
pub(super) fn slice(
    arguments: &ScalarFunctionArgs,
    first: usize,
    count: usize,
) -> ScalarFunctionArgs {
    let some = |of: &ColumnarValue| match of {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(first, count)),
        scalar @ ColumnarValue::Scalar(_) => scalar.clone(),
    };
    ScalarFunctionArgs {
        args: arguments.args.iter().map(some).collect(),
        arg_fields: arguments.arg_fields.clone(),
        number_rows: count,
        return_field: arguments.return_field.clone(),
        config_options: arguments.config_options.clone(),
    }
}

/// The most bytes of the result for each row. A constant has one bound.
pub(super) struct Bound {
    pub(super) bytes: Vec<u64>,
    /// Whether a result is about as long as its bound.
    pub(super) is_exact: bool,
}

impl Bound {
    /// The bound of a call, where `bytes` returns the bound of a row.
    pub(super) fn of(
        arguments: &ScalarFunctionArgs,
        is_exact: bool,
        bytes: impl Fn(usize) -> u64,
    ) -> Self {
        let rows = if is_constant(arguments) { 1 } else { arguments.number_rows };
        Self { bytes: (0..rows).map(bytes).collect(), is_exact }
    }
}

/// Splits rows of these sizes into ranges of at most `max_bytes` bytes and at most `max_rows` rows.
/// A row with more than `max_bytes` gets its own range.
pub(crate) fn row_ranges(bytes: &[u64], max_bytes: u64, max_rows: usize) -> Vec<Range<usize>> {
    let (mut ranges, mut first, mut sum) = (Vec::new(), 0, 0_u64);
    for (row, bytes) in bytes.iter().enumerate() {
        let more = sum.saturating_add(*bytes);
        let is_full = row > first && (more > max_bytes || row - first >= max_rows);
        if is_full {
            ranges.push(first..row);
            first = row;
        }
        sum = if is_full { *bytes } else { more };
    }
    if first < bytes.len() {
        ranges.push(first..bytes.len());
    }
    ranges
}

/// The results of a call that is split into slices of rows.
#[derive(Default)]
pub(super) struct Slices {
    arrays: Vec<ArrayRef>,
    bytes: u64,
}

impl Slices {
    /// Adds the result for the next `rows` rows. Fails if all results together exceed the limit.
    pub(super) fn push(&mut self, name: &str, result: ColumnarValue, rows: usize) -> Result<()> {
        let array = result.into_array(rows)?;
        self.bytes = self.bytes.saturating_add(total_bytes(array.as_ref()));
        require_bounded(name, self.bytes)?;
        self.arrays.push(array);
        Ok(())
    }

    /// The result for all rows.
    pub(super) fn concat(self, memory: &Memory) -> Result<ColumnarValue> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        memory.holds(self.bytes, || Ok(ColumnarValue::Array(concat(&arrays)?)))
    }
}

/// Calls a function with a bound on its result.
pub(super) fn call_bounded(
    name: &str,
    memory: &Memory,
    bound: &Bound,
    arguments: ScalarFunctionArgs,
    call: impl Fn(ScalarFunctionArgs) -> Result<ColumnarValue>,
) -> Result<ColumnarValue> {
    #[cfg(test)]
    let call = |arguments| tests::within_bound(name, bound, call(arguments));
    let (rows, bounds) = (arguments.number_rows, bound.bytes.as_slice());
    if is_constant(&arguments) {
        let max_bytes = bounds.first().copied().unwrap_or(0);
        require_bounded(name, max_bytes)?;
        // The planner computes constants one after the other.
        if current().is_some_and(|task| task.is_cancelled()) {
            return Err(stopped(name));
        }
        return spread(name, memory, memory.holds(max_bytes, || call(arguments))?, rows);
    }
    let max_bytes = bounds.iter().copied().fold(0, u64::saturating_add);
    if max_bytes <= SLICE_BYTES_MAX {
        return memory.holds(max_bytes, || call(arguments));
    }
    if bound.is_exact {
        require_bounded(name, max_bytes)?;
    }
    let mut slices = Slices::default();
    for range in row_ranges(bounds, SLICE_BYTES_MAX, usize::MAX) {
        let max_bytes = bounds[range.clone()].iter().copied().fold(0, u64::saturating_add);
        require_bounded(name, max_bytes)?;
        let result =
            memory.holds(max_bytes, || call(slice(&arguments, range.start, range.len())))?;
        slices.push(name, result, range.len())?;
    }
    slices.concat(memory)
}

/// A constant for `rows` rows. A long one becomes an array that counts against the memory of its query: operators and functions
/// repeat a constant for each row.
pub(super) fn spread(
    name: &str,
    memory: &Memory,
    value: ColumnarValue,
    rows: usize,
) -> Result<ColumnarValue> {
    let ColumnarValue::Scalar(scalar) = &value else { return Ok(value) };
    let bytes = (scalar.size() as u64).saturating_mul(rows as u64);
    if rows <= 1 && bytes > SHORT_BYTES {
        add_constant(name, bytes)?;
    }
    // Some functions only take constants, and those are short.
    if bytes < RESERVED_BYTES_MIN || constant_bytes(scalar) <= SHORT_BYTES {
        return Ok(value);
    }
    require_bounded(name, bytes)?;
    let array = || value.to_array(rows).map(ColumnarValue::Array);
    memory.holds(bytes, array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_range_starts_when_a_limit_is_reached() {
        assert!(row_ranges(&[], 10, 3).is_empty());
        assert_eq!(row_ranges(&[4, 6, 1, 30, 0, 10], 10, 9), [0..2, 2..3, 3..4, 4..6]);
        assert_eq!(row_ranges(&[u64::MAX, u64::MAX], 10, 9), [0..1, 1..2]);
        assert_eq!(row_ranges(&[1; 5], 10, 2), [0..2, 2..4, 4..5]);
    }

    /// Fails if a function made more than its bound says, wherever a test calls it.
    pub(super) fn within_bound(
        name: &str,
        bound: &Bound,
        made: Result<ColumnarValue>,
    ) -> Result<ColumnarValue> {
        let made = made?;
        let bytes = match &made {
            ColumnarValue::Array(array) => total_bytes(array.as_ref()),
            ColumnarValue::Scalar(value) => total_bytes(value.to_array()?.as_ref()),
        };
        let most = bound.bytes.iter().copied().fold(0, u64::saturating_add);
        // A number may be of a longer type than the argument is.
        let rows = bound.bytes.len() as u64;
        assert!(bytes <= most + 16 * rows, "{name}: made {bytes} bytes, its bound is {most}");
        Ok(made)
    }
}
