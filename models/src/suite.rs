//! An encoder of the size of all-MiniLM-L6-v2 with random weights and a made-up vocabulary, for checks and benchmarks where
//! no model is at hand: it says nothing, and costs the same.

use networks::{BertConfig, Parameter, Pooling, shapes_of};
use serde_json::{Map, Value, json};

use crate::embedder::Embedder;
use crate::embedding::EmbedderId;
use crate::encoder::EncoderConfig;
use crate::error::Result;
use crate::tokens::Tokenizer;
use crate::training::Random;

/// Words of the vocabulary, beside the five special ones.
const WORDS: usize = 30_517;
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// The encoder, always the same one.
pub fn encoder() -> Result<Embedder> {
    let network = BertConfig {
        vocab_size: SPECIAL.len() + WORDS,
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1536,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
    };
    let config = EncoderConfig {
        network,
        pooling: Pooling::Mean,
        tokens_max: 256,
        query_prefix: String::new(),
        passage_prefix: String::new(),
    };
    let words = (0..WORDS).map(|word| format!("w{word}"));
    let vocabulary = SPECIAL.into_iter().map(str::to_owned).chain(words);
    let tokenizer = tokenizer_json(vocabulary).to_string();
    let tokenizer =
        Tokenizer::read(tokenizer.as_bytes(), config.network.vocab_size, config.tokens_max)?;
    let mut random = Random::new(1, 0);
    let shapes = shapes_of(&config.network, None);
    let weights =
        shapes.into_iter().map(|(name, shape)| weight(name, shape, &mut random)).collect();
    let id = EmbedderId { name: "random".into(), version: "1".into() };
    Embedder::assemble(id, config, tokenizer, weights)
}

/// A text of so many words, each a token; another one for another number.
pub fn text(number: usize, words: usize) -> String {
    let mut random = Random::new(2, number as u64);
    let words: Vec<String> = (0..words).map(|_| format!("w{}", random.below(WORDS))).collect();
    words.join(" ")
}

/// Numbers as a layer has them at first.
fn weight(name: String, shape: Vec<usize>, random: &mut Random) -> Parameter {
    let (around, most) = match (&name[..], &shape[..]) {
        ("words", _) => (0.0, 1.0),
        ("positions" | "segments", _) => (0.0, 0.1),
        (_, [rows, _]) => (0.0, (3.0 / *rows as f32).sqrt()),
        (vector, _) => (if vector.ends_with("gamma") { 1.0 } else { 0.0 }, 0.02),
    };
    let count = shape.iter().product();
    let values = (0..count).map(|_| around + random.signed() * most).collect();
    Parameter { name, shape, values, is_trained: false }
}

/// The tokenizer's file for a vocabulary that begins with [`SPECIAL`].
pub(crate) fn tokenizer_json(vocabulary: impl Iterator<Item = String>) -> Value {
    let vocabulary: Map<String, Value> =
        vocabulary.enumerate().map(|(id, word)| (word, id.into())).collect();
    let special = |(id, content): (usize, &str)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let added: Vec<Value> = SPECIAL.into_iter().enumerate().map(special).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::embedding::{EmbedOptions, TextEmbedder};

    #[test]
    fn it_has_the_size_of_the_model_and_tells_texts_apart() {
        let encoder = encoder().unwrap();
        assert_eq!(encoder.config().network.vocab_size, 30_522);
        let texts = [text(0, 30), text(1, 30), text(0, 30)];
        let texts = texts.each_ref().map(String::as_str);
        let found = encoder.embed(&texts, &EmbedOptions::default()).unwrap();
        assert_eq!((found.tokens, found.dimension), (96, 384));
        let rows: Vec<&[f32]> = found.rows().collect();
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!((cosine(rows[0], rows[2]) - 1.0).abs() < 1e-5);
        assert!(cosine(rows[0], rows[1]) < 0.9, "{}", cosine(rows[0], rows[1]));
    }
}
