//! Rows of text formats on their way into a chunk: slots in, batch and rejected rows out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use super::{Chunk, ReadOptions};
use crate::columns::ColumnBuilder;
use crate::error::{Error, Result};
use crate::parse::Slot;
use crate::rejected::{Position, RejectedRow};
use crate::spec::ColumnSpec;

/// Text that a chunk may hold: far below the 2 GiB at which 32-bit offsets end.
const CHUNK_TEXT_BYTES: usize = 256 * 1024 * 1024;

/// Bytes that are searched for UTF-16 without a byte-order mark.
const UTF16_SEEN_BYTES: usize = 512;

/// Collects the rows of one chunk after another.
pub(crate) struct RowTable {
    source_name: String,
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    rows: Vec<u64>,
    lines: Vec<u64>,
    rejected: Vec<RejectedRow>,
    held_bytes: usize,
    batch_rows: usize,
    budget_bytes: usize,
}

impl RowTable {
    /// A table of `columns`, every one nullable: whether a value must be there is the spec's to check.
    pub(crate) fn new(
        source_name: &str,
        columns: &[ColumnSpec],
        options: &ReadOptions,
    ) -> Result<Self> {
        let fields: Vec<Field> = columns.iter().map(|c| c.field().with_nullable(true)).collect();
        Ok(Self {
            source_name: source_name.to_owned(),
            schema: Arc::new(Schema::new(fields)),
            columns: columns
                .iter()
                .map(|c| ColumnBuilder::new(&c.data_type))
                .collect::<Result<_>>()?,
            rows: Vec::new(),
            lines: Vec::new(),
            rejected: Vec::new(),
            held_bytes: 0,
            batch_rows: options.batch_rows.max(1),
            budget_bytes: options.decoded_budget_bytes.min(CHUNK_TEXT_BYTES),
        })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Appends a row of `bytes` bytes of source text.
    pub(crate) fn push(&mut self, at: Place, bytes: usize, slots: &[Slot<'_>]) -> Result<()> {
        if slots.len() != self.columns.len() {
            return Err(Error::Internal(format!(
                "a row of {} values for {} columns",
                slots.len(),
                self.columns.len()
            )));
        }
        for (column, slot) in self.columns.iter_mut().zip(slots) {
            column.push(slot)?;
        }
        self.rows.push(at.row);
        self.lines.push(at.line);
        self.held_bytes += bytes;
        Ok(())
    }

    /// Sets a row aside.
    pub(crate) fn reject(
        &mut self,
        at: Place,
        column: Option<&str>,
        reason: String,
        original: String,
    ) {
        self.held_bytes += original.len();
        let line = (at.line > 0).then_some(at.line);
        self.rejected.push(RejectedRow {
            position: Position { source: self.source_name.clone(), row: at.row, line },
            column: column.map(str::to_owned),
            reason,
            original,
        });
    }

    /// Whether it is time to hand the chunk out.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() + self.rejected.len() >= self.batch_rows
            || self.held_bytes >= self.budget_bytes
    }

    /// The rows so far as a chunk, or `None` when there are none.
    pub(crate) fn take_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.rows.is_empty() && self.rejected.is_empty() {
            return Ok(None);
        }
        let arrays =
            self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let row_count =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let batch = RecordBatch::try_new_with_options(self.schema(), arrays, &row_count)
            .map_err(|e| Error::Internal(format!("rows of {}: {e}", self.source_name)))?;
        let rows = std::mem::take(&mut self.rows);
        let lines = std::mem::take(&mut self.lines);
        let rejected = std::mem::take(&mut self.rejected);
        self.held_bytes = 0;
        let first_row = rows
            .first()
            .copied()
            .or_else(|| rejected.first().map(|r| r.position.row))
            .unwrap_or_default();
        let contiguous = rows.iter().zip(first_row..).all(|(row, expected)| *row == expected);
        let has_lines = lines.iter().all(|line| *line > 0);
        Ok(Some(Chunk {
            batch,
            first_row,
            rows: (!contiguous).then_some(rows),
            lines: has_lines.then_some(lines),
            rejected,
        }))
    }
}

/// Where a row stands: its number, and its line (0 where there are no lines).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) row: u64,
    pub(crate) line: u64,
}

/// Fails when `head`, the first bytes of a source, is UTF-16 text. Other bytes concern only their
/// own row: NUL is an ordinary character, and a row that is not UTF-8 is rejected.
pub(crate) fn check_encoding(source_name: &str, head: &[u8]) -> Result<()> {
    let is_marked = head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]);
    let found = match unmarked_utf16(head) {
        _ if is_marked => "a UTF-16 mark".to_owned(),
        Some(encoding) => format!("{} without a mark", encoding.name()),
        None => return Ok(()),
    };
    let problem = format!("expected UTF-8 text, found {found}; convert the file to UTF-8");
    Err(malformed(source_name, head, 0, problem))
}

/// Fails if the header, the line that begins at `start`, is not UTF-8.
pub(crate) fn check_header(source_name: &str, head: &[u8], start: usize) -> Result<()> {
    let line = &head[start..];
    let line_bytes = line.iter().position(|b| *b == b'\n').unwrap_or(line.len());
    let Err(e) = std::str::from_utf8(&line[..line_bytes]) else { return Ok(()) };
    let at = start + e.valid_up_to();
    // A character that is cut off at the end of `head` is not an error.
    if e.error_len().is_none() && line_bytes == line.len() {
        return Ok(());
    }
    let problem = format!(
        "expected UTF-8 text, found byte 0x{:02X}; if the file has another encoding, state it as `encoding` \
         (`--encoding windows-1252`, or `?encoding=windows-1252` over HTTP)",
        head[at]
    );
    Err(malformed(source_name, head, at, problem))
}

fn malformed(source_name: &str, head: &[u8], at: usize, problem: String) -> Error {
    let before = &head[..at];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
    Error::Malformed {
        position: Position {
            source: source_name.to_owned(),
            row: 1,
            line: Some(1 + before.iter().filter(|b| **b == b'\n').count() as u64),
        },
        column: Some((at - line_start) as u64 + 1),
        problem,
    }
}

/// The UTF-16 variant of text without a byte-order mark, recognized by the zero bytes of ASCII
/// letters in its first line (as RFC 4627, section 3, detects the encoding of JSON).
pub(crate) fn unmarked_utf16(head: &[u8]) -> Option<&'static Encoding> {
    let pairs: Vec<[bool; 2]> = head[..head.len().min(UTF16_SEEN_BYTES)]
        .chunks_exact(2)
        .take_while(|pair| !pair.contains(&b'\n'))
        .map(|pair| [pair[0] == 0, pair[1] == 0])
        .collect();
    let is_form = |form: [bool; 2]| {
        let count = pairs.iter().filter(|pair| **pair == form).count();
        pairs.first() == Some(&form) && pairs.len() >= 2 && count * 4 >= pairs.len() * 3
    };
    if is_form([false, true]) {
        Some(UTF_16LE)
    } else if is_form([true, false]) {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// A text as it is kept with a rejected row.
pub(crate) fn original_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
