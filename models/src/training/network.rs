//! What training asks of the network: vectors and losses of texts, and the gradient of a loss.

use networks::{Batch, Device, Learner, Network, Pooling};
use rayon::prelude::*;

use super::head::Head;
use super::loss::softmax;
use super::parameters::{HEAD_BIAS, HEAD_WEIGHT};
use crate::error::Result;

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
pub(super) fn vectors_of(
    network: &dyn Network,
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
            Ok(network.embed(&batch, pooling)?)
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
pub(super) fn validate(
    network: &dyn Network,
    pooling: Pooling,
    head: &Head,
    texts: &Texts,
    device: &dyn Device,
) -> Result<Validation> {
    let vectors = vectors_of(network, pooling, &texts.ids)?;
    let mut logits = head.logits_on(device, &vectors)?;
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
pub(super) fn gradient_of(
    learner: &dyn Learner,
    pooling: Pooling,
    texts: &Texts,
    targets: Vec<f32>,
) -> Result<Answer> {
    let batch = Batch::new(texts.ids.iter().map(Vec::as_slice))?;
    let (loss, gradients) =
        learner.cross_entropy(&batch, pooling, [HEAD_WEIGHT, HEAD_BIAS], targets)?;
    Ok(Answer { loss, gradients })
}
