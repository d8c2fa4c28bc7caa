//! Says how often models are right, as it becomes known what is so: by model and period, whether they know how sure they are, and which of two
//! is right more often on the same rows.
//!
//! 1. [`read`]: answers beside what is so, row by row.
//! 2. [`told`]: periods against those before them, and models against each other ([`analysis::answers`]).
//! 3. [`output`]: all of it as rows, in the place of those that were there of the same truth.
//!
//! Cost: joins the answers with what is known of them, and sorts these. Memory: that of the join and the sort, within the budget, and counts by model,
//! label and period.

mod output;
mod params;
mod read;
#[cfg(test)]
mod tests;
mod told;

use analysis::trial::Rate;
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

pub use params::Params;
use read::UNEVEN;

use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::run::context::RunContext;
use crate::tables::replacing::commit_in_place_of;

/// The kind's name.
const NAME: &str = "accuracy";
/// Memory of a row: a guess for the estimate only.
const ROW_BYTES: usize = 100;
/// Models that a summary has.
const MODELS_TOLD: usize = 20;

/// The job kind.
pub struct Accuracy;

impl Accuracy {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Accuracy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says how often models are right as it becomes known what is so, whether they know it, and which is right more often"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        let mut inputs = params.predictions;
        inputs.push(params.truth);
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

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let mut stage = ctx.stage("read");
            let read = read::asked(ctx.session(), &params).await?.read(ctx, &mut stage).await?;
            stage.finish();
            ctx.progress(0.8);
            if let Some(champion) = &params.champion
                && !read.models.iter().any(|of| of.name == *champion)
            {
                let names: Vec<&str> =
                    read.models.iter().map(|of| of.name.as_str()).take(MODELS_TOLD).collect();
                let says = format!(
                    "no answer is of {champion:?}; expected one of {}",
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                );
                return Err(bad(NAME, "champion", says));
            }
            let periods = told::periods(&params, &read);
            let comparisons = told::comparisons(&params, &read);
            let version = ctx.input(&params.truth)?.version.0 as i64;
            let models = read.models.iter().take(MODELS_TOLD).map(|of| {
                let interval = |rate: Rate| [rate.lower, rate.rate, rate.upper];
                json!({
                    "model": of.name, "answers": of.answers, "known": of.known.answers,
                    "accuracy": of.known.accuracy().map(interval),
                    "weighted_accuracy": of.weighted_accuracy().map(interval),
                    "macro_f1": of.macro_f1().map(interval),
                    "calibration_error": of.known.calibration_error(),
                    "calibration_error_interval": of.known.calibration_error_interval(),
                })
            });
            let uneven =
                read.models.iter().filter(|of| of.label_sampling_p().is_some_and(|p| p < UNEVEN));
            let mut warnings: Vec<String> = uneven
                .map(|of| {
                    format!(
                        "the labelled answers of {} have other confidences than most: `accuracy` is theirs alone, `weighted_accuracy` that of all",
                        of.name
                    )
                })
                .take(MODELS_TOLD)
                .collect();
            if read.rows > 0 && read.models.iter().all(|of| of.known.sure() == 0) {
                warnings.push(
                    "no confidences: figures hold for all answers only if those to label were drawn at random".to_owned(),
                );
            }
            let better: Vec<Value> = comparisons
                .iter()
                .filter_map(|of| {
                    let worse = if of.better? == of.a.name { of.b } else { of.a };
                    Some(json!({ "model": of.better, "than": worse.name }))
                })
                .take(MODELS_TOLD)
                .collect();
            let mut summary = json!({
                "source": params.truth,
                "rows": read.rows,
                "confidences_left_out": read.unsure,
                "answers_repeated": read.repeated,
                "models": models.collect::<Vec<_>>(),
                "periods": periods.len(),
                "periods_worse": periods.iter().filter(|of| of.is_worse).count(),
                "compared": comparisons.len(),
                "better": better,
                "warnings": warnings,
            });
            if let Some(because) = nothing(&read) {
                summary["nothing_because"] = because.into();
            }
            commit_in_place_of(
                ctx,
                params.truth.as_str(),
                output::rows(&params, version, &read, &periods, &comparisons)?,
            )
            .await?;
            Ok(Outcome { summary })
        })
    }
}

/// Why nothing is known of any answer, or none is right.
fn nothing(read: &read::Read) -> Option<&'static str> {
    let right = |of: &read::Model| of.known.right;
    match () {
        () if read.rows == 0 => Some(
            "no row of `truth` has the key of an answer: see `key` and `truth_key`, whose values are compared as texts",
        ),
        () if read.models.iter().map(right).sum::<u64>() == 0 => Some(
            "no answer is the label of its row: see `label_column` and `truth_column`, whose values must be equal letter by letter",
        ),
        () => None,
    }
}
