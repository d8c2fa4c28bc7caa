//! An artifact in a folder of the local file system, and published models on their way to becoming one. A folder
//! is whole when it has a `card.json`: that is written last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::artifact::{Artifact, ArtifactManifest, CARD_FILE, TOKENIZER_FILE};
use crate::card::{CARD_BYTES_MAX, Card, Evaluation, TrainingData};
use crate::encoder::{ARCHITECTURE, EncoderConfig, Published, SettingsFiles, published};
use crate::error::{Error, Result};
use crate::hash::Sha256Hash;
use crate::safetensors::{ElementType, Weights};
use crate::tokens::TOKENIZER_BYTES_MAX;
use crate::training::TrainedEncoder;

/// Largest weights file in bytes: they are held in memory.
pub const WEIGHTS_BYTES_MAX: u64 = 4 << 30;
/// Largest file of settings in bytes.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
/// The files of a published encoder.
pub(crate) const PUBLISHED_WEIGHTS: &str = "model.safetensors";
pub(crate) const PUBLISHED_CONFIG: &str = "config.json";
const PUBLISHED_POOLING: &str = "1_Pooling/config.json";
const PUBLISHED_SENTENCE: &str = "sentence_bert_config.json";

/// The bytes of an artifact's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactFiles {
    /// `card.json`.
    pub card: Vec<u8>,
    /// The weights.
    pub weights: Vec<u8>,
    /// The tokenizer, when the card names one.
    pub tokenizer: Option<Vec<u8>>,
}

/// What a published model's files do not say about it and a card must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name; of a known family's, what is known of the family holds for it, too.
    pub name: String,
    /// One line of what it is for.
    pub description: String,
    /// What it was trained on, in words.
    pub training_data: String,
    /// SPDX expression of the weights' licence.
    pub licence: String,
    /// Where it comes from.
    pub source: Option<String>,
}

/// What is to be said of a model that was trained here, and its files do not say.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedOrigin {
    /// Its name.
    pub name: String,
    /// One line of what it is for.
    pub description: String,
    /// What it was trained on.
    pub training_data: TrainingData,
    /// How good it is.
    pub evaluation: Vec<Evaluation>,
    /// SPDX expression of its licence: that which it was trained from, and the data's, allow what they allow.
    pub licence: String,
}

impl ArtifactFiles {
    /// An encoder that was trained further: it is loaded as any other. `config` and `tokenizer` are those that it was
    /// trained with.
    pub fn of_encoder(
        trained: &TrainedEncoder,
        config: &EncoderConfig,
        tokenizer: &[u8],
        origin: &TrainedOrigin,
    ) -> Result<Self> {
        let (tensors, settings) = (published(&trained.weights)?, config.to_hyperparameters()?);
        Self::trained(ARCHITECTURE, tensors, settings, Some(tokenizer), origin)
    }

    /// The artifact of these tensors.
    pub(crate) fn trained(
        architecture: &str,
        tensors: Published,
        hyperparameters: BTreeMap<String, Value>,
        tokenizer: Option<&[u8]>,
        origin: &TrainedOrigin,
    ) -> Result<Self> {
        let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
            .into_iter()
            .map(|(name, (shape, values))| {
                (name, (shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()))
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, (shape, bytes))| {
                (name.clone(), (ElementType::F32, shape.clone(), &bytes[..]))
            })
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
        Ok(Self { card: card.to_json()?, weights, tokenizer: tokenizer.map(<[u8]>::to_vec) })
    }

    /// Reads the folder of an artifact. What is read is checked by [`ArtifactFiles::artifact`].
    pub fn read(folder: &Path) -> Result<Self> {
        let card = read_card(folder)?;
        let manifest = ArtifactManifest::from_card(&card)?;
        let weights = read_file(folder, &manifest.weights_file, WEIGHTS_BYTES_MAX)?;
        let tokenizer = manifest
            .tokenizer_file
            .map(|file| read_file(folder, file, TOKENIZER_BYTES_MAX as u64))
            .transpose()?;
        Ok(Self { card, weights, tokenizer })
    }

    /// Reads the folder of a published encoder (`config.json`, `model.safetensors`, `tokenizer.json` and, where
    /// there are, `1_Pooling/config.json` and `sentence_bert_config.json`) and writes its card. Fails for an
    /// architecture that can't be built, and lists those that can.
    pub fn import(folder: &Path, origin: &Origin) -> Result<Self> {
        let small = |file| read_file(folder, file, SETTINGS_BYTES_MAX);
        let optional =
            |file| if folder.join(file).exists() { small(file).map(Some) } else { Ok(None) };
        let config = small(PUBLISHED_CONFIG)?;
        let (pooling, sentence) = (optional(PUBLISHED_POOLING)?, optional(PUBLISHED_SENTENCE)?);
        let settings = EncoderConfig::from_files(
            &origin.name,
            &SettingsFiles {
                config: &config,
                pooling: pooling.as_deref(),
                sentence: sentence.as_deref(),
            },
        )?;
        let tokenizer = read_file(folder, TOKENIZER_FILE, TOKENIZER_BYTES_MAX as u64)?;
        let weights = read_file(folder, PUBLISHED_WEIGHTS, WEIGHTS_BYTES_MAX)?;
        let card = encoder_card(origin, &settings, &weights, &tokenizer)?.to_json()?;
        Ok(Self { card, weights, tokenizer: Some(tokenizer) })
    }

    /// Writes the folder of an artifact, the card last.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let manifest = ArtifactManifest::from_card(&self.card)?;
        fs::create_dir_all(folder).map_err(|e| file_error("the artifact's folder", &e))?;
        write_file(folder, &manifest.weights_file, &self.weights)?;
        if let (Some(name), Some(tokenizer)) = (manifest.tokenizer_file, &self.tokenizer) {
            write_file(folder, name, tokenizer)?;
        }
        write_file(folder, CARD_FILE, &self.card)
    }

    /// The artifact, every byte checked against the card.
    pub fn artifact(&self) -> Result<Artifact<'_>> {
        Artifact::read(&self.card, &self.weights, self.tokenizer.as_deref())
    }
}

/// The card of a published encoder.
pub(crate) fn encoder_card(
    origin: &Origin,
    settings: &EncoderConfig,
    weights: &[u8],
    tokenizer: &[u8],
) -> Result<Card> {
    Ok(Card {
        name: origin.name.rsplit('/').next().unwrap_or(&origin.name).to_owned(),
        description: origin.description.clone(),
        architecture: ARCHITECTURE.to_owned(),
        hyperparameters: settings.to_hyperparameters()?,
        parameters: Weights::read(weights)?.parameters(),
        weights_sha256: Sha256Hash::of(weights),
        tokenizer_sha256: Some(Sha256Hash::of(tokenizer)),
        training_data: TrainingData::Elsewhere(origin.training_data.clone()),
        evaluation: Vec::new(),
        licence: origin.licence.clone(),
        source: origin.source.clone(),
    })
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_file(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| file_error(name, &e);
    let mut bytes = Vec::new();
    let file = File::open(folder.join(name)).map_err(fail)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        let problem = format!("expected at most {limit} bytes, found more");
        return Err(Error::File { file: name.to_owned(), problem });
    }
    Ok(bytes)
}

/// The card of a model in a folder, as it is.
pub fn read_card(folder: &Path) -> Result<Vec<u8>> {
    read_file(folder, CARD_FILE, CARD_BYTES_MAX as u64)
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let part = folder.join(format!("{name}.part"));
    let write = || {
        fs::write(&part, bytes)?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, folder.join(name))
    };
    write().map_err(|e| file_error(name, &e))
}

pub(crate) fn file_error(name: &str, error: &std::io::Error) -> Error {
    Error::File { file: name.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use networks::Pooling;

    use super::*;
    use crate::embedder::Embedder;
    use crate::encoder::{tiny_config, tiny_weights};
    use crate::tokens::tests::tokenizer_bytes;

    pub fn origin(name: &str) -> Origin {
        Origin {
            name: name.into(),
            description: String::new(),
            training_data: "Sentence pairs".into(),
            licence: "Apache-2.0".into(),
            source: None,
        }
    }

    fn published(folder: &Path, model_type: &str) {
        let config = tiny_config(Pooling::Mean);
        let mut json = serde_json::to_value(&config.network).unwrap();
        json["model_type"] = model_type.into();
        fs::write(folder.join(PUBLISHED_CONFIG), json.to_string()).unwrap();
        fs::write(folder.join(PUBLISHED_WEIGHTS), tiny_weights(&config, 1)).unwrap();
        fs::write(folder.join(TOKENIZER_FILE), tokenizer_bytes()).unwrap();
    }

    #[test]
    fn a_published_folder_becomes_an_artifact_that_embeds() {
        let folder = tempfile::tempdir().unwrap();
        published(folder.path(), "bert");
        let files =
            ArtifactFiles::import(folder.path(), &origin("BAAI/bge-small-en-v1.5")).unwrap();
        let embedder = Embedder::load(&files.artifact().unwrap()).unwrap();
        assert_eq!(embedder.config().pooling, Pooling::Cls);
        assert_eq!(embedder.config().tokens_max, 40);

        let store = tempfile::tempdir().unwrap();
        let manifest = ArtifactManifest::from_card(&files.card).unwrap();
        assert_eq!(manifest.card.name, "bge-small-en-v1.5");
        write_file(store.path(), CARD_FILE, &files.card).unwrap();
        write_file(store.path(), &manifest.weights_file, &files.weights).unwrap();
        write_file(store.path(), TOKENIZER_FILE, files.tokenizer.as_ref().unwrap()).unwrap();
        assert_eq!(ArtifactFiles::read(store.path()).unwrap(), files);

        let pooling = folder.path().join("1_Pooling");
        fs::create_dir(&pooling).unwrap();
        fs::write(pooling.join("config.json"), r#"{"pooling_mode_mean_tokens": true}"#).unwrap();
        let files = ArtifactFiles::import(folder.path(), &origin("own")).unwrap();
        let config = EncoderConfig::from_card(files.artifact().unwrap().card()).unwrap();
        assert_eq!(config.pooling, Pooling::Mean);
    }

    #[test]
    fn what_is_missing_or_unsupported_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let import = || ArtifactFiles::import(folder.path(), &origin("e5-small-v2")).unwrap_err();
        assert!(import().to_string().starts_with("config.json: "));
        published(folder.path(), "roberta");
        let message = import().to_string();
        assert!(message.starts_with("architecture: model_type roberta; supported: "), "{message}");
        published(folder.path(), "bert");
        fs::remove_file(folder.path().join(PUBLISHED_WEIGHTS)).unwrap();
        assert!(import().to_string().starts_with("model.safetensors: "));
        let empty = ArtifactFiles::read(folder.path()).unwrap_err().to_string();
        assert!(empty.starts_with("card.json: "), "{empty}");
        let message = read_file(folder.path(), TOKENIZER_FILE, 3).unwrap_err().to_string();
        assert_eq!(message, "tokenizer.json: expected at most 3 bytes, found more");
    }
}
