//! Classifiers as artifacts: a card, one file of weights, and, where the encoder is inside, its tokenizer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Classifier, ClassifierSettings};
use crate::artifact::Artifact;
use crate::card::Card;
use crate::embedder::Embedder;
use crate::embedding::{EmbedderId, TextEmbedder};
use crate::encoder::{EncoderConfig, Published, published, read_numbers, weights_of};
use crate::error::{Error, Result};
use crate::folder::{ArtifactFiles, TrainedOrigin};
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

impl ArtifactFiles {
    /// A classifier whose encoder stayed as it was.
    pub fn of_head(
        head: &Head,
        encoder: &EmbedderId,
        settings: &ClassifierSettings,
        origin: &TrainedOrigin,
    ) -> Result<Self> {
        let mut hyperparameters = settings.to_hyperparameters()?;
        let named = json!({"name": encoder.name, "version": encoder.version});
        hyperparameters.insert(EMBEDDER.to_owned(), named);
        Self::trained(LINEAR_CLASSIFIER, tensors_of(head), hyperparameters, None, origin)
    }

    /// A classifier whose encoder was fine-tuned. `tokenizer`: the bytes of that which the encoder was trained with.
    pub fn of_trained(
        trained: &Trained,
        config: &EncoderConfig,
        tokenizer: &[u8],
        settings: &ClassifierSettings,
        origin: &TrainedOrigin,
    ) -> Result<Self> {
        let mut hyperparameters = settings.to_hyperparameters()?;
        let encoder = config.to_hyperparameters()?.into_iter().collect();
        hyperparameters.insert(ENCODER.to_owned(), Value::Object(encoder));
        let mut tensors = published(&trained.encoder.weights)?;
        tensors.extend(tensors_of(&trained.head));
        Self::trained(BERT_CLASSIFIER, tensors, hyperparameters, Some(tokenizer), origin)
    }
}

impl Classifier {
    /// The classifier of an artifact. `encoder`: the one that the card names, for a classifier that has none inside.
    ///
    /// Fails for another architecture, for another encoder than the named one, for weights that do not fit the labels,
    /// and for a tokenizer of another model.
    pub fn load(artifact: &Artifact<'_>, encoder: Option<Arc<dyn TextEmbedder>>) -> Result<Self> {
        let card = artifact.card();
        let settings = ClassifierSettings::from_card(card)?;
        let encoder: Arc<dyn TextEmbedder> = match card.architecture.as_str() {
            BERT_CLASSIFIER => Arc::new(encoder_inside(artifact)?),
            LINEAR_CLASSIFIER => encoder_named(card, encoder)?,
            other => {
                return Err(Error::Architecture {
                    found: other.to_owned(),
                    supported: format!("{BERT_CLASSIFIER}, {LINEAR_CLASSIFIER}"),
                });
            }
        };
        let (count, dimension) = (settings.labels.count(), settings.dimension(encoder.dimension()));
        let turned = read_numbers(artifact.weights(), WEIGHT, &[count, dimension])?;
        let weight = (0..dimension)
            .flat_map(|row| turned.iter().skip(row).step_by(dimension).copied())
            .collect();
        let head = Head { weight, bias: read_numbers(artifact.weights(), BIAS, &[count])? };
        Self::new(encoder, head, settings)
    }
}

pub(super) fn encoder_inside(artifact: &Artifact<'_>) -> Result<Embedder> {
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
    let weights = weights_of(&config.network, artifact.weights())?;
    let version = card.weights_sha256.to_string().chars().take(16).collect();
    let id = EmbedderId { name: card.name.clone(), version };
    Embedder::assemble(id, config, tokenizer, weights)
}

/// The encoder that the card of a [`LINEAR_CLASSIFIER`] names; none, where it has its own.
pub fn encoder_of(card: &Card) -> Option<EmbedderId> {
    let id = card.hyperparameters.get(EMBEDDER)?;
    let of = |field: &str| id.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(EmbedderId { name: of("name")?, version: of("version")? })
}

/// Numbers of an encoder's vector by the head of a classifier, which takes one for each field of a row.
pub fn dimension_of(artifact: &Artifact<'_>) -> Option<usize> {
    let of_row = artifact.weights().tensors().get(WEIGHT)?.shape.get(1).copied()?;
    let settings = ClassifierSettings::from_card(artifact.card()).ok()?;
    Some(of_row.checked_sub(settings.numbers.width())? / settings.fields)
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

fn tensors_of(head: &Head) -> Published {
    let (count, dimension) = (head.classes(), head.dimension());
    let turned = (0..count)
        .flat_map(|column| head.weight.iter().skip(column).step_by(count).copied())
        .collect();
    BTreeMap::from([
        (WEIGHT.to_owned(), (vec![count, dimension], turned)),
        (BIAS.to_owned(), (vec![count], head.bias.clone())),
    ])
}
