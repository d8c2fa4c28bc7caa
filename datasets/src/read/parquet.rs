//! Apache Parquet through the `parquet` crate, one row group after another, each checked before it is decoded.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetStatisticsPolicy;
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnDescPtr;

use super::contain_decoder;
use super::expand::Chunks;
use super::pages;
use super::parquet_guard::{Problem, check_row_group};
use super::{Chunk, Format, ReadOptions, RowReader, Source};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"PAR1";
const MAGIC_ENCRYPTED: &[u8] = b"PARE";
/// Footer length and magic.
const TAIL_BYTES: u64 = 8;
/// Largest footer.
const FOOTER_MAX_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) struct ParquetReader {
    source_name: String,
    input: Arc<Input>,
    metadata: ArrowReaderMetadata,
    options: ReadOptions,
    /// The row group that is read, and the next one's number.
    group: Option<ParquetRecordBatchReader>,
    next_group: usize,
    chunks: Chunks,
    done: bool,
}

impl ParquetReader {
    pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Self> {
        let name = source.name();
        let input = Arc::new(match source {
            Source::Body { bytes, .. } => Input::Bytes(bytes.clone()),
            Source::File { .. } => Input::File(source.file()?),
        });
        let opened = contain_decoder(name, Format::Parquet, || open_checked(&input))?;
        let (natural, metadata) = opened.map_err(|problem| error(name, problem))?;
        Ok(Self {
            source_name: name.to_owned(),
            input,
            metadata,
            options: options.clone(),
            group: None,
            next_group: 0,
            chunks: Chunks::new(&natural, options),
            done: false,
        })
    }

    fn next_batch(&mut self) -> std::result::Result<Option<RecordBatch>, Problem> {
        loop {
            if let Some(group) = &mut self.group {
                match group.next() {
                    Some(Ok(batch)) => return Ok(Some(batch)),
                    Some(Err(e)) => return Err(Problem::Unreadable(e.to_string())),
                    None => self.group = None,
                }
            }
            let number = self.next_group;
            let Some(group) = self.metadata.metadata().row_groups().get(number) else {
                return Ok(None);
            };
            self.next_group += 1;
            let budget_bytes = self.options.decoded_budget_bytes;
            let rows = check_row_group(&self.input, group, self.options.batch_rows, budget_bytes)?;
            let input = SharedInput(Arc::clone(&self.input));
            let group =
                ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.metadata.clone())
                    .with_row_groups(vec![number])
                    .with_batch_size(rows)
                    .build()?;
            self.group = Some(group);
        }
    }
}

impl RowReader for ParquetReader {
    fn schema(&self) -> SchemaRef {
        self.chunks.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            let place = format!("{} after row {}", self.source_name, self.chunks.rows());
            let (chunks, name) = (&mut self.chunks, &self.source_name);
            if let Some(chunk) = contain_decoder(&place, Format::Parquet, || chunks.pop(name))?? {
                return Ok(Some(chunk));
            }
            if self.done {
                return Ok(None);
            }
            let next = contain_decoder(&place, Format::Parquet, || self.next_batch());
            let place = format!("{place} (row group {})", self.next_group.saturating_sub(1));
            match next {
                Ok(Ok(Some(batch))) => self.chunks.push(batch),
                Ok(Ok(None)) => self.done = true,
                Ok(Err(problem)) => {
                    self.done = true;
                    return Err(error(&place, problem));
                }
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
    }
}

fn error(place: &str, problem: Problem) -> Error {
    match problem {
        Problem::Unreadable(problem) => {
            Error::Unreadable { source_name: place.into(), format: Format::Parquet.name(), problem }
        }
        Problem::TooLarge { what, limit_bytes } => {
            Error::Limit { source_name: place.into(), what, limit: limit_bytes, unit: "bytes" }
        }
    }
}

/// The file, or the body of an upload.
pub(super) enum Input {
    File(File),
    Bytes(Bytes),
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Input {
    type T = Box<dyn io::Read>;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        Ok(match self {
            Self::File(file) => Box::new(ToItsEnd(file.get_read(start)?)),
            Self::Bytes(bytes) => Box::new(ToItsEnd(bytes.get_read(start)?)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Bytes(bytes) => bytes.get_bytes(start, length),
        }
    }
}

struct SharedInput(Arc<Input>);

impl Length for SharedInput {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for SharedInput {
    type T = Box<dyn io::Read>;

    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        self.0.get_bytes(start, length)
    }
}

/// Fails at its end: the decoder takes no notice of it where it passes over bytes, and goes on.
struct ToItsEnd<R>(R);

impl<R: io::Read> io::Read for ToItsEnd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// The file's own schema, and its metadata with texts as views.
fn open_checked(input: &Input) -> std::result::Result<(Schema, ArrowReaderMetadata), Problem> {
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
    // Statistics are not used here, and they are often what is broken.
    let options = ArrowReaderOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let metadata = ArrowReaderMetadata::load(input, options)?;
    if metadata.schema().fields().is_empty() {
        return fail("it has no columns".into());
    }
    let metadata = with_micros(metadata)?;
    // The file's own metadata entries mean nothing here.
    let natural = Schema::new(metadata.schema().fields().clone());
    Ok((natural, with_views(metadata)?))
}

/// Instants of 96 bits are read as microseconds in UTC, also inside lists and structures: 64 bits of
/// nanoseconds hold the years 1677 to 2262 alone, and any other year becomes one of these.
fn with_micros(metadata: ArrowReaderMetadata) -> std::result::Result<ArrowReaderMetadata, Problem> {
    let descriptor = metadata.metadata().file_metadata().schema_descr_ptr();
    let is_wide = |of: &ColumnDescPtr| of.physical_type() == PhysicalType::INT96;
    // The leaves of the schema in Arrow are the columns of the file, in their order.
    let mut columns = descriptor.columns().iter().map(is_wide);
    let fields = metadata.schema().fields().iter();
    let fields: Vec<Field> =
        fields.map(|field| in_micros(field, &mut columns).as_ref().clone()).collect();
    read_as(metadata, fields)
}

/// The field with instants of 96 bits as microseconds; `columns` says for each leaf whether it holds such instants.
fn in_micros(field: &Arc<Field>, columns: &mut impl Iterator<Item = bool>) -> Arc<Field> {
    let mut inside = |field: &Arc<Field>| in_micros(field, columns);
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(inside(item)),
        DataType::LargeList(item) => DataType::LargeList(inside(item)),
        DataType::ListView(item) => DataType::ListView(inside(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inside(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inside(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inside(entries), *sorted),
        other => match (columns.next(), other) {
            (Some(true), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
                let zone = zone.clone().unwrap_or_else(|| "UTC".into());
                DataType::Timestamp(TimeUnit::Microsecond, Some(zone))
            }
            _ => return Arc::clone(field),
        },
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Texts are decoded as views, so that a dictionary's long value is held once.
fn with_views(metadata: ArrowReaderMetadata) -> std::result::Result<ArrowReaderMetadata, Problem> {
    let fields: Vec<Field> =
        metadata.schema().fields().iter().map(|f| viewed(f).as_ref().clone()).collect();
    read_as(metadata, fields)
}

/// The metadata for reading columns as `fields`.
fn read_as(
    metadata: ArrowReaderMetadata,
    fields: Vec<Field>,
) -> std::result::Result<ArrowReaderMetadata, Problem> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMicrosecondType;
    use parquet::data_type::{Int96, Int96Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// Nanoseconds of a day and its Julian day.
    fn wide(nanos: u64, day: u32) -> Int96 {
        let mut value = Int96::new();
        value.set_data(nanos as u32, (nanos >> 32) as u32, day);
        value
    }

    /// The values of a column, with its levels of definition and repetition.
    type Column<'a> = (&'a [Int96], Option<&'a [i16]>, Option<&'a [i16]>);

    /// A file of `message` with these columns.
    fn written(message: &str, columns: &[Column<'_>]) -> Source {
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for (values, definitions, repetitions) in columns {
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<Int96Type>();
            typed.write_batch(values, *definitions, *repetitions).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        Source::Body { bytes: bytes.into(), name: "f".into() }
    }

    #[test]
    fn instants_of_96_bits_are_those_of_any_year() {
        // 0001-01-01, the last microsecond and a half before 1970, and 2500-01-01.
        let values = [wide(0, 1_721_426), wide(86_399_999_998_500, 2_440_587), wide(0, 2_634_167)];
        let source = written("message m { required int96 at; }", &[(&values, None, None)]);
        let mut reader = ParquetReader::open(&source, &ReadOptions::default()).unwrap();
        let chunk = reader.next_chunk().unwrap().unwrap();
        let found = chunk.batch.column(0).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(found.values(), &[-62_135_596_800_000_000, -2, 16_725_225_600_000_000]);
    }

    #[test]
    fn instants_of_96_bits_inside_lists_and_structures_are_those_of_any_year() {
        let message = "message m {
            required group whole { required int96 at; optional group more { optional int96 at; } }
            required group list (LIST) { repeated group list { required int96 element; } }
            required group map (MAP) {
                repeated group key_value { required int96 key; required int96 value; }
            }
        }";
        let late = [wide(0, 2_634_167)];
        let source = written(
            message,
            &[
                (&late, None, None),
                (&late, Some(&[2]), None),
                (&late, Some(&[1]), Some(&[0])),
                (&late, Some(&[1]), Some(&[0])),
                (&late, Some(&[1]), Some(&[0])),
            ],
        );
        let mut reader = ParquetReader::open(&source, &ReadOptions::default()).unwrap();
        let chunk = reader.next_chunk().unwrap().unwrap();
        let [whole, list, map] = chunk.batch.columns() else { panic!("{:?}", chunk.batch) };
        let (whole, map) = (whole.as_struct(), map.as_map());
        let inner = whole.column(1).as_struct().column(0);
        let list = list.as_list::<i32>().values();
        for array in [whole.column(0), inner, list, map.keys(), map.values()] {
            let found = array.as_primitive::<TimestampMicrosecondType>();
            assert_eq!(found.values(), &[16_725_225_600_000_000], "{:?}", array.data_type());
        }
    }
}
