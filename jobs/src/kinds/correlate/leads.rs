//! Who leads whom: of the pairs that are reported, those that agree at a lag as a graph in time, and one row for each to `lead_lag`.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::association::lead::{EDGES_MAX, Edge, LeadGraph, Options, Placed, lead_graph};
use analysis::calendar::Interval;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};
use serde_json::{Value, json};

use super::output::Correlation;
use super::{NAME, Params};
use crate::run::context::RunContext;
use crate::tables::columns::{column, of_sources, with_unit};
use crate::tables::replacing::in_place_of;

/// Those that lead most, in the summary.
const LEADERS_TOLD: usize = 5;

/// One that leads and one that follows.
#[derive(Clone, Debug, PartialEq)]
struct Lead<'a> {
    leader: &'a str,
    follower: &'a str,
    lag: i64,
    coefficient: f64,
    p: f64,
    residual: f64,
    through: Option<&'a str>,
    given: Option<&'a str>,
    component: usize,
    /// When both come, after the first of all that are connected.
    times: [f64; 2],
}

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let seconds = |name, about| with_unit(required(name, ColumnType::Float64, about), "s");
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset that was looked at"),
        required("leader", ColumnType::Text, "The series that comes first"),
        required("follower", ColumnType::Text, "The series that follows"),
        with_unit(
            required("lag_samples", ColumnType::Int64, "Buckets by which it follows"),
            "samples",
        ),
        seconds("lag_seconds", "The same in seconds"),
        with_unit(
            required("coefficient", ColumnType::Float64, "Pearson's coefficient at that lag"),
            "-1 to 1",
        ),
        with_unit(
            required(
                "p_value",
                ColumnType::Float64,
                "Chance of such a coefficient over all lags when there is no relation",
            ),
            "probability",
        ),
        column(
            "through",
            ColumnType::Text,
            true,
            "A series between the two whose lags add up to theirs; null where the one leads the other directly, as far as is known",
        ),
        column(
            "given",
            ColumnType::Text,
            true,
            "A series that explains why both move, as correlations says; null where none is known",
        ),
        seconds(
            "off_seconds",
            "By how much the lag is off what all lags together say: what is far off is not in one order with the rest",
        ),
        required(
            "component",
            ColumnType::Int64,
            "Number of the series that are connected with each other",
        ),
        seconds(
            "leader_after_seconds",
            "When the leader comes, after the first of those that are connected",
        ),
        seconds("follower_after_seconds", "The same of the follower"),
    ];
    of_sources(
        name,
        "Series that lead others, one row for each pair",
        ["source", "leader", "follower"],
        None,
        columns,
    )
}

/// Finds who leads whom, commits it, and says of it what the summary tells.
pub(super) async fn commit(
    ctx: &RunContext,
    params: &Params,
    found: &[Correlation],
    interval: Interval,
) -> Result<Value> {
    let mut stage = ctx.stage("leads");
    let names = names(found);
    let edges = edges(found, &names, params);
    let (nodes, asked) = (names.len(), edges.clone());
    let graph = move || {
        lead_graph(nodes, &asked, &Options::default())
            .map_err(|error| Error::internal(format!("{NAME}: pairs are no graph: {error:?}")))
    };
    let graph = ctx.compute(graph).await?;
    let names: Vec<&str> = names.into_keys().collect();
    let leads = leads(&names, found, &edges, &graph);
    stage.record.rows_in = edges.len() as u64;
    stage.record.rows_out = leads.len() as u64;
    stage.finish();
    let spec = spec(params.leads.clone());
    let batch = batch(&spec, params.dataset.as_str(), interval, &leads)?;
    ctx.commit(spec, in_place_of(params.dataset.as_str()), vec![batch]).await?;
    let first = graph.leaders.iter().take(LEADERS_TOLD);
    let first: Vec<Value> = first
        .map(|leader| json!({ "series": names.get(leader.node), "followers": leader.followers }))
        .collect();
    let is_direct = |lead: &&Lead<'_>| lead.through.is_none() && lead.given.is_none();
    let direct = leads.iter().filter(is_direct).count();
    let beyond = found.len().saturating_sub(EDGES_MAX);
    Ok(
        json!({ "pairs": leads.len(), "direct": direct, "leaders": first, "pairs_left_out": beyond }),
    )
}

/// The series of the pairs, in order, each with its number.
fn names(found: &[Correlation]) -> BTreeMap<&str, usize> {
    let both = found.iter().take(EDGES_MAX);
    let both = both.flat_map(|pair| [pair.series_a.as_str(), pair.series_b.as_str()]);
    let mut names: BTreeMap<&str, usize> = both.map(|name| (name, 0)).collect();
    names.values_mut().enumerate().for_each(|(at, number)| *number = at);
    names
}

/// The strongest pairs, each with the lag at which it agrees best.
fn edges(found: &[Correlation], names: &BTreeMap<&str, usize>, params: &Params) -> Vec<Edge> {
    let of = |pair: &Correlation| {
        let plain = if pair.coefficient.is_nan() { 0.0 } else { pair.coefficient };
        let (lag, r, p) = match pair.lag {
            // What may be chance leads nowhere.
            Some(lag)
                if lag.coefficient.abs() > plain.abs()
                    && lag.coefficient.abs() >= params.min_coefficient
                    && lag.q.unwrap_or(lag.p) <= params.max_q =>
            {
                (lag.samples as f64, lag.coefficient, lag.p)
            }
            _ => (0.0, plain, pair.p),
        };
        Edge {
            from: names[pair.series_a.as_str()],
            to: names[pair.series_b.as_str()],
            lag,
            r: r.clamp(-1.0, 1.0),
            p: p.clamp(0.0, 1.0),
        }
    };
    found.iter().take(EDGES_MAX).map(of).collect()
}

/// Those with a lag, the strongest first.
fn leads<'a>(
    names: &[&'a str],
    found: &'a [Correlation],
    edges: &[Edge],
    graph: &LeadGraph,
) -> Vec<Lead<'a>> {
    let of = |((edge, placed), pair): ((&Edge, &Placed), &'a Correlation)| {
        let (from, to, sign) = match edge.lag {
            lag if lag > 0.0 => (edge.from, edge.to, 1.0),
            lag if lag < 0.0 => (edge.to, edge.from, -1.0),
            _ => return None,
        };
        let (leader, follower) = (graph.nodes[from]?, graph.nodes[to]?);
        Some(Lead {
            leader: names[from],
            follower: names[to],
            lag: edge.lag.abs() as i64,
            coefficient: edge.r,
            p: edge.p,
            // No −0.
            residual: sign * placed.residual + 0.0,
            given: pair.explained_by(),
            through: placed.through.map(|chain| names[chain.through]),
            component: leader.component,
            times: [leader.time, follower.time],
        })
    };
    edges.iter().zip(&graph.edges).zip(found).filter_map(of).collect()
}

fn batch(
    spec: &DatasetSpec,
    source: &str,
    interval: Interval,
    leads: &[Lead<'_>],
) -> Result<RecordBatch> {
    let seconds = interval.mean_micros() as f64 / 1e6;
    let texts = |get: &dyn Fn(&Lead<'_>) -> Option<String>| {
        Arc::new(StringArray::from_iter(leads.iter().map(get))) as ArrayRef
    };
    let floats = |get: &dyn Fn(&Lead<'_>) -> f64| {
        Arc::new(Float64Array::from_iter_values(leads.iter().map(get))) as ArrayRef
    };
    let integers = |get: &dyn Fn(&Lead<'_>) -> i64| {
        Arc::new(Int64Array::from_iter_values(leads.iter().map(get))) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| Some(source.to_owned())),
        texts(&|lead| Some(lead.leader.to_owned())),
        texts(&|lead| Some(lead.follower.to_owned())),
        integers(&|lead| lead.lag),
        floats(&|lead| lead.lag as f64 * seconds),
        floats(&|lead| lead.coefficient),
        floats(&|lead| lead.p),
        texts(&|lead| lead.through.map(str::to_owned)),
        texts(&|lead| lead.given.map(str::to_owned)),
        floats(&|lead| lead.residual * seconds),
        integers(&|lead| lead.component as i64),
        floats(&|lead| lead.times[0] * seconds),
        floats(&|lead| lead.times[1] * seconds),
    ];
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}
