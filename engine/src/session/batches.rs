//! How many rows a query holds at a time.

use arrow::datatypes::Field;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SessionState;
use datafusion::prelude::DataFrame;

use crate::lake::USUAL_ROW_BYTES;

/// Default batch size, for rows of usual width.
pub(super) const BATCH_ROWS: usize = 8 << 10;

/// Approximate bytes of a value that is not primitive.
const USUAL_VALUE_BYTES: usize = 16;
/// Most bytes of the primitive values of a batch.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// `state` for queries of rows of `row_bytes` (0: as usual): fewer at a time where they are wide.
pub(super) fn for_rows_of(row_bytes: u64, state: SessionState) -> SessionState {
    if row_bytes <= USUAL_ROW_BYTES {
        return state;
    }
    let bytes = BATCH_ROWS as u64 * USUAL_ROW_BYTES;
    of_at_most(usize::try_from(bytes / row_bytes).unwrap_or(BATCH_ROWS), state)
}

/// `state` with batches of at most `rows` rows.
fn of_at_most(rows: usize, mut state: SessionState) -> SessionState {
    let rows = rows.max(1);
    if rows < state.config().batch_size() {
        let config = state.config_mut();
        *config = config.clone().with_batch_size(rows);
    }
    state
}

/// The query with batches of about `bytes` bytes, where a row has up to `row_bytes`.
pub(super) fn of_bytes(bytes: usize, row_bytes: usize, frame: DataFrame) -> DataFrame {
    let (state, plan) = frame.into_parts();
    DataFrame::new(of_at_most(bytes / row_bytes.max(1), state), plan)
}

/// The query with a smaller batch size if one of its operators has many columns.
pub(super) fn for_columns_of(frame: DataFrame) -> Result<DataFrame> {
    let mut widest = 0_usize;
    frame.logical_plan().apply_with_subqueries(|plan| {
        let bytes =
            |field: &Field| field.data_type().primitive_width().unwrap_or(USUAL_VALUE_BYTES);
        let row = plan.schema().fields().iter().map(|field| bytes(field)).sum();
        widest = widest.max(row);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(of_bytes(BATCH_BYTES_MAX, widest, frame))
}

/// As [`for_rows_of`], for a query that is planned.
pub(super) fn frame_of(row_bytes: u64, frame: DataFrame) -> DataFrame {
    let (state, plan) = frame.into_parts();
    DataFrame::new(for_rows_of(row_bytes, state), plan)
}
