//! The value of a cell of a worksheet.

use calamine::{CellErrorType, DataRef};
use chrono_tz::Tz;

use crate::column_type::ColumnType;
use crate::infer::Look;
use crate::local_time::instant_in;
use crate::parse::{self, Slot};

const MILLIS_PER_DAY: f64 = 86_400_000.0;

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
    pub(super) fn of(value: &DataRef<'_>) -> Self {
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
                    _ if is_midnight => {
                        Self::Time(format!("{year:04}-{month:02}-{day:02}"), Look::Date)
                    }
                    _ => {
                        let text = format!("{year:04}-{month:02}-{day:02} {time}");
                        Self::Time(text, Look::Timestamp)
                    }
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

/// A length of time as `hours:minutes:seconds`, the hours beyond a day included.
fn duration_text(days: f64) -> String {
    let millis = (days.abs() * MILLIS_PER_DAY).round() as u64;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let sign = if days < 0.0 { "-" } else { "" };
    let text = format!("{sign}{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if millis > 0 { format!("{text}.{millis:03}") } else { text }
}
