//! Data files: batches to Parquet, split by partition, rolled at a size, with the statistics by which
//! a reader skips them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::dataframe::DataFrame;
use datasets::DatasetSpec;
use deltalake_core::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake_core::kernel::Add;
use futures::StreamExt;
use object_store::path::Path;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use tokio::runtime::Handle;

use super::head::Size;
use super::tracked::Tracked;
use super::width::row_bytes;
use super::{Head, Table, schema};
use crate::error::{Code, Error, Result};

/// A file that reaches this is closed and the next begun.
pub(super) const FILE_BYTES: u64 = 128 << 20;
/// Rows in a row group: what a reader skips or takes, and filters without a pause, and what a writer holds in memory.
const ROW_GROUP_ROWS: usize = 128 << 10;
/// Rows in a page: what is decompressed to find one of them.
const PAGE_ROWS: usize = 4 << 10;
/// How often the filter of a key says that a value may be there that is not.
const KEY_FILTER_ERRORS: f64 = 0.01;
/// Rows given to the encoder at a time.
const SLICE_ROWS: usize = 8 << 10;
/// Partitions that one write may spread over; each holds a row group in memory.
const PARTITIONS_MAX: usize = 1_000;
/// Leading columns that statistics are kept of: Delta's own default.
const STATS_COLUMNS: &str = "32";

/// Data files that are written and not yet part of the table.
#[derive(Debug)]
pub(crate) struct DataFiles {
    pub(crate) adds: Vec<Add>,
    pub(crate) size: Size,
    /// Of the widest rows among them.
    pub(crate) row_bytes: u64,
    /// How often the columns had been changed that they have; `None` where there are none.
    pub(crate) reshaped: Option<u64>,
    folder: Option<Arc<Tracked>>,
}

impl DataFiles {
    /// None at all.
    pub(crate) fn none() -> Self {
        let size = Size { rows: Some(0), ..Size::default() };
        Self { adds: Vec::new(), size, row_bytes: 0, reshaped: None, folder: None }
    }

    /// Deletes the files, when they did not become part of the table and can't any more.
    pub(crate) async fn discard(self, table: &Table) {
        // A commit that failed over a network may still arrive, and one of which nothing is known may be there: its files must
        // then be there, too.
        if let Some(folder) = self.folder
            && table.failures_are_final
            && !table.is_in_doubt.load(Ordering::Relaxed)
        {
            folder.discard().await;
        }
    }
}

impl DataFiles {
    /// Files that are there, written by whoever it was.
    pub(super) fn written(
        adds: Vec<Add>,
        size: Size,
        row_bytes: u64,
        reshaped: Option<u64>,
    ) -> Self {
        Self { adds, size, row_bytes, reshaped, folder: None }
    }

    /// Deletes the files, when it is sure that no commit with them was begun that may still be made.
    pub(crate) async fn drop_unused(self) {
        if let Some(folder) = self.folder {
            folder.discard().await;
        }
    }
}

/// Writes batches to data files. Encoding runs on a blocking thread, one call at a time.
pub(crate) struct FileWriter {
    schema: SchemaRef,
    folder: Arc<Tracked>,
    writer: Option<DeltaWriter>,
    rows: u64,
    row_bytes: u64,
    partitioned: bool,
    reshaped: u64,
}

impl FileWriter {
    /// A writer of files for `table` as its head is.
    pub(crate) fn new(table: &Table, head: &Head) -> Result<Self> {
        Self::of_size(table, head, FILE_BYTES)
    }

    /// The same of files that may reach so many bytes, if that is more than usual.
    pub(crate) fn of_size(table: &Table, head: &Head, file_bytes: u64) -> Result<Self> {
        let (schema, reshaped) = (Arc::clone(&head.schema), head.column_ids.reshaped);
        Self::with_schema(table, head, schema, reshaped, file_bytes.max(FILE_BYTES))
    }

    /// A writer of files for `table` once it has all columns of `spec`, which may be more than it has.
    pub(crate) fn growing(table: &Table, head: &Head, spec: &DatasetSpec) -> Result<Self> {
        let schema = schema::arrow_schema_of(&schema::with_spec(&head.metadata, spec)?)?;
        Self::with_schema(table, head, schema, head.column_ids.reshaped, FILE_BYTES)
    }

    /// A writer of files for `table` as its head is to be, with the columns of `spec`.
    pub(crate) fn reshaping(table: &Table, head: &Head, spec: &DatasetSpec) -> Result<Self> {
        let schema = schema::arrow_schema_of(&schema::with_spec(&head.metadata, spec)?)?;
        Self::with_schema(table, head, schema, head.column_ids.reshaped + 1, FILE_BYTES)
    }

    fn with_schema(
        table: &Table,
        head: &Head,
        schema: SchemaRef,
        reshaped: u64,
        file_bytes: u64,
    ) -> Result<Self> {
        let folder = Arc::new(Tracked::new(Arc::clone(&table.store)));
        let columns = STATS_COLUMNS.try_into().map_err(|e| Error::bug("statistics", e))?;
        let partitions = head.partition_columns().to_vec();
        let partitioned = !partitions.is_empty();
        let config = WriterConfig::new(
            Arc::clone(&schema),
            partitions,
            Some(properties(&schema, &head.spec.key)?),
            NonZeroU64::new(file_bytes),
            Some(SLICE_ROWS),
            columns,
            None,
        );
        let writer = DeltaWriter::new(Arc::clone(&folder) as _, config);
        let (writer, rows, row_bytes) = (Some(writer), 0, 0);
        Ok(Self { schema, folder, writer, rows, row_bytes, partitioned, reshaped })
    }

    /// How often the columns had been changed that it writes.
    pub(crate) fn reshaped(&self) -> u64 {
        self.reshaped
    }

    /// Writes a batch, which must have the table's columns by name.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = fit(&batch, &self.schema)?;
        self.rows += batch.num_rows() as u64;
        self.row_bytes = self.row_bytes.max(row_bytes(&batch));
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::internal("a data file writer was used after it failed"));
        };
        let (writer, written) = encode(async move {
            let written = writer.write(&batch).await;
            (writer, written)
        })
        .await?;
        self.writer = Some(writer);
        self.folder.failure()?;
        Ok(written?)
    }

    /// Writes batches one after the other.
    pub(crate) async fn write_all(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        for batch in batches {
            self.write(batch).await?;
        }
        Ok(())
    }

    /// Writes the rows of a query.
    pub(crate) async fn write_rows(&mut self, rows: DataFrame) -> Result<()> {
        let mut rows = rows.execute_stream().await?;
        while let Some(batch) = rows.next().await {
            self.write(batch?).await?;
        }
        Ok(())
    }

    /// Closes the files, or gives up where writing them failed.
    pub(crate) async fn finish_after(self, written: Result<()>) -> Result<DataFiles> {
        match written {
            Ok(()) => self.finish().await,
            Err(e) => {
                self.abandon().await;
                Err(e)
            }
        }
    }

    /// Closes the files.
    pub(crate) async fn finish(mut self) -> Result<DataFiles> {
        let Some(writer) = self.writer.take() else {
            return Err(Error::internal("a data file writer was used after it failed"));
        };
        let closed = encode(writer.close()).await.and_then(|closed| {
            self.folder.failure()?;
            Ok(closed?)
        });
        let adds = match closed {
            Ok(adds) => adds,
            Err(e) => {
                self.folder.discard().await;
                return Err(e);
            }
        };
        if self.partitioned && adds.len() > PARTITIONS_MAX {
            self.folder.discard().await;
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "the rows spread over {} partitions; at most {PARTITIONS_MAX} may be written at once",
                    adds.len()
                ),
            ));
        }
        let size = Size {
            rows: Some(self.rows),
            bytes: adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum(),
            files: adds.len() as u64,
        };
        let (row_bytes, reshaped) = (self.row_bytes, Some(self.reshaped));
        Ok(DataFiles { adds, size, row_bytes, reshaped, folder: Some(self.folder) })
    }

    /// Gives up: what was written is deleted.
    pub(crate) async fn abandon(mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(e) = writer.abort().await
        {
            tracing::warn!(error = %e, "an upload could not be aborted");
        }
        self.folder.discard().await;
    }
}

/// Runs work that encodes and writes in turns where encoding does not stall the executor.
async fn encode<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work))
        .await
        .map_err(|e| Error::bug("writing a data file stopped", e))
}

/// `batch` with exactly the columns of `schema`: by name, absent ones null, text and binary of any
/// layout made the schema's. A column that the schema has not, or of another type, is an error.
pub(crate) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let given = batch.schema_ref();
    if let Some(extra) =
        given.fields().iter().find(|field| schema.field_with_name(field.name()).is_err())
    {
        return Err(Error::user(
            Code::BadInput,
            format!("column {:?} is not one of the dataset's", extra.name()),
        ));
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef> {
            let name = field.name();
            let column = match given.index_of(name) {
                Ok(i) => Arc::clone(batch.column(i)),
                Err(_) if field.is_nullable() => {
                    new_null_array(field.data_type(), batch.num_rows())
                }
                Err(_) => {
                    return Err(Error::user(
                        Code::BadInput,
                        format!("column {name:?} is missing, and it is not nullable"),
                    ));
                }
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "column {name:?} is not nullable, and {} values are null",
                        column.null_count()
                    ),
                ));
            }
            if column.data_type() == field.data_type() {
                return Ok(column);
            }
            if !same_values(column.data_type(), field.data_type()) {
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "column {name:?} is {}; the dataset's is {}",
                        column.data_type(),
                        field.data_type()
                    ),
                ));
            }
            Ok(cast(&column, field.data_type())?)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Whether one type holds the other's values in another layout, so that no value is changed.
fn same_values(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Dictionary, FixedSizeList, Int8, Int16, Int32, Int64, LargeBinary,
        LargeList, LargeUtf8, List, Null, Timestamp, UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, values), to) => values.as_ref() == to || same_values(values, to),
        (Utf8View | LargeUtf8, Utf8) | (BinaryView | LargeBinary, Binary) => true,
        (Int8 | Int16 | UInt8 | UInt16, Int32) => true,
        (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32, Int64) => true,
        (DataType::Float32, DataType::Float64) => true,
        // One instant, told by another zone or unit; a finer unit would lose digits.
        (Timestamp(from, Some(_)), Timestamp(to, Some(_))) => from <= to,
        (List(a) | LargeList(a) | FixedSizeList(a, _), List(b)) => {
            a.data_type() == b.data_type() || same_values(a.data_type(), b.data_type())
        }
        _ => false,
    }
}

fn properties(schema: &SchemaRef, key: &[String]) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_created_by(concat!("colonnade ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields() {
        if key.contains(field.name()) && has_filter(field.data_type()) {
            let path = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_max_ndv(path.clone(), ROW_GROUP_ROWS as u64)
                .set_column_bloom_filter_fpp(path.clone(), KEY_FILTER_ERRORS);
            // No two rows have the same.
            if key.len() == 1 {
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        // Floats hardly repeat: trying a dictionary costs time and buys nothing.
        let path = match field.data_type() {
            DataType::Float32 | DataType::Float64 => vec![field.name().clone()],
            DataType::List(item) if item.data_type().is_floating() => {
                vec![field.name().clone(), "list".to_owned(), "element".to_owned()]
            }
            _ => continue,
        };
        properties = properties.set_column_dictionary_enabled(ColumnPath::new(path), false);
    }
    Ok(properties.build())
}

/// Whether rows are looked for by single values of this type, in a filter beside them: keys need be in no order.
fn has_filter(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Int64 | DataType::Binary)
}

/// Whether this is a file of rows. What others keep beside those begins otherwise: a log, an index, changes.
pub(super) fn is_data_file(path: &Path) -> bool {
    let is_hidden = path.parts().any(|part| part.as_ref().starts_with(['_', '.']));
    path.as_ref().ends_with(".parquet") && !is_hidden
}
