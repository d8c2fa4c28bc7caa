//! What training asks of the network: vectors and losses of texts, and the gradient of a loss.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::head::Head;
use super::loss::softmax;
use super::parameters::{HEAD_BIAS, HEAD_WEIGHT, Held, Leaves};
use crate::bert::{Batch, Bert, EncoderBackend, EncoderConfig, Part, PartSource, Pooling, numbers};
use crate::error::{Error, Result};

/// Most tokens of a batch whose vectors are wanted (but always one text).
const BATCH_TOKENS_MAX: usize = 512;

/// Tokenised texts and their classes.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub ids: Vec<Vec<u32>>,
    pub classes: Vec<usize>,
}

impl Texts {
    pub fn some(&self, rows: &[usize]) -> Self {
        Self {
            ids: rows.iter().map(|row| self.ids[*row].clone()).collect(),
            classes: rows.iter().map(|row| self.classes[*row]).collect(),
        }
    }
}

/// Loss and gradient of a part of a step.
#[derive(Debug)]
pub(super) struct Answer {
    pub loss: f64,
    /// Of the parameters that are trained, in their order.
    pub gradients: Vec<Vec<f32>>,
}

/// How well texts are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validation {
    pub loss: f64,
    pub accuracy: f64,
}

/// The vectors of texts, row by row. The batches are the same with any number of threads, so that the vectors are,
/// to the bit.
pub(super) fn vectors_of<B: EncoderBackend>(
    network: &Bert<B>,
    pooling: Pooling,
    texts: &[Vec<u32>],
) -> Result<Vec<f32>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|row| std::cmp::Reverse(texts[*row].len()));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for row in order {
        let length = texts[row].len();
        match batches.last_mut() {
            Some(batch) if tokens + length <= BATCH_TOKENS_MAX => {
                batch.push(row);
                tokens += length;
            }
            _ => {
                batches.push(vec![row]);
                tokens = length;
            }
        }
    }
    let answers: Vec<Vec<f32>> = batches
        .par_iter()
        .with_max_len(1)
        .map(|rows| {
            let batch = Batch::new(rows.iter().map(|row| &texts[*row][..]))?;
            numbers(network.embed(&batch, pooling)?)
        })
        .collect::<Result<_>>()?;
    let dimension = answers.first().zip(batches.first()).map_or(0, |(a, b)| a.len() / b.len());
    let mut vectors = vec![0_f32; texts.len() * dimension];
    for (rows, answer) in batches.iter().zip(&answers) {
        for (row, vector) in rows.iter().zip(answer.chunks_exact(dimension)) {
            vectors[row * dimension..][..dimension].copy_from_slice(vector);
        }
    }
    Ok(vectors)
}

/// How well the network and its head tell `texts` apart.
pub(super) fn validate<B: EncoderBackend>(
    network: &Bert<B>,
    pooling: Pooling,
    head: &Head,
    texts: &Texts,
    device: &B::Device,
) -> Result<Validation> {
    let vectors = vectors_of(network, pooling, &texts.ids)?;
    let mut logits = head.logits::<B>(&vectors, device)?;
    let (mut loss, mut right) = (0.0, 0);
    for (row, class) in logits.chunks_exact_mut(head.classes()).zip(&texts.classes) {
        right += usize::from(row.iter().all(|x| *x <= row[*class]));
        let own = f64::from(row[*class]);
        loss += softmax(row) - own;
    }
    let rows = texts.classes.len() as f64;
    Ok(Validation { loss: loss / rows, accuracy: right as f64 / rows })
}

/// Loss and gradient of texts. `targets`: what should be answered for each, times its weight, `[texts, classes]`.
pub(super) fn gradient_of<A>(
    held: &Held<A::InnerBackend>,
    config: &EncoderConfig,
    texts: &Texts,
    targets: Vec<f32>,
    device: &A::Device,
) -> Result<Answer>
where
    A: EncoderBackend + AutodiffBackend,
    A::InnerBackend: EncoderBackend,
{
    let count = targets.len() / texts.ids.len().max(1);
    let mut leaves = Leaves(held);
    let network: Bert<A> = Bert::assemble(&config.network, &mut leaves)?;
    let weight =
        PartSource::<A>::matrix(&mut leaves, HEAD_WEIGHT, [config.network.hidden_size, count])?;
    let bias = PartSource::<A>::vector(&mut leaves, HEAD_BIAS, count)?;
    let batch = Batch::new(texts.ids.iter().map(Vec::as_slice))?;
    let vectors = network.embed(&batch, config.pooling)?;
    let logits = vectors.matmul(weight.val()) + bias.val().unsqueeze();
    let targets = TensorData::new(targets, [texts.ids.len(), count]);
    let targets: Tensor<A, 2> = Tensor::from_data(targets, device);
    let loss = (log_softmax(logits, 1) * targets).sum().neg();
    let value = numbers(loss.clone().inner())?;
    let mut parts = network.parts();
    parts.push((HEAD_WEIGHT.to_owned(), Part::Matrix(&weight)));
    parts.push((HEAD_BIAS.to_owned(), Part::Vector(&bias)));
    Ok(Answer { loss: f64::from(value[0]), gradients: gradients_of(loss, parts)? })
}

/// A way through the network that goes back once what follows from the vectors is known.
pub(super) struct Pass<A: EncoderBackend> {
    network: Bert<A>,
    vectors: Tensor<A, 2>,
}

impl<A> Pass<A>
where
    A: EncoderBackend + AutodiffBackend,
    A::InnerBackend: EncoderBackend,
{
    /// Through the network.
    pub fn forward(
        held: &Held<A::InnerBackend>,
        config: &EncoderConfig,
        texts: &[Vec<u32>],
    ) -> Result<Self> {
        let network: Bert<A> = Bert::assemble(&config.network, &mut Leaves(held))?;
        let batch = Batch::new(texts.iter().map(Vec::as_slice))?;
        let vectors = network.embed(&batch, config.pooling)?;
        Ok(Self { network, vectors })
    }

    /// The vectors of the texts, row by row.
    pub fn vectors(&self) -> Result<Vec<f32>> {
        numbers(self.vectors.clone().inner())
    }

    /// And back: the gradients of the trained parameters, in their order, from those of the vectors.
    pub fn backward(self, gradient: Vec<f32>, device: &A::Device) -> Result<Vec<Vec<f32>>> {
        let gradient = TensorData::new(gradient, self.vectors.dims());
        let gradient: Tensor<A, 2> = Tensor::from_data(gradient, device);
        gradients_of((self.vectors * gradient).sum(), self.network.parts())
    }
}

/// What becomes of `loss` with each of those of `parts` that are trained.
fn gradients_of<A: EncoderBackend + AutodiffBackend>(
    loss: Tensor<A, 1>,
    parts: Vec<(String, Part<'_, A>)>,
) -> Result<Vec<Vec<f32>>> {
    let mut gradients = loss.backward();
    let mut answer = Vec::new();
    for (name, part) in parts {
        let lost = || Error::Training {
            problem: format!("tensor {name}: expected a gradient, found none"),
        };
        answer.push(match part {
            Part::Matrix(param) if param.val().is_require_grad() => {
                numbers(param.val().grad_remove(&mut gradients).ok_or_else(lost)?)?
            }
            Part::Vector(param) if param.val().is_require_grad() => {
                numbers(param.val().grad_remove(&mut gradients).ok_or_else(lost)?)?
            }
            _ => continue,
        });
    }
    Ok(answer)
}
