//! Weights out of the network, under the names and in the shapes of the published files: what `load` does, the
//! other way round.

use std::collections::BTreeMap;

use networks::Parameter;

use super::names::{LAYER, NORM, POSITIONS, Part, SEGMENTS, WORDS};
use crate::error::{Error, Result};

/// Tensors by name: shape and numbers, row by row.
pub type Published = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

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
    if let Some((_, table)) = [WORDS, POSITIONS, SEGMENTS].iter().find(|(own, _)| own == name) {
        tensors.insert((*table).to_owned(), as_it_is());
        return Ok(());
    }
    let (whole, part) = name.rsplit_once('.').unwrap_or((name, ""));
    let (layer, found) = match whole.strip_prefix("layer.").and_then(|rest| rest.split_once('.')) {
        Some((layer, own)) => {
            let part = LAYER.iter().find(|(name, _)| *name == own).map(|(_, part)| part);
            (format!("encoder.layer.{layer}."), part)
        }
        None => (String::new(), (whole == NORM.0).then_some(&Part::Norm(NORM.1))),
    };
    match (found, part, &shape[..]) {
        (Some(Part::Norm(norm)), "gamma", _) => {
            tensors.insert(format!("{layer}{norm}.weight"), as_it_is());
        }
        (Some(Part::Norm(norm)), "beta", _) => {
            tensors.insert(format!("{layer}{norm}.bias"), as_it_is());
        }
        (Some(Part::Products(names)), "weight", &[inner, width]) => {
            let out = width / names.len();
            // `[in, all outs]` as one `[out, in]` for each name.
            for (at, name) in names.iter().enumerate() {
                let turned = (at * out..(at + 1) * out)
                    .flat_map(|column| values.iter().skip(column).step_by(width).copied())
                    .collect();
                tensors.insert(format!("{layer}{name}.weight"), (vec![out, inner], turned));
            }
        }
        (Some(Part::Products(names)), "bias", &[width]) => {
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
