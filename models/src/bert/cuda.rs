//! Encoders on a CUDA device, by burn's kernels, which are compiled for the device when they are first used.

use burn::tensor::Tensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_cuda::{Cuda, CudaDevice};

use super::backend::{EncoderBackend, mixed_product};

/// 32-bit numbers on a CUDA device.
pub type Gpu = Cuda<f32, i32>;

/// The device of a number.
pub fn gpu(ordinal: usize) -> CudaDevice {
    CudaDevice::new(ordinal)
}

impl EncoderBackend for Gpu {
    const NAME: &'static str = "cuda";
}

/// Training is of mixed precision: products are of 16-bit numbers, all else, the weights that steps change above all, is
/// of 32.
impl<C: CheckpointStrategy> EncoderBackend for Autodiff<Gpu, C> {
    const NAME: &'static str = "cuda";

    fn product(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        mixed_product(x, weight)
    }
}
