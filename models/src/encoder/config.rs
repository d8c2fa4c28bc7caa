//! What a BERT encoder is built with and how its answer becomes one vector: the fields of the published
//! `config.json`, and beside them what that file does not say (pooling, longest text, prefixes). Those are in
//! other files of a published model, or known for its family.

use std::collections::BTreeMap;

use networks::{BertConfig, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::card::Card;
use crate::embedding::Role;
use crate::error::{Error, Result};

/// The name of the architecture in a card.
pub const ARCHITECTURE: &str = "bert";
/// Largest settings file in bytes.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Longest prefix in bytes.
const PREFIX_BYTES_MAX: usize = 1024;

/// An encoder of texts: the network and what is around it. Its vectors have length 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderConfig {
    /// The network.
    #[serde(flatten)]
    pub network: BertConfig,
    /// How tokens become a text.
    pub pooling: Pooling,
    /// Most tokens of a text, the special ones included.
    pub tokens_max: usize,
    /// What is put before a text that asks.
    #[serde(default)]
    pub query_prefix: String,
    /// What is put before a text that answers.
    #[serde(default)]
    pub passage_prefix: String,
}

/// The settings files of a published model, as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SettingsFiles<'a> {
    /// `config.json`.
    pub config: &'a [u8],
    /// `1_Pooling/config.json`, when the model has one.
    pub pooling: Option<&'a [u8]>,
    /// `sentence_bert_config.json`, when the model has one.
    pub sentence: Option<&'a [u8]>,
}

/// What is known of models by their name's beginning, from their published descriptions.
struct Family {
    name: &'static str,
    pooling: Pooling,
    tokens_max: usize,
    query_prefix: &'static str,
    passage_prefix: &'static str,
}

const BGE_QUERY: &str = "Represent this sentence for searching relevant passages: ";

const FAMILIES: [Family; 11] = [
    Family::mean("all-MiniLM-L6", 256),
    Family::mean("all-MiniLM-L12", 128),
    Family::mean("multi-qa-MiniLM-L6-cos", 512),
    Family::mean("paraphrase-MiniLM-L6", 128),
    Family::mean("paraphrase-MiniLM-L12", 128),
    Family::bge("bge-small-en"),
    Family::bge("bge-base-en"),
    Family::bge("bge-large-en"),
    Family::e5("e5-small"),
    Family::e5("e5-base"),
    Family::e5("e5-large"),
];

impl Family {
    const fn mean(name: &'static str, tokens_max: usize) -> Self {
        Self { name, pooling: Pooling::Mean, tokens_max, query_prefix: "", passage_prefix: "" }
    }

    const fn bge(name: &'static str) -> Self {
        let query_prefix = BGE_QUERY;
        Self { name, pooling: Pooling::Cls, tokens_max: 512, query_prefix, passage_prefix: "" }
    }

    const fn e5(name: &'static str) -> Self {
        let (query_prefix, passage_prefix) = ("query: ", "passage: ");
        Self { name, pooling: Pooling::Mean, tokens_max: 512, query_prefix, passage_prefix }
    }

    /// The family of a model's name, with or without its owner's before it.
    fn of(name: &str) -> Option<&'static Self> {
        let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        FAMILIES.iter().find(|family| name.starts_with(&family.name.to_lowercase()))
    }
}

/// What can be built, for errors.
pub fn supported_encoders() -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    format!(
        "model_type bert with hidden_act gelu, absolute positions and mean or CLS pooling, such as {}",
        names.join(", ")
    )
}

/// `config.json`: the fields that decide whether we can build it, and what was left out when they were
/// written.
#[derive(Deserialize)]
struct Published {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
}

#[derive(Deserialize)]
struct PublishedSentence {
    max_seq_length: Option<usize>,
}

/// Reads `config.json`. Fails with the list of what is supported for any other network.
fn read_network(bytes: &[u8]) -> Result<BertConfig> {
    let published: Published = parse("config.json", bytes)?;
    published.check_architecture()?;
    let need = |field: &str, value: Option<usize>| match value {
        Some(value) => Ok(value),
        None => fail(format!("config.json: expected {field}, found none")),
    };
    let config = BertConfig {
        vocab_size: need("vocab_size", published.vocab_size)?,
        hidden_size: need("hidden_size", published.hidden_size)?,
        num_hidden_layers: need("num_hidden_layers", published.num_hidden_layers)?,
        num_attention_heads: need("num_attention_heads", published.num_attention_heads)?,
        intermediate_size: need("intermediate_size", published.intermediate_size)?,
        max_position_embeddings: need(
            "max_position_embeddings",
            published.max_position_embeddings,
        )?,
        // As where these are left out: the defaults of the original.
        type_vocab_size: published.type_vocab_size.unwrap_or(2),
        layer_norm_eps: published.layer_norm_eps.unwrap_or(1e-12),
    };
    config.check()?;
    Ok(config)
}

impl Published {
    fn check_architecture(&self) -> Result<()> {
        let named = self.architectures.as_ref().and_then(|names| names.first());
        let found = match (&self.model_type, named) {
            (Some(model_type), _) if model_type != "bert" => format!("model_type {model_type}"),
            (None, Some(name)) if !name.starts_with("Bert") => name.clone(),
            (None, None) => "neither a model_type nor an architecture".into(),
            _ => match (&self.hidden_act, &self.position_embedding_type, self.is_decoder) {
                (Some(act), _, _) if act != "gelu" => format!("hidden_act {act}"),
                (_, Some(kind), _) if kind != "absolute" => {
                    format!("position_embedding_type {kind}")
                }
                (_, _, Some(true)) => "a decoder".into(),
                _ => return Ok(()),
            },
        };
        Err(unsupported(found))
    }
}

impl EncoderConfig {
    /// What stands before a text.
    pub(crate) fn prefix(&self, role: Role) -> &str {
        match role {
            Role::Passage => &self.passage_prefix,
            Role::Query => &self.query_prefix,
        }
    }

    /// Reads the settings of the published model `name`. What its files say of pooling and length goes before
    /// what is known of its family; a model of no known family must bring a pooling.
    pub fn from_files(name: &str, files: &SettingsFiles<'_>) -> Result<Self> {
        let network = read_network(files.config)?;
        let family = Family::of(name);
        let pooling = match (files.pooling, family) {
            (Some(bytes), _) => read_pooling(bytes)?,
            (None, Some(family)) => family.pooling,
            (None, None) => {
                return fail(format!(
                    "{name}: pooling: expected 1_Pooling/config.json, or a name of a known family ({})",
                    FAMILIES.map(|family| family.name).join(", ")
                ));
            }
        };
        let sentence = match files.sentence {
            Some(bytes) => {
                parse::<PublishedSentence>("sentence_bert_config.json", bytes)?.max_seq_length
            }
            None => None,
        };
        let most = network.max_position_embeddings;
        let tokens_max =
            sentence.or(family.map(|family| family.tokens_max)).unwrap_or(most).min(most);
        let prefixes = family.map(|family| (family.query_prefix, family.passage_prefix));
        let (query, passage) = prefixes.unwrap_or_default();
        let (query_prefix, passage_prefix) = (query.into(), passage.into());
        let config = Self { network, pooling, tokens_max, query_prefix, passage_prefix };
        config.check()?;
        Ok(config)
    }

    /// The settings that a card holds.
    pub fn from_card(card: &Card) -> Result<Self> {
        if card.architecture != ARCHITECTURE {
            return Err(unsupported(card.architecture.clone()));
        }
        let values = card.hyperparameters.clone().into_iter().collect();
        let config: Self = serde_json::from_value(Value::Object(values))
            .map_err(|e| Error::Config { problem: format!("hyperparameters: {e}") })?;
        config.check()?;
        Ok(config)
    }

    /// The settings as a card's hyperparameters.
    pub fn to_hyperparameters(&self) -> Result<BTreeMap<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(values)) => Ok(values.into_iter().collect()),
            Ok(_) => fail("expected an object".into()),
            Err(e) => fail(format!("as JSON: {e}")),
        }
    }

    /// Checks that the parts fit each other.
    pub fn check(&self) -> Result<()> {
        self.network.check()?;
        let most = self.network.max_position_embeddings;
        if !(2..=most).contains(&self.tokens_max) {
            return fail(format!("tokens_max: expected 2 to {most}, found {}", self.tokens_max));
        }
        let longest = self.query_prefix.len().max(self.passage_prefix.len());
        if longest > PREFIX_BYTES_MAX {
            return fail(format!(
                "prefix: expected at most {PREFIX_BYTES_MAX} bytes, found {longest}"
            ));
        }
        Ok(())
    }
}

/// The pooling of `1_Pooling/config.json`: one flag per kind, or a newer single name.
fn read_pooling(bytes: &[u8]) -> Result<Pooling> {
    let fields: BTreeMap<String, Value> = parse("1_Pooling/config.json", bytes)?;
    let mut modes: Vec<&str> = fields
        .iter()
        .filter(|(_, value)| **value == Value::Bool(true))
        .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
        .collect();
    modes.extend(fields.get("pooling_mode").and_then(Value::as_str));
    match modes[..] {
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        _ => Err(unsupported(format!("pooling {modes:?}"))),
    }
}

fn parse<'a, T: Deserialize<'a>>(file: &str, bytes: &'a [u8]) -> Result<T> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(Error::Limit {
            part: "config",
            found: bytes.len() as u64,
            limit: CONFIG_BYTES_MAX as u64,
            unit: "bytes",
        });
    }
    serde_json::from_slice(bytes).map_err(|e| Error::Config { problem: format!("{file}: {e}") })
}

fn unsupported(found: String) -> Error {
    Error::Architecture { found, supported: supported_encoders() }
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Config { problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn published() -> Value {
        json!({
            "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1,
            "gradient_checkpointing": false, "hidden_act": "gelu", "hidden_size": 384,
            "initializer_range": 0.02, "intermediate_size": 1536, "layer_norm_eps": 1e-12,
            "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
            "num_hidden_layers": 6, "pad_token_id": 0, "position_embedding_type": "absolute",
            "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522,
        })
    }

    fn read(name: &str, config: &Value, pooling: Option<Value>) -> Result<EncoderConfig> {
        let config = config.to_string();
        let pooling = pooling.map(|value| value.to_string());
        EncoderConfig::from_files(
            name,
            &SettingsFiles {
                config: config.as_bytes(),
                pooling: pooling.as_ref().map(String::as_bytes),
                sentence: None,
            },
        )
    }

    #[test]
    fn families_have_their_own_pooling_length_and_prefixes() {
        let expected = [
            ("sentence-transformers/all-MiniLM-L6-v2", Pooling::Mean, 256, "", ""),
            ("all-MiniLM-L12-v2", Pooling::Mean, 128, "", ""),
            ("BAAI/bge-small-en-v1.5", Pooling::Cls, 512, BGE_QUERY, ""),
            ("intfloat/e5-small-v2", Pooling::Mean, 512, "query: ", "passage: "),
        ];
        for (name, pooling, tokens_max, query, passage) in expected {
            let found = read(name, &published(), None).unwrap();
            assert_eq!((found.pooling, found.tokens_max), (pooling, tokens_max), "{name}");
            assert_eq!((&found.query_prefix[..], &found.passage_prefix[..]), (query, passage));
            assert_eq!(found.network.layer_norm_eps, 1e-12);
        }
    }

    #[test]
    fn files_go_before_what_is_known_of_a_family() {
        let cls = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false});
        let config = published().to_string();
        let found = EncoderConfig::from_files(
            "all-MiniLM-L6-v2",
            &SettingsFiles {
                config: config.as_bytes(),
                pooling: Some(cls.to_string().as_bytes()),
                sentence: Some(br#"{"max_seq_length": 99, "do_lower_case": false}"#),
            },
        );
        let found = found.unwrap();
        assert_eq!((found.pooling, found.tokens_max), (Pooling::Cls, 99));
        let own = read("my-own", &published(), Some(json!({"pooling_mode": "mean"}))).unwrap();
        assert_eq!((own.pooling, own.tokens_max), (Pooling::Mean, 512));
    }

    #[test]
    fn a_card_holds_all_settings() {
        let config = read("e5-small-v2", &published(), None).unwrap();
        let mut card = crate::artifact::tests::card(b"", None);
        card.architecture = ARCHITECTURE.into();
        card.hyperparameters = config.to_hyperparameters().unwrap();
        let read = Card::from_json(&card.to_json().unwrap()).unwrap();
        assert_eq!(EncoderConfig::from_card(&read).unwrap(), config);
        card.hyperparameters.remove("hidden_size");
        let message = EncoderConfig::from_card(&card).unwrap_err().to_string();
        assert!(message.contains("missing field `hidden_size`"), "{message}");
    }

    #[test]
    fn an_unsupported_network_lists_the_supported() {
        let changes = [
            ("model_type", json!("mpnet"), "architecture: model_type mpnet"),
            ("hidden_act", json!("relu"), "architecture: hidden_act relu"),
            (
                "position_embedding_type",
                json!("relative_key"),
                "architecture: position_embedding_type relative_key",
            ),
            ("is_decoder", json!(true), "architecture: a decoder"),
        ];
        for (field, value, expected) in changes {
            let mut config = published();
            config[field] = value;
            let message = read("all-MiniLM-L6-v2", &config, None).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(message.contains("e5-small") && message.contains("bge-small-en"), "{message}");
        }
        let message = read_network(br#"{"architectures": ["XLMRobertaModel"]}"#);
        assert!(message.unwrap_err().to_string().starts_with("architecture: XLMRobertaModel"));
        let max = read("x", &published(), Some(json!({"pooling_mode_max_tokens": true})));
        assert!(max.unwrap_err().to_string().contains("pooling [\"max_tokens\"]"));
        let mut card = crate::artifact::tests::card(b"", None);
        card.architecture = "mlp".into();
        assert!(EncoderConfig::from_card(&card).unwrap_err().to_string().contains("mlp"));
    }

    #[test]
    fn impossible_sizes_are_named() {
        let changes = [
            ("hidden_size", json!(385), "a multiple of the 12 attention heads, found 385"),
            ("num_attention_heads", json!(0), "num_attention_heads: expected 1 to"),
            ("vocab_size", json!(u64::MAX / 2), "vocab_size: expected 1 to 1048576"),
            ("num_hidden_layers", json!(null), "expected num_hidden_layers, found none"),
            ("layer_norm_eps", json!(0.0), "layer_norm_eps: expected more than 0"),
            ("max_position_embeddings", json!(1), "tokens_max: expected 2 to 1, found 1"),
            ("hidden_size", json!("a"), "invalid type: string"),
        ];
        for (field, value, expected) in changes {
            let mut config = published();
            config[field] = value;
            let message = read("all-MiniLM-L6-v2", &config, None).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
        let message = read("my-own", &published(), None).unwrap_err().to_string();
        assert!(message.contains("my-own: pooling: expected 1_Pooling/config.json"), "{message}");
    }
}
