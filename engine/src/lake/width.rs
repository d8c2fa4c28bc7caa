//! How wide rows are.
//!
//! A query holds thousands of rows at a time, which is little where they are short. Texts of a megabyte each would be gigabytes,
//! more than an Arrow array of texts can hold: what was taken could not be read. So whoever writes rows that are wider than
//! usual says so in the table's configuration, and a query of that table takes fewer of them at a time.

use arrow::array::RecordBatch;
use deltalake_core::kernel::{Metadata, MetadataExt as _};

use crate::error::{Error, Result};

/// Key of the width in a table's configuration: bytes, a power of two.
const ROW_BYTES_KEY: &str = "colonnade.rowBytesMax";
/// Rows over which the width is a mean: what stands alone does no harm.
const WINDOW_ROWS: usize = 64;
/// The row width limit of tables that configure none.
pub(crate) const USUAL_ROW_BYTES: u64 = 8 << 10;

/// Bytes of a row, as a mean of neighbours, where they are the widest; 0 where all are as wide as usual.
pub(super) fn row_bytes(batch: &RecordBatch) -> u64 {
    let rows = batch.num_rows();
    if slice_bytes(batch) <= USUAL_ROW_BYTES * rows.min(WINDOW_ROWS) as u64 {
        return 0;
    }
    let mean = |first| {
        let window = batch.slice(first, WINDOW_ROWS.min(rows - first));
        slice_bytes(&window) / window.num_rows() as u64
    };
    let means = (0..rows).step_by(WINDOW_ROWS).map(mean);
    means.filter(|mean| *mean > USUAL_ROW_BYTES).max().unwrap_or_default()
}

fn slice_bytes(batch: &RecordBatch) -> u64 {
    let bytes = |column: &arrow::array::ArrayRef| column.to_data().get_slice_memory_size();
    // One that can not be measured is no text.
    batch.columns().iter().map(|column| bytes(column).unwrap_or_default() as u64).sum()
}

/// The width that `metadata` states; 0 for the usual one.
pub(super) fn stated(metadata: &Metadata) -> u64 {
    let stated = metadata.configuration().get(ROW_BYTES_KEY);
    stated.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// `metadata` with rows of `row_bytes`, where it says less.
pub(super) fn widened(metadata: &Metadata, row_bytes: u64) -> Result<Option<Metadata>> {
    if row_bytes <= stated(metadata) {
        return Ok(None);
    }
    // Said in powers of two, so that it is said seldom.
    let stated = row_bytes.checked_next_power_of_two().unwrap_or(row_bytes);
    let widened = metadata.clone().add_config_key(ROW_BYTES_KEY.to_owned(), stated.to_string());
    widened.map(Some).map_err(|e| Error::bug("the width of rows", e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    fn texts(lengths: &[usize]) -> RecordBatch {
        let texts = StringArray::from_iter_values(lengths.iter().map(|length| "x".repeat(*length)));
        RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).unwrap()
    }

    #[test]
    fn rows_are_as_wide_as_their_widest_neighbours() {
        assert_eq!(row_bytes(&texts(&[10; 1_000])), 0);
        // A single wide row.
        let mut lengths = [10; 1_000];
        lengths[500] = 1 << 18;
        assert_eq!(row_bytes(&texts(&lengths)), 0);
        lengths[512..576].fill(1 << 20);
        let width = row_bytes(&texts(&lengths));
        assert!((1 << 20..(1 << 20) + 1_000).contains(&width), "{width}");
        // A few are as wide as they are: as few may come again and again.
        assert!(row_bytes(&texts(&[1 << 20])) >= 1 << 20);
        assert_eq!(row_bytes(&texts(&[])), 0);
    }
}
