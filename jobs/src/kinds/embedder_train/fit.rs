//! Training, and what it is measured by.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Result;
use kernels::GpuPolicy;
use models::{
    ArtifactFiles, Comparison, EmbedOptions, Embedder, EmbedderId, EncoderDevice, Estimate,
    Evaluation, Grouped, Pairs, Retrieval, TextEmbedder, TrainCall, TrainProgress, TrainedOrigin,
    TrainingData, compare, estimate_pairs_on, fine_tune_pairs_on, retrieval,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::params::Params;
use super::prepare::Prepared;
use crate::registry::embedders::{Model, model_error};
use crate::registry::encoder_device::{OnDevice, Work};
use crate::registry::sides::Side;
use crate::registry::training;

/// Of the texts without a duplicate one in so many serves validation.
const VALIDATION_OTHERS: usize = 4;

/// What a training works with.
pub(super) struct Task {
    pub(super) params: Params,
    pub(super) gpu: GpuPolicy,
    pub(super) prepared: Prepared,
    pub(super) model: Model,
    /// The version in production.
    pub(super) in_use: Option<Arc<Embedder>>,
    pub(super) trained_on: TrainingData,
    pub(super) checkpoints: Option<PathBuf>,
    pub(super) tell: Arc<dyn Fn(f64) + Send + Sync>,
    /// Hears what training is at.
    pub(super) tell_more: Arc<dyn Fn(Value) + Send + Sync>,
    pub(super) cancellation: CancellationToken,
}

/// A trained model, and all that was measured on the held-out groups.
pub(super) struct Fitted {
    pub(super) files: ArtifactFiles,
    pub(super) found: Retrieval,
    /// By what it was trained from.
    pub(super) before: Retrieval,
    pub(super) base: EmbedderId,
    /// Beside the version in production, or what it was trained from where there is none.
    pub(super) compared: (EmbedderId, Retrieval, Comparison),
    /// Texts to be judged by, those without a duplicate included.
    pub(super) judged_texts: usize,
    pub(super) train_pairs: usize,
    pub(super) facts: Value,
}

impl Task {
    /// Where training will be, and what it will cost. On the numeric threads.
    pub(super) fn estimate(&self) -> Result<(OnDevice, Estimate)> {
        let on = OnDevice::choose(self.gpu, Work::Train, &self.model.embedder)?;
        let (texts, groups) = self.pairs();
        let (pairs, options) = (Pairs { texts: &texts, groups: &groups }, self.params.options());
        let found = estimate_pairs_on(on.device, &self.model.embedder, pairs, &options);
        Ok((on, found.map_err(model_error)?))
    }

    /// Trains and judges. On the numeric threads.
    pub(super) fn run(self, device: EncoderDevice) -> Result<(Prepared, Fitted)> {
        let others = &self.prepared.others;
        let (own, rest) = others.split_at(others.len() / VALIDATION_OTHERS);
        let (texts, groups) = self.pairs();
        let (validation, validation_groups) = self.prepared.grouped(Side::Validation, own);
        let options = self.params.options();
        let checkpoints = self.checkpoints.clone().map(training::checkpoints);
        let mut rate = 0.0;
        let mut on_progress = |progress: &TrainProgress| {
            rate = progress.texts_per_s;
            (self.tell)(0.15 + 0.65 * progress.step as f64 / progress.of as f64);
            (self.tell_more)(training::activity(progress));
            self.go_on()
        };
        let call = TrainCall {
            options: &options,
            checkpoints: checkpoints.as_ref(),
            on_progress: &mut on_progress,
        };
        let trained = fine_tune_pairs_on(
            device,
            self.model.embedder.as_ref(),
            Pairs { texts: &texts, groups: &groups },
            Grouped { texts: &validation, groups: &validation_groups },
            call,
        )
        .map_err(model_error)?;
        let (judged, judged_groups) = self.prepared.grouped(Side::HeldOut, rest);
        let write = |evaluation: Vec<Evaluation>| {
            let config = self.model.embedder.config();
            let origin = self.origin(evaluation);
            ArtifactFiles::of_encoder(&trained, config, &self.model.tokenizer, &origin)
                .map_err(model_error)
        };
        let plain = write(Vec::new())?;
        let artifact = plain.artifact().map_err(model_error)?;
        let embedder = Embedder::load(&artifact);
        let found = self.judge(&embedder.map_err(model_error)?, &judged, &judged_groups, 0.8)?;
        let before = self.judge(&self.model.embedder, &judged, &judged_groups, 0.86)?;
        let (other, theirs) = match &self.in_use {
            Some(other) => (other.id().clone(), self.judge(other, &judged, &judged_groups, 0.92)?),
            None => (self.model.embedder.id().clone(), before.clone()),
        };
        let comparison = compare(&found.is_found, &theirs.is_found).map_err(model_error)?;
        let on = format!(
            "{} held-out texts of {} among {}",
            found.questions,
            self.params.dataset,
            judged.len()
        );
        let measured = measures(&found).map(|(measure, value)| Evaluation {
            measure: measure.into(),
            value,
            on: on.clone(),
        });
        let fitted = Fitted {
            files: write(measured.into())?,
            found,
            before,
            base: self.model.embedder.id().clone(),
            compared: (other, theirs, comparison),
            judged_texts: judged.len(),
            train_pairs: texts.len(),
            facts: training::facts(&trained, rate),
        };
        Ok((self.prepared, fitted))
    }

    /// The pairs to learn from, and their groups.
    fn pairs(&self) -> (Vec<(&str, &str)>, Vec<usize>) {
        let texts = &self.prepared.texts;
        let of = |(at, group): (usize, &'_ super::prepare::Group)| {
            let pairs = group.pairs.clone().into_iter();
            pairs.map(move |(a, b)| ((a, b), at))
        };
        let pairs = self.prepared.of(Side::Train).flat_map(of);
        pairs.map(|((a, b), at)| ((texts[a].as_str(), texts[b].as_str()), at)).unzip()
    }

    fn judge(
        &self,
        embedder: &Embedder,
        texts: &[&str],
        groups: &[usize],
        from: f64,
    ) -> Result<Retrieval> {
        let report = |progress: models::Progress| {
            (self.tell)(from + 0.06 * progress.texts as f64 / texts.len().max(1) as f64);
            self.go_on()
        };
        let options = EmbedOptions { progress: Some(&report), ..EmbedOptions::default() };
        let vectors = embedder.embed(texts, &options).map_err(model_error)?.values;
        retrieval(&vectors, groups).map_err(model_error)
    }

    fn origin(&self, evaluation: Vec<Evaluation>) -> TrainedOrigin {
        TrainedOrigin {
            name: self.params.model.clone(),
            description: format!(
                "Texts of {} to vectors, by {} trained on its duplicates",
                self.params.dataset,
                self.model.embedder.id()
            ),
            training_data: self.trained_on.clone(),
            evaluation,
            licence: "LicenseRef-own-data".into(),
        }
    }

    fn go_on(&self) -> ControlFlow<()> {
        match self.cancellation.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The figures of a search, by name.
pub(super) fn measures(found: &Retrieval) -> [(&'static str, f64); 3] {
    [
        ("recall_at_1", found.recall_at_1),
        ("recall_at_10", found.recall_at_10),
        ("mean_reciprocal_rank", found.mean_reciprocal_rank),
    ]
}
