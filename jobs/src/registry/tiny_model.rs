//! A small encoder with random weights, in a folder as pulled ones are: what training is tested on without a download.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use models::{ArtifactFiles, ElementType, Origin, Weights};
use serde_json::{Value, json};

use crate::testing::Noise;

/// Numbers of its vectors.
pub(crate) const DIMENSION: usize = 32;
const BETWEEN: usize = 64;
const LAYERS: usize = 2;
const TOKENS_MAX: usize = 32;
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Writes the model `name`, which knows `words`, under the folder of models.
pub(crate) fn write(models: &Path, name: &str, words: &[String]) {
    let published = tempfile::tempdir().unwrap();
    let vocabulary: Vec<&str> =
        SPECIAL.into_iter().chain(words.iter().map(String::as_str)).collect();
    let file = |name: &str, bytes: Vec<u8>| {
        std::fs::write(published.path().join(name), bytes).unwrap();
    };
    let config = json!({
        "model_type": "bert", "vocab_size": vocabulary.len(), "hidden_size": DIMENSION,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": BETWEEN,
        "max_position_embeddings": TOKENS_MAX, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    });
    file("config.json", config.to_string().into_bytes());
    std::fs::create_dir(published.path().join("1_Pooling")).unwrap();
    file("1_Pooling/config.json", br#"{"pooling_mode_mean_tokens": true}"#.to_vec());
    file("tokenizer.json", tokenizer(&vocabulary).to_string().into_bytes());
    file("model.safetensors", weights(vocabulary.len()));
    let origin = Origin {
        name: name.into(),
        description: String::new(),
        training_data: "Nothing".into(),
        licence: "Apache-2.0".into(),
        source: None,
    };
    let files = ArtifactFiles::import(published.path(), &origin).unwrap();
    files.write(&models.join(name)).unwrap();
}

fn tokenizer(vocabulary: &[&str]) -> Value {
    let ids: BTreeMap<&str, usize> = vocabulary.iter().copied().zip(0..).collect();
    let special = |id: usize| {
        json!({"id": id, "content": SPECIAL[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let (first, last) = (
        json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}}),
        json!({"SpecialToken": {"id": "[SEP]", "type_id": 0}}),
    );
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..SPECIAL.len()).map(special).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}, last],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids},
    })
}

fn weights(vocabulary: usize) -> Vec<u8> {
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![vocabulary, DIMENSION]),
        ("embeddings.position_embeddings.weight".into(), vec![TOKENS_MAX, DIMENSION]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, DIMENSION]),
    ];
    let mut parts = vec![("embeddings.LayerNorm".to_owned(), vec![DIMENSION])];
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("attention.self.query", vec![DIMENSION, DIMENSION]),
            ("attention.self.key", vec![DIMENSION, DIMENSION]),
            ("attention.self.value", vec![DIMENSION, DIMENSION]),
            ("attention.output.dense", vec![DIMENSION, DIMENSION]),
            ("attention.output.LayerNorm", vec![DIMENSION]),
            ("intermediate.dense", vec![BETWEEN, DIMENSION]),
            ("output.dense", vec![DIMENSION, BETWEEN]),
            ("output.LayerNorm", vec![DIMENSION]),
        ] {
            parts.push((format!("encoder.layer.{layer}.{part}"), shape));
        }
    }
    for (name, shape) in parts {
        shapes.push((format!("{name}.bias"), shape[..1].to_vec()));
        shapes.push((format!("{name}.weight"), shape));
    }
    let mut noise = Noise::new(1);
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let around = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
            let scale = if name.ends_with("word_embeddings.weight") { 1.0 } else { 0.15 };
            let values = (0..shape.iter().product::<usize>())
                .flat_map(|_| ((around + scale * noise.normal()) as f32).to_le_bytes())
                .collect();
            (name, (shape, values))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| (name.clone(), (ElementType::F32, shape.clone(), &bytes[..])))
        .collect();
    Weights::write(&views, &BTreeMap::new()).unwrap()
}
