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
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
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
        let coalescer = BatchCoalescer::new(rows.schema(), max_rows);
        let reservation = MemoryConsumer::new(Self::NAME).register(context.memory_pool());
        Box::pin(Rows { rows, coalescer, max_rows, reservation, large: None, is_done: false })
    }
}

struct Rows {
    rows: SendableRecordBatchStream,
    coalescer: BatchCoalescer,
    max_rows: usize,
    /// Bytes of the buffered rows.
    reservation: MemoryReservation,
    /// A large batch, which follows the buffered rows without a copy.
    large: Option<RecordBatch>,
    is_done: bool,
}

impl Rows {
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let (rows, bytes) = (batch.num_rows(), rows_bytes(&batch));
        let is_large = 2 * rows > self.max_rows || 2 * bytes > COALESCED_BYTES;
        let is_full = self.coalescer.get_buffered_rows() + rows > self.max_rows
            || self.reservation.size() + bytes > COALESCED_BYTES;
        if is_large || is_full {
            self.coalescer.finish_buffered_batch()?;
            self.reservation.free();
        }
        // Without memory for a buffer, each batch passes through.
        if is_large || self.reservation.try_grow(bytes).is_err() {
            self.coalescer.finish_buffered_batch()?;
            self.large = Some(batch);
        } else {
            self.coalescer.push_batch(batch)?;
        }
        Ok(())
    }

    /// The next batch that is ready.
    fn next_ready(&mut self) -> Option<RecordBatch> {
        let batch = self.coalescer.next_completed_batch();
        if self.coalescer.is_empty() {
            self.reservation.free();
        }
        batch.or_else(|| self.large.take())
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(batch) = self.next_ready() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            let added = match ready!(self.rows.as_mut().poll_next(cx)) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{AsArray, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::TryStreamExt;

    use super::*;

    /// The rows and bytes of the coalesced batches of strings with these lengths, one slice for each batch.
    async fn coalesced(batches: &[Vec<usize>], pool_bytes: usize) -> Vec<(usize, usize)> {
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, false)]));
        let batch = |lengths: &Vec<usize>| {
            let texts: StringArray =
                lengths.iter().map(|length| Some("x".repeat(*length))).collect();
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(texts)]).unwrap())
        };
        let input: Vec<Result<RecordBatch>> = batches.iter().map(batch).collect();
        let rows = RecordBatchStreamAdapter::new(Arc::clone(&schema), futures::stream::iter(input));
        let pool = Arc::new(GreedyMemoryPool::new(pool_bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let context = TaskContext::default().with_runtime(runtime);
        let found = CoalesceByBytes { rows: Some(1_000) }.rows(Box::pin(rows), &context);
        let found: Vec<RecordBatch> = found.try_collect().await.unwrap();
        let lengths = found.iter().flat_map(|batch| {
            batch.column(0).as_string::<i32>().iter().flatten().map(str::len).collect::<Vec<_>>()
        });
        assert!(lengths.eq(batches.iter().flatten().copied()), "the rows stay in order");
        assert_eq!(context.memory_pool().reserved(), 0);
        found.iter().map(|batch| (batch.num_rows(), rows_bytes(batch))).collect()
    }

    #[tokio::test]
    async fn batches_are_full_by_rows_or_by_bytes() {
        let short = vec![vec![10; 300]; 7];
        let rows =
            |found: Vec<(usize, usize)>| found.into_iter().map(|of| of.0).collect::<Vec<_>>();
        assert_eq!(rows(coalesced(&short, 1 << 30).await), [900, 900, 300]);
        // Twice as much as a batch may take, in short rows.
        let wide = vec![vec![COALESCED_BYTES / 100; 10]; 20];
        assert_eq!(rows(coalesced(&wide, 1 << 30).await), [100, 100]);
        // Without memory, each batch passes through.
        assert_eq!(rows(coalesced(&short, 0).await), [300; 7]);
    }

    #[tokio::test]
    async fn a_large_batch_follows_what_came_before() {
        let batches = [vec![7; 5], vec![COALESCED_BYTES, 1], vec![8; 5], vec![9; 600], vec![3]];
        let found = coalesced(&batches, 1 << 30).await;
        let rows: Vec<usize> = found.iter().map(|of| of.0).collect();
        assert_eq!(rows, [5, 2, 5, 600, 1]);
    }
}
