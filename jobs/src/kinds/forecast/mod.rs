//! Says what comes next in each series of a dataset of samples, and commits a row for each series and interval to `forecasts`: what is
//! expected, between what it will lie, by which method, and how good that was at instants that are past.
//!
//! 1. [`Regular`](crate::series::Regular): samples become values one interval apart; series too short or too empty are counted and left out.
//! 2. [`seasons`](crate::series::seasons): those that periodogram and autocorrelation show, at most two.
//! 3. [`methods`]: seasonal naive, seasonal median, exponential smoothing and theta of what is left without the seasons (MSTL:
//!    Bandara, Hyndman & Bergmeir, 2021), exponential smoothing with the season, and a method for intermittent demand.
//! 4. [`backtest`]: each is tried at past instants; the forecast is their mean, weighted by their errors, and intervals are as wide as
//!    the errors were.
//! 5. [`hierarchy`]: where series are parts of others, what is said of both agrees.
//! 6. [`accuracy`]: what was said is kept until it comes, and then stands beside it.
//!
//! The rows of one source dataset are replaced together, those of the named series alone where some are named.
//!
//! Cost: reads every row once, sorted; two fits of exponential smoothing and nine of all else for each series, more where the instants that are tried lie far apart. Memory: the series that are looked at together, at
//! most what the budget holds.

mod accuracy;
mod backtest;
#[cfg(test)]
mod coverage_tests;
mod hierarchy;
mod intermittent;
mod look;
mod methods;
mod output;
mod params;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session, Version, WriteMode};
use futures::future::BoxFuture;
use kernels::Execution;
use parking_lot::Mutex;
use serde_json::{Value, json};

use accuracy::Kept;
use backtest::ORIGINS;
use hierarchy::Tree;
use look::{Asked, Found, look};
pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::series::{SeriesSource, commit_series, replaces};

/// The kind's name.
const NAME: &str = "forecast";

/// Memory of one point in all steps together: the row and the clean sample, and for every instant that is tried the series, its parts
/// and the kernel's tape.
const POINT_BYTES: usize = 64 * (ORIGINS + 2);

/// Memory of one step ahead of a series: seven methods' means, and the bounds.
const SAID_BYTES: usize = 13 * 8;
/// Memory of a row of the results.
const ROW_BYTES: usize = 256;

/// The job kind.
pub struct Forecast;

impl Forecast {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Forecast {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says what comes next in each series, with intervals, by the method that was best before"
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
        Ok(vec![Self::params(params)?.dataset])
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = Self::params(params)?;
        if !params.keeps() {
            return Ok(vec![output::spec(params.output)]);
        }
        let history = output::history_spec(params.history_output);
        let accuracy = output::accuracy_spec(params.accuracy_output);
        Ok(vec![output::spec(params.output), history, accuracy])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            Self::params(params)?.source().check(session).await?;
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
            let source = params.source();
            source.require_named(ctx).await?;
            let asks_newest = source.measure.is_some() || params.keeps();
            let newest = if asks_newest { source.newest(ctx).await? } else { None };
            let source = source.closed(newest);
            let waiting = match newest {
                Some(newest_us) => accuracy::waiting(ctx, &params, newest_us).await?,
                None => Kept::new(),
            };
            let asked = Asked {
                empty: source.empty(ctx, params.empty)?,
                tree: tree(ctx, &params, &source).await?.map(Arc::new),
                waiting: Arc::new(waiting),
                params: params.clone(),
            };
            let mut found = find(ctx, &asked, &source).await?;
            let version = ctx.input(&params.dataset)?.version.0;
            let mut came = std::mem::take(&mut found.kept);
            came.values_mut().for_each(|said| said.retain(|said| said.actual.is_some()));
            let summary = summary(&params, &found, &came);
            let spec = output::spec(params.output.clone());
            let source_name = params.dataset.as_str();
            let question = params.question();
            let batch = output::batch(&spec, source_name, version, &found.forecasts)?;
            commit_series(ctx, spec, &source, &["series"], batch).await?;
            if params.keeps() {
                let spec = output::history_spec(params.history_output.clone());
                let said_at = ctx.now().timestamp_micros();
                // Of a series that ended, what comes next came long ago, and not.
                let newest_us = found.forecasts.iter().map(|of| of.made_at_us).max();
                found.forecasts.retain(|of| newest_us.is_none_or(|newest| of.ends_us() > newest));
                let as_said = output::As { source: source_name, question: &question, said_at };
                let batch = output::history(&spec, &as_said, version, &found.forecasts)?;
                ctx.commit(spec, WriteMode::Append, vec![batch]).await?;
                let spec = output::accuracy_spec(params.accuracy_output.clone());
                let batch = output::accuracy(&spec, &as_said, &came)?;
                // A concurrent run that read the same input would add the same rows.
                let after = ctx.present().await?.version(&params.accuracy_output);
                let mode = WriteMode::AppendAfter(after.unwrap_or(Version(0)));
                ctx.commit(spec, mode, vec![batch]).await?;
            }
            Ok(Outcome { summary })
        })
    }
}

/// Which series are parts of which sums.
async fn tree(
    ctx: &RunContext,
    params: &Params,
    source: &SeriesSource<'_>,
) -> Result<Option<Tree>> {
    if !params.parents.is_empty() {
        return Tree::of_parents(&params.parents).map(Some);
    }
    if params.hierarchy.is_empty() {
        return Ok(None);
    }
    let groups = source.groups(ctx, "hierarchy", &params.hierarchy).await?;
    Ok(Some(Tree::of_groups(&params.hierarchy, groups)))
}

/// Reads chunk after chunk of series and forecasts each on the numeric threads.
async fn find(ctx: &RunContext, asked: &Asked, source: &SeriesSource<'_>) -> Result<Found> {
    let mut stage = ctx.stage("forecast");
    let mut all = Found::default();
    let of_each = asked.clone();
    // Of the first series that sums are made of: what is wrong with them is told once there are no others.
    let first = Arc::new(Mutex::new(None));
    let told = first.clone();
    let look = move |chunk, execution: &Execution, pool: &rayon::ThreadPool| {
        if of_each.tree.is_none() {
            return look(chunk, &of_each, execution, pool);
        }
        if first.lock().replace(Ok(())).is_some() {
            let says = "its series take more than the memory budget together, which sums need: take fewer, or a larger budget";
            return Err(Error::user(Code::ResourcesExhausted, format!("{NAME}: {says}")));
        }
        look(chunk, &of_each, execution, pool).or_else(|error| {
            *first.lock() = Some(Err(error));
            Ok(Found::default())
        })
    };
    // What the methods say of each series, and then its rows.
    let series_bytes = asked.params.horizon * SAID_BYTES;
    let rows_max = ctx.memory_budget_bytes() / 2 / ROW_BYTES;
    let add = |found| {
        all.add(found);
        let rows = all.forecasts.len() * asked.params.horizon;
        if rows > rows_max {
            let says = format!(
                "{NAME}: more than {rows_max} rows, which is what half of the memory budget holds: take a shorter `horizon`, fewer \
                 `series`, or a larger budget"
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
        Ok(())
    };
    let facts = source.look(ctx, &mut stage, (POINT_BYTES, series_bytes), look, add).await?;
    told.lock().take().unwrap_or(Ok(()))?;
    stage.record.rows_out = all.forecasts.iter().map(|of| of.mean.len() as u64).sum();
    stage.facts(facts);
    stage.finish();
    Ok(all)
}

fn summary(params: &Params, found: &Found, kept: &Kept) -> Value {
    let (came, came_within) = accuracy::came(kept);
    let mut by_method: BTreeMap<&str, u64> = BTreeMap::new();
    for forecast in &found.forecasts {
        *by_method.entry(forecast.tried.method.as_str()).or_default() += 1;
    }
    // Of those that could be tried: their errors as a part of the naive ones, and how many values were within intervals.
    let tried: Vec<&backtest::Tried> = found.forecasts.iter().map(|of| &of.tried).collect();
    let mean = |of: &dyn Fn(&backtest::Tried) -> Option<f64>| {
        let values: Vec<f64> = tried.iter().filter_map(|tried| of(tried)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let relative = |tried: &backtest::Tried| {
        let naive = tried.naive_error.filter(|naive| *naive > 0.0)?;
        Some(tried.error? / naive)
    };
    let mut summary = json!({
        "source": params.dataset,
        "replaces": replaces(&params.dataset, &params.series),
        "series_forecast": found.forecasts.len(),
        "series_with_season": found.forecasts.iter().filter(|of| !of.seasons.is_empty()).count(),
        "series_untried": tried.iter().filter(|tried| tried.error.is_none()).count(),
        "sums_forecast": found.forecasts.iter().filter(|of| of.sum_of.is_some()).count(),
        "by_method": by_method,
        "came": came,
        "came_within_80": came_within.map(|within| within[0]),
        "came_within_95": came_within.map(|within| within[1]),
        "error_of_naive": mean(&relative),
        "coverage_80": mean(&|tried| tried.widths.coverage.map(|of| of[0])),
        "coverage_95": mean(&|tried| tried.widths.coverage.map(|of| of[1])),
    });
    found.tally.summarise(&mut summary);
    summary
}
