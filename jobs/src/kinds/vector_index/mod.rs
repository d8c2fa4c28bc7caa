//! Cuts the vectors of a dataset into lists of near ones, so that a search looks into a few lists instead of at all
//! vectors, and commits the lists to `vector_index` with how well they find.
//!
//! The lists are those of an inverted-file index ([`kernels::ivf`]): centres by k-means, each vector in the list of the
//! nearest. *Recall* is the part of the true `k` nearest rows that a search finds, over rows drawn at random that are
//! themselves no results; a row that is as near as the k-th counts, too. The number of lists that a search looks into
//! is the least power of two that reaches `min_recall`, or all. Searches take the index when it is there
//! ([`crate::similar`]); a row that was embedded since is put into the list of its nearest centre.
//!
//! The rows of one source dataset are one partition of the output and are replaced together.
//!
//! Cost: reads every vector once; n·lists·d multiply-adds for n vectors of d numbers, and `queries`·n·d to measure.
//! Memory: the vectors twice, 8·d bytes a row.

mod output;
mod params;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, WriteMode};
use futures::future::BoxFuture;
use kernels::ivf::{IvfIndex, IvfOptions, Metric as IvfMetric, SearchOptions};
use kernels::nearest::{Metric, NearestOptions, nearest};
use kernels::{Execution, GpuPolicy, MatrixView};
use serde_json::{Value, json};

pub(crate) use output::{Columns, Measured};
pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::similar::Vectors;

/// The kind's name.
const NAME: &str = "vector_index";

/// Memory of one row: a guess for the estimate only.
const ROW_BYTES: usize = 4096;
/// Two scores that differ by less are taken for one: the index computes them in 32 bits.
const SCORE_TOLERANCE: f64 = 1e-5;

/// The job kind.
pub struct VectorIndex;

impl VectorIndex {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

/// An index and how well it finds.
struct Built {
    index: IvfIndex,
    measured: Measured,
    /// (probes, recall)
    curve: Vec<(usize, f64)>,
}

impl Job for VectorIndex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "cuts vectors into lists of near ones, for faster searches, and measures what these find"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![Self::params(params)?.vectors])
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![output::spec(Self::params(params)?.output)])
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn uses_gpu(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let vectors = read(ctx, &params).await?;
            ctx.progress(0.2);
            let built = build(ctx, &params, vectors.clone()).await?;
            ctx.progress(0.9);
            let spec = output::spec(params.output.clone());
            let batches = output::batches(&spec, &params, &vectors, &built.index, &built.measured)?;
            let source = ScalarValue::from(params.dataset.as_str());
            let partition = vec![("source".to_owned(), source)];
            ctx.commit(spec, WriteMode::ReplacePartitions(partition), batches).await?;
            let curve: Vec<Value> = built
                .curve
                .iter()
                .map(|(probes, recall)| json!({ "probes": probes, "recall": recall }))
                .collect();
            let summary = json!({
                "source": params.dataset,
                "embedder": vectors.embedder,
                "rows": vectors.len(),
                "lists": built.index.lists(),
                "probes": built.measured.probes,
                "recall": built.measured.recall,
                "k": params.k,
                "queries": built.measured.queries,
                "curve": curve,
            });
            Ok(Outcome { summary })
        })
    }
}

/// Reads all vectors.
async fn read(ctx: &RunContext, params: &Params) -> Result<Arc<Vectors>> {
    let mut stage = ctx.stage("read");
    let bytes_max = ctx.memory_budget_bytes() / 4 * 3;
    let room = |bytes: usize| {
        // The index holds each vector a second time.
        if bytes.saturating_mul(2) <= bytes_max {
            return Ok(());
        }
        Err(Error::user(
            Code::ResourcesExhausted,
            format!(
                "{NAME}: the vectors of {} and their index take {} bytes; three quarters of the memory budget, \
                 {bytes_max} bytes, are for them: take a larger budget",
                params.dataset,
                bytes.saturating_mul(2)
            ),
        ))
    };
    let read = Vectors::read(ctx.session(), &params.vectors, &params.dataset, room).await?;
    let vectors = read.ok_or_else(|| {
        Error::user(
            Code::NotFound,
            format!(
                "{NAME}: {0} has no vectors in {1}: run the job `embed` with dataset = \"{0}\"",
                params.dataset, params.vectors
            ),
        )
    })?;
    stage.record.rows_in = vectors.len() as u64;
    stage.record.rows_out = vectors.len() as u64;
    stage.finish();
    Ok(Arc::new(vectors))
}

/// Builds the index and measures it.
async fn build(ctx: &RunContext, params: &Params, vectors: Arc<Vectors>) -> Result<Built> {
    let mut stage = ctx.stage("build");
    stage.record.rows_in = vectors.len() as u64;
    let (asked, execution) = (params.clone(), ctx.execution(ctx.memory_budget_bytes() / 4));
    // Lists have no path for a device; k-means and what measures them take one.
    let gpu = match execution.gpu {
        GpuPolicy::Required => GpuPolicy::Preferred,
        policy => policy,
    };
    let of_lists = Execution { gpu, ..execution.clone() };
    let work = move || {
        let x = vectors.matrix()?;
        let lists = asked.lists.unwrap_or_else(|| usual_lists(x.rows())).min(x.rows());
        let options = IvfOptions {
            lists,
            iterations: asked.iterations,
            seed: asked.seed,
            ..IvfOptions::new(IvfMetric::Cosine)
        };
        let (index, stats) = IvfIndex::build(x, &options, &of_lists)?;
        let queries = queries(x.rows(), asked.queries, asked.seed);
        let curve = measure(&index, x, &queries, &asked, (&execution, &of_lists))?;
        // The curve ends where recall is enough, or with all lists.
        let (probes, recall) = curve.last().copied().unwrap_or((lists, 1.0));
        let measured = Measured { probes, recall, k: asked.k, queries: queries.len() };
        Ok((Built { index, measured, curve }, stats))
    };
    let (built, stats) = ctx.compute(work).await?;
    stage.on_device(stats.device.device.to_string(), stats.device.reason.clone());
    stage.record.rows_out = built.index.vectors() as u64;
    stage.facts(json!({
        "index_seconds": stats.seconds,
        "lists": built.index.lists(),
        "rows_left_out": stats.excluded_rows,
    }));
    stage.finish();
    Ok(built)
}

/// Four times the square root of the number of vectors.
fn usual_lists(rows: usize) -> usize {
    (4.0 * (rows as f64).sqrt()).round().clamp(1.0, 65_536.0) as usize
}

/// Rows to measure with, each once, in order.
fn queries(rows: usize, wanted: usize, seed: u64) -> Vec<usize> {
    if rows <= wanted {
        return (0..rows).collect();
    }
    // One out of each of `wanted` parts of equal length.
    let mut state = seed;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let part = |at: usize| at * rows / wanted;
    (0..wanted).map(|at| part(at) + random() % (part(at + 1) - part(at))).collect()
}

/// Recall by number of lists that are looked into: 1, 2, 4, … until it is enough.
fn measure(
    index: &IvfIndex,
    x: MatrixView<'_, f32>,
    queries: &[usize],
    params: &Params,
    (execution, of_lists): (&Execution, &Execution),
) -> Result<Vec<(usize, f64)>> {
    let rows: Vec<f32> = queries.iter().flat_map(|query| x.row(*query)).copied().collect();
    let asked = MatrixView::new(&rows, queries.len(), x.cols())?;
    // The row itself is no result.
    let exact = nearest(asked, x, &NearestOptions::new(Metric::Cosine, params.k + 1), execution)?;
    let least = |at: usize| {
        let others = exact.row(at).iter().filter(|found| found.index != queries[at]);
        others.take(params.k).map(|found| found.score).collect::<Vec<f64>>()
    };
    let mut curve = Vec::new();
    let mut probes = 1;
    loop {
        let options = SearchOptions::new(params.k + 1, probes);
        let found = index.search(asked, &options, of_lists)?;
        let (mut hits, mut all) = (0, 0);
        for (at, query) in queries.iter().enumerate() {
            let wanted = least(at);
            let Some(worst) = wanted.last() else { continue };
            all += wanted.len();
            let others = found.of(at).iter().filter(|found| found.row != *query as u64);
            let scores = others.take(params.k).map(|found| f64::from(found.score));
            hits +=
                scores.filter(|score| *score >= worst - SCORE_TOLERANCE).count().min(wanted.len());
        }
        let recall = if all == 0 { 1.0 } else { hits as f64 / all as f64 };
        curve.push((probes, recall));
        if recall >= params.min_recall || probes >= index.lists() {
            return Ok(curve);
        }
        probes = (2 * probes).min(index.lists());
    }
}
