//! How many rows a query holds at a time.

use datafusion::execution::SessionState;
use datafusion::prelude::DataFrame;

use crate::lake::USUAL_ROW_BYTES;

/// Default batch size, for rows of usual width.
pub(super) const BATCH_ROWS: usize = 8 << 10;

/// `state` for queries of rows of `row_bytes` (0: as usual): fewer at a time where they are wide.
pub(super) fn for_rows_of(row_bytes: u64, mut state: SessionState) -> SessionState {
    if row_bytes > USUAL_ROW_BYTES {
        let bytes = BATCH_ROWS as u64 * USUAL_ROW_BYTES;
        let rows = usize::try_from(bytes / row_bytes).unwrap_or(BATCH_ROWS).max(1);
        let config = state.config_mut();
        *config = config.clone().with_batch_size(rows.min(config.batch_size()));
    }
    state
}

/// The same for a query that is planned.
pub(super) fn frame_of(row_bytes: u64, frame: DataFrame) -> DataFrame {
    let (state, plan) = frame.into_parts();
    DataFrame::new(for_rows_of(row_bytes, state), plan)
}
