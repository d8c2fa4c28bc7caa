//! Rows as JSON objects.

use std::io::Write as _;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datasets::encode::JsonRows;

use super::packing::Packed;
use super::{Encode, TEXT_BYTES};

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
        let Self { to, has_rows } = self;
        write_rows(batch, to, |rows, row, text| {
            text.push_str(if *has_rows { ",\n" } else { "[" });
            *has_rows = true;
            rows.write(row, text);
        })
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
        write_rows(batch, &mut self.0, |rows, row, text| {
            rows.write(row, text);
            text.push('\n');
        })
    }

    fn finish(self: Box<Self>) -> Result<Packed, ArrowError> {
        Ok(self.0)
    }
}

fn write_rows(
    batch: &RecordBatch,
    to: &mut Packed,
    mut write: impl FnMut(&JsonRows<'_>, usize, &mut String),
) -> Result<(), ArrowError> {
    let rows = JsonRows::new(batch)?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        write(&rows, row, &mut text);
        if text.len() >= TEXT_BYTES {
            to.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    Ok(to.write_all(text.as_bytes())?)
}
