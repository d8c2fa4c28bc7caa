//! The value of a cell of a worksheet.

use calamine::{CellErrorType, DataRef};
use chrono::DateTime;
use chrono_tz::Tz;

use crate::column_type::ColumnType;
use crate::infer::Look;
use crate::local_time::instant_in;
use crate::parse::{self, Slot};

const MILLIS_PER_DAY: f64 = 86_400_000.0;
const MICROS_PER_DAY: f64 = 86_400_000_000.0;
/// How far from a whole millisecond a cell may be, in units of its own floating-point precision, to mean that millisecond.
/// Sums of times are not exact in Excel.
const COMPUTED_ULPS: f64 = 4.0;
/// The same for a cell that states its instant to the microsecond.
const EXACT_ULPS: f64 = 0.5;

/// The value of a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Empty,
    Text(String),
    /// A number as text, exact.
    Number(String, Look),
    Bool(bool),
    /// A day, an instant or a time of day, as text.
    Time(String, Look),
    /// The error of a formula, such as `#DIV/0!`.
    Fault(&'static str),
    /// A formula without a stored value. Libraries such as openpyxl write formulas without
    /// computing them.
    Uncomputed,
}

impl Cell {
    /// The value of a cell. `is_exact` says whether the workbook states its instants to the microsecond.
    pub(super) fn of(value: &DataRef<'_>, is_exact: bool) -> Self {
        match value {
            DataRef::Empty => Self::Empty,
            DataRef::Int(number) => Self::Number(number.to_string(), Look::Int),
            DataRef::Float(number) => number_cell(*number),
            DataRef::String(text) => text_cell(text),
            DataRef::SharedString(text) => text_cell(text),
            DataRef::Bool(truth) => Self::Bool(*truth),
            DataRef::DateTime(at) if at.is_duration() => {
                Self::Time(duration_text(at.as_f64()), Look::Text)
            }
            // The crate applies the epoch of 1904, and its bug of 1900, to the parts of a date.
            DataRef::DateTime(at) => {
                let (year, month, day, hour, minute, second, milli) = at.to_ymd_hms_milli();
                let time = format!("{hour:02}:{minute:02}:{second:02}");
                let time = if milli > 0 { format!("{time}.{milli:03}") } else { time };
                let is_midnight = (hour, minute, second, milli) == (0, 0, 0, 0);
                match at.as_f64() {
                    serial if (0.0..1.0).contains(&serial) => Self::Time(time, Look::Text),
                    serial => match micros_beyond(
                        serial,
                        is_exact,
                        [hour.into(), minute.into(), second.into(), milli.into()],
                    ) {
                        0 if is_midnight => {
                            Self::Time(format!("{year:04}-{month:02}-{day:02}"), Look::Date)
                        }
                        beyond => {
                            let text = format!("{year:04}-{month:02}-{day:02} {time}");
                            Self::Time(shifted(text, beyond), Look::Timestamp)
                        }
                    },
                }
            }
            DataRef::DateTimeIso(text) => match parse::date_days(text) {
                Some(_) => Self::Time(text.clone(), Look::Date),
                None if parse::timestamp_us(text).is_some() => {
                    Self::Time(text.clone(), Look::Timestamp)
                }
                None => text_cell(text),
            },
            DataRef::DurationIso(text) => text_cell(text),
            DataRef::Error(error) => Self::Fault(match error {
                CellErrorType::Div0 => "#DIV/0!",
                CellErrorType::NA => "#N/A",
                CellErrorType::Name => "#NAME?",
                CellErrorType::Null => "#NULL!",
                CellErrorType::Num => "#NUM!",
                CellErrorType::Ref => "#REF!",
                CellErrorType::Value => "#VALUE!",
                _ => "#ERROR",
            }),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Text(text) | Self::Number(text, _) | Self::Time(text, _) => text,
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Fault(name) => name,
            Self::Uncomputed => "uncomputed formula",
        }
    }

    pub(super) fn look(&self) -> Option<Look> {
        match self {
            Self::Empty | Self::Fault(_) | Self::Uncomputed => None,
            Self::Text(_) => Some(Look::Text),
            Self::Number(_, look) | Self::Time(_, look) => Some(*look),
            Self::Bool(_) => Some(Look::Bool),
        }
    }

    /// The cell as a value of `data_type`; the error says what was expected and found. Times without an offset are
    /// those of `zone`.
    pub(super) fn slot(&self, data_type: &ColumnType, zone: Tz) -> Result<Slot<'_>, String> {
        match self {
            Self::Empty => Ok(Slot::Null),
            Self::Text(text) | Self::Time(text, _)
                if *data_type == ColumnType::Timestamp && zone != Tz::UTC =>
            {
                instant_in(text.trim(), zone).map(Slot::Int)
            }
            Self::Fault(name) => Err(format!("expected {data_type}, found the error {name}")),
            Self::Uncomputed => Err(format!(
                "expected {data_type}, found an uncomputed formula; open the workbook in a spreadsheet program and save it"
            )),
            other => parse::text_slot(data_type, other.text()),
        }
    }
}

fn text_cell(text: &str) -> Cell {
    if text.is_empty() { Cell::Empty } else { Cell::Text(text.to_owned()) }
}

fn number_cell(number: f64) -> Cell {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number {
        _ if number.fract() == 0.0 && number.abs() <= EXACT => {
            Cell::Number(format!("{number:.0}"), Look::Int)
        }
        _ if number != 0.0 && !(1e-5..1e17).contains(&number.abs()) => {
            Cell::Number(format!("{number:e}"), Look::Float)
        }
        _ => Cell::Number(number.to_string(), Look::Float),
    }
}

/// The microseconds of an instant beyond the time `[hour, minute, second, millisecond]` that it is shown as, which may be negative;
/// 0 if the cell means that time.
fn micros_beyond(serial: f64, is_exact: bool, [hour, minute, second, milli]: [i64; 4]) -> i64 {
    let ulps = if is_exact { EXACT_ULPS } else { COMPUTED_ULPS };
    let ulp_us = (serial.next_up() - serial) * MICROS_PER_DAY;
    let shown = (((hour * 60 + minute) * 60 + second) * 1_000 + milli) as f64 * 1_000.0;
    let beyond = serial.fract() * MICROS_PER_DAY - shown;
    // An instant just before midnight may be shown as midnight.
    let beyond = beyond - (beyond / MICROS_PER_DAY).round() * MICROS_PER_DAY;
    if beyond.abs() <= ulps * ulp_us { 0 } else { beyond.round() as i64 }
}

/// The instant `text`, which is to the millisecond, plus `micros` microseconds.
fn shifted(text: String, micros: i64) -> String {
    let at = parse::timestamp_us(&text).filter(|_| micros != 0);
    let at = at.and_then(|at| DateTime::from_timestamp_micros(at + micros));
    at.map_or(text, |at| at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// A length of time as `hours:minutes:seconds`, the hours beyond a day included.
fn duration_text(days: f64) -> String {
    let millis = (days.abs() * MILLIS_PER_DAY).round() as u64;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let sign = if days < 0.0 { "-" } else { "" };
    let text = format!("{sign}{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if millis > 0 { format!("{text}.{millis:03}") } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use calamine::{ExcelDateTime, ExcelDateTimeType};

    use super::*;

    /// The cell of an instant, given as microseconds since 1970, with an error of `ulps`.
    fn cell(micros: i64, ulps: i32, is_exact: bool) -> Cell {
        let mut serial = (micros as f64 + 25_569.0 * MICROS_PER_DAY) / MICROS_PER_DAY;
        for _ in 0..ulps {
            serial = serial.next_up();
        }
        let at = ExcelDateTime::new(serial, ExcelDateTimeType::DateTime, false);
        Cell::of(&DataRef::DateTime(at), is_exact)
    }

    #[test]
    fn an_exported_instant_has_its_microseconds() {
        let day = parse::timestamp_us("2025-07-01").unwrap();
        for micros in [0, 1, 2, 499, 500, 999, 1_000, 123_456, 43_200_123_456, 86_399_999_999] {
            let cell = cell(day + micros, 0, true);
            assert_eq!(parse::timestamp_us(cell.text()), Some(day + micros), "{cell:?}");
        }
        let text = cell(day + 43_200_123_456, 0, true);
        assert_eq!(text, Cell::Time("2025-07-01 12:00:00.123456".to_owned(), Look::Timestamp));
        assert_eq!(cell(day, 0, true), Cell::Time("2025-07-01".to_owned(), Look::Date));
        // Far from 1900 a cell is coarser than a microsecond, and a whole millisecond is still one.
        let far = parse::timestamp_us("2500-07-01T12:00:00.123").unwrap();
        assert_eq!(cell(far, 0, true).text(), "2500-07-01 12:00:00.123");
    }

    #[test]
    fn an_instant_half_way_between_milliseconds_has_its_own_microseconds() {
        let day = parse::timestamp_us("2013-03-22").unwrap();
        for at in 0..20_000_i64 {
            let micros = day + (at * 4_319_987 % 86_400_000) * 1_000 + 500;
            let cell = cell(micros, 0, true);
            assert_eq!(parse::timestamp_us(cell.text()), Some(micros), "{cell:?}");
        }
        let noted = parse::timestamp_us("2013-03-22 21:57:33.204500").unwrap();
        assert_eq!(cell(noted, 0, true).text(), "2013-03-22 21:57:33.204500");
    }

    #[test]
    fn a_computed_instant_is_a_whole_millisecond_within_its_precision() {
        let noon = parse::timestamp_us("2025-07-01T12:00:00").unwrap();
        assert_eq!(cell(noon, 3, false).text(), "2025-07-01 12:00:00");
        assert_eq!(cell(noon + 250_000, 3, false).text(), "2025-07-01 12:00:00.250");
        assert_eq!(cell(noon + 123_456, 0, false).text(), "2025-07-01 12:00:00.123456");
    }
}
