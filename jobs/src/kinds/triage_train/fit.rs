//! Training, and what it is measured by.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Result;
use kernels::GpuPolicy;
use models::{
    ArtifactFiles, Calibration, Classifier, ClassifierSettings, Comparison, DataReport,
    EmbedOptions, Embedder, EmbedderId, EncoderDevice, Estimate, Evaluation, Examples, FoldAnswer,
    Head, HeadProgress, Inputs, Labels, NoiseCandidate, RowQuality, ScopeReport, Scores,
    TextEmbedder, TrainCall, TrainProgress, Trained, TrainedEncoder, TrainedOrigin, TrainingData,
    describe, embed_fields, estimate_classes_on, estimate_on, fine_tune_classes_on, fine_tune_on,
    fold_answers, label_noise, macro_f1_interval, row_quality,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::judge::{ChosenThreshold, accuracy_interval};
use super::params::{Method, Params};
use super::prepare::{Prepared, Side};
use crate::registry::embedders::{Model, model_error};
use crate::registry::encoder_device::{OnDevice, Work};
use crate::registry::training;
use crate::run::context::check;

/// How sure a head must be of another class than the label for the label to be in doubt.
const NOISE_CONFIDENCE: f32 = 0.8;

/// What turns texts into vectors.
pub(super) enum Encoder {
    /// Any embedder: its vectors are taken as they are.
    Frozen(Arc<dyn TextEmbedder>),
    /// A model whose weights are trained.
    Trained(Model),
}

/// What a training works with.
pub(super) struct Task {
    pub(super) params: Params,
    pub(super) gpu: GpuPolicy,
    pub(super) prepared: Prepared,
    pub(super) encoder: Encoder,
    /// The classifier in production, with its version.
    pub(super) in_use: Option<(String, Classifier)>,
    pub(super) trained_on: TrainingData,
    pub(super) checkpoints: Option<PathBuf>,
    pub(super) tell: Arc<dyn Fn(f64) + Send + Sync>,
    /// Hears what training is at.
    pub(super) tell_more: Arc<dyn Fn(Value) + Send + Sync>,
    pub(super) cancellation: CancellationToken,
}

/// What is known of the rows before anything is learned from them.
pub(super) struct Survey {
    pub(super) report: DataReport,
    /// Of the rows to learn from.
    pub(super) quality: Vec<RowQuality>,
    pub(super) noise: Vec<Doubt>,
    /// Where an encoder is trained.
    pub(super) on_device: Option<OnDevice>,
    /// Of training an encoder.
    pub(super) estimate: Option<Estimate>,
    /// Of the rows to learn from, by the encoder as it is, where there is a use for them.
    vectors: Vec<f32>,
}

/// A trained model, and all that was measured.
pub(super) struct Fitted {
    pub(super) files: ArtifactFiles,
    /// Of the rows that were learned from, by the model's encoder.
    pub(super) vectors: Vec<f32>,
    pub(super) scores: Scores,
    /// Where accuracy and macro-F1 lie with a confidence of 95 %; none without held-out rows.
    pub(super) accuracy_interval: Option<[f64; 2]>,
    pub(super) macro_f1_interval: Option<[f64; 2]>,
    /// On the held-out rows, before and after the temperature.
    pub(super) calibration_error: [f64; 2],
    pub(super) calibration_error_interval: [Option<[f64; 2]>; 2],
    pub(super) calibration: Calibration,
    pub(super) scope: Option<ScopeReport>,
    pub(super) threshold: ChosenThreshold,
    pub(super) comparison: Option<(String, Comparison)>,
    /// Held-out rows that the version in production answers otherwise.
    pub(super) changed: u64,
    /// Held-out rows without a label by hand, and those of them that are answered right.
    pub(super) not_by_hand: [u64; 2],
    pub(super) facts: Value,
}

/// A row whose label is in doubt.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub(super) row: usize,
    pub(super) answered: String,
    pub(super) confidence: f32,
    pub(super) of_label: f32,
}

/// What training left: a classifier without calibration, and how to write it.
struct Raw {
    classifier: Classifier,
    write: Box<Write>,
    facts: Value,
}

/// Writes the artifact, with what was found after training.
type Write = dyn Fn(&ClassifierSettings, &TrainedOrigin) -> models::Result<ArtifactFiles>;

impl Survey {
    /// The vectors, which are not needed for anything else.
    pub(super) fn take_vectors(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.vectors)
    }

    /// The report on the rows.
    pub(super) fn facts(&self, labels: &Labels) -> Value {
        let report = &self.report;
        let least = report.rows_by_class.iter().min().copied().unwrap_or(0);
        let by_class = labels.names().iter().zip(&report.rows_by_class);
        let rare = by_class.filter(|(_, rows)| **rows == least).map(|(name, _)| name).take(5);
        let mut languages: BTreeMap<&str, usize> = BTreeMap::new();
        let mut issues: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.quality {
            row.language.into_iter().for_each(|name| *languages.entry(name).or_default() += 1);
            for issue in &row.issues {
                *issues.entry(issue.as_str()).or_default() += 1;
            }
        }
        let mut quality: Vec<f32> = self.quality.iter().map(|row| row.quality).collect();
        quality.sort_unstable_by(f32::total_cmp);
        let at = |part: usize| quality.get((quality.len().max(1) - 1) * part / 100).copied();
        json!({
            "imbalance": report.imbalance,
            "rarest_classes": rare.collect::<Vec<_>>(),
            "rows_of_the_rarest": least,
            "empty_texts": report.empty_texts,
            "characters": report.characters,
            "repeated_texts": report.repeated_texts,
            "contradictory_texts": report.contradictory_texts,
            "label_suspects": self.noise.len(),
            "languages": languages,
            "issues": issues,
            "quality": { "p05": at(5), "p25": at(25), "median": at(50) },
        })
    }

    /// What training an encoder is expected to cost.
    pub(super) fn cost(&self) -> Option<Value> {
        self.estimate.as_ref().map(training::estimate_facts)
    }
}

impl Task {
    /// Looks at the rows, and says what training will cost. On the numeric threads.
    pub(super) fn survey(&self) -> Result<Survey> {
        let train = self.prepared.of(Side::Train);
        let (texts, classes) = (self.prepared.texts(&train), self.prepared.classes(&train));
        let report = describe(&texts, &classes, self.prepared.labels.count());
        let report = report.map_err(model_error)?;
        let (vectors, answers) = self.fold_answers(&train)?;
        let quality = row_quality(&texts, &classes, answers.as_deref()).map_err(model_error)?;
        let noise = self.doubts(&train, answers.as_deref().unwrap_or_default());
        check(&self.cancellation)?;
        let (on_device, estimate) = match &self.encoder {
            Encoder::Frozen(_) => (None, None),
            Encoder::Trained(Model { embedder: encoder, .. }) => {
                let on = OnDevice::choose(self.gpu, Work::Train, encoder)?;
                let rows = Examples { texts: &texts, classes: &classes };
                let found = match self.params.method {
                    Method::Contrastive => {
                        let (windows, options) = (self.params.windows, self.params.contrasting());
                        estimate_classes_on(on.device, encoder, rows, windows, &options)
                    }
                    _ => {
                        let options = self.params.fine_tuning();
                        let count = self.prepared.labels.count();
                        estimate_on(on.device, encoder, count, rows, &options)
                    }
                };
                (Some(on), Some(found.map_err(model_error)?))
            }
        };
        Ok(Survey { report, quality, noise, on_device, estimate, vectors })
    }

    /// Trains, calibrates and judges. On the numeric threads.
    pub(super) fn run(
        self,
        device: EncoderDevice,
        vectors: Vec<f32>,
    ) -> Result<(Prepared, Fitted)> {
        let (train, validation) =
            (self.prepared.of(Side::Train), self.prepared.of(Side::Validation));
        let (raw, vectors) = match &self.encoder {
            Encoder::Frozen(encoder) => (self.head(encoder.clone(), &vectors, &train)?, vectors),
            Encoder::Trained(model) => {
                let (raw, vectors) = self.fine_tuned(device, model.clone(), &train, &validation)?;
                let vectors = match vectors {
                    Some(vectors) => vectors,
                    None => self.embed(raw.classifier.encoder().as_ref(), &train, 0.8, 0.85)?,
                };
                (raw, vectors)
            }
        };
        (self.tell)(0.85);
        let mut settings = raw.classifier.settings().clone();
        let own = self.logits(&raw.classifier, &validation)?;
        let truth = self.prepared.classes(&validation);
        let calibration = settings.calibrate(&own, &truth).map_err(model_error)?;
        let outside = self.logits(&raw.classifier, &self.prepared.outside(Side::Validation))?;
        let threshold = self.threshold((&own, &truth), &outside, settings.temperature)?;
        settings.out_of_scope = Some(threshold.threshold);
        check(&self.cancellation)?;
        let judged = self.judge(&raw.classifier, &settings, threshold.threshold)?;
        let origin = self.origin(&judged.scores, &judged.on);
        let files = (raw.write)(&settings, &origin).map_err(model_error)?;
        (self.tell)(0.95);
        let fitted = Fitted {
            files,
            vectors,
            accuracy_interval: accuracy_interval(&judged.scores),
            macro_f1_interval: macro_f1_interval(&judged.scores),
            scores: judged.scores,
            calibration_error: judged.calibration_error,
            calibration_error_interval: judged.calibration_error_interval,
            calibration,
            scope: judged.scope,
            threshold,
            comparison: judged.comparison,
            changed: judged.changed,
            not_by_hand: judged.not_by_hand,
            facts: raw.facts,
        };
        Ok((self.prepared, fitted))
    }

    /// The vectors of the rows to learn from, where there is a use for them, and what heads that did not see a row
    /// answer for it, where that is asked for.
    fn fold_answers(&self, train: &[usize]) -> Result<(Vec<f32>, Option<Vec<FoldAnswer>>)> {
        let (encoder, is_needed): (&dyn TextEmbedder, bool) = match &self.encoder {
            Encoder::Frozen(encoder) => (encoder.as_ref(), true),
            Encoder::Trained(model) => (model.embedder.as_ref(), self.params.noise_folds > 0),
        };
        if !is_needed {
            return Ok((Vec::new(), None));
        }
        let vectors = self.embed(encoder, train, 0.05, 0.25)?;
        if self.params.noise_folds == 0 {
            return Ok((vectors, None));
        }
        let (classes, count) = (self.prepared.classes(train), self.prepared.labels.count());
        let folds = self.params.noise_folds;
        let found = fold_answers(&vectors, &classes, count, folds, self.params.seed);
        Ok((vectors, Some(found.map_err(model_error)?)))
    }

    /// The rows whose label is in doubt.
    fn doubts(&self, train: &[usize], answers: &[FoldAnswer]) -> Vec<Doubt> {
        let names = self.prepared.labels.names();
        let doubt = |candidate: NoiseCandidate| Doubt {
            row: train[candidate.row],
            answered: names[candidate.answered].clone(),
            confidence: candidate.confidence,
            of_label: candidate.of_label,
        };
        let found = label_noise(answers, &self.prepared.classes(train), NOISE_CONFIDENCE);
        found.into_iter().map(doubt).collect()
    }

    fn head(
        &self,
        encoder: Arc<dyn TextEmbedder>,
        vectors: &[f32],
        train: &[usize],
    ) -> Result<Raw> {
        let (labels, classes) = (&self.prepared.labels, self.prepared.classes(train));
        let mut on_progress = |progress: &HeadProgress| {
            (self.tell)(0.4 + 0.4 * progress.iteration as f64 / progress.of as f64);
            (self.tell_more)(json!({
                "step": progress.iteration,
                "of": progress.of,
                "loss": progress.loss,
            }));
            self.go_on()
        };
        let options = self.params.head();
        let (head, outcome) =
            Head::train(vectors, &classes, labels.count(), &options, &mut on_progress)
                .map_err(model_error)?;
        let id: EmbedderId = encoder.id().clone();
        let classifier = Classifier::new(encoder, head.clone(), self.plain_settings());
        Ok(Raw {
            classifier: classifier.map_err(model_error)?,
            write: Box::new(move |settings, origin| {
                ArtifactFiles::of_head(&head, &id, settings, origin)
            }),
            facts: json!({
                "iterations": outcome.iterations,
                "loss": outcome.loss,
                "converged": outcome.is_converged,
            }),
        })
    }

    /// A trained encoder with its head, and the vectors of the rows that were learned from, where they were needed for that.
    fn fine_tuned(
        &self,
        device: EncoderDevice,
        model: Model,
        train: &[usize],
        validation: &[usize],
    ) -> Result<(Raw, Option<Vec<f32>>)> {
        let (prepared, Model { embedder: encoder, tokenizer }) = (&self.prepared, model);
        let (texts, classes) = (prepared.texts(train), prepared.classes(train));
        let (own_texts, own_classes) = (prepared.texts(validation), prepared.classes(validation));
        let learned = Examples { texts: &texts, classes: &classes };
        let own = Examples { texts: &own_texts, classes: &own_classes };
        let checkpoints = self.checkpoints.clone().map(training::checkpoints);
        let checkpoints = checkpoints.as_ref();
        let mut rate = 0.0;
        let on_progress = &mut |progress: &TrainProgress| {
            rate = progress.texts_per_s;
            (self.tell)(0.3 + 0.45 * progress.step as f64 / progress.of as f64);
            (self.tell_more)(training::activity(progress));
            self.go_on()
        };
        let (trained, vectors) = match self.params.method {
            Method::Contrastive => {
                let options = self.params.contrasting();
                let call = TrainCall { options: &options, checkpoints, on_progress };
                let windows = self.params.windows;
                let trained = fine_tune_classes_on(device, &encoder, learned, own, windows, call);
                let trained = trained.map_err(model_error)?;
                let (head, vectors) = self.head_of(&trained, &encoder, &tokenizer, train)?;
                (Trained { encoder: trained, head }, Some(vectors))
            }
            _ => {
                let (options, count) = (self.params.fine_tuning(), prepared.labels.count());
                let call = TrainCall { options: &options, checkpoints, on_progress };
                let trained = fine_tune_on(device, &encoder, count, learned, own, call);
                (trained.map_err(model_error)?, None)
            }
        };
        let facts = training::facts(&trained.encoder, rate);
        let config = encoder.config().clone();
        let write = move |settings: &ClassifierSettings, origin: &TrainedOrigin| {
            ArtifactFiles::of_trained(&trained, &config, &tokenizer, settings, origin)
        };
        let files =
            write(&self.plain_settings(), &self.origin_of(Vec::new())).map_err(model_error)?;
        let artifact = files.artifact().map_err(model_error)?;
        let classifier = Classifier::load(&artifact, None);
        let classifier = classifier.map_err(model_error)?;
        Ok((Raw { classifier, write: Box::new(write), facts }, vectors))
    }

    /// A head on the vectors of a trained encoder, and these.
    fn head_of(
        &self,
        trained: &TrainedEncoder,
        base: &Embedder,
        tokenizer: &[u8],
        train: &[usize],
    ) -> Result<(Head, Vec<f32>)> {
        let origin = self.origin_of(Vec::new());
        let files = ArtifactFiles::of_encoder(trained, base.config(), tokenizer, &origin);
        let files = files.map_err(model_error)?;
        let artifact = files.artifact().map_err(model_error)?;
        let encoder = Embedder::load(&artifact).map_err(model_error)?;
        let vectors = self.embed(&encoder, train, 0.75, 0.85)?;
        let mut go_on = |_: &HeadProgress| self.go_on();
        let (options, count) = (self.params.head(), self.prepared.labels.count());
        let classes = self.prepared.classes(train);
        let trained = Head::train(&vectors, &classes, count, &options, &mut go_on);
        Ok((trained.map_err(model_error)?.0, vectors))
    }

    fn origin(&self, scores: &Scores, on: &str) -> TrainedOrigin {
        let measured = [("accuracy", scores.accuracy), ("macro_f1", scores.macro_f1)];
        self.origin_of(
            measured
                .iter()
                .map(|(measure, value)| Evaluation {
                    measure: (*measure).into(),
                    value: *value,
                    on: on.into(),
                })
                .collect(),
        )
    }

    fn origin_of(&self, evaluation: Vec<Evaluation>) -> TrainedOrigin {
        TrainedOrigin {
            name: self.params.model.clone(),
            description: format!(
                "Tells the column {} of {} from its texts{}",
                self.params.label_column,
                self.params.dataset,
                match self.prepared.numbers.count() {
                    0 => String::new(),
                    _ => format!(" and its columns {}", self.params.feature_columns.join(", ")),
                }
            ),
            training_data: self.trained_on.clone(),
            evaluation,
            licence: "LicenseRef-own-data".into(),
        }
    }

    pub(super) fn logits(&self, classifier: &Classifier, rows: &[usize]) -> Result<Vec<f32>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ClassifierSettings { fields, numbers, .. } = classifier.settings();
        let texts = self.prepared.inputs(rows, *fields);
        let rows = Inputs { texts: &texts, numbers: &self.prepared.numbers(rows, numbers) };
        let stop = |_: models::Progress| self.go_on();
        let options = EmbedOptions { progress: Some(&stop), ..EmbedOptions::default() };
        Ok(classifier.logits(rows, &options).map_err(model_error)?.values)
    }

    /// Of a classifier that this trains, before it is calibrated.
    fn plain_settings(&self) -> ClassifierSettings {
        ClassifierSettings {
            windows: self.params.windows_read(),
            fields: self.params.fields(),
            columns: self.params.text_columns.clone(),
            numbers: self.prepared.numbers.clone(),
            ..ClassifierSettings::new(self.prepared.labels.clone())
        }
    }

    /// The vectors of rows, with their numbers.
    fn embed(
        &self,
        encoder: &dyn TextEmbedder,
        rows: &[usize],
        from: f64,
        to: f64,
    ) -> Result<Vec<f32>> {
        let fields = self.params.fields();
        let texts = self.prepared.inputs(rows, fields);
        let report = |progress: models::Progress| {
            (self.tell)(from + (to - from) * progress.texts as f64 / texts.len().max(1) as f64);
            self.go_on()
        };
        let windows = self.params.windows_read();
        let options = EmbedOptions { progress: Some(&report), windows, ..EmbedOptions::default() };
        let found = embed_fields(encoder, &texts, fields, &options).map_err(model_error)?;
        let numbers = &self.prepared.numbers;
        let found = numbers.beside(found, &self.prepared.numbers(rows, numbers));
        Ok(found.map_err(model_error)?.values)
    }

    fn go_on(&self) -> ControlFlow<()> {
        match self.cancellation.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
