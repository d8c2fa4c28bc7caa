//! What an operation did, beside its result.

use crate::device::DeviceReport;

/// Why a series has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exclusion {
    /// All its values are the same, so that it has no direction to compare.
    Constant,
    /// All its values are 0, so that it points nowhere.
    Zero,
    /// It holds a NaN or an infinity.
    NotFinite,
}

/// The record of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// The device that did the work, and why that one.
    pub device: DeviceReport,
    /// Tiles the work was cut into.
    pub tiles: u64,
    /// Times a tile was halved because memory ran out.
    pub halvings: u64,
    /// Rows that were left out, of all inputs together.
    pub excluded_rows: u64,
    /// Values that were skipped because they are NaN or infinite.
    pub missing_values: u64,
    /// Results that had to be computed a second time, by a slower path.
    pub fallbacks: u64,
    /// Most memory that tiles took at one time, in bytes.
    pub peak_bytes: u64,
    /// Time from call to return, in seconds.
    pub seconds: f64,
    /// Time that kernels ran on CUDA devices, all together, in seconds; 0 on the CPU.
    pub kernel_seconds: f64,
}

impl Stats {
    pub(crate) fn new(device: DeviceReport) -> Self {
        Self {
            device,
            tiles: 0,
            halvings: 0,
            excluded_rows: 0,
            missing_values: 0,
            fallbacks: 0,
            peak_bytes: 0,
            seconds: 0.0,
            kernel_seconds: 0.0,
        }
    }
}
