//! Puts features to rows as they were known at each row's instant, so that what is learned from them knows nothing of the future.
//!
//! 1. [`plan`]: the views' columns are held against those of the rows.
//! 2. [`as_of`]: view by view, each row gets the newest values that its entity had before its instant, if they count still.
//! 3. The rows take the place of those of the run before.
//!
//! Cost: a sort of the rows together with each view. Memory: that of the sort, which spills.

pub(crate) mod as_of;
mod params;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, RecordBatch};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session, WriteMode};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

pub use params::Params;
use plan::Plan;
pub(crate) use plan::view_key;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{Place, RunContext};

/// The kind's name.
const NAME: &str = "training_set";
/// Memory of a row while it is sorted: a guess for the estimate only.
const ROW_BYTES: usize = 256;

/// The job kind.
pub struct TrainingSet;

impl TrainingSet {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for TrainingSet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "puts features to rows as they were known at each row's instant"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        let views = params.asked()?.into_iter().map(|of| of.view);
        Ok([params.dataset.clone()].into_iter().chain(views).collect())
    }

    /// Their columns are known from the plan only.
    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = Self::params(params)?;
        let since = params.asked()?.into_iter().map(|of| plan::since(&of.view)).collect();
        Ok(vec![plan::spec(&params, Vec::new(), since, None)])
    }

    /// None: their columns are those that are asked for.
    fn own_outputs(&self) -> Vec<DatasetSpec> {
        Vec::new()
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move { Ok(vec![Plan::of(session, &Self::params(params)?).await?.spec]) })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let plan = Plan::of(ctx.session(), &params).await?;
            let mut stage = ctx.stage("look");
            let looked = plan.look(ctx).await?;
            stage.record.rows_in = looked.rows;
            stage.finish();
            let frame = plan.frame(ctx).await?;
            let rows = ctx.session().stream(frame).await?;
            let (schema, made) = (rows.schema(), Arc::new(AtomicU64::new(0)));
            let found: Arc<Mutex<Vec<u64>>> = Arc::new(Mutex::new(vec![0; plan.since.len()]));
            let (count, count_found, since) = (made.clone(), found.clone(), plan.since.clone());
            let rows = rows.inspect(move |batch| {
                let Ok(batch) = batch else { return };
                count.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                add_found(&mut count_found.lock(), batch, &since);
            });
            let stream: SendableRecordBatchStream =
                Box::pin(RecordBatchStreamAdapter::new(schema, rows));
            let place = Place::As(WriteMode::Overwrite);
            ctx.commit_rows(plan.spec.clone(), place, stream, Vec::new()).await?;
            let found: Map<String, Value> = plan
                .since
                .iter()
                .zip(found.lock().iter())
                .map(|(name, rows)| (name.clone(), (*rows).into()))
                .collect();
            let summary = json!({
                "rows": made.load(Ordering::Relaxed),
                "rows_left_out": looked.left_out,
                "rows_with_features": found,
            });
            Ok(Outcome { summary })
        })
    }
}

/// Counts the rows that got features, by the columns that say since when these were known.
fn add_found(found: &mut [u64], batch: &RecordBatch, since: &[String]) {
    for (count, name) in found.iter_mut().zip(since) {
        if let Some(column) = batch.column_by_name(name) {
            *count += (column.len() - column.null_count()) as u64;
        }
    }
}
