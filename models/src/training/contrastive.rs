//! Fine-tuning an encoder so that texts that mean the same have vectors near each other.
//!
//! A step takes pairs of texts that are known to mean the same. Each of its texts is a question: its partner is the right
//! answer, and all others of the step are wrong ones (in-batch negatives). What is made small is the cross-entropy of
//! the softmax of the cosines over the temperature, the mean of all questions: InfoNCE (van den Oord et al. 2018,
//! equation 4) in the form of Chen et al. 2020, equation 1. Texts of the question's own group are not its wrong answers.
//!
//! ```text
//!  pairs ─▶ texts, dealt out to parts ─▶ forward, part by part ─▶ vectors V
//!           parts' gradients ◀─ backward, part by part ◀─ dL/dV = (W + W') V,  W = (softmax - right) / (texts t)
//! ```
//!
//! Every part's way through the network is kept until the loss is known, so that memory grows with the tokens of a step.

use networks::{Batch, Device, Learner, Network, Parameter, Pass};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::loss::softmax;
use super::network::{Answer, Validation, vectors_of};
use super::options::{TrainOptions, check_above_zero};
use super::trainer::{
    Learned, Objective, TrainCall, TrainedEncoder, deal, name_of, thinned_rows, train,
};
use crate::embedder::Embedder;
use crate::embedding::Role;
use crate::error::{Error, Result};
use crate::evaluation::{for_each_similarity, product, retrieval_on};

/// Pairs of texts that mean the same.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// The texts.
    pub texts: &'a [(&'a str, &'a str)],
    /// The group of each pair: texts of one group are never taken to mean something else.
    pub groups: &'a [usize],
}

/// Texts by group.
#[derive(Clone, Copy, Debug)]
pub struct Grouped<'a> {
    /// The texts.
    pub texts: &'a [&'a str],
    /// The group of each; a text that is alone in its group is only a wrong answer.
    pub groups: &'a [usize],
}

/// How to train on pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveOptions {
    /// The weights, the steps and the rates; a row is a pair.
    pub training: TrainOptions,
    /// Cosines are divided by this.
    pub temperature: f64,
}

impl Default for ContrastiveOptions {
    fn default() -> Self {
        let training = TrainOptions { epochs: 3, learning_rate: 3e-5, ..TrainOptions::default() };
        Self { training, temperature: 0.05 }
    }
}

impl ContrastiveOptions {
    /// Checks every number.
    pub fn check(&self) -> Result<()> {
        self.training.check()?;
        check_above_zero("temperature", self.temperature)
    }
}

/// Fine-tunes `encoder` on `pairs`. The weights that were best on `validation` are the answer: of those that find a text
/// of the same group first most often, the ones with the lowest loss.
///
/// Fails for pairs that nothing can be learned from, for a validation without a group of two, for a loss or gradient
/// that is no number (and says the step), for another training's checkpoints, and when it is told to stop.
pub fn fine_tune_pairs(
    encoder: &Embedder,
    pairs: Pairs<'_>,
    validation: Grouped<'_>,
    call: TrainCall<'_, ContrastiveOptions>,
) -> Result<TrainedEncoder> {
    let data = (pairs.texts, pairs.groups, validation.texts, validation.groups);
    let run = name_of(encoder, call.options, &data)?;
    let objective = PairsObjective::new(encoder, pairs, validation, call.options)?;
    let call = TrainCall {
        options: &call.options.training,
        checkpoints: call.checkpoints,
        on_progress: call.on_progress,
    };
    Ok(train(encoder, &objective, run, call)?.0)
}

/// Texts find their partners.
pub(super) struct PairsObjective<'a> {
    encoder: &'a Embedder,
    options: &'a ContrastiveOptions,
    /// Both of each pair, one after the other.
    texts: Vec<Vec<u32>>,
    /// Of each pair.
    groups: Vec<usize>,
    validation: Vec<Vec<u32>>,
    validation_groups: Vec<usize>,
    cut_texts: usize,
}

impl<'a> PairsObjective<'a> {
    /// Fails for options that make no sense and for pairs that nothing can be learned from.
    pub(super) fn new(
        encoder: &'a Embedder,
        pairs: Pairs<'_>,
        validation: Grouped<'_>,
        options: &'a ContrastiveOptions,
    ) -> Result<Self> {
        options.check()?;
        check_pairs(&pairs)?;
        let both: Vec<&str> = pairs.texts.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let mut cut_texts = 0;
        let mut read = |texts: &[&str]| -> Result<Vec<Vec<u32>>> {
            let tokens = encoder.tokenise(texts, Role::Passage)?;
            cut_texts += tokens.iter().filter(|tokens| tokens.is_cut).count();
            Ok(tokens.into_iter().map(|tokens| tokens.ids).collect())
        };
        let (texts, validation_texts) = (read(&both)?, read(validation.texts)?);
        Ok(Self {
            encoder,
            options,
            texts,
            groups: pairs.groups.to_vec(),
            validation: validation_texts,
            validation_groups: validation.groups.to_vec(),
            cut_texts,
        })
    }
}

impl Objective for PairsObjective<'_> {
    fn row_texts(&self) -> u64 {
        2
    }

    fn rows(&self) -> usize {
        self.groups.len()
    }

    fn tensors(&self, _is_resumed: bool) -> Result<Vec<Parameter>> {
        Ok(Vec::new())
    }

    fn rate_of(&self, _tensor: &str) -> f64 {
        1.0
    }

    fn learn(&self, learner: &dyn Learner, batch: &[usize], epoch: usize) -> Result<Learned> {
        let rows: Vec<usize> = batch.iter().flat_map(|pair| [2 * pair, 2 * pair + 1]).collect();
        let mut texts: Vec<Vec<u32>> = rows.iter().map(|row| self.texts[*row].clone()).collect();
        thinned_rows(&self.options.training, epoch, rows.iter().copied(), &mut texts);
        let groups: Vec<usize> = batch.iter().map(|pair| self.groups[*pair]).collect();
        learn_pairs(self.encoder, learner, &texts, &groups, self.options)
    }

    fn judge(&self, network: &dyn Network, _parameters: &[Parameter]) -> Result<Validation> {
        let pooling = self.encoder.config().pooling;
        let vectors = vectors_of(network, pooling, &self.validation)?;
        judge_groups(&vectors, &self.validation_groups, self.options, self.encoder.device())
    }

    fn tokens(&self) -> u64 {
        self.texts.iter().map(|ids| ids.len() as u64).sum()
    }

    fn cut_texts(&self) -> usize {
        self.cut_texts
    }
}

/// How near each other the vectors of groups are.
pub(super) fn judge_groups(
    vectors: &[f32],
    groups: &[usize],
    options: &ContrastiveOptions,
    device: &dyn Device,
) -> Result<Validation> {
    let found = retrieval_on(device, vectors, groups)?;
    let loss = validation_loss(vectors, groups, options.temperature, device)?;
    Ok(Validation { loss, accuracy: found.recall_at_1 })
}

/// What a step of pairs is learned from: `texts`, the two of a pair one after the other; `groups`: of each pair.
pub(super) fn learn_pairs(
    encoder: &Embedder,
    learner: &dyn Learner,
    texts: &[Vec<u32>],
    groups: &[usize],
    options: &ContrastiveOptions,
) -> Result<Learned> {
    let config = encoder.config();
    let parts = deal(texts, options.training.parts);
    let passes: Vec<(Box<dyn Pass>, Vec<f32>)> = parts
        .par_iter()
        .with_max_len(1)
        .map(|part| {
            let batch = Batch::new(part.iter().map(|row| &texts[*row][..]))?;
            let pass = learner.forward(&batch, config.pooling)?;
            let vectors = pass.vectors()?;
            Ok((pass, vectors))
        })
        .collect::<Result<_>>()?;
    let size = config.network.hidden_size;
    let mut vectors = vec![0_f32; texts.len() * size];
    for (part, (_, found)) in parts.iter().zip(&passes) {
        for (row, vector) in part.iter().zip(found.chunks_exact(size)) {
            vectors[row * size..][..size].copy_from_slice(vector);
        }
    }
    let (loss, gradient) = contrast(&vectors, size, groups, options.temperature, encoder.device())?;
    let mut answers = parts
        .par_iter()
        .zip(passes)
        .with_max_len(1)
        .map(|(part, (pass, _))| {
            let rows = part.iter().flat_map(|row| &gradient[row * size..][..size]);
            let gradients = pass.backward(rows.copied().collect())?;
            Ok(Answer { loss: 0.0, gradients })
        })
        .collect::<Result<Vec<Answer>>>()?;
    if let Some(first) = answers.first_mut() {
        first.loss = loss;
    }
    let tokens = texts.iter().map(|ids| ids.len() as u64).sum();
    Ok(Learned { answers, tokens })
}

fn check_pairs(pairs: &Pairs<'_>) -> Result<()> {
    let fail = |problem: String| Err(Error::Training { problem });
    let (texts, groups) = (pairs.texts.len(), pairs.groups.len());
    if texts != groups {
        return fail(format!("expected pairs and a group for each, found {texts} and {groups}"));
    }
    let mut all = pairs.groups.iter();
    let first = all.next();
    if all.all(|group| Some(group) == first) {
        return fail(format!("expected pairs of at least 2 groups, found {texts} pairs of one"));
    }
    Ok(())
}

/// Loss and gradient of the vectors of pairs, the two of a pair one after the other; `groups`: of each pair.
fn contrast(
    vectors: &[f32],
    size: usize,
    groups: &[usize],
    temperature: f64,
    device: &dyn Device,
) -> Result<(f64, Vec<f32>)> {
    let texts = 2 * groups.len();
    let mut shares = product(device, vectors, vectors, size)?;
    let weight = 1.0 / texts as f64;
    let losses: Vec<f64> = shares
        .par_chunks_exact_mut(texts)
        .enumerate()
        .map(|(row, shares)| {
            let partner = row ^ 1;
            for (column, share) in shares.iter_mut().enumerate() {
                let is_out = column != partner && groups[column / 2] == groups[row / 2];
                *share = if is_out { f32::NEG_INFINITY } else { *share / temperature as f32 };
            }
            let own = f64::from(shares[partner]);
            let loss = softmax(shares) - own;
            shares[partner] -= 1.0;
            shares.iter_mut().for_each(|share| *share *= (weight / temperature) as f32);
            loss
        })
        .collect();
    // Every cosine is in two rows' losses: the one's as the question's, the other's as an answer's.
    let mut both = vec![0_f32; shares.len()];
    both.par_chunks_exact_mut(texts).enumerate().for_each(|(row, both)| {
        let columns = shares.iter().skip(row).step_by(texts);
        let own = &shares[row * texts..][..texts];
        both.iter_mut().zip(own).zip(columns).for_each(|((both, a), b)| *both = a + b);
    });
    let turned: Vec<f32> =
        (0..size).flat_map(|at| vectors.iter().skip(at).step_by(size).copied()).collect();
    let gradient = product(device, &both, &turned, texts)?;
    Ok((losses.iter().sum::<f64>() * weight, gradient))
}

/// The mean loss of the texts that are not alone in their group, each with the nearest of its group as the right answer
/// and all other groups' texts as wrong ones.
fn validation_loss(
    vectors: &[f32],
    groups: &[usize],
    temperature: f64,
    device: &dyn Device,
) -> Result<f64> {
    let (mut loss, mut questions) = (0.0, 0_usize);
    for_each_similarity(device, vectors, groups.len(), |row, similar| {
        let own = |column: usize| column != row && groups[column] == groups[row];
        let right = (0..groups.len()).filter(|column| own(*column)).map(|column| similar[column]);
        let Some(right) = right.reduce(f32::max) else { return };
        let scaled = |x: f32| f64::from(x) / temperature;
        // Divided by the right answer's share, so that nothing overflows that matters.
        let others = (0..groups.len()).filter(|column| groups[*column] != groups[row]);
        let wrong: f64 = others.map(|column| (scaled(similar[column]) - scaled(right)).exp()).sum();
        loss += wrong.ln_1p();
        questions += 1;
    })?;
    Ok(loss / questions.max(1) as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use networks::cpu;

    use super::*;
    use crate::training::Random;

    #[test]
    fn the_gradient_of_the_loss_is_that_of_differences() {
        let size = 5;
        // Pairs 0 and 2 are of one group: none of their texts is the other's wrong answer.
        let groups = [7, 3, 7, 1];
        let mut random = Random::new(5, 0);
        let mut vectors: Vec<f32> = (0..8 * size).map(|_| random.signed()).collect();
        let device = cpu();
        let of = |vectors: &[f32]| contrast(vectors, size, &groups, 0.5, device.as_ref()).unwrap();
        let (_, gradient) = of(&vectors);
        for at in 0..vectors.len() {
            let value = vectors[at];
            let mut loss = |value: f32| {
                vectors[at] = value;
                of(&vectors).0
            };
            let difference = (loss(value + 1e-2) - loss(value - 1e-2)) / 2e-2;
            loss(value);
            let error = (difference - f64::from(gradient[at])).abs();
            assert!(error < 1e-3, "{at}: {}, differences {difference}", gradient[at]);
        }
    }

    #[test]
    fn the_loss_is_that_of_the_formula() {
        // Two pairs of unit vectors in the plane, at right angles: cosines 1 and 0.
        let vectors = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let device = cpu();
        let (loss, _) = contrast(&vectors, 2, &[0, 1], 1.0, device.as_ref()).unwrap();
        let expected = -(1_f64.exp() / (1_f64.exp() + 2.0)).ln();
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
        let judged = validation_loss(&vectors, &[0, 0, 1, 1], 1.0, device.as_ref()).unwrap();
        assert!((judged - expected).abs() < 1e-6, "{judged} {expected}");
        // Of one group: nothing is wrong.
        let (loss, _) = contrast(&vectors, 2, &[4, 4], 1.0, device.as_ref()).unwrap();
        assert!(loss.abs() < 1e-6, "{loss}");
    }
}
