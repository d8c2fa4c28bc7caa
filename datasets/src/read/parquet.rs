//! Apache Parquet through the `parquet` crate, with what the file declares checked first.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::contain_decoder;
use super::expand::Chunks;
use super::pages::{self, PageHeader};
use super::{Chunk, Format, ReadOptions, RowReader, Source};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"PAR1";
const MAGIC_ENCRYPTED: &[u8] = b"PARE";
/// Footer length and magic.
const TAIL_BYTES: u64 = 8;
/// Largest footer.
const FOOTER_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Page headers hold at most a few statistics; read this much to find one.
const PAGE_HEADER_BYTES: u64 = 8 * 1024;
const PAGE_HEADER_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What one nested value takes while it is decoded: a view and its levels.
const NESTED_VALUE_BYTES: u64 = 20;
/// Nested values that one uncompressed byte may stand for, beyond what the budget covers anyway.
const NESTED_VALUES_PER_BYTE: u64 = 64;

pub(crate) struct ParquetReader {
    source_name: String,
    reader: ParquetRecordBatchReader,
    chunks: Chunks,
    done: bool,
}

impl ParquetReader {
    pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Self> {
        match source {
            Source::Body { bytes, .. } => Self::build(source, bytes.clone(), options),
            Source::File { .. } => Self::build(source, source.file()?, options),
        }
    }

    fn build<R: ChunkReader + 'static>(
        source: &Source,
        input: R,
        options: &ReadOptions,
    ) -> Result<Self> {
        let name = source.name();
        let reader = contain_decoder(name, Format::Parquet, || open_checked(input, options))?
            .map_err(|problem| problem.into_error(name))?;
        let chunks = Chunks::new(&reader.natural, options);
        Ok(Self { source_name: name.to_owned(), reader: reader.reader, chunks, done: false })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let place = format!("{} after row {}", self.source_name, self.chunks.rows());
        let reader = &mut self.reader;
        match contain_decoder(&place, Format::Parquet, || reader.next())? {
            None => Ok(None),
            Some(Ok(batch)) => Ok(Some(batch)),
            Some(Err(e)) => Err(unreadable(&place, e.to_string())),
        }
    }
}

impl RowReader for ParquetReader {
    fn schema(&self) -> SchemaRef {
        self.chunks.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let place = format!("{} after row {}", self.source_name, self.chunks.rows());
        loop {
            let (chunks, name) = (&mut self.chunks, &self.source_name);
            if let Some(chunk) = contain_decoder(&place, Format::Parquet, || chunks.pop(name))?? {
                return Ok(Some(chunk));
            }
            if self.done {
                return Ok(None);
            }
            match self.next_batch() {
                Ok(Some(batch)) => self.chunks.push(batch),
                Ok(None) => self.done = true,
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
    }
}

struct Opened {
    reader: ParquetRecordBatchReader,
    natural: Schema,
}

enum Problem {
    Unreadable(String),
    TooLarge { what: String, limit_bytes: u64 },
}

impl Problem {
    fn into_error(self, source_name: &str) -> Error {
        match self {
            Self::Unreadable(problem) => unreadable(source_name, problem),
            Self::TooLarge { what, limit_bytes } => Error::Limit {
                source_name: source_name.into(),
                what,
                limit: limit_bytes,
                unit: "bytes",
            },
        }
    }
}

impl<E: std::error::Error> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Unreadable(error.to_string())
    }
}

fn unreadable(source_name: &str, problem: String) -> Error {
    Error::Unreadable { source_name: source_name.into(), format: Format::Parquet.name(), problem }
}

fn open_checked<R: ChunkReader + 'static>(
    input: R,
    options: &ReadOptions,
) -> std::result::Result<Opened, Problem> {
    let fail = |problem: String| Err(Problem::Unreadable(problem));
    let length = input.len();
    if length < TAIL_BYTES + 4 {
        return fail(format!("{length} bytes are too few for a Parquet file"));
    }
    let tail = input.get_bytes(length - TAIL_BYTES, TAIL_BYTES as usize)?;
    if &tail[4..] == MAGIC_ENCRYPTED {
        return fail("the file is encrypted; encrypted Parquet is not supported".into());
    }
    if &tail[4..] != MAGIC {
        return fail("it does not end with PAR1; is it cut off?".into());
    }
    let footer_bytes = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if footer_bytes > length - TAIL_BYTES || footer_bytes > FOOTER_MAX_BYTES {
        return fail(format!("a footer of {footer_bytes} bytes in a file of {length}"));
    }
    let footer = input.get_bytes(length - TAIL_BYTES - footer_bytes, footer_bytes as usize)?;
    let footer = pages::check_footer(&footer)
        .map_err(|problem| Problem::Unreadable(format!("footer: {problem}")))?;
    if footer.encrypted {
        return fail("its columns are encrypted; encrypted Parquet is not supported".into());
    }
    let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new())?;
    if metadata.schema().fields().is_empty() {
        return fail("it has no columns".into());
    }
    let batch_rows = check_chunks(&input, metadata.metadata(), options)?;
    let natural = metadata.schema().as_ref().clone();
    let metadata = with_views(metadata)?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata)
        .with_batch_size(batch_rows)
        .build()?;
    // The file's own metadata entries mean nothing here.
    let natural = Schema::new(natural.fields().clone());
    debug_assert_eq!(natural.fields().len(), reader.schema().fields().len());
    Ok(Opened { reader, natural })
}

/// Texts are decoded as views, so that a dictionary's long value is held once.
fn with_views(metadata: ArrowReaderMetadata) -> std::result::Result<ArrowReaderMetadata, Problem> {
    let fields: Vec<Field> =
        metadata.schema().fields().iter().map(|f| viewed(f).as_ref().clone()).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata.schema().metadata().clone()));
    if &schema == metadata.schema() {
        return Ok(metadata);
    }
    let options = ArrowReaderOptions::new().with_schema(schema);
    Ok(ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?)
}

fn viewed(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(viewed(item)),
        DataType::LargeList(item) => DataType::LargeList(viewed(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(viewed).collect()),
        DataType::Map(entries, sorted) => DataType::Map(viewed(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Checks every column chunk and page header against the file's length and the budget; the number of rows
/// that can be decoded at a time.
fn check_chunks<R: ChunkReader>(
    input: &R,
    metadata: &ParquetMetaData,
    options: &ReadOptions,
) -> std::result::Result<usize, Problem> {
    let budget = options.decoded_budget_bytes as u64;
    let mut batch_rows = options.batch_rows.max(1) as u64;
    for (group_index, group) in metadata.row_groups().iter().enumerate() {
        for column in group.columns() {
            let place = || format!("row group {group_index}, column {}", column.column_path());
            let found = check_column(input, column, budget).map_err(|problem| match problem {
                Problem::Unreadable(problem) => {
                    Problem::Unreadable(format!("{}: {problem}", place()))
                }
                Problem::TooLarge { what, limit_bytes } => {
                    Problem::TooLarge { what: format!("{}: {what}", place()), limit_bytes }
                }
            })?;
            batch_rows = batch_rows.min(rows_at_a_time(group, column, found, options)?);
        }
    }
    Ok(batch_rows as usize)
}

/// Values and uncompressed bytes of a column chunk, by its page headers.
#[derive(Clone, Copy, Default)]
struct Declared {
    values: u64,
    uncompressed_bytes: u64,
}

fn check_column<R: ChunkReader>(
    input: &R,
    column: &ColumnChunkMetaData,
    budget: u64,
) -> std::result::Result<Declared, Problem> {
    let length = input.len();
    let first =
        column.dictionary_page_offset().filter(|at| *at > 0).unwrap_or(column.data_page_offset());
    let (Ok(start), Ok(size), Ok(total_values)) = (
        u64::try_from(first.min(column.data_page_offset())),
        u64::try_from(column.compressed_size()),
        u64::try_from(column.num_values()),
    ) else {
        return Err(Problem::Unreadable("a negative offset or size".into()));
    };
    let end = start.checked_add(size).filter(|end| *end <= length).ok_or_else(|| {
        Problem::Unreadable(format!("{size} bytes from byte {start} on, in a file of {length}"))
    })?;
    let mut at = start;
    let mut declared = Declared::default();
    while at < end && declared.values < total_values {
        let page = read_page_header(input, at, end)
            .map_err(|problem| Problem::Unreadable(format!("page at byte {at}: {problem}")))?;
        let left = end - at - page.header_bytes as u64;
        let (Ok(compressed), Ok(uncompressed)) =
            (u64::try_from(page.compressed_bytes), u64::try_from(page.uncompressed_bytes))
        else {
            return Err(Problem::Unreadable(format!("page at byte {at}: a size below zero")));
        };
        if compressed > left {
            return Err(Problem::Unreadable(format!(
                "page at byte {at}: {compressed} bytes where {left} are left"
            )));
        }
        let values = u64::try_from(page.values.unwrap_or_default())
            .map_err(|_| Problem::Unreadable(format!("page at byte {at}: values below zero")))?;
        if uncompressed > budget {
            return Err(Problem::TooLarge {
                what: format!("the page at byte {at}, unpacked to {uncompressed} bytes,"),
                limit_bytes: budget,
            });
        }
        declared.values += values;
        declared.uncompressed_bytes += uncompressed;
        at += page.header_bytes as u64 + compressed;
    }
    Ok(declared)
}

fn read_page_header<R: ChunkReader>(
    input: &R,
    at: u64,
    end: u64,
) -> std::result::Result<PageHeader, String> {
    let mut window = PAGE_HEADER_BYTES;
    loop {
        let size = window.min(end - at);
        let bytes: Bytes = input.get_bytes(at, size as usize).map_err(|e| e.to_string())?;
        match pages::page_header(&bytes) {
            Err(_) if size < end - at && window < PAGE_HEADER_MAX_BYTES => window *= 8,
            outcome => return outcome,
        }
    }
}

/// Rows of the group that fit into the budget together, by what this column may take.
fn rows_at_a_time(
    group: &RowGroupMetaData,
    column: &ColumnChunkMetaData,
    declared: Declared,
    options: &ReadOptions,
) -> std::result::Result<u64, Problem> {
    let budget = options.decoded_budget_bytes as u64;
    let rows = options.batch_rows.max(1) as u64;
    let descriptor = column.column_descr();
    let width = match descriptor.physical_type() {
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            let width = u64::try_from(descriptor.type_length()).map_err(|_| {
                Problem::Unreadable(format!("column {}: a width below zero", column.column_path()))
            })?;
            if width > budget {
                return Err(Problem::TooLarge {
                    what: format!("a value of column {}", column.column_path()),
                    limit_bytes: budget,
                });
            }
            width.max(1)
        }
        _ => NESTED_VALUE_BYTES,
    };
    if descriptor.max_rep_level() == 0 {
        return Ok(rows.min((budget / width).max(1)));
    }
    // Every value of a chunk may belong to one row; only decoding would tell.
    let decoded = declared.values.saturating_mul(width);
    let most = budget.max(declared.uncompressed_bytes.saturating_mul(NESTED_VALUES_PER_BYTE));
    if decoded > most {
        return Err(Problem::TooLarge {
            what: format!(
                "the lists of column {} ({} values in {} bytes)",
                column.column_path(),
                declared.values,
                declared.uncompressed_bytes
            ),
            limit_bytes: most,
        });
    }
    let group_rows = u64::try_from(group.num_rows()).unwrap_or_default().max(1);
    let bytes_per_row = (decoded / group_rows).max(1);
    Ok(rows.min((budget / bytes_per_row).max(1)))
}
