//! Weights in training: on the host, by name, in the network's order. What is held here is all that a checkpoint has to keep.

use networks::{Adapters, Learner, Parameter};

use crate::embedder::Embedder;
use crate::error::Result;

/// The names of the head's tensors.
pub(super) const HEAD_WEIGHT: &str = "head.weight";
pub(super) const HEAD_BIAS: &str = "head.bias";

/// Matrices lose weight, biases and norms do not.
pub(super) fn decays(parameter: &Parameter) -> bool {
    parameter.shape.len() == 2
}

/// The weights of `encoder`.
pub(super) fn parameters_of(
    encoder: &Embedder,
    is_trained: impl Fn(&str) -> bool,
) -> Result<Vec<Parameter>> {
    let mut parameters = encoder.network().parameters()?;
    parameters.iter_mut().for_each(|parameter| parameter.is_trained = is_trained(&parameter.name));
    Ok(parameters)
}

/// A network to be trained, where `encoder` is.
pub(super) fn learner_of(
    encoder: &Embedder,
    parameters: &[Parameter],
    adapters: Option<Adapters>,
) -> Result<Box<dyn Learner>> {
    let device = encoder.device();
    Ok(device.learner(&encoder.config().network, parameters.to_vec(), adapters)?)
}
