//! Weights into the network. Names and shapes are those of the published files (`encoder.layer.0.…`, with
//! or without `bert.` before them); a published product is `[out, in]` and is turned round here, once.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::config::BertConfig;
use super::{Bert, Dense, Layer, Norm};
use crate::error::{Error, Result};
use crate::safetensors::{ElementType, Weights};

/// What some files put before every name.
const PREFIX: &str = "bert.";
/// The name that says which way a file is written.
const FIRST: &str = "embeddings.word_embeddings.weight";

impl<B: Backend> Bert<B> {
    /// The network of `config` with its weights. Fails with the name of the tensor that is missing, has
    /// another shape or type, or holds a number that is none. Tensors that the network does not use (a pooler,
    /// a buffer of positions) are left alone.
    pub fn load(config: &BertConfig, weights: &Weights<'_>, device: &B::Device) -> Result<Self> {
        config.check()?;
        let prefix = if weights.tensors().contains_key(FIRST) { "" } else { PREFIX };
        let source = Source::<B> { weights, prefix, device };
        let hidden = config.hidden_size;
        let epsilon = config.layer_norm_eps;
        let layers = (0..config.num_hidden_layers)
            .map(|at| source.layer(&format!("encoder.layer.{at}."), config))
            .collect::<Result<_>>()?;
        Ok(Self {
            words: source.matrix(FIRST, [config.vocab_size, hidden])?,
            positions: source.matrix(
                "embeddings.position_embeddings.weight",
                [config.max_position_embeddings, hidden],
            )?,
            segments: source.matrix(
                "embeddings.token_type_embeddings.weight",
                [config.type_vocab_size, hidden],
            )?,
            norm: source.norm("embeddings.LayerNorm", hidden, epsilon)?,
            layers,
            heads: config.num_attention_heads,
        })
    }
}

struct Source<'a, 'w, B: Backend> {
    weights: &'a Weights<'w>,
    prefix: &'a str,
    device: &'a B::Device,
}

impl<B: Backend> Source<'_, '_, B> {
    fn layer(&self, layer: &str, config: &BertConfig) -> Result<Layer<B>> {
        let (hidden, between) = (config.hidden_size, config.intermediate_size);
        let epsilon = config.layer_norm_eps;
        let name = |part: &str| format!("{layer}{part}");
        Ok(Layer {
            qkv: self.dense(
                &["query", "key", "value"].map(|part| name(&format!("attention.self.{part}"))),
                [hidden, hidden],
            )?,
            attended: self.dense(&[name("attention.output.dense")], [hidden, hidden])?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden, epsilon)?,
            up: self.dense(&[name("intermediate.dense")], [between, hidden])?,
            down: self.dense(&[name("output.dense")], [hidden, between])?,
            norm: self.norm(&name("output.LayerNorm"), hidden, epsilon)?,
        })
    }

    /// Products of `[out, in]` each, beside each other as one of `[in, all outs]`.
    fn dense(&self, names: &[String], [out, inner]: [usize; 2]) -> Result<Dense<B>> {
        // All are read, and so known to be as large as the settings claim, before room is made for their like.
        let parts = names
            .iter()
            .map(|name| self.numbers(&format!("{name}.weight"), &[out, inner]))
            .collect::<Result<Vec<_>>>()?;
        let width = names.len() * out;
        let mut weight = vec![0_f32; inner * width];
        for (column, values) in parts.iter().flat_map(|part| part.chunks_exact(inner)).enumerate() {
            for (row, value) in values.iter().enumerate() {
                weight[row * width + column] = *value;
            }
        }
        let mut bias = Vec::with_capacity(width);
        for name in names {
            bias.extend(self.numbers(&format!("{name}.bias"), &[out])?);
        }
        let weight = Tensor::from_data(TensorData::new(weight, [inner, width]), self.device);
        Ok(Dense { weight: Param::from_tensor(weight), bias: self.vector(bias), adapter: None })
    }

    fn norm(&self, name: &str, size: usize, epsilon: f64) -> Result<Norm<B>> {
        let gamma = self.vector(self.numbers(&format!("{name}.weight"), &[size])?);
        let beta = self.vector(self.numbers(&format!("{name}.bias"), &[size])?);
        Ok(Norm { gamma, beta, epsilon })
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Param<Tensor<B, 2>>> {
        let values = TensorData::new(self.numbers(name, &shape)?, shape);
        Ok(Param::from_tensor(Tensor::from_data(values, self.device)))
    }

    fn vector(&self, values: Vec<f32>) -> Param<Tensor<B, 1>> {
        let length = values.len();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [length]), self.device))
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        read_numbers(self.weights, &format!("{}{name}", self.prefix), shape)
    }
}

/// A tensor's numbers, row by row. They are there before anything of their size is reserved.
pub fn read_numbers(weights: &Weights<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let fail = |problem: String| Err(Error::Weights { problem: format!("{name}: {problem}") });
    let (Some(tensor), Some(bytes)) = (weights.tensors().get(name), weights.bytes(name)) else {
        return fail("expected such a tensor, found none".into());
    };
    if tensor.shape != shape {
        return fail(format!("expected shape {shape:?}, found {:?}", tensor.shape));
    }
    let Some(values) = as_f32(tensor.element, bytes) else {
        return fail(format!(
            "expected F32, F16 or BF16, found {}",
            format!("{:?}", tensor.element).to_uppercase()
        ));
    };
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return fail(format!("expected finite numbers, found {value}"));
    }
    Ok(values)
}

/// Little-endian floating-point numbers as single precision, exactly.
fn as_f32(element: ElementType, bytes: &[u8]) -> Option<Vec<f32>> {
    let (four, _) = bytes.as_chunks::<4>();
    let (two, _) = bytes.as_chunks::<2>();
    match element {
        ElementType::F32 => Some(four.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        ElementType::F16 => Some(two.iter().map(|b| from_f16(u16::from_le_bytes(*b))).collect()),
        ElementType::Bf16 => {
            let widened = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            Some(two.iter().map(widened).collect())
        }
        _ => None,
    }
}

/// IEEE 754 binary16: 1 bit of sign, 5 of exponent (bias 15), 10 of fraction.
fn from_f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    let size = match exponent {
        0 => fraction * 2_f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2_f32.powi(exponent - 15),
    };
    sign * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_widened_exactly() {
        let cases = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, expected) in cases {
            assert_eq!(from_f16(bits).to_bits(), f32::to_bits(expected), "{bits:#06x}");
        }
        assert!(from_f16(0x7e00).is_nan());
        let bf16 = as_f32(ElementType::Bf16, &[0x80, 0x3f, 0x49, 0xc0]);
        assert_eq!(bf16, Some(vec![1.0, -3.140_625]));
        assert_eq!(as_f32(ElementType::I64, &[0; 8]), None);
    }
}
