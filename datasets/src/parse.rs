//! Text to values, by one set of rules for CSV fields, JSON strings and text columns of binary files,
//! so that a row means the same whatever format it came in. Nothing is guessed: a text either is a
//! value of the type or is an error that says what was expected.

use std::borrow::Cow;

use arrow::array::ArrayRef;

use crate::column_type::ColumnType;
use crate::columns::ColumnBuilder;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
pub(crate) const BYTES_SHOWN: usize = 60;

/// A single value on its way into a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot<'a> {
    /// Absent.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer, a day count (dates) or microseconds (timestamps).
    Int(i64),
    /// A float.
    Float(f64),
    /// An unscaled decimal at the column's scale.
    Decimal(i128),
    /// Text or a JSON document.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Slot<'a>>),
    /// A value for each field of a structure.
    Struct(Vec<Slot<'a>>),
    /// Values by their keys.
    Map(Vec<(Cow<'a, str>, Slot<'a>)>),
}

/// Reads `text` as a value of `data_type`; the error says what was expected and found.
pub fn text_slot<'a>(data_type: &ColumnType, text: &'a str) -> Result<Slot<'a>, String> {
    let wrong = |expected: &str| Err(format!("expected {expected}, found {}", quoted(text)));
    match data_type {
        _ if data_type.is_numeric() && has_leading_zero(text.trim()) => {
            wrong(&format!("{data_type} without a leading zero"))
        }
        ColumnType::Text => Ok(Slot::Text(Cow::Borrowed(text))),
        ColumnType::Json => match crate::read::json::check_document(text.as_bytes()) {
            Ok(()) => Ok(Slot::Text(Cow::Borrowed(text))),
            Err(e) => Err(format!("expected a JSON document, found {}: {e}", quoted(text))),
        },
        ColumnType::Bool => {
            bool(text.trim()).map(Slot::Bool).map_or_else(|| wrong("true or false"), Ok)
        }
        ColumnType::Int32 => match integer(text.trim()) {
            Some(v) if i32::try_from(v).is_ok() => Ok(Slot::Int(v)),
            _ => wrong("int32"),
        },
        ColumnType::Int64 => integer(text.trim()).map(Slot::Int).map_or_else(|| wrong("int64"), Ok),
        ColumnType::Float32 | ColumnType::Float64 => match text.trim().parse() {
            Ok(value) if is_held(data_type, value, text) => Ok(Slot::Float(value)),
            Ok(_) => wrong(&format!("a number within the range of {data_type}")),
            Err(_) => wrong("a number"),
        },
        ColumnType::Timestamp => timestamp_us(text.trim())
            .map(Slot::Int)
            .map_or_else(|| wrong("a timestamp (RFC 3339, or YYYY-MM-DD hh:mm:ss)"), Ok),
        ColumnType::Date => date_days(text.trim())
            .map(|d| Slot::Int(d.into()))
            .map_or_else(|| wrong("a date (YYYY-MM-DD)"), Ok),
        ColumnType::Decimal(precision, scale) => decimal(text.trim(), *precision, *scale)
            .map(Slot::Decimal)
            .map_or_else(|| wrong(&format!("{data_type}")), Ok),
        ColumnType::Bytes => {
            base64_bytes(text.trim()).map(Slot::Bytes).map_or_else(|| wrong("bytes as base64"), Ok)
        }
        ColumnType::List(_)
        | ColumnType::Vector(_)
        | ColumnType::Struct(_)
        | ColumnType::Map(_) => crate::read::document_slot(data_type, text),
    }
}

/// Whether a float column can hold `value`, which was parsed from `text`. Digits beyond the range of the type parse as
/// infinity, which is a different value. The words `inf` and `nan` are accepted.
fn is_held(data_type: &ColumnType, value: f64, text: &str) -> bool {
    let is_finite = match data_type {
        ColumnType::Float32 => (value as f32).is_finite(),
        _ => value.is_finite(),
    };
    is_finite || !text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether digits begin with a zero, as in `007` and `-01.5`. The zero is part of a code, and a number would lose it.
pub(crate) fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

/// The value that a JSON document says of a column of type `data_type`, as an array of one; the error says what was expected and found.
pub fn value_of_document(data_type: &ColumnType, text: &str) -> Result<ArrayRef, String> {
    let slot = crate::read::document_slot(data_type, text)?;
    let mut builder = ColumnBuilder::new(data_type).map_err(|e| e.to_string())?;
    builder.push(&slot).and_then(|()| builder.finish()).map_err(|e| e.to_string())
}

/// `true`/`false`, `t`/`f`, `yes`/`no`, `1`/`0`, in any case.
pub fn bool(text: &str) -> Option<bool> {
    const TRUE: [&str; 4] = ["true", "1", "t", "yes"];
    const FALSE: [&str; 4] = ["false", "0", "f", "no"];
    if TRUE.iter().any(|t| text.eq_ignore_ascii_case(t)) {
        Some(true)
    } else if FALSE.iter().any(|t| text.eq_ignore_ascii_case(t)) {
        Some(false)
    } else {
        None
    }
}

/// A 64-bit integer, exact; `5.0` and `1e3` are integers, `5.5` is not.
pub fn integer(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse::<i64>() {
        return Some(value);
    }
    let parts = DecimalParts::parse(text)?;
    let value = parts.unscaled(0)?;
    (!value.is_cut).then_some(())?;
    i64::try_from(value.unscaled).ok()
}

/// A decimal as its unscaled integer at `scale`. A value with digits beyond the scale that are not zero is none, and neither is one of
/// more than `precision` digits.
pub fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let value = DecimalParts::parse(text)?.unscaled(scale)?;
    let limit = 10_i128.checked_pow(precision.into())?;
    (!value.is_cut && value.unscaled.abs() < limit).then_some(value.unscaled)
}

/// A number as text, taken apart without losing a digit.
struct DecimalParts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

struct Unscaled {
    unscaled: i128,
    /// Whether digits were cut off.
    is_cut: bool,
}

impl<'a> DecimalParts<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
            None => (rest, 0),
            Some(at) => {
                let digits = std::str::from_utf8(&rest[at + 1..]).ok()?;
                (&rest[..at], digits.parse::<i32>().ok()?.into())
            }
        };
        let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
            None => (mantissa, &[][..]),
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        };
        let digits = || whole.iter().chain(fraction);
        (digits().next().is_some() && digits().all(u8::is_ascii_digit)).then_some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    fn unscaled(&self, scale: u8) -> Option<Unscaled> {
        // Digits that stand before the last kept place.
        let kept = self.whole.len() as i64 + self.exponent + i64::from(scale);
        let mut value: i128 = 0;
        let mut is_cut = false;
        let count = (self.whole.len() + self.fraction.len()) as i64;
        for (at, digit) in self.whole.iter().chain(self.fraction).enumerate() {
            let digit = i128::from(digit - b'0');
            if (at as i64) < kept {
                value = value.checked_mul(10)?.checked_add(digit)?;
            } else if digit != 0 {
                is_cut = true;
            }
        }
        if value != 0 {
            for _ in count..kept {
                value = value.checked_mul(10)?;
            }
        }
        Some(Unscaled { unscaled: if self.negative { -value } else { value }, is_cut })
    }
}

/// A calendar day as days since 1970-01-01, from `YYYY-MM-DD`.
pub fn date_days(text: &str) -> Option<i32> {
    let b = text.as_bytes();
    if b.len() != 10 {
        return None;
    }
    date_prefix(b)
}

/// An instant as microseconds since 1970-01-01 UTC.
///
/// RFC 3339 with any offset, `YYYY-MM-DD hh:mm[:ss[.fraction]]` (UTC when no offset is given), or a
/// bare day (its midnight), in the years 1 to 9999. Fractions finer than a microsecond are cut off.
pub fn timestamp_us(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let days = i64::from(date_prefix(b)?);
    let midnight_us = days * SECONDS_PER_DAY * MICROS_PER_SECOND;
    if b.len() == 10 {
        return Some(midnight_us);
    }
    if !matches!(b[10], b'T' | b't' | b' ') || b.len() < 16 || b[13] != b':' {
        return None;
    }
    let hour = two_digits(b, 11)?;
    let minute = two_digits(b, 14)?;
    let mut at = 16;
    let mut second = 0;
    let mut micros = 0;
    if b.get(at) == Some(&b':') {
        second = two_digits(b, 17)?;
        at = 19;
        if matches!(b.get(at), Some(b'.' | b',')) {
            let digits = b[at + 1..].iter().take_while(|d| d.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            for place in 0..6 {
                let digit = if place < digits { b[at + 1 + place] - b'0' } else { 0 };
                micros = micros * 10 + i64::from(digit);
            }
            at += 1 + digits;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset_s = offset_seconds(&b[at..])?;
    let seconds = hour * 3_600 + minute * 60 + second - offset_s;
    let instant_us = midnight_us + seconds * MICROS_PER_SECOND + micros;
    is_in_years(instant_us).then_some(instant_us)
}

/// Whether the text of a timestamp states its offset or the name of its zone.
pub fn has_offset(text: &str) -> bool {
    let time = text.as_bytes().get(11..).unwrap_or_default();
    time.iter().any(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'+' | b'-'))
}

/// Whether an instant is in the years 1 to 9999 of UTC.
pub(crate) fn is_in_years(instant_us: i64) -> bool {
    const FIRST_US: i64 = -62_135_596_800_000_000;
    const LAST_US: i64 = 253_402_300_799_999_999;
    (FIRST_US..=LAST_US).contains(&instant_us)
}

fn offset_seconds(b: &[u8]) -> Option<i64> {
    let b = if let [b' ', rest @ ..] = b { rest } else { b };
    let sign = match b {
        [] | [b'Z' | b'z'] | b"UTC" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let hours = two_digits(b, 1)?;
    let minutes = match b.len() {
        3 => 0,
        5 => two_digits(b, 3)?,
        6 if b[3] == b':' => two_digits(b, 4)?,
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn date_prefix(b: &[u8]) -> Option<i32> {
    if b.len() < 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let year = two_digits(b, 0)? * 100 + two_digits(b, 2)?;
    let (month, day) = (two_digits(b, 5)?, two_digits(b, 8)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    (year > 0 && (1..=days_in_month).contains(&day)).then(|| days_from_civil(year, month, day))
}

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) as i32
}

/// The day on which the month of `days` (since 1970-01-01) begins.
pub fn month_start_days(days: i32) -> i32 {
    days - (day_of_month(days) - 1)
}

/// The day of the month, from 1 (`civil_from_days` of the same source).
fn day_of_month(days: i32) -> i32 {
    let shifted = i64::from(days) + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    (day_of_year - (153 * month_index + 2) / 5 + 1) as i32
}

fn two_digits(b: &[u8], at: usize) -> Option<i64> {
    match (b.get(at)?, b.get(at + 1)?) {
        (t @ b'0'..=b'9', u @ b'0'..=b'9') => Some(i64::from(t - b'0') * 10 + i64::from(u - b'0')),
        _ => None,
    }
}

/// Bytes from standard base64, padded or not.
pub fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if text.len() - body.len() > 2 || body.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for b in body.bytes() {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

/// Bytes as standard base64, padded.
pub fn base64_text(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= group.len() {
                let six = bits >> (18 - 6 * place) & 0x3F;
                text.push(char::from(ALPHABET[six as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// A value as an error message shows it: quoted, and shortened.
pub fn quoted(text: &str) -> String {
    if text.len() <= BYTES_SHOWN {
        return format!("{text:?}");
    }
    let end = (0..=BYTES_SHOWN).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{:?}… ({} bytes)", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn us(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn digits_beyond_the_range_of_a_float_are_rejected() {
        let float = |kind: &str, text| text_slot(&kind.parse().unwrap(), text);
        for (kind, text) in [
            ("float64", "1e400"),
            ("float64", " -1E+309 "),
            ("float64", "1.8e308"),
            ("float32", "1e39"),
            ("float32", "-3.5e38"),
        ] {
            let problem = float(kind, text).unwrap_err();
            let expected = format!("expected a number within the range of {kind}, found {text:?}");
            assert_eq!(problem, expected);
        }
        let digits = format!("{}.5", "9".repeat(400));
        assert!(float("float64", &digits).is_err());
        assert_eq!(float("float64", "1.7976931348623157e308"), Ok(Slot::Float(f64::MAX)));
        assert_eq!(float("float64", "1e39"), Ok(Slot::Float(1e39)));
        assert_eq!(float("float64", "1e-400"), Ok(Slot::Float(0.0)));
        assert_eq!(float("float64", "-inf"), Ok(Slot::Float(f64::NEG_INFINITY)));
        assert_eq!(float("float32", "Infinity"), Ok(Slot::Float(f64::INFINITY)));
        assert!(matches!(float("float32", "nan"), Ok(Slot::Float(value)) if value.is_nan()));
    }

    #[test]
    fn digits_with_a_leading_zero_are_no_number() {
        for kind in ["int32", "int64", "float32", "float64", "decimal(12,2)"] {
            let read = |text: &'static str| text_slot(&kind.parse().unwrap(), text);
            for text in ["01099", "00", " 007 ", "-01", "01.50", "00.5"] {
                let expected = format!("expected {kind} without a leading zero, found {text:?}");
                assert_eq!(read(text), Err(expected));
            }
            for text in ["0", "-0", "0.0", "10", "1099.0"] {
                read(text).unwrap();
            }
        }
        assert_eq!(text_slot(&ColumnType::Text, "01099"), Ok(Slot::Text("01099".into())));
        assert_eq!(text_slot(&ColumnType::Float64, "0.5"), Ok(Slot::Float(0.5)));
    }

    #[test]
    fn timestamps_of_every_source_are_read() {
        for (text, same) in [
            ("2023-11-16 18:17:03.9799600", "2023-11-16T18:17:03.979960Z"),
            ("2014-07-01 00:00:00", "2014-07-01T00:00:00Z"),
            ("2010-12-30 14:32:00+01:00", "2010-12-30T13:32:00Z"),
            ("2011-10-11 13:42:22.688000+02:00", "2011-10-11T11:42:22.688Z"),
            ("2015-01-05T09:02:50.000+0000", "2015-01-05T09:02:50Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
            ("0001-01-01T00:00:00-23:59", "0001-01-01T23:59:00Z"),
            ("0001-01-01", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z"),
            ("2024-02-29 10:20", "2024-02-29T10:20:00Z"),
            ("2024-02-29 10:20:30 UTC", "2024-02-29T10:20:30Z"),
        ] {
            assert_eq!(timestamp_us(text), Some(us(same)), "{text}");
        }
        for bad in [
            "",
            "2023",
            "2023-02-29",
            "2023-13-01",
            "2023-01-01T24:00:00",
            "2023-01-01T10:00:60",
            "2023-01-01T10:00:00.",
            "2023-01-01T10:00:00+1",
            "2023-01-01x10:00:00",
            "é023-01-01",
            "0000-12-31",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2023-01-01T10",
            "1700000000",
        ] {
            assert_eq!(timestamp_us(bad), None, "{bad:?} passed");
        }
    }

    #[test]
    fn days_and_months_agree_with_chrono() {
        for days in (-800_000..800_000).step_by(97) {
            let date = chrono::NaiveDate::from_epoch_days(days).unwrap();
            use chrono::Datelike;
            assert_eq!(
                days_from_civil(date.year().into(), date.month().into(), date.day().into()),
                days
            );
            let first = date.with_day(1).unwrap();
            assert_eq!(month_start_days(days), first.to_epoch_days());
        }
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("2.5e-06", 38, 27), Some(2_500_000_000_000_000_000_000));
        assert_eq!(decimal("1.0000000000000001e-07", 38, 27), Some(100_000_000_000_000_010_000));
        assert_eq!(decimal("1e3", 18, 2), Some(100_000));
        for lossy in ["-0.005", "0.0049", "1.005", "0.0125", "1e-3"] {
            assert_eq!(decimal(lossy, 18, 2), None, "{lossy} lost a digit");
        }
        assert_eq!(decimal("-0.0500", 18, 2), Some(-5));
        assert_eq!(decimal("0e999999999", 18, 2), Some(0));
        assert_eq!(decimal("123.45", 4, 2), None);
        assert_eq!(decimal("1e39", 38, 0), None);
        for bad in ["", ".", "-", "1e", "1.2.3", "abc", "1e99999999999"] {
            assert_eq!(decimal(bad, 38, 4), None, "{bad:?} passed");
        }
    }

    #[test]
    fn integers_are_exact_or_not_integers() {
        assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer("35.0"), Some(35));
        assert_eq!(integer("1e3"), Some(1_000));
        for bad in ["9223372036854775808", "1.5", "", "x", "1e-1"] {
            assert_eq!(integer(bad), None, "{bad:?} passed");
        }
    }

    #[test]
    fn base64_is_read_back() {
        assert_eq!(base64_bytes("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64_bytes("aGVsbG8").unwrap(), b"hello");
        for bytes in [&b""[..], b"h", b"he", b"hel", &[0, 255, 16]] {
            assert_eq!(base64_bytes(&base64_text(bytes)).unwrap(), bytes);
        }
        assert_eq!(base64_bytes("").unwrap(), b"");
        assert!(base64_bytes("a").is_none() && base64_bytes("a*==").is_none());
    }
}
