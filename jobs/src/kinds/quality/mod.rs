//! Says whether the rows of a dataset are as they should be: whether they come, how many, with which values, and how they differ from those
//! that came before.
//!
//! 1. [`read`]: what is measured of each period and column; the values as a whole by the job `drift`.
//! 2. [`checks`]: each held against limits that the periods before it teach ([`analysis::quality`]), or that are known; and a score of each
//!    period.
//! 3. [`output`]: both as rows, in the place of those that were there of the same dataset.
//!
//! Cost: goes over all rows once, to count those that are not of the periods, and over those of the periods three times, once sorted by time and once
//! by time and values; for each column that refers to another dataset twice more. Memory: that of the queries, within the budget, and what `drift` takes.

mod checks;
mod distributions;
mod output;
mod params;
mod read;
#[cfg(test)]
mod tests;
mod window;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

pub use params::Params;
use window::Window;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::series::words::instant;
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "quality";
/// Memory of a row: a guess for the estimate only.
const ROW_BYTES: usize = 200;
/// Reasons that a summary has.
const REASONS_TOLD: usize = 20;
/// After how long a schedule looks again where no row came: that none comes is found, too.
const LOOKS_AGAIN_S: u32 = 3_600;

/// The job kind.
pub struct Quality;

impl Quality {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Quality {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says whether the rows of a dataset come, are complete and valid, and are as they were, with a score and its reasons"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        let mut inputs = vec![params.dataset.clone()];
        for (_, dataset, _) in params.referred()? {
            if !inputs.contains(&dataset) {
                inputs.push(dataset);
            }
        }
        Ok(inputs)
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
            read::asked(session, &Self::params(params)?).await?;
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn looks_at_the_clock(&self) -> bool {
        true
    }

    fn looks_again_after(&self, params: &Value) -> Result<Option<u32>> {
        Ok(Self::params(params)?.as_of.is_none().then_some(LOOKS_AGAIN_S))
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let until = params.as_of.unwrap_or_else(|| ctx.now());
            let window = Window::of(&params, until.timestamp_micros());
            let asked = read::asked(ctx.session(), &params).await?;
            let mut stage = ctx.stage("measure");
            let found = asked.read(ctx, &window, &mut stage).await?;
            stage.finish();
            ctx.progress(0.4);
            let mut stage = ctx.stage("distributions");
            let names = asked.names(ctx, &window).await?;
            let seen = asked.distributions(ctx, &window, &names, &mut stage).await?;
            stage.finish();
            ctx.progress(0.8);
            let checked = checks::checked(&params, &window, &found, &seen, asked.alarms_of(1));
            let scores = checks::scores(&window, &checked);
            let version = ctx.input(&params.dataset)?.version.0 as i64;
            let newest = scores.last();
            let failed = newest.map(|of| of.failed.as_slice()).unwrap_or_default();
            let told = failed.get(..REASONS_TOLD).unwrap_or(failed);
            let reasons = output::reasons(&window, told);
            let nothing = (found.rows == 0).then(|| {
                format!(
                    "no row is of the {} periods before {}; an earlier `as_of` looks at those that are",
                    params.periods + params.history,
                    instant(window.until_us)
                )
            });
            let mut summary = json!({
                "source": params.dataset,
                "rows": found.rows,
                "rows_without_instant": found.left_out,
                "rows_later": found.later,
                "newest_row_at": found.newest_us.map(instant),
                "as_of": instant(window.until_us),
                "columns_left_out": asked.columns_left_out,
                "columns_of_names": names,
                "checks": newest.map_or(0, |of| of.checks),
                "failed": failed.len(),
                "score": newest.map(|of| (of.score * 10.0).round() / 10.0),
                "reasons": reasons,
                "failed_in_all_periods": checked.iter().filter(|of| !of.is_fine).count(),
            });
            if let Some(because) = nothing {
                summary["nothing_because"] = json!(because);
            }
            commit_in_place_of(
                ctx,
                params.dataset.as_str(),
                output::rows(&params, version, &window, &checked, &scores)?,
            )
            .await?;
            Ok(Outcome { summary })
        })
    }
}
