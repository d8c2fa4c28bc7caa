//! Worksheets of Excel (`.xlsx`, `.xlsm`), through the `calamine` crate.
//!
//! The first row with a value names the columns. A cell has a type: the text `007` stays text, a number is a number, and a
//! number with a date format is a date. Excel has no time zones, so times are read as UTC, with Excel's precision of a
//! millisecond. A formula has the value that Excel computed last.
//!
//! The crate borrows a workbook while it reads a sheet, so a separate thread reads and sends bounded blocks of rows.

use std::collections::VecDeque;
use std::io::{BufReader, Cursor, Read, Seek};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow::datatypes::SchemaRef;
use calamine::{CellErrorType, DataRef, Reader as _, SheetType, SheetVisible, Xlsx};
use zip::ZipArchive;

use super::rows::{Place, RowTable};
use super::{Chunk, Format, ReadOptions, Renames, RowReader, Source};
use crate::column_type::ColumnType;
use crate::contain::contain;
use crate::error::{Error, Result};
use crate::infer::{Finding, Look, Tally, to_identifier};
use crate::parse::{self, Slot};
use crate::spec::{COLUMNS_MAX, ColumnSpec, DatasetSpec, Evolution};

/// Most columns of a sheet (Excel's own limit).
const SHEET_COLUMNS_MAX: u32 = 16_384;
/// Rows in a block, and blocks that may be queued.
const BLOCK_ROWS: usize = 1_024;
const BLOCKS_WAITING: usize = 4;
/// Most parts (sheets, strings, styles) of a workbook.
const PARTS_MAX: usize = 10_000;
/// Bytes that are unpacked at once when a part is checked.
const BUFFER_BYTES: usize = 64 * 1024;
const MILLIS_PER_DAY: f64 = 86_400_000.0;

/// The value of a cell.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Empty,
    Text(String),
    /// The exact text of a number.
    Number(String, Look),
    Bool(bool),
    /// A date, an instant or a time of day, as text.
    Time(String, Look),
    /// An error value such as `#DIV/0!`.
    Fault(&'static str),
}

impl Cell {
    fn of(value: &DataRef<'_>) -> Self {
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

    fn text(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Text(text) | Self::Number(text, _) | Self::Time(text, _) => text,
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Fault(name) => name,
        }
    }

    fn look(&self) -> Option<Look> {
        match self {
            Self::Empty | Self::Fault(_) => None,
            Self::Text(_) => Some(Look::Text),
            Self::Number(_, look) | Self::Time(_, look) => Some(*look),
            Self::Bool(_) => Some(Look::Bool),
        }
    }

    /// The cell as a value of `data_type`; the error states what was expected and found.
    fn slot(&self, data_type: &ColumnType) -> Result<Slot<'_>, String> {
        match self {
            Self::Empty => Ok(Slot::Null),
            Self::Fault(name) => Err(format!("expected {data_type}, found the error {name}")),
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

/// A duration as `hours:minutes:seconds`. Hours may exceed 24.
fn duration_text(days: f64) -> String {
    let millis = (days.abs() * MILLIS_PER_DAY).round() as u64;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let sign = if days < 0.0 { "-" } else { "" };
    let text = format!("{sign}{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if millis > 0 { format!("{text}.{millis:03}") } else { text }
}

/// A row of a sheet: its row number, and its cells from the table's first column on.
struct SheetRow {
    line: u64,
    cells: Vec<Cell>,
}

/// The rows of a sheet.
struct Sheet {
    source_name: String,
    rows: Receiver<Result<Vec<SheetRow>, String>>,
    block: VecDeque<SheetRow>,
    header: Vec<String>,
    /// Names of the sheets that are not read.
    others: Vec<String>,
    row: u64,
}

impl Sheet {
    fn open(source: &Source, options: &ReadOptions) -> Result<Self> {
        let name = source.name().to_owned();
        check_parts(&name, input_of(source)?, options)?;
        let mut workbook =
            contain(|| Xlsx::new(input_of(source)?).map_err(|e| unreadable(&name, e)))
                .unwrap_or_else(|problem| Err(unreadable(&name, problem)))?;
        let (sheet, others) = sheet_of(&workbook, &name, options.sheet.as_deref())?;
        let (sender, rows) = sync_channel(BLOCKS_WAITING);
        let reading = std::thread::Builder::new().name("xlsx".to_owned()).spawn(move || {
            let read = contain(|| send_rows(&mut workbook, &sheet, &sender));
            if let Ok(Err(problem)) | Err(problem) = read {
                // The receiver may have been dropped.
                let _ = sender.send(Err(problem));
            }
        });
        reading.map_err(|error| Error::Io {
            source_name: name.clone(),
            action: "start a thread for",
            error,
        })?;
        let mut sheet = Self {
            source_name: name,
            rows,
            block: VecDeque::new(),
            header: Vec::new(),
            others,
            row: 0,
        };
        sheet.read_header(&options.renames)?;
        Ok(sheet)
    }

    fn read_header(&mut self, renames: &Renames) -> Result<()> {
        let Some(row) = self.next_sheet_row()? else { return Ok(()) };
        if row.cells.len() > COLUMNS_MAX {
            return Err(Error::Limit {
                source_name: self.source_name.clone(),
                what: format!("{} columns", row.cells.len()),
                limit: COLUMNS_MAX as u64,
                unit: "columns",
            });
        }
        let name = |(at, cell): (usize, &Cell)| match cell.text().trim() {
            "" => format!("column_{}", at + 1),
            text => text.to_owned(),
        };
        let names: Vec<String> = row.cells.iter().enumerate().map(name).collect();
        self.header = renames.apply(&self.source_name, &names)?;
        let twice =
            (1..self.header.len()).find(|at| self.header[..*at].contains(&self.header[*at]));
        match twice {
            None => Ok(()),
            Some(at) => Err(Error::Mismatch {
                source_name: self.source_name.clone(),
                problem: format!(
                    "row {} names {} twice; rename one of them (--rename \"#{}=NAME\")",
                    row.line,
                    parse::quoted(&self.header[at]),
                    at + 1
                ),
            }),
        }
    }

    fn next_sheet_row(&mut self) -> Result<Option<SheetRow>> {
        if self.block.is_empty()
            && let Ok(block) = self.rows.recv()
        {
            let block = block.map_err(|problem| self.unreadable(problem))?;
            self.block.extend(block);
        }
        Ok(self.block.pop_front())
    }

    /// The next row with its position. Missing cells at its end are empty.
    fn next_row(&mut self) -> Result<Option<(Place, Vec<Cell>)>> {
        let Some(mut row) = self.next_sheet_row()? else { return Ok(None) };
        self.row += 1;
        if row.cells.len() < self.header.len() {
            row.cells.resize(self.header.len(), Cell::Empty);
        }
        Ok(Some((Place { row: self.row, line: row.line }, row.cells)))
    }

    fn unreadable(&self, problem: String) -> Error {
        unreadable(&self.source_name, problem)
    }
}

fn unreadable(source_name: &str, problem: impl std::fmt::Display) -> Error {
    Error::Unreadable {
        source_name: source_name.to_owned(),
        format: Format::Xlsx.name(),
        problem: problem.to_string(),
    }
}

/// The input of a workbook. It is a single type so that the crate's code is compiled once.
trait Input: Read + Seek + Send {}
impl<T: Read + Seek + Send> Input for T {}
type Workbook = Xlsx<Box<dyn Input>>;

fn input_of(source: &Source) -> Result<Box<dyn Input>> {
    Ok(match source {
        Source::Body { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
        Source::File { .. } => Box::new(BufReader::new(source.file()?)),
    })
}

/// The requested sheet, or the first visible one, and the names of the others.
fn sheet_of(
    workbook: &Workbook,
    source_name: &str,
    asked: Option<&str>,
) -> Result<(String, Vec<String>)> {
    let sheets = workbook.sheets_metadata().iter();
    let tables: Vec<_> = sheets.filter(|sheet| sheet.typ == SheetType::WorkSheet).collect();
    let names: Vec<String> = tables.iter().map(|sheet| sheet.name.clone()).collect();
    let visible = tables.iter().find(|sheet| sheet.visible == SheetVisible::Visible);
    let found = match asked {
        Some(asked) => names.iter().find(|name| *name == asked).cloned(),
        None => visible.map(|sheet| sheet.name.clone()).or_else(|| names.first().cloned()),
    };
    let found = found.ok_or_else(|| Error::Mismatch {
        source_name: source_name.to_owned(),
        problem: match asked {
            Some(asked) => format!(
                "there is no sheet {}; there are {}",
                parse::quoted(asked),
                super::renames::listed(&names)
            ),
            None => "the workbook has no worksheet".to_owned(),
        },
    })?;
    let others = names.into_iter().filter(|name| *name != found).collect();
    Ok((found, others))
}

/// Reads the rows of a sheet that have a value, and sends them in blocks.
fn send_rows(
    book: &mut Workbook,
    sheet: &str,
    sender: &SyncSender<Result<Vec<SheetRow>, String>>,
) -> Result<(), String> {
    let mut cells = book.worksheet_cells_reader(sheet).map_err(|error| error.to_string())?;
    let mut block: Vec<SheetRow> = Vec::new();
    let (mut row, mut first): (Option<(u32, Vec<Cell>)>, Option<u32>) = (None, None);
    loop {
        let next = cells.next_cell().map_err(|error| error.to_string())?;
        let place = next.as_ref().map(|cell| cell.get_position());
        let is_end = |row: &(u32, Vec<Cell>)| place.is_none_or(|(line, _)| line != row.0);
        if let Some((line, cells)) = row.take_if(|row| is_end(row)) {
            let line = u64::from(line) + 1;
            block.push(SheetRow { line, cells });
            if block.len() >= BLOCK_ROWS && sender.send(Ok(std::mem::take(&mut block))).is_err() {
                return Ok(());
            }
        }
        let Some(cell) = next else { break };
        let value = Cell::of(cell.get_value());
        if value == Cell::Empty {
            continue;
        }
        let (line, column) = cell.get_position();
        if column >= SHEET_COLUMNS_MAX {
            return Err(format!("a cell in column {column}; a sheet has {SHEET_COLUMNS_MAX}"));
        }
        // The table starts in the first column of its first row.
        let first = *first.get_or_insert(column);
        let Some(at) = column.checked_sub(first) else {
            return Err(format!(
                "row {} has a value in column {}, before the first name of a column",
                line + 1,
                column + 1
            ));
        };
        let (_, cells) = row.get_or_insert_with(|| (line, Vec::new()));
        let at = at as usize;
        if cells.len() <= at {
            cells.resize(at + 1, Cell::Empty);
        }
        cells[at] = value;
    }
    // The receiver may have been dropped.
    let _ = sender.send(Ok(block));
    Ok(())
}

/// Fails for a workbook that unpacks to more than the memory budget. The crate holds shared strings and styles in memory, but
/// only one cell of a sheet.
fn check_parts(name: &str, input: Box<dyn Input>, options: &ReadOptions) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| unreadable(name, error);
    let mut archive = ZipArchive::new(input).map_err(|e| failed(&e))?;
    if archive.len() > PARTS_MAX {
        return Err(failed(&format!("{} parts; expected at most {PARTS_MAX}", archive.len())));
    }
    let mut held = options.decoded_budget_bytes;
    let mut buffer = vec![0; BUFFER_BYTES];
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(|e| failed(&e))?;
        let path = part.name().map_err(|e| failed(&e))?.into_owned();
        let is_sheet = path.contains("worksheets/");
        if !(is_sheet || path.ends_with(".xml") || path.ends_with(".rels")) {
            continue;
        }
        // Bytes since the last tag, which belong to one text.
        let mut run = 0_usize;
        loop {
            let count = part.read(&mut buffer).map_err(|e| failed(&e))?;
            if count == 0 {
                break;
            }
            let over = |what: String, limit: usize| Error::Limit {
                source_name: name.to_owned(),
                what,
                limit: limit as u64,
                unit: "bytes",
            };
            for piece in buffer[..count].split_inclusive(|byte| *byte == b'<') {
                run += piece.len();
                if run > options.row_max_bytes {
                    return Err(over(format!("a text of {path}"), options.row_max_bytes));
                }
                if piece.ends_with(b"<") {
                    run = 0;
                }
            }
            if !is_sheet {
                held = held.checked_sub(count).ok_or_else(|| {
                    over("the unpacked texts and styles".to_owned(), options.decoded_budget_bytes)
                })?;
            }
        }
    }
    Ok(())
}

/// Reads a worksheet into typed columns.
pub(crate) struct XlsxReader {
    sheet: Sheet,
    columns: Vec<ColumnSpec>,
    pending: VecDeque<(Place, Vec<Cell>)>,
    table: RowTable,
    done: bool,
}

impl XlsxReader {
    pub(crate) fn open(
        source: &Source,
        target: Option<&DatasetSpec>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let mut sheet = Sheet::open(source, options)?;
        let known = |name: &String| {
            target.and_then(|t| t.column(name).or_else(|| t.column(&to_identifier(name))))
        };
        let mut columns: Vec<ColumnSpec> = sheet
            .header
            .iter()
            .map(|name| ColumnSpec {
                name: name.clone(),
                data_type: known(name).map_or(ColumnType::Text, |c| c.data_type.clone()),
                nullable: true,
                unit: known(name).and_then(|c| c.unit.clone()),
                description: String::new(),
            })
            .collect();
        let unknown: Vec<usize> =
            (0..columns.len()).filter(|at| known(&sheet.header[*at]).is_none()).collect();
        let mut pending = VecDeque::new();
        if !unknown.is_empty() && target.is_none_or(|t| t.evolution == Evolution::AddNullable) {
            let mut tallies = vec![Tally::default(); columns.len()];
            while pending.len() < options.discovery_rows
                && let Some((place, cells)) = sheet.next_row()?
            {
                tally(&mut tallies, &cells, place);
                pending.push_back((place, cells));
            }
            for at in unknown {
                columns[at].data_type = tallies[at].decide(1.0).data_type;
            }
        }
        let table = RowTable::new(source.name(), &columns, options)?;
        Ok(Self { sheet, columns, pending, table, done: false })
    }

    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let next = match self.pending.pop_front() {
                Some(row) => Some(row),
                None => self.sheet.next_row()?,
            };
            let Some((place, cells)) = next else {
                self.done = true;
                break;
            };
            let bytes = cells.iter().map(|cell| cell.text().len() + 1).sum();
            match slots(&cells, &self.columns) {
                Ok(slots) => self.table.push(place, bytes, &slots)?,
                Err((column, reason)) => {
                    let texts: Vec<&str> = cells.iter().map(Cell::text).collect();
                    let original = serde_json::Value::from(texts).to_string();
                    self.table.reject(place, column.as_deref(), reason, original);
                }
            }
        }
        Ok(())
    }
}

fn tally(tallies: &mut [Tally], cells: &[Cell], place: Place) {
    if cells.len() > tallies.len() {
        return;
    }
    for (tally, cell) in tallies.iter_mut().zip(cells) {
        if let Some(look) = cell.look() {
            tally.count_look(look, cell.text(), place);
        }
    }
}

fn slots<'a>(
    cells: &'a [Cell],
    columns: &[ColumnSpec],
) -> Result<Vec<Slot<'a>>, (Option<String>, String)> {
    if cells.len() > columns.len() {
        return Err((None, format!("expected {} cells, found {}", columns.len(), cells.len())));
    }
    let cells = cells.iter().zip(columns);
    let slots = cells.map(|(cell, column)| {
        cell.slot(&column.data_type)
            .map_err(|problem| (Some(column.name.clone()), format!("{:?}: {problem}", column.name)))
    });
    slots.collect()
}

impl RowReader for XlsxReader {
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

/// The inferred columns of a worksheet.
pub(crate) struct Looks {
    /// The columns by their names in the file.
    pub(crate) columns: Vec<(String, Finding)>,
    /// Names of the sheets that are not read.
    pub(crate) others: Vec<String>,
}

/// Reads a worksheet and infers column types that fit at least the share `mostly` of the values.
pub(crate) fn look(source: &Source, options: &ReadOptions, mostly: f64) -> Result<Looks> {
    let mut sheet = Sheet::open(source, options)?;
    let mut tallies = vec![Tally::default(); sheet.header.len()];
    while let Some((place, cells)) = sheet.next_row()? {
        tally(&mut tallies, &cells, place);
    }
    let findings = tallies.iter().map(|tally| tally.decide(mostly));
    let columns = std::mem::take(&mut sheet.header).into_iter().zip(findings).collect();
    Ok(Looks { columns, others: std::mem::take(&mut sheet.others) })
}
