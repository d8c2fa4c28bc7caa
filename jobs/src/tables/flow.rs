//! Rows of a result that come as they are made, while those before them are written.

use std::future::Future;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::Result;
use futures::stream;

use crate::run::stage::{Elsewhere, Stage};

/// What makes rows.
pub(crate) trait Making: Send + 'static {
    /// The next rows, none behind the last; `stage` is the step in which they are made.
    fn next(
        &mut self,
        stage: &mut Stage,
    ) -> impl Future<Output = Result<Option<RecordBatch>>> + Send;
}

/// Rows under way.
struct Flow<M> {
    making: M,
    stage: Stage,
    /// The time in which nobody asks for rows: it is not that of the step.
    elsewhere: Elsewhere,
    handed_on: Instant,
}

/// The rows that `making` makes, in a step that ends with them.
pub(crate) fn flow(
    schema: SchemaRef,
    stage: Stage,
    making: impl Making,
) -> SendableRecordBatchStream {
    let flow = Flow { making, elsewhere: stage.elsewhere(), handed_on: Instant::now(), stage };
    let rows = stream::try_unfold(flow, |mut flow| async move {
        flow.elsewhere.since(flow.handed_on);
        let next = flow.making.next(&mut flow.stage).await;
        flow.handed_on = Instant::now();
        let next = next.map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(next.map(|batch| (batch, flow)))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
