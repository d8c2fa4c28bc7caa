//! Models: the artifact format, the text embedders, and where their weights come from.
//!
//! An artifact is a folder of three things: the weights as one safetensors file, the tokenizer where there
//! is one, and `card.json`, the [`Card`] that says what the model is, what it was trained on and how good it
//! is, and that names the other two by their SHA-256. Safetensors, because reading it runs no code and
//! needs no trust beyond a bounds check.
//!
//! ```text
//!  artifact/
//!    card.json            Card: names, hashes, training data, evaluation, licence
//!    <sha256>.safetensors weights: 8-byte header length, JSON header, tensors
//!    tokenizer.json       optional
//! ```
//!
//! A [`TextEmbedder`] turns texts into vectors. [`Embedder`] is a BERT encoder, whose network is in the crate `networks`;
//! [`pull`] brings a known one here, [`ArtifactFiles::import`] any other of the
//! family. [`NgramEmbedder`] needs no model at all.
//!
//! ```no_run
//! use models::{ArtifactFiles, EmbedOptions, Embedder, TextEmbedder};
//!
//! # fn main() -> models::Result<()> {
//! let files = ArtifactFiles::read("models/all-MiniLM-L6-v2".as_ref())?;
//! let embedder = Embedder::load(&files.artifact()?)?;
//! let embeddings = embedder.embed(&["My card has not arrived"], &EmbedOptions::default())?;
//! assert_eq!(embeddings.values.len(), 384);
//! # Ok(())
//! # }
//! ```

mod artifact;
mod autoencoder;
mod card;
mod classifier;
mod device;
mod embedder;
mod embedding;
mod encoder;
mod error;
mod evaluation;
mod folder;
mod foresight;
mod hash;
mod known;
mod ngram;
#[cfg(test)]
mod published_tests;
mod pull;
mod safetensors;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod tokens;
mod training;

pub use artifact::{Artifact, ArtifactManifest, CARD_FILE, TOKENIZER_FILE};
pub use autoencoder::{AUTOENCODER_COLUMNS_MAX, Autoencoder, AutoencoderOptions};
pub use card::{CARD_BYTES_MAX, Card, DatasetVersion, Evaluation, TrainingData};
pub use classifier::{
    BERT_CLASSIFIER, Classified, Classifier, ClassifierSettings, ClassifyOptions, FIELDS_MAX,
    Inputs, LINEAR_CLASSIFIER, Logits, NUMBERS_MAX, Numbers, Prediction, dimension_of,
    embed_fields, encoder_of,
};
pub use device::{
    CUDA_ENCODERS_ABSENT, EncoderDevice, embedder_on, estimate_classes_on, estimate_on,
    estimate_pairs_on, fine_tune_classes_on, fine_tune_on, fine_tune_pairs_on,
};
pub use embedder::{Embedder, WINDOWS_MAX};
pub use embedding::{
    EmbedOptions, EmbedderId, Embeddings, Progress, Role, TEXTS_MAX, TextEmbedder,
};
pub use encoder::{ARCHITECTURE, EncoderConfig, SettingsFiles, supported_encoders};
pub use error::{Attempt, Error, Result};
pub use evaluation::{
    Aim, Calibration, ClassScores, Comparison, InScope, NO_THRESHOLD, Retrieval, ScopeReport,
    Score, Scores, Threshold, auroc, calibration_error, calibration_error_interval,
    choose_threshold, compare, confirmed_temperature, fit_temperature, macro_f1_interval,
    retrieval, scope_report, scores, separates_better,
};
pub use folder::{ArtifactFiles, Origin, TrainedOrigin, WEIGHTS_BYTES_MAX, read_card};
pub use foresight::{ForesightNetwork, ForesightOptions, ForesightRows, Foretold};
pub use hash::Sha256Hash;
pub use known::{ALL_MINILM_L6_V2, KnownFile, KnownModel, KnownWheel, known_models};
pub use ngram::{NGRAM, NgramEmbedder, NgramOptions};
pub use pull::{
    Body, Fetcher, OnProgress, PullOptions, PullProgress, Pulled, Source, Taken, default_sources,
    pull,
};
pub use safetensors::{ElementType, HEADER_BYTES_MAX, TENSORS_MAX, TensorInfo, Weights};
pub use tokens::{TEXT_BYTES_MAX, TOKENIZER_BYTES_MAX, Tokenizer, Tokens};
pub use training::{
    AdamW, BATCH_ROWS_MAX, CheckpointOptions, ClassWeights, ContrastiveOptions, Cost, DataReport,
    EPOCHS_MAX, EpochReport, Estimate, Examples, FineTuneOptions, FoldAnswer, Grouped, Head,
    HeadOptions, HeadOutcome, HeadProgress, Issue, LABEL_BYTES_MAX, LABELS_MAX, Labels, Method,
    NoiseCandidate, OnHeadProgress, OnTrainProgress, Pairs, RANK_MAX, ReadLabels, RowQuality,
    Split, Tables, TrainCall, TrainOptions, TrainProgress, Trained, TrainedEncoder, describe,
    estimate, estimate_classes, estimate_pairs, fine_tune, fine_tune_classes, fine_tune_pairs,
    fold_answers, label_noise, repeated_across, row_quality, same_text_groups, split,
};

pub use networks::{BertConfig, Parameter, Pooling};
