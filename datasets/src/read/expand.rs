//! Record batches of binary formats on their way out: cut to the chunk's size, and compact encodings
//! unfolded within the budget.
//!
//! A dictionary or a view can name one long value a million times; unfolded at once that is memory without
//! bound, so the unfolded size is measured first and the rows are split to fit.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{Chunk, ReadOptions};
use crate::error::{Error, Result};

/// Largest unfolded chunk: well below the 2 GiB at which 32-bit offsets end.
const UNFOLDED_MAX_BYTES: usize = 512 * 1024 * 1024;

/// Cuts batches into chunks of plain columns.
pub(crate) struct Chunks {
    schema: SchemaRef,
    queue: VecDeque<RecordBatch>,
    row: u64,
    batch_rows: usize,
    budget_bytes: usize,
}

impl Chunks {
    pub(crate) fn new(source: &Schema, options: &ReadOptions) -> Self {
        let fields: Vec<Field> = source
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_data_type(plain_type(f.data_type())))
            .collect();
        Self {
            schema: Arc::new(Schema::new(fields)),
            queue: VecDeque::new(),
            row: 0,
            batch_rows: options.batch_rows.max(1),
            budget_bytes: options.decoded_budget_bytes.min(UNFOLDED_MAX_BYTES),
        }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Number of rows handed out so far.
    pub(crate) fn rows(&self) -> u64 {
        self.row
    }

    /// Takes a batch of the source's schema.
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        let mut at = 0;
        while at < batch.num_rows() {
            let count = self.batch_rows.min(batch.num_rows() - at);
            self.queue.push_back(batch.slice(at, count));
            at += count;
        }
    }

    /// The next chunk, if there is one left of what was pushed.
    pub(crate) fn pop(&mut self, source_name: &str) -> Result<Option<Chunk>> {
        while let Some(batch) = self.queue.pop_front() {
            let bytes = unfolded_bytes(&batch);
            if bytes > self.budget_bytes {
                if batch.num_rows() <= 1 {
                    return Err(Error::Limit {
                        source_name: format!("{source_name} row {}", self.row + 1),
                        what: "the unfolded row".into(),
                        limit: self.budget_bytes as u64,
                        unit: "bytes",
                    });
                }
                let half = batch.num_rows() / 2;
                self.queue.push_front(batch.slice(half, batch.num_rows() - half));
                self.queue.push_front(batch.slice(0, half));
                continue;
            }
            let plain = self.plain(&batch).map_err(|e| Error::Unreadable {
                source_name: format!("{source_name} row {}", self.row + 1),
                format: "rows",
                problem: e.to_string(),
            })?;
            let first_row = self.row + 1;
            self.row += plain.num_rows() as u64;
            return Ok(Some(Chunk {
                batch: plain,
                first_row,
                rows: None,
                lines: None,
                rejected: Vec::new(),
            }));
        }
        Ok(None)
    }

    fn plain(&self, batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(array, field)| {
                if array.data_type() == field.data_type() {
                    Ok(Arc::clone(array))
                } else {
                    cast(array, field.data_type())
                }
            })
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema(), columns, &count)
    }
}

/// The type with views, dictionaries and runs taken out, where Arrow can do so.
fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_field(item)),
        DataType::FixedSizeList(item, length) => {
            DataType::FixedSizeList(plain_field(item), *length)
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

fn plain_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())))
}

fn unfolded_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).fold(0, usize::saturating_add)
}

/// Bytes of an array once its views and dictionaries are unfolded.
fn array_bytes(array: &ArrayRef) -> usize {
    let longest = |values: &ArrayRef| {
        let total = array_bytes(values);
        // The longest value decides: keys may all name it.
        match values.data_type() {
            DataType::Utf8 => {
                longest_of(values.as_string::<i32>().iter().map(|v| v.map_or(0, str::len)))
            }
            DataType::Binary => {
                longest_of(values.as_binary::<i32>().iter().map(|v| v.map_or(0, <[u8]>::len)))
            }
            _ => total.checked_div(values.len()).unwrap_or_default().max(if values.len() == 1 {
                total
            } else {
                0
            }),
        }
    };
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(|l| l as usize + 4).sum(),
        DataType::BinaryView => array.as_binary_view().lengths().map(|l| l as usize + 4).sum(),
        DataType::Dictionary(_, _) => match array.as_any_dictionary_opt() {
            Some(dictionary) => dictionary_bytes(dictionary, longest(dictionary.values())),
            None => array.get_array_memory_size(),
        },
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = bounds(list.value_offsets());
            4 * array.len() + array_bytes(&list.values().slice(start, end - start))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (start, end) = bounds(list.value_offsets());
            8 * array.len() + array_bytes(&list.values().slice(start, end - start))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (start, end) = bounds(map.value_offsets());
            let entries: ArrayRef = Arc::new(map.entries().slice(start, end - start));
            4 * array.len() + array_bytes(&entries)
        }
        DataType::FixedSizeList(_, length) => {
            let list = array.as_fixed_size_list();
            let width = (*length).max(0) as usize;
            let start = list.value_offset(0).max(0) as usize;
            array_bytes(&list.values().slice(start, width * array.len()))
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(array_bytes).fold(0, usize::saturating_add)
        }
        _ => array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

/// A dictionary's rows are measured one by one while that is cheap to know, else by the longest value.
fn dictionary_bytes(dictionary: &dyn arrow::array::AnyDictionaryArray, longest: usize) -> usize {
    let worst = longest.saturating_mul(dictionary.keys().len());
    match dictionary.values().data_type() {
        DataType::Utf8 if worst > UNFOLDED_MAX_BYTES / 8 => {
            let values = dictionary.values().as_string::<i32>();
            let used = dictionary.normalized_keys();
            used.iter()
                .map(|k| if *k < values.len() { values.value_length(*k) as usize } else { 0 })
                .sum()
        }
        _ => worst,
    }
}

fn longest_of(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.max().unwrap_or_default()
}

fn bounds<T: Copy + TryInto<usize>>(offsets: &[T]) -> (usize, usize) {
    let get = |v: Option<&T>| v.and_then(|v| (*v).try_into().ok()).unwrap_or_default();
    let start = get(offsets.first());
    (start, get(offsets.last()).max(start))
}
