//! What a training will cost, before it is begun: the number of its products, and how fast this device makes them, as
//! a few steps of it show. No weight is changed.

use std::time::Instant;

use super::class_pairs::ClassPairs;
use super::contrastive::{ContrastiveOptions, Grouped, Pairs, PairsObjective};
use super::fine_tune::{Classes, Examples};
use super::options::{FineTuneOptions, TrainOptions};
use super::parameters::learner_of;
use super::trainer::{Objective, first_weights, weights_of_layers};
use crate::embedder::Embedder;
use crate::error::Result;

/// Steps that are timed, after one that is not.
const STEPS: usize = 2;

/// What a training will cost if it does not end early.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Steps.
    pub steps: u64,
    /// Tokens that are learned from.
    pub tokens: u64,
    /// Floating-point operations of the products: 6 for each token and each weight of the layers. Adapters spare up to
    /// a third of them.
    pub flops: f64,
    /// Operations a second, counted like that, as one step showed.
    pub flops_per_s: f64,
    /// Seconds: the one over the other. Validation and checkpoints come on top.
    pub seconds: f64,
}

/// Estimates what [`super::fine_tune`] would cost, and fails as it would.
pub fn estimate(
    encoder: &Embedder,
    count: usize,
    train: Examples<'_>,
    options: &FineTuneOptions,
) -> Result<Estimate> {
    let none = Examples { texts: &[], classes: &[] };
    let objective = Classes::new(encoder, count, train, none, options)?;
    estimate_of(encoder, &objective, &options.training)
}

/// Estimates what [`super::fine_tune_pairs`] would cost, and fails as it would.
pub fn estimate_pairs(
    encoder: &Embedder,
    pairs: Pairs<'_>,
    options: &ContrastiveOptions,
) -> Result<Estimate> {
    let none = Grouped { texts: &[], groups: &[] };
    let objective = PairsObjective::new(encoder, pairs, none, options)?;
    estimate_of(encoder, &objective, &options.training)
}

/// Estimates what [`super::fine_tune_classes`] would cost. Fails for rows that nothing can be learned from.
pub fn estimate_classes(
    encoder: &Embedder,
    train: Examples<'_>,
    windows: usize,
    options: &ContrastiveOptions,
) -> Result<Estimate> {
    let none = Examples { texts: &[], classes: &[] };
    let objective = ClassPairs::new(encoder, train, none, windows, options)?;
    estimate_of(encoder, &objective, &options.training)
}

fn estimate_of(
    encoder: &Embedder,
    objective: &dyn Objective,
    options: &TrainOptions,
) -> Result<Estimate> {
    let weights = first_weights(encoder, objective, options, true)?;
    let learner = learner_of(encoder, &weights, options.adapters())?;
    let rows = objective.rows();
    let batch: Vec<usize> = (0..rows.min(options.batch_rows)).collect();
    objective.learn(learner.as_ref(), &batch, 0)?;
    let started = Instant::now();
    let mut step_tokens = 0;
    for _ in 0..STEPS {
        step_tokens += objective.learn(learner.as_ref(), &batch, 0)?.tokens;
    }
    let flops_of = |tokens: u64| 6.0 * tokens as f64 * weights_of_layers(encoder) as f64;
    let flops_per_s = flops_of(step_tokens) / started.elapsed().as_secs_f64();
    let tokens = objective.tokens() * options.epochs as u64;
    Ok(Estimate {
        steps: (rows.div_ceil(options.batch_rows) * options.epochs) as u64,
        tokens,
        flops: flops_of(tokens),
        flops_per_s,
        seconds: flops_of(tokens) / flops_per_s,
    })
}
