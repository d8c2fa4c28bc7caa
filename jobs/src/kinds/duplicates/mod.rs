//! Finds rows whose texts say the same thing, or whose fields describe one, and commits the pairs to `duplicate_pairs` and
//! the clusters that they make to `duplicate_clusters`.
//!
//! With `fields` whole records are compared field by field: [`records`] says how. Without, in stages: texts are made alike
//! in case and white space ([`corpus`]), and those that are then the same are paired; of the others those that share most
//! of their runs of characters ([`find`]; MinHash for candidates, an exact count for each pair: [`kernels::minhash`]);
//! then, where there are vectors, those that mean the same ([`semantic`]). How alike is enough is asked for, or chosen by
//! labels ([`thresholds`]). Pairs make clusters: whoever is linked, directly or through others, is in one. The
//! oldest row of a cluster represents it and gives it its name, so that a cluster keeps its name when younger rows
//! join, and two that merge take the older one's.
//!
//! The rows of one source dataset are one partition of either output and are replaced together.
//! A run over texts looks at what changed since the one before alone, where it can: [`incremental`].
//!
//! Cost: reads every text once, sorted by age. Memory: the texts and 4·`functions` bytes a row, at most three quarters
//! of the budget. At `min_similarity` itself a pair is missed with a probability of 1 %, above it with less; what is
//! reported is never wrong.

mod corpus;
mod find;
mod incremental;
mod labels;
mod output;
mod params;
#[cfg(test)]
mod published_tests;
pub mod records;
#[cfg(test)]
mod scale_tests;
mod semantic;
#[cfg(test)]
mod semantic_tests;
#[cfg(test)]
mod tests;
mod thresholds;

use std::sync::Arc;

use analysis::linkage::RecordLink;
use arrow::array::{LargeStringArray, RecordBatch};
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use corpus::{Corpus, CorpusBuilder, Quarters};
use find::{Cluster, Grounds, Link, Scope};
use incremental::{IndexRows, Known, Update};
use labels::Judged;
use output::Found;
pub use params::Params;
use records::Field;
use semantic::{RecordVectors, Semantic};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::RunContext;
use crate::run::stage::GpuUse;
use crate::tables::replacing::in_place_of;
use crate::texts::TextSource;

/// The kind's name.
const NAME: &str = "duplicates";

/// Memory of one row, its text among it: a guess for the estimate only.
const ROW_BYTES: usize = 1024;

/// The job kind.
pub struct Duplicates;

impl Duplicates {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Duplicates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "finds rows whose texts are the same, nearly so or alike in meaning, or whose fields describe one thing, and gathers \
         them in clusters"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        Ok([params.dataset].into_iter().chain(params.labels).chain(params.vectors).collect())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = Self::params(params)?;
        let index = params.index_output.filter(|_| params.fields.is_none());
        let mut specs = vec![
            output::pairs_spec(params.pairs_output),
            output::clusters_spec(params.clusters_output),
        ];
        specs.extend(index.map(incremental::index_spec));
        Ok(specs)
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let of = Self::params(params)?;
            match &of.fields {
                Some(fields) => drop(records::check(session, &of, fields).await?),
                None => drop(source(&of).check(session).await?),
            }
            self.outputs(params)
        })
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
            match &params.fields {
                Some(fields) => run_records(ctx, &params, fields).await,
                None => run_texts(ctx, &params).await,
            }
        })
    }
}

async fn run_texts(ctx: &RunContext, params: &Params) -> Result<Outcome> {
    let semantic = Semantic::read(ctx, params).await?;
    let (params, labels) = thresholds::resolve(ctx, params, semantic.as_deref()).await?;
    let params = &params;
    let known = match incremental::update(ctx, params, semantic.as_ref()).await? {
        Update::Done(known) => *known,
        Update::All(reason) => all_texts(ctx, params, semantic.as_ref(), reason).await?,
    };
    ctx.progress(0.9);
    let embedder = semantic.as_ref().map(|semantic| semantic.embedder());
    let summary = summary(params, &known, embedder, labels);
    let Known { ids, links, clusters, index, .. } = known;
    let reason = |link: &Link| match link.grounds {
        Grounds::Exact => "the same text but for case and white space".into(),
        Grounds::Semantic => format!(
            "the vectors by {} have a cosine of {:.3}",
            embedder.unwrap_or_default(),
            link.similarity
        ),
        Grounds::Near | Grounds::Record => format!(
            "the texts are {:.1} % alike, by the runs of {} characters that they share",
            100.0 * link.similarity,
            params.shingle_characters
        ),
    };
    let rows = rows(params, &ids, &links, &clusters, &reason)?;
    commit(ctx, params, rows, index).await?;
    Ok(Outcome { summary })
}

/// Looks at all texts.
async fn all_texts(
    ctx: &RunContext,
    params: &Params,
    semantic: Option<&Arc<Semantic>>,
    reason: String,
) -> Result<Known> {
    let corpus = read(ctx, params).await?;
    ctx.progress(0.3);
    let (corpus, find::Linked { links, entries, .. }) =
        link(ctx, params, corpus, Scope::Everything, semantic.cloned()).await?;
    let clusters = find::clusters(corpus.len(), &links)?;
    let version = ctx.input(&params.dataset)?.version;
    let index =
        incremental::index_of_all(params, version, corpus.ids(), &entries, &links, &clusters)?;
    Ok(Known {
        ids: corpus.ids().clone(),
        links,
        clusters,
        index,
        rows: corpus.len(),
        rows_read: corpus.len(),
        left_out: corpus.left_out,
        all_because: Some(reason),
    })
}

async fn run_records(ctx: &RunContext, params: &Params, fields: &[Field]) -> Result<Outcome> {
    let semantic = Semantic::read(ctx, params).await?;
    let mut stage = ctx.stage("read");
    let table = records::read_records(ctx, params, fields).await?;
    let vectors = semantic.map(|semantic| RecordVectors::of(semantic, &table.ids));
    let labels = match &params.labels {
        Some(labels) => Judged::read(ctx, labels, &params.dataset).await?.labels(&table.ids)?,
        None => Vec::new(),
    };
    stage.record.rows_in = table.rows_read;
    stage.record.bytes_read = table.bytes_read;
    stage.record.rows_out = table.records.len() as u64;
    stage.finish();
    ctx.progress(0.2);

    let mut stage = ctx.stage("link");
    stage.record.rows_in = table.records.len() as u64;
    let (asked, execution) = (params.clone(), ctx.execution(ctx.memory_budget_bytes() / 4));
    let (pool, cancellation) = (ctx.pool().clone(), ctx.cancellation().clone());
    let work = move || {
        let check = || crate::run::context::check(&cancellation);
        let find = || {
            let vectors = vectors.as_ref();
            records::find(&table.records, vectors, &labels, &asked, &execution, &check)
        };
        let linked = pool.install(find)?;
        Ok((table, vectors, linked))
    };
    let (table, vectors, linked) = ctx.compute(work).await?;
    let vectors = vectors.as_ref();
    stage.record.rows_out = linked.links.len() as u64;
    stage.facts(json!({"candidates": linked.candidates}));
    stage.finish();
    ctx.progress(0.8);

    let of = |link: &RecordLink| Link {
        first: link.first,
        second: link.second,
        grounds: Grounds::Record,
        similarity: link.probability,
    };
    let links: Vec<Link> = linked.links.iter().map(of).collect();
    let clusters = find::clusters(table.records.len(), &links)?;
    let reason = |link: &Link| {
        let of_values = table.records.reason(link.first, link.second);
        match vectors.and_then(|vectors| vectors.cosine(link.first, link.second)) {
            Some(cosine) => format!("{of_values}; meaning {cosine:.2} alike"),
            None => of_values,
        }
    };
    let rows = rows(params, &table.ids, &links, &clusters, &reason)?;
    commit(ctx, params, rows, None).await?;
    Ok(Outcome { summary: records::summary(params, &table, vectors, &linked, &clusters) })
}

/// An output and its rows.
type Rows = (DatasetSpec, Vec<RecordBatch>);

/// The rows of both outputs.
fn rows(
    params: &Params,
    ids: &LargeStringArray,
    links: &[Link],
    clusters: &[Cluster],
    reason: &dyn Fn(&Link) -> String,
) -> Result<[Rows; 2]> {
    let found = Found { source: &params.dataset, ids, links, clusters, reason };
    let pairs_spec = output::pairs_spec(params.pairs_output.clone());
    let clusters_spec = output::clusters_spec(params.clusters_output.clone());
    let pairs = output::pairs(&pairs_spec, &found)?;
    let members = output::clusters(&clusters_spec, &found)?;
    Ok([(pairs_spec, pairs), (clusters_spec, members)])
}

/// Commits the pairs, the index and the clusters. The index knows the pairs and clusters by a checksum: where others changed
/// them, the next run sees that and looks at everything.
async fn commit(
    ctx: &RunContext,
    params: &Params,
    [pairs, clusters]: [Rows; 2],
    index: Option<IndexRows>,
) -> Result<()> {
    let replace = || in_place_of(params.dataset.as_str());
    ctx.commit(pairs.0, replace(), pairs.1).await?;
    if let Some(IndexRows { spec, mode, batches }) = index {
        ctx.commit(spec, mode, batches).await?;
    }
    ctx.commit(clusters.0, replace(), clusters.1).await?;
    Ok(())
}

fn source(params: &Params) -> TextSource<'_> {
    TextSource {
        job: NAME,
        dataset: &params.dataset,
        id_column: &params.id_column,
        text_columns: &params.text_columns,
        number_columns: &[],
        order_column: params.order_column.as_deref(),
        order_parameter: "order_column",
    }
}

/// Reads all texts.
async fn read(ctx: &RunContext, params: &Params) -> Result<Corpus> {
    let mut stage = ctx.stage("read");
    let mut rows = source(params).read(ctx).await?;
    // Where there are vectors, they take half of the budget.
    let quarters = if params.vectors.is_some() { Quarters::One } else { Quarters::Three };
    let row_bytes = params.functions * size_of::<u32>();
    let mut corpus = CorpusBuilder::new(ctx.memory_budget_bytes(), quarters, row_bytes);
    while let Some(batch) = rows.next().await? {
        corpus.add(&batch)?;
        ctx.check()?;
    }
    let corpus = corpus.finish();
    stage.record.rows_in = rows.rows_read;
    stage.record.bytes_read = rows.bytes_read;
    stage.record.rows_out = corpus.len() as u64;
    stage.finish();
    Ok(corpus)
}

/// Finds the links.
async fn link(
    ctx: &RunContext,
    params: &Params,
    corpus: Corpus,
    scope: Scope,
    semantic: Option<Arc<Semantic>>,
) -> Result<(Corpus, find::Linked)> {
    let mut stage = ctx.stage("link");
    stage.record.rows_in = corpus.len() as u64;
    let (asked, execution) = (params.clone(), ctx.execution(ctx.memory_budget_bytes() / 4));
    let work = move || {
        let linked = find::link(&corpus, &asked, scope, semantic.as_deref(), &execution)?;
        Ok((corpus, linked))
    };
    let (corpus, linked) = ctx.compute(work).await?;
    let report = &linked.signed.device;
    stage.on_device(report.device.to_string(), report.reason.clone());
    stage.took(&GpuUse::of(&linked.signed));
    if let Some(by_vectors) = &linked.by_vectors {
        stage.took(&by_vectors.gpu);
    }
    stage.record.rows_out = linked.links.len() as u64;
    stage.facts(json!({
        "signature_seconds": linked.signed.seconds,
        "candidates": linked.summary.candidates,
        "checked": linked.summary.checked,
        "rows_in_crowded_bands": linked.summary.crowded_rows,
        "vector_seconds": linked.by_vectors.as_ref().map(|of| of.seconds),
        "rows_without_vector": linked.by_vectors.as_ref().map(|of| of.without_vector),
    }));
    stage.finish();
    Ok((corpus, linked))
}

/// `embedder` made the vectors, and `labels` is what they say of the thresholds.
fn summary(params: &Params, known: &Known, embedder: Option<&str>, labels: Value) -> Value {
    let Known { links, clusters, .. } = known;
    let count = |grounds| links.iter().filter(|link| link.grounds == grounds).count();
    let members: usize = clusters.iter().map(Vec::len).sum();
    json!({
        "source": params.dataset,
        "rows_compared": known.rows,
        "rows_read": known.rows_read,
        "rows_without_id": known.left_out.without_id,
        "rows_without_text": known.left_out.without_text,
        "all_because": known.all_because,
        "pairs_exact": count(Grounds::Exact),
        "pairs_near": count(Grounds::Near),
        "pairs_semantic": count(Grounds::Semantic),
        "min_similarity": params.min_similarity(),
        "min_cosine": embedder.map(|_| params.min_cosine()),
        "embedder": embedder,
        "labels": labels,
        "clusters": clusters.len(),
        "rows_in_clusters": members,
        "rows_to_spare": members - clusters.len(),
    })
}
