//! Fine-tuning an encoder with its head.
//!
//! A step's texts are dealt out to a fixed number of parts of about as many tokens, whose gradients are computed beside
//! each other. Texts lie end to end and are not padded, so that nothing is gained by putting like lengths together.

use std::ops::ControlFlow;

use networks::{Learner, Network, Parameter};
use rayon::prelude::*;

use super::head::{Head, HeadProgress};
use super::labels::check_classes;
use super::network::{Texts, Validation, gradient_of, validate, vectors_of};
use super::options::FineTuneOptions;
use super::parameters::{HEAD_BIAS, HEAD_WEIGHT};
use super::trainer::{
    Learned, Objective, TrainCall, TrainedEncoder, deal, name_of, thinned_rows,
    train as train_towards,
};
use crate::embedder::Embedder;
use crate::embedding::Role;
use crate::error::{Error, Result};

/// Texts with their classes.
#[derive(Clone, Copy, Debug)]
pub struct Examples<'a> {
    /// The texts.
    pub texts: &'a [&'a str],
    /// The class of each, below the number of classes.
    pub classes: &'a [usize],
}

impl Examples<'_> {
    /// Fails for another number of classes than texts.
    pub(super) fn check(&self) -> Result<()> {
        let (texts, classes) = (self.texts.len(), self.classes.len());
        if texts == classes {
            return Ok(());
        }
        let problem = format!("expected texts and a class for each, found {texts} and {classes}");
        Err(Error::Training { problem })
    }
}

/// A trained encoder with its head.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The encoder.
    pub encoder: TrainedEncoder,
    /// Its head.
    pub head: Head,
}

/// Fine-tunes `encoder` to tell `count` classes apart. The weights that were best on `validation` are the answer: of
/// the most right answers, of several such the one with the lowest loss.
///
/// Fails for examples that nothing can be learned from, for a loss or gradient that is no number (and says the step),
/// for another training's checkpoints, and when it is told to stop.
pub fn fine_tune(
    encoder: &Embedder,
    count: usize,
    train: Examples<'_>,
    validation: Examples<'_>,
    call: TrainCall<'_, FineTuneOptions>,
) -> Result<Trained> {
    let options = call.options;
    if validation.texts.is_empty() {
        let problem = "validation: expected rows, found none".to_owned();
        return Err(Error::Training { problem });
    }
    let run = name_of(
        encoder,
        options,
        &(count, train.texts, train.classes, validation.texts, validation.classes),
    )?;
    let objective = Classes::new(encoder, count, train, validation, options)?;
    let call = TrainCall {
        options: &options.training,
        checkpoints: call.checkpoints,
        on_progress: call.on_progress,
    };
    let (found, parameters) = train_towards(encoder, &objective, run, call)?;
    Ok(Trained { encoder: found, head: head_of(&parameters) })
}

/// Texts are told apart by class.
pub(super) struct Classes<'a> {
    encoder: &'a Embedder,
    options: &'a FineTuneOptions,
    train: Texts,
    validation: Texts,
    class_weights: Vec<f32>,
    cut_texts: usize,
}

impl Objective for Classes<'_> {
    fn row_texts(&self) -> u64 {
        1
    }

    fn rows(&self) -> usize {
        self.train.classes.len()
    }

    fn tensors(&self, is_resumed: bool) -> Result<Vec<Parameter>> {
        let (hidden, count) = (self.encoder.config().network.hidden_size, self.class_weights.len());
        let head = if is_resumed {
            Head { weight: vec![0.0; hidden * count], bias: vec![0.0; count] }
        } else {
            self.first_head()?
        };
        let lists =
            [(HEAD_WEIGHT, vec![hidden, count], head.weight), (HEAD_BIAS, vec![count], head.bias)];
        let parameter = |(name, shape, values): (&str, Vec<usize>, Vec<f32>)| Parameter {
            name: name.into(),
            shape,
            values,
            is_trained: true,
        };
        Ok(lists.into_iter().map(parameter).collect())
    }

    fn rate_of(&self, tensor: &str) -> f64 {
        if [HEAD_WEIGHT, HEAD_BIAS].contains(&tensor) { self.options.head_rate } else { 1.0 }
    }

    fn learn(&self, learner: &dyn Learner, batch: &[usize], epoch: usize) -> Result<Learned> {
        let training = &self.options.training;
        let mut texts = self.train.some(batch);
        thinned_rows(training, epoch, batch.iter().copied(), &mut texts.ids);
        let total: f32 = texts.classes.iter().map(|class| self.class_weights[*class]).sum();
        let parts = deal(&texts.ids, training.parts);
        let pooling = self.encoder.config().pooling;
        let smoothing = self.options.label_smoothing;
        let answers = parts
            .par_iter()
            .with_max_len(1)
            .map(|rows| {
                let texts = texts.some(rows);
                let targets =
                    super::loss::targets(&texts.classes, &self.class_weights, smoothing, total);
                gradient_of(learner, pooling, &texts, targets)
            })
            .collect::<Result<_>>()?;
        let tokens = texts.ids.iter().map(|ids| ids.len() as u64).sum();
        Ok(Learned { answers, tokens })
    }

    fn judge(&self, network: &dyn Network, parameters: &[Parameter]) -> Result<Validation> {
        let pooling = self.encoder.config().pooling;
        let device = self.encoder.device();
        validate(network, pooling, &head_of(parameters), &self.validation, device)
    }

    fn tokens(&self) -> u64 {
        self.train.ids.iter().map(|ids| ids.len() as u64).sum()
    }

    fn cut_texts(&self) -> usize {
        self.cut_texts
    }
}

impl<'a> Classes<'a> {
    /// Fails for options that make no sense and for examples that nothing can be learned from.
    pub(super) fn new(
        encoder: &'a Embedder,
        count: usize,
        train: Examples<'_>,
        validation: Examples<'_>,
        options: &'a FineTuneOptions,
    ) -> Result<Self> {
        options.check()?;
        check_classes(train.classes, count)?;
        let (train, cut) = read(encoder, train, count)?;
        let (validation, cut_too) = read(encoder, validation, count)?;
        let class_weights = options.class_weights.of(&train.classes, count)?;
        let cut_texts = cut + cut_too;
        Ok(Self { encoder, options, train, validation, class_weights, cut_texts })
    }

    /// The head on the vectors as they are before training.
    fn first_head(&self) -> Result<Head> {
        let pooling = self.encoder.config().pooling;
        let vectors = vectors_of(self.encoder.network(), pooling, &self.train.ids)?;
        let (classes, count) = (&self.train.classes, self.class_weights.len());
        let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
        let options = &self.options.head;
        let head =
            Head::train_on(self.encoder.device(), &vectors, classes, count, options, &mut go_on)?;
        Ok(head.0)
    }
}

/// The tokens and classes of examples, and how many texts were cut.
fn read(encoder: &Embedder, examples: Examples<'_>, count: usize) -> Result<(Texts, usize)> {
    examples.check()?;
    if let Some(class) = examples.classes.iter().find(|class| **class >= count) {
        let problem = format!("expected classes below {count}, found {class}");
        return Err(Error::Training { problem });
    }
    let tokens = encoder.tokenise(examples.texts, Role::Passage)?;
    let cut = tokens.iter().filter(|tokens| tokens.is_cut).count();
    let ids = tokens.into_iter().map(|tokens| tokens.ids).collect();
    Ok((Texts { ids, classes: examples.classes.to_vec() }, cut))
}

fn head_of(parameters: &[Parameter]) -> Head {
    let of = |name: &str| {
        let found = parameters.iter().find(|parameter| parameter.name == name);
        found.map(|parameter| parameter.values.clone()).unwrap_or_default()
    };
    Head { weight: of(HEAD_WEIGHT), bias: of(HEAD_BIAS) }
}
