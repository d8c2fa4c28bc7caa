//! Neural networks in burn, behind a face that needs no burn: what is above deals in plain numbers, and is compiled
//! without the backends' generic code, which takes minutes.
//!
//! A [`Device`] is where networks are; [`cpu`] is the processor, and the crate `networks-cuda` has the other one. It makes a
//! [`Network`] of named [`Parameter`]s, which answers, or a [`Learner`], which says how its weights should change.
//!
//! ```text
//!   models                    networks                                     networks-cuda
//!   plain numbers ──▶ dyn Device ◀── On<B, S>: bert, generic over backends ──▶ B = burn's CUDA backend
//!                                          └──▶ B = burn-flex, with steps of its own (cpu/)
//! ```

mod autoencoder;
mod bert;
mod cpu;
mod device;
mod error;
mod foresight;
mod on;

pub use autoencoder::{DenseLayer, autoencode, autoencoder_gradients};
pub use bert::{
    Batch, BertConfig, DeviceSteps, NormParts, Pooling, Steps, mixed_product, shapes_of,
};
pub use cpu::cpu;
pub use device::{Adapters, Device, Learner, Matrix, Network, Parameter, Pass};
pub use error::{Error, Result};
pub use foresight::{Truth, foresee, foresight_gradients};
pub use on::On;
