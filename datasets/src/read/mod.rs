//! Readers: from a file or an upload's body to record batches, one chunk at a time.
//!
//! Every reader is synchronous and streaming, holds at most a bounded part of its source, and knows where
//! each row stood, because an error without a place can't be mended. Checks against a dataset's spec come
//! after (see [`crate::conform`]); a reader rejects only rows that its format can't express.

mod arrow_ipc;
mod azure_llm;
mod banking77;
mod clinc;
mod csv;
mod delta;
mod dialect;
mod encoding;
mod er_magellan;
mod event_log;
mod expand;
mod febrl;
mod format;
mod input;
pub mod json;
mod json_array;
mod json_value;
mod line_ends;
mod lines;
mod litellm_prices;
mod mapped;
mod mooncake;
mod nab;
mod ndjson;
mod options;
mod pages;
mod parquet;
mod parquet_guard;
mod recent;
mod recognise;
mod renames;
mod rows;
mod steps;
mod unpack;
mod written;
mod xes;
mod xlsx;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::rejected::{Position, RejectedRow};
use crate::spec::DatasetSpec;

pub(crate) use csv::{look as csv_looks, numbered_column};
pub(crate) use dialect::DELIMITERS;
pub use encoding::TextEncoding;
pub use format::Format;
pub use input::Source;
pub(crate) use json_value::document_slot;
pub use mooncake::EPOCH_US as MOONCAKE_EPOCH_US;
pub use nab::{LabelWindows, nab_windows};
pub(crate) use ndjson::look as ndjson_looks;
pub use options::ReadOptions;
pub use recognise::recognise;
pub(crate) use renames::distinct as distinct_names;
pub use renames::{Renames, RepeatedNames};
pub(crate) use rows::Place;
pub use written::{CsvOptions, DateOrder};
pub(crate) use xlsx::look as xlsx_looks;
pub use xlsx::{WORKBOOK_ZONE, other_sheet};

/// Some rows of a source.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows that could be read.
    pub batch: RecordBatch,
    /// Number of the first row of the batch in its source, from 1.
    pub first_row: u64,
    /// Number of each row, when they do not follow each other from `first_row`.
    pub rows: Option<Vec<u64>>,
    /// Line of each row, for text.
    pub lines: Option<Vec<u64>>,
    /// The rows between them that could not be read.
    pub rejected: Vec<RejectedRow>,
}

impl Chunk {
    /// Where row `index` of the batch stands in the source called `source`.
    pub fn position(&self, source: &str, index: usize) -> Position {
        let row = match &self.rows {
            Some(rows) => rows.get(index).copied().unwrap_or_default(),
            None => self.first_row + index as u64,
        };
        let line = self.lines.as_ref().and_then(|lines| lines.get(index).copied());
        Position { source: source.to_owned(), row, line }
    }
}

/// Reads one source from start to end.
pub trait RowReader: Send {
    /// The columns of every chunk.
    fn schema(&self) -> SchemaRef;

    /// The next rows, or `None` at the end. After an error the source is at its end.
    fn next_chunk(&mut self) -> Result<Option<Chunk>>;

    /// What was skipped so far besides rows, in a few sentences.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Opens `source` as `format`.
///
/// `target` is the dataset that the rows are meant for: text formats take their columns' types from it, and
/// find out by themselves about columns that it does not name.
pub fn open(
    source: Source,
    format: Format,
    target: Option<&DatasetSpec>,
    options: &ReadOptions,
) -> Result<Box<dyn RowReader>> {
    if let Some(dataset) = format.dataset()
        && !options.renames.columns.is_empty()
    {
        let problem = format!(
            "rename: the columns of {format} files are those of {dataset}; rename columns of parquet, csv, ndjson or arrow files"
        );
        return Err(crate::Error::Mismatch { source_name: source.name().to_owned(), problem });
    }
    let renamed = |reader| options.renames.wrap(source.name(), reader);
    Ok(match format {
        Format::Parquet => renamed(Box::new(parquet::ParquetReader::open(&source, options)?))?,
        Format::Csv => Box::new(csv::CsvReader::open(&source, target, options)?),
        Format::Ndjson => Box::new(ndjson::NdjsonReader::open(&source, target, options)?),
        Format::ArrowFile | Format::ArrowStream => renamed(arrow_ipc::open(&source, options)?)?,
        Format::Xlsx => Box::new(xlsx::XlsxReader::open(&source, target, options)?),
        Format::AzureLlm => azure_llm::open(&source, options)?,
        Format::Mooncake => mooncake::open(&source, options)?,
        Format::LitellmPrices => litellm_prices::open(&source, options)?,
        Format::Nab => nab::open(&source, options)?,
        Format::Banking77 => banking77::open(&source, options)?,
        Format::Clinc => clinc::open(&source, options)?,
        Format::Febrl => febrl::open(&source, options)?,
        Format::ErMagellan => er_magellan::open(&source, options)?,
        Format::Xes => xes::open(&source, options)?,
        Format::EventLog => event_log::open(&source, options)?,
    })
}

/// Runs a decoder of somebody else's; its panic becomes an error of the source at `place`.
pub(crate) fn contain_decoder<T>(
    place: &str,
    format: Format,
    decode: impl FnOnce() -> T,
) -> Result<T> {
    crate::contain::contain(decode).map_err(|problem| crate::Error::Unreadable {
        source_name: place.to_owned(),
        format: format.name(),
        problem,
    })
}

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod csv_tests;
#[cfg(test)]
mod integration_tests;
#[cfg(test)]
mod named_tests;
#[cfg(test)]
mod public_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod xlsx_tests;
#[cfg(test)]
pub(crate) use tests::busy_seconds;
