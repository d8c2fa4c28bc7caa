//! Keeps a measure of a dataset's rows as series: one value for each interval and each combination of the values of some columns, in
//! `metric_values`, where every job that looks at series reads them as they are.
//!
//! 1. [`reach`]: the intervals that rows came to since the run before, and those that are over since.
//! 2. [`compute`]: the measure of all rows of these intervals, so that any measure can be kept, a quantile too; zeros between, where
//!    the measure is a count or a sum.
//! 3. The values take the place of those that were there of the same intervals.
//!
//! An interval is over when a row came that lies behind it. Rows that come late, to intervals that are over, are counted with them. Where
//! rows went or changed all is computed anew. What a run gives does not depend on how many runs there were before.
//!
//! Cost: reads the rows of the intervals that it computes. Memory: the values that it computes.

mod compute;
mod output;
mod params;
mod reach;
#[cfg(test)]
mod tests;

use datafusion::logical_expr::ident;
use datasets::{DatasetName, DatasetSpec};
use engine::{Measure, Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use compute::Asked;
use output::Points;
pub use params::Params;
use params::WrittenOut;
use reach::{Marks, Reach, reach};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{Place, RunContext};
use crate::series::{EmptyAs, MeasureOf, SeriesSource};
use crate::tables::input::{NAMES, is_name, time_column};

/// The kind's name.
pub(crate) const NAME: &str = "metric";
/// Memory of a row while it is read: a guess for the estimate only.
const ROW_BYTES: usize = 64;

/// The job kind.
pub struct Metric;

/// Reads parameters, and checks them.
pub(crate) fn read(params: &Value) -> Result<Params> {
    let params: Params = parameters::read(NAME, params)?;
    params.check()?;
    Ok(params)
}

impl Job for Metric {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "keeps a measure of a dataset's rows as series, one value for each interval"
    }

    fn revision(&self) -> u32 {
        4
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&read(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![read(params)?.dataset])
    }

    fn runs_alone(&self) -> bool {
        true
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![output::spec(read(params)?.output)])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let params = read(params)?;
            let (time_column, _) = declared(session, &params)?;
            let written = params.written_out()?;
            let source = source(&params, &time_column, &written);
            check(session, &params, &source, &written).await?;
            Ok(vec![output::spec(params.output.clone())])
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = read(params)?;
            let (time_column, unit) = declared(ctx.session(), &params)?;
            let written = params.written_out()?;
            let measure = measure(&params, &written.measure);
            let source = source(&params, &time_column, &written);
            let of_rows = check(ctx.session(), &params, &source, &written).await?;
            let Some(newest) = source.newest(ctx).await? else {
                return none_left(ctx, &params, &time_column).await;
            };
            let closed_us = measure.begin(newest);
            let mut stage = ctx.stage("metric");
            let reach = reach(ctx, &params, &time_column, &measure, closed_us).await?;
            let (stretches, told) = match &reach {
                Reach::Nothing(version) => {
                    let says = format!("no row of {} came after version {version}", params.dataset);
                    return Ok(nothing(&params, &says));
                }
                Reach::Some(since) if since.stretches.is_empty() => {
                    let says = "rows came only to the interval that is not over";
                    return Ok(nothing(&params, says));
                }
                Reach::Some(since) => {
                    let facts = json!({ "from_version": since.version, "stretches": since.stretches.len() });
                    (Some(since.stretches.as_slice()), facts)
                }
                Reach::All(because) => (None, json!({ "all_because": because })),
            };
            let is_zero = match params.empty {
                EmptyAs::Zero => true,
                EmptyAs::Missing => false,
                EmptyAs::Auto => of_rows.is_total(),
            };
            let asked = Asked {
                source: &source,
                measure: &measure,
                of_rows: &of_rows,
                closed_us,
                stretches,
                is_zero,
            };
            let (mut points, rows) = compute::values(ctx, &params, &asked).await?;
            let left_out = asked.filled(ctx, &params, &mut points).await?;
            stage.record.rows_in = rows;
            stage.record.rows_out = points.values().map(|of| of.len() as u64).sum();
            stage.facts(told.clone());
            stage.finish();
            let version = ctx.input(&params.dataset)?.version;
            let spec = output::spec(params.output.clone());
            let batch = output::batch(&spec, &params, unit.as_deref(), version.0, &points)?;
            let marks = Marks::of(ctx, &params)?.kept(version, closed_us);
            let place = Place::Of(asked.replaced(&params));
            ctx.commit_rows(spec, place, vec![batch], marks).await?;
            let mut summary = summary(&params, &points, rows, told);
            if left_out > 0 {
                summary["zeros_left_out"] = json!(left_out);
            }
            Ok(Outcome { summary })
        })
    }
}

/// Takes away the values of rows that are gone.
async fn none_left(ctx: &RunContext, params: &Params, time_column: &str) -> Result<Outcome> {
    let says = format!("{} has no rows that are not in the future", params.dataset);
    // Those of the future are no reason: they come when it is time.
    let rows = ctx.session().table(&params.dataset).await?;
    let rows = rows.filter(ident(time_column).is_not_null())?.limit(0, Some(1))?;
    let are_to_come = ctx.session().collect(rows).await?.iter().any(|batch| batch.num_rows() > 0);
    let marks = Marks::of(ctx, params)?;
    let removed = match are_to_come || marks.are_of_newer(ctx, params).await? {
        true => 0,
        false => compute::kept_values(ctx, params).await?,
    };
    if removed == 0 {
        return Ok(nothing(params, &says));
    }
    let spec = output::spec(params.output.clone());
    let batch = output::batch(&spec, params, None, 0, &Points::new())?;
    let place = Place::Of(compute::of_metric(params));
    ctx.commit_rows(spec, place, vec![batch], marks.emptied()).await?;
    let metric = params.metric();
    let told = json!({ "all_because": format!("{} has no rows", params.dataset) });
    Ok(Outcome {
        summary: json!({ "metric": metric, "values": 0, "values_removed": removed, "read": told }),
    })
}

/// The column of instants, and what the values are in.
fn declared(session: &Session, params: &Params) -> Result<(String, Option<String>)> {
    let time = time_column(session, NAME, &params.dataset, params.time_column.as_deref())?;
    let spec = session.catalog().datasets.get(&params.dataset).map(|entry| &entry.spec);
    let mut measures = spec.into_iter().flat_map(|spec| &spec.measures);
    let of_measure = measures.find(|measure| measure.name == params.measure);
    let unit = params.unit.clone().or_else(|| of_measure.and_then(|measure| measure.unit.clone()));
    Ok((time, unit))
}

fn measure<'a>(params: &Params, text: &'a str) -> MeasureOf<'a> {
    MeasureOf::new(text, params.intervals())
}

fn source<'a>(
    params: &'a Params,
    time_column: &'a str,
    written: &'a WrittenOut<'_>,
) -> SeriesSource<'a> {
    SeriesSource {
        job: NAME,
        dataset: &params.dataset,
        series_column: None,
        time_column,
        value_column: "",
        only: &[],
        from: None,
        to: None,
        condition: written.condition.as_deref(),
        measure: Some(measure(params, &written.measure)),
    }
}

/// Checks what is asked against the columns of the dataset; the measure.
async fn check(
    session: &Session,
    params: &Params,
    source: &SeriesSource<'_>,
    written: &WrittenOut<'_>,
) -> Result<Measure> {
    let table = source.check(session).await?;
    for dimension in &params.dimensions {
        table.check("dimensions", dimension, NAMES, is_name)?;
    }
    measure(params, &written.measure).read(session, NAME, &params.dataset)
}

fn nothing(params: &Params, says: &str) -> Outcome {
    let says = format!("{says}; nothing was committed");
    Outcome { summary: json!({ "metric": params.metric(), "values": 0, "nothing_new": says }) }
}

fn summary(params: &Params, points: &Points, rows: u64, told: Value) -> Value {
    let all = || points.values().flatten();
    let is_met = |value| params.target().map(|target| target.is_met(value));
    let met = all().filter(|(_, point)| point.value.and_then(is_met) == Some(true)).count();
    json!({
        "metric": params.metric(),
        "source": params.dataset,
        "series": points.len(),
        "values": all().count(),
        "values_missing": all().filter(|(_, point)| point.value.is_none()).count(),
        "values_on_target": params.target.map(|_| met),
        "rows": rows,
        "read": told,
    })
}
