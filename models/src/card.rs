//! The card of a model: what a person must know before using it, and what a program must check before
//! loading it. It is written once, with the weights, and never changed afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::hash::Sha256Hash;

/// Largest `card.json` in bytes.
pub const CARD_BYTES_MAX: usize = 1 << 20;
/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 128;

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// One line of what it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The kind of network, as the code that builds it is called: `bert`, …
    pub architecture: String,
    /// What the network is built with: layers, dimensions, pooling, …
    #[serde(default)]
    pub hyperparameters: BTreeMap<String, Value>,
    /// Number of weights.
    pub parameters: u64,
    /// SHA-256 of the weights file.
    pub weights_sha256: Sha256Hash,
    /// SHA-256 of the tokenizer file, for a model that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_sha256: Option<Sha256Hash>,
    /// What it was trained on.
    pub training_data: TrainingData,
    /// How good it is, on what.
    #[serde(default)]
    pub evaluation: Vec<Evaluation>,
    /// SPDX expression of the weights' licence, `LicenseRef-…` for one that SPDX does not list.
    pub licence: String,
    /// Where it comes from, when it was not trained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What a model was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainingData {
    /// Datasets at the versions that the training run pinned.
    Datasets(Vec<DatasetVersion>),
    /// Data that is not ours, in words.
    Elsewhere(String),
}

/// A dataset at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetVersion {
    /// The dataset's name.
    pub dataset: String,
    /// The version.
    pub version: u64,
}

/// A measured quality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What was measured: `accuracy`, `macro_f1`, …
    pub measure: String,
    /// The result.
    pub value: f64,
    /// On what: `tickets@12 test split`.
    pub on: String,
}

impl Card {
    /// Reads and checks `card.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > CARD_BYTES_MAX {
            return Err(Error::Limit {
                part: "card",
                found: bytes.len() as u64,
                limit: CARD_BYTES_MAX as u64,
                unit: "bytes",
            });
        }
        let card: Self =
            serde_json::from_slice(bytes).map_err(|e| Error::Card { problem: e.to_string() })?;
        card.check()?;
        Ok(card)
    }

    /// Writes `card.json`, for people to read: indented, a line end last.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::Card { problem: format!("as JSON: {e}") })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Checks what the types can't.
    pub fn check(&self) -> Result<()> {
        let fail = |problem: String| Err(Error::Card { problem });
        let name_fits = (1..=NAME_BYTES_MAX).contains(&self.name.len())
            && self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !name_fits {
            let shown: String = self.name.chars().take(80).collect();
            return fail(format!(
                "name {shown:?}: expected 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`, \
                 a letter or digit first"
            ));
        }
        for (field, text) in [("architecture", &self.architecture), ("licence", &self.licence)] {
            if text.trim().is_empty() {
                return fail(format!("{field}: expected a text, found none"));
            }
        }
        match &self.training_data {
            TrainingData::Datasets(datasets) if datasets.is_empty() => {
                fail("training_data: expected at least one dataset, found none".into())
            }
            TrainingData::Elsewhere(words) if words.trim().is_empty() => fail(
                "training_data: expected where the data comes from, found an empty text".into(),
            ),
            _ => match self.evaluation.iter().find(|e| !e.value.is_finite()) {
                Some(e) => fail(format!("evaluation {:?}: expected a finite value", e.measure)),
                None => Ok(()),
            },
        }
    }
}
