//! The crate's correctness suite, as a program can run it on the device at hand.
//!
//! The tests that `cargo test` runs need a checkout and a toolchain, and machines with a GPU often have neither. What
//! they check on a device is therefore also listed here, for a binary that is carried there (`make gpu-package`).

use std::path::Path;

use crate::cuda::{SOURCES, nvrtc};
use crate::error::Result;
pub use crate::testing::Check;

/// Every check that needs a CUDA device.
pub fn on_device() -> Vec<&'static Check> {
    let operations: &[&[Check]] = &[
        crate::cuda::DEVICE,
        crate::correlate::DEVICE,
        crate::correlate::LAGS,
        crate::correlate::VARIANTS,
        crate::forecast::DEVICE,
        crate::isolation_forest::DEVICE,
        crate::kmeans::DEVICE,
        crate::matrix_profile::DEVICE,
        crate::minhash::DEVICE,
        crate::nearest::DEVICE,
        crate::rolling::DEVICE,
    ];
    operations.iter().copied().flatten().collect()
}

/// Compiles every source for `architectures` (such as `sm_90a`) into `folder`, named as the feature `cubins` wants
/// them. Needs NVRTC, and no GPU. Returns how many files were written.
pub fn write_cubins(folder: &Path, architectures: &[&str]) -> Result<usize> {
    for source in SOURCES {
        for architecture in architectures {
            nvrtc::write_built_in(folder, source, architecture)?;
        }
    }
    Ok(SOURCES.len() * architectures.len())
}
