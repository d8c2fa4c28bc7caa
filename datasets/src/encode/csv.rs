//! Rows as CSV.
//!
//! Written here and not by `arrow-csv`, which has no way to tell a null from an empty text, to keep a cell from being a formula, or
//! to spread a structure over columns. Without options both write the same bytes.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::{Shown, as_text};

/// Bytes of text that are handed on at once.
const TEXT_BYTES: usize = 64 << 10;

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
    /// What is wrong with them, if anything.
    pub fn problem(&self) -> Option<String> {
        let Self { delimiter, null, .. } = self;
        if !delimiter.is_ascii() || matches!(*delimiter, QUOTE | '\r' | '\n' | '\0') {
            return Some(format!(
                "the delimiter {delimiter:?}: expected an ASCII character that is no quote and ends no line"
            ));
        }
        null.contains([QUOTE, '\r', '\n', *delimiter]).then(|| {
            format!(
                "the null {null:?}: expected a text without quotes, delimiters and ends of lines"
            )
        })
    }

    /// The line of names, if there is to be one.
    pub fn header_line(&self, schema: &Schema) -> Option<String> {
        if self.header == Header::Absent {
            return None;
        }
        let mut names = Vec::new();
        for field in schema.fields() {
            take_names(field, String::new(), self.nested, &mut names);
        }
        let mut line = String::new();
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                line.push(self.delimiter);
            }
            self.push(name, Kind::Text, &mut line);
        }
        ended(&mut line, 0, names.len());
        Some(line)
    }

    /// Writes a line for each row.
    pub fn write(&self, batch: &RecordBatch, to: &mut dyn Write) -> Result<(), ArrowError> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            take_columns(column, None, self.nested, &mut columns)?;
        }
        let cells = columns.iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            let begin = text.len();
            for (at, cells) in cells.iter().enumerate() {
                if at > 0 {
                    text.push(self.delimiter);
                }
                cells.push(row, self, &mut text)?;
            }
            ended(&mut text, begin, cells.len());
            if text.len() >= TEXT_BYTES {
                to.write_all(text.as_bytes())?;
                text.clear();
            }
        }
        Ok(to.write_all(text.as_bytes())?)
    }

    /// Whether a text is one only between quotes.
    fn needs_quotes(&self, text: &str) -> bool {
        let delimiter = self.delimiter as u8;
        let is_special = |byte: u8| matches!(byte, b'"' | b'\r' | b'\n') || byte == delimiter;
        // All of it, without a way out: so it is many bytes at once.
        text.bytes().fold(false, |found, byte| found | is_special(byte))
            || (text == self.null && !text.is_empty())
    }

    fn is_quoted(&self, text: &str, kind: Kind) -> bool {
        match self.quoting {
            Quoting::Needed => self.needs_quotes(text),
            Quoting::Texts => kind == Kind::Text || self.needs_quotes(text),
            Quoting::Values => true,
        }
    }

    fn is_formula(&self, text: &str, kind: Kind) -> bool {
        kind == Kind::Text && self.formulas == Formulas::Escaped && text.starts_with(FORMULA_BEGINS)
    }

    /// Whether a text is its own cell.
    fn is_plain(&self, text: &str, kind: Kind) -> bool {
        !self.is_quoted(text, kind) && !self.is_formula(text, kind)
    }

    fn push(&self, text: &str, kind: Kind, out: &mut String) {
        let (is_quoted, is_formula) = (self.is_quoted(text, kind), self.is_formula(text, kind));
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

    fn push(&self, row: usize, options: &CsvOptions, out: &mut String) -> Result<(), ArrowError> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.push_str(&options.null);
            return Ok(());
        }
        match &self.values {
            Values::Texts(texts) => options.push(texts.value(row), Kind::Text, out),
            Values::Shown(shown, kind) => {
                let begin = out.len();
                shown
                    .push(row, out)
                    .map_err(|_| ArrowError::CsvError("a value that has no text".to_owned()))?;
                // Most stand as they are.
                if !options.is_plain(&out[begin..], *kind) {
                    let value = out.split_off(begin);
                    options.push(&value, *kind, out);
                }
            }
        }
        Ok(())
    }
}
