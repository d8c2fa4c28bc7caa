//! What a training will cost, before it is begun: the number of its products, and how fast this device makes them, as
//! one step of it shows. No weight is changed.

use std::time::Instant;

use burn::tensor::backend::AutodiffBackend;
use burn_autodiff::Autodiff;
use rayon::prelude::*;

use super::fine_tune::{Examples, deal, read, weights_of_layers};
use super::labels::check_classes;
use super::loss::targets;
use super::network::gradient_of;
use super::options::{FineTuneOptions, Method};
use super::parameters::{HEAD_BIAS, HEAD_WEIGHT, Held, Parameter, parameters_of};
use crate::bert::EncoderBackend;
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
pub fn estimate<B>(
    encoder: &Embedder<B>,
    count: usize,
    train: Examples<'_>,
    options: &FineTuneOptions,
    device: &B::Device,
) -> Result<Estimate>
where
    B: EncoderBackend,
    Autodiff<B>: EncoderBackend + AutodiffBackend<InnerBackend = B, Device = B::Device>,
{
    options.check()?;
    check_classes(train.classes, count)?;
    let (texts, _) = read(encoder, train, count)?;
    let hidden = encoder.config().network.hidden_size;
    // As many weights are trained as would be: of adapters none, which is the least that they cost.
    let is_full = matches!(options.method, Method::Full { .. });
    let mut parameters = parameters_of(encoder.network(), |name| is_full && name.contains('.'))?;
    for (name, shape) in [(HEAD_WEIGHT, vec![hidden, count]), (HEAD_BIAS, vec![count])] {
        let values = vec![0.0; shape.iter().product()];
        parameters.push(Parameter { name: name.into(), shape, values, is_trained: true });
    }
    let held = Held::<B>::new(&parameters, None, device)?;
    let batch: Vec<usize> = (0..texts.classes.len().min(options.batch_texts)).collect();
    let first = texts.some(&batch);
    let parts = deal(&first.ids, options.parts);
    let step = || -> Result<()> {
        parts.par_iter().with_max_len(1).try_for_each(|rows| {
            let some = first.some(rows);
            let targets = targets(&some.classes, &vec![1.0; count], 0.0, batch.len() as f32);
            gradient_of::<Autodiff<B>>(&held, encoder.config(), &some, targets, device).map(drop)
        })
    };
    step()?;
    let started = Instant::now();
    for _ in 0..STEPS {
        step()?;
    }
    let step_s = started.elapsed().as_secs_f64() / STEPS as f64;
    let tokens_of =
        |rows: &[usize]| rows.iter().map(|row| texts.ids[*row].len() as u64).sum::<u64>();
    let flops_of = |tokens: u64| 6.0 * tokens as f64 * weights_of_layers(encoder) as f64;
    let all: Vec<usize> = (0..texts.ids.len()).collect();
    let tokens = tokens_of(&all) * options.epochs as u64;
    let flops_per_s = flops_of(tokens_of(&batch)) / step_s;
    Ok(Estimate {
        steps: (texts.ids.len().div_ceil(options.batch_texts) * options.epochs) as u64,
        tokens,
        flops: flops_of(tokens),
        flops_per_s,
        seconds: flops_of(tokens) / flops_per_s,
    })
}
