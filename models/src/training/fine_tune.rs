//! Fine-tuning an encoder with its head.
//!
//! A step takes the next texts of the epoch's order, deals them out to a fixed number of parts of about as many tokens,
//! and computes the parts' gradients beside each other. Texts lie end to end and are not padded, so that nothing is
//! gained by putting like lengths together. Whatever the weights depend on (the order, the deal, the order of every
//! sum) follows from the options alone: neither the number of threads nor a stop in between changes a bit of them.

use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::backend::AutodiffBackend;
use burn_autodiff::Autodiff;
use rayon::prelude::*;

use super::adamw::{Moments, Step};
use super::checkpoint::{self, Checkpoint, Place};
use super::head::{Head, HeadProgress};
use super::labels::check_classes;
use super::network::{Answer, Texts, gradient_of, validate, vectors_of};
use super::options::{
    CheckpointOptions, EpochReport, FineTuneOptions, Method, OnTrainProgress, Tables, TrainProgress,
};
use super::parameters::{HEAD_BIAS, HEAD_WEIGHT, Held, Parameter, Plain, parameters_of};
use super::random::Random;
use crate::bert::{Bert, EncoderBackend};
use crate::embedder::Embedder;
use crate::embedding::Role;
use crate::error::{Error, Result};
use crate::hash::Sha256Hash;

/// Texts with their classes.
#[derive(Clone, Copy, Debug)]
pub struct Examples<'a> {
    /// The texts.
    pub texts: &'a [&'a str],
    /// The class of each, below the number of classes.
    pub classes: &'a [usize],
}

/// What a training is called with beside its examples.
pub struct TrainCall<'a> {
    /// How.
    pub options: &'a FineTuneOptions,
    /// Where it keeps what it has; a training that finds its own checkpoint there goes on from it.
    pub checkpoints: Option<&'a CheckpointOptions>,
    /// Told after every step.
    pub on_progress: OnTrainProgress<'a>,
}

/// A trained network.
#[derive(Debug)]
pub struct Trained<B: EncoderBackend> {
    /// The encoder, without adapters.
    pub network: Bert<B>,
    /// Its head.
    pub head: Head,
    /// How good it was after each epoch.
    pub history: Vec<EpochReport>,
    /// The epoch whose weights these are.
    pub best_epoch: usize,
    /// What it cost.
    pub cost: Cost,
    /// What was not as it should be and did no harm, in words.
    pub notices: Vec<String>,
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

/// Fine-tunes `encoder` to tell `count` classes apart. The weights that were best on `validation` are the answer: of
/// the most right answers, of several such the one with the lowest loss.
///
/// Fails for examples that nothing can be learned from, for a loss or gradient that is no number (and says the step),
/// for another training's checkpoints, and when it is told to stop.
pub fn fine_tune<B>(
    encoder: &Embedder<B>,
    count: usize,
    train: Examples<'_>,
    validation: Examples<'_>,
    device: &B::Device,
    call: TrainCall<'_>,
) -> Result<Trained<B>>
where
    B: EncoderBackend,
    Autodiff<B>: EncoderBackend + AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    let mut trainer =
        Trainer::new(encoder, count, train, validation, device, call.options, call.checkpoints)?;
    let started = Instant::now();
    let (before_s, before_texts) = (trainer.place.seconds, trainer.texts_done());
    while trainer.place.epoch < call.options.epochs && !trainer.is_patience_over() {
        let order = trainer.order();
        let first = trainer.place.epoch_step as usize;
        for batch in order.chunks(call.options.batch_texts).skip(first) {
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

/// A training at some step.
struct Trainer<'a, B: EncoderBackend> {
    encoder: &'a Embedder<B>,
    options: &'a FineTuneOptions,
    device: &'a B::Device,
    train: Texts,
    validation: Texts,
    class_weights: Vec<f32>,
    parameters: Vec<Parameter>,
    /// Of those that are trained, in their order.
    moments: Vec<Moments>,
    best: Vec<Vec<f32>>,
    held: Held<B>,
    place: Place,
    /// Steps in all.
    steps: u64,
    steps_per_epoch: u64,
    cut_texts: usize,
    notices: Vec<String>,
}

impl<'a, B> Trainer<'a, B>
where
    B: EncoderBackend,
    Autodiff<B>: EncoderBackend + AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    fn new(
        encoder: &'a Embedder<B>,
        count: usize,
        train: Examples<'_>,
        validation: Examples<'_>,
        device: &'a B::Device,
        options: &'a FineTuneOptions,
        checkpoints: Option<&CheckpointOptions>,
    ) -> Result<Self> {
        options.check()?;
        check_classes(train.classes, count)?;
        let run = name_of(encoder, count, train, validation, options)?;
        let (train, cut) = read(encoder, train, count)?;
        let (validation, cut_too) = read(encoder, validation, count)?;
        let steps_per_epoch = train.classes.len().div_ceil(options.batch_texts) as u64;
        let class_weights = options.class_weights.of(&train.classes, count)?;
        let (checkpoint, notices) = match checkpoints {
            Some(to) => checkpoint::newest(&to.folder, &run)?,
            None => (None, Vec::new()),
        };
        let mut trainer = Self {
            encoder,
            options,
            device,
            train,
            validation,
            class_weights,
            parameters: Vec::new(),
            moments: Vec::new(),
            best: Vec::new(),
            held: Held::new(&[], None, device)?,
            place: Place { run, ..Place::default() },
            steps: steps_per_epoch * options.epochs as u64,
            steps_per_epoch,
            cut_texts: cut + cut_too,
            notices,
        };
        trainer.begin(count, checkpoint)?;
        Ok(trainer)
    }

    /// The weights at the beginning, or at the checkpoint.
    fn begin(&mut self, count: usize, checkpoint: Option<Checkpoint>) -> Result<()> {
        let method = self.options.method;
        let is_trained = move |name: &str| match method {
            Method::Full { tables: Tables::Trained } => true,
            Method::Full { tables: Tables::Frozen } => {
                !["words", "positions", "segments"].contains(&name)
            }
            Method::LowRank { .. } => false,
        };
        self.parameters = parameters_of(self.encoder.network(), is_trained)?;
        if let Some((rank, _)) = self.options.adapters() {
            self.parameters = with_adapters(&self.parameters, rank, self.options.seed);
        }
        let hidden = self.encoder.config().network.hidden_size;
        let head = match &checkpoint {
            Some(_) => Head { weight: vec![0.0; hidden * count], bias: vec![0.0; count] },
            None => self.first_head(count)?,
        };
        for (name, shape, values) in
            [(HEAD_WEIGHT, vec![hidden, count], head.weight), (HEAD_BIAS, vec![count], head.bias)]
        {
            self.parameters.push(Parameter { name: name.into(), shape, values, is_trained: true });
        }
        let trained = || self.parameters.iter().filter(|parameter| parameter.is_trained);
        self.moments = trained().map(|parameter| Moments::new(parameter.values.len())).collect();
        self.best = trained().map(|parameter| parameter.values.clone()).collect();
        if let Some(checkpoint) = checkpoint {
            self.take(checkpoint)?;
        }
        self.held = Held::new(&self.parameters, self.options.adapters(), self.device)?;
        if self.place.history.is_empty() {
            let first = self.report(None)?;
            self.place.history.push(first);
        }
        Ok(())
    }

    /// The head on the vectors as they are before training.
    fn first_head(&self, count: usize) -> Result<Head> {
        let vectors =
            vectors_of(self.encoder.network(), self.encoder.config().pooling, &self.train)?;
        let classes = &self.train.classes;
        let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
        let options = &self.options.head;
        let head = Head::train::<B>(&vectors, classes, count, options, self.device, &mut go_on)?;
        Ok(head.0)
    }

    /// Goes to where a checkpoint is.
    fn take(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        let lists = self.moments.iter_mut().zip(&mut self.best);
        let trained = self.parameters.iter_mut().filter(|parameter| parameter.is_trained);
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
                    problem: format!(
                        "expected {length} numbers of {}, found others",
                        parameter.name
                    ),
                });
            };
            (parameter.values, *moments, *best) = (kept.values, kept.moments, kept.best);
        }
        self.place = checkpoint.place;
        Ok(())
    }

    /// Texts that were learned from, each as often as it was.
    fn texts_done(&self) -> u64 {
        let in_epoch = self.place.epoch_step * self.options.batch_texts as u64;
        let all = self.train.classes.len() as u64;
        self.place.epoch as u64 * all + in_epoch.min(all)
    }

    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.train.classes.len()).collect();
        Random::new(self.options.seed, self.place.epoch as u64).shuffle(&mut order);
        order
    }

    /// Learns from some texts; answers the loss and the learning rate.
    fn step(&mut self, batch: &[usize]) -> Result<(f64, f64)> {
        let step = self.place.step + 1;
        let texts = self.thinned(batch);
        let answers = self.answers(&texts)?;
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
        let (optimiser, head_rate) = (self.options.optimiser, self.options.head_rate);
        let mut trained: Vec<&mut Parameter> =
            self.parameters.iter_mut().filter(|parameter| parameter.is_trained).collect();
        let lists = self.moments.par_iter_mut().zip(&gradients);
        trained.par_iter_mut().zip(lists).for_each(|(parameter, (moments, gradient))| {
            let is_head = [HEAD_WEIGHT, HEAD_BIAS].contains(&parameter.name.as_str());
            let rate = if is_head { learning_rate * head_rate } else { learning_rate };
            let decays = parameter.decays();
            let step = Step { step, learning_rate: rate, gradient_scale, decays };
            optimiser.step(&mut parameter.values, gradient, moments, step);
        });
        for parameter in trained {
            self.held.put(parameter, self.device)?;
        }
        self.place.step = step;
        self.place.epoch_step += 1;
        self.place.epoch_loss += loss;
        self.place.tokens += texts.ids.iter().map(|ids| ids.len() as u64).sum::<u64>();
        Ok((loss, learning_rate))
    }

    /// Texts of the batch, some of their tokens left out.
    fn thinned(&self, batch: &[usize]) -> Texts {
        let mut texts = self.train.some(batch);
        let dropout = self.options.token_dropout;
        if dropout > 0.0 {
            let epoch = self.place.epoch as u64 + 1;
            for (row, ids) in batch.iter().zip(&mut texts.ids) {
                let mut random = Random::new(self.options.seed, epoch << 32 | *row as u64);
                *ids = thinned(ids, dropout, &mut random);
            }
        }
        texts
    }

    /// Loss and gradient of each part.
    fn answers(&self, batch: &Texts) -> Result<Vec<Answer>> {
        let total: f32 = batch.classes.iter().map(|class| self.class_weights[*class]).sum();
        let parts = deal(&batch.ids, self.options.parts);
        let config = self.encoder.config();
        let smoothing = self.options.label_smoothing;
        parts
            .par_iter()
            .with_max_len(1)
            .map(|rows| {
                let texts = batch.some(rows);
                let targets =
                    super::loss::targets(&texts.classes, &self.class_weights, smoothing, total);
                gradient_of::<Autodiff<B>>(&self.held, config, &texts, targets, self.device)
            })
            .collect()
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
        let config = self.encoder.config();
        let network = Bert::assemble(&config.network, &mut Plain(&self.held))?;
        let head = head_of(&self.parameters);
        let found = validate(&network, config.pooling, &head, &self.validation, self.device)?;
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

    fn finish(mut self) -> Result<Trained<B>> {
        let trained = self.parameters.iter_mut().filter(|parameter| parameter.is_trained);
        for (parameter, best) in trained.zip(self.best) {
            parameter.values = best;
            self.held.put(parameter, self.device)?;
        }
        let network = Bert::assemble(&self.encoder.config().network, &mut Plain(&self.held))?;
        let weights = weights_of_layers(self.encoder);
        Ok(Trained {
            network: network.merged(),
            head: head_of(&self.parameters),
            best_epoch: self.place.best_epoch,
            cost: Cost {
                steps: self.place.step,
                tokens: self.place.tokens,
                seconds: self.place.seconds,
                flops: 6.0 * self.place.tokens as f64 * weights as f64,
                cut_texts: self.cut_texts,
            },
            history: self.place.history,
            notices: self.notices,
        })
    }
}

/// The tokens and classes of examples, and how many texts were cut.
pub(super) fn read<B: EncoderBackend>(
    encoder: &Embedder<B>,
    examples: Examples<'_>,
    count: usize,
) -> Result<(Texts, usize)> {
    let (texts, classes) = (examples.texts.len(), examples.classes.len());
    if texts != classes || texts == 0 {
        let problem = format!("expected texts and a class for each, found {texts} and {classes}");
        return Err(Error::Training { problem });
    }
    if let Some(class) = examples.classes.iter().find(|class| **class >= count) {
        let problem = format!("expected classes below {count}, found {class}");
        return Err(Error::Training { problem });
    }
    let tokens = encoder.tokenise(examples.texts, Role::Passage)?;
    let cut = tokens.iter().filter(|tokens| tokens.is_cut).count();
    let ids = tokens.into_iter().map(|tokens| tokens.ids).collect();
    Ok((Texts { ids, classes: examples.classes.to_vec() }, cut))
}

/// Weights of the products of all layers.
pub(super) fn weights_of_layers<B: EncoderBackend>(encoder: &Embedder<B>) -> usize {
    let config = &encoder.config().network;
    let (hidden, between) = (config.hidden_size, config.intermediate_size);
    config.num_hidden_layers * (4 * hidden * hidden + 2 * hidden * between)
}

/// Names a training by all that its weights depend on.
fn name_of<B: EncoderBackend>(
    encoder: &Embedder<B>,
    count: usize,
    train: Examples<'_>,
    validation: Examples<'_>,
    options: &FineTuneOptions,
) -> Result<String> {
    use crate::embedding::TextEmbedder;
    let json = |value: serde_json::Result<String>| {
        value.map_err(|e| Error::Training { problem: format!("as JSON: {e}") })
    };
    let data = json(serde_json::to_string(&[
        (train.texts, train.classes),
        (validation.texts, validation.classes),
    ]))?;
    let options = json(serde_json::to_string(options))?;
    let named = format!("{}\n{count}\n{options}\n{data}", encoder.id());
    Ok(Sha256Hash::of(named.as_bytes()).to_string())
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

fn head_of(parameters: &[Parameter]) -> Head {
    let of = |name: &str| {
        let found = parameters.iter().find(|parameter| parameter.name == name);
        found.map(|parameter| parameter.values.clone()).unwrap_or_default()
    };
    Head { weight: of(HEAD_WEIGHT), bias: of(HEAD_BIAS) }
}
