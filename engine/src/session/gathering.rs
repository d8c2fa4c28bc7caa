//! Small batches gathered into larger ones, up to a number of rows and of bytes.
//!
//! DataFusion's filters and exchanges gather rows up to a number, however wide they are: some thousand rows of a megabyte each
//! are gigabytes. For rows that may be wide they gather nothing here. A `GatheredRows` above them does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::{Stream, ready};

use super::over_input::{OverInput, Pass};
use super::row_width::usual_rows;
use crate::functions::{is_shared, rows_bytes};

/// Bytes that are gathered for one batch.
const GATHERED_BYTES: usize = 16 << 20;
/// Rows up to which such an operator gathers: a batch of more is handed on as it is.
pub(super) const HANDED_ON_ROWS: usize = 1;

/// Whether rows may be wide: a column has a type without a fixed length.
pub(super) fn is_wide(schema: &SchemaRef) -> bool {
    let is_long = |of: &DataType| of.primitive_width().is_none() && *of != DataType::Boolean;
    schema.fields().iter().any(|field| is_long(field.data_type()))
}

/// Whether an exchange gathers rows that may be wide. One that merges sorted rows gathers none.
pub(super) fn is_wide_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let exchange = plan.downcast_ref::<RepartitionExec>();
    exchange.is_some_and(|exchange| !exchange.preserve_order()) && is_wide(&plan.schema())
}

/// Gathers what `plan` hands on, if it would gather rows by their number alone. `between` wraps each operator.
pub(super) fn gathered(
    plan: Arc<dyn ExecutionPlan>,
    between: impl Fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (plan, rows) = if is_wide_exchange(&plan) {
        (between(plan), None)
    } else if is_wide(&plan.schema())
        && let Some(filter) = plan.downcast_ref::<FilterExec>()
    {
        let rows = filter.batch_size();
        let filter = FilterExecBuilder::from(filter).with_batch_size(HANDED_ON_ROWS).build()?;
        (Arc::new(filter) as Arc<dyn ExecutionPlan>, Some(rows))
    } else {
        return Ok(plan);
    };
    // Rows that share values are small, and gathering would copy the values of all batches.
    let is_shared = plan.schema().fields().iter().any(|field| is_shared(field.data_type()));
    Ok(if is_shared { plan } else { OverInput::plan(plan, Gathered { rows }) })
}

/// Gathers up to `rows` rows, or as many as operators usually hand on.
#[derive(Clone, Debug)]
struct Gathered {
    rows: Option<usize>,
}

impl Pass for Gathered {
    const NAME: &'static str = "GatheredRows";

    fn rows(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.rows.unwrap_or_else(|| usual_rows(&context));
        let gathered = BatchCoalescer::new(input.schema(), rows)
            .with_biggest_coalesce_batch_size(Some(rows / 2));
        let rows = input.execute(partition, context)?;
        Ok(Box::pin(Rows { rows, gathered, bytes: 0, is_done: false }))
    }
}

struct Rows {
    rows: SendableRecordBatchStream,
    gathered: BatchCoalescer,
    /// Bytes of the rows that were gathered since the last batch.
    bytes: usize,
    is_done: bool,
}

impl Rows {
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes = self.bytes.saturating_add(rows_bytes(&batch));
        self.gathered.push_batch(batch)?;
        if self.bytes >= GATHERED_BYTES {
            self.gathered.finish_buffered_batch()?;
        }
        Ok(())
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(batch) = self.gathered.next_completed_batch() {
                self.bytes = 0;
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            let added = match ready!(self.rows.as_mut().poll_next(cx)) {
                // A batch that is large enough is not copied.
                Some(Ok(batch))
                    if self.gathered.is_empty() && rows_bytes(&batch) >= GATHERED_BYTES / 2 =>
                {
                    return Poll::Ready(Some(Ok(batch)));
                }
                Some(Ok(batch)) => self.add(batch),
                Some(Err(error)) => Err(error),
                None => {
                    self.is_done = true;
                    self.gathered.finish_buffered_batch().map_err(Into::into)
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
