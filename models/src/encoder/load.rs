//! Weights for the network. Names and shapes are those of the published files (`encoder.layer.0.…`, with
//! or without `bert.` before them); a published product is `[out, in]` and is turned round here, once.

use networks::{BertConfig, Parameter};

use super::names::{LAYER, NORM, POSITIONS, Part, SEGMENTS, WORDS};
use crate::error::{Error, Result};
use crate::safetensors::{ElementType, Weights};

/// What some files put before every name.
const PREFIX: &str = "bert.";

/// The weights of the network of `config`. Fails with the name of the tensor that is missing, has another shape or type, or
/// holds a number that is none. Tensors that the network does not use (a pooler, a buffer of positions) are left alone.
pub fn weights_of(config: &BertConfig, weights: &Weights<'_>) -> Result<Vec<Parameter>> {
    config.check()?;
    let prefix = if weights.tensors().contains_key(WORDS.1) { "" } else { PREFIX };
    let mut source = Source { weights, prefix, read: Vec::new() };
    let hidden = config.hidden_size;
    for layer in 0..config.num_hidden_layers {
        source.layer(&format!("encoder.layer.{layer}."), &format!("layer.{layer}."), config)?;
    }
    let tables = [
        (WORDS, config.vocab_size),
        (POSITIONS, config.max_position_embeddings),
        (SEGMENTS, config.type_vocab_size),
    ];
    for ((own, published), rows) in tables {
        source.matrix(published, own, [rows, hidden])?;
    }
    source.norm(NORM.1, NORM.0, hidden)?;
    Ok(source.read)
}

struct Source<'a, 'w> {
    weights: &'a Weights<'w>,
    prefix: &'a str,
    read: Vec<Parameter>,
}

impl Source<'_, '_> {
    /// `published`, `own`: what the names of the file, and those of the network, begin with.
    fn layer(&mut self, published: &str, own: &str, config: &BertConfig) -> Result<()> {
        let (hidden, between) = (config.hidden_size, config.intermediate_size);
        for (name, part) in LAYER {
            let own = format!("{own}{name}");
            match part {
                Part::Norm(norm) => self.norm(&format!("{published}{norm}"), &own, hidden)?,
                Part::Products(names) => {
                    let names: Vec<_> =
                        names.iter().map(|name| format!("{published}{name}")).collect();
                    let shape = match name {
                        "up" => [between, hidden],
                        "down" => [hidden, between],
                        _ => [hidden, hidden],
                    };
                    self.dense(&names, &own, shape)?;
                }
            }
        }
        Ok(())
    }

    /// Products of `[out, in]` each, beside each other as one of `[in, all outs]`.
    fn dense(&mut self, names: &[String], own: &str, [out, inner]: [usize; 2]) -> Result<()> {
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
        self.add(format!("{own}.weight"), vec![inner, width], weight);
        self.add(format!("{own}.bias"), vec![width], bias);
        Ok(())
    }

    fn norm(&mut self, name: &str, own: &str, size: usize) -> Result<()> {
        for (published, part) in [("weight", "gamma"), ("bias", "beta")] {
            let values = self.numbers(&format!("{name}.{published}"), &[size])?;
            self.add(format!("{own}.{part}"), vec![size], values);
        }
        Ok(())
    }

    fn matrix(&mut self, name: &str, own: &str, shape: [usize; 2]) -> Result<()> {
        let values = self.numbers(name, &shape)?;
        self.add(own.to_owned(), shape.to_vec(), values);
        Ok(())
    }

    fn add(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.read.push(Parameter { name, shape, values, is_trained: false });
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
