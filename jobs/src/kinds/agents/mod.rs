//! Says how well agents do at tasks: how often they succeed and how surely, what it takes, and which of them is better, where that is
//! shown.
//!
//! 1. [`read`]: rows become trials of tasks.
//! 2. [`compare`]: agents with the most trials, each with each other: task by task where they tried the same, else within each kind of task; what
//!    is said of all comparisons together is false no more often than one may be.
//! 3. [`output`]: all of it as rows, in the place of those that were there of the same dataset.
//!
//! Cost: reads every row once; comparisons go by the square of the agents, each over their tasks. Memory: the trials, in a third of the budget.

mod compare;
mod output;
mod params;
mod read;
#[cfg(test)]
mod tests;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use compare::{Comparison, Of, compare};
pub use params::Params;
use read::Trials;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{RunContext, check};
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "agents";
/// Memory of a trial: a guess for the estimate only.
const ROW_BYTES: usize = 200;

/// The job kind.
pub struct Agents;

impl Agents {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Agents {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says how well agents do at tasks, how surely, what it takes, and which is better, where that is shown"
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
            let asked = read::asked(session, Self::params(params)?).await?;
            read::check(session, &asked).await?;
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = read::asked(ctx.session(), Self::params(params)?).await?;
            let mut stage = ctx.stage("read");
            let trials = read::read(ctx, &params, &mut stage).await?;
            stage.finish();
            ctx.progress(0.4);
            let version = ctx.input(&params.dataset)?.version.0 as i64;
            let mut stage = ctx.stage("compare");
            stage.record.rows_in = trials.count;
            let (asked, pool, stop) =
                (params.clone(), ctx.pool().clone(), ctx.cancellation().clone());
            let work = move || {
                let compared = pool.install(|| compare(&trials, &asked, &|| check(&stop)))?;
                let rows = output::rows(&asked, version, &trials, &compared)?;
                Ok((summary(&asked, &trials, &compared), rows))
            };
            let (summary, rows) = ctx.compute(work).await?;
            stage.record.rows_out =
                rows.iter().flat_map(|(_, batches)| batches).map(|of| of.num_rows() as u64).sum();
            stage.finish();
            ctx.progress(0.9);
            commit_in_place_of(ctx, params.dataset.as_str(), rows).await?;
            Ok(Outcome { summary })
        })
    }
}

fn summary(params: &Params, trials: &Trials, compared: &[Comparison]) -> Value {
    let better = |of: &dyn Fn(&Of) -> bool| {
        compared
            .iter()
            .filter(|comparison| comparison.better.is_some() && of(&comparison.of))
            .count()
    };
    json!({
        "source": params.dataset,
        "trials": trials.count,
        "none_succeeded": (trials.count > 0 && trials.succeeded == 0)
            .then(|| format!("no trial has success = true: {}", params.success)),
        "trials_left_out": trials.left_out,
        "agents": trials.agents.len(),
        "kinds": trials.kinds.len(),
        "comparisons": compared.len(),
        "better_at_success": better(&|of| *of == Of::Success),
        "better_at_measures": better(&|of| *of != Of::Success),
    })
}
