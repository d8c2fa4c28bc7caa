//! Says whether what goes into models and comes out of them is still like what it was.
//!
//! 1. [`read`]: rows become samples, group by group and period by period, each held against the first periods of its group
//!    ([`analysis::drift`]).
//! 2. [`output`]: what drifts and how far each period is, as rows, in the place of those that were there of the same dataset.
//!
//! Cost: sorts the rows, on a disk where they are many, and looks at no more than so many of each period. Memory: the references of one group, in a third of the budget.

mod output;
mod params;
mod read;
#[cfg(test)]
mod tests;

use analysis::drift::{Drift, Score};
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "drift";
/// Memory of a row: a guess for the estimate only.
const ROW_BYTES: usize = 200;

/// What came of a column.
pub(crate) struct Seen {
    /// Its place among those that are named.
    pub(crate) column: usize,
    pub(crate) scores: Vec<Score>,
    pub(crate) drifts: Vec<Drift>,
}

/// Watches the columns that are named, of all rows together.
pub(crate) async fn watch(
    ctx: &RunContext,
    params: &Params,
    stage: &mut Stage,
) -> Result<Vec<Seen>> {
    let found = read::read(ctx, params, stage).await?;
    let seen = found.watched.into_iter();
    Ok(seen.map(|of| Seen { column: of.column, scores: of.scores, drifts: of.drifts }).collect())
}

/// The job kind.
pub struct DriftWatch;

impl DriftWatch {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for DriftWatch {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says whether what goes into models and comes out of them is still like what it was: numbers, labels, vectors"
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
            let mut stage = ctx.stage("watch");
            let found = read::read(ctx, &params, &mut stage).await?;
            stage.finish();
            ctx.progress(0.8);
            let version = ctx.input(&params.dataset)?.version.0 as i64;
            let mut scores = found.watched.iter().flat_map(|of| &of.scores);
            let is_early = !found.groups.is_empty() && scores.all(|score| score.is_reference);
            let early = is_early.then(|| {
                format!(
                    "no group has {} periods and one more; the first are what later ones are held against",
                    params.reference()
                )
            });
            let week = params.periods_of().seasons().into_iter().max().unwrap_or_default();
            let is_short = params.reference() < 2 * week;
            let warning = is_short.then(|| {
                format!(
                    "a reference of {} periods of {} is shorter than two weeks: what differs between days of the week may be reported as drift",
                    params.reference(),
                    params.period,
                )
            });
            let drifts = || found.watched.iter().flat_map(|of| &of.drifts);
            let summary = json!({
                "source": params.dataset,
                "rows": found.rows,
                "rows_left_out": found.left_out,
                "groups": found.groups.len(),
                "groups_too_young": found.young,
                "periods_too_thin": found.thin,
                "columns_too_mixed": found.blind,
                "columns_undecided": found.undecided,
                "columns": params.watched(),
                "in_a_row": found.rule.in_a_row,
                "nothing_because": early,
                "warning": warning,
                "drifts": drifts().count(),
                "drifts_open": drifts().filter(|of| of.is_open).count(),
            });
            commit_in_place_of(
                ctx,
                params.dataset.as_str(),
                output::rows(&params, version, &found)?,
            )
            .await?;
            Ok(Outcome { summary })
        })
    }
}
