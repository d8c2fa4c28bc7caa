//! Low-rank adapters (Hu et al. 2021, section 4.1): beside a weight `W` that stays as it is, a product of two
//! narrow ones is trained, `x W + s x A B`. `B` begins as nothing, so that the network begins as it was.

use burn_tensor::Tensor;
use burn_tensor::backend::Backend;

/// The adapter of one weight.
#[derive(Clone, Debug)]
pub struct Adapter<B: Backend> {
    /// `[in, rank]`.
    pub(super) down: Tensor<B, 2>,
    /// `[rank, out]`.
    pub(super) up: Tensor<B, 2>,
    /// `s`.
    pub(super) scale: f64,
}

impl<B: Backend> Adapter<B> {
    /// `s x A B`, the narrow side scaled.
    pub(super) fn product(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.matmul(self.down.clone()).mul_scalar(self.scale).matmul(self.up.clone())
    }

    /// `W + s A B`: the weight that does the same alone.
    pub(super) fn merged(&self, weight: Tensor<B, 2>) -> Tensor<B, 2> {
        weight + self.down.clone().matmul(self.up.clone()).mul_scalar(self.scale)
    }
}
