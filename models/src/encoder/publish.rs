//! Weights out of the network, under the names and in the shapes of the published files: what `load` does, the
//! other way round.

use std::collections::BTreeMap;

use networks::Parameter;

use crate::error::{Error, Result};

/// Tensors by name: shape and numbers, row by row.
pub type Published = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The published names of what a layer's products are called here.
const PRODUCTS: [(&str, &[&str]); 4] = [
    ("qkv", &["attention.self.query", "attention.self.key", "attention.self.value"]),
    ("attended", &["attention.output.dense"]),
    ("up", &["intermediate.dense"]),
    ("down", &["output.dense"]),
];
const NORMS: [(&str, &str); 2] =
    [("attention_norm", "attention.output.LayerNorm"), ("norm", "output.LayerNorm")];
const TABLES: [(&str, &str); 3] =
    [("words", "word"), ("positions", "position"), ("segments", "token_type")];

/// The weights of a network without adapters, as `encoder.layer.0.…`.
pub fn published(weights: &[Parameter]) -> Result<Published> {
    let mut tensors = Published::new();
    for weight in weights {
        add(&mut tensors, weight)?;
    }
    Ok(tensors)
}

fn add(tensors: &mut Published, weight: &Parameter) -> Result<()> {
    let Parameter { name, shape, values, .. } = weight;
    let as_it_is = || (shape.clone(), values.clone());
    if let Some((_, table)) = TABLES.iter().find(|(own, _)| own == name) {
        tensors.insert(format!("embeddings.{table}_embeddings.weight"), as_it_is());
        return Ok(());
    }
    let (whole, part) = name.rsplit_once('.').unwrap_or((name, ""));
    let (layer, own) = match whole.strip_prefix("layer.").and_then(|rest| rest.split_once('.')) {
        Some((layer, own)) => (format!("encoder.layer.{layer}."), own),
        None => (String::new(), whole),
    };
    let norm = match NORMS.iter().find(|(norm, _)| *norm == own) {
        _ if layer.is_empty() && own == "norm" => Some("embeddings.LayerNorm"),
        Some((_, published)) if !layer.is_empty() => Some(*published),
        _ => None,
    };
    let products = PRODUCTS.iter().find(|(product, _)| *product == own && !layer.is_empty());
    match (norm, products, part, &shape[..]) {
        (Some(norm), _, "gamma", _) => {
            tensors.insert(format!("{layer}{norm}.weight"), as_it_is());
        }
        (Some(norm), _, "beta", _) => {
            tensors.insert(format!("{layer}{norm}.bias"), as_it_is());
        }
        (_, Some((_, names)), "weight", &[inner, width]) => {
            let out = width / names.len();
            // `[in, all outs]` as one `[out, in]` for each name.
            for (at, name) in names.iter().enumerate() {
                let turned = (at * out..(at + 1) * out)
                    .flat_map(|column| values.iter().skip(column).step_by(width).copied())
                    .collect();
                tensors.insert(format!("{layer}{name}.weight"), (vec![out, inner], turned));
            }
        }
        (_, Some((_, names)), "bias", &[width]) => {
            let out = width / names.len();
            for (name, values) in names.iter().zip(values.chunks_exact(out)) {
                tensors.insert(format!("{layer}{name}.bias"), (vec![out], values.to_vec()));
            }
        }
        _ => {
            let problem = format!("tensor {name}: expected one of an encoder's, found another");
            return Err(Error::Training { problem });
        }
    }
    Ok(())
}
