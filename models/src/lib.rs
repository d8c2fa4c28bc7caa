//! The model artifact format: what a registered model is made of, and how it is known to be whole.
//!
//! An artifact is a folder of three things: the weights as one safetensors file, the tokenizer where there
//! is one, and `card.json`, the [`Card`] that says what the model is, what it was trained on and how good it
//! is, and that names the other two by their SHA-256. Safetensors, because reading it runs no code and
//! needs no trust beyond a bounds check. This crate reads and writes bytes; where they lie is others' matter.
//!
//! ```text
//!  artifact/
//!    card.json            Card: names, hashes, training data, evaluation, licence
//!    <sha256>.safetensors weights: 8-byte header length, JSON header, tensors
//!    tokenizer.json       optional
//! ```

mod artifact;
mod card;
mod error;
mod hash;
mod safetensors;

pub use artifact::{Artifact, ArtifactManifest, CARD_FILE, TOKENIZER_FILE};
pub use card::{CARD_BYTES_MAX, Card, DatasetVersion, Evaluation, TrainingData};
pub use error::{Error, Result};
pub use hash::Sha256Hash;
pub use safetensors::{ElementType, HEADER_BYTES_MAX, TENSORS_MAX, TensorInfo, Weights};
