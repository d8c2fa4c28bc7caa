//! The steps of an encoder that a backend may do its own way. Each is written here in burn's operations, which every
//! backend has, and which burn differentiates; the one for processors does each in a single pass over the data
//! (`cpu/flex.rs`), the one for CUDA devices trains with products of 16-bit numbers (the crate `networks-cuda`).

use std::fmt::Debug;
use std::ops::Range;

use burn_autodiff::Autodiff;
use burn_tensor::activation;
use burn_tensor::backend::Backend;
use burn_tensor::module;
use burn_tensor::ops::AttentionModuleOptions;
use burn_tensor::{Bool, FloatDType, Int, Tensor, TensorData};

use super::batch::Batch;

/// How the steps are done on the backend `B`; without a word as burn does them.
pub trait Steps<B: Backend>: Debug + Send + Sync + 'static {
    /// `x W`.
    ///
    /// `x`: `[tokens, size]`, `weight`: `[size, other size]`.
    fn product(x: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
        x.matmul(weight)
    }

    /// The mean of each text's tokens, `[texts, hidden]`.
    ///
    /// `x`: `[tokens, hidden]`.
    fn means(x: Tensor<B, 2>, batch: &Batch) -> Tensor<B, 2> {
        means(x, batch)
    }

    /// `gelu(x + bias)` in its exact form, `x Φ(x)`.
    ///
    /// `x`: `[tokens, size]`, `bias`: `[size]`.
    fn bias_gelu(x: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
        bias_gelu(x, bias)
    }

    /// `layer_norm(x + bias + residual)`.
    ///
    /// `x`, `residual`: `[tokens, size]`, `bias`, `gamma`, `beta`: `[size]`.
    fn add_norm(
        x: Tensor<B, 2>,
        bias: Tensor<B, 1>,
        residual: Tensor<B, 2>,
        norm: NormParts<B>,
    ) -> Tensor<B, 2> {
        add_norm(x, bias, residual, norm)
    }

    /// Attention of every text of the batch to itself.
    ///
    /// `qkv`: `[tokens, 3 * hidden]`, queries, keys and values beside each other, `bias`: `[3 * hidden]`;
    /// answers `[tokens, hidden]`.
    fn self_attention(
        qkv: Tensor<B, 2>,
        bias: Tensor<B, 1>,
        heads: usize,
        batch: &Batch,
    ) -> Tensor<B, 2> {
        self_attention(qkv, bias, heads, batch)
    }
}

/// Steps with and without gradients, and how a device is to be used.
pub trait DeviceSteps<B: Backend>: Steps<B> + Steps<Autodiff<B>> {
    /// Tells its results from those of others, which differ in their last bits.
    const NAME: &'static str;

    /// Most tokens that are embedded together, padding counted, one batch after the other. None: small batches beside
    /// each other, one a thread.
    const BATCH_TOKENS: Option<usize>;
}

/// What a layer norm is made of.
#[derive(Clone, Debug)]
pub struct NormParts<B: Backend> {
    /// Scale, `[size]`.
    pub gamma: Tensor<B, 1>,
    /// Shift, `[size]`.
    pub beta: Tensor<B, 1>,
    /// What is added to the variance.
    pub epsilon: f64,
}

/// [`Steps::bias_gelu`] in burn's operations.
pub fn bias_gelu<B: Backend>(x: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    activation::gelu(x + bias.unsqueeze())
}

/// [`Steps::add_norm`] in burn's operations.
pub fn add_norm<B: Backend>(
    x: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    residual: Tensor<B, 2>,
    norm: NormParts<B>,
) -> Tensor<B, 2> {
    let x = x + bias.unsqueeze() + residual;
    let mean = x.clone().mean_dim(1);
    let x = x - mean;
    let variance = x.clone().square().mean_dim(1);
    let scaled = x / (variance + norm.epsilon).sqrt();
    scaled * norm.gamma.unsqueeze() + norm.beta.unsqueeze()
}

/// [`Steps::self_attention`] in burn's operations: texts of different lengths are padded here, and the
/// padding masked.
pub fn self_attention<B: Backend>(
    qkv: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    heads: usize,
    batch: &Batch,
) -> Tensor<B, 2> {
    let device = qkv.device();
    let (texts, longest) = (batch.texts(), batch.longest());
    let qkv = qkv + bias.unsqueeze();
    let [tokens, width] = qkv.dims();
    let head_size = width / 3 / heads;
    let is_even = batch.is_even();
    let padded = if is_even { qkv } else { qkv.select(0, padding_of(batch, &device)) };
    // [texts, 3 * heads, longest, head_size]: first the heads of the queries, then keys', then values'.
    let parts = padded.reshape([texts, longest, 3 * heads, head_size]).swap_dims(1, 2);
    let [query, key, value] = [0, 1, 2].map(|part| parts.clone().narrow(1, part * heads, heads));
    let mask = (!is_even).then(|| mask_of(batch, &device).expand([texts, heads, longest, longest]));
    let options = AttentionModuleOptions::default();
    let attended = module::attention(query, key, value, mask, None, options);
    let rows = attended.swap_dims(1, 2).reshape([texts * longest, heads * head_size]);
    if is_even { rows } else { rows.select(0, unpadding_of(batch, &device)) }
        .reshape([tokens, heads * head_size])
}

/// [`Steps::product`] of 16-bit numbers (bfloat16), added up and answered in 32 bits.
pub fn mixed_product<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let short = |tensor: Tensor<B, 2>| tensor.cast(FloatDType::BF16);
    short(x).matmul(short(weight)).cast(FloatDType::F32)
}

/// [`Steps::means`] in burn's operations: texts of different lengths are padded, and the padding weighs nothing.
pub fn means<B: Backend>(x: Tensor<B, 2>, batch: &Batch) -> Tensor<B, 2> {
    let device = x.device();
    let [_, hidden] = x.dims();
    let (texts, longest) = (batch.texts(), batch.longest());
    if batch.is_even() {
        return x.reshape([texts, longest, hidden]).mean_dim(1).squeeze_dim(1);
    }
    let padded = x.select(0, padding_of(batch, &device)).reshape([texts, longest, hidden]);
    let weight = |span: Range<usize>| {
        let weight = 1.0 / span.len() as f32;
        (0..longest).map(move |at| if at < span.len() { weight } else { 0.0 })
    };
    let weights: Vec<f32> = batch.spans().flat_map(weight).collect();
    let weights = TensorData::new(weights, [texts, longest, 1]);
    let weights: Tensor<B, 3> = Tensor::from_data(weights, &device);
    (padded * weights).sum_dim(1).squeeze_dim(1)
}

/// [`Steps::means`] as one product with the matrix of weights, `[texts, tokens]`: at the sizes of a thread's batch it
/// is far below a hundredth of a layer's.
pub fn means_by_product<B: Backend>(x: Tensor<B, 2>, batch: &Batch) -> Tensor<B, 2> {
    let (texts, tokens) = (batch.texts(), batch.tokens());
    let mut weights = vec![0_f32; texts * tokens];
    for (row, span) in weights.chunks_mut(tokens).zip(batch.spans()) {
        let weight = 1.0 / span.len() as f32;
        row[span].fill(weight);
    }
    let weights = TensorData::new(weights, [texts, tokens]);
    Tensor::from_data(weights, &x.device()).matmul(x)
}

/// For every place of the padded texts the token that stands there: past the end, the text's first.
fn padding_of<B: Backend>(batch: &Batch, device: &B::Device) -> Tensor<B, 1, Int> {
    let longest = batch.longest();
    let rows = batch.spans().flat_map(|span| {
        (0..longest).map(move |at| if at < span.len() { span.start + at } else { span.start })
    });
    int_tensor(rows, device)
}

/// For every token its place in the padded texts.
fn unpadding_of<B: Backend>(batch: &Batch, device: &B::Device) -> Tensor<B, 1, Int> {
    let longest = batch.longest();
    let rows = batch
        .spans()
        .enumerate()
        .flat_map(|(text, span)| (0..span.len()).map(move |at| text * longest + at));
    int_tensor(rows, device)
}

/// True where a text has ended, `[texts, 1, 1, longest]`.
fn mask_of<B: Backend>(batch: &Batch, device: &B::Device) -> Tensor<B, 4, Bool> {
    let longest = batch.longest();
    let mask: Vec<bool> =
        batch.spans().flat_map(|span| (0..longest).map(move |at| at >= span.len())).collect();
    Tensor::from_data(TensorData::new(mask, [batch.texts(), 1, 1, longest]), device)
}

/// A list of rows as a tensor.
pub fn int_tensor<B: Backend>(
    rows: impl Iterator<Item = usize>,
    device: &B::Device,
) -> Tensor<B, 1, Int> {
    // Rows of tables and of batches, all below 2^31.
    let rows: Vec<i32> = rows.map(|row| row as i32).collect();
    let length = rows.len();
    Tensor::from_data(TensorData::new(rows, [length]), device)
}
