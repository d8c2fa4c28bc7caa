//! The BERT encoder (Devlin et al. 2018, section 3; the layer is that of Vaswani et al. 2017, section 3.1, with
//! the norm after the sum) in burn, generic over the backend, with its pooling: batches of token ids to vectors
//! of length 1.
//!
//! ```text
//!  ids -> word + position + segment -> norm -> layer x n -> mean or first token -> length 1
//!
//!  layer:  x -> q k v in one product -> attention -> product -> + x -> norm = y
//!          y -> product -> gelu -> product -> + y -> norm
//! ```
//!
//! Texts lie end to end ([`Batch`]) and are not padded. A token costs 24 hidden² floating-point operations a
//! layer, two for each of its 12 hidden² weights, and its attention another 4 hidden · length: in all
//! 21 million for all-MiniLM-L6-v2.

mod backend;
mod batch;
mod config;
mod lora;
mod parts;

use burn_tensor::backend::Backend;
use burn_tensor::{Int, Tensor};

pub(crate) use backend::means_by_product;
pub use backend::{DeviceSteps, NormParts, Steps, mixed_product};
#[cfg(test)]
pub(crate) use backend::{add_norm, bias_gelu, means, self_attention};
pub use batch::Batch;
pub use config::{BertConfig, Pooling, shapes_of};
pub(crate) use lora::Adapter;
pub(crate) use parts::{Part, PartSource};

use crate::error::{Error, Result};
use backend::int_tensor;

/// Shortest vector that is made longer: nothing else divides by zero.
const LENGTH_MIN: f32 = 1e-12;

/// The network.
#[derive(Clone, Debug)]
pub(crate) struct Bert<B: Backend> {
    /// One vector per token, `[vocabulary, hidden]`.
    words: Tensor<B, 2>,
    /// One vector per place, `[longest, hidden]`.
    positions: Tensor<B, 2>,
    /// One vector per kind of segment, `[kinds, hidden]`.
    segments: Tensor<B, 2>,
    norm: Norm<B>,
    layers: Vec<Layer<B>>,
    heads: usize,
}

/// A layer.
#[derive(Clone, Debug)]
struct Layer<B: Backend> {
    /// Queries, keys and values in one product, `[hidden, 3 * hidden]`.
    qkv: Dense<B>,
    attended: Dense<B>,
    attention_norm: Norm<B>,
    up: Dense<B>,
    down: Dense<B>,
    norm: Norm<B>,
}

/// `x W + b`, the bias apart because it is added together with what follows.
#[derive(Clone, Debug)]
struct Dense<B: Backend> {
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    /// What is trained in the weight's place; none in a network that only answers.
    adapter: Option<Adapter<B>>,
}

/// A layer norm.
#[derive(Clone, Debug)]
struct Norm<B: Backend> {
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    epsilon: f64,
}

impl<B: Backend> Bert<B> {
    /// The vectors of the texts of a batch, `[texts, hidden]`, each of length 1. Fails for a token or a place
    /// that the network does not know.
    pub(crate) fn embed<S: Steps<B>>(
        &self,
        batch: &Batch,
        pooling: Pooling,
    ) -> Result<Tensor<B, 2>> {
        let hidden = self.forward::<S>(batch)?;
        let pooled = match pooling {
            Pooling::Mean => S::means(hidden, batch),
            Pooling::Cls => {
                let device = hidden.device();
                hidden.select(0, int_tensor(batch.firsts().iter().copied(), &device))
            }
        };
        let length = pooled.clone().square().sum_dim(1).sqrt().clamp_min(LENGTH_MIN);
        Ok(pooled / length)
    }

    /// The vectors of the tokens of a batch, `[tokens, hidden]`.
    pub(crate) fn forward<S: Steps<B>>(&self, batch: &Batch) -> Result<Tensor<B, 2>> {
        self.check(batch)?;
        let device = self.words.device();
        let words = self.words.clone().select(0, self.ids(batch, &device));
        let positions = self.positions.clone().select(0, int_tensor(batch.positions(), &device));
        let segment = self.segments.clone().narrow(0, 0, 1).squeeze_dim(0);
        let embedded = S::add_norm(words, segment, positions, self.norm.parts());
        Ok(self.layers.iter().fold(embedded, |x, layer| layer.forward::<S>(x, self.heads, batch)))
    }

    fn ids(&self, batch: &Batch, device: &B::Device) -> Tensor<B, 1, Int> {
        int_tensor(batch.ids().iter().map(|id| *id as usize), device)
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        let [vocabulary, _] = self.words.dims();
        let [longest, _] = self.positions.dims();
        let fail = |problem| Err(Error::Config { problem });
        if let Some(id) = batch.ids().iter().find(|id| **id as usize >= vocabulary) {
            return fail(format!("expected token ids below {vocabulary}, found {id}"));
        }
        if batch.longest() > longest {
            return fail(format!(
                "expected texts of at most {longest} tokens, found {}",
                batch.longest()
            ));
        }
        Ok(())
    }
}

impl<B: Backend> Layer<B> {
    fn forward<S: Steps<B>>(&self, x: Tensor<B, 2>, heads: usize, batch: &Batch) -> Tensor<B, 2> {
        let qkv = self.qkv.product::<S>(x.clone());
        let attended = S::self_attention(qkv, self.qkv.bias.clone(), heads, batch);
        let attended = self.attended.product::<S>(attended);
        let bias = self.attended.bias.clone();
        let x = S::add_norm(attended, bias, x, self.attention_norm.parts());
        let up = self.up.product::<S>(x.clone());
        let down = self.down.product::<S>(S::bias_gelu(up, self.up.bias.clone()));
        S::add_norm(down, self.down.bias.clone(), x, self.norm.parts())
    }
}

impl<B: Backend> Dense<B> {
    /// `x W`, without the bias.
    fn product<S: Steps<B>>(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.adapter {
            Some(adapter) => S::product(x.clone(), self.weight.clone()) + adapter.product(x),
            None => S::product(x, self.weight.clone()),
        }
    }
}

impl<B: Backend> Norm<B> {
    fn parts(&self) -> NormParts<B> {
        NormParts { gamma: self.gamma.clone(), beta: self.beta.clone(), epsilon: self.epsilon }
    }
}
