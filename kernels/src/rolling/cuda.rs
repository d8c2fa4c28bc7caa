//! Rolling statistics on a CUDA device: some rows at a time.
//!
//! Each tile is copied once; every statistic is one launch over it and one copy back. A single row, and one of results
//! for each statistic, must fit the device's budget, and a window its shared memory ([`LONGEST_WINDOW`], [`refusal`]).

use rayon::prelude::*;

use super::{OPERATION, RollingOutput, Statistic, Window};
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::{MatrixView, MatrixViewMut};

/// The longest window the kernels take, in samples.
pub(super) const LONGEST_WINDOW: usize = 4096;
/// Threads of a block; outputs of a block of deviations.
const THREADS: usize = 256;
/// Outputs of a block of spans.
const SPANS: usize = 1024;
/// Samples that are sorted together, at least and at most.
const STRETCH: std::ops::RangeInclusive<usize> = 1024..=8192;
/// Shared memory that kernels declare themselves, at most.
const DECLARED_BYTES: usize = 64;

/// Why the kernels can't compute `outputs` on one of `devices`, if so: a long window takes more shared memory than
/// some architectures have.
pub(super) fn refusal<B: Backend, T: Element>(
    devices: &[B],
    cols: usize,
    window: &Window<'_>,
    outputs: &[RollingOutput<'_, T>],
) -> Option<String> {
    if cols == 0 {
        return None;
    }
    let plan = Plan::new(cols, window);
    let bytes = outputs.iter().map(|output| plan.shared_bytes::<T>(output.statistic)).max()?;
    let (needed, least) = (bytes + DECLARED_BYTES, devices.iter().map(B::shared_bytes).min()?);
    (needed > least).then(|| {
        format!(
            "a window of {} samples takes {needed} bytes of shared memory, and the device has {least}",
            window.size
        )
    })
}

pub(super) fn run<B: Backend, T: Element>(
    devices: &[B],
    x: MatrixView<'_, T>,
    window: &Window<'_>,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let row_bytes = x.cols() * size_of::<T>();
    let statistics: Vec<Statistic> = outputs.iter().map(|output| output.statistic).collect();
    // Results whose rows have gaps between them come back to a buffer first.
    let has_gaps = outputs.iter().any(|output| !output.values.is_whole());
    let gathered = |rows: usize| if has_gaps { rows * x.cols() } else { 0 };
    let host_cost = |rows: usize| {
        devices.len() * (Feed::<B>::bytes(rows * row_bytes) + gathered(rows) * size_of::<T>())
    };
    let device_cost =
        |rows: usize| Feed::<B>::bytes(rows * row_bytes) + statistics.len() * rows * row_bytes;
    let plan = Plan::new(x.cols(), window);
    // A grid has at most 2^31 - 1 blocks.
    let blocks = plan.stretches.max(x.cols().div_ceil(THREADS));
    // Three tiles for each device at least, so that copies run beside kernels; and of no more bytes than it takes to
    // fill a device, as locked memory is dear.
    let most = x.rows().div_ceil(3 * devices.len()).min((TILE_BYTES / row_bytes).max(1));
    let most = most.min(i32::MAX as usize / blocks);
    let host_bytes = execution.budget.host_bytes;
    let on_host = largest_tile(OPERATION, Memory::Host, host_bytes, most, host_cost)?;
    let budget_bytes = device_bytes(devices, execution)?;
    let on_device = largest_tile(OPERATION, Memory::Device, budget_bytes, most, device_cost)?;
    let ((states, rows), halvings) = halving(on_host.min(on_device), |rows| {
        let allocate = |backend: &B| {
            let result = |_: &Statistic| backend.allocate(OPERATION, rows * row_bytes);
            Ok(State {
                samples: Feed::allocate(backend, OPERATION, rows * row_bytes)?,
                results: statistics.iter().map(result).collect::<Result<Vec<_>>>()?,
                gathered: zeroed(OPERATION, gathered(rows))?,
            })
        };
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, rows))
    })?;
    stats.halvings += halvings;
    stats.peak_bytes = host_cost(rows) as u64;
    let mut targets: Vec<_> =
        outputs.iter_mut().map(|output| output.values.bands_mut(rows)).collect();
    let tiles: Vec<Tile<'_, T>> = (0..x.rows())
        .step_by(rows)
        .map(|first| Tile {
            first,
            rows: rows.min(x.rows() - first),
            targets: targets.iter_mut().filter_map(Iterator::next).collect(),
        })
        .collect();
    stats.tiles += tiles.len() as u64;
    execution.control.begin(tiles.len() as u64);
    let pool = execution.threads()?;
    spread(OPERATION, devices, states, tiles, &pool, |backend, state, tiles| {
        let State { mut samples, results, mut gathered } = state;
        let fill = |tile: &Tile<'_, T>, bytes: &mut [u8]| {
            let bytes = &mut bytes[..tile.rows * row_bytes];
            let values: &mut [T] = bytemuck::cast_slice_mut(bytes);
            values.par_chunks_mut(x.cols()).enumerate().for_each(|(row, target)| {
                target.copy_from_slice(x.row(tile.first + row));
            });
            tile.rows * row_bytes
        };
        let launch = |tile: &Tile<'_, T>, samples: &B::Buffer| {
            execution.control.check(OPERATION)?;
            for (statistic, results) in statistics.iter().zip(&results) {
                plan.launch::<B, T>(backend, *statistic, tile.rows, samples, results)?;
            }
            Ok(())
        };
        let collect = |mut tile: Tile<'_, T>| {
            for (target, results) in tile.targets.iter_mut().zip(&results) {
                if let Some(values) = target.as_slice_mut() {
                    backend.download(results, 0, bytemuck::cast_slice_mut(values))?;
                    continue;
                }
                let values = &mut gathered[..tile.rows * x.cols()];
                backend.download(results, 0, bytemuck::cast_slice_mut(values))?;
                for (target, values) in target.rows_mut().zip(values.chunks(x.cols())) {
                    target.copy_from_slice(values);
                }
            }
            execution.control.advance(1);
            Ok(())
        };
        samples.run_tiles(backend, tiles, fill, launch, collect)
    })
}

/// Samples of a tile.
const TILE_BYTES: usize = 64 << 20;

/// What one device works with.
struct State<B: Backend, T> {
    samples: Feed<B>,
    /// For each statistic.
    results: Vec<B::Buffer>,
    gathered: Vec<T>,
}

/// Rows that are computed together, and for each output where they go.
struct Tile<'a, T> {
    first: usize,
    rows: usize,
    targets: Vec<MatrixViewMut<'a, T>>,
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

    /// Shared memory of a block, besides what the kernel declares.
    fn shared_bytes<T: Element>(&self, statistic: Statistic) -> usize {
        match statistic {
            Statistic::Mean | Statistic::Min | Statistic::Max => {
                let covered = SPANS + self.window.size - 1;
                2 * covered * (size_of::<f64>() + size_of::<i32>())
            }
            Statistic::Std => (THREADS + self.window.size - 1) * size_of::<T>(),
            Statistic::Median | Statistic::Mad | Statistic::Quantile(_) | Statistic::Rank => {
                self.length * (size_of::<T>() + 2 * size_of::<u16>())
            }
        }
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
            Statistic::Mean | Statistic::Min | Statistic::Max | Statistic::Std => {
                return self.by_outputs::<B, T>(backend, statistic, rows, samples, results);
            }
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
            shared_bytes: self.shared_bytes::<T>(statistic) as u32,
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

    /// Launches a kernel whose blocks have so many windows of a row each.
    fn by_outputs<B: Backend, T: Element>(
        &self,
        backend: &B,
        statistic: Statistic,
        rows: usize,
        samples: &B::Buffer,
        results: &B::Buffer,
    ) -> Result<()> {
        let single = size_of::<T>() == size_of::<f32>();
        let spans = if single { "spans_f32" } else { "spans_f64" };
        let deviations = if single { "deviations_f32" } else { "deviations_f64" };
        let (kernel, outputs, last) = match statistic {
            Statistic::Mean => (spans, SPANS, Some(Argument::Int(0))),
            Statistic::Min => (spans, SPANS, Some(Argument::Int(1))),
            Statistic::Max => (spans, SPANS, Some(Argument::Int(2))),
            _ => (deviations, THREADS, None),
        };
        let blocks = self.cols.div_ceil(outputs);
        let launch = Launch {
            kernel,
            grid: ((rows * blocks) as u32, 1),
            block: THREADS as u32,
            shared_bytes: self.shared_bytes::<T>(statistic) as u32,
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
