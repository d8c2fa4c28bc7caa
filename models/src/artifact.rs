//! An artifact as a whole: the parts in one hand, checked against the card. A model that is loaded is one
//! whose every byte is what the card says; there is no way to get an [`Artifact`] that is not.

use crate::card::Card;
use crate::error::{Error, Result};
use crate::hash::Sha256Hash;
use crate::safetensors::Weights;

/// The file that holds the card.
pub const CARD_FILE: &str = "card.json";
/// The file that holds the tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The files that an artifact is made of, from its card alone: what to fetch, and what it must hash to.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactManifest {
    /// The card.
    pub card: Card,
    /// Name of the weights file in the artifact's folder.
    pub weights_file: String,
    /// Name of the tokenizer file, for a model that has one.
    pub tokenizer_file: Option<&'static str>,
}

/// A whole artifact.
#[derive(Clone, Debug)]
pub struct Artifact<'a> {
    manifest: ArtifactManifest,
    weights: Weights<'a>,
    tokenizer: Option<&'a [u8]>,
}

impl ArtifactManifest {
    /// Reads the manifest from the bytes of `card.json`.
    pub fn from_card(bytes: &[u8]) -> Result<Self> {
        Ok(Self::of(Card::from_json(bytes)?))
    }

    /// The manifest of a card.
    pub fn of(card: Card) -> Self {
        Self {
            weights_file: format!("{}.safetensors", card.weights_sha256),
            tokenizer_file: card.tokenizer_sha256.map(|_| TOKENIZER_FILE),
            card,
        }
    }
}

impl<'a> Artifact<'a> {
    /// Puts the parts together. Fails with the expected and the found hash, with the place in a header that
    /// is wrong, or when the weights hold another number of parameters than the card says.
    pub fn read(card: &[u8], weights: &'a [u8], tokenizer: Option<&'a [u8]>) -> Result<Self> {
        let manifest = ArtifactManifest::from_card(card)?;
        check_hash("weights", manifest.card.weights_sha256, weights)?;
        match (manifest.card.tokenizer_sha256, tokenizer) {
            (Some(expected), Some(bytes)) => check_hash("tokenizer", expected, bytes)?,
            (None, None) => {}
            (Some(_), None) => {
                return Err(Error::Part {
                    part: "tokenizer",
                    expected: "the one that the card names",
                    found: "none",
                });
            }
            (None, Some(_)) => {
                return Err(Error::Part {
                    part: "tokenizer",
                    expected: "none, as the card names none",
                    found: "one",
                });
            }
        }
        let weights = Weights::read(weights)?;
        let (expected, found) = (manifest.card.parameters, weights.parameters());
        if expected != found {
            return Err(Error::Weights {
                problem: format!("expected {expected} parameters, as the card says, found {found}"),
            });
        }
        Ok(Self { manifest, weights, tokenizer })
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.manifest.card
    }

    /// The files.
    pub fn manifest(&self) -> &ArtifactManifest {
        &self.manifest
    }

    /// The weights.
    pub fn weights(&self) -> &Weights<'a> {
        &self.weights
    }

    /// The tokenizer's bytes.
    pub fn tokenizer(&self) -> Option<&'a [u8]> {
        self.tokenizer
    }
}

fn check_hash(part: &'static str, expected: Sha256Hash, bytes: &[u8]) -> Result<()> {
    let found = Sha256Hash::of(bytes);
    if found == expected {
        return Ok(());
    }
    Err(Error::Hash { part, expected: expected.to_string(), found: found.to_string() })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::card::{DatasetVersion, Evaluation, TrainingData};
    use crate::safetensors::ElementType;

    fn weights() -> Vec<u8> {
        let data = [0_u8; 24];
        let tensors = BTreeMap::from([("w".to_owned(), (ElementType::F32, vec![2, 3], &data[..]))]);
        Weights::write(&tensors, &BTreeMap::new()).unwrap()
    }

    pub fn card(weights: &[u8], tokenizer: Option<&[u8]>) -> Card {
        Card {
            name: "triage-small".into(),
            description: "Ticket triage".into(),
            architecture: "mlp".into(),
            hyperparameters: BTreeMap::from([("hidden".into(), 3.into())]),
            parameters: 6,
            weights_sha256: Sha256Hash::of(weights),
            tokenizer_sha256: tokenizer.map(Sha256Hash::of),
            training_data: TrainingData::Datasets(vec![DatasetVersion {
                dataset: "tickets".into(),
                version: 12,
            }]),
            evaluation: vec![Evaluation {
                measure: "accuracy".into(),
                value: 0.91,
                on: "tickets@12 test split".into(),
            }],
            licence: "Apache-2.0".into(),
            source: None,
        }
    }

    #[test]
    fn an_artifact_is_read_back_as_written() {
        let (weights, tokenizer) = (weights(), b"{}".to_vec());
        let card = card(&weights, Some(&tokenizer));
        let json = card.to_json().unwrap();
        let artifact = Artifact::read(&json, &weights, Some(&tokenizer)).unwrap();
        assert_eq!(artifact.card(), &card);
        assert_eq!(artifact.weights().tensors().len(), 1);
        assert_eq!(
            artifact.manifest().weights_file,
            format!("{}.safetensors", Sha256Hash::of(&weights))
        );
        assert_eq!(artifact.manifest().tokenizer_file, Some(TOKENIZER_FILE));
    }

    #[test]
    fn a_changed_byte_names_the_expected_and_the_found_hash() {
        let good = weights();
        let json = card(&good, None).to_json().unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        let message = Artifact::read(&json, &bad, None).unwrap_err().to_string();
        assert!(message.starts_with("weights: expected sha256 "), "{message}");
        assert!(message.contains(&Sha256Hash::of(&good).to_string()), "{message}");
        assert!(message.ends_with(&Sha256Hash::of(&bad).to_string()), "{message}");
    }

    #[test]
    fn parts_must_be_those_that_the_card_names() {
        let weights = weights();
        let plain = card(&weights, None).to_json().unwrap();
        let with_tokenizer = card(&weights, Some(b"x")).to_json().unwrap();
        assert!(Artifact::read(&plain, &weights, Some(b"x")).is_err());
        assert!(Artifact::read(&with_tokenizer, &weights, None).is_err());
        let other = Artifact::read(&with_tokenizer, &weights, Some(b"y")).unwrap_err().to_string();
        assert!(other.starts_with("tokenizer: expected sha256"), "{other}");
        let miscounted = Card { parameters: 7, ..card(&weights, None) }.to_json().unwrap();
        let message = Artifact::read(&miscounted, &weights, None).unwrap_err().to_string();
        assert_eq!(message, "weights: expected 7 parameters, as the card says, found 6");
    }

    #[test]
    fn a_card_says_what_is_wrong_with_it() {
        let good = String::from_utf8(card(b"", None).to_json().unwrap()).unwrap();
        for (from, to, expected) in [
            ("\"mlp\"", "\" \"", "architecture: expected a text"),
            ("\"triage-small\"", "\"../x\"", "letters, digits"),
            ("\"licence\"", "\"license\"", "unknown field `license`"),
            ("0.91", "\"good\"", "invalid type: string \"good\""),
            ("\"Apache-2.0\"", "\"\"", "licence: expected a text"),
        ] {
            let message =
                Card::from_json(good.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
