//! The network against its reference, on a small random one.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use networks::{Batch, BertConfig, Network, Pooling, cpu, shapes_of};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::reference::{self, Tensors};
use super::*;
use crate::error::Result;
use crate::safetensors::{ElementType, Weights};

/// Sizes that no register divides: 2 layers, 3 heads of 6.
pub fn tiny_config(pooling: Pooling) -> EncoderConfig {
    EncoderConfig {
        network: BertConfig {
            vocab_size: 16,
            hidden_size: 18,
            num_hidden_layers: 2,
            num_attention_heads: 3,
            intermediate_size: 37,
            max_position_embeddings: 40,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        },
        pooling,
        tokens_max: 24,
        query_prefix: "my ".into(),
        passage_prefix: String::new(),
    }
}

fn tiny_tensors(config: &BertConfig, seed: u64) -> Tensors {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (hidden, between) = (config.hidden_size, config.intermediate_size);
    let mut tensors = Tensors::new();
    let mut add = |name: String, shape: &[usize]| {
        let count = shape.iter().product();
        let around = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
        let values = (0..count).map(|_| around + random.random_range(-0.5_f32..0.5)).collect();
        tensors.insert(name, (shape.to_vec(), values));
    };
    add("embeddings.word_embeddings.weight".into(), &[config.vocab_size, hidden]);
    add("embeddings.position_embeddings.weight".into(), &[config.max_position_embeddings, hidden]);
    add("embeddings.token_type_embeddings.weight".into(), &[config.type_vocab_size, hidden]);
    let mut pairs = vec![("embeddings.LayerNorm".to_owned(), vec![hidden])];
    for layer in 0..config.num_hidden_layers {
        for (part, shape) in [
            ("attention.self.query", vec![hidden, hidden]),
            ("attention.self.key", vec![hidden, hidden]),
            ("attention.self.value", vec![hidden, hidden]),
            ("attention.output.dense", vec![hidden, hidden]),
            ("attention.output.LayerNorm", vec![hidden]),
            ("intermediate.dense", vec![between, hidden]),
            ("output.dense", vec![hidden, between]),
            ("output.LayerNorm", vec![hidden]),
        ] {
            pairs.push((format!("encoder.layer.{layer}.{part}"), shape));
        }
    }
    for (name, shape) in pairs {
        add(format!("{name}.weight"), &shape);
        add(format!("{name}.bias"), &shape[..1]);
    }
    tensors
}

fn file_of(tensors: &Tensors, prefix: &str) -> Vec<u8> {
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (format!("{prefix}{name}"), (shape.clone(), bytes))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| (name.clone(), (ElementType::F32, shape.clone(), &bytes[..])))
        .collect();
    Weights::write(&views, &BTreeMap::new()).unwrap()
}

/// The weights file of a small random network.
pub fn tiny_weights(config: &EncoderConfig, seed: u64) -> Vec<u8> {
    file_of(&tiny_tensors(&config.network, seed), "")
}

fn network(config: &EncoderConfig, file: &[u8]) -> Result<Box<dyn Network>> {
    let weights = weights_of(&config.network, &Weights::read(file)?)?;
    Ok(cpu().network(&config.network, weights)?)
}

/// Texts of given lengths with ids from a simple rule.
fn texts(lengths: &[usize]) -> Vec<Vec<u32>> {
    let id = |text: usize, at: usize| ((7 * text + 3 * at + at * at) % 16) as u32;
    lengths.iter().enumerate().map(|(t, n)| (0..*n).map(|at| id(t, at)).collect()).collect()
}

fn embed(network: &dyn Network, texts: &[Vec<u32>], pooling: Pooling) -> Vec<Vec<f32>> {
    let batch = Batch::new(texts.iter().map(Vec::as_slice)).unwrap();
    let values: Vec<f32> = network.embed(&batch, pooling).unwrap();
    values.chunks(values.len() / texts.len()).map(<[f32]>::to_vec).collect()
}

#[test]
fn the_network_is_its_reference_for_both_poolings_and_any_lengths() {
    for pooling in [Pooling::Mean, Pooling::Cls] {
        let config = tiny_config(pooling);
        let tensors = tiny_tensors(&config.network, 1);
        for prefix in ["", "bert."] {
            let network = network(&config, &file_of(&tensors, prefix)).unwrap();
            let texts = texts(&[2, 40, 17, 16, 2, 33, 5, 1]);
            for (text, found) in texts.iter().zip(embed(network.as_ref(), &texts, pooling)) {
                let expected = reference::embed(&config, &tensors, text);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn a_text_has_the_same_vector_in_every_batch() {
    let config = tiny_config(Pooling::Mean);
    let network = network(&config, &tiny_weights(&config, 2)).unwrap();
    let texts = texts(&[3, 21, 3, 40, 8, 3, 21]);
    let together = embed(network.as_ref(), &texts, config.pooling);
    for (text, expected) in texts.iter().zip(&together) {
        let alone = &embed(network.as_ref(), std::slice::from_ref(text), config.pooling)[0];
        for (a, b) in alone.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let config = tiny_config(Pooling::Mean);
    let good = tiny_tensors(&config.network, 3);
    let fails = |change: &dyn Fn(&mut Tensors), expected: &str| {
        let mut tensors = good.clone();
        change(&mut tensors);
        let message = network(&config, &file_of(&tensors, "")).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let name = "encoder.layer.1.output.dense.weight";
    fails(&|t| drop(t.remove(name)), "encoder.layer.1.output.dense.weight: expected such a tensor");
    fails(
        &|t| drop(t.insert(name.into(), (vec![37, 18], vec![0.0; 666]))),
        "expected shape [18, 37], found [37, 18]",
    );
    fails(&|t| t.get_mut(name).unwrap().1[5] = f32::NAN, "expected finite numbers, found NaN");
    fails(
        &|t| drop(t.remove("embeddings.word_embeddings.weight")),
        "bert.encoder.layer.0.attention.self.query.weight: expected such a tensor",
    );

    // Settings that claim more than there is reserve nothing.
    let mut large = config.clone();
    large.network.hidden_size = 3 << 18;
    large.network.intermediate_size = 1 << 20;
    let error = network(&large, &tiny_weights(&config, 3)).unwrap_err().to_string();
    assert!(error.contains("expected shape [786432, 786432], found [18, 18]"), "{error}");

    let name = "bert.encoder.layer.0.attention.self.query.weight".to_owned();
    let views =
        BTreeMap::from([(name, (ElementType::I32, vec![18, 18], &[0_u8; 18 * 18 * 4][..]))]);
    let file = Weights::write(&views, &BTreeMap::new());
    let error = network(&config, &file.unwrap()).unwrap_err().to_string();
    assert!(error.contains("expected F32, F16 or BF16, found I32"), "{error}");
}

#[test]
fn a_token_or_place_that_the_network_does_not_know_is_an_error() {
    let config = tiny_config(Pooling::Mean);
    let network = network(&config, &tiny_weights(&config, 4)).unwrap();
    let fails = |text: &[u32], expected: &str| {
        let batch = Batch::new([text]).unwrap();
        let message = network.embed(&batch, Pooling::Mean).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    fails(&[2, 16, 3], "expected token ids below 16, found 16");
    fails(&[2; 41], "expected texts of at most 40 tokens, found 41");
    assert!(Batch::new([]).unwrap_err().to_string().contains("at least 1 text"));
    assert!(Batch::new([&[1_u32][..], &[]]).unwrap_err().to_string().contains("text 1"));
}

#[test]
fn weights_have_the_networks_names_and_come_out_as_they_went_in() {
    let config = tiny_config(Pooling::Mean);
    let tensors = tiny_tensors(&config.network, 5);
    let network = network(&config, &file_of(&tensors, "")).unwrap();
    let weights = network.parameters().unwrap();
    let shapes: Vec<_> =
        weights.iter().map(|weight| (weight.name.clone(), weight.shape.clone())).collect();
    assert_eq!(shapes, shapes_of(&config.network, None));
    assert!(published(&weights).unwrap() == tensors);
    let mut other = weights[0].clone();
    other.name = "layer.0.pooler.weight".into();
    let message = published(&[other]).unwrap_err().to_string();
    assert!(message.contains("tensor layer.0.pooler.weight: expected one of"), "{message}");
}
