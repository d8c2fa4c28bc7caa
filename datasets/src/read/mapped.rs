//! The named public formats: each is a few lines that say which field goes where; the walking is here.

use arrow::datatypes::SchemaRef;
use csv::ByteRecord;

use super::csv::CsvRecords;
use super::dialect::Dialect;
use super::lines::Lines;
use super::rows::{Place, RowTable, check_encoding, original_text};
use super::{Chunk, ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::parse::{self, Slot};
use crate::spec::ColumnSpec;
use crate::specs;

/// Why a row of a named format is set aside.
pub(crate) struct Fault {
    pub(crate) column: Option<&'static str>,
    pub(crate) reason: String,
}

impl Fault {
    pub(crate) fn of(column: &'static str, reason: impl Into<String>) -> Self {
        Self { column: Some(column), reason: reason.into() }
    }

    pub(crate) fn row(reason: impl Into<String>) -> Self {
        Self { column: None, reason: reason.into() }
    }
}

/// Makes the target's values of a row's fields.
pub(crate) type Map =
    Box<dyn for<'a> FnMut(Place, &[&'a str]) -> Result<Vec<Slot<'a>>, Fault> + Send>;

/// The named columns of a shipped spec: those that a format fills.
pub(crate) fn columns_of(dataset: &str, names: &[&str]) -> Result<Vec<ColumnSpec>> {
    let spec = specs::by_name(dataset)
        .ok_or_else(|| Error::Internal(format!("no shipped spec of {dataset}")))?;
    names
        .iter()
        .map(|name| {
            spec.column(name)
                .cloned()
                .ok_or_else(|| Error::Internal(format!("{dataset} has no column {name}")))
        })
        .collect()
}

/// A required value of a field.
pub(crate) fn value<'a>(
    column: &'static str,
    data_type: &ColumnType,
    text: &'a str,
) -> Result<Slot<'a>, Fault> {
    if text.is_empty() {
        return Err(Fault::of(column, format!("{column:?}: expected {data_type}, found nothing")));
    }
    parse::text_slot(data_type, text).map_err(|e| Fault::of(column, format!("{column:?}: {e}")))
}

/// A text that may be missing.
pub(crate) fn optional_text(text: &str) -> Slot<'_> {
    if text.is_empty() { Slot::Null } else { Slot::Text(text.into()) }
}

/// The last part of a source's name, without `extension` (and `.gz`).
pub(crate) fn stem(source_name: &str, extension: &str) -> String {
    let last = source_name.rsplit(['/', '\\']).next().unwrap_or(source_name);
    let last = last.strip_suffix(".gz").unwrap_or(last);
    last.strip_suffix(extension).unwrap_or(last).to_owned()
}

/// Where the wanted columns stand in a header; fails when one is missing.
pub(crate) fn find_columns<const N: usize>(
    source_name: &str,
    header: &[String],
    wanted: [&str; N],
) -> Result<[usize; N]> {
    let mut found = [0; N];
    for (at, name) in wanted.iter().enumerate() {
        found[at] = header.iter().position(|h| h == name).ok_or_else(|| Error::Mismatch {
            source_name: source_name.to_owned(),
            problem: format!("expected column {name:?} in the header, found {header:?}"),
        })?;
    }
    Ok(found)
}

/// Rows of separated values, mapped.
pub(crate) struct MappedCsv {
    records: CsvRecords,
    record: ByteRecord,
    table: RowTable,
    map: Map,
    done: bool,
}

impl MappedCsv {
    /// Opens `source`; `plan` sees the header and says how rows are mapped to `columns`.
    pub(crate) fn open(
        source: &Source,
        dialect: Option<Dialect>,
        columns: &[ColumnSpec],
        options: &ReadOptions,
        plan: impl FnOnce(&[String]) -> Result<Map>,
    ) -> Result<Box<dyn RowReader>> {
        let records = CsvRecords::open(source, dialect, options)?;
        let map = plan(records.header())?;
        Ok(Box::new(Self {
            table: RowTable::new(source.name(), columns, options)?,
            records,
            record: ByteRecord::new(),
            map,
            done: false,
        }))
    }

    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let Some(place) = self.records.next_record(&mut self.record)? else {
                self.done = true;
                break;
            };
            let width = self.records.header().len();
            let mapped = match self.records.problem(place, &self.record) {
                Some(problem) => Err(Fault::row(problem)),
                None => fields(&self.record, width).and_then(|f| (self.map)(place, &f)),
            };
            match mapped {
                Ok(slots) => self.table.push(place, self.record.as_slice().len(), &slots)?,
                Err(fault) => {
                    let original = self.records.original(&self.record);
                    self.table.reject(place, fault.column, fault.reason, original);
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn fields(record: &ByteRecord, width: usize) -> Result<Vec<&str>, Fault> {
    if record.len() != width {
        return Err(Fault::row(format!("expected {width} fields, found {}", record.len())));
    }
    record
        .iter()
        .enumerate()
        .map(|(at, field)| {
            std::str::from_utf8(field)
                .map_err(|_| Fault::row(format!("field {}: expected UTF-8 text", at + 1)))
        })
        .collect()
}

impl RowReader for MappedCsv {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        if let Err(error) = self.fill() {
            self.done = true;
            return Err(error);
        }
        self.table.take_chunk()
    }
}

/// Lines of a text format, mapped; `map` gets the whole line as its only field.
pub(crate) struct MappedLines {
    source: Source,
    lines: Lines,
    table: RowTable,
    map: Map,
    row: u64,
    done: bool,
}

impl MappedLines {
    pub(crate) fn open(
        source: &Source,
        columns: &[ColumnSpec],
        options: &ReadOptions,
        map: Map,
    ) -> Result<Box<dyn RowReader>> {
        check_encoding(source.name(), &source.head(4_096)?)?;
        Ok(Box::new(Self {
            source: source.clone(),
            lines: Lines::new(source.text()?, options.row_max_bytes),
            table: RowTable::new(source.name(), columns, options)?,
            map,
            row: 0,
            done: false,
        }))
    }

    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let Some(line) = self.lines.next_line().map_err(|e| self.source.io("read", e))? else {
                self.done = true;
                break;
            };
            self.row += 1;
            let place = Place { row: self.row, line: line.number };
            let mapped = match std::str::from_utf8(line.bytes) {
                _ if line.cut => Err(Fault::row("the line is longer than a row may be")),
                Ok(text) => (self.map)(place, &[text]),
                Err(_) => Err(Fault::row("expected UTF-8 text")),
            };
            match mapped {
                Ok(slots) => self.table.push(place, line.bytes.len(), &slots)?,
                Err(fault) => {
                    self.table.reject(place, fault.column, fault.reason, original_text(line.bytes));
                }
            }
        }
        Ok(())
    }
}

impl RowReader for MappedLines {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        if let Err(error) = self.fill() {
            self.done = true;
            return Err(error);
        }
        self.table.take_chunk()
    }
}
