//! Dense layers with leaky rectifiers between them, whose answer is three things about a case: scores of what comes next, how long it
//! goes on, and the logit of whether it succeeds. On the processor.

use burn_autodiff::Autodiff;
use burn_flex::Flex;
use burn_tensor::Tensor;
use burn_tensor::activation::{leaky_relu, log_sigmoid, log_softmax};
use burn_tensor::backend::Backend;

use crate::autoencoder::{DenseLayer, SLOPE, tensors};
use crate::error::{Error, Result};
use crate::on::{numbers, rows};

type Diff = Autodiff<Flex>;

/// What is true of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// `[rows, classes]`: 1 for the class that comes next, 0 for the others.
    pub next: Vec<f32>,
    /// `[rows]`: how long it goes on.
    pub remaining: Vec<f32>,
    /// `[rows]`: 1 where it succeeds, 0 where it does not.
    pub success: Vec<f32>,
    /// `[rows]`: 1 where that is known, 0 where it is not.
    pub is_known: Vec<f32>,
}

/// What the layers answer for `values`, row by row, as many columns as the first layer takes: scores of the classes, how long, and the
/// logit of success.
pub fn foresee(layers: &[DenseLayer], values: Vec<f32>, columns: usize) -> Result<Vec<f32>> {
    let leaves: Vec<_> = layers.iter().map(tensors::<Flex>).collect();
    numbers(forward::<Flex>(rows(values, columns, &Default::default()), &leaves))
}

/// The gradients of each layer's weights and biases, of three losses together, each the mean of its rows: cross-entropy of what comes
/// next, the size of the error of how long, and cross-entropy of success where it is known.
pub fn foresight_gradients(
    layers: &[DenseLayer],
    values: Vec<f32>,
    columns: usize,
    truth: Truth,
) -> Result<Vec<DenseLayer>> {
    let device = Default::default();
    let count = truth.remaining.len().max(1);
    let known = truth.is_known.iter().sum::<f32>().max(1.0);
    let classes = truth.next.len() / count;
    let leaves: Vec<_> = layers
        .iter()
        .map(|layer| {
            let (weight, bias) = tensors::<Diff>(layer);
            (weight.require_grad(), bias.require_grad())
        })
        .collect();
    let answer = forward::<Diff>(rows(values, columns, &device), &leaves);
    let column = |values: Vec<f32>| rows::<Diff>(values, 1, &device);
    let scores = answer.clone().narrow(1, 0, classes);
    let next = (log_softmax(scores, 1) * rows::<Diff>(truth.next, classes, &device)).sum();
    let remaining = answer.clone().narrow(1, classes, 1) - column(truth.remaining);
    let logit = answer.narrow(1, classes + 1, 1);
    let success = column(truth.success);
    let of_success = log_sigmoid(logit.clone()) * success.clone()
        + log_sigmoid(logit.neg()) * (success.neg() + 1.0);
    let of_success = (of_success * column(truth.is_known)).sum();
    let loss = (remaining.abs().sum() - next) / count as f32 - of_success / known;
    let mut gradients = loss.backward();
    let mut of = |leaf: &Tensor<Diff, 2>| match leaf.grad_remove(&mut gradients) {
        Some(gradient) => numbers(gradient),
        None => {
            Err(Error::Training { problem: "foresight: expected a gradient, found none".into() })
        }
    };
    leaves.iter().map(|(weight, bias)| Ok((of(weight)?, of(bias)?))).collect()
}

fn forward<B: Backend>(
    input: Tensor<B, 2>,
    layers: &[(Tensor<B, 2>, Tensor<B, 2>)],
) -> Tensor<B, 2> {
    let last = layers.len().saturating_sub(1);
    layers.iter().enumerate().fold(input, |values, (at, (weight, bias))| {
        let values = values.matmul(weight.clone()) + bias.clone();
        if at < last { leaky_relu(values, SLOPE) } else { values }
    })
}
