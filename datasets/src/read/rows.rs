//! Rows of text formats on their way into a chunk: slots in, batch and rejected rows out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{Chunk, ReadOptions};
use crate::columns::ColumnBuilder;
use crate::error::{Error, Result};
use crate::parse::Slot;
use crate::rejected::{Position, RejectedRow};
use crate::spec::ColumnSpec;

/// Text that a chunk may hold: far below the 2 GiB at which 32-bit offsets end.
const CHUNK_TEXT_BYTES: usize = 256 * 1024 * 1024;

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

/// Fails when `head`, the first bytes of a source, is not text.
pub(crate) fn check_text(source_name: &str, head: &[u8]) -> Result<()> {
    let malformed = |at: usize, problem: String| {
        let before = &head[..at];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
        Err(Error::Malformed {
            position: Position {
                source: source_name.to_owned(),
                row: 1,
                line: Some(1 + before.iter().filter(|b| **b == b'\n').count() as u64),
            },
            column: Some((at - line_start) as u64 + 1),
            problem,
        })
    };
    if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        return malformed(0, "expected UTF-8 text, found a UTF-16 mark".into());
    }
    if let Some(at) = head.iter().position(|b| *b == 0) {
        return malformed(at, "expected UTF-8 text, found a zero byte".into());
    }
    let first_line = head.iter().position(|b| *b == b'\n').unwrap_or(head.len());
    if let Err(e) = std::str::from_utf8(&head[..first_line]) {
        let at = e.valid_up_to();
        // A character cut off by the end of the head is no fault.
        if e.error_len().is_some() || first_line < head.len() {
            return malformed(at, format!("expected UTF-8 text, found byte 0x{:02X}", head[at]));
        }
    }
    Ok(())
}

/// A text as it is kept with a rejected row.
pub(crate) fn original_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
