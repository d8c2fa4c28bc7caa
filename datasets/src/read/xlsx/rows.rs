//! The rows of a worksheet in bounded blocks, read on a thread of their own.
//!
//! A row holds only its cells with a value. A sheet has 16,384 columns, so rows that held every cell up to
//! their last would multiply the size of a file by thousands.

use std::sync::mpsc::SyncSender;

use calamine::{DataRef, XlsxCellReader, XlsxError};
use serde_json::{Map, Value};

use super::cell::Cell;
use super::{Input, Workbook};
use crate::read::lines::ORIGINAL_KEPT_BYTES;

/// Most rows in a block.
const BLOCK_ROWS: usize = 1_024;
/// A block is complete when its rows hold this number of bytes.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Characters of a problem that are shown.
const PROBLEM_CHARS: usize = 160;

/// A row of a sheet.
#[derive(Debug)]
pub(super) struct SheetRow {
    /// Its number in the sheet, from 1.
    pub(super) line: u64,
    /// The cells with a value, each with the number of its column in the sheet, from 0.
    pub(super) cells: Vec<(u32, Cell)>,
    /// Bytes that the row holds.
    pub(super) bytes: usize,
    /// Whether the row is longer than a row may be.
    pub(super) is_cut: bool,
    /// Why the row cannot be read. `cells` then lacks some.
    pub(super) problem: Option<String>,
}

/// A block of rows, or why the sheet cannot be read.
pub(super) type Block = Result<Vec<SheetRow>, String>;

impl SheetRow {
    fn new(line: u32) -> Self {
        let line = u64::from(line) + 1;
        Self { line, cells: Vec::new(), bytes: 0, is_cut: false, problem: None }
    }

    /// Adds a cell. Of a row longer than `max_bytes` only the beginning is stored.
    fn push(&mut self, column: u32, value: Cell, max_bytes: usize) {
        if self.is_cut {
            return;
        }
        let bytes = size_of::<(u32, Cell)>() + value.text().len();
        if self.bytes + bytes <= max_bytes {
            self.bytes += bytes;
            self.cells.push((column, value));
            return;
        }
        self.is_cut = true;
        self.problem = Some(format!("expected a row of at most {max_bytes} bytes, found more"));
        let mut kept = 0;
        let fits = |(_, cell): &(u32, Cell)| {
            kept += size_of::<(u32, Cell)>() + cell.text().len();
            kept <= ORIGINAL_KEPT_BYTES
        };
        self.cells.retain(fits);
        self.cells.shrink_to_fit();
        self.bytes = self.bytes.min(ORIGINAL_KEPT_BYTES);
    }

    /// The cells by their references: `{"A8": "7"}`.
    pub(super) fn original(&self) -> String {
        let named = |(column, cell): &(u32, Cell)| {
            (format!("{}{}", column_name(*column), self.line), Value::from(cell.text()))
        };
        Value::Object(self.cells.iter().map(named).collect::<Map<_, _>>()).to_string()
    }
}

/// A column's name in Excel: `A`, `Z`, `AA`, `XFD`.
pub(super) fn column_name(column: u32) -> String {
    let mut letters = Vec::new();
    let mut left = u64::from(column) + 1;
    while left > 0 {
        letters.push((b'A' + ((left - 1) % 26) as u8) as char);
        left = (left - 1) / 26;
    }
    letters.iter().rev().collect()
}

/// Reads the rows of a sheet that have a value, and sends them in blocks. `is_exact` says whether instants are stated to the
/// microsecond.
pub(super) fn send_rows(
    book: &mut Workbook,
    sheet: &str,
    row_max_bytes: usize,
    is_exact: bool,
    sender: &SyncSender<Block>,
) -> Result<(), String> {
    let mut cells = book.worksheet_cells_reader(sheet).map_err(|error| error.to_string())?;
    let mut rows = Rows { row: None, table: None, block: Vec::new(), bytes: 0, sender };
    // Why the cell before the next one could not be read. Its position is unknown: it lies between its neighbours.
    let mut fault: Option<Fault> = None;
    loop {
        match next_cell(&mut cells, is_exact)? {
            Next::Fault(problem) => {
                let is_noted = rows.lacks_cells();
                if let Some(row) = rows.row.as_mut().filter(|_| is_noted) {
                    row.problem.get_or_insert_with(|| problem.clone());
                }
                fault = Some(Fault { problem, is_noted });
            }
            Next::Cell(line, column, value) => {
                let is_behind = rows.table.is_some_and(|(first, _)| column > first);
                let is_same = rows.row.as_ref().is_some_and(|row| row.line == u64::from(line) + 1);
                let Some(row) = rows.at(line) else { return Ok(()) };
                if let Some(Fault { problem, is_noted }) = fault.take()
                    && (is_same || is_behind || !is_noted)
                {
                    row.problem.get_or_insert(problem);
                }
                if value != Cell::Empty {
                    row.push(column, value, row_max_bytes);
                }
            }
            Next::End => break,
        }
    }
    if let Some(Fault { problem, is_noted: false }) = fault {
        rows.row.get_or_insert_with(|| SheetRow::new(0)).problem.get_or_insert(problem);
    }
    rows.end_row();
    // Sending fails only if the receiver was dropped.
    let _ = sender.send(Ok(rows.block));
    Ok(())
}

/// A cell that cannot be read.
struct Fault {
    problem: String,
    /// Whether the row before has the problem.
    is_noted: bool,
}

enum Next {
    /// Row, column and value.
    Cell(u32, u32, Cell),
    /// Why a cell cannot be read. The next one may be readable.
    Fault(String),
    End,
}

fn next_cell(
    cells: &mut XlsxCellReader<'_, Box<dyn Input>>,
    is_exact: bool,
) -> Result<Next, String> {
    use XlsxError as E;
    match cells.next_cell_with_formula_metadata() {
        Ok(None) => Ok(Next::End),
        Ok(Some(cell)) => {
            let (line, column) = cell.pos;
            let value = match (cell.value, cell.formula) {
                (DataRef::Empty, Some(_)) => Cell::Uncomputed,
                (value, _) => Cell::of(&value, is_exact),
            };
            Ok(Next::Cell(line, column, value))
        }
        Err(
            error @ (E::CellError(_)
            | E::CellTAttribute(_)
            | E::ParseFloat(_)
            | E::ParseInt(_)
            | E::Unrecognized { .. }
            | E::Unexpected(_)
            | E::UnexpectedNode(_)
            | E::DimensionCount(_)
            | E::Alphanumeric(_)
            | E::NumericColumn(_)
            | E::RangeWithoutColumnComponent
            | E::RangeWithoutRowComponent
            | E::ColumnNumberOverflow
            | E::RowNumberOverflow),
        ) => {
            let shown: String = error.to_string().chars().take(PROBLEM_CHARS).collect();
            Ok(Next::Fault(format!("a cell of this row or of a neighbouring row: {shown}")))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Rows on their way into blocks.
struct Rows<'a> {
    /// The row that is being read.
    row: Option<SheetRow>,
    /// The first and the last column of the first row, which names the columns.
    table: Option<(u32, u32)>,
    block: Vec<SheetRow>,
    bytes: usize,
    sender: &'a SyncSender<Block>,
}

impl Rows<'_> {
    /// The row `line`; `None` if the receiver was dropped.
    fn at(&mut self, line: u32) -> Option<&mut SheetRow> {
        if self.row.as_ref().is_some_and(|row| row.line != u64::from(line) + 1) {
            self.end_row();
            if self.block.len() >= BLOCK_ROWS || self.bytes >= BLOCK_BYTES {
                self.bytes = 0;
                self.sender.send(Ok(std::mem::take(&mut self.block))).ok()?;
            }
        }
        Some(self.row.get_or_insert_with(|| SheetRow::new(line)))
    }

    /// Whether another cell of the table may follow in the row that is being read.
    fn lacks_cells(&self) -> bool {
        let (Some(row), Some((_, last))) = (&self.row, self.table) else { return false };
        row.cells.last().is_none_or(|(column, _)| *column < last)
    }

    fn end_row(&mut self) {
        let row = self.row.take();
        if let Some(row) = row.filter(|row| !row.cells.is_empty() || row.problem.is_some()) {
            let columns = || row.cells.iter().map(|(column, _)| *column);
            self.table = self.table.or_else(|| columns().min().zip(columns().max()));
            self.bytes += row.bytes;
            self.block.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use rust_xlsxwriter::Workbook as Writer;

    use super::*;

    /// The bytes and rows of the blocks of a sheet that `write` fills.
    fn blocks(write: impl FnOnce(&mut rust_xlsxwriter::Worksheet)) -> Vec<(usize, usize)> {
        let mut writer = Writer::new();
        write(writer.add_worksheet());
        let bytes = writer.save_to_buffer().unwrap();
        let input: Box<dyn Input> = Box::new(Cursor::new(bytes));
        let mut book: Workbook = calamine::Reader::new(input).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1_000);
        send_rows(&mut book, "Sheet1", 1 << 24, false, &sender).unwrap();
        drop(sender);
        let held = |rows: Vec<SheetRow>| {
            let cells = rows.iter().map(|row| row.cells.capacity() * size_of::<(u32, Cell)>());
            let texts = rows.iter().flat_map(|row| &row.cells).map(|(_, cell)| cell.text().len());
            (cells.sum::<usize>() + texts.sum::<usize>(), rows.len())
        };
        receiver.iter().map(|block| held(block.unwrap())).collect()
    }

    #[test]
    fn a_row_of_one_far_cell_holds_one_cell() {
        let blocks = blocks(|sheet| {
            sheet.write_string(0, 0, "id").unwrap();
            for row in 1..=6_000 {
                sheet.write_number(row, 16_383, 1.0).unwrap();
            }
        });
        assert_eq!(blocks.iter().map(|(_, rows)| rows).sum::<usize>(), 6_001);
        for (bytes, rows) in blocks {
            assert!(bytes <= BLOCK_BYTES / 2 && rows <= BLOCK_ROWS, "{bytes} bytes, {rows} rows");
        }
    }

    #[test]
    fn a_block_ends_by_its_bytes() {
        let text = "x".repeat(30_000);
        let blocks = blocks(|sheet| {
            for row in 0..500 {
                sheet.write_string(row, 0, &text).unwrap();
            }
        });
        assert_eq!(blocks.iter().map(|(_, rows)| rows).sum::<usize>(), 500);
        for (bytes, _) in blocks {
            assert!(bytes <= BLOCK_BYTES + 40_000, "{bytes} bytes");
        }
    }

    #[test]
    fn columns_have_the_names_of_excel() {
        let names = [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16_383, "XFD")];
        for (column, name) in names {
            assert_eq!(column_name(column), name);
        }
    }
}
