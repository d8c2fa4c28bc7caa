//! What an operation needs besides its input.

use crate::budget::Budget;
use crate::crossover::Crossover;
use crate::device::GpuPolicy;
use crate::error::Result;
use crate::pool::Pool;
use crate::progress::Control;

/// Where and within which bounds an operation runs. Every operation takes one.
///
/// ```
/// use kernels::{Budget, Execution, GpuPolicy};
///
/// let execution = Execution { gpu: GpuPolicy::Off, budget: Budget::host(64 << 20), ..Execution::default() };
/// assert_eq!(execution.budget.host_bytes, 64 << 20);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Execution {
    /// Whether a CUDA device must, may or must not be used.
    pub gpu: GpuPolicy,
    /// From which size on a device is taken where it is preferred.
    pub crossover: Crossover,
    /// How much memory may be used besides inputs and results.
    pub budget: Budget,
    /// The worker threads; all cores when absent.
    pub pool: Option<Pool>,
    /// To cancel the operation and to watch it.
    pub control: Control,
}

impl Execution {
    pub(crate) fn threads(&self) -> Result<Pool> {
        match &self.pool {
            Some(pool) => Ok(pool.clone()),
            None => Pool::shared(),
        }
    }
}
