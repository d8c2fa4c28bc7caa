//! Finds what is unusual in each series of a dataset of samples, and commits one row for each finding to
//! `anomalies`: when it began and ended, what was seen and what was expected, how severe it is, and why,
//! in words.
//!
//! | kind | method | source |
//! |---|---|---|
//! | `outlier`, `seasonal_outlier` | distance from the rolling median in robust standard deviations, after the season is taken out | [`robust`], [`deseasonalise`](analysis::series::deseasonalise) |
//! | `level_shift` | medians of adjacent windows, placed by a cumulative sum | [`level_shift`] |
//! | `missing`, `stuck` | silence, and a value that no longer moves | [`missing`] |
//! | `joint`, where asked for | error of an autoencoder of all series of one interval | [`joint`] |
//!
//! Or, with the method [`online`], by what is kept of each series: a run reads what came since the run before.
//!
//! What a series does all the time is no anomaly, however far from its median: see [`rarity`]. The rows
//! of one source dataset are replaced together, those of the named series alone where some are named.
//!
//! Cost: reads every row once, sorted, which takes longer than looking at them. Memory: the series that are
//! looked at together, at most what the budget holds; `joint` keeps all of them, in a quarter of the budget.

mod baseline;
mod detect;
mod explain;
mod joint;
#[cfg(test)]
mod nab;
mod online;
mod output;
mod params;
#[cfg(test)]
mod tests;

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session};
use futures::future::BoxFuture;
use kernels::Execution;
use serde_json::{Value, json};

use detect::{Found, detect};
pub use params::{Level, Method, Params};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::series::{SeriesSource, commit_series, replaces};

/// The kind's name, and that of its output unless told otherwise.
const NAME: &str = "anomalies";

/// Memory of one point in all steps together: the row, the clean sample, the residual, the kernel's
/// matrices and the baseline.
const POINT_BYTES: usize = 160;
/// Memory of one sample that is kept for the look at all series together: instant, value and distance.
const FLAT_BYTES: usize = 20;

/// The job kind.
pub struct Anomalies;

impl Anomalies {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Anomalies {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "finds outliers, level shifts and missing data in each series, with severity and explanation"
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
        let state = (params.method == Method::Online).then(|| online::state_spec(params.state));
        Ok(std::iter::once(output::spec(params.output)).chain(state).collect())
    }

    fn own_outputs(&self) -> Vec<DatasetSpec> {
        let Params { output, state, .. } = Params::default();
        vec![output::spec(output), online::state_spec(state)]
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            source(&Self::params(params)?).check(session).await?;
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        POINT_BYTES
    }

    fn uses_gpu(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            if params.method == Method::Online {
                return online::run(ctx, &params).await;
            }
            let source = source(&params);
            source.require_named(ctx).await?;
            let mut found = find(ctx, &params, &source).await?;
            let joint = match params.joint {
                true => find_joint(ctx, &params, &mut found).await?,
                false => Value::Null,
            };
            let mut summary = summary(&params, &found);
            summary["joint"] = joint;
            let spec = output::spec(params.output.clone());
            let batch = output::batch(&spec, params.dataset.as_str(), &found.anomalies)?;
            commit_series(ctx, spec, &source, &["series"], batch).await?;
            Ok(Outcome { summary })
        })
    }
}

/// Looks at all series together, which must fit into a quarter of the budget.
async fn find_joint(ctx: &RunContext, params: &Params, found: &mut Found) -> Result<Value> {
    let mut stage = ctx.stage("joint");
    let bytes_max = ctx.memory_budget_bytes() / 4;
    let flats = std::mem::take(&mut found.flats);
    stage.record.rows_in = flats.iter().map(|flat| flat.times.len() as u64).sum();
    let known = std::mem::take(&mut found.anomalies);
    let (pool, cancellation, asked) =
        (ctx.pool().clone(), ctx.cancellation().clone(), params.clone());
    let work = move || {
        let look = || joint::look(&flats, &known, &asked, bytes_max, &cancellation);
        pool.install(look).map(|joint| (known, joint))
    };
    let (known, joint) = ctx.compute(work).await?;
    stage.on_device("cpu", "the autoencoder runs on the CPU");
    let learned: Vec<Value> = joint
        .learned
        .iter()
        .map(|(series, instants, epochs, [before, after])| {
            json!({
                "series": series, "instants": instants, "epochs": epochs,
                "loss_before": before, "loss": after,
            })
        })
        .collect();
    let from_us = params.from.map_or(i64::MIN, |from| from.timestamp_micros());
    let is_asked_for =
        |a: &explain::Anomaly| a.ended_at >= from_us && a.level() >= params.min_severity;
    found.anomalies = known;
    found.anomalies.extend(joint.anomalies.into_iter().filter(is_asked_for));
    stage.record.rows_out = found.anomalies.len() as u64;
    let facts = json!({ "groups": joint.groups, "series": joint.series, "learned": learned });
    stage.facts(facts.clone());
    stage.finish();
    Ok(facts)
}

fn source(params: &Params) -> SeriesSource<'_> {
    SeriesSource {
        job: NAME,
        dataset: &params.dataset,
        series_column: params.series_column.as_deref(),
        time_column: &params.time_column,
        value_column: &params.value_column,
        only: &params.series,
        from: None,
        to: params.to,
        condition: None,
        measure: None,
    }
}

/// Reads chunk after chunk of series and looks at each on the numeric threads.
async fn find(ctx: &RunContext, params: &Params, source: &SeriesSource<'_>) -> Result<Found> {
    let mut stage = ctx.stage("detect");
    let mut all = Found::default();
    let asked = params.clone();
    let look = move |chunk, execution: &Execution, pool: &rayon::ThreadPool| {
        detect(chunk, &asked, execution, pool)
    };
    let add = |found| {
        all.add(found);
        let samples = all.tally.samples;
        if params.joint && samples as usize * FLAT_BYTES > ctx.memory_budget_bytes() / 4 {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{NAME}: the first {samples} samples take more than a quarter of the memory budget together: take \
                     fewer `series`, a larger budget, or joint = false"
                ),
            ));
        }
        Ok(())
    };
    let mut facts = source.look(ctx, &mut stage, (POINT_BYTES, 0), look, add).await?;
    stage.record.rows_out = all.anomalies.len() as u64;
    stage.record.gpu_seconds = all.gpu_seconds;
    if let Some(report) = &all.device {
        stage.on_device(report.device.to_string(), report.reason.clone());
    }
    facts["kernel_seconds"] = all.kernel_seconds.into();
    stage.facts(facts);
    stage.finish();
    Ok(all)
}

fn summary(params: &Params, found: &Found) -> Value {
    let mut by_kind = serde_json::Map::new();
    let mut by_severity = serde_json::Map::new();
    for anomaly in &found.anomalies {
        for (counts, name) in
            [(&mut by_kind, anomaly.kind.as_str()), (&mut by_severity, anomaly.level().as_str())]
        {
            let count = counts.get(name).and_then(Value::as_u64).unwrap_or(0) + 1;
            counts.insert(name.into(), count.into());
        }
    }
    let mut summary = json!({
        "source": params.dataset,
        "replaces": replaces(&params.dataset, &params.series),
        "series_with_season": found.with_season,
        "anomalies": found.anomalies.len(),
        "by_kind": by_kind,
        "by_severity": by_severity,
    });
    found.tally.summarise(&mut summary);
    summary
}
