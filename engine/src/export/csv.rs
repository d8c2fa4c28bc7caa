//! Rows as CSV.
//!
//! Written here and not by `arrow-csv`, which has no way to tell a null from an empty text, to keep a cell from being a formula, or
//! to spread a structure over columns. Without options both write the same bytes.

use std::io::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use datasets::encode::{Shown, as_text};

use super::packing::Packed;
use super::{Encode, TEXT_BYTES};
use crate::error::{Code, Error, Result};

const QUOTE: char = '"';
/// What a cell begins with that spreadsheets compute.
/// Source: owasp.org/www-community/attacks/CSV_Injection.
const FORMULA_BEGINS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// What makes a text of it, which spreadsheets do not show.
const FORMULA_ESCAPE: char = '\'';

/// How CSV is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// What stands between two cells: an ASCII character that ends no line and is no quote.
    pub delimiter: char,
    /// Whether the first line has the names of the columns.
    pub header: Header,
    /// What stands for a null. A text that is the same is quoted, unless both are empty.
    pub null: String,
    /// Which cells are quoted.
    pub quoting: Quoting,
    /// What becomes of texts that spreadsheets would compute.
    pub formulas: Formulas,
    /// What becomes of structures.
    pub nested: NestedAs,
}

/// Whether the first line has the names of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// It has, also where there are no rows.
    #[default]
    Present,
    /// It is the first row.
    Absent,
}

/// Which cells are quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quoting {
    /// Those that would be read as something else. An empty text then looks like a null that is nothing.
    #[default]
    Needed,
    /// All but numbers, truth values and nulls, so that an empty text is no null.
    Texts,
    /// All but nulls.
    Values,
}

/// What becomes of texts that begin with `=`, `+`, `-`, `@`, a tab or a carriage return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formulas {
    /// They are written as they are.
    #[default]
    Kept,
    /// A `'` is put before them: spreadsheets show them, and compute nothing. Other readers see the `'`.
    Escaped,
}

/// What becomes of structures. Lists and maps are JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NestedAs {
    /// JSON.
    #[default]
    Json,
    /// A column for each field: `address.city`.
    Columns,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: ',',
            header: Header::default(),
            null: String::new(),
            quoting: Quoting::default(),
            formulas: Formulas::default(),
            nested: NestedAs::default(),
        }
    }
}

impl CsvOptions {
    fn check(&self) -> Result<()> {
        let Self { delimiter, null, .. } = self;
        let wrong = |what: String| Err(Error::user(Code::BadInput, format!("csv: {what}")));
        if !delimiter.is_ascii() || matches!(*delimiter, QUOTE | '\r' | '\n' | '\0') {
            return wrong(format!(
                "the delimiter {delimiter:?}: expected an ASCII character that is no quote and ends no line"
            ));
        }
        if null.contains([QUOTE, '\r', '\n', *delimiter]) {
            return wrong(format!(
                "the null {null:?}: expected a text without quotes, delimiters and ends of lines"
            ));
        }
        Ok(())
    }

    /// Whether a text is one only between quotes.
    fn needs_quotes(&self, text: &str) -> bool {
        let delimiter = self.delimiter as u8;
        let is_special = |byte: u8| matches!(byte, b'"' | b'\r' | b'\n') || byte == delimiter;
        // All of it, without a way out: so it is many bytes at once.
        text.bytes().fold(false, |found, byte| found | is_special(byte))
            || (text == self.null && !text.is_empty())
    }

    fn push(&self, text: &str, kind: Kind, out: &mut String) {
        let is_formula = kind == Kind::Text
            && self.formulas == Formulas::Escaped
            && text.starts_with(FORMULA_BEGINS);
        let is_quoted = match self.quoting {
            Quoting::Needed => self.needs_quotes(text),
            Quoting::Texts => kind == Kind::Text || self.needs_quotes(text),
            Quoting::Values => true,
        };
        if is_quoted {
            out.push(QUOTE);
        }
        if is_formula {
            out.push(FORMULA_ESCAPE);
        }
        match is_quoted && text.contains(QUOTE) {
            true => text.split_inclusive(QUOTE).for_each(|part| {
                out.push_str(part);
                if part.ends_with(QUOTE) {
                    out.push(QUOTE);
                }
            }),
            false => out.push_str(text),
        }
        if is_quoted {
            out.push(QUOTE);
        }
    }
}

/// What a cell is to who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A number or a truth value.
    Number,
    /// Anything else.
    Text,
}

/// Writes rows as CSV.
pub(super) struct Rows {
    to: Packed,
    options: CsvOptions,
    /// The line of names, until it is written.
    header: Option<String>,
}

impl Rows {
    pub(super) fn new(to: Packed, schema: &Schema, options: &CsvOptions) -> Result<Self> {
        options.check()?;
        let mut names = Vec::new();
        for field in schema.fields() {
            take_names(field, String::new(), options.nested, &mut names);
        }
        let header = (options.header == Header::Present).then(|| {
            let mut line = String::new();
            for (at, name) in names.iter().enumerate() {
                if at > 0 {
                    line.push(options.delimiter);
                }
                options.push(name, Kind::Text, &mut line);
            }
            ended(&mut line, 0, names.len());
            line
        });
        Ok(Self { to, options: options.clone(), header })
    }
}

impl Encode for Rows {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let mut text = self.header.take().unwrap_or_default();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            take_columns(column, None, self.options.nested, &mut columns)?;
        }
        let cells = columns.iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
        // Of one value, for types that have no text as they lie.
        let mut value = String::new();
        for row in 0..batch.num_rows() {
            let begin = text.len();
            for (at, cells) in cells.iter().enumerate() {
                if at > 0 {
                    text.push(self.options.delimiter);
                }
                cells.push(row, &self.options, &mut value, &mut text)?;
            }
            ended(&mut text, begin, cells.len());
            if text.len() >= TEXT_BYTES {
                self.to.write_all(text.as_bytes())?;
                text.clear();
            }
        }
        Ok(self.to.write_all(text.as_bytes())?)
    }

    fn finish(mut self: Box<Self>) -> Result<Packed, ArrowError> {
        if let Some(header) = self.header.take() {
            self.to.write_all(header.as_bytes())?;
        }
        Ok(self.to)
    }
}

/// Ends a line that begins there. One without a letter would be none.
fn ended(text: &mut String, begin: usize, cells: usize) {
    if cells == 1 && text.len() == begin {
        text.push_str("\"\"");
    }
    text.push('\n');
}

fn is_spread(kind: &DataType, nested: NestedAs) -> bool {
    nested == NestedAs::Columns && matches!(kind, DataType::Struct(fields) if !fields.is_empty())
}

/// Types are nested as deep as their columns', which is bounded.
fn take_names(field: &Field, before: String, nested: NestedAs, names: &mut Vec<String>) {
    let name = format!("{before}{}", field.name());
    match field.data_type() {
        DataType::Struct(fields) if is_spread(field.data_type(), nested) => {
            fields.iter().for_each(|f| take_names(f, format!("{name}."), nested, names));
        }
        _ => names.push(name),
    }
}

/// A column as it is written, and where it or what it is a part of is null.
struct Column {
    values: ArrayRef,
    nulls: Option<NullBuffer>,
}

fn take_columns(
    array: &ArrayRef,
    outer: Option<&NullBuffer>,
    nested: NestedAs,
    columns: &mut Vec<Column>,
) -> Result<(), ArrowError> {
    let nulls = NullBuffer::union(outer, array.logical_nulls().as_ref());
    match array.as_struct_opt() {
        Some(structure) if is_spread(array.data_type(), nested) => {
            let mut parts = structure.columns().iter();
            parts.try_for_each(|part| take_columns(part, nulls.as_ref(), nested, columns))
        }
        _ => {
            columns.push(Column { values: as_text(array)?, nulls });
            Ok(())
        }
    }
}

/// The cells of a column.
struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Texts(&'a StringArray),
    Shown(Shown<'a>, Kind),
}

impl<'a> Cells<'a> {
    fn new(column: &'a Column) -> Result<Self, ArrowError> {
        let values = match column.values.as_string_opt::<i32>() {
            Some(texts) => Values::Texts(texts),
            None => {
                let kind = match column.values.data_type() {
                    kind if kind.is_numeric() => Kind::Number,
                    DataType::Boolean => Kind::Number,
                    _ => Kind::Text,
                };
                Values::Shown(Shown::new(&column.values)?, kind)
            }
        };
        Ok(Self { nulls: column.nulls.as_ref(), values })
    }

    fn push(
        &self,
        row: usize,
        options: &CsvOptions,
        value: &mut String,
        out: &mut String,
    ) -> Result<(), ArrowError> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.push_str(&options.null);
            return Ok(());
        }
        match &self.values {
            Values::Texts(texts) => options.push(texts.value(row), Kind::Text, out),
            Values::Shown(shown, kind) => {
                value.clear();
                shown
                    .push(row, value)
                    .map_err(|_| ArrowError::CsvError("a value that has no text".to_owned()))?;
                options.push(value, *kind, out);
            }
        }
        Ok(())
    }
}
