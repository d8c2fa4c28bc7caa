//! Rows as JSON objects.

use std::io::Write as _;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datasets::encode::{JsonRows, TextPieces};

use super::Encode;
use super::packing::Packed;

/// One array of objects, a line each.
pub(super) struct Array {
    to: Packed,
    has_rows: bool,
}

impl Array {
    pub(super) fn new(to: Packed) -> Self {
        Self { to, has_rows: false }
    }
}

impl Encode for Array {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let rows = JsonRows::new(batch)?;
        let mut text = TextPieces::new(&mut self.to);
        for row in 0..batch.num_rows() {
            text.push_str(if self.has_rows { ",\n" } else { "[" });
            self.has_rows = true;
            rows.write(row, &mut text)?;
        }
        Ok(text.finish()?)
    }

    fn finish(mut self: Box<Self>) -> Result<Packed, ArrowError> {
        self.to.write_all(if self.has_rows { b"]\n" } else { b"[]\n" })?;
        Ok(self.to)
    }
}

/// An object in each line.
pub(super) struct Lines(Packed);

impl Lines {
    pub(super) fn new(to: Packed) -> Self {
        Self(to)
    }
}

impl Encode for Lines {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let rows = JsonRows::new(batch)?;
        let mut text = TextPieces::new(&mut self.0);
        for row in 0..batch.num_rows() {
            rows.write(row, &mut text)?;
            text.push_str("\n");
        }
        Ok(text.finish()?)
    }

    fn finish(self: Box<Self>) -> Result<Packed, ArrowError> {
        Ok(self.0)
    }
}
