//! What every training of an encoder tells and keeps.

use std::path::PathBuf;

use engine::{Result, Session};
use models::{
    CheckpointOptions, DatasetVersion, Estimate, TrainProgress, TrainedEncoder, TrainingData,
};
use serde_json::{Value, json};

use crate::registry::{History, check_task, stages_name};
use crate::run::context::RunContext;

/// Steps between two checkpoints.
const CHECKPOINT_STEPS: u64 = 50;

/// Checkpoints in `folder`.
pub(crate) fn checkpoints(folder: PathBuf) -> CheckpointOptions {
    CheckpointOptions { folder, every_steps: CHECKPOINT_STEPS, kept: 2 }
}

/// What a run's model is trained on: its inputs.
pub(crate) fn trained_on(ctx: &RunContext) -> TrainingData {
    let inputs = ctx.inputs().iter().map(|input| DatasetVersion {
        dataset: input.dataset.to_string(),
        version: input.version.0,
    });
    TrainingData::Datasets(inputs.collect())
}

/// The history of `model` as it is now; none where there are no models yet. Fails where `model` does something else than
/// `task`.
pub(crate) async fn history(
    session: &Session,
    job: &'static str,
    model: &str,
    task: &str,
) -> Result<History> {
    if !session.catalog().has(&stages_name())? {
        return Ok(History::default());
    }
    check_task(job, session, model, task).await?;
    History::read(session, model).await
}

/// Where a training is, for whoever watches.
pub(crate) fn activity(progress: &TrainProgress) -> Value {
    json!({
        "epoch": progress.epoch,
        "step": progress.step,
        "of": progress.of,
        "loss": progress.loss,
        "learning_rate": progress.learning_rate,
        "texts_per_second": progress.texts_per_s,
    })
}

/// What a training is expected to cost.
pub(crate) fn estimate_facts(estimate: &Estimate) -> Value {
    json!({
        "steps": estimate.steps,
        "tokens": estimate.tokens,
        "flops": estimate.flops,
        "flops_per_second": estimate.flops_per_s,
        "seconds": estimate.seconds,
    })
}

/// How a training went and what it cost.
pub(crate) fn facts(trained: &TrainedEncoder, texts_per_s: f64) -> Value {
    let epochs = trained.history.iter().map(|epoch| {
        json!({
            "epoch": epoch.epoch,
            "train_loss": epoch.train_loss,
            "validation_loss": epoch.validation_loss,
            "validation_accuracy": epoch.validation_accuracy,
        })
    });
    json!({
        "epochs": epochs.collect::<Vec<_>>(),
        "best_epoch": trained.best_epoch,
        "steps": trained.cost.steps,
        "tokens": trained.cost.tokens,
        "seconds": trained.cost.seconds,
        "flops": trained.cost.flops,
        "texts_per_second": texts_per_s,
        "texts_cut": trained.cost.cut_texts,
        "notices": trained.notices,
    })
}
