//! Classifiers as artifacts: a card, one file of weights, and, where the encoder is inside, its tokenizer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Classifier, ClassifierSettings};
use crate::artifact::Artifact;
use crate::bert::{Bert, EncoderBackend, EncoderConfig, published, read_numbers};
use crate::card::{Card, Evaluation, TrainingData};
use crate::embedder::Embedder;
use crate::embedding::{EmbedderId, TextEmbedder};
use crate::error::{Error, Result};
use crate::folder::ArtifactFiles;
use crate::hash::Sha256Hash;
use crate::safetensors::{ElementType, Weights};
use crate::tokens::Tokenizer;
use crate::training::{Head, Trained};

/// The architecture of a classifier that has its encoder inside.
pub const BERT_CLASSIFIER: &str = "bert-classifier";
/// The architecture of one that names its encoder.
pub const LINEAR_CLASSIFIER: &str = "linear-classifier";
/// The head's tensors: `[classes, dimension]`, as published classifiers have it, and `[classes]`.
const WEIGHT: &str = "classifier.weight";
const BIAS: &str = "classifier.bias";
/// The fields of a card that say what the encoder is.
const ENCODER: &str = "encoder";
const EMBEDDER: &str = "embedder";

/// What is to be said of a classifier and its files do not say.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierOrigin {
    /// Its name.
    pub name: String,
    /// One line of what it is for.
    pub description: String,
    /// What it was trained on.
    pub training_data: TrainingData,
    /// How good it is.
    pub evaluation: Vec<Evaluation>,
    /// SPDX expression of its licence: the encoder's, and the data's, allow what they allow.
    pub licence: String,
}

impl ArtifactFiles {
    /// A classifier whose encoder stayed as it was.
    pub fn of_head(
        head: &Head,
        encoder: &EmbedderId,
        settings: &ClassifierSettings,
        origin: &ClassifierOrigin,
    ) -> Result<Self> {
        let mut hyperparameters = settings.to_hyperparameters()?;
        let named = json!({"name": encoder.name, "version": encoder.version});
        hyperparameters.insert(EMBEDDER.to_owned(), named);
        write(LINEAR_CLASSIFIER, tensors_of(head), hyperparameters, None, origin)
    }

    /// A classifier whose encoder was fine-tuned. `tokenizer`: the bytes of that which the encoder was trained with.
    pub fn of_trained<B: EncoderBackend>(
        trained: &Trained<B>,
        config: &EncoderConfig,
        tokenizer: &[u8],
        settings: &ClassifierSettings,
        origin: &ClassifierOrigin,
    ) -> Result<Self> {
        let mut hyperparameters = settings.to_hyperparameters()?;
        let encoder = config.to_hyperparameters()?.into_iter().collect();
        hyperparameters.insert(ENCODER.to_owned(), Value::Object(encoder));
        let mut tensors = published(&trained.network)?;
        tensors.extend(tensors_of(&trained.head));
        write(BERT_CLASSIFIER, tensors, hyperparameters, Some(tokenizer), origin)
    }
}

impl<B: EncoderBackend> Classifier<B> {
    /// The classifier of an artifact. `encoder`: the one that the card names, for a classifier that has none inside.
    ///
    /// Fails for another architecture, for another encoder than the named one, for weights that do not fit the labels,
    /// and for a tokenizer of another model.
    pub fn load(
        artifact: &Artifact<'_>,
        encoder: Option<Arc<dyn TextEmbedder>>,
        device: &B::Device,
    ) -> Result<Self> {
        let card = artifact.card();
        let settings = ClassifierSettings::from_card(card)?;
        let encoder: Arc<dyn TextEmbedder> = match card.architecture.as_str() {
            BERT_CLASSIFIER => Arc::new(encoder_inside::<B>(artifact, device)?),
            LINEAR_CLASSIFIER => encoder_named(card, encoder)?,
            other => {
                return Err(Error::Architecture {
                    found: other.to_owned(),
                    supported: format!("{BERT_CLASSIFIER}, {LINEAR_CLASSIFIER}"),
                });
            }
        };
        let (count, dimension) = (settings.labels.count(), encoder.dimension());
        let turned = read_numbers(artifact.weights(), WEIGHT, &[count, dimension])?;
        let weight = (0..dimension)
            .flat_map(|row| turned.iter().skip(row).step_by(dimension).copied())
            .collect();
        let head = Head { weight, bias: read_numbers(artifact.weights(), BIAS, &[count])? };
        Self::new(encoder, head, settings, device)
    }
}

pub(super) fn encoder_inside<B: EncoderBackend>(
    artifact: &Artifact<'_>,
    device: &B::Device,
) -> Result<Embedder<B>> {
    let card = artifact.card();
    let config = card.hyperparameters.get(ENCODER).cloned().unwrap_or_default();
    let config: EncoderConfig = serde_json::from_value(config)
        .map_err(|e| Error::Config { problem: format!("hyperparameters: {ENCODER}: {e}") })?;
    config.check()?;
    let tokenizer = artifact.tokenizer().ok_or(Error::Part {
        part: "tokenizer",
        expected: "one, as a text encoder needs it",
        found: "none",
    })?;
    let tokenizer = Tokenizer::read(tokenizer, config.network.vocab_size, config.tokens_max)?;
    let network = Bert::load(&config.network, artifact.weights(), device)?;
    let version = card.weights_sha256.to_string().chars().take(16).collect();
    let id = EmbedderId { name: card.name.clone(), version };
    Ok(Embedder::assemble(id, config, tokenizer, network))
}

/// The encoder that the card of a [`LINEAR_CLASSIFIER`] names; none, where it has its own.
pub fn encoder_of(card: &Card) -> Option<EmbedderId> {
    let id = card.hyperparameters.get(EMBEDDER)?;
    let of = |field: &str| id.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(EmbedderId { name: of("name")?, version: of("version")? })
}

/// Numbers of a vector that the head of a classifier takes.
pub fn dimension_of(artifact: &Artifact<'_>) -> Option<usize> {
    artifact.weights().tensors().get(WEIGHT)?.shape.get(1).copied()
}

fn encoder_named(
    card: &Card,
    encoder: Option<Arc<dyn TextEmbedder>>,
) -> Result<Arc<dyn TextEmbedder>> {
    let expected = encoder_of(card).ok_or_else(|| Error::Config {
        problem: format!("hyperparameters: {EMBEDDER}: expected a name and a version"),
    })?;
    match encoder {
        Some(encoder) if *encoder.id() == expected => Ok(encoder),
        other => Err(Error::Config {
            problem: format!(
                "encoder: expected {expected}, whose vectors it was trained on, found {}",
                other.map_or("none".into(), |encoder| encoder.id().to_string())
            ),
        }),
    }
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors_of(head: &Head) -> Tensors {
    let (count, dimension) = (head.classes(), head.dimension());
    let turned = (0..count)
        .flat_map(|column| head.weight.iter().skip(column).step_by(count).copied())
        .collect();
    BTreeMap::from([
        (WEIGHT.to_owned(), (vec![count, dimension], turned)),
        (BIAS.to_owned(), (vec![count], head.bias.clone())),
    ])
}

fn write(
    architecture: &str,
    tensors: Tensors,
    hyperparameters: BTreeMap<String, Value>,
    tokenizer: Option<&[u8]>,
    origin: &ClassifierOrigin,
) -> Result<ArtifactFiles> {
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, (shape, values))| {
            (name, (shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| (name.clone(), (ElementType::F32, shape.clone(), &bytes[..])))
        .collect();
    let weights = Weights::write(&views, &BTreeMap::new())?;
    let card = Card {
        name: origin.name.clone(),
        description: origin.description.clone(),
        architecture: architecture.to_owned(),
        hyperparameters,
        parameters: Weights::read(&weights)?.parameters(),
        weights_sha256: Sha256Hash::of(&weights),
        tokenizer_sha256: tokenizer.map(Sha256Hash::of),
        training_data: origin.training_data.clone(),
        evaluation: origin.evaluation.clone(),
        licence: origin.licence.clone(),
        source: None,
    };
    Ok(ArtifactFiles { card: card.to_json()?, weights, tokenizer: tokenizer.map(<[u8]>::to_vec) })
}
