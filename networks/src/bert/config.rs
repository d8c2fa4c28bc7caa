//! The sizes of a BERT encoder, and the names and shapes of its tensors.

use serde::{Deserialize, Serialize};

use crate::device::Adapters;
use crate::error::{Error, Result};

/// Largest sizes: far above any published encoder, far below what could overflow.
const SIZE_MAX: usize = 1 << 20;
const LAYERS_MAX: usize = 128;
/// Floor of a layer norm's epsilon: in single precision nothing smaller is told from it.
const EPSILON_MAX: f64 = 1e-2;

/// The network: sizes as in the published `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Tokens that it knows.
    pub vocab_size: usize,
    /// Numbers of a token's vector.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Numbers between the two products of a layer's second half.
    pub intermediate_size: usize,
    /// Longest text in tokens that it has positions for.
    pub max_position_embeddings: usize,
    /// Kinds of segments; ours is always the first.
    pub type_vocab_size: usize,
    /// What a layer norm adds to the variance.
    pub layer_norm_eps: f64,
}

/// How the vectors of the tokens become that of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean, the special tokens included.
    Mean,
    /// That of the first token, `[CLS]`.
    Cls,
}

impl BertConfig {
    /// Checks that the sizes are possible and fit each other.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, SIZE_MAX),
            ("hidden_size", self.hidden_size, SIZE_MAX),
            ("num_hidden_layers", self.num_hidden_layers, LAYERS_MAX),
            ("num_attention_heads", self.num_attention_heads, SIZE_MAX),
            ("intermediate_size", self.intermediate_size, SIZE_MAX),
            ("max_position_embeddings", self.max_position_embeddings, SIZE_MAX),
            ("type_vocab_size", self.type_vocab_size, SIZE_MAX),
        ];
        if let Some((field, found, most)) = sizes.iter().find(|(_, n, most)| *n == 0 || n > most) {
            return fail(format!("{field}: expected 1 to {most}, found {found}"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fail(format!(
                "hidden_size: expected a multiple of the {} attention heads, found {}",
                self.num_attention_heads, self.hidden_size
            ));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps <= EPSILON_MAX) {
            return fail(format!(
                "layer_norm_eps: expected more than 0 and at most {EPSILON_MAX}, found {}",
                self.layer_norm_eps
            ));
        }
        Ok(())
    }
}

/// The name and shape of every tensor of a network, in its order; those of `adapters` behind the weight that they are
/// beside.
pub fn shapes_of(config: &BertConfig, adapters: Option<Adapters>) -> Vec<(String, Vec<usize>)> {
    let (hidden, between) = (config.hidden_size, config.intermediate_size);
    let mut shapes = vec![
        ("words".to_owned(), vec![config.vocab_size, hidden]),
        ("positions".to_owned(), vec![config.max_position_embeddings, hidden]),
        ("segments".to_owned(), vec![config.type_vocab_size, hidden]),
    ];
    let norm = |shapes: &mut Vec<_>, name: &str| {
        shapes.push((format!("{name}.gamma"), vec![hidden]));
        shapes.push((format!("{name}.beta"), vec![hidden]));
    };
    let dense = |shapes: &mut Vec<_>, name: &str, inner: usize, out: usize| {
        shapes.push((format!("{name}.weight"), vec![inner, out]));
        shapes.push((format!("{name}.bias"), vec![out]));
        if let Some(Adapters { rank, .. }) = adapters {
            shapes.push((format!("{name}.adapter.down"), vec![inner, rank]));
            shapes.push((format!("{name}.adapter.up"), vec![rank, out]));
        }
    };
    norm(&mut shapes, "norm");
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("layer.{layer}.{part}");
        dense(&mut shapes, &name("qkv"), hidden, 3 * hidden);
        dense(&mut shapes, &name("attended"), hidden, hidden);
        norm(&mut shapes, &name("attention_norm"));
        dense(&mut shapes, &name("up"), hidden, between);
        dense(&mut shapes, &name("down"), between, hidden);
        norm(&mut shapes, &name("norm"));
    }
    shapes
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Config { problem })
}
