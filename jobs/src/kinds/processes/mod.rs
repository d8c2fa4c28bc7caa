//! Says what an event log tells of the process behind it: what is done and what follows it, how long work takes and where it waits, the
//! ways that cases take, a model of them, and where cases leave it.
//!
//! 1. [`read`]: rows become events by case, in order.
//! 2. [`mine`]: the directly-follows graph and variants; a model by the inductive miner from the most frequent ways, or one that is given;
//!    each variant is played through it by tokens and aligned with it.
//! 3. [`output`]: all of it as rows, in the place of those that were there of the same dataset.
//!
//! Cost: reads every row once, sorted; an alignment of each variant, which takes its length times the states of the model that it reaches.
//! Memory: the events, in the budget.

mod mine;
mod output;
mod params;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use mine::{Mined, mine};
pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{RunContext, check};
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "processes";
/// Memory of an event: a guess for the estimate only.
const ROW_BYTES: usize = 200;

/// The job kind.
pub struct Processes;

impl Processes {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Processes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says what an event log tells of its process: what follows what, where it waits, which ways cases take, and where they leave a model"
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
        let params = Self::params(params)?;
        Ok(vec![
            output::activities_spec(params.activities_output),
            output::edges_spec(params.edges_output),
            output::hand_overs_spec(params.hand_overs_output),
            output::variants_spec(params.variants_output),
            output::cases_spec(params.cases_output),
            output::models_spec(params.models_output),
        ])
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
            ctx.progress(0.3);
            let counted = json!({
                "events_left_out": read.left_out,
                "events_that_end_before_they_begin": read.turned,
                "events_without_end": read.without_end,
            });
            let mut stage = ctx.stage("mine");
            stage.record.rows_in = read.log.len() as u64;
            let (asked, pool, stop) =
                (params.clone(), ctx.pool().clone(), ctx.cancellation().clone());
            let work = move || pool.install(|| mine(read, &asked, &|| check(&stop)));
            let mined = ctx.compute(work).await?;
            stage.record.rows_out = mined.variants.len() as u64;
            stage.finish();
            ctx.progress(0.8);
            let version = ctx.input(&params.dataset)?.version.0;
            let bytes_max = ctx.memory_budget_bytes();
            commit_in_place_of(
                ctx,
                params.dataset.as_str(),
                output::rows(&params, version, &mined, bytes_max)?,
            )
            .await?;
            Ok(Outcome { summary: summary(&params, &mined, counted) })
        })
    }
}

fn summary(params: &Params, mined: &Mined, counted: Value) -> Value {
    let Mined { log, graph, variants, fits, model, no_model } = mined;
    let not_aligned = variants.iter().zip(fits).filter(|(_, fit)| fit.alignment.is_none());
    let mut summary = json!({
        "source": params.dataset,
        "events": log.len(),
        "cases": log.cases.len(),
        "activities": log.activities.len(),
        "edges": graph.edges.len(),
        "variants": variants.len(),
        "model": model.as_ref().map(|model| if model.tree.is_some() { "discovered" } else { "given" }),
        "no_model": no_model,
        "fitness": model.as_ref().filter(|_| !log.is_empty()).map(|model| model.tokens.fitness()),
        "cases_not_aligned": not_aligned.map(|(variant, _)| variant.cases.len() as u64).sum::<u64>(),
    });
    if let (Value::Object(summary), Value::Object(counted)) = (&mut summary, counted) {
        summary.extend(counted);
    }
    summary
}
