//! Rolling statistics on a CUDA device: as many rows at a time as its memory holds.
//!
//! Each tile is copied once; every statistic is one launch over it and one copy back. A single row must fit the
//! device's budget, and a window its shared memory ([`LONGEST_WINDOW`]).

use super::{OPERATION, RollingOutput, Statistic, Window};
use crate::budget::{halving, largest_tile};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

/// The longest window the kernels take, in samples.
pub(super) const LONGEST_WINDOW: usize = 4096;
/// Threads of a block; outputs of a block of deviations.
const THREADS: usize = 256;
/// Outputs of a block of spans.
const SPANS: usize = 1024;
/// Samples that are sorted together, at least and at most.
const STRETCH: std::ops::RangeInclusive<usize> = 1024..=8192;

pub(super) fn run<B: Backend, T: Element>(
    devices: &[B],
    x: MatrixView<'_, T>,
    window: &Window<'_>,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let row_bytes = x.cols() * size_of::<T>();
    let cost = |rows: usize| 3 * rows * row_bytes;
    let plan = Plan::new(x.cols(), window);
    // A grid has at most 2^31 - 1 blocks.
    let blocks = plan.stretches.max(x.cols().div_ceil(THREADS));
    // Three tiles for each device at least, so that copies run beside kernels.
    let most = x.rows().div_ceil(3 * devices.len()).min(i32::MAX as usize / blocks);
    let budget_bytes = device_bytes(devices, execution)?;
    let rows = largest_tile(OPERATION, Memory::Device, budget_bytes, most, cost)?;
    let ((states, rows), halvings) = halving(rows, |rows| {
        let allocate = |backend: &B| {
            let samples = Feed::allocate(backend, OPERATION, rows * row_bytes)?;
            Ok((samples, backend.allocate(OPERATION, rows * row_bytes)?))
        };
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, rows))
    })?;
    stats.halvings += halvings;
    let statistics: Vec<Statistic> = outputs.iter().map(|output| output.statistic).collect();
    let mut targets: Vec<_> = outputs.iter_mut().map(|output| output.values.rows_mut()).collect();
    let tiles: Vec<Tile<'_, T>> = (0..x.rows())
        .step_by(rows)
        .map(|first| Tile {
            first,
            rows: rows.min(x.rows() - first),
            targets: targets.iter_mut().map(|rest| rest.by_ref().take(rows).collect()).collect(),
        })
        .collect();
    stats.tiles += tiles.len() as u64;
    execution.control.begin(tiles.len() as u64);
    let pool = execution.threads()?;
    spread(OPERATION, devices, states, tiles, &pool, |backend, (mut samples, results), tiles| {
        let fill = |tile: &Tile<'_, T>, bytes: &mut [u8]| {
            let values: &mut [T] = bytemuck::cast_slice_mut(bytes);
            for (row, target) in values.chunks_mut(x.cols()).take(tile.rows).enumerate() {
                target.copy_from_slice(x.row(tile.first + row));
            }
        };
        samples.run_tiles(backend, tiles, fill, |tile, samples| {
            execution.control.check(OPERATION)?;
            for (statistic, target) in statistics.iter().zip(&mut tile.targets) {
                plan.launch::<B, T>(backend, *statistic, tile.rows, samples, &results)?;
                for (row, values) in target.iter_mut().enumerate() {
                    backend.download(
                        &results,
                        row * row_bytes,
                        bytemuck::cast_slice_mut(values),
                    )?;
                }
            }
            execution.control.advance(1);
            Ok(())
        })
    })
}

/// Rows that are computed together, and for each output where they go.
struct Tile<'a, T> {
    first: usize,
    rows: usize,
    targets: Vec<Vec<&'a mut [T]>>,
}

/// How a row is cut into stretches, each one block's work.
struct Plan<'a> {
    cols: usize,
    window: Window<'a>,
    length: usize,
    step: usize,
    stretches: usize,
}

impl<'a> Plan<'a> {
    fn new(cols: usize, window: &Window<'a>) -> Self {
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
            Statistic::Rank => (3, 0.0),
            Statistic::Mean => return self.spans::<B, T>(backend, 0, rows, samples, results),
            Statistic::Min => return self.spans::<B, T>(backend, 1, rows, samples, results),
            Statistic::Max => return self.spans::<B, T>(backend, 2, rows, samples, results),
            Statistic::Std => return self.deviations::<B, T>(backend, rows, samples, results),
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
            results: Results::Fixed,
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

    fn spans<B: Backend, T: Element>(
        &self,
        backend: &B,
        statistic: i32,
        rows: usize,
        samples: &B::Buffer,
        results: &B::Buffer,
    ) -> Result<()> {
        let kernel = if size_of::<T>() == size_of::<f32>() { "spans_f32" } else { "spans_f64" };
        let covered = SPANS + self.window.size - 1;
        let shared_bytes = 2 * covered * (size_of::<f64>() + size_of::<i32>());
        let of = Argument::Int(statistic);
        self.by_outputs(backend, kernel, SPANS, shared_bytes, rows, samples, results, Some(of))
    }

    fn deviations<B: Backend, T: Element>(
        &self,
        backend: &B,
        rows: usize,
        samples: &B::Buffer,
        results: &B::Buffer,
    ) -> Result<()> {
        let single = size_of::<T>() == size_of::<f32>();
        let kernel = if single { "deviations_f32" } else { "deviations_f64" };
        let shared_bytes = (THREADS + self.window.size - 1) * size_of::<T>();
        self.by_outputs(backend, kernel, THREADS, shared_bytes, rows, samples, results, None)
    }

    /// Launches a kernel whose blocks have `outputs` windows of a row each.
    #[allow(clippy::too_many_arguments)]
    fn by_outputs<B: Backend>(
        &self,
        backend: &B,
        kernel: &'static str,
        outputs: usize,
        shared_bytes: usize,
        rows: usize,
        samples: &B::Buffer,
        results: &B::Buffer,
        last: Option<Argument<'_, B::Buffer>>,
    ) -> Result<()> {
        let blocks = self.cols.div_ceil(outputs);
        let launch = Launch {
            kernel,
            grid: ((rows * blocks) as u32, 1),
            block: THREADS as u32,
            shared_bytes: shared_bytes as u32,
            results: Results::Fixed,
        };
        // (x, out, cols, blocks, window, ahead, least), and what the kernel asks besides
        let mut arguments = vec![
            Argument::Buffer(samples),
            Argument::Buffer(results),
            int(OPERATION, self.cols)?,
            int(OPERATION, blocks)?,
            int(OPERATION, self.window.size)?,
            int(OPERATION, self.window.ahead)?,
            int(OPERATION, self.least())?,
        ];
        arguments.extend(last);
        backend.launch(launch, &arguments)
    }

    /// Values a window must hold. One that holds more than the series has is as good as any.
    fn least(&self) -> usize {
        self.window.least.min(2 * self.cols + 2)
    }
}
