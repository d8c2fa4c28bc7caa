//! Rows as CSV.
//!
//! Written here and not by `arrow-csv`, which has no way to tell a null from an empty text, to keep a cell from being a formula, or
//! to spread a structure over columns. Without options both write the same bytes.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::sink::{PIECE_BYTES, push_parts};
use super::{JsonEncoder, Shown, Sink, TextPieces, bytes_of, in_column, keys_of, push_base64};

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
            // Writing to a string cannot fail.
            let _ = self.push(name, Kind::Text, &mut line);
        }
        let is_blank = line.is_empty();
        end_line(&mut line, is_blank && names.len() == 1);
        Some(line)
    }

    /// Writes a line for each row.
    pub fn write(&self, batch: &RecordBatch, to: &mut dyn Write) -> Result<(), ArrowError> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            take_columns(field.name(), column, None, self.nested, &mut columns);
        }
        let cells = columns.iter().map(|column| Cells::new(&column.values));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        let mut out = TextPieces::new(to);
        for row in 0..batch.num_rows() {
            let begin = out.position();
            for (at, (column, cells)) in columns.iter().zip(&cells).enumerate() {
                if at > 0 {
                    out.text().push(self.delimiter);
                }
                match column.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    true => out.push_str(&self.null),
                    false => cells
                        .push(row, self, &mut out)
                        .map_err(|error| in_column(&column.name, error))?,
                }
                out.flush_if_full()?;
            }
            let is_blank = out.position() == begin;
            end_line(out.text(), is_blank && cells.len() == 1);
        }
        Ok(out.finish()?)
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

    fn push(&self, text: &str, kind: Kind, out: &mut impl Sink) -> Result<(), ArrowError> {
        let is_quoted = self.is_quoted(text, kind);
        self.begin_cell(text, kind, is_quoted, out.text());
        push_parts(out, text, |part, out| push_within(part, is_quoted, out))?;
        if is_quoted {
            out.text().push(QUOTE);
        }
        Ok(())
    }

    /// Writes the opening quote and the formula escape of a cell.
    fn begin_cell(&self, text: &str, kind: Kind, is_quoted: bool, out: &mut String) {
        if is_quoted {
            out.push(QUOTE);
        }
        if self.is_formula(text, kind) {
            out.push(FORMULA_ESCAPE);
        }
    }
}

/// Writes a part of a cell.
fn push_within(part: &str, is_quoted: bool, out: &mut String) {
    match is_quoted && part.contains(QUOTE) {
        true => part.split_inclusive(QUOTE).for_each(|part| {
            out.push_str(part);
            if part.ends_with(QUOTE) {
                out.push(QUOTE);
            }
        }),
        false => out.push_str(part),
    }
}

/// Writes a cell whose text comes part by part. A short cell is quoted only if it must be, a long
/// one always.
struct Cell<'a, S> {
    options: &'a CsvOptions,
    out: &'a mut S,
    text: String,
    is_begun: bool,
}

impl<'a, S: Sink> Cell<'a, S> {
    fn new(options: &'a CsvOptions, out: &'a mut S) -> Self {
        Self { options, out, text: String::new(), is_begun: false }
    }

    fn finish(self) -> Result<(), ArrowError> {
        if !self.is_begun {
            return self.options.push(&self.text, Kind::Text, self.out);
        }
        push_within(&self.text, true, self.out.text());
        self.out.text().push(QUOTE);
        Ok(())
    }
}

impl<S: Sink> Sink for Cell<'_, S> {
    fn text(&mut self) -> &mut String {
        &mut self.text
    }

    fn flush_if_full(&mut self) -> Result<(), ArrowError> {
        if self.text.len() < PIECE_BYTES {
            return Ok(());
        }
        if !self.is_begun {
            self.options.begin_cell(&self.text, Kind::Text, true, self.out.text());
            self.is_begun = true;
        }
        push_within(&self.text, true, self.out.text());
        self.text.clear();
        self.out.flush_if_full()
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

/// Ends a line. The only cell of a blank line is quoted, since readers skip blank lines.
fn end_line(text: &mut String, is_blank: bool) {
    if is_blank {
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
    name: String,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
}

fn take_columns(
    name: &str,
    array: &ArrayRef,
    outer: Option<&NullBuffer>,
    nested: NestedAs,
    columns: &mut Vec<Column>,
) {
    let nulls = NullBuffer::union(outer, array.logical_nulls().as_ref());
    match array.as_struct_opt() {
        Some(structure) if is_spread(array.data_type(), nested) => {
            let parts = structure.columns().iter();
            parts.for_each(|part| take_columns(name, part, nulls.as_ref(), nested, columns));
        }
        _ => columns.push(Column { name: name.to_owned(), values: Arc::clone(array), nulls }),
    }
}

/// The cells of a column.
enum Cells<'a> {
    Texts(&'a StringArray),
    LargeTexts(&'a LargeStringArray),
    TextViews(&'a StringViewArray),
    /// Lists, structures and maps. They are read back as the same values.
    Json(JsonEncoder<'a>),
    /// Bytes, as base64.
    Bytes(&'a dyn Array),
    /// The cells of a dictionary, and which of them each row has.
    Dictionary(Box<Self>, Vec<usize>),
    Shown(Shown<'a>, Kind),
}

impl<'a> Cells<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Texts(array.as_string()),
            DataType::LargeUtf8 => Self::LargeTexts(array.as_string()),
            DataType::Utf8View => Self::TextViews(array.as_string_view()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let cells = Self::new(dictionary.values())?;
                Self::Dictionary(Box::new(cells), keys_of(dictionary))
            }
            kind if kind.is_nested() => Self::Json(JsonEncoder::new(array.as_ref())?),
            kind if kind.is_binary() => Self::Bytes(array),
            kind if kind.is_numeric() || *kind == DataType::Boolean => {
                Self::Shown(Shown::new(array)?, Kind::Number)
            }
            _ => Self::Shown(Shown::new(array)?, Kind::Text),
        })
    }

    /// Writes the cell of a row that is not null.
    fn push(
        &self,
        row: usize,
        options: &CsvOptions,
        out: &mut TextPieces<'_>,
    ) -> Result<(), ArrowError> {
        match self {
            Self::Texts(texts) => options.push(texts.value(row), Kind::Text, out),
            Self::LargeTexts(texts) => options.push(texts.value(row), Kind::Text, out),
            Self::TextViews(texts) => options.push(texts.value(row), Kind::Text, out),
            Self::Json(encoder) => {
                let mut cell = Cell::new(options, out);
                encoder.write(row, &mut cell)?;
                cell.finish()
            }
            Self::Bytes(array) => {
                let mut cell = Cell::new(options, out);
                push_base64(bytes_of(*array, row), &mut cell)?;
                cell.finish()
            }
            Self::Dictionary(cells, keys) => match keys.get(row) {
                Some(key) => cells.push(*key, options, out),
                None => Ok(()),
            },
            Self::Shown(shown, kind) => {
                let text = out.text();
                let begin = text.len();
                shown.push(row, text)?;
                // Most stand as they are.
                if !options.is_plain(&text[begin..], *kind) {
                    let value = text.split_off(begin);
                    options.push(&value, *kind, out)?;
                }
                Ok(())
            }
        }
    }
}
