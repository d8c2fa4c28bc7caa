//! Text encoders on the device: their vectors beside the processor's, training, and texts a second.
//!
//! The encoder has the size of all-MiniLM-L6-v2 and random weights: no model has to be carried along.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use models::{
    EmbedOptions, Embedder, EncoderDevice, Error, Examples, FineTuneOptions, Result, TextEmbedder,
    TrainCall, TrainOptions, TrainProgress, embedder_on, fine_tune_on, suite,
};
use serde_json::json;

use crate::measure::median;
use crate::options::Options;
use crate::parts::Tell;

/// Texts of 32 tokens, two of them special, at scale 1.
const TEXTS: usize = 200_000;
const WORDS: usize = 30;
/// What the product has to reach, texts a second, tokenisation not counted.
const GOAL: f64 = 400_000.0;
/// Texts whose vectors are held against the processor's.
const COMPARED: usize = 2_000;
const COSINE_MIN: f64 = 0.99999;
/// How far losses may be from the processor's, for products of 8 bits of precision.
const FIRST_LOSS_APART: f64 = 0.02;
const LAST_LOSS_APART: f64 = 0.1;

pub fn names() -> Vec<&'static str> {
    vec!["encoder_vectors", "encoder_training", "encoder_throughput"]
}

/// Does it on the first device; false where something is wrong.
pub fn run(name: &str, options: &Options, tell: &mut Tell<'_>) -> bool {
    perform(name, EncoderDevice::Cuda(0), options, tell).unwrap_or_else(|error| {
        tell(json!({ "error": error.to_string() }));
        false
    })
}

fn perform(
    name: &str,
    device: EncoderDevice,
    options: &Options,
    tell: &mut Tell<'_>,
) -> Result<bool> {
    let encoder = Arc::new(suite::encoder()?);
    match name {
        "encoder_vectors" => vectors(&encoder, device, options, tell),
        "encoder_training" => training(&encoder, device, options, tell),
        "encoder_throughput" => throughput(&encoder, device, options, tell),
        other => Err(Error::Device { problem: format!("there is no such task: {other}") }),
    }
}

fn embed(embedder: &dyn TextEmbedder, texts: &[String]) -> Result<Vec<f32>> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Ok(embedder.embed(&texts, &EmbedOptions::default())?.values)
}

fn vectors(
    encoder: &Arc<Embedder>,
    device: EncoderDevice,
    options: &Options,
    tell: &mut Tell<'_>,
) -> Result<bool> {
    let count = (COMPARED / options.scale).max(8);
    let texts: Vec<String> = (0..count).map(|n| suite::text(n, n * n % 300)).collect();
    let on_device = embedder_on(device, encoder)?;
    let (found, expected) = (embed(on_device.as_ref(), &texts)?, embed(encoder.as_ref(), &texts)?);
    let dimension = encoder.dimension();
    let cosines = found
        .chunks_exact(dimension)
        .zip(expected.chunks_exact(dimension))
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>());
    // A NaN is the least.
    let least = cosines.fold(1.0, |least, cosine| if cosine >= least { least } else { cosine });
    tell(json!({ "texts": count, "leastCosine": least, "bound": COSINE_MIN }));
    Ok(least >= COSINE_MIN)
}

/// Texts of two classes, told apart by one word.
fn examples(count: usize, first: usize) -> (Vec<String>, Vec<usize>) {
    let text = |n: usize| format!("{} {}", suite::text(first + n, 12), ["w7", "w8"][n % 2]);
    ((0..count).map(text).collect(), (0..count).map(|n| n % 2).collect())
}

/// How a training went.
struct Course {
    losses: Vec<f64>,
    texts_per_s: f64,
    accuracy: f64,
}

impl Course {
    fn last(&self) -> f64 {
        self.losses.last().copied().unwrap_or(f64::NAN)
    }
}

/// Tells after each step how far it is, for one that does not come to its end.
fn course(
    encoder: &Embedder,
    device: EncoderDevice,
    scale: usize,
    tell: &mut Tell<'_>,
) -> Result<Course> {
    let (texts, classes) = examples((4_000 / scale).max(64), 0);
    let (own, own_classes) = examples((500 / scale).max(32), 1_000_000);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let options = FineTuneOptions {
        training: TrainOptions { epochs: 2, ..TrainOptions::default() },
        ..FineTuneOptions::default()
    };
    let (mut losses, mut texts_per_s) = (Vec::new(), 0.0);
    let start = Instant::now();
    let mut on_progress = |progress: &TrainProgress| {
        losses.push(progress.loss);
        if losses.len() == 1 {
            tell(json!({ "firstStepSeconds": start.elapsed().as_secs_f64() }));
        }
        tell(json!({ "stepsDone": losses.len(), "stepSeconds": start.elapsed().as_secs_f64() }));
        texts_per_s = progress.texts_per_s;
        ControlFlow::Continue(())
    };
    let trained = fine_tune_on(
        device,
        encoder,
        2,
        Examples { texts: &texts, classes: &classes },
        Examples { texts: &own, classes: &own_classes },
        TrainCall { options: &options, checkpoints: None, on_progress: &mut on_progress },
    )?;
    let accuracy = trained.encoder.history.last().map_or(0.0, |epoch| epoch.validation_accuracy);
    Ok(Course { losses, texts_per_s, accuracy })
}

/// On the device, of mixed precision, beside the processor's: the first steps are the same but for rounding, later ones drift.
fn training(
    encoder: &Arc<Embedder>,
    device: EncoderDevice,
    options: &Options,
    tell: &mut Tell<'_>,
) -> Result<bool> {
    let found = course(encoder, device, options.scale, tell)?;
    tell(json!({
        "steps": found.losses.len(), "lastLoss": found.last(), "textsPerSecond": found.texts_per_s,
        "validationAccuracy": found.accuracy,
    }));
    let expected = course(encoder, EncoderDevice::Cpu, options.scale, &mut |_| ())?;
    let apart = |a: f64, b: f64| (a - b).abs() / b.abs().max(f64::MIN_POSITIVE);
    let first = apart(found.losses[0], expected.losses[0]);
    let last = apart(found.last(), expected.last());
    tell(json!({
        "lastLossOnCpu": expected.last(), "validationAccuracyOnCpu": expected.accuracy,
        "firstLossApart": first, "firstBound": FIRST_LOSS_APART, "lastLossApart": last,
        "lastBound": LAST_LOSS_APART,
    }));
    Ok(first <= FIRST_LOSS_APART && last <= LAST_LOSS_APART)
}

fn throughput(
    encoder: &Arc<Embedder>,
    device: EncoderDevice,
    options: &Options,
    tell: &mut Tell<'_>,
) -> Result<bool> {
    let count = (TEXTS / options.scale).max(64);
    let texts: Vec<String> = (0..count).map(|n| suite::text(n, WORDS)).collect();
    let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
    let start = Instant::now();
    encoder.tokenizer().encode_all(&refs)?;
    let tokenising = start.elapsed().as_secs_f64();
    let on_device = embedder_on(device, encoder)?;
    let start = Instant::now();
    embed(on_device.as_ref(), &texts)?;
    tell(
        json!({ "texts": count, "tokens": WORDS + 2, "firstSeconds": start.elapsed().as_secs_f64() }),
    );
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let start = Instant::now();
        embed(on_device.as_ref(), &texts)?;
        rounds.push(start.elapsed().as_secs_f64());
    }
    let seconds = median(&rounds, &|seconds| *seconds).unwrap_or(f64::NAN);
    let bare = count as f64 / (seconds - tokenising).max(f64::MIN_POSITIVE);
    tell(json!({
        "seconds": seconds,
        "tokenisingSeconds": tokenising,
        "textsPerSecond": count as f64 / seconds,
        "textsPerSecondBare": bare,
        "goalBare": GOAL,
        "withinGoal": bare >= GOAL,
    }));
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn every_task_holds_on_the_processor() {
        let options = Options { scale: 1_000_000, rounds: 1, ..Options::default() };
        for name in names() {
            let mut told = Map::new();
            let holds = perform(name, EncoderDevice::Cpu, &options, &mut |value| {
                told.extend(value.as_object().cloned().unwrap());
            });
            assert!(holds.unwrap(), "{name}: {:#}", Value::Object(told));
        }
    }

    #[test]
    fn without_a_device_a_task_says_so() {
        if kernels::devices().cuda_absent.is_none() {
            return;
        }
        let options = Options { scale: 1_000_000, ..Options::default() };
        let mut error = String::new();
        let holds = run("encoder_vectors", &options, &mut |value| {
            error.push_str(value["error"].as_str().unwrap_or_default());
        });
        assert!(!holds && error.starts_with("device: "), "{error}");
    }
}
