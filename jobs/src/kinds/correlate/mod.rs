//! Finds series that move together, at once or one after the other, and commits one row for each pair to
//! `correlations`, and who leads whom to `lead_lag`.
//!
//! Series are put on a common grid ([`grid`]; those that share no time are not compared: [`extent`]), gaps,
//! season and trend are dealt with ([`prepare`]), every pair is correlated and tested ([`pairs`],
//! [`significance`]), and the best lag of each within a bound is looked for, because an effect comes after
//! its cause. What was left out, and why, stands in the run's summary.
//!
//! Of the strongest pairs it is told what lies behind ([`behind`]): whether another series explains it, and whether it still is so.
//!
//! Of all that are reported and agree at a lag it is told who comes first: [`leads`].
//!
//! Series may come from several datasets ([`sources`]), as samples or as measures of the rows of each interval.
//!
//! A pair is reported when its coefficient, or the one at its best lag, is at least `min_coefficient` and its
//! false-discovery rate at most `max_q`. The rows of one source dataset are replaced together; where some
//! series are named, those of pairs of these alone.
//!
//! Cost: reads every row twice (extents, then values); n²/2·m multiplications for n series of m buckets,
//! times 2·max_lag + 1 for the lags. Memory: 8·n·m bytes for the matrix, at most half of the budget.

#[cfg(test)]
mod across_tests;
mod behind;
mod extent;
mod grid;
mod leads;
mod output;
mod pairs;
mod params;
mod prepare;
mod report;
#[cfg(test)]
mod significance_tests;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use analysis::calendar::{self, Interval};
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use extent::{Cohort, Extent, cohorts, usual_interval};
use grid::Grid;
use pairs::{Subjects, Threads};
pub use params::{Detrend, LagSearch, Params};
use prepare::prepare;
use report::Report;
use sources::{Source, require_different, sources};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{RunContext, check};
use crate::series::commit_series;

/// The kind's name.
const NAME: &str = "correlate";

/// Memory of one point while series are put on the grid: an instant and a value, three times over while their lists grow, and as
/// much again for what is read of it.
const POINT_BYTES: usize = 64;
/// Points put on the grid together at least.
const POINTS_MIN: usize = 1 << 16;

/// The job kind.
pub struct Correlate;

impl Correlate {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Correlate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "finds pairs of series that move together, at once or at a lag, with significance over all pairs"
    }

    fn revision(&self) -> u32 {
        4
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let Params { dataset, also, .. } = Self::params(params)?;
        let mut all = vec![dataset];
        for also in also {
            if !all.contains(&also.dataset) {
                all.push(also.dataset);
            }
        }
        Ok(all)
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = Self::params(params)?;
        let leads = params.has_leads().then(|| leads::spec(params.leads));
        Ok(std::iter::once(output::spec(params.output)).chain(leads).collect())
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            for source in sources(&Self::params(params)?) {
                source.check(session).await?;
            }
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
            let mut sources = sources(&params);
            sources[0].of.require_named(ctx).await?;
            for source in &mut sources {
                source.check(ctx.session()).await?;
                source.close(ctx).await?;
            }
            let (intervals, cohorts) = plan(ctx, &params, &sources).await?;
            let mut report = Report::new(&params, &intervals);
            let several = report.leave_out_lone(cohorts);
            check_size(&several, &intervals, ctx.memory_budget_bytes())?;
            let grids = place(ctx, &sources, &intervals, &several).await?;
            let total = grids.len().max(1) as f64;
            for (index, grid) in grids.into_iter().enumerate() {
                let part = |part: f64| 0.3 + 0.65 * (index as f64 + part) / total;
                compare(ctx, &params, grid, &mut report, part).await?;
            }
            let spec = output::spec(params.output.clone());
            let found = report.finish();
            let source = params.dataset.as_str();
            let is_across = |series: &str| params.also.iter().any(|also| also.has(series));
            let batch = output::batch(&spec, source, params.detrend, &is_across, &found)?;
            commit_series(ctx, spec, &sources[0].of, &["series_a", "series_b"], batch).await?;
            let mut summary = report.summary(found.len());
            if params.has_leads() {
                summary["leads"] =
                    leads::commit(ctx, &params, &found, intervals.interval()).await?;
            }
            Ok(Outcome { summary })
        })
    }
}

/// Learns the extents of the series, the interval of the grid, and who is compared with whom.
async fn plan(
    ctx: &RunContext,
    params: &Params,
    sources: &[Source<'_>],
) -> Result<(calendar::Grid, Vec<Cohort>)> {
    let mut stage = ctx.stage("extents");
    let mut extents = Vec::new();
    for source in sources {
        extents.extend(source.extents(ctx).await?);
    }
    require_different(&extents)?;
    stage.record.rows_in = extents.iter().map(|extent| extent.values.unsigned_abs()).sum();
    stage.record.rows_out = extents.len() as u64;
    // Without two samples in any series nothing is compared, whatever the interval.
    let interval = params.interval.or_else(|| usual_interval(&extents)).unwrap_or(Interval::DAY);
    let intervals = params.intervals().stated(interval);
    let (min_overlap, token) = (params.min_overlap, ctx.cancellation().clone());
    let (fills, share) = (params.fill_buckets, params.max_missing);
    let grouped = move || {
        let is_sparse = |extent: &Extent| extent.is_sparse(interval, fills, share);
        cohorts(&extents, min_overlap, &is_sparse, &|| check(&token))
    };
    let cohorts = ctx.compute(grouped).await?;
    stage.facts(json!({ "interval": interval, "cohorts": cohorts.len() }));
    stage.finish();
    ctx.progress(0.1);
    Ok((intervals, cohorts))
}

fn check_size(cohorts: &[Cohort], intervals: &calendar::Grid, budget_bytes: usize) -> Result<()> {
    let values: u128 = cohorts.iter().map(|cohort| Grid::size(cohort, intervals)).sum();
    let bytes = values * size_of::<f64>() as u128;
    if bytes <= budget_bytes as u128 / 2 {
        return Ok(());
    }
    let series: usize = cohorts.iter().map(|cohort| cohort.series.len()).sum();
    Err(Error::user(
        Code::ResourcesExhausted,
        format!(
            "{NAME}: {series} series on a grid of {} take {bytes} bytes; half of the memory budget of \
             {budget_bytes} bytes is for it: take a longer `interval`, fewer `series`, or a larger budget",
            intervals.interval(),
        ),
    ))
}

/// Reads the values and puts them on the grids of their cohorts.
async fn place(
    ctx: &RunContext,
    sources: &[Source<'_>],
    intervals: &calendar::Grid,
    cohorts: &[Cohort],
) -> Result<Vec<Grid>> {
    let mut stage = ctx.stage("grid");
    let mut grids: Vec<Grid> = cohorts.iter().map(|cohort| Grid::new(cohort, intervals)).collect();
    let points_max = (ctx.memory_budget_bytes() / 4 / POINT_BYTES).max(POINTS_MIN);
    for (at, source) in sources.iter().enumerate() {
        let (mut reader, is_zero) = (source.of.read(ctx).await?, source.is_zero(ctx)?);
        let rows_total = ctx.input(source.of.dataset)?.rows.unwrap_or(0).max(1);
        loop {
            let chunk = source.chunk(&mut reader, points_max).await?;
            if chunk.is_empty() {
                break;
            }
            grids = ctx
                .compute(move || {
                    grids.iter_mut().for_each(|grid| grid.place(&chunk, is_zero));
                    Ok(grids)
                })
                .await?;
            let of_this = (reader.rows_read as f64 / rows_total as f64).min(1.0);
            ctx.progress(0.1 + 0.2 * (at as f64 + of_this) / sources.len() as f64);
        }
        stage.record.rows_in += reader.rows_read;
        stage.record.bytes_read += reader.bytes_read;
    }
    stage.record.rows_out = grids.iter().map(|grid| grid.values.len() as u64).sum();
    stage.facts(json!({ "samples_placed": grids.iter().map(|grid| grid.samples).sum::<u64>() }));
    stage.finish();
    Ok(grids)
}

/// Compares all series of one cohort.
async fn compare(
    ctx: &RunContext,
    params: &Params,
    grid: Grid,
    report: &mut Report<'_>,
    part: impl Fn(f64) -> f64,
) -> Result<()> {
    let execution = ctx.execution(ctx.memory_budget_bytes() / 4);
    let frame = report::Frame::of(&grid);
    let intervals = grid.intervals.clone();

    let mut stage = ctx.stage("prepare");
    stage.record.rows_in = grid.values.len() as u64;
    let (asked, kernel, pool) = (params.clone(), execution.clone(), ctx.pool().clone());
    let prepared = ctx.compute(move || prepare(grid, &asked, &kernel, &pool)).await?;
    stage.record.rows_out = prepared.values.len() as u64;
    if let Some(device) = &prepared.device {
        stage.on_device(device.device.to_string(), device.reason.clone());
    }
    stage.finish();
    report.prepared(&prepared);

    let mut stage = ctx.stage("pairs");
    let (asked, kernel, pool) = (params.clone(), execution.clone(), ctx.pool().clone());
    let (subjects, tested) = ctx
        .compute(move || {
            let subjects = Subjects::new(prepared, &pool);
            let tested = if subjects.is_comparable() {
                let threads = Threads { execution: &kernel, pool: &pool };
                Some(subjects.test_all(&asked, threads)?)
            } else {
                None
            };
            Ok((Arc::new(subjects), tested))
        })
        .await?;
    let Some(tested) = tested else {
        report.too_short(&subjects.prepared.series);
        return Ok(());
    };
    report::record(&mut stage, &tested);
    stage.finish();
    ctx.progress(part(0.3));

    let lagged = match subjects.max_lag(params) {
        0 => None,
        _ => {
            let mut stage = ctx.stage("lags");
            let searches_all = subjects.searches_all(params);
            let chosen: Vec<(usize, usize)> = tested.pairs.iter().map(|t| (t.row, t.col)).collect();
            let (subjects, asked, sink) = (subjects.clone(), params.clone(), ctx.progress_sink());
            let (from, to, pool) = (part(0.3), part(1.0), ctx.pool().clone());
            let lagged = ctx
                .compute(move || {
                    let only = (!searches_all).then_some(&chosen[..]);
                    let progress = |done| sink(from + (to - from) * done);
                    let threads = Threads { execution: &execution, pool: &pool };
                    subjects.search_lags(&asked, only, threads, progress)
                })
                .await?;
            report::record(&mut stage, &lagged);
            stage.finish();
            Some((lagged, searches_all))
        }
    };
    let compared = report::Compared::new(&subjects, frame, tested, lagged);
    let mut stage = ctx.stage("behind");
    let links = compared.links();
    stage.record.rows_in = links.len() as u64;
    let (asked, pool) = (subjects.clone(), ctx.pool().clone());
    let found = ctx.compute(move || Ok(behind::behind(&asked, &links, &pool))).await?;
    stage.record.rows_out = found.len() as u64;
    stage.finish();
    report.compared(compared.with(&subjects, found, &intervals));
    Ok(())
}
