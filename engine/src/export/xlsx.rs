//! Rows as a workbook of one sheet.
//!
//! What a cell holds exactly is a number: whole ones beyond 2^53 and decimals of more than 15 digits are texts, with all their digits,
//! and so are floats that are no numbers and instants before 1900. Instants are in UTC, as days since 1900 with a part of a day, which is
//! exact to a microsecond or so. Null is an empty cell, and so is an empty text. No text is computed, whatever it begins with.

use std::io;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    UInt64Type,
};
use arrow::error::ArrowError;
use datasets::encode::{Shown, as_text, in_column};
use datasets::read::WORKBOOK_ZONE;
use rust_xlsxwriter::{DocProperties, Format, Workbook, Worksheet, XlsxError};

use super::Encode;
use super::packing::Packed;
use crate::error::{Code, Error, Result};

/// Columns of a sheet.
const COLUMNS_MAX: usize = 1 << 14;
/// Letters of a cell.
const CELL_MAX: usize = 32_767;
/// Whole numbers up to here are themselves as floats.
const WHOLE_MAX: u64 = 1 << 53;
/// Digits that a number of a cell has.
const DIGITS_MAX: usize = 15;

/// From the day 0 of sheets to 1970-01-01.
const EPOCH_DAYS: f64 = 25_569.0;
/// 1900-03-01, before which sheets count a day that was not; and the first day that they do not show any more.
const DAYS: std::ops::Range<f64> = 61.0..2_958_466.0;
const DAY_US: f64 = 86_400e6;

/// Writes rows into a sheet, and the workbook at its end: what was written lies in a file until then.
pub(super) struct Sheet {
    to: Packed,
    book: Workbook,
    /// The next one.
    row: u32,
    names: Vec<String>,
    day: Format,
    instant: Format,
}

impl Sheet {
    pub(super) fn new(to: Packed, schema: &Schema) -> Result<Self> {
        let columns = schema.fields().len();
        if columns > COLUMNS_MAX {
            let says = format!(
                "xlsx: a sheet has at most {COLUMNS_MAX} columns, found {columns}; expected fewer of them, or another format"
            );
            return Err(Error::user(Code::BadInput, says));
        }
        let mut book = Workbook::new();
        book.set_properties(&DocProperties::new().set_custom_property(WORKBOOK_ZONE, "UTC"));
        let sheet = book.add_worksheet_with_constant_memory().map_err(failed)?;
        let bold = Format::new().set_bold();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        sheet.set_freeze_panes(1, 0).map_err(failed)?;
        for (at, field) in (0..).zip(schema.fields()) {
            let letters = match field.data_type() {
                DataType::Timestamp(..) => 24,
                DataType::Date32 => 12,
                _ => field.name().chars().count().clamp(8, 40) + 2,
            };
            sheet.set_column_width(at, letters as u32).map_err(failed)?;
            sheet.write_string_with_format(0, at, field.name(), &bold).map_err(failed)?;
        }
        let day = Format::new().set_num_format("yyyy-mm-dd");
        let instant = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss.000");
        Ok(Self { to, book, row: 1, names, day, instant })
    }
}

impl Encode for Sheet {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns = self.names.iter().zip(batch.columns());
        let columns = columns
            .map(|(name, column)| as_written(column).map_err(|error| in_column(name, error)));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let columns = columns.iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
        let sheet = self.book.worksheet_from_index(0).map_err(other)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for (at, cells) in (0..).zip(&columns) {
                if cells.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    continue;
                }
                let place = (self.row, at);
                let formats = (&self.day, &self.instant);
                cells.write(row, sheet, place, formats, &mut text).map_err(|error| match error {
                    Unwritten::Long(letters) => ArrowError::InvalidArgumentError(format!(
                        "xlsx: {} has {letters} letters in row {}, and a cell takes at most {CELL_MAX}; expected another format, or other columns",
                        self.names.get(usize::from(at)).map_or("a column", String::as_str),
                        self.row
                    )),
                    Unwritten::Sheet(error) => other(error),
                    Unwritten::Text(error) => {
                        in_column(self.names.get(usize::from(at)).map_or("", String::as_str), error)
                    }
                })?;
            }
            self.row += 1;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Packed, ArrowError> {
        self.book.save_to_writer(&mut self.to).map_err(other)?;
        Ok(self.to)
    }
}

/// Why a cell is not written.
enum Unwritten {
    Long(usize),
    Text(ArrowError),
    Sheet(XlsxError),
}

impl From<XlsxError> for Unwritten {
    fn from(error: XlsxError) -> Self {
        Self::Sheet(error)
    }
}

/// What the cells of a column are.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    Whole,
    Unsigned,
    Float,
    /// A number by its digits.
    Decimal,
    Day,
    Instant,
    Text,
}

/// A column, as it is written.
fn as_written(column: &ArrayRef) -> Result<(Kind, ArrayRef), ArrowError> {
    let as_type = |kind: &DataType| cast(column, kind);
    Ok(match column.data_type() {
        DataType::Boolean => (Kind::Flag, column.clone()),
        kind if kind.is_signed_integer() => (Kind::Whole, as_type(&DataType::Int64)?),
        kind if kind.is_unsigned_integer() => (Kind::Unsigned, as_type(&DataType::UInt64)?),
        kind if kind.is_floating() => (Kind::Float, as_type(&DataType::Float64)?),
        kind if kind.is_decimal() => (Kind::Decimal, column.clone()),
        DataType::Date32 => (Kind::Day, column.clone()),
        DataType::Timestamp(_, zone) => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let instants = cast_with_options(column, &kind, &options);
            (Kind::Instant, instants.map_err(|error| ArrowError::CastError(error.to_string()))?)
        }
        _ => (Kind::Text, as_text(column)?),
    })
}

/// The cells of a column.
struct Cells<'a> {
    nulls: Option<NullBuffer>,
    kind: Kind,
    values: &'a ArrayRef,
    shown: Shown<'a>,
}

impl<'a> Cells<'a> {
    fn new((kind, values): &'a (Kind, ArrayRef)) -> Result<Self, ArrowError> {
        let shown = Shown::new(values)?;
        Ok(Self { nulls: values.logical_nulls(), kind: *kind, values, shown })
    }

    fn show(&self, row: usize, text: &mut String) -> Result<(), Unwritten> {
        self.shown.push(row, text).map_err(Unwritten::Text)
    }

    fn write(
        &self,
        row: usize,
        sheet: &mut Worksheet,
        (at_row, at): (u32, u16),
        (day, instant): (&Format, &Format),
        text: &mut String,
    ) -> Result<(), Unwritten> {
        let mut number = |value: f64| sheet.write_number(at_row, at, value).map(drop);
        text.clear();
        match self.kind {
            Kind::Flag => {
                sheet.write_boolean(at_row, at, self.values.as_boolean().value(row))?;
                return Ok(());
            }
            Kind::Whole => {
                let value = self.values.as_primitive::<Int64Type>().value(row);
                if value.unsigned_abs() <= WHOLE_MAX {
                    return Ok(number(value as f64)?);
                }
            }
            Kind::Unsigned => {
                let value = self.values.as_primitive::<UInt64Type>().value(row);
                if value <= WHOLE_MAX {
                    return Ok(number(value as f64)?);
                }
            }
            Kind::Float => {
                let value = self.values.as_primitive::<Float64Type>().value(row);
                if value.is_finite() {
                    return Ok(number(value)?);
                }
            }
            Kind::Decimal => {
                self.show(row, text)?;
                let digits = text.bytes().filter(u8::is_ascii_digit).count();
                let leading = text.bytes().take_while(|byte| matches!(byte, b'-' | b'0' | b'.'));
                let leading = leading.filter(u8::is_ascii_digit).count();
                if let Some(value) = text.parse().ok().filter(|_| digits - leading <= DIGITS_MAX) {
                    return Ok(number(value)?);
                }
            }
            Kind::Day => {
                let day_number = self.values.as_primitive::<Date32Type>().value(row);
                let value = f64::from(day_number) + EPOCH_DAYS;
                if DAYS.contains(&value) {
                    sheet.write_number_with_format(at_row, at, value, day)?;
                    return Ok(());
                }
            }
            Kind::Instant => {
                let us = self.values.as_primitive::<TimestampMicrosecondType>().value(row);
                let value = us as f64 / DAY_US + EPOCH_DAYS;
                if DAYS.contains(&value) {
                    sheet.write_number_with_format(at_row, at, value, instant)?;
                    return Ok(());
                }
            }
            Kind::Text => {}
        }
        if text.is_empty() {
            self.show(row, text)?;
        }
        let letters = text.chars().count();
        if letters > CELL_MAX {
            return Err(Unwritten::Long(letters));
        }
        sheet.write_string(at_row, at, text.as_str())?;
        Ok(())
    }
}

fn failed(error: XlsxError) -> Error {
    super::failed(other(error))
}

fn other(error: XlsxError) -> ArrowError {
    // What the system said may lie deep.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(of) = cause {
        if let Some(io) = of.downcast_ref::<io::Error>() {
            let same = io::Error::new(io.kind(), io.to_string());
            return ArrowError::IoError("a workbook".to_owned(), same);
        }
        cause = of.source();
    }
    ArrowError::ExternalError(Box::new(error))
}
