//! The BERT encoder as models know it: what is around its network, and its weights from and to published files. The network
//! itself is in the crate `networks`.

mod config;
mod load;
mod names;
mod publish;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use config::{ARCHITECTURE, EncoderConfig, SettingsFiles, supported_encoders};
pub(crate) use load::{read_numbers, weights_of};
pub(crate) use publish::{Published, published};
#[cfg(test)]
pub(crate) use tests::{tiny_config, tiny_weights};
