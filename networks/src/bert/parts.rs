//! The network as a list of named tensors, in one fixed order, and a network from such a list. Whatever keeps
//! weights outside of a network (an optimiser, a checkpoint, a file) names them as they are named here, never by
//! burn's identifiers, which are other ones in every process.

use burn_tensor::Tensor;
use burn_tensor::backend::Backend;

use super::lora::Adapter;
use super::{Bert, BertConfig, Dense, Layer, Norm};
use crate::device::Adapters;
use crate::error::Result;

/// A tensor of the network.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a, B: Backend> {
    /// Of two dimensions.
    Matrix(&'a Tensor<B, 2>),
    /// Of one.
    Vector(&'a Tensor<B, 1>),
}

/// Where a network takes its tensors from.
pub trait PartSource<B: Backend> {
    /// The matrix of a name, of this shape.
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<B, 2>>;

    /// The vector of a name, of this length.
    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor<B, 1>>;

    /// Rank and scale of the adapters, where weights have some.
    fn adapters(&self) -> Option<Adapters>;
}

impl<B: Backend> Bert<B> {
    /// The network of `config` from the parts that `source` has.
    pub(crate) fn assemble(config: &BertConfig, source: &mut impl PartSource<B>) -> Result<Self> {
        let hidden = config.hidden_size;
        let epsilon = config.layer_norm_eps;
        Ok(Self {
            words: source.matrix("words", [config.vocab_size, hidden])?,
            positions: source.matrix("positions", [config.max_position_embeddings, hidden])?,
            segments: source.matrix("segments", [config.type_vocab_size, hidden])?,
            norm: norm(source, "norm", hidden, epsilon)?,
            layers: (0..config.num_hidden_layers)
                .map(|at| layer(source, &format!("layer.{at}."), config))
                .collect::<Result<_>>()?,
            heads: config.num_attention_heads,
        })
    }

    /// Every tensor with its name, always in the same order.
    pub(crate) fn parts(&self) -> Vec<(String, Part<'_, B>)> {
        let mut parts = vec![
            ("words".to_owned(), Part::Matrix(&self.words)),
            ("positions".to_owned(), Part::Matrix(&self.positions)),
            ("segments".to_owned(), Part::Matrix(&self.segments)),
        ];
        self.norm.list("norm", &mut parts);
        for (at, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("layer.{at}.{part}");
            layer.qkv.list(&name("qkv"), &mut parts);
            layer.attended.list(&name("attended"), &mut parts);
            layer.attention_norm.list(&name("attention_norm"), &mut parts);
            layer.up.list(&name("up"), &mut parts);
            layer.down.list(&name("down"), &mut parts);
            layer.norm.list(&name("norm"), &mut parts);
        }
        parts
    }

    /// The network without adapters that answers as this one does with them.
    pub(crate) fn merged(mut self) -> Self {
        for layer in &mut self.layers {
            for dense in [&mut layer.qkv, &mut layer.attended, &mut layer.up, &mut layer.down] {
                if let Some(adapter) = dense.adapter.take() {
                    dense.weight = adapter.merged(dense.weight.clone());
                }
            }
        }
        self
    }
}

fn layer<B: Backend>(
    source: &mut impl PartSource<B>,
    layer: &str,
    config: &BertConfig,
) -> Result<Layer<B>> {
    let (hidden, between) = (config.hidden_size, config.intermediate_size);
    let epsilon = config.layer_norm_eps;
    let name = |part: &str| format!("{layer}{part}");
    Ok(Layer {
        qkv: dense(source, &name("qkv"), [hidden, 3 * hidden])?,
        attended: dense(source, &name("attended"), [hidden, hidden])?,
        attention_norm: norm(source, &name("attention_norm"), hidden, epsilon)?,
        up: dense(source, &name("up"), [hidden, between])?,
        down: dense(source, &name("down"), [between, hidden])?,
        norm: norm(source, &name("norm"), hidden, epsilon)?,
    })
}

fn dense<B: Backend>(
    source: &mut impl PartSource<B>,
    name: &str,
    [inner, out]: [usize; 2],
) -> Result<Dense<B>> {
    let weight = source.matrix(&format!("{name}.weight"), [inner, out])?;
    let bias = source.vector(&format!("{name}.bias"), out)?;
    let adapter = match source.adapters() {
        Some(Adapters { rank, scale }) => Some(Adapter {
            down: source.matrix(&format!("{name}.adapter.down"), [inner, rank])?,
            up: source.matrix(&format!("{name}.adapter.up"), [rank, out])?,
            scale,
        }),
        None => None,
    };
    Ok(Dense { weight, bias, adapter })
}

fn norm<B: Backend>(
    source: &mut impl PartSource<B>,
    name: &str,
    size: usize,
    epsilon: f64,
) -> Result<Norm<B>> {
    let gamma = source.vector(&format!("{name}.gamma"), size)?;
    let beta = source.vector(&format!("{name}.beta"), size)?;
    Ok(Norm { gamma, beta, epsilon })
}

impl<B: Backend> Dense<B> {
    fn list<'a>(&'a self, name: &str, parts: &mut Vec<(String, Part<'a, B>)>) {
        parts.push((format!("{name}.weight"), Part::Matrix(&self.weight)));
        parts.push((format!("{name}.bias"), Part::Vector(&self.bias)));
        if let Some(adapter) = &self.adapter {
            parts.push((format!("{name}.adapter.down"), Part::Matrix(&adapter.down)));
            parts.push((format!("{name}.adapter.up"), Part::Matrix(&adapter.up)));
        }
    }
}

impl<B: Backend> Norm<B> {
    fn list<'a>(&'a self, name: &str, parts: &mut Vec<(String, Part<'a, B>)>) {
        parts.push((format!("{name}.gamma"), Part::Vector(&self.gamma)));
        parts.push((format!("{name}.beta"), Part::Vector(&self.beta)));
    }
}
