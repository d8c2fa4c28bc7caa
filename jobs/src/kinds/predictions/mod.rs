//! Says of cases that go on what comes next, how long they will last and whether they succeed, and which step those took that succeeded.
//!
//! 1. [`read`]: rows become events by case, as for `processes`.
//! 2. [`foresee`]: cases that have ended are split by time; counts of what came after the last activities and a network
//!    ([`models`]) learn from the first, the better one is taken on the next, and both are held against the last ([`measures`]).
//! 3. [`output`]: what is foretold of each case and how good that was, as rows, in the place of those that were there of the same dataset.
//!
//! Cost: reads every row once, sorted; the network sees 100,000 events in an epoch at most, 40 times at most, twice. Memory: the events,
//! in the budget.

mod foresee;
mod measures;
mod models;
mod output;
mod params;
#[cfg(test)]
mod tests;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use foresee::foresee;
pub use params::Params;

use crate::job::{Job, Outcome};
use crate::kinds::processes::read;
use crate::parameters;
use crate::run::context::{RunContext, check};
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "predictions";
/// What is foretold: what comes next, how long it goes on, whether it succeeds.
const TARGETS: usize = 3;
/// Memory of an event: a guess for the estimate only.
const ROW_BYTES: usize = 200;

/// The job kind.
pub struct Predictions;

impl Predictions {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Predictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says of cases that go on what comes next, how long they will last, whether they succeed, and which step those took that succeeded"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![Self::params(params)?.dataset])
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(output::specs(&Self::params(params)?))
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            read::check(session, &Self::params(params)?.log()).await?;
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let mut stage = ctx.stage("read");
            let read = read::read(ctx, &params.log(), &mut stage).await?;
            stage.record.rows_out = read.log.len() as u64;
            stage.finish();
            ctx.progress(0.2);
            let counted = json!({
                "source": params.dataset,
                "events_left_out": read.left_out,
                "events_that_end_before_they_begin": read.turned,
                "events_without_end": read.without_end,
            });
            let mut stage = ctx.stage("foresee");
            stage.record.rows_in = read.log.len() as u64;
            let (asked, pool, stop) =
                (params.clone(), ctx.pool().clone(), ctx.cancellation().clone());
            let work = move || pool.install(|| foresee(&read.log, &asked, &|| check(&stop)));
            let found = ctx.compute(work).await?;
            stage.record.rows_out = found.cases.len() as u64;
            stage.finish();
            ctx.progress(0.9);
            let version = ctx.input(&params.dataset)?.version.0 as i64;
            commit_in_place_of(
                ctx,
                params.dataset.as_str(),
                output::rows(&params, version, &found)?,
            )
            .await?;
            let mut summary = found.summary;
            if let (Value::Object(summary), Value::Object(counted)) = (&mut summary, counted) {
                summary.extend(counted);
            }
            Ok(Outcome { summary })
        })
    }
}
