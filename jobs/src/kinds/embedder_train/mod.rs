//! Trains an encoder further on pairs of texts that mean the same, so that such texts lie nearer to each other, and
//! registers it as a candidate.
//!
//! The pairs are those that `duplicates` found and people confirmed, without those that people refuted. Pairs that share a
//! text are one group, and a group is learned from, ended by or judged by as a whole. The model is judged by how
//! often a text of the held-out groups has one of its own group as the nearest among all of these and of texts without a
//! duplicate, beside the encoder that it was trained from and the version in production on the same texts. The job
//! `promote` takes it into use; `embed` and `triage_train` then take it by its name, as `embedder@production`.
//!
//! The same rows, pairs and parameters make the same model, bit for bit. Cost: about three times an embedding of all texts of
//! the pairs for each epoch. Memory: the texts of the pairs, and what one step of the network leaves.

mod fit;
mod params;
mod prepare;
#[cfg(test)]
mod tests;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, WriteMode};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use fit::{Fitted, Task, measures};
pub use params::Params;
use prepare::{Prepared, prepare, read_pairs, read_texts};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::registry::embedders::inputs_of;
use crate::registry::encoder_device::OnDevice;
use crate::registry::evaluations::{self, Measured};
use crate::registry::sides::Side;
use crate::registry::training;
use crate::registry::{
    Change, Compared, History, ModelStage, Registration, model_batch, models_spec, stage_batch,
    stages_spec, version_of,
};
use crate::run::context::RunContext;

/// The kind's name.
const NAME: &str = "embedder_train";
/// What its models do.
const TASK: &str = "embedding";

/// Memory of one row of a pair: a guess for the estimate only.
const ROW_BYTES: usize = 2048;

/// The job kind.
pub struct EmbedderTrain;

impl EmbedderTrain {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for EmbedderTrain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "trains an embedder on duplicates, so that texts that mean the same lie nearer, and registers it as a candidate"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = Self::params(params)?;
        let own = std::iter::once(params.dataset).chain(params.pairs).chain(params.labels);
        Ok(own.chain(inputs_of(&params.embedder)).collect())
    }

    fn appends_to_inputs(&self) -> bool {
        true
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Self::params(params)?;
        Ok(vec![evaluations::spec(), models_spec(), stages_spec()])
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
            let pairs = read_pairs(ctx, &params).await?;
            let (rows, without_id) = read_texts(ctx, &params, &pairs).await?;
            ctx.progress(0.1);
            let prepared = prepare(&params, &pairs, rows, without_id)?;
            let now = ctx.present().await?;
            let history = training::history(now, NAME, &params.model, TASK).await?;
            let in_use = match history.production() {
                Some(version) => {
                    let name = format!("{}@{version}", params.model);
                    Some(ctx.embedders().model(now, &name).await?.embedder)
                }
                None => None,
            };
            let task = Task {
                model: ctx.embedders().model(ctx.session(), &params.embedder).await?,
                in_use,
                trained_on: training::trained_on(ctx),
                checkpoints: ctx.checkpoints(),
                tell: ctx.progress_sink(),
                tell_more: ctx.activity_sink(),
                cancellation: ctx.cancellation().clone(),
                gpu: ctx.gpu(),
                params: params.clone(),
                prepared,
            };
            let (task, on_device, cost) = look_at(ctx, task).await?;
            let mut stage = ctx.stage("train");
            on_device.note(&mut stage);
            let (pool, device) = (ctx.pool().clone(), on_device.device);
            let (prepared, fitted) = ctx.compute(move || pool.install(|| task.run(device))).await?;
            stage.record.rows_in = fitted.train_pairs as u64;
            stage.record.rows_out = fitted.found.questions as u64;
            stage.facts(fitted.facts.clone());
            stage.finish();
            let model = registration(&params, &fitted);
            commit(ctx, &model, &fitted, &history).await?;
            Ok(Outcome { summary: summary(&params, &prepared, &fitted, &model, &cost) })
        })
    }
}

/// Says what training will cost, to whoever watches.
async fn look_at(ctx: &RunContext, task: Task) -> Result<(Task, OnDevice, Value)> {
    let mut stage = ctx.stage("prepare");
    let pool = ctx.pool().clone();
    let work = move || pool.install(|| task.estimate().map(|(on, cost)| (task, on, cost)));
    let (task, on_device, cost) = ctx.compute(work).await?;
    let cost = training::estimate_facts(&cost);
    stage.record.rows_in = task.prepared.texts.len() as u64;
    stage.facts(json!({ "training_estimate": cost }));
    ctx.activity_sink()(json!({ "training_estimate": cost }));
    stage.finish();
    Ok((task, on_device, cost))
}

fn registration(params: &Params, fitted: &Fitted) -> Registration {
    let (other, theirs, comparison) = &fitted.compared;
    // A version of this model by its version alone, another model by its name, too.
    let version = match other.name == params.model {
        true => other.version.clone(),
        false => other.to_string(),
    };
    Registration {
        name: params.model.clone(),
        version: version_of(&fitted.files),
        files: fitted.files.clone(),
        task: TASK,
        method: params.method.as_str().into(),
        held_out_rows: fitted.found.questions as u64,
        accuracy: Some(fitted.found.recall_at_1),
        macro_f1: None,
        compared: Some(Compared {
            version,
            accuracy: theirs.recall_at_1,
            p_value: comparison.p_value,
        }),
    }
}

/// Commits what is said of the version first and its stage last: a version that has a stage has all else.
async fn commit(
    ctx: &RunContext,
    model: &Registration,
    fitted: &Fitted,
    history: &History,
) -> Result<()> {
    let base = fitted.base.to_string();
    let (other, theirs, comparison) = &fitted.compared;
    let other = other.to_string();
    let mut rows: Vec<Measured<'_>> = Vec::new();
    let beside = [
        (None, &fitted.found),
        (Some(base.as_str()), &fitted.before),
        (Some(other.as_str()), theirs),
    ];
    for (of, found) in beside.into_iter().take(if base == other { 2 } else { 3 }) {
        rows.extend(measures(found).map(|(measure, value)| (measure, None, of, value)));
    }
    rows.extend([
        ("questions", None, None, fitted.found.questions as f64),
        ("only_this_right", None, Some(other.as_str()), comparison.only_first as f64),
        ("only_other_right", None, Some(other.as_str()), comparison.only_second as f64),
        ("p_value", None, Some(other.as_str()), comparison.p_value),
    ]);
    let rows = evaluations::batch(&model.name, &model.version, &rows)?;
    ctx.commit(evaluations::spec(), WriteMode::Append, vec![rows]).await?;
    ctx.commit(models_spec(), WriteMode::Append, vec![model_batch(ctx, model).await?]).await?;
    // A version that is in use stays so when it is trained again.
    let stage = history.stage(&model.version).unwrap_or(ModelStage::Candidate);
    let change =
        Change { version: model.version.clone(), stage, reason: "trained".into(), forced: false };
    let rows = stage_batch(ctx, &model.name, history.next_number(), &[change])?;
    ctx.commit(stages_spec(), WriteMode::Append, vec![rows]).await?;
    Ok(())
}

fn summary(
    params: &Params,
    prepared: &Prepared,
    fitted: &Fitted,
    model: &Registration,
    cost: &Value,
) -> Value {
    let counts = prepared.counts;
    let sides = [Side::Train, Side::Validation, Side::HeldOut];
    let [train, validation, held_out] = sides.map(|side| prepared.of(side).count());
    let figures = |found: &models::Retrieval| -> Value {
        measures(found).map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect()
    };
    let (other, theirs, comparison) = &fitted.compared;
    json!({
        "source": params.dataset,
        "model": model.name,
        "version": model.version,
        "method": model.method,
        "embedder": fitted.base.to_string(),
        "pairs": counts.pairs,
        "pairs_without_rows": counts.pairs_without_rows,
        "pairs_contradicted": counts.pairs_contradicted,
        "rows_without_id": counts.rows_without_id,
        "groups": { "train": train, "validation": validation, "held_out": held_out },
        "train_pairs": fitted.train_pairs,
        "held_out_texts": fitted.found.questions,
        "held_out_among": fitted.judged_texts,
        "found": figures(&fitted.found),
        "before": figures(&fitted.before),
        "compared": {
            "version": other.to_string(),
            "recall_at_1": theirs.recall_at_1,
            "p_value": comparison.p_value,
        },
        "training": fitted.facts,
        "training_estimate": cost,
    })
}
