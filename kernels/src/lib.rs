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
//! | [`correlate::correlate_lagged`] | best lag within a bound, and its coefficient | yes | no |
//! | [`rolling::rolling`] | mean, standard deviation, median, MAD, quantile over a window | yes | yes |
//!
//! Everything an operation needs besides its input is in an [`Execution`]: device policy, memory
//! budget, thread pool, and a handle to cancel it and to watch it.

pub mod budget;
pub mod correlate;
mod cuda;
pub mod device;
mod element;
mod error;
mod execution;
mod pool;
mod product;
mod progress;
pub mod rolling;
mod simd;
mod stats;
#[cfg(test)]
mod testing;
pub mod tolerance;
mod view;

pub use budget::Budget;
pub use device::{Device, DeviceReport, GpuPolicy, devices};
pub use element::Element;
pub use error::{Error, ErrorKind, Memory, Result};
pub use execution::Execution;
pub use pool::Pool;
pub use progress::{Control, Progress};
pub use stats::{Exclusion, Stats};
pub use view::{MatrixView, MatrixViewMut};
