//! Who embeds, and having it done.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use engine::Result;
use models::{EmbedOptions, Embedder, NGRAM, Progress, TextEmbedder};

use super::NAME;
use super::params::Params;
use crate::parameters::bad;
use crate::registry::embedders::model_error;
use crate::registry::encoder_device::{OnDevice, Work};
use crate::run::context::RunContext;

/// Texts that are embedded together: the run can stop between.
const PART_TEXTS: usize = 1 << 16;

/// What was computed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    pub(super) texts: usize,
    pub(super) cut: usize,
    pub(super) empty: usize,
    pub(super) tokens: u64,
    pub(super) seconds: f64,
}

/// Who embeds.
pub(super) enum Maker {
    /// A model, on the device that pays.
    Model(Arc<Embedder>),
    /// Without a model, on the processor.
    Plain(Arc<dyn TextEmbedder>),
}

impl Maker {
    /// It, on the processor.
    pub(super) fn embedder(&self) -> &dyn TextEmbedder {
        match self {
            Self::Model(model) => model.as_ref(),
            Self::Plain(embedder) => embedder.as_ref(),
        }
    }
}

/// Loads the embedder of the parameters, and checks that it makes vectors of the length that they say.
pub(super) async fn load(ctx: &RunContext, params: &Params) -> Result<Maker> {
    let mut stage = ctx.stage("load");
    let dimension = params.dimension as usize;
    let maker = match params.embedder.as_str() {
        NGRAM => Maker::Plain(ctx.embedders().get(ctx.session(), NGRAM, dimension).await?),
        name => Maker::Model(ctx.embedders().model(ctx.session(), name).await?.embedder),
    };
    let embedder = maker.embedder();
    if embedder.dimension() != dimension {
        let found = embedder.dimension();
        return Err(bad(
            NAME,
            "dimension",
            format!(
                "{} makes vectors of {found} numbers; expected that, found {dimension}",
                embedder.id()
            ),
        ));
    }
    stage.facts(serde_json::json!({ "embedder": embedder.id().to_string() }));
    stage.finish();
    Ok(maker)
}

/// Makes the vectors of `missing` at their places in `vectors`.
pub(super) async fn make(
    ctx: &RunContext,
    maker: Maker,
    missing: Vec<(usize, String)>,
    mut vectors: Vec<f32>,
) -> Result<(Vec<f32>, Made)> {
    let mut stage = ctx.stage("embed");
    let (pool, tell, cancelled) =
        (ctx.pool().clone(), ctx.progress_sink(), ctx.cancellation().clone());
    stage.record.rows_in = missing.len() as u64;
    let (began, gpu) = (Instant::now(), ctx.gpu());
    let work = move || {
        let on_device = match &maker {
            Maker::Model(model) if !missing.is_empty() => {
                let work = Work::Embed(missing.len());
                Some(pool.install(|| OnDevice::choose(gpu, work, model))?)
            }
            _ => None,
        };
        let embedder = on_device.as_ref().map_or(maker.embedder(), |on| on.embedder.as_ref());
        let mut made = Made { texts: missing.len(), ..Made::default() };
        let dimension = embedder.dimension();
        for (index, part) in missing.chunks(PART_TEXTS).enumerate() {
            let before = index * PART_TEXTS;
            let report = |progress: Progress| {
                tell(0.1 + 0.85 * (before + progress.texts) as f64 / made.texts as f64);
                if cancelled.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let texts: Vec<&str> = part.iter().map(|(_, text)| text.as_str()).collect();
            let options = EmbedOptions { progress: Some(&report), ..EmbedOptions::default() };
            let found = pool.install(|| embedder.embed(&texts, &options)).map_err(model_error)?;
            for ((place, _), row) in part.iter().zip(found.rows()) {
                vectors[place * dimension..][..dimension].copy_from_slice(row);
            }
            made.cut += found.cut_texts;
            made.empty += found.empty_texts;
            made.tokens += found.tokens;
        }
        Ok((vectors, made, on_device))
    };
    let (vectors, mut made, on_device) = ctx.compute(work).await?;
    made.seconds = began.elapsed().as_secs_f64();
    match on_device {
        Some(on_device) => on_device.note(&mut stage),
        None => stage.on_device("cpu", "hashing parts of words is the CPU's"),
    }
    stage.record.rows_out = made.texts as u64;
    stage.facts(serde_json::json!({ "tokens": made.tokens, "texts_cut": made.cut }));
    stage.finish();
    Ok((vectors, made))
}
