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
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::bounds::{Length, SCALAR};
use super::memory::Memory;
use super::sizes::{Counts, NUMBER_BYTES, Sizes, Texts};
use super::slices::{Bound, call_bounded, is_constant};
use super::widths::null_bytes;

/// Bytes of a character, at most.
const CHARACTER_BYTES: u64 = 4;
/// Bytes of the place of an item that a function copies.
const INDEX_BYTES: u64 = 8;

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

/// The bounded version of a function, before it belongs to a session. Its results count against no memory yet.
pub(super) fn unbound(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let known = SCALAR.iter().find(|(name, _)| *name == function.name());
    let length = known.map_or(Length::Arguments(1), |(_, length)| *length);
    Arc::new(ScalarUDF::new_from_impl(Bounded { function, length, memory: Memory::default() }))
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
        let rows = if is_constant(&arguments) { 1 } else { arguments.number_rows };
        let bytes = self.bounds(&arguments.args, rows)?;
        let is_exact = matches!(
            self.length,
            Length::Times | Length::Copies | Length::Items | Length::Steps | Length::Arguments(1)
        );
        let call = |arguments| self.function.invoke_with_args(arguments);
        call_bounded(self.name(), &self.memory, &Bound { bytes, is_exact }, arguments, call)
    }
}

impl Bounded {
    /// The same function, whose results count against `memory`.
    pub(super) fn within(&self, memory: &Memory) -> Self {
        let function = Arc::clone(&self.function);
        Self { function, length: self.length, memory: memory.clone() }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The most bytes of the result in each row.
    fn bounds(&self, arguments: &[ColumnarValue], rows: usize) -> Result<Vec<u64>> {
        let sizes: Vec<Sizes> = arguments.iter().map(Sizes::bytes).collect();
        let size = |at: usize, row: usize| sizes.get(at).map_or(0, |sizes| sizes.at(row));
        let all =
            |row: usize| sizes.iter().map(|sizes| sizes.at(row)).fold(0_u64, u64::saturating_add);
        let values = || arguments.iter().map(Sizes::values).collect::<Result<Vec<_>>>();
        let each = |bound: &dyn Fn(usize) -> u64| Ok((0..rows).map(bound).collect());
        match self.length {
            Length::Fixed | Length::Part => each(&all),
            Length::Arguments(factor) => each(&|row| all(row).saturating_mul(factor)),
            Length::Times => {
                let times = Counts::of(arguments.get(1))?;
                each(&|row| times.at(row).saturating_mul(size(0, row)))
            }
            Length::Copies => {
                let (times, values) = (Counts::of(arguments.get(1))?, values()?);
                each(&|row| {
                    let places = values.first().map_or(0, |values| values.at(row) + 1);
                    let copy = size(0, row).saturating_add(places.saturating_mul(INDEX_BYTES));
                    times.at(row).saturating_mul(copy)
                })
            }
            Length::Characters => {
                let characters = Counts::of(arguments.get(1))?;
                each(&|row| characters.at(row).saturating_mul(CHARACTER_BYTES))
            }
            Length::Items => {
                let items = Counts::of(arguments.get(1))?;
                let null = arguments.first().map_or(0, |of| item_bytes(&of.data_type()));
                each(&|row| {
                    let item = size(2, row).max(null).saturating_add(INDEX_BYTES);
                    items.at(row).saturating_mul(item).saturating_add(size(0, row))
                })
            }
            Length::Replaced | Length::ReplacedByPattern => {
                let [of, from, to, flags @ ..] = arguments else { return each(&all) };
                let (of, from, to) = (Texts::of(of), Texts::of(from), Texts::of(to));
                let flags = flags.first().map(Texts::of);
                each(&|row| match (of.get(row), from.get(row), to.get(row)) {
                    (Some(text), Some(from), Some(to)) if self.length == Length::Replaced => {
                        replaced(text, from, to)
                    }
                    (Some(text), _, Some(to)) => {
                        let flags = flags.as_ref().and_then(|flags| flags.get(row)).unwrap_or("");
                        replaced_by_pattern(text, to, flags.contains('g'))
                    }
                    _ => 0,
                })
            }
            Length::Groups => {
                let [_, pattern, ..] = arguments else { return each(&all) };
                let patterns = Texts::of(pattern);
                each(&|row| {
                    let groups = patterns.get(row).map_or(0, |of| of.matches('(').count() as u64);
                    size(0, row).saturating_mul(groups + 1)
                })
            }
            Length::Joined => {
                let values = values()?;
                each(&|row| {
                    let texts = values.iter().skip(1).map(|values| values.at(row));
                    let between = size(0, row).saturating_add(NUMBER_BYTES);
                    let texts = texts.fold(0, u64::saturating_add);
                    all(row).saturating_add(texts.saturating_mul(between))
                })
            }
            Length::Separated => {
                let values = values()?;
                each(&|row| {
                    let items = values.first().map_or(0, |values| values.at(row));
                    let others = size(1, row).saturating_add(size(2, row));
                    let item = others.saturating_add(NUMBER_BYTES);
                    size(0, row).saturating_add(items.saturating_mul(item))
                })
            }
            Length::ItemsReplaced => {
                let values = values()?;
                each(&|row| {
                    let items = values.first().map_or(0, |values| values.at(row));
                    let places = values.get(2).map_or(0, |values| values.at(row) + 1);
                    let item = size(2, row).saturating_add(places.saturating_mul(INDEX_BYTES));
                    size(0, row).saturating_add(items.saturating_mul(item))
                })
            }
            Length::Zipped => {
                let values = values()?;
                let nulls = arguments.iter().map(|of| item_bytes(&of.data_type()) + INDEX_BYTES);
                let nulls = nulls.fold(0, u64::saturating_add);
                each(&|row| {
                    let longest = values.iter().map(|values| values.at(row)).max().unwrap_or(0);
                    all(row).saturating_add(longest.saturating_mul(nulls))
                })
            }
            Length::Steps => steps(arguments, rows),
        }
    }
}

/// Bytes of a null in a list of this type.
fn item_bytes(list: &DataType) -> u64 {
    match list {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => null_bytes(item.data_type()),
        other => null_bytes(other),
    }
}

/// Bytes of a text in which `to` replaces each `from`.
fn replaced(text: &str, from: &str, to: &str) -> u64 {
    let times = if to.len() > from.len() { text.matches(from).count() } else { 0 };
    (text.len() as u64).saturating_add((times as u64).saturating_mul(to.len() as u64))
}

/// Most bytes of a text in which `to` replaces what a pattern matches. Each reference of `to` to a group repeats a part of the text,
/// and the parts of all matches together are at most the text.
fn replaced_by_pattern(text: &str, to: &str, everywhere: bool) -> u64 {
    let length = text.len() as u64;
    let times = if everywhere { length + 1 } else { 1 };
    let groups = to.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count() as u64;
    let copied = length.saturating_mul(groups + 1);
    copied.saturating_add(times.saturating_mul(to.len() as u64))
}

/// Bytes of the numbers or instants of each row.
fn steps(arguments: &[ColumnarValue], rows: usize) -> Result<Vec<u64>> {
    let bytes = |count: u64| count.saturating_mul(size_of::<i64>() as u64);
    if arguments.first().is_some_and(|of| of.data_type().is_temporal()) {
        let columns: Vec<_> =
            arguments.iter().map(|of| of.to_array(rows)).collect::<Result<_>>()?;
        return Ok(instants(&columns)?.into_iter().map(bytes).collect());
    }
    let (from, to) = match arguments {
        // From 0 to a number.
        [to] => (None, Some(to)),
        _ => (arguments.first(), arguments.get(1)),
    };
    let (from, to, step) = (Counts::of(from)?, Counts::of(to)?, Counts::of(arguments.get(2))?);
    let count = |row: usize| {
        let distance = to.get(row)?.abs_diff(from.get(row).unwrap_or(0));
        Some(distance / step.get(row).unwrap_or(1).unsigned_abs().max(1))
    };
    Ok((0..rows).map(|row| bytes(count(row).unwrap_or(0))).collect())
}

/// The number of instants in each row from the first column to the second, in steps of the third.
fn instants(columns: &[ArrayRef]) -> Result<Vec<u64>> {
    let micros = |column: &ArrayRef| -> Result<Int64Array> {
        let instants = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        Ok(cast(&instants, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    };
    let [from, to, steps, ..] = columns else { return Ok(Vec::new()) };
    let (from, to) = (micros(from)?, micros(to)?);
    let steps = cast(steps, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
    let count = |row: usize| {
        if from.is_null(row) || to.is_null(row) || steps.is_null(row) {
            return 0;
        }
        let step = steps.value(row);
        let days = i128::from(step.months) * 28 + i128::from(step.days);
        let step = days * 86_400_000_000 + i128::from(step.nanoseconds) / 1_000;
        let step = u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX).max(1);
        to.value(row).abs_diff(from.value(row)) / step
    };
    Ok((0..from.len()).map(count).collect())
}
