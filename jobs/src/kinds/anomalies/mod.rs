//! Finds what is unusual in each series of a dataset of samples, and commits one row for each finding to
//! `anomalies`: when it began and ended, what was seen and what was expected, how severe it is, and why,
//! in words.
//!
//! | kind | method | source |
//! |---|---|---|
//! | `outlier`, `seasonal_outlier` | distance from the rolling median in robust standard deviations, after the season is taken out | [`robust`], [`deseasonalise`](analysis::series::deseasonalise) |
//! | `level_shift` | medians of adjacent windows, placed by a cumulative sum | [`level_shift`] |
//! | `missing`, `stuck` | silence, and a value that no longer moves | [`missing`] |
//! | `discord`, where asked for | distance of a shape from the one most like it | [`shapes`] |
//! | `joint`, where asked for | error of an autoencoder of all series of one interval | [`joint`] |
//! | `joint`, too | means of windows of each series, and of what the others do not explain, against the first part | [`sustained`] |
//!
//! The method `windows` does that alone. `auto`, the default, adds what [`online`] finds in long series with heavy tails. `online` keeps what is
//! known of each series, so that a run reads only rows since the previous run. [`columns`] looks at rows, or instants, in several columns
//! together.
//!
//! What a series does all the time is no anomaly, however far from its median: see [`rarity`]. The rows
//! of one source dataset are replaced together, those of the named series alone where some are named.
//!
//! Cost: reads every row once, sorted, which takes longer than looking at them. Memory: the series that are
//! looked at together, at most what the budget holds; `joint` keeps all of them, in a quarter of the budget.

mod baseline;
mod columns;
#[cfg(test)]
mod columns_tests;
mod detect;
mod explain;
mod joint;
#[cfg(test)]
mod label_tests;
mod labelled;
#[cfg(test)]
mod nab;
mod online;
mod output;
mod params;
#[cfg(test)]
mod rate_tests;
mod shapes;
mod sustained;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session};
use futures::future::BoxFuture;
use kernels::Execution;
use serde_json::{Value, json};

use detect::{Found, detect};
use labelled::Labelled;
pub(crate) use labelled::{BESIDE, family, is_near};
pub use params::{Level, Method, Params};

use crate::anomaly_labels;
use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::series::words::instant;
use crate::series::{SeriesSource, commit_series, replaces};

/// The kind's name, and that of its output unless told otherwise.
const NAME: &str = "anomalies";

/// Memory of one point in all steps together: the row, the clean sample, the residual, the kernel's
/// matrices and the baseline.
const POINT_BYTES: usize = 160;
/// Memory of one sample that is kept for the look at all series together: instant, value, value without season, and distance.
const FLAT_BYTES: usize = 28;

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

    fn revision(&self) -> u32 {
        5
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

    fn reads_where_there(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Self::params(params).map(|_| vec![anomaly_labels::spec().name])
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
            check(session, &Self::params(params)?).await?;
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
            let labelled = Arc::new(Labelled::read(ctx, &params).await?);
            if params.method == Method::Online {
                return online::run(ctx, &params, &labelled).await;
            }
            check(ctx.session(), &params).await?;
            let source = source(&params);
            source.require_named(ctx).await?;
            let mut found = match params.method {
                Method::Columns => columns::find(ctx, &params).await?,
                _ => find(ctx, &params, &source, labelled.clone()).await?,
            };
            let joint = match params.joint {
                true => find_joint(ctx, &params, &mut found).await?,
                false => Value::Null,
            };
            let left_out = labelled.retain(&mut found.anomalies);
            let mut summary = summary(&params, &found);
            summary["joint"] = joint;
            let is_there = |name: &str| {
                found.labelled.contains(name)
                    || !params.series.is_empty() && !params.series.iter().any(|of| of == name)
            };
            summary["labels"] = labelled.summary(left_out, is_there);
            let spec = output::spec(params.output.clone());
            let batch = output::batch(&spec, params.dataset.as_str(), &found.anomalies, &labelled)?;
            commit_series(ctx, spec, &source, &["series"], batch).await?;
            Ok(Outcome { summary })
        })
    }
}

/// Looks at all series together, which must fit into a quarter of the budget.
async fn find_joint(ctx: &RunContext, params: &Params, found: &mut Found) -> Result<Value> {
    let mut stage = ctx.stage("joint");
    let bytes_max = ctx.memory_budget_bytes() / 4;
    let groups = joint_groups(ctx, params).await?;
    let flats = std::mem::take(&mut found.flats);
    stage.record.rows_in = flats.iter().map(|flat| flat.times.len() as u64).sum();
    let known = std::mem::take(&mut found.anomalies);
    let (pool, cancellation, asked) =
        (ctx.pool().clone(), ctx.cancellation().clone(), params.clone());
    let work = move || {
        let look = || joint::look(&flats, &groups, &known, &asked, bytes_max, &cancellation);
        pool.install(look).map(|joint| (known, joint))
    };
    let (known, joint) = ctx.compute(work).await?;
    stage.on_device("cpu", "the autoencoder runs on the CPU");
    let learned: Vec<Value> = joint
        .learned
        .iter()
        .map(|of| {
            json!({
                "series": of.series, "instants": of.instants, "epochs": of.epochs,
                "loss_before": of.losses[0], "loss": of.losses[1],
                "learned_until": of.until_us.map(instant),
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

/// The group of each series. One that has several groups is refused: no model would know which.
async fn joint_groups(ctx: &RunContext, params: &Params) -> Result<joint::Groups> {
    if params.joint_by.is_empty() {
        return Ok(joint::Groups::new());
    }
    let mut groups = joint::Groups::new();
    for (series, group) in source(params).groups(ctx, "joint_by", &params.joint_by).await? {
        if groups.get(&series).is_some_and(|other| *other != group) {
            let says = format!(
                "expected one value for each series, series {series:?} has several: take a column that is constant in each series"
            );
            return Err(parameters::bad(NAME, "joint_by", says));
        }
        groups.insert(series, group);
    }
    Ok(groups)
}

/// Fails with `BAD_INPUT` where no finding is of that kind.
pub(crate) fn require_kind(name: &str) -> Result<()> {
    if explain::Kind::names().any(|kind| kind == name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let names: Vec<&str> = explain::Kind::names().collect();
    let says = format!("kind: expected one of {}, found {shown:?}", names.join(", "));
    Err(Error::user(Code::BadInput, says))
}

/// The series that are looked at; of the method columns the first column stands for all.
fn source(params: &Params) -> SeriesSource<'_> {
    let first = params.columns.first().map_or(params.value_column.as_str(), String::as_str);
    SeriesSource {
        job: NAME,
        dataset: &params.dataset,
        series_column: params.series_column.as_deref(),
        time_column: &params.time_column,
        value_column: first,
        only: &params.series,
        from: None,
        to: params.to,
        condition: params.condition.as_deref(),
        measure: params.interval.map(|interval| params.measure(first, interval)),
    }
}

/// Fails with `BAD_INPUT` where a column is not there or of a wrong type, or a measure is none.
async fn check(session: &Session, params: &Params) -> Result<()> {
    let named = |error: Error| match params.method {
        Method::Columns => Error::user(
            error.code(),
            error.to_string().replacen("\"value_column\"", "\"columns\"", 1).replacen(
                "\"measure\"",
                "\"columns\"",
                1,
            ),
        ),
        _ => error,
    };
    let of_first = source(params);
    of_first.check(session).await.map_err(named)?;
    for column in params.columns.iter().skip(1) {
        let measure = params.interval.map(|interval| params.measure(column, interval));
        let of_this = SeriesSource { value_column: column, measure, ..of_first.clone() };
        of_this.check(session).await.map_err(named)?;
    }
    Ok(())
}

/// Reads chunk after chunk of series and looks at each on the numeric threads.
async fn find(
    ctx: &RunContext,
    params: &Params,
    source: &SeriesSource<'_>,
    labelled: Arc<Labelled>,
) -> Result<Found> {
    let mut stage = ctx.stage("detect");
    let mut all = Found::default();
    let asked = params.clone();
    let look = move |chunk, execution: &Execution, pool: &rayon::ThreadPool| {
        detect(chunk, &asked, &labelled, execution, pool)
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
