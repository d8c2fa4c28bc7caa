//! Says how each series of a dataset moves in the long run, and commits a row for each finding to `trends`: where its level changed,
//! whether it rises or falls and how fast, whether its season is another one than it was, and which of its last values are the
//! highest or lowest of all.
//!
//! 1. Samples, or a measure of rows, become values [one interval apart](crate::series::Regular); [seasons](crate::series::seasons) are
//!    taken out.
//! 2. [`look`]: changes of level, a slope, changes of the season, and records.
//! 3. Of trends and seasons, those are told whose false discovery rate over all series of the run is low enough.
//!
//! The rows of one source dataset are replaced together, those of the named series alone where some are named.
//!
//! Cost: reads every row once, sorted; for each series of n intervals O(n²) for the slope of up to 3,000 and O(n) for the rest.
//! Memory: the series that are looked at together, at most what the budget holds.

mod look;
mod output;
mod params;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use kernels::Execution;
use serde_json::{Value, json};

use look::{Found, Trend, look};
pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::series::{commit_series, replaces};

/// The kind's name, and that of its output unless told otherwise.
const NAME: &str = "trends";

/// Memory of one point in all steps together: the row, the clean sample, the seasons, and the slopes of a series of usual length.
const POINT_BYTES: usize = 256;

/// The job kind.
pub struct Trends;

impl Trends {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Trends {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "finds changes of level, slopes, changes of the season and records in each series"
    }

    fn revision(&self) -> u32 {
        2
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
        Ok(vec![output::spec(Self::params(params)?.output)])
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

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let source = params.source();
            source.require_named(ctx).await?;
            let newest = if source.measure.is_some() { source.newest(ctx).await? } else { None };
            let source = source.closed(newest);
            let empty = source.empty(ctx, params.empty)?;
            let mut stage = ctx.stage("trends");
            let mut found = Found::default();
            let asked = params.clone();
            let of_chunk = move |chunk, execution: &Execution, pool: &rayon::ThreadPool| {
                look(chunk, &asked, empty, execution, pool)
            };
            let add = |more| {
                found.add(more);
                Ok(())
            };
            let facts = source.look(ctx, &mut stage, (POINT_BYTES, 0), of_chunk, add).await?;
            let trends = found.told(params.max_q);
            stage.record.rows_out = trends.len() as u64;
            stage.facts(facts);
            stage.finish();
            let summary = summary(&params, &found, &trends);
            let version = ctx.input(&params.dataset)?.version.0;
            let spec = output::spec(params.output.clone());
            let batch = output::batch(&spec, params.dataset.as_str(), version, &trends)?;
            commit_series(ctx, spec, &source, &["series"], batch).await?;
            Ok(Outcome { summary })
        })
    }
}

fn summary(params: &Params, found: &Found, trends: &[Trend]) -> Value {
    let mut by_kind: BTreeMap<&str, u64> = BTreeMap::new();
    for trend in trends {
        *by_kind.entry(trend.kind.as_str()).or_default() += 1;
    }
    let mut summary = json!({
        "source": params.dataset,
        "replaces": replaces(&params.dataset, &params.series),
        "series_with_season": found.with_season,
        "series_one_way": found.one_way,
        "findings": trends.len(),
        "by_kind": by_kind,
    });
    found.tally.summarise(&mut summary);
    summary
}
