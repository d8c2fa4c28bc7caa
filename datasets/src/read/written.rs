//! How values stand in a file of separated values, where that is not as usual.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::TextEncoding;
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::local_time::instant_in;
use crate::parse::{self, Slot, quoted};

/// What is to be known of a file of separated values that is written otherwise than usual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsvOptions {
    /// The encoding of its text.
    pub encoding: TextEncoding,
    /// What separates fields; found in the first records when it is not said.
    pub delimiter: Option<u8>,
    /// The quote character; detected in the first records if it is not stated.
    pub quote: Option<u8>,
    /// Whether the first record names the columns; found in it when it is not said.
    pub header: Option<bool>,
    /// Whether numbers have a comma before their fraction, and dots, spaces or nothing between thousands.
    pub decimal_comma: bool,
    /// The mark between groups of three digits. Without one, numbers with a decimal comma may have any usual mark, and numbers
    /// with a decimal point none.
    pub thousands_mark: Option<char>,
    /// Texts that stand for no value, beside the empty one.
    pub nulls: Vec<String>,
    /// The order of day, month and year, where a date does not begin with its year.
    pub date_order: Option<DateOrder>,
    /// The time zone of timestamps without an offset; UTC if it is not stated.
    pub zone: Option<Tz>,
}

/// The order of the parts of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DateOrder {
    /// Day, month, year: `31.12.2026`.
    #[serde(rename = "dmy")]
    DayFirst,
    /// Month, day, year: `12/31/2026`.
    #[serde(rename = "mdy")]
    MonthFirst,
}

impl fmt::Display for DateOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DayFirst => "dmy",
            Self::MonthFirst => "mdy",
        })
    }
}

impl FromStr for DateOrder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "dmy" => Ok(Self::DayFirst),
            "mdy" => Ok(Self::MonthFirst),
            _ => Err(Error::Name {
                what: "date_order",
                name: text.chars().take(parse::BYTES_SHOWN).collect(),
                expected: "dmy or mdy".to_owned(),
            }),
        }
    }
}

impl DateOrder {
    fn example(self) -> &'static str {
        match self {
            Self::DayFirst => "a date such as 31.12.2026",
            Self::MonthFirst => "a date such as 12/31/2026",
        }
    }
}

impl CsvOptions {
    /// Reads a field as a value of `data_type`; the error says what was expected and found.
    pub(crate) fn slot<'a>(
        &self,
        data_type: &ColumnType,
        field: &'a str,
    ) -> Result<Slot<'a>, String> {
        if field.is_empty() || self.is_null(field) {
            return Ok(Slot::Null);
        }
        let wrong = |expected: &str| format!("expected {expected}, found {}", quoted(field));
        match self.usual(data_type, field) {
            None => Err(wrong(&self.expected(data_type))),
            Some(text) if *data_type == ColumnType::Timestamp && self.zone.is_some() => {
                match parse::timestamp_us(text.trim()) {
                    Some(_) => self.instant(&text).map(Slot::Int),
                    None => Err(wrong(&self.expected(data_type))),
                }
            }
            Some(Cow::Borrowed(text)) => parse::text_slot(data_type, text),
            Some(Cow::Owned(text)) if data_type.is_numeric() && parse::has_leading_zero(&text) => {
                Err(wrong(&format!("{} without a leading zero", self.expected(data_type))))
            }
            Some(Cow::Owned(text)) => match parse::text_slot(data_type, &text) {
                Ok(Slot::Int(value)) => Ok(Slot::Int(value)),
                Ok(Slot::Float(value)) => Ok(Slot::Float(value)),
                Ok(Slot::Decimal(value)) => Ok(Slot::Decimal(value)),
                _ => Err(wrong(&self.expected(data_type))),
            },
        }
    }

    pub(crate) fn is_null(&self, field: &str) -> bool {
        let field = field.trim();
        self.nulls.iter().any(|null| null == field)
    }

    fn expected(&self, data_type: &ColumnType) -> String {
        match (data_type, self.date_order) {
            (ColumnType::Date, Some(order)) => order.example().to_owned(),
            (ColumnType::Timestamp, Some(order)) => {
                format!("{}, with or without a time such as 09:30:00", order.example())
            }
            (ColumnType::Timestamp, None) => {
                "a timestamp (RFC 3339, or YYYY-MM-DD hh:mm:ss)".to_owned()
            }
            _ => match (self.decimal_comma, self.thousands_mark) {
                (true, None) => format!("{data_type} with a decimal comma"),
                (true, Some(mark)) => {
                    format!("{data_type} with a decimal comma and {mark:?} between thousands")
                }
                (false, Some(mark)) => format!("{data_type} with {mark:?} between thousands"),
                (false, None) => data_type.to_string(),
            },
        }
    }

    /// The instant of a text, in microseconds. Without an offset, it is a local time of the zone.
    pub(crate) fn instant(&self, text: &str) -> Result<i64, String> {
        let (text, zone) = (text.trim(), self.zone.unwrap_or(Tz::UTC));
        instant_in(text, zone)
    }

    /// The field as it would usually be written; nothing where it is written wrongly.
    fn usual<'a>(&self, data_type: &ColumnType, field: &'a str) -> Option<Cow<'a, str>> {
        match (data_type, self.date_order) {
            (kind, _)
                if kind.is_numeric() && (self.decimal_comma || self.thousands_mark.is_some()) =>
            {
                let decimal = if self.decimal_comma { ',' } else { '.' };
                with_point(field, decimal, self.thousands_mark)
            }
            (ColumnType::Date | ColumnType::Timestamp, Some(order)) => {
                with_year_first(field, order)
            }
            _ => Some(Cow::Borrowed(field)),
        }
    }

    /// The field as a number would usually be written, if it is one.
    pub(crate) fn usual_number<'a>(&self, field: &'a str) -> Option<Cow<'a, str>> {
        self.usual(&ColumnType::Float64, field)
    }

    /// The field as an instant would usually be written, if it is one.
    pub(crate) fn usual_instant<'a>(&self, field: &'a str) -> Option<Cow<'a, str>> {
        self.usual(&ColumnType::Timestamp, field)
    }
}

/// `1.234,5` → `1234.5`; `None` if the marks do not separate thousands. The `thousands` mark ` ` matches every kind of space
/// that locales write. Without a `thousands` mark, every usual one matches.
fn with_point(field: &str, decimal: char, thousands: Option<char>) -> Option<Cow<'_, str>> {
    const SPACES: [char; 3] = [' ', '\u{a0}', '\u{202f}'];
    let field = field.trim();
    let is_plain = |c: char| {
        c.is_ascii_digit() || matches!(c, '-' | '+' | 'e' | 'E') || (c == '.' && decimal == '.')
    };
    if field.chars().all(is_plain) {
        return Some(Cow::Borrowed(field));
    }
    let (whole, fraction) = match field.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (field, None),
    };
    let separates = |c: char| match thousands {
        Some(' ') => SPACES.contains(&c),
        Some(mark) => c == mark,
        None => matches!(c, '.' | '\'') || SPACES.contains(&c),
    };
    let groups: Vec<&str> = whole.split(separates).collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (first, later) = groups.split_first()?;
    let first_digits = first.trim_start_matches(['-', '+']);
    let grouped = later.iter().all(|group| digits(group) && group.len() == 3);
    let fits = grouped && (later.is_empty() || (digits(first_digits) && first_digits.len() <= 3));
    // A second mark in the fraction is invalid.
    if !fits || fraction.is_some_and(|fraction| fraction.contains([',', '.'])) {
        return None;
    }
    let mut text = groups.concat();
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    Some(Cow::Owned(text))
}

/// `31.12.2026 9:30` → `2026-12-31 09:30`; what begins with a year stays as it is.
fn with_year_first(field: &str, order: DateOrder) -> Option<Cow<'_, str>> {
    let field = field.trim();
    let (date, time) = match field.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (field, None),
    };
    let separator = date.chars().find(|c| !c.is_ascii_digit())?;
    let parts: Vec<&str> = date.split(separator).collect();
    let [first, second, year] = parts[..] else { return None };
    if first.len() == 4 && separator == '-' {
        return Some(Cow::Borrowed(field));
    }
    let (day, month) = match order {
        DateOrder::DayFirst => (first, second),
        DateOrder::MonthFirst => (second, first),
    };
    if !matches!(separator, '.' | '/' | '-') || day.len() > 2 || month.len() > 2 {
        return None;
    }
    let year = match (year.len(), year.parse::<u32>()) {
        (4, Ok(year)) => year,
        // As POSIX reads two digits.
        (2, Ok(year @ 69..)) => 1_900 + year,
        (2, Ok(year)) => 2_000 + year,
        _ => return None,
    };
    let mut text = format!("{year:04}-{month:0>2}-{day:0>2}");
    if let Some(time) = time {
        // An hour of one digit.
        let hour = if time.as_bytes().get(1) == Some(&b':') { "0" } else { "" };
        text.push_str(&format!(" {hour}{time}"));
    }
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(options: &CsvOptions, kind: &str, field: &str) -> Result<String, String> {
        let kind: ColumnType = kind.parse().unwrap();
        options.slot(&kind, field).map(|slot| format!("{slot:?}"))
    }

    #[test]
    fn a_comma_is_before_the_fraction_and_thousands_are_in_groups() {
        let options = CsvOptions { decimal_comma: true, ..CsvOptions::default() };
        for (kind, field, slot) in [
            ("decimal(12,2)", "1.234.567,89", "Decimal(123456789)"),
            ("decimal(12,2)", "-3,9", "Decimal(-390)"),
            ("decimal(12,2)", " 1 234,5 ", "Decimal(123450)"),
            ("float64", "0,25", "Float(0.25)"),
            ("float64", "1e3", "Float(1000.0)"),
            ("int64", "1.234", "Int(1234)"),
            ("int64", "12", "Int(12)"),
            ("text", "1,5", "Text(\"1,5\")"),
        ] {
            assert_eq!(read(&options, kind, field).unwrap(), slot, "{kind} {field}");
        }
        for bad in ["1.23", "1,2,3", "1234.567", "1,234.5", ",", "x,1", "12.3456"] {
            let problem = read(&options, "decimal(12,2)", bad).unwrap_err();
            let expected = format!("expected decimal(12,2) with a decimal comma, found {bad:?}");
            assert_eq!(problem, expected);
        }
    }

    #[test]
    fn a_leading_zero_is_no_number_with_any_marks() {
        let comma = CsvOptions { decimal_comma: true, ..CsvOptions::default() };
        for (field, expected) in [
            ("01.099,50", "decimal(12,2) with a decimal comma without a leading zero"),
            ("01099", "decimal(12,2) without a leading zero"),
        ] {
            let problem = read(&comma, "decimal(12,2)", field).unwrap_err();
            assert_eq!(problem, format!("expected {expected}, found {field:?}"));
        }
        assert_eq!(read(&comma, "decimal(12,2)", "0,50").unwrap(), "Decimal(50)");
    }

    #[test]
    fn a_stated_thousands_mark_is_the_only_one() {
        let marked = |decimal_comma, mark| CsvOptions {
            decimal_comma,
            thousands_mark: Some(mark),
            ..CsvOptions::default()
        };
        for (options, kind, field, slot) in [
            (marked(false, ','), "decimal(12,2)", "1,234.50", "Decimal(123450)"),
            (marked(false, ','), "float64", "-1,234,567.25", "Float(-1234567.25)"),
            (marked(false, ','), "int64", "12,345", "Int(12345)"),
            (marked(false, ','), "int64", "12345", "Int(12345)"),
            (marked(false, ','), "float64", "0.5", "Float(0.5)"),
            (marked(false, ' '), "int64", "12\u{202f}345", "Int(12345)"),
            (marked(true, '.'), "decimal(12,2)", "1.234,50", "Decimal(123450)"),
        ] {
            assert_eq!(read(&options, kind, field).unwrap(), slot, "{kind} {field}");
        }
        for (options, bad) in [
            (marked(false, ','), "1,23"),
            (marked(false, ','), "1234,567"),
            (marked(false, ','), "1 234"),
            (marked(false, ','), "1,234.5.6"),
            (marked(true, '.'), "1'234,5"),
        ] {
            let problem = read(&options, "decimal(12,2)", bad).unwrap_err();
            assert!(problem.contains("between thousands, found"), "{problem}");
        }
    }

    #[test]
    fn local_times_are_read_in_their_zone() {
        let zone = Some(Tz::Europe__Berlin);
        let options = CsvOptions { zone, ..CsvOptions::default() };
        let usual = |field: &str| read(&CsvOptions::default(), "timestamp", field).unwrap();
        for (field, same) in [
            ("2025-03-30 01:30:00", "2025-03-30T00:30:00Z"),
            ("2025-03-30 03:30:00", "2025-03-30T01:30:00Z"),
            ("2025-07-01T12:00:00.5", "2025-07-01T10:00:00.5Z"),
            ("2025-07-01", "2025-06-30T22:00:00Z"),
            ("2025-10-26 02:30:00+01:00", "2025-10-26T01:30:00Z"),
            ("2025-03-30T02:30:00Z", "2025-03-30T02:30:00Z"),
            ("2025-03-30 02:30:00 UTC", "2025-03-30T02:30:00Z"),
        ] {
            assert_eq!(read(&options, "timestamp", field).unwrap(), usual(same), "{field}");
        }
        let problem = |field: &str| read(&options, "timestamp", field).unwrap_err();
        let skipped = problem("2025-03-30 02:30:00");
        assert!(skipped.contains("does not exist in Europe/Berlin"), "{skipped}");
        let twice = problem("2025-10-26 02:30:00");
        assert!(twice.contains("twice in Europe/Berlin") && twice.contains("+02:00"), "{twice}");
        assert!(problem("soon").starts_with("expected a timestamp"), "{}", problem("soon"));
        let german = CsvOptions { date_order: Some(DateOrder::DayFirst), ..options.clone() };
        let read = |field: &str| read(&german, "timestamp", field).unwrap();
        assert_eq!(read("01.07.2025 12:00"), usual("2025-07-01T10:00:00Z"));
        assert_eq!(german.slot(&ColumnType::Date, "01.07.2025"), Ok(Slot::Int(20_270)));
    }

    #[test]
    fn a_date_is_read_in_its_order() {
        let of = |order| CsvOptions { date_order: Some(order), ..CsvOptions::default() };
        let usual = |kind, field: &str| read(&CsvOptions::default(), kind, field).unwrap();
        for (order, kind, field, as_usual) in [
            (DateOrder::DayFirst, "date", "31.12.2026", "2026-12-31"),
            (DateOrder::DayFirst, "date", "1/2/26", "2026-02-01"),
            (DateOrder::MonthFirst, "date", "12/31/1999", "1999-12-31"),
            (DateOrder::MonthFirst, "date", "2/1/69", "1969-02-01"),
            (DateOrder::DayFirst, "timestamp", "31-12-2026 9:30", "2026-12-31 09:30:00"),
            (DateOrder::DayFirst, "timestamp", "31.12.2026T23:59:59.5", "2026-12-31T23:59:59.5Z"),
            (DateOrder::DayFirst, "timestamp", "31.12.2026", "2026-12-31 00:00:00"),
            (DateOrder::DayFirst, "date", "2026-12-31", "2026-12-31"),
        ] {
            let read = read(&of(order), kind, field);
            assert_eq!(read, Ok(usual(kind, as_usual)), "{field}");
        }
        for bad in ["31.13.2026", "30.02.2026", "1.2", "1.2.3.4", "12/31/2026", "soon", "1.1.126"] {
            let problem = read(&of(DateOrder::DayFirst), "date", bad).unwrap_err();
            assert!(problem.starts_with("expected a date such as 31.12.2026, found"), "{problem}");
        }
    }

    #[test]
    fn words_that_stand_for_nothing_are_nothing() {
        let options =
            CsvOptions { nulls: vec!["n/a".to_owned(), "-".to_owned()], ..CsvOptions::default() };
        assert_eq!(options.slot(&ColumnType::Int64, " n/a "), Ok(Slot::Null));
        assert_eq!(options.slot(&ColumnType::Text, "-"), Ok(Slot::Null));
        assert!(options.slot(&ColumnType::Int64, "--").is_err());
        assert_eq!(CsvOptions::default().slot(&ColumnType::Text, "-"), Ok(Slot::Text("-".into())));
    }
}
