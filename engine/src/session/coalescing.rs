//! Coalesces small batches into larger ones, up to a number of rows and of bytes.
//!
//! DataFusion's filters and repartitions coalesce batches up to a number of rows, however wide the
//! rows are. A batch of 8,192 rows of a megabyte each takes 8 GiB. So these operators coalesce
//! nothing if rows may be wide. A `CoalescedRows` operator above them coalesces instead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use futures::{Stream, ready};

use super::row_width::{
    UNCOALESCED_BATCH_SIZE, default_batch_size, has_shared, is_wide, is_wide_repartition,
};
use super::wrapper_exec::{StreamWrapper, WrapperExec};
use crate::functions::rows_bytes;

/// Bytes at which a coalesced batch is complete.
const COALESCED_BYTES: usize = 16 << 20;

/// Coalesces the batches of `plan` by bytes, if `plan` would coalesce them by rows alone. `between`
/// wraps a repartition, because that wrapper sets its batch size.
pub(super) fn coalesced(
    plan: Arc<dyn ExecutionPlan>,
    between: impl Fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let (plan, rows) = if is_wide_repartition(&plan) {
        (plan, None)
    } else if is_wide(&schema)
        && let Some(filter) = plan.downcast_ref::<FilterExec>()
    {
        let rows = filter.batch_size();
        let filter =
            FilterExecBuilder::from(filter).with_batch_size(UNCOALESCED_BATCH_SIZE).build()?;
        (Arc::new(filter) as Arc<dyn ExecutionPlan>, Some(rows))
    } else {
        return Ok(plan);
    };
    // Rows that share values are small. Coalescing would copy the values of every batch.
    if has_shared(&schema) {
        return Ok(plan);
    }
    let plan = if rows.is_none() { between(plan) } else { plan };
    Ok(WrapperExec::plan(plan, CoalesceByBytes { rows }))
}

/// Coalesces up to `rows` rows, or up to the default batch size without `rows`.
#[derive(Clone, Debug)]
struct CoalesceByBytes {
    rows: Option<usize>,
}

impl StreamWrapper for CoalesceByBytes {
    const NAME: &'static str = "CoalescedRows";

    fn rows(
        &self,
        rows: SendableRecordBatchStream,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        let max_rows = self.rows.unwrap_or_else(|| default_batch_size(context));
        let coalescer = BatchCoalescer::new(rows.schema(), max_rows)
            .with_biggest_coalesce_batch_size(Some(max_rows / 2));
        Box::pin(Rows { rows, coalescer, bytes: 0, is_done: false })
    }
}

struct Rows {
    rows: SendableRecordBatchStream,
    coalescer: BatchCoalescer,
    /// Bytes of the rows that were pushed since the last complete batch.
    bytes: usize,
    is_done: bool,
}

impl Rows {
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes = self.bytes.saturating_add(rows_bytes(&batch));
        self.coalescer.push_batch(batch)?;
        if self.bytes >= COALESCED_BYTES {
            self.coalescer.finish_buffered_batch()?;
        }
        Ok(())
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch() {
                self.bytes = 0;
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            let added = match ready!(self.rows.as_mut().poll_next(cx)) {
                // A large batch passes through without a copy.
                Some(Ok(batch))
                    if self.coalescer.is_empty() && rows_bytes(&batch) >= COALESCED_BYTES / 2 =>
                {
                    return Poll::Ready(Some(Ok(batch)));
                }
                Some(Ok(batch)) => self.add(batch),
                Some(Err(error)) => Err(error),
                None => {
                    self.is_done = true;
                    self.coalescer.finish_buffered_batch().map_err(Into::into)
                }
            };
            if let Err(error) = added {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl RecordBatchStream for Rows {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
}
