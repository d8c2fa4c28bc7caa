//! The text of one value, as Arrow's formatter has it by default.
//!
//! Whole numbers, decimals, days and instants are written here: the formatter goes through `core::fmt` and, for instants, through
//! chrono's, which is most of the time that it takes to write rows. All else, and what lies beyond the years 0 to 9999, is the
//! formatter's.

use std::cell::Cell;
use std::fmt;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTemporalType, ArrowTimestampType, DataType, Date32Type, Decimal128Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{Datelike as _, NaiveDate};

const OPTIONS: &FormatOptions<'static> = &FormatOptions::new();

const DAY_SECONDS: i64 = 86_400;
/// From the first day of year 1, which is 1, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_163;

type Push<'a> = Box<dyn Fn(usize, &mut String) -> Result<(), ArrowError> + 'a>;

/// Writes values of an array as texts.
pub struct Shown<'a>(Push<'a>);

impl<'a> Shown<'a> {
    /// Those of `array`. Fails for types that can not be shown.
    pub fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        let formatter = ArrayFormatter::try_new(array, OPTIONS)?;
        Ok(Self(match array.data_type() {
            DataType::Int8 => whole::<Int8Type>(array),
            DataType::Int16 => whole::<Int16Type>(array),
            DataType::Int32 => whole::<Int32Type>(array),
            DataType::Int64 => whole::<Int64Type>(array),
            DataType::UInt8 => whole::<UInt8Type>(array),
            DataType::UInt16 => whole::<UInt16Type>(array),
            DataType::UInt32 => whole::<UInt32Type>(array),
            DataType::UInt64 => whole::<UInt64Type>(array),
            DataType::Decimal128(_, scale) if *scale >= 0 => {
                let (values, scale) = (array.as_primitive::<Decimal128Type>(), *scale as usize);
                Box::new(move |row, out| {
                    push_decimal(values.value(row), scale, out);
                    Ok(())
                })
            }
            DataType::Date32 => {
                let (values, days) = (array.as_primitive::<Date32Type>(), Days::default());
                Box::new(move |row, out| match days.text(values.value(row).into()) {
                    Some(day) => push_ascii(&day, out),
                    None => formatted(&formatter, row, out),
                })
            }
            DataType::Duration(_) => duration(formatter),
            DataType::Timestamp(unit, zone) => {
                let end = match zone.as_deref() {
                    None => "",
                    Some("UTC" | "+00:00" | "Z") => "Z",
                    Some(_) => {
                        return Ok(Self(Box::new(move |row, out| formatted(&formatter, row, out))));
                    }
                };
                match unit {
                    TimeUnit::Second => instant::<TimestampSecondType>(array, 0, end, formatter),
                    TimeUnit::Millisecond => {
                        instant::<TimestampMillisecondType>(array, 3, end, formatter)
                    }
                    TimeUnit::Microsecond => {
                        instant::<TimestampMicrosecondType>(array, 6, end, formatter)
                    }
                    TimeUnit::Nanosecond => {
                        instant::<TimestampNanosecondType>(array, 9, end, formatter)
                    }
                }
            }
            _ => Box::new(move |row, out| formatted(&formatter, row, out)),
        }))
    }

    /// Appends the value of a row that is not null. Fails for an instant or a duration outside the
    /// range that can be formatted.
    pub fn push(&self, row: usize, out: &mut String) -> Result<(), ArrowError> {
        (self.0)(row, out)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

fn formatted(
    formatter: &ArrayFormatter<'_>,
    row: usize,
    out: &mut String,
) -> Result<(), ArrowError> {
    formatter.value(row).write(out)
}

/// The formatter writes a duration that is too long as this text.
const INVALID_DURATION: &str = "<invalid>";

fn duration<'a>(formatter: ArrayFormatter<'a>) -> Push<'a> {
    Box::new(move |row, out| {
        let begin = out.len();
        formatted(&formatter, row, out)?;
        match out[begin..] == *INVALID_DURATION {
            true => Err(ArrowError::CastError("the duration is too long".to_owned())),
            false => Ok(()),
        }
    })
}

fn whole<'a, T>(array: &'a dyn Array) -> Push<'a>
where
    T: ArrowPrimitiveType,
    T::Native: itoa::Integer,
{
    let values = array.as_primitive::<T>();
    Box::new(move |row, out| {
        out.push_str(itoa::Buffer::new().format(values.value(row)));
        Ok(())
    })
}

/// With all digits of its scale.
fn push_decimal(value: i128, scale: usize, out: &mut String) {
    let mut buffer = itoa::Buffer::new();
    let digits = match u64::try_from(value.unsigned_abs()) {
        Ok(digits) => buffer.format(digits),
        Err(_) => buffer.format(value.unsigned_abs()),
    };
    if value < 0 {
        out.push('-');
    }
    match digits.len().checked_sub(scale) {
        _ if scale == 0 => out.push_str(digits),
        None | Some(0) => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', scale - digits.len()));
            out.push_str(digits);
        }
        Some(point) => {
            let (before, behind) = digits.split_at(point);
            out.push_str(before);
            out.push('.');
            out.push_str(behind);
        }
    }
}

fn instant<'a, T: ArrowTimestampType + ArrowTemporalType>(
    array: &'a dyn Array,
    digits: usize,
    end: &'static str,
    formatter: ArrayFormatter<'a>,
) -> Push<'a> {
    let (values, days): (&PrimitiveArray<T>, _) = (array.as_primitive(), Days::default());
    let a_second = 10i64.pow(digits as u32);
    Box::new(move |row, out| {
        let value = values.value(row);
        let (seconds, fraction) = (value.div_euclid(a_second), value.rem_euclid(a_second));
        let (day, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        let Some(day) = days.text(day) else { return formatted(&formatter, row, out) };
        let mut text = *b"0000-00-00T00:00:00.000000000";
        text[..10].copy_from_slice(&day);
        put(&mut text[11..13], second / 3_600);
        put(&mut text[14..16], second / 60 % 60);
        put(&mut text[17..19], second % 60);
        put(&mut text[20..20 + digits], fraction);
        // As few groups of three digits as tell it.
        let groups = (0..digits / 3)
            .rev()
            .find(|group| fraction % 10i64.pow((digits - 3 * group) as u32) != 0);
        let length = groups.map_or(19, |group| 23 + 3 * group);
        push_ascii(&text[..length], out)?;
        out.push_str(end);
        Ok(())
    })
}

/// A number, with zeros before it.
fn put(digits: &mut [u8], mut value: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn push_ascii(text: &[u8], out: &mut String) -> Result<(), ArrowError> {
    out.push_str(str::from_utf8(text).map_err(|error| ArrowError::CastError(error.to_string()))?);
    Ok(())
}

/// Days as texts. Rows behind each other are often of the same.
#[derive(Default)]
struct Days(Cell<Option<(i64, [u8; 10])>>);

impl Days {
    /// That of a day since 1970, of the years 0 to 9999.
    fn text(&self, day: i64) -> Option<[u8; 10]> {
        if let Some((last, text)) = self.0.get()
            && last == day
        {
            return Some(text);
        }
        let from_ce = i32::try_from(day.checked_add(EPOCH_DAYS)?).ok()?;
        let date = NaiveDate::from_num_days_from_ce_opt(from_ce)?;
        let year = u16::try_from(date.year()).ok().filter(|year| *year < 10_000)?;
        let mut text = *b"0000-00-00";
        put(&mut text[..4], year.into());
        put(&mut text[5..7], date.month().into());
        put(&mut text[8..], date.day().into());
        self.0.set(Some((day, text)));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Date64Array, Decimal128Array, DurationSecondArray, Float64Array,
        Int8Array, Int64Array, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn texts_are_those_of_the_formatter() {
        let mut random = ChaCha8Rng::seed_from_u64(19);
        // Each size of number alike, and the edges.
        let mut numbers =
            vec![0, 1, -1, 999, 1_000, -1_000, 1_000_000, 86_399_999_999, i64::MIN, i64::MAX];
        // The first and the last day that is written here, and their neighbours, as seconds.
        for edge in [-62_167_219_200i64, -62_167_219_201, 253_402_300_799, 253_402_300_800, -86_400]
        {
            numbers.extend([
                edge,
                edge * 1_000,
                edge * 1_000_000,
                edge.saturating_mul(1_000_000_000),
            ]);
        }
        for _ in 0..20_000 {
            let number: i64 = random.random();
            numbers.push(number >> random.random_range(0..63));
        }
        let wide =
            numbers.iter().map(|number| i128::from(*number) * random.random_range(1..=1 << 58));
        let wide: Vec<i128> = wide.collect();
        let decimals = |scale| -> ArrayRef {
            let array = Decimal128Array::from(wide.clone());
            Arc::new(array.with_precision_and_scale(38, scale).unwrap())
        };
        let days = numbers.iter().map(|number| (*number >> 8) as i32 >> 7);
        let seconds = || TimestampSecondArray::from(numbers.clone());
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(numbers.clone())),
            Arc::new(Int8Array::from_iter_values(numbers.iter().map(|number| *number as i8))),
            Arc::new(UInt64Array::from_iter_values(numbers.iter().map(|number| *number as u64))),
            Arc::new(Float64Array::from_iter_values(
                numbers.iter().map(|number| f64::from_bits(*number as u64)),
            )),
            Arc::new(Date32Array::from_iter_values(days)),
            decimals(0),
            decimals(9),
            decimals(38),
            decimals(-2),
            Arc::new(seconds()),
            Arc::new(seconds().with_timezone("UTC")),
            Arc::new(TimestampMillisecondArray::from(numbers.clone()).with_timezone("+00:00")),
            Arc::new(TimestampMicrosecondArray::from(numbers.clone())),
            Arc::new(TimestampMicrosecondArray::from(numbers.clone()).with_timezone("+02:00")),
            Arc::new(TimestampNanosecondArray::from(numbers.clone()).with_timezone("UTC")),
        ];
        for array in &arrays {
            let (shown, formatter) =
                (Shown::new(array).unwrap(), ArrayFormatter::try_new(array, OPTIONS).unwrap());
            for row in 0..array.len() {
                let mut text = String::from("before ");
                let written = shown.push(row, &mut text).map_err(|error| error.to_string());
                let expected = formatter.value(row).try_to_string();
                let expected = expected.map_err(|error| error.to_string());
                let expected = expected.map(|value| format!("before {value}"));
                assert_eq!(written.map(|()| text), expected, "{} {row}", array.data_type());
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_formatted_is_an_error() {
        let arrays: [ArrayRef; 3] = [
            Arc::new(TimestampSecondArray::from(vec![i64::MAX])),
            Arc::new(Date64Array::from(vec![i64::MAX])),
            Arc::new(DurationSecondArray::from(vec![i64::MAX])),
        ];
        for array in &arrays {
            let shown = Shown::new(array).unwrap();
            assert!(shown.push(0, &mut String::new()).is_err(), "{}", array.data_type());
        }
    }
}
