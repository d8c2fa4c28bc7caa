//! Turns texts into vectors, and commits one row for each to `embeddings`.
//!
//! A vector belongs to an embedder at a version and to a text: an unchanged text is never computed again, whichever row
//! it is in, and a row that is gone has no vector any more. The rows of one source dataset are one partition of the output
//! and are replaced together, so that a change of the embedder is one commit, too: no reader sees vectors of two.
//!
//! The embedder is a model that was pulled before (nothing is fetched here), one that was trained here, or `ngram`, which
//! needs none.
//!
//! Cost: reads every text once, and the vectors that are kept; computing takes by far the most. Memory: the texts that
//! are new and all vectors, 4·`dimension` bytes a different text, at most three quarters of the budget.

mod corpus;
mod embedder;
mod output;
mod params;
#[cfg(test)]
mod tests;

use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session, WriteMode};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use corpus::{Corpus, CorpusBuilder};
use embedder::{Made, load, make};
use output::Earlier;
pub use params::Params;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::registry::embedders::inputs_of;
use crate::run::context::RunContext;
use crate::texts::TextSource;

/// The kind's name.
const NAME: &str = "embed";

/// Memory of one row beside its vector: a guess for the estimate only.
const ROW_BYTES: usize = 2048;

/// The job kind.
pub struct Embed;

impl Embed {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Embed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "turns texts into vectors, which are near each other where the texts mean alike"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        Ok(std::iter::once(params.dataset).chain(inputs_of(&params.embedder)).collect())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = Self::params(params)?;
        Ok(vec![output::spec(params.output, params.dimension)])
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
        ROW_BYTES
    }

    fn uses_gpu(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let maker = load(ctx, &params).await?;
            let id = maker.embedder().id().to_string();
            let earlier = Earlier::find(ctx, &params, id.clone()).await?;
            let mut corpus = read(ctx, &params, &earlier).await?;
            ctx.progress(0.05);
            let mut vectors = vec![0.0; corpus.places.len() * params.dimension as usize];
            let kept = earlier.copy(&corpus.places, &mut vectors).await?;
            ctx.progress(0.1);
            let missing = std::mem::take(&mut corpus.missing);
            let (vectors, made) = make(ctx, maker, missing, vectors).await?;
            let spec = output::spec(params.output.clone(), params.dimension);
            let batches = output::batches(&spec, &params, &id, &corpus, &vectors)?;
            let source = ScalarValue::from(params.dataset.as_str());
            let partition = vec![("source".to_owned(), source)];
            ctx.commit(spec, WriteMode::ReplacePartitions(partition), batches).await?;
            Ok(Outcome { summary: summary(&params, &id, &corpus, kept, &made) })
        })
    }
}

fn source(params: &Params) -> TextSource<'_> {
    TextSource {
        job: NAME,
        dataset: &params.dataset,
        id_column: &params.id_column,
        text_columns: &params.text_columns,
        number_columns: &[],
        order_column: None,
        order_parameter: "order_column",
    }
}

/// Reads all rows.
async fn read(ctx: &RunContext, params: &Params, earlier: &Earlier<'_>) -> Result<Corpus> {
    let mut stage = ctx.stage("read");
    let mut rows = source(params).read(ctx).await?;
    let known = |hash: &corpus::TextHash| earlier.has(hash);
    let vector_bytes = params.dimension as usize * size_of::<f32>();
    let mut corpus = CorpusBuilder::new(&known, vector_bytes, ctx.memory_budget_bytes() / 4 * 3);
    while let Some(batch) = rows.next().await? {
        corpus.add(&batch)?;
        ctx.check()?;
    }
    let corpus = corpus.finish();
    stage.record.rows_in = rows.rows_read;
    stage.record.bytes_read = rows.bytes_read;
    stage.record.rows_out = corpus.hashes.len() as u64;
    stage.finish();
    Ok(corpus)
}

fn summary(params: &Params, embedder: &str, corpus: &Corpus, kept: usize, made: &Made) -> Value {
    json!({
        "source": params.dataset,
        "embedder": embedder,
        "rows": corpus.hashes.len(),
        "rows_without_id": corpus.without_id,
        "texts": corpus.places.len(),
        "texts_kept": kept,
        "texts_embedded": made.texts,
        "texts_cut": made.cut,
        "texts_empty": made.empty,
        "tokens": made.tokens,
        "seconds": made.seconds,
    })
}
