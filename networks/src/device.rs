//! The face: what is asked of a device and of a network on it, in plain numbers.

use std::fmt::Debug;

use crate::bert::{Batch, BertConfig, Pooling};
use crate::error::Result;

/// A named tensor of one or two dimensions, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name; [`shapes_of`](crate::shapes_of) has those of a network.
    pub name: String,
    /// `[length]` or `[rows, columns]`.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
    /// Whether a learner wants its gradient.
    pub is_trained: bool,
}

/// Low-rank adapters beside every weight of the layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapters {
    /// Their narrow side.
    pub rank: usize,
    /// What their product is multiplied with.
    pub scale: f64,
}

/// Where networks are.
pub trait Device: Debug + Send + Sync {
    /// Tells its results from those of other devices, which differ in their last bits.
    fn name(&self) -> &'static str;

    /// Most tokens that are embedded together, padding counted, one batch after the other. None: small batches beside
    /// each other, one a thread.
    fn batch_tokens(&self) -> Option<usize>;

    /// The network of `config` with these weights. Fails with the name of the one that is missing or has another shape.
    fn network(&self, config: &BertConfig, weights: Vec<Parameter>) -> Result<Box<dyn Network>>;

    /// A network to be trained: `weights` are the network's, those of its `adapters`, where it has some, and whatever
    /// beside them is trained with it.
    fn learner(
        &self,
        config: &BertConfig,
        weights: Vec<Parameter>,
        adapters: Option<Adapters>,
    ) -> Result<Box<dyn Learner>>;

    /// Numbers, row by row, that stay on the device.
    fn matrix(&self, values: Vec<f32>, columns: usize) -> Box<dyn Matrix>;
}

/// A network that answers.
pub trait Network: Debug + Send + Sync {
    /// The vectors of the texts of a batch, `[texts, hidden]`, each of length 1. Fails for a token or a place
    /// that the network does not know.
    fn embed(&self, batch: &Batch, pooling: Pooling) -> Result<Vec<f32>>;

    /// Its weights, always in the same order; none is trained.
    fn parameters(&self) -> Result<Vec<Parameter>>;
}

/// A network in training. It does not change its weights by itself: gradients go out, new weights come in.
pub trait Learner: Send + Sync {
    /// Puts a tensor in the place of the one of its name.
    fn put(&mut self, parameter: Parameter) -> Result<()>;

    /// The network as it is now.
    fn network(&self) -> Result<Box<dyn Network>>;

    /// The network without adapters that answers as this one does with them.
    fn merged(&self) -> Result<Box<dyn Network>>;

    /// Through the network. Fails as [`Network::embed`] does.
    fn forward(&self, batch: &Batch, pooling: Pooling) -> Result<Box<dyn Pass>>;

    /// Loss and gradients of the cross-entropy of a linear head's answers. `head`: the names of its weight,
    /// `[hidden, classes]`, and its bias; `targets`: what should be answered for each text, times its weight,
    /// `[texts, classes]`. Gradients: those of the trained tensors, the network's in its order, then the head's.
    fn cross_entropy(
        &self,
        batch: &Batch,
        pooling: Pooling,
        head: [&str; 2],
        targets: Vec<f32>,
    ) -> Result<(f64, Vec<Vec<f32>>)>;
}

/// A way through the network that goes back once what follows from the vectors is known.
pub trait Pass: Send {
    /// The vectors of the texts, row by row.
    fn vectors(&self) -> Result<Vec<f32>>;

    /// And back: the gradients of the trained tensors, in the network's order, from those of the vectors.
    fn backward(self: Box<Self>, gradient: Vec<f32>) -> Result<Vec<Vec<f32>>>;
}

/// A matrix on a device, `[rows, columns]`.
pub trait Matrix: Send + Sync {
    /// `M B`, `[rows, width]`. `right`: `B`, row by row, `[columns, width]`.
    fn times(&self, right: &[f32], width: usize) -> Result<Vec<f32>>;

    /// `M' B`, `[columns, width]`. `right`: `B`, row by row, `[rows, width]`.
    fn turned_times(&self, right: &[f32], width: usize) -> Result<Vec<f32>>;

    /// `M B'`, `[rows, rows of B]`. `right`: `B`, row by row, as many columns as `M` has.
    fn times_turned(&self, right: &[f32]) -> Result<Vec<f32>>;
}
