//! Encoders on a CUDA device, by burn's kernels, which are compiled for the device when they are first used.
//!
//! A crate of its own, because what burn instantiates for CUDA takes longer to compile than all else that computes, and only
//! machines with such a device have use for it.

use std::sync::Arc;

use burn_autodiff::Autodiff;
use burn_cuda::{Cuda, CudaDevice};
use burn_tensor::Tensor;
use networks::{Device, DeviceSteps, On, Steps, mixed_product};

/// 32-bit numbers on a CUDA device.
type Gpu = Cuda<f32, i32>;

/// Training is of mixed precision: products are of 16-bit numbers, all else, the weights that steps change above all, is
/// of 32.
#[derive(Debug)]
struct MixedTraining;

impl DeviceSteps<Gpu> for MixedTraining {
    const NAME: &'static str = "cuda";
    const BATCH_TOKENS: Option<usize> = Some(1 << 15);
}

impl Steps<Gpu> for MixedTraining {}

impl Steps<Autodiff<Gpu>> for MixedTraining {
    fn product(
        x: Tensor<Autodiff<Gpu>, 2>,
        weight: Tensor<Autodiff<Gpu>, 2>,
    ) -> Tensor<Autodiff<Gpu>, 2> {
        mixed_product(x, weight)
    }
}

/// The CUDA device of a number. burn panics where a driver fails, so that what uses it must be guarded.
pub fn cuda(ordinal: usize) -> Arc<dyn Device> {
    Arc::new(On::<Gpu, MixedTraining>::new(CudaDevice::new(ordinal)))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use networks::{BertConfig, Parameter, shapes_of};

    use super::*;

    /// Far above any number of devices: it is not there with a driver, either. All of the network's code for CUDA is compiled
    /// for this.
    #[test]
    fn a_device_that_is_not_there_panics_where_it_is_first_used() {
        let config = BertConfig {
            vocab_size: 4,
            hidden_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 4,
            max_position_embeddings: 4,
            type_vocab_size: 1,
            layer_norm_eps: 1e-12,
        };
        let weight = |(name, shape): (String, Vec<usize>)| {
            let values = vec![0.0; shape.iter().product()];
            Parameter { name, shape, values, is_trained: false }
        };
        let found = catch_unwind(|| {
            let weights = shapes_of(&config, None).into_iter().map(weight).collect();
            let network = cuda(1 << 20).network(&config, weights);
            network.and_then(|network| network.parameters()).is_ok()
        });
        assert!(!matches!(found, Ok(true)));
        assert_eq!(cuda(0).name(), "cuda");
    }
}
