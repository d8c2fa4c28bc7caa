//! Dense layers one after the other, with leaky rectifiers behind every other one, on the processor: what an autoencoder
//! answers, and how its loss goes with its weights.

use burn_autodiff::Autodiff;
use burn_flex::Flex;
use burn_tensor::Tensor;
use burn_tensor::activation::leaky_relu;
use burn_tensor::backend::Backend;

use crate::error::{Error, Result};
use crate::on::{numbers, rows};

type Diff = Autodiff<Flex>;

/// What a rectifier lets through below zero.
pub(crate) const SLOPE: f64 = 0.1;

/// `x W + b`: `W`, row by row, `[in, out]`, and `b`, `[out]`.
pub type DenseLayer = (Vec<f32>, Vec<f32>);

/// What the layers answer for `values`, row by row, as many columns as the first layer takes. Every second layer, from the
/// first on, is a rectifier, the others are linear.
pub fn autoencode(layers: &[DenseLayer], values: Vec<f32>) -> Result<Vec<f32>> {
    let leaves: Vec<_> = layers.iter().map(tensors::<Flex>).collect();
    numbers(forward(input(layers, values), &leaves))
}

/// The gradients of each layer's weights and biases, of the loss `√(1 + e²) − 1` (half the square of a small error, the
/// size of a large one) of what the layers answer for `values`, the mean of those that are `known` (1; 0 where not).
/// `values`, `truth`, `known`: row by row, of the same shape.
pub fn autoencoder_gradients(
    layers: &[DenseLayer],
    values: Vec<f32>,
    truth: Vec<f32>,
    known: Vec<f32>,
) -> Result<Vec<DenseLayer>> {
    let count = known.iter().sum::<f32>().max(1.0);
    let leaves: Vec<_> = layers
        .iter()
        .map(|layer| {
            let (weight, bias) = tensors::<Diff>(layer);
            (weight.require_grad(), bias.require_grad())
        })
        .collect();
    let answer = forward(input::<Diff>(layers, values), &leaves);
    let error = (answer - input(layers, truth)) * input(layers, known);
    let loss = ((error.powf_scalar(2.0) + 1.0).sqrt() - 1.0).sum() / count;
    let mut gradients = loss.backward();
    let mut of = |leaf: &Tensor<Diff, 2>| match leaf.grad_remove(&mut gradients) {
        Some(gradient) => numbers(gradient),
        None => {
            Err(Error::Training { problem: "autoencoder: expected a gradient, found none".into() })
        }
    };
    leaves.iter().map(|(weight, bias)| Ok((of(weight)?, of(bias)?))).collect()
}

/// Rows of what the first layer takes, which is also what the last one gives.
fn input<B: Backend>(layers: &[DenseLayer], values: Vec<f32>) -> Tensor<B, 2> {
    let columns = layers.last().map_or(1, |(_, bias)| bias.len());
    rows(values, columns, &Default::default())
}

pub(crate) fn tensors<B: Backend>((weight, bias): &DenseLayer) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let (size, device) = (bias.len(), Default::default());
    (rows(weight.clone(), size, &device), rows(bias.clone(), size, &device))
}

fn forward<B: Backend>(
    input: Tensor<B, 2>,
    layers: &[(Tensor<B, 2>, Tensor<B, 2>)],
) -> Tensor<B, 2> {
    layers.iter().enumerate().fold(input, |values, (at, (weight, bias))| {
        let values = values.matmul(weight.clone()) + bias.clone();
        if at % 2 == 0 { leaky_relu(values, SLOPE) } else { values }
    })
}
