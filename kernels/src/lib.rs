//! Numeric operations on matrices of series, on the CPU and on CUDA devices.
//!
//! Analyses of operational data ask the same few questions of very many series at once: which of
//! them move together, what is normal for each at each moment. Those questions are cheap per value
//! and expensive in sum, so each operation here is written for whole matrices, keeps to a stated
//! memory budget whatever the size of its input, and states how far its answer may be from the
//! exact one. This crate knows slices and views; tables, files and tenants are other crates' matter.
//!
//! | operation | what it computes | CPU | CUDA |
//! |---|---|---|---|
//! | [`correlate::correlate`] | Pearson coefficients of all pairs of rows | yes | yes |
//! | [`correlate::correlate_between`] | the same between the rows of two matrices | yes | yes |
//! | [`correlate::correlate_with`] | Spearman's coefficient; pairs over the samples that both have | yes | yes |
//! | [`correlate::correlate_lagged`] | best lag within a bound, and its coefficient | yes | yes |
//! | [`rolling::rolling`] | mean, standard deviation, extremes, median, MAD, quantile, rank over a window | yes | yes |
//! | [`rolling::rolling_by_time`] | the same over windows of equal time | yes | no |
//! | [`nearest::nearest`], [`nearest::nearest_within`] | the k nearest vectors of each vector, exactly | yes | yes |
//! | [`nearest::join`], [`nearest::join_within`] | all pairs of vectors within a threshold | yes | yes |
//! | [`changepoint::pelt`] | change points of mean or variance, all at once | yes | no |
//! | [`changepoint::Cusum`] | an alarm as soon as a mean has moved | yes | no |
//! | [`components::Components`] | connected components of a stream of pairs | yes | no |
//! | [`minhash::signatures`] | MinHash signatures of texts | yes | yes |
//! | [`minhash::similar`] | pairs of texts with similar sets of shingles | yes | no |
//! | [`ivf::IvfIndex`] | nearest vectors, approximately, by an inverted file | yes | no |
//! | [`kmeans::kmeans`] | clusters of rows: centres, labels, inertia | yes | yes |
//! | [`isolation_forest::Forest`] | how easily each row of a table is told apart | yes | yes, scores |
//! | [`matrix_profile::matrix_profile`] | for every window of a series the one most like it | yes | yes |
//! | [`matrix_profile::matrix_profile_between`] | the same between two series | yes | yes |
//! | [`forecast::forecast`] | forecasts and intervals; exponential smoothing chosen by AICc, theta, seasonal naive | yes | yes |
//! | [`spectrum::spectrum`] | the seasons of each row, and its periodogram | yes | no |
//!
//! Everything an operation needs besides its input is in an [`Execution`]: device policy, memory
//! budget, thread pool, and a handle to cancel it and to watch it.

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod budget;
pub mod changepoint;
pub mod components;
pub mod correlate;
mod crossover;
mod cuda;
pub mod device;
mod element;
mod error;
mod execution;
pub mod forecast;
pub mod isolation_forest;
pub mod ivf;
pub mod kmeans;
pub mod matrix_profile;
pub mod minhash;
pub mod nearest;
mod pool;
mod product;
mod progress;
mod random;
pub mod rolling;
pub mod self_test;
mod simd;
pub mod spectrum;
mod stats;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
#[cfg(any(test, feature = "suite"))]
mod testing;
pub mod tolerance;
mod view;

pub use budget::Budget;
pub use crossover::{Crossover, OperationFacts};
pub use device::{Device, DeviceFacts, DeviceReport, Devices, GpuPolicy, devices};
pub use element::Element;
pub use error::{Error, ErrorKind, Memory, Result};
pub use execution::Execution;
pub use pool::Pool;
pub use progress::{Control, Progress};
pub use stats::{Exclusion, Stats};
pub use view::{MatrixView, MatrixViewMut};
