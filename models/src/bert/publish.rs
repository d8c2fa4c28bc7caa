//! Weights out of the network, under the names and in the shapes of the published files: what `load` does, the
//! other way round.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, DataError, Tensor};

use super::{Bert, Dense, Norm};
use crate::error::{Error, Result};

/// Tensors by name: shape and numbers, row by row.
pub type Published = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The weights of a network without adapters, as `encoder.layer.0.…`.
pub fn published<B: Backend>(network: &Bert<B>) -> Result<Published> {
    let mut tensors = Published::new();
    for (name, table) in [
        ("word", &network.words),
        ("position", &network.positions),
        ("token_type", &network.segments),
    ] {
        let (shape, values) = (table.dims().to_vec(), numbers(table.val())?);
        tensors.insert(format!("embeddings.{name}_embeddings.weight"), (shape, values));
    }
    norm(&mut tensors, "embeddings.LayerNorm", &network.norm)?;
    for (at, layer) in network.layers.iter().enumerate() {
        let name = |part: &str| format!("encoder.layer.{at}.{part}");
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        dense(&mut tensors, &qkv, &layer.qkv)?;
        dense(&mut tensors, &[name("attention.output.dense")], &layer.attended)?;
        norm(&mut tensors, &name("attention.output.LayerNorm"), &layer.attention_norm)?;
        dense(&mut tensors, &[name("intermediate.dense")], &layer.up)?;
        dense(&mut tensors, &[name("output.dense")], &layer.down)?;
        norm(&mut tensors, &name("output.LayerNorm"), &layer.norm)?;
    }
    Ok(tensors)
}

/// The numbers of a tensor on the host, row by row.
pub fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().convert_dtype(DType::F32);
    data.into_vec()
        .map_err(|e: DataError| Error::Config { problem: format!("answer of the device: {e:?}") })
}

/// `[in, all outs]` as one `[out, in]` for each name.
fn dense<B: Backend>(tensors: &mut Published, names: &[String], dense: &Dense<B>) -> Result<()> {
    let [inner, width] = dense.weight.dims();
    let (weight, bias) = (numbers(dense.weight.val())?, numbers(dense.bias.val())?);
    let out = width / names.len();
    for (part, name) in names.iter().enumerate() {
        let first = part * out;
        let turned = (first..first + out)
            .flat_map(|column| weight.iter().skip(column).step_by(width).copied())
            .collect();
        tensors.insert(format!("{name}.weight"), (vec![out, inner], turned));
        tensors.insert(format!("{name}.bias"), (vec![out], bias[first..first + out].to_vec()));
    }
    Ok(())
}

fn norm<B: Backend>(tensors: &mut Published, name: &str, norm: &Norm<B>) -> Result<()> {
    for (part, vector) in [("weight", &norm.gamma), ("bias", &norm.beta)] {
        let values = numbers(vector.val())?;
        tensors.insert(format!("{name}.{part}"), (vec![values.len()], values));
    }
    Ok(())
}
