//! Rolling statistics on a CUDA device: as many rows at a time as its memory holds.
//!
//! Each tile is copied once; every statistic is one launch over it and one copy back. A single row must fit the
//! device's budget, and a window its shared memory ([`LONGEST_WINDOW`]).

use super::{OPERATION, RollingOutput, Statistic, Window};
use crate::budget::{halving, largest_tile};
use crate::cuda::backend::{Argument, Backend, Launch, int};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

/// The longest window the kernels take, in samples.
pub(super) const LONGEST_WINDOW: usize = 4096;
/// Threads of a block; outputs of a block of moments.
const THREADS: usize = 256;
/// Samples that are sorted together, at least and at most.
const STRETCH: std::ops::RangeInclusive<usize> = 1024..=8192;

pub(super) fn run<B: Backend, T: Element>(
    backend: &B,
    x: MatrixView<'_, T>,
    window: &Window,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let row_bytes = x.cols() * size_of::<T>();
    let device_bytes = match execution.budget.device_bytes {
        Some(bytes) => bytes,
        None => backend.free_bytes()? / 5 * 4,
    };
    let cost = |rows: usize| 2 * rows * row_bytes;
    let plan = Plan::new(x.cols(), window);
    // A grid has at most 2^31 - 1 blocks.
    let most = x.rows().min(i32::MAX as usize / plan.stretches.max(x.cols().div_ceil(THREADS)));
    let rows = largest_tile(OPERATION, Memory::Device, device_bytes, most, cost)?;
    let ((mut samples, results, rows), halvings) = halving(rows, |rows| {
        let allocate = || backend.allocate(OPERATION, rows * row_bytes);
        Ok((allocate()?, allocate()?, rows))
    })?;
    stats.halvings += halvings;
    let statistics: Vec<Statistic> = outputs.iter().map(|output| output.statistic).collect();
    let mut targets: Vec<_> = outputs.iter_mut().map(|output| output.values.rows_mut()).collect();
    execution.control.begin(x.rows().div_ceil(rows) as u64);
    for first in (0..x.rows()).step_by(rows) {
        execution.control.check(OPERATION)?;
        let count = rows.min(x.rows() - first);
        for row in 0..count {
            backend.upload(
                &mut samples,
                row * row_bytes,
                bytemuck::cast_slice(x.row(first + row)),
            )?;
        }
        for (statistic, target) in statistics.iter().zip(&mut targets) {
            plan.launch::<B, T>(backend, *statistic, count, &samples, &results)?;
            for (row, values) in target.by_ref().take(count).enumerate() {
                backend.download(&results, row * row_bytes, bytemuck::cast_slice_mut(values))?;
            }
        }
        stats.tiles += 1;
        execution.control.advance(1);
    }
    Ok(())
}

/// How a row is cut into stretches, each one block's work.
struct Plan {
    cols: usize,
    window: Window,
    length: usize,
    step: usize,
    stretches: usize,
}

impl Plan {
    fn new(cols: usize, window: &Window) -> Self {
        let few = (2 * window.size).next_power_of_two().clamp(*STRETCH.start(), *STRETCH.end());
        let length = cols.next_power_of_two().min(few);
        let step = if length >= cols { cols } else { length - window.size + 1 };
        Self { cols, window: *window, length, step, stretches: cols.div_ceil(step) }
    }

    fn launch<B: Backend, T: Element>(
        &self,
        backend: &B,
        statistic: Statistic,
        rows: usize,
        samples: &B::Buffer,
        results: &B::Buffer,
    ) -> Result<()> {
        let single = size_of::<T>() == size_of::<f32>();
        let (code, q) = match statistic {
            Statistic::Median => (0, 0.5),
            Statistic::Mad => (1, 0.5),
            Statistic::Quantile(q) => (2, q),
            Statistic::Mean => return self.moments::<B, T>(backend, 0, rows, samples, results),
            Statistic::Std => return self.moments::<B, T>(backend, 1, rows, samples, results),
        };
        let kernel = match (single, self.length <= *STRETCH.start()) {
            (true, true) => "order_f32_1",
            (true, false) => "order_f32_8",
            (false, true) => "order_f64_1",
            (false, false) => "order_f64_8",
        };
        let launch = Launch {
            kernel,
            grid: ((rows * self.stretches) as u32, 1),
            block: THREADS as u32,
            shared_bytes: (self.length * (size_of::<T>() + 2 * size_of::<u16>())) as u32,
        };
        // (x, out, cols, length, step, stretches, window, ahead, least, statistic, q)
        backend.launch(
            launch,
            &[
                Argument::Buffer(samples),
                Argument::Buffer(results),
                int(OPERATION, self.cols)?,
                int(OPERATION, self.length)?,
                int(OPERATION, self.step)?,
                int(OPERATION, self.stretches)?,
                int(OPERATION, self.window.size)?,
                int(OPERATION, self.window.ahead)?,
                int(OPERATION, self.least())?,
                Argument::Int(code),
                Argument::Double(q),
            ],
        )
    }

    fn moments<B: Backend, T: Element>(
        &self,
        backend: &B,
        deviation: i32,
        rows: usize,
        samples: &B::Buffer,
        results: &B::Buffer,
    ) -> Result<()> {
        let blocks = self.cols.div_ceil(THREADS);
        let launch = Launch {
            kernel: if size_of::<T>() == size_of::<f32>() { "moments_f32" } else { "moments_f64" },
            grid: ((rows * blocks) as u32, 1),
            block: THREADS as u32,
            shared_bytes: ((THREADS + self.window.size - 1) * size_of::<T>()) as u32,
        };
        // (x, out, cols, blocks, window, ahead, least, deviation)
        backend.launch(
            launch,
            &[
                Argument::Buffer(samples),
                Argument::Buffer(results),
                int(OPERATION, self.cols)?,
                int(OPERATION, blocks)?,
                int(OPERATION, self.window.size)?,
                int(OPERATION, self.window.ahead)?,
                int(OPERATION, self.least())?,
                Argument::Int(deviation),
            ],
        )
    }

    /// Values a window must hold. One that holds more than the series has is as good as any.
    fn least(&self) -> usize {
        self.window.least.min(2 * self.cols + 2)
    }
}
