//! The loop of a training, whatever it is that is made small: an [`Objective`] says that, and is all that differs.
//!
//! A step takes the next rows of the epoch's order, has their gradients computed part by part, and moves the weights.
//! Whatever these depend on (the order, the deal, the order of every sum) follows from the options alone: neither the
//! number of threads nor a stop in between changes a bit of them.

use std::ops::ControlFlow;
use std::time::Instant;

use networks::{Learner, Network, Parameter};
use rayon::prelude::*;
use serde::Serialize;

use super::adamw::{Moments, Step};
use super::checkpoint::{self, Checkpoint, Place};
use super::network::{Answer, Validation};
use super::options::{
    CheckpointOptions, EpochReport, Method, OnTrainProgress, Tables, TrainOptions, TrainProgress,
};
use super::parameters::{decays, learner_of, parameters_of};
use super::random::Random;
use crate::embedder::Embedder;
use crate::embedding::TextEmbedder;
use crate::error::{Error, Result};
use crate::hash::Sha256Hash;

/// What a training is called with beside its examples.
pub struct TrainCall<'a, O> {
    /// How.
    pub options: &'a O,
    /// Where it keeps what it has; a training that finds its own checkpoint there goes on from it.
    pub checkpoints: Option<&'a CheckpointOptions>,
    /// Told after every step.
    pub on_progress: OnTrainProgress<'a>,
}

/// What a training cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Steps.
    pub steps: u64,
    /// Tokens that were learned from.
    pub tokens: u64,
    /// Seconds, those of runs that were stopped included as far as they are in a checkpoint.
    pub seconds: f64,
    /// Floating-point operations of the products: 6 for each token and each weight of the layers.
    pub flops: f64,
    /// Texts of which only the beginning was taken.
    pub cut_texts: usize,
}

/// What is made small.
pub(super) trait Objective {
    /// Texts of a row.
    fn row_texts(&self) -> u64;

    /// Rows of an epoch.
    fn rows(&self) -> usize;

    /// The tensors beside the encoder's as training begins with them; any of their shapes, where a checkpoint's take
    /// their place.
    fn tensors(&self, is_resumed: bool) -> Result<Vec<Parameter>>;

    /// How many times higher a tensor's learning rate is than the encoder's.
    fn rate_of(&self, tensor: &str) -> f64;

    /// Loss and gradient of `batch`, rows of an epoch counted from 0, in parts whose sums they are.
    fn learn(&self, learner: &dyn Learner, batch: &[usize], epoch: usize) -> Result<Learned>;

    /// How good the weights are on what is not learned from.
    fn judge(&self, network: &dyn Network, parameters: &[Parameter]) -> Result<Validation>;

    /// Tokens of an epoch.
    fn tokens(&self) -> u64;

    /// Texts of which only the beginning was taken.
    fn cut_texts(&self) -> usize;
}

/// What a step was learned from.
#[derive(Debug)]
pub(super) struct Learned {
    pub answers: Vec<Answer>,
    pub tokens: u64,
}

/// A trained encoder: the weights that were best in validation.
#[derive(Clone, Debug)]
pub struct TrainedEncoder {
    /// The network's weights, without adapters.
    pub weights: Vec<Parameter>,
    /// How good it was after each epoch.
    pub history: Vec<EpochReport>,
    /// The epoch whose weights these are.
    pub best_epoch: usize,
    /// What it cost.
    pub cost: Cost,
    /// What was not as it should be and did no harm, in words.
    pub notices: Vec<String>,
}

/// Trains `encoder` towards `objective`. `run` names the training by all that its weights depend on. The weights that
/// were best are the answer: of the highest accuracy, of several such the one with the lowest loss.
pub(super) fn train(
    encoder: &Embedder,
    objective: &dyn Objective,
    run: String,
    call: TrainCall<'_, TrainOptions>,
) -> Result<(TrainedEncoder, Vec<Parameter>)> {
    let mut trainer = Trainer::new(encoder, objective, run, call.options, call.checkpoints)?;
    let started = Instant::now();
    let (before_s, before_texts) = (trainer.place.seconds, trainer.texts_done());
    while trainer.place.epoch < call.options.epochs && !trainer.is_patience_over() {
        let order = trainer.order();
        let first = trainer.place.epoch_step as usize;
        for batch in order.chunks(call.options.batch_rows).skip(first) {
            let (loss, learning_rate) = trainer.step(batch)?;
            let elapsed_s = started.elapsed().as_secs_f64();
            trainer.place.seconds = before_s + elapsed_s;
            let progress = TrainProgress {
                step: trainer.place.step,
                of: trainer.steps,
                epoch: trainer.place.epoch + 1,
                loss,
                learning_rate,
                texts_per_s: (trainer.texts_done() - before_texts) as f64 / elapsed_s,
            };
            let every = call.checkpoints.map_or(u64::MAX, |to| to.every_steps.max(1));
            let is_stopped = (call.on_progress)(&progress) == ControlFlow::Break(());
            if is_stopped || trainer.place.step.is_multiple_of(every) {
                trainer.keep(call.checkpoints)?;
            }
            if is_stopped {
                return Err(Error::Cancelled);
            }
        }
        trainer.end_epoch()?;
        trainer.place.seconds = before_s + started.elapsed().as_secs_f64();
        trainer.keep(call.checkpoints)?;
    }
    trainer.finish()
}

/// The weights that training begins with. `is_resumed`: a checkpoint's take the place of those beside the encoder's.
pub(super) fn first_weights(
    encoder: &Embedder,
    objective: &dyn Objective,
    options: &TrainOptions,
    is_resumed: bool,
) -> Result<Vec<Parameter>> {
    let method = options.method;
    let is_trained = move |name: &str| match method {
        Method::Full { tables: Tables::Trained } => true,
        Method::Full { tables: Tables::Frozen } => {
            !["words", "positions", "segments"].contains(&name)
        }
        Method::LowRank { .. } => false,
    };
    let mut parameters = parameters_of(encoder, is_trained)?;
    if let Some(adapters) = options.adapters() {
        parameters = with_adapters(&parameters, adapters.rank, options.seed);
    }
    parameters.extend(objective.tensors(is_resumed)?);
    Ok(parameters)
}

/// The place of a checkpoint, and what it kept of each trained parameter.
fn taken(
    mut checkpoint: Checkpoint,
    parameters: &mut [Parameter],
    moments: &mut [Moments],
    best: &mut [Vec<f32>],
) -> Result<Place> {
    let lists = moments.iter_mut().zip(best);
    let trained = parameters.iter_mut().filter(|parameter| parameter.is_trained);
    for (parameter, (moments, best)) in trained.zip(lists) {
        let length = parameter.values.len();
        let kept = checkpoint.tensors.remove(&parameter.name).filter(|kept| {
            [&kept.values, &kept.moments.first, &kept.moments.second, &kept.best]
                .iter()
                .all(|list| list.len() == length)
        });
        let Some(kept) = kept else {
            return Err(Error::Checkpoint {
                file: format!("of step {}", checkpoint.place.step),
                problem: format!("expected {length} numbers of {}, found others", parameter.name),
            });
        };
        (parameter.values, *moments, *best) = (kept.values, kept.moments, kept.best);
    }
    Ok(checkpoint.place)
}

/// A training at some step.
struct Trainer<'a> {
    encoder: &'a Embedder,
    objective: &'a dyn Objective,
    options: &'a TrainOptions,
    parameters: Vec<Parameter>,
    /// Of those that are trained, in their order.
    moments: Vec<Moments>,
    best: Vec<Vec<f32>>,
    learner: Box<dyn Learner>,
    place: Place,
    /// Steps in all.
    steps: u64,
    steps_per_epoch: u64,
    notices: Vec<String>,
}

impl<'a> Trainer<'a> {
    /// With the weights at the beginning, or at the checkpoint.
    fn new(
        encoder: &'a Embedder,
        objective: &'a dyn Objective,
        run: String,
        options: &'a TrainOptions,
        checkpoints: Option<&CheckpointOptions>,
    ) -> Result<Self> {
        let steps_per_epoch = objective.rows().div_ceil(options.batch_rows) as u64;
        let (checkpoint, notices) = match checkpoints {
            Some(to) => checkpoint::newest(&to.folder, &run)?,
            None => (None, Vec::new()),
        };
        let mut parameters = first_weights(encoder, objective, options, checkpoint.is_some())?;
        let trained = || parameters.iter().filter(|parameter| parameter.is_trained);
        let mut moments: Vec<_> =
            trained().map(|parameter| Moments::new(parameter.values.len())).collect();
        let mut best: Vec<_> = trained().map(|parameter| parameter.values.clone()).collect();
        let place = match checkpoint {
            Some(checkpoint) => taken(checkpoint, &mut parameters, &mut moments, &mut best)?,
            None => Place { run, ..Place::default() },
        };
        let mut trainer = Self {
            encoder,
            objective,
            options,
            moments,
            best,
            learner: learner_of(encoder, &parameters, options.adapters())?,
            parameters,
            place,
            steps: steps_per_epoch * options.epochs as u64,
            steps_per_epoch,
            notices,
        };
        if trainer.place.history.is_empty() {
            let first = trainer.report(None)?;
            trainer.place.history.push(first);
        }
        Ok(trainer)
    }

    /// Texts that were learned from, each as often as it was.
    fn texts_done(&self) -> u64 {
        let in_epoch = self.place.epoch_step * self.options.batch_rows as u64;
        let all = self.objective.rows() as u64;
        self.objective.row_texts() * (self.place.epoch as u64 * all + in_epoch.min(all))
    }

    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.objective.rows()).collect();
        Random::new(self.options.seed, self.place.epoch as u64).shuffle(&mut order);
        order
    }

    /// Learns from some rows; answers the loss and the learning rate.
    fn step(&mut self, batch: &[usize]) -> Result<(f64, f64)> {
        let step = self.place.step + 1;
        let Learned { answers, tokens } =
            self.objective.learn(self.learner.as_ref(), batch, self.place.epoch)?;
        let loss: f64 = answers.iter().map(|answer| answer.loss).sum();
        if !loss.is_finite() {
            return Err(Error::Diverged { step, what: "loss", found: loss.to_string() });
        }
        let gradients = summed(answers);
        let squares: Vec<f64> = gradients.par_iter().map(|gradient| squares(gradient)).collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::Diverged { step, what: "gradient", found: norm.to_string() });
        }
        let most = self.options.gradient_norm_max.unwrap_or(f64::INFINITY);
        let gradient_scale = if norm > most { (most / norm) as f32 } else { 1.0 };
        let learning_rate = self.options.rate(step, self.steps);
        let optimiser = self.options.optimiser;
        let rates: Vec<f64> = self
            .parameters
            .iter()
            .filter(|parameter| parameter.is_trained)
            .map(|parameter| learning_rate * self.objective.rate_of(&parameter.name))
            .collect();
        let mut trained: Vec<&mut Parameter> =
            self.parameters.iter_mut().filter(|parameter| parameter.is_trained).collect();
        let lists = self.moments.par_iter_mut().zip(&gradients).zip(rates);
        trained.par_iter_mut().zip(lists).for_each(|(parameter, ((moments, gradient), rate))| {
            let decays = decays(parameter);
            let step = Step { step, learning_rate: rate, gradient_scale, decays };
            optimiser.step(&mut parameter.values, gradient, moments, step);
        });
        for parameter in trained {
            self.learner.put(parameter.clone())?;
        }
        self.place.step = step;
        self.place.epoch_step += 1;
        self.place.epoch_loss += loss;
        self.place.tokens += tokens;
        Ok((loss, learning_rate))
    }

    fn end_epoch(&mut self) -> Result<()> {
        let train_loss = self.place.epoch_loss / self.steps_per_epoch as f64;
        self.place.epoch += 1;
        (self.place.epoch_step, self.place.epoch_loss) = (0, 0.0);
        let report = self.report(Some(train_loss))?;
        let best = self.place.history[self.place.best_epoch];
        let key = |of: &EpochReport| (of.validation_accuracy, -of.validation_loss);
        if key(&report) > key(&best) {
            self.place.best_epoch = report.epoch;
            let trained = self.parameters.iter().filter(|parameter| parameter.is_trained);
            self.best = trained.map(|parameter| parameter.values.clone()).collect();
        }
        self.place.history.push(report);
        Ok(())
    }

    fn report(&self, train_loss: Option<f64>) -> Result<EpochReport> {
        let network = self.learner.network()?;
        let found = self.objective.judge(network.as_ref(), &self.parameters)?;
        Ok(EpochReport {
            epoch: self.place.epoch,
            train_loss,
            validation_loss: found.loss,
            validation_accuracy: found.accuracy,
        })
    }

    fn is_patience_over(&self) -> bool {
        let since = self.place.epoch - self.place.best_epoch;
        self.options.patience.is_some_and(|patience| since > 0 && since >= patience)
    }

    fn keep(&self, to: Option<&CheckpointOptions>) -> Result<()> {
        let Some(to) = to else { return Ok(()) };
        let trained = self.parameters.iter().filter(|parameter| parameter.is_trained);
        let lists = self.moments.iter().zip(&self.best);
        let all: Vec<_> = trained.zip(lists).map(|(p, (m, best))| (p, m, &best[..])).collect();
        checkpoint::write(to, &self.place, &all)
    }

    fn finish(mut self) -> Result<(TrainedEncoder, Vec<Parameter>)> {
        let trained = self.parameters.iter_mut().filter(|parameter| parameter.is_trained);
        for (parameter, best) in trained.zip(self.best) {
            parameter.values = best;
            self.learner.put(parameter.clone())?;
        }
        let weights = weights_of_layers(self.encoder);
        let trained = TrainedEncoder {
            weights: self.learner.merged()?.parameters()?,
            best_epoch: self.place.best_epoch,
            cost: Cost {
                steps: self.place.step,
                tokens: self.place.tokens,
                seconds: self.place.seconds,
                flops: 6.0 * self.place.tokens as f64 * weights as f64,
                cut_texts: self.objective.cut_texts(),
            },
            history: self.place.history,
            notices: self.notices,
        };
        Ok((trained, self.parameters))
    }
}

/// Weights of the products of all layers.
pub(super) fn weights_of_layers(encoder: &Embedder) -> usize {
    let config = &encoder.config().network;
    let (hidden, between) = (config.hidden_size, config.intermediate_size);
    config.num_hidden_layers * (4 * hidden * hidden + 2 * hidden * between)
}

/// Names a training by all that its weights depend on: the device, the encoder, the options and the data.
pub(super) fn name_of(
    encoder: &Embedder,
    options: &impl Serialize,
    data: &impl Serialize,
) -> Result<String> {
    let json =
        serde_json::to_string(&(encoder.device().name(), encoder.id().to_string(), options, data))
            .map_err(|e| Error::Training { problem: format!("as JSON: {e}") })?;
    Ok(Sha256Hash::of(json.as_bytes()).to_string())
}

/// Puts an adapter beside every weight: the first half random, as a layer's weights are at first, the second nothing.
fn with_adapters(parameters: &[Parameter], rank: usize, seed: u64) -> Vec<Parameter> {
    let mut all = Vec::new();
    let mut weight: Option<(String, usize, usize)> = None;
    for parameter in parameters {
        all.push(parameter.clone());
        let product = parameter.name.strip_suffix(".weight");
        if let (Some(name), &[inner, out]) = (product, &parameter.shape[..]) {
            weight = Some((name.to_owned(), inner, out));
        }
        let is_bias = parameter.name.ends_with(".bias");
        let Some((name, inner, out)) = weight.take_if(|_| is_bias) else { continue };
        let mut random = Random::new(seed, u64::MAX - all.len() as u64);
        let most = (1.0 / inner as f32).sqrt();
        let down = (0..inner * rank).map(|_| random.signed() * most).collect();
        for (half, shape, values) in
            [("down", vec![inner, rank], down), ("up", vec![rank, out], vec![0.0; rank * out])]
        {
            let name = format!("{name}.adapter.{half}");
            all.push(Parameter { name, shape, values, is_trained: true });
        }
    }
    all
}

/// Tokens of the rows of a batch, some of them left out: the same ones whenever the row is seen in that epoch.
pub(super) fn thinned_rows(
    options: &TrainOptions,
    epoch: usize,
    rows: impl Iterator<Item = usize>,
    texts: &mut [Vec<u32>],
) {
    if options.token_dropout == 0.0 {
        return;
    }
    for (row, ids) in rows.zip(texts) {
        let mut random = Random::new(options.seed, (epoch as u64 + 1) << 32 | row as u64);
        *ids = thinned(ids, options.token_dropout, &mut random);
    }
}

/// The tokens but for some between the first and the last; one of those stays at least.
fn thinned(ids: &[u32], dropout: f32, random: &mut Random) -> Vec<u32> {
    let inner = 1..ids.len().saturating_sub(1);
    let kept = |at: &usize| !inner.contains(at) || (random.signed() + 1.0) / 2.0 >= dropout;
    let places: Vec<usize> = (0..ids.len()).filter(kept).collect();
    if places.len() == 2 { ids.to_vec() } else { places.iter().map(|at| ids[*at]).collect() }
}

/// Texts dealt out so that the parts have about as many tokens: longest first, each to the part that has the fewest.
pub(super) fn deal(ids: &[Vec<u32>], parts: usize) -> Vec<Vec<usize>> {
    let mut rows: Vec<usize> = (0..ids.len()).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(ids[*row].len()));
    let mut dealt = vec![(0, Vec::new()); parts];
    for row in rows {
        if let Some((tokens, part)) = dealt.iter_mut().min_by_key(|(tokens, _)| *tokens) {
            *tokens += ids[row].len();
            part.push(row);
        }
    }
    dealt.into_iter().map(|(_, part)| part).filter(|part| !part.is_empty()).collect()
}

/// The sum of the parts' gradients, in the parts' order.
fn summed(answers: Vec<Answer>) -> Vec<Vec<f32>> {
    let mut parts = answers.into_iter().map(|answer| answer.gradients);
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        sum.par_iter_mut().zip(&part).for_each(|(sum, part)| {
            sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        });
    }
    sum
}

/// The sum of the squares, in double precision and in eight lanes.
fn squares(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0_f64; 8];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
}
