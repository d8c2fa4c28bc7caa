//! What an operation asks of a device.
//!
//! The plan of a launch (which kernel, which grid, which arguments in which order) is where mistakes hide
//! that no compiler sees. It is written once against this trait, and runs on the driver as it runs on
//! the host emulation in the tests.

use crate::error::Result;

/// A device with one CUDA source loaded.
pub(crate) trait Backend: Sync {
    /// Memory on the device; freed when dropped.
    type Buffer: 'static;

    /// Bytes of device memory that are free.
    fn free_bytes(&self) -> Result<usize>;

    /// Zeroed memory. A lack of it is [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn allocate(&self, operation: &'static str, bytes: usize) -> Result<Self::Buffer>;

    /// Fills the whole buffer with zeros.
    fn clear(&self, buffer: &mut Self::Buffer) -> Result<()>;

    /// Copies to the device, to `offset` bytes into the buffer.
    fn upload(&self, buffer: &mut Self::Buffer, offset: usize, data: &[u8]) -> Result<()>;

    /// Copies from the device, from `offset` bytes into the buffer; returns when the data is there.
    fn download(&self, buffer: &Self::Buffer, offset: usize, data: &mut [u8]) -> Result<()>;

    /// Starts a kernel after everything that was asked for before.
    fn launch(&self, launch: Launch, arguments: &[Argument<'_, Self::Buffer>]) -> Result<()>;
}

/// A kernel and the shape of its grid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    /// Name of the kernel.
    pub(crate) kernel: &'static str,
    /// Blocks in x and y.
    pub(crate) grid: (u32, u32),
    /// Threads of a block.
    pub(crate) block: u32,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: u32,
}

/// One argument of a kernel, of the type that its parameter has.
#[derive(Debug)]
pub(crate) enum Argument<'a, B> {
    /// A pointer to device memory.
    Buffer(&'a B),
    /// An `int`.
    Int(i32),
    /// An `unsigned`.
    Unsigned(u32),
    /// A `double`.
    Double(f64),
}

/// A count as the `int` that kernels take.
pub(crate) fn int<B>(operation: &'static str, value: usize) -> Result<Argument<'static, B>> {
    i32::try_from(value).map(Argument::Int).map_err(|_| crate::Error::Internal {
        operation,
        found: format!("a tile with a size of {value}, beyond what a kernel's int holds"),
    })
}
