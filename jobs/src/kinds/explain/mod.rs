//! Says why a measure changed between two periods: which values of which columns carry the change. Commits a row for each finding to
//! `explanations`, with what it adds to the change, and one of rank 0 for the change as a whole.
//!
//! 1. [`cells`]: rows of both periods become sums, one for each combination of values.
//! 2. [`analysis::change`]: which groups moved differently from the rest, and by how much more than noise would.
//! 3. [`told`]: findings in words.
//!
//! Of a quantile, which has no exact contributions, the share of rows above the earlier period's quantile is explained, and what that
//! says is scaled to the change of the quantile.
//!
//! Cost: reads both periods once, aggregated; the search takes the combinations times the subsets of columns. Memory: the
//! combinations, at most what the budget holds.

mod cells;
mod output;
mod params;
#[cfg(test)]
mod tests;
mod told;

use datasets::{DatasetName, DatasetSpec};
use engine::{Error, Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use params::Params;
use told::told;
pub use told::{Explanation, Finding};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;

/// The kind's name.
const NAME: &str = "explain";

/// The job kind.
pub struct Explain;

impl Explain {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Explain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says which values of which columns carry the change of a measure between two periods"
    }

    fn revision(&self) -> u32 {
        3
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        // What it reads is known before it is known when.
        let params: Params = parameters::read(NAME, params)?;
        Ok(vec![params.dataset])
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params: Params = parameters::read(NAME, params)?;
        Ok(vec![output::spec(params.output)])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            cells::check(session, &Self::params(params)?).await?;
            self.outputs(params)
        })
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let measure = cells::check(ctx.session(), &params).await?;
            let mut stage = ctx.stage("cells");
            let budget = ctx.memory_budget_bytes() / 2;
            let stopped = || ctx.check();
            let compared = cells::read(ctx.session(), &params, &measure, budget, &stopped).await?;
            stage.record.rows_in = compared.rows;
            stage.record.rows_out = compared.cells.len() as u64;
            stage.finish();
            ctx.progress(0.6);
            let mut stage = ctx.stage("explain");
            stage.record.rows_in = compared.cells.len() as u64;
            let (asked, pool) = (params.clone(), ctx.pool().clone());
            let token = ctx.cancellation().clone();
            let work = move || pool.install(|| told(&compared, &asked, &|| token.is_cancelled()));
            let told = ctx.compute(work).await?;
            stage.record.rows_out = told.findings.len() as u64;
            stage.finish();
            let version = ctx.input(&params.dataset)?.version.0;
            let spec = output::spec(params.output.clone());
            let batch = output::batch(&spec, &params, version, &told)?;
            ctx.commit_part(spec, output::part(&params)?, vec![batch]).await?;
            Ok(Outcome { summary: summary(&params, &told) })
        })
    }
}

/// Memory of an answer that no run gives.
const ANSWER_BYTES: usize = 128 << 20;

/// Answers at once what a run would commit, from what `session` sees.
pub async fn explain(session: &Session, params: &Value) -> Result<Explanation> {
    let params = Explain::params(params)?;
    let measure = cells::check(session, &params).await?;
    let compared = cells::read(session, &params, &measure, ANSWER_BYTES, &|| Ok(())).await?;
    // Who does not wait any more wants no answer.
    let token = CancellationToken::new();
    let _stops = token.clone().drop_guard();
    let work = move || told(&compared, &params, &|| token.is_cancelled());
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("{NAME}: {error}")))?
}

fn summary(params: &Params, told: &Explanation) -> Value {
    let findings: Vec<Value> = told
        .findings
        .iter()
        .map(|of| json!({ "finding": of.finding, "contribution": of.contribution, "share": of.share }))
        .collect();
    json!({
        "source": params.dataset,
        "measure": params.measure,
        "outcome": told.outcome,
        "before": told.before,
        "after": told.after,
        "change": told.change,
        "rows": told.rows,
        "cells": told.cells,
        "dimensions": told.dimensions,
        "depth": told.depth,
        "says": told.says,
        "findings": findings,
    })
}
