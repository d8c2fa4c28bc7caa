//! Training of text classifiers, on an encoder's vectors as they are or with the encoder, and of encoders on pairs.
//!
//! ```text
//!  texts, labels -> Labels -> split -> Head::train          seconds
//!                                   -> fine_tune: Full      minutes
//!                                   -> fine_tune: LowRank   minutes, and few weights to keep at a time
//!                                   -> fine_tune_classes, then Head::train: minutes, for few rows
//!  pairs of texts                   -> fine_tune_pairs      minutes
//! ```
//!
//! Everything random follows from a seed, every sum has an order, and a training that was stopped goes on from its
//! checkpoint to the same weights, bit for bit.

mod adamw;
mod checkpoint;
mod class_pairs;
mod contrastive;
mod estimate;
mod fine_tune;
mod head;
mod labels;
mod lbfgs;
mod loss;
mod network;
mod options;
#[cfg(test)]
mod pair_tests;
mod parameters;
#[cfg(test)]
mod published_tests;
mod quality;
mod random;
mod report;
mod split;
#[cfg(test)]
mod tests;
mod trainer;

pub use adamw::AdamW;
pub use class_pairs::fine_tune_classes;
pub use contrastive::{ContrastiveOptions, Grouped, Pairs, fine_tune_pairs};
pub use estimate::{Estimate, estimate, estimate_classes, estimate_pairs};
pub use fine_tune::{Examples, Trained, fine_tune};
pub use head::{Head, HeadOptions, HeadOutcome, HeadProgress, OnHeadProgress};
pub use labels::{LABEL_BYTES_MAX, LABELS_MAX, Labels, ReadLabels};
pub use loss::ClassWeights;
pub use options::{
    BATCH_ROWS_MAX, CheckpointOptions, EPOCHS_MAX, EpochReport, FineTuneOptions, Method,
    OnTrainProgress, RANK_MAX, Tables, TrainOptions, TrainProgress,
};
pub use quality::{Issue, RowQuality, row_quality};
pub use report::{
    DataReport, FoldAnswer, NoiseCandidate, describe, fold_answers, label_noise, repeated_across,
    same_text_groups,
};
pub use split::{Split, split};
pub use trainer::{Cost, TrainCall, TrainedEncoder};

pub(crate) use adamw::{Moments, Step};
pub(crate) use loss::softmax;
pub(crate) use random::Random;
