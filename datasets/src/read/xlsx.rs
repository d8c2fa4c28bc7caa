//! Worksheets of Excel (`.xlsx`, `.xlsm`), through the `calamine` crate.
//!
//! The first row with a value names the columns. A cell knows what it holds, so the text `007` is a text and
//! a number is one; a date is a number with a date's format. A formula has the value that Excel computed last.
//! A row with a value outside the named columns is rejected, and no other row.
//!
//! The crate borrows a workbook while it reads a sheet, so a separate thread reads and sends bounded blocks of rows.

mod cell;
mod parts;
mod rows;

use std::collections::VecDeque;
use std::io::{BufReader, Cursor, Read, Seek};
use std::sync::mpsc::{Receiver, sync_channel};

use arrow::datatypes::SchemaRef;
use calamine::{Reader as _, SheetType, SheetVisible, Xlsx};
use chrono_tz::Tz;

use self::parts::check_parts;
use self::rows::{Block, SheetRow, column_name, send_rows};
use super::rows::{Place, RowTable};
use super::{Chunk, Format, ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::contain::contain;
use crate::error::{Error, Result};
use crate::infer::{Finding, Tally, to_identifier};
use crate::parse::{self, Slot};
use crate::spec::{COLUMNS_MAX, ColumnSpec, DatasetSpec, Evolution};

/// The property of a workbook that states its zone. An exported workbook has its instants in UTC.
pub const WORKBOOK_ZONE: &str = "colonnade.zone";
/// Blocks of rows that may wait.
const BLOCKS_WAITING: usize = 4;

/// The rows of a sheet.
struct Sheet {
    source_name: String,
    /// The sheet that is read.
    name: String,
    rows: Receiver<Block>,
    block: VecDeque<SheetRow>,
    header: Vec<String>,
    /// The row that names the columns, and the first column of the table, from 0.
    header_line: u64,
    first_column: u32,
    /// Sheets that are not read.
    others: Vec<String>,
    row: u64,
    /// The zone of times, which have no offset in Excel.
    zone: Tz,
}

impl Sheet {
    fn open(source: &Source, options: &ReadOptions) -> Result<Self> {
        let name = source.name().to_owned();
        let states_utc = check_parts(&name, input_of(source)?, options)?;
        let mut workbook = open_workbook(source, &name)?;
        let (sheet, others) = sheet_of(&workbook, &name, options.sheet.as_deref())?;
        let sheet_name = sheet.clone();
        let (sender, rows) = sync_channel(BLOCKS_WAITING);
        let row_max_bytes = options.row_max_bytes;
        let reading = std::thread::Builder::new().name("xlsx".to_owned()).spawn(move || {
            let read =
                contain(|| send_rows(&mut workbook, &sheet, row_max_bytes, states_utc, &sender));
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
            name: sheet_name,
            rows,
            block: VecDeque::new(),
            header: Vec::new(),
            header_line: 0,
            first_column: 0,
            others,
            row: 0,
            zone: options.csv.zone.filter(|_| !states_utc).unwrap_or(Tz::UTC),
        };
        sheet.read_header(options)?;
        Ok(sheet)
    }

    fn read_header(&mut self, options: &ReadOptions) -> Result<()> {
        let Some(row) = self.next_sheet_row()? else {
            let others = match self.others.as_slice() {
                [] => String::new(),
                others => {
                    format!("; name another with --sheet: {}", super::renames::listed(others))
                }
            };
            let problem = format!("sheet {} is empty{others}", parse::quoted(&self.name));
            return Err(Error::Mismatch { source_name: self.source_name.clone(), problem });
        };
        let over = |what: String, limit: usize, unit: &'static str| Error::Limit {
            source_name: self.source_name.clone(),
            what,
            limit: limit as u64,
            unit,
        };
        if row.is_cut {
            let what = format!("row {}, which names the columns,", row.line);
            return Err(over(what, options.row_max_bytes, "bytes"));
        }
        let columns = || row.cells.iter().map(|(column, _)| *column);
        let (first, last) = (columns().min().unwrap_or(0), columns().max().unwrap_or(0));
        let count = (last - first) as usize + 1;
        if count > COLUMNS_MAX {
            return Err(over(format!("{count} columns"), COLUMNS_MAX, "columns"));
        }
        (self.header_line, self.first_column) = (row.line, first);
        let mut names: Vec<String> = (1..=count).map(|at| format!("column_{at}")).collect();
        for (column, cell) in &row.cells {
            let text = cell.text().trim();
            if !text.is_empty() {
                names[(column - first) as usize] = text.to_owned();
            }
        }
        self.header = options.renames.apply(&self.source_name, &names)?;
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

    /// The next row with its place.
    fn next_row(&mut self) -> Result<Option<(Place, SheetRow)>> {
        let Some(row) = self.next_sheet_row()? else { return Ok(None) };
        self.row += 1;
        Ok(Some((Place { row: self.row, line: row.line }, row)))
    }

    /// Where a cell stands among the columns of the table; `None` if it is outside.
    fn index(&self, column: u32) -> Option<usize> {
        let at = column.checked_sub(self.first_column)? as usize;
        (at < self.header.len()).then_some(at)
    }

    /// Why a row is no row of the table.
    fn problem(&self, row: &SheetRow) -> Option<String> {
        if let Some(problem) = &row.problem {
            return Some(problem.clone());
        }
        let (column, _) = row.cells.iter().find(|(column, _)| self.index(*column).is_none())?;
        let last = self.first_column + self.header.len().saturating_sub(1) as u32;
        Some(format!(
            "expected values in columns {} to {}, which row {} names, found one in {}{}",
            column_name(self.first_column),
            column_name(last),
            self.header_line,
            column_name(*column),
            row.line
        ))
    }

    /// The values of a row, in the order of the columns.
    fn slots<'a>(
        &self,
        row: &'a SheetRow,
        columns: &[ColumnSpec],
    ) -> Result<Vec<Slot<'a>>, (String, String)> {
        let mut slots = vec![Slot::Null; columns.len()];
        for (column, cell) in &row.cells {
            let Some(at) = self.index(*column) else { continue };
            let ColumnSpec { name, data_type, .. } = &columns[at];
            slots[at] = cell
                .slot(data_type, self.zone)
                .map_err(|problem| (name.clone(), format!("{name:?}: {problem}")))?;
        }
        Ok(slots)
    }

    /// The texts of a row, in the order of the columns.
    fn original(&self, row: &SheetRow) -> String {
        let mut texts = vec![""; self.header.len()];
        for (column, cell) in &row.cells {
            if let Some(at) = self.index(*column) {
                texts[at] = cell.text();
            }
        }
        serde_json::Value::from(texts).to_string()
    }

    fn tally(&self, tallies: &mut [Tally], row: &SheetRow, place: Place) {
        if self.problem(row).is_some() {
            return;
        }
        for (column, cell) in &row.cells {
            if let (Some(at), Some(look)) = (self.index(*column), cell.look()) {
                tallies[at].count_look(look, cell.text(), place);
            }
        }
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

/// The requested sheet, if it is another one than the sheet that is read without a request.
pub fn other_sheet(source: &Source, options: &ReadOptions) -> Result<Option<String>> {
    let Some(asked) = &options.sheet else { return Ok(None) };
    let name = source.name();
    check_parts(name, input_of(source)?, options)?;
    let workbook = open_workbook(source, name)?;
    let (found, _) = sheet_of(&workbook, name, Some(asked))?;
    let (default, _) = sheet_of(&workbook, name, None)?;
    Ok((found != default).then_some(found))
}

fn open_workbook(source: &Source, name: &str) -> Result<Workbook> {
    contain(|| Xlsx::new(input_of(source)?).map_err(|e| unreadable(name, e)))
        .unwrap_or_else(|problem| Err(unreadable(name, problem)))
}

/// Reads a worksheet into typed columns.
pub(crate) struct XlsxReader {
    sheet: Sheet,
    columns: Vec<ColumnSpec>,
    pending: VecDeque<(Place, SheetRow)>,
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
            let mut held_bytes = 0;
            while pending.len() < options.discovery_rows
                && held_bytes < options.discovery_bytes
                && let Some((place, row)) = sheet.next_row()?
            {
                sheet.tally(&mut tallies, &row, place);
                held_bytes += row.bytes;
                pending.push_back((place, row));
            }
            for at in unknown {
                columns[at].data_type = tallies[at].decide(options.share()).data_type;
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
            let Some((place, row)) = next else {
                self.done = true;
                break;
            };
            if let Some(problem) = self.sheet.problem(&row) {
                self.table.reject(place, None, problem, row.original());
                continue;
            }
            match self.sheet.slots(&row, &self.columns) {
                Ok(slots) => self.table.push(place, row.bytes + self.columns.len(), &slots)?,
                Err((column, reason)) => {
                    let original = self.sheet.original(&row);
                    self.table.reject(place, Some(&column), reason, original);
                }
            }
        }
        Ok(())
    }
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
    while let Some((place, row)) = sheet.next_row()? {
        sheet.tally(&mut tallies, &row, place);
    }
    let findings = tallies.iter().map(|tally| tally.decide(mostly));
    let columns = std::mem::take(&mut sheet.header).into_iter().zip(findings).collect();
    Ok(Looks { columns, others: std::mem::take(&mut sheet.others) })
}
