//! Rows as CSV.

use std::io::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use datasets::encode::CsvOptions;

use super::Encode;
use super::packing::Packed;
use crate::error::{Code, Error, Result};

/// Writes rows as CSV.
pub(super) struct Rows {
    to: Packed,
    options: CsvOptions,
    /// The line of names, until it is written.
    header: Option<String>,
}

impl Rows {
    pub(super) fn new(to: Packed, schema: &Schema, options: &CsvOptions) -> Result<Self> {
        if let Some(what) = options.problem() {
            return Err(Error::user(Code::BadInput, format!("csv: {what}")));
        }
        Ok(Self { to, options: options.clone(), header: options.header_line(schema) })
    }

    fn begin(&mut self) -> Result<(), ArrowError> {
        match self.header.take() {
            Some(header) => Ok(self.to.write_all(header.as_bytes())?),
            None => Ok(()),
        }
    }
}

impl Encode for Rows {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.begin()?;
        self.options.write(batch, &mut self.to)
    }

    fn finish(mut self: Box<Self>) -> Result<Packed, ArrowError> {
        self.begin()?;
        Ok(self.to)
    }
}
