//! Separated values: dialect sniffed, types from the target, or found in the first rows.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use csv::ByteRecord;
use encoding_rs::{Encoding, UTF_8};

use super::dialect::{BUFFER_BYTES, Dialect, delimiter_line};
use super::encoding::{check_stored, decoded};
use super::input::{Meter, Tracked};
use super::line_ends::{Exchanged, MixedLineEnds, are_lone_cr, exchange, exchange_in};
use super::recent::{Recent, Seen};
use super::rows::{Place, RowTable, check_encoding, check_header};
use super::{Chunk, CsvOptions, ReadOptions, Renames, RowReader, Source, TextEncoding};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::infer::{Finding, Tally, to_identifier};
use crate::parse::{self, Slot};
use crate::rejected::Position;
use crate::spec::{COLUMNS_MAX, ColumnSpec, DatasetSpec, Evolution};

/// Bytes that the dialect is told from.
const HEAD_BYTES: usize = 64 * 1024;

/// A line behind the input. The parser takes the end for the end of a quote, too; where it gives this line out as part of a
/// field, a quote was left open. It is another one in each process, so that no input has it.
static END: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let number = || RandomState::new().build_hasher().finish();
    format!("\n\u{1a}{:016x}{:016x}\u{1a}", number(), number()).into_bytes()
});

/// The records of a file of separated values, with their places.
pub(crate) struct CsvRecords {
    source: Source,
    reader: csv::Reader<Recent<Tracked>>,
    meter: Arc<Meter>,
    seen: Arc<Seen>,
    dialect: Dialect,
    encoding: &'static Encoding,
    /// Whether lines end with a lone CR. The parser then reads CR and LF exchanged.
    is_exchanged: bool,
    header: Vec<String>,
    first: Option<(ByteRecord, Place)>,
    row: u64,
    /// The line on which a quote opens that nothing closes, where the last record has one.
    left_open: Option<u64>,
    row_max_bytes: usize,
}

impl CsvRecords {
    /// Opens `source`; `dialect` is sniffed when absent.
    pub(crate) fn open(
        source: &Source,
        dialect: Option<Dialect>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let (head, encoding) = decoded(source, options.csv.encoding)?;
        let mut first = Vec::new();
        let read = head.take(HEAD_BYTES as u64).read_to_end(&mut first);
        if let Err(error) = read
            && first.is_empty()
        {
            return Err(source.io("read", error));
        }
        check_encoding(source.name(), &first)?;
        let is_exchanged = are_lone_cr(&first, options.csv.quote.unwrap_or(b'"'));
        if is_exchanged {
            exchange(&mut first);
        }
        // A line `sep=;` is for Excel: it states the delimiter, and is no row.
        let stated = if dialect.is_none() { delimiter_line(&first) } else { None };
        let start = stated.map_or(0, |(_, bytes)| bytes);
        let dialect = dialect.unwrap_or_else(|| {
            let delimiter = stated.map(|(delimiter, _)| delimiter).or(options.csv.delimiter);
            Dialect::of(&first[start..], &CsvOptions { delimiter, ..options.csv.clone() })
        });
        if dialect.header {
            check_header(source.name(), &first, start)?;
        }
        // The parser reads ahead of the record that it is at.
        let limit_bytes = options.row_max_bytes.saturating_add(BUFFER_BYTES);
        let (input, _) = decoded(source, TextEncoding::Named(encoding))?;
        let input: Box<dyn BufRead + Send> = match is_exchanged {
            true => {
                Box::new(BufReader::new(Exchanged::new(input, dialect.quote)).chain(END.as_slice()))
            }
            false => Box::new(input.chain(END.as_slice())),
        };
        let (input, meter) = Tracked::new(input, limit_bytes);
        let (input, seen) = Recent::new(input);
        let mut records = Self {
            source: source.clone(),
            reader: dialect.builder().from_reader(input),
            meter,
            seen,
            dialect,
            encoding,
            is_exchanged,
            header: Vec::new(),
            first: None,
            row: 0,
            left_open: None,
            row_max_bytes: options.row_max_bytes,
        };
        if stated.is_some() {
            records.read(&mut ByteRecord::new())?;
        }
        records.read_header(&options.renames)?;
        Ok(records)
    }

    /// The names of the columns, as they stand; `column_N` for a missing one.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    fn read_header(&mut self, renames: &Renames) -> Result<()> {
        let mut record = ByteRecord::new();
        let Some(line) = self.read(&mut record)? else { return Ok(()) };
        if let Some(problem) = self.swallowed(&record) {
            let position = Position { source: self.source.name().into(), row: 0, line: Some(line) };
            return Err(Error::Malformed { position, column: None, problem });
        }
        let count = record.len();
        if count > COLUMNS_MAX {
            return Err(Error::Limit {
                source_name: self.source.name().into(),
                what: format!("{count} columns"),
                limit: COLUMNS_MAX as u64,
                unit: "columns",
            });
        }
        let numbered = |at: usize| numbered_column(at + 1);
        let named = |(at, field): (usize, &[u8])| {
            let name = String::from_utf8_lossy(field).trim().to_owned();
            if name.is_empty() { numbered(at) } else { name }
        };
        let names: Vec<String> = match self.dialect.header {
            true => record.iter().enumerate().map(named).collect(),
            false => (0..count).map(numbered).collect(),
        };
        self.header = renames.apply(self.source.name(), &names)?;
        if !self.dialect.header {
            self.row = 1;
            self.first = Some((record, Place { row: 1, line }));
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (at, name) in self.header.iter().enumerate() {
            if let Some(before) = seen.insert(name, at) {
                return Err(Error::Mismatch {
                    source_name: self.source.name().into(),
                    problem: format!(
                        "the header on line {line} names {} twice: columns {} and {}; rename one of them (--rename \"#{}=NAME\")",
                        parse::quoted(name),
                        before + 1,
                        at + 1,
                        at + 1
                    ),
                });
            }
        }
        Ok(())
    }

    /// Reads the next record into `record`; its place, or `None` at the end.
    pub(crate) fn next_record(&mut self, record: &mut ByteRecord) -> Result<Option<Place>> {
        if let Some((first, place)) = self.first.take() {
            *record = first;
            return Ok(Some(place));
        }
        let Some(line) = self.read(record)? else { return Ok(None) };
        self.row += 1;
        Ok(Some(Place { row: self.row, line }))
    }

    /// What is wrong with the record at `place` where a quote in it is left open, which swallows all that is behind it.
    pub(crate) fn problem(&self, place: Place, record: &ByteRecord) -> Option<String> {
        if place.row == self.row { self.swallowed(record) } else { None }
    }

    fn swallowed(&self, record: &ByteRecord) -> Option<String> {
        let line = self.left_open?;
        let field = record.iter().next_back().unwrap_or_default();
        let line_end = if self.is_exchanged { b'\r' } else { b'\n' };
        let lines =
            field.split(|byte| *byte == line_end).skip(1).filter(|line| !line.is_empty()).count();
        let quote = char::from(self.dialect.quote);
        Some(format!(
            "expected a closing {quote} for the one on line {line}, found the end; {lines} lines behind it are in this row"
        ))
    }

    /// The record as text again, for quarantine.
    pub(crate) fn original(&self, record: &ByteRecord) -> String {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(self.dialect.delimiter)
            .quote(self.dialect.quote)
            .from_writer(Vec::new());
        let written = writer.write_byte_record(record).is_ok();
        match writer.into_inner() {
            Ok(bytes) if written => String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned(),
            _ => String::from_utf8_lossy(record.as_slice()).into_owned(),
        }
    }

    /// Reads the next record, and returns the line on which it begins.
    fn read(&mut self, record: &mut ByteRecord) -> Result<Option<u64>> {
        let line = self.parse(record)?;
        if self.is_exchanged {
            exchange_in(record);
        }
        Ok(line)
    }

    fn parse(&mut self, record: &mut ByteRecord) -> Result<Option<u64>> {
        loop {
            let before = self.reader.position().line();
            self.meter.begin_record();
            let more = self.reader.read_byte_record(record).map_err(|e| self.failed(e, before))?;
            if !more || record.as_slice() == &END[1..] {
                return Ok(None);
            }
            if record.as_slice().ends_with(&END) {
                return Ok(Some(self.cut_end(record)));
            }
            self.trim(record);
            if record.len() == 1 && record[0].is_empty() {
                continue;
            }
            let inside = record.as_slice().iter().filter(|b| **b == b'\n').count() as u64;
            // Blank lines before the record are passed with it, so count back from its end.
            let line = before.max(self.reader.position().line().saturating_sub(1 + inside));
            return Ok(Some(line));
        }
    }

    /// Takes the line behind the input out of a record that has it; says on which line the record begins.
    fn cut_end(&mut self, record: &mut ByteRecord) -> u64 {
        let lines = |fields: &[u8]| fields.iter().filter(|byte| **byte == b'\n').count() as u64;
        let first = self.reader.position().line().saturating_sub(lines(record.as_slice())).max(1);
        let last = record.len().saturating_sub(1);
        let mut cut = ByteRecord::with_capacity(record.as_slice().len(), record.len());
        for (at, field) in record.iter().enumerate() {
            let end = if at == last { field.len().saturating_sub(END.len()) } else { field.len() };
            cut.push_field(&field[..end]);
        }
        let before: u64 = cut.iter().take(last).map(lines).sum();
        self.left_open = Some(first + before);
        *record = cut;
        first
    }

    /// Removes the `\r` of a CRLF from the last field, and padding from all fields. A `\r` before a
    /// closing quote is part of the field.
    fn trim(&self, record: &mut ByteRecord) {
        let last = record.len().saturating_sub(1);
        let is_line_end = || {
            let end = self.reader.position().byte();
            end.checked_sub(2).is_none_or(|at| self.seen.byte(at) == Some(b'\r'))
        };
        if record.get(last).is_some_and(|field| field.ends_with(b"\r")) && is_line_end() {
            let mut cut = ByteRecord::with_capacity(record.as_slice().len(), record.len());
            for (at, field) in record.iter().enumerate() {
                cut.push_field(if at == last { &field[..field.len() - 1] } else { field });
            }
            *record = cut;
        }
        if self.dialect.padded {
            record.trim();
        }
    }

    fn failed(&self, error: csv::Error, line: u64) -> Error {
        let source = self.source.name().into();
        let position = Position { source, row: self.row + 1, line: Some(line) };
        let malformed = |position, problem| Error::Malformed { position, column: None, problem };
        match error.into_kind() {
            csv::ErrorKind::Io(e) if Tracked::is_limit(&e) => Error::Limit {
                source_name: position.to_string(),
                what: "the row (is a quote left open?)".into(),
                limit: self.row_max_bytes as u64,
                unit: "bytes",
            },
            csv::ErrorKind::Io(e) if MixedLineEnds::is(&e) => malformed(position, e.to_string()),
            csv::ErrorKind::Io(e) => self.source.io("read", e),
            other => malformed(position, format!("{other:?}")),
        }
    }
}

/// The name of the column with this number, from 1, where the file has none.
pub(crate) fn numbered_column(number: usize) -> String {
    format!("column_{number}")
}

/// Reads separated values into typed columns.
pub(crate) struct CsvReader {
    records: CsvRecords,
    pending: VecDeque<(ByteRecord, Place)>,
    record: ByteRecord,
    columns: Vec<ColumnSpec>,
    written: CsvOptions,
    table: RowTable,
    done: bool,
}

impl CsvReader {
    pub(crate) fn open(
        source: &Source,
        target: Option<&DatasetSpec>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let dataset = target.map_or("", |target| target.name.as_str());
        check_stored(source, options.csv.encoding, dataset)?;
        let mut records = CsvRecords::open(source, None, options)?;
        let mut columns: Vec<ColumnSpec> = Vec::new();
        let mut unknown: Vec<usize> = Vec::new();
        for (at, name) in records.header().iter().enumerate() {
            let known =
                target.and_then(|t| t.column(name).or_else(|| t.column(&to_identifier(name))));
            if known.is_none() {
                unknown.push(at);
            }
            columns.push(ColumnSpec {
                name: name.clone(),
                data_type: known.map_or(ColumnType::Text, |c| c.data_type.clone()),
                nullable: true,
                unit: known.and_then(|c| c.unit.clone()),
                description: String::new(),
            });
        }
        let mut pending = VecDeque::new();
        if !unknown.is_empty() && target.is_none_or(|t| t.evolution == Evolution::AddNullable) {
            let guesses = read_ahead(&mut records, &unknown, &mut pending, options)?;
            for (at, guess) in unknown.into_iter().zip(guesses) {
                columns[at].data_type = guess.decide(options.share()).data_type;
            }
        }
        Ok(Self {
            table: RowTable::new(source.name(), &columns, options)?,
            written: options.csv.clone(),
            records,
            pending,
            record: ByteRecord::new(),
            columns,
            done: false,
        })
    }

    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let place = match self.pending.pop_front() {
                Some((record, place)) => {
                    self.record = record;
                    place
                }
                None => match self.records.next_record(&mut self.record)? {
                    Some(place) => place,
                    None => {
                        self.done = true;
                        break;
                    }
                },
            };
            let problem = self.records.problem(place, &self.record);
            let slots = problem.map_or_else(
                || row_slots(&self.record, &self.columns, &self.written, self.records.encoding),
                |problem| Err((None, problem)),
            );
            match slots {
                Ok(slots) => self.table.push(place, self.record.as_slice().len(), &slots)?,
                Err((column, reason)) => {
                    let original = self.records.original(&self.record);
                    self.table.reject(place, column.as_deref(), reason, original);
                }
            }
        }
        Ok(())
    }
}

impl RowReader for CsvReader {
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

fn read_ahead(
    records: &mut CsvRecords,
    unknown: &[usize],
    pending: &mut VecDeque<(ByteRecord, Place)>,
    options: &ReadOptions,
) -> Result<Vec<Tally>> {
    let mut guesses = vec![Tally::default(); unknown.len()];
    let width = records.header().len();
    let mut held_bytes = 0;
    while pending.len() < options.discovery_rows && held_bytes < options.discovery_bytes {
        let mut record = ByteRecord::new();
        let Some(place) = records.next_record(&mut record)? else { break };
        if record.len() == width {
            for (guess, at) in guesses.iter_mut().zip(unknown) {
                if let Ok(text) = std::str::from_utf8(&record[*at]) {
                    guess.add(text, place, &options.csv);
                }
            }
        }
        held_bytes += record.as_slice().len();
        pending.push_back((record, place));
    }
    Ok(guesses)
}

/// What a file of separated values looks like.
pub(crate) struct Looks {
    pub(crate) encoding: &'static Encoding,
    pub(crate) delimiter: u8,
    pub(crate) has_header: bool,
    /// The columns by their names in the file.
    pub(crate) columns: Vec<(String, Finding)>,
    /// Rows that were looked at, and whether they are all.
    pub(crate) rows: u64,
    pub(crate) is_whole: bool,
}

/// Looks through `source`, up to so many bytes of it.
pub(crate) fn look(
    source: &Source,
    options: &ReadOptions,
    bytes_max: usize,
    mostly: f64,
) -> Result<Looks> {
    let mut records = CsvRecords::open(source, None, options)?;
    let header = records.header().to_vec();
    let mut tallies = vec![Tally::default(); header.len()];
    let (mut record, mut rows, mut bytes) = (ByteRecord::new(), 0, 0);
    let is_whole = loop {
        if bytes > bytes_max {
            break false;
        }
        let Some(place) = records.next_record(&mut record)? else { break true };
        rows += 1;
        bytes += record.as_slice().len() + record.len();
        if record.len() != header.len() || records.problem(place, &record).is_some() {
            continue;
        }
        for (tally, field) in tallies.iter_mut().zip(&record) {
            if let Ok(text) = std::str::from_utf8(field) {
                tally.add(text, place, &options.csv);
            }
        }
    };
    let findings = tallies.iter().map(|tally| tally.decide(mostly));
    Ok(Looks {
        encoding: records.encoding,
        delimiter: records.dialect.delimiter,
        has_header: records.dialect.header,
        columns: header.into_iter().zip(findings).collect(),
        rows,
        is_whole,
    })
}

/// The fields as slots; an empty field is no value.
fn row_slots<'a>(
    record: &'a ByteRecord,
    columns: &[ColumnSpec],
    written: &CsvOptions,
    encoding: &'static Encoding,
) -> Result<Vec<Slot<'a>>, (Option<String>, String)> {
    if record.len() != columns.len() {
        return Err((None, format!("expected {} fields, found {}", columns.len(), record.len())));
    }
    let mut slots = Vec::with_capacity(columns.len());
    for (field, column) in record.iter().zip(columns) {
        let problem = match std::str::from_utf8(field) {
            // What decoding puts in place of them.
            Ok(text) if encoding != UTF_8 && text.contains(char::REPLACEMENT_CHARACTER) => {
                format!("expected text in {}, found bytes that are none", encoding.name())
            }
            Ok(text) => match written.slot(&column.data_type, text) {
                Ok(slot) => {
                    slots.push(slot);
                    continue;
                }
                Err(problem) => problem,
            },
            Err(e) => format!(
                "expected UTF-8 text, found byte 0x{:02X}; if the file has another encoding, state its `encoding`",
                field[e.valid_up_to()]
            ),
        };
        return Err((Some(column.name.clone()), format!("{:?}: {problem}", column.name)));
    }
    Ok(slots)
}
