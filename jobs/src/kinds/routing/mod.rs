//! Says what other ways to route requests to models would have cost, and how good answers would have been.
//!
//! 1. [`read`]: calls become sums by stretch of time, kind, length and model.
//! 2. Policies are learned from the earlier stretches and tried on the later ones ([`analysis::routing`]).
//! 3. [`output`]: all of it as rows, in the place of those that were there of the same dataset.
//!
//! Cost: reads every row three times, once in order of time, sorted on a disk where they are many; with chains ([`others`]) once more, and twice for
//! each pair of models, which is a join. Memory: that of these, within the budget, and the sums, of which there are no more than half a million.

mod others;
mod output;
mod params;
mod read;
#[cfg(test)]
mod tests;

use analysis::routing::{Trials, learn, try_out};
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

pub use params::Params;
use read::Calls;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "routing";
/// Memory of a row: a guess for the estimate only.
const ROW_BYTES: usize = 100;

/// The job kind.
pub struct Routing;

impl Routing {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Routing {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says what other ways to route requests to models would have cost, how good answers would have been, and which is sure to save"
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
            read::check(session, &Self::params(params)?).await?;
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
            let calls = read::read(ctx, &params, &mut stage).await?;
            stage.finish();
            ctx.progress(0.6);
            let version = ctx.input(&params.dataset)?.version.0 as i64;
            let mut stage = ctx.stage("try");
            stage.record.rows_in = calls.calls;
            let (asked, pool) = (params.clone(), ctx.pool().clone());
            let work = move || {
                let trials = pool.install(|| tried(&asked, &calls));
                let rows = output::rows(&asked, version, &calls, trials.as_ref())?;
                Ok((summary(&asked, &calls, trials.as_ref()), rows))
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

fn tried(params: &Params, calls: &Calls) -> Option<Trials> {
    let (table, asked) = (&calls.table, params.asked());
    let middle = table.split(params.learn);
    let policies = learn(table, middle, &asked);
    try_out(table, 0..middle, middle..table.stretches(), policies, &asked)
}

fn summary(params: &Params, calls: &Calls, trials: Option<&Trials>) -> Value {
    let recommended = trials.and_then(|of| of.tried.get(of.recommended?));
    let interval = |of: analysis::routing::Interval| json!([of.lower, of.value, of.upper]);
    let because = match (trials, recommended) {
        (None, _) if calls.calls == 0 => Some("no row has an instant, a model and a cost"),
        (None, _) if calls.calls == calls.not_judged => {
            Some("of no answer it is known how good it was")
        }
        (None, _) => Some(
            "fewer than 20 stretches of time with later requests, none of them judged, or none that cost something",
        ),
        (Some(of), _) if of.tried.is_empty() => Some("of no model enough is known"),
        (Some(_), None) => Some("none is sure to save what is asked without losing more"),
        (Some(_), Some(_)) => None,
    };
    json!({
        "source": params.dataset,
        "calls": calls.calls,
        "calls_not_judged": calls.not_judged,
        "rows_left_out": calls.left_out,
        "kinds": calls.kinds.len(),
        "models": calls.models.len(),
        "policies": trials.map_or(0, |of| of.tried.len()),
        "requests": trials.map_or(0, |of| of.requests),
        "cost": trials.map(|of| of.cost),
        "quality": trials.map(|of| of.quality),
        "recommended": recommended.map(|of| output::name(calls, of.policy.way)),
        "nothing_because": because,
        "saving": recommended.map(|of| interval(of.saving)),
        "loss": recommended.map(|of| interval(of.loss)),
    })
}
