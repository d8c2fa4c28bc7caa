//! Fits on CUDA devices: one thread for each series and model, one after the other.
//!
//! What a search starts from, and what follows from where it ends, is little work and stays on the host. A tile is as
//! many series as the device's budget holds beside the states and a matrix of each search that runs at once; the next
//! tile is copied while one is fitted.

use std::iter::repeat;

use rayon::prelude::*;

use super::OPERATION;
use super::cpu::{Fit, Prepared};
use super::initial::SEASONS;
use super::model::{Errors, Ets, Season, Trend};
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// Threads of a block; the kernel's `WIDTH`.
const THREADS: usize = 64;
/// Steps of which the kernel keeps the states before the first; its `STRETCH`.
const STRETCH: usize = 8;
/// Blocks of a launch: eight, as the kernel's registers let run at once, for each of 132 to 148 multiprocessors. Where fewer run, as
/// beside seasons of more than 16 samples, the last find nothing left.
const MOST_BLOCKS: usize = 1184;
/// Samples of the largest tile: 16,384 series of 1,024, with fifteen models some times as many searches as run at once, so that few wait
/// for the longest. An H100 takes two thirds of a second for it, the time between two looks at whether to stop.
const MOST_SAMPLES: usize = 1 << 24;
/// What the kernel knows of a series besides its samples and starts.
const FACTS: usize = 6;

/// The sizes of a tile's parts, in f64 values for each series.
#[derive(Clone, Copy)]
struct Plan {
    samples: usize,
    period: usize,
    models: usize,
    dimension: usize,
}

impl Plan {
    fn new(samples: usize, models: &[Ets], period: usize) -> Self {
        let dimension = models.iter().map(|model| model.dimension(period)).max().unwrap_or(0);
        Self { samples, period, models: models.len(), dimension }
    }

    fn facts(&self) -> usize {
        FACTS + SEASONS.len() * (3 + self.period)
    }

    /// Samples of whole stretches.
    fn padded(&self) -> usize {
        self.samples.next_multiple_of(STRETCH)
    }

    fn input(&self) -> usize {
        self.facts() + self.padded()
    }

    /// Searches that run at once.
    fn slots(&self, rows: usize) -> usize {
        (rows * self.models).min(MOST_BLOCKS * THREADS)
    }

    /// Of all searches that run at once.
    fn scratch(&self, rows: usize) -> usize {
        let d = self.dimension;
        let states = 2 * self.padded() / STRETCH;
        self.slots(rows) * (self.padded() + states + d * d + 7 * d)
    }

    fn device_bytes<B: Backend>(&self, rows: usize) -> usize {
        let results = self.models * (1 + self.dimension);
        Feed::<B>::bytes(rows * self.input() * size_of::<f64>())
            + (self.scratch(rows) + rows * results) * size_of::<f64>()
            + 2 * self.models * size_of::<i32>()
    }
}

/// Host memory that a series takes on its way to a device and back.
pub(super) fn host_bytes<B: Backend>(samples: usize, models: &[Ets], period: usize) -> usize {
    let plan = Plan::new(samples, models, period);
    let results = plan.models * (1 + plan.dimension) * size_of::<f64>();
    Feed::<B>::bytes(plan.input() * size_of::<f64>())
        + results
        + size_of::<(&Prepared, Vec<Option<Fit>>)>()
}

struct Buffers<B: Backend> {
    input: Feed<B>,
    models: B::Buffer,
    queues: B::Buffer,
    scratch: B::Buffer,
    values: B::Buffer,
    points: B::Buffer,
}

/// Some rows, and where their fits go: for each model a slice.
struct Tile<'a> {
    rows: &'a [Option<Prepared>],
    /// Whether all samples are floats.
    are_floats: bool,
    fits: Vec<&'a mut [Option<Fit>]>,
}

/// As [`cpu::fit`](super::cpu::fit).
pub(super) fn fit<B: Backend>(
    devices: &[B],
    rows: &[Option<Prepared>],
    models: &[Ets],
    period: usize,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<Vec<Vec<Option<Fit>>>> {
    let samples = rows.iter().flatten().map(|row| row.series.samples.len()).max().unwrap_or(0);
    let mut fits: Vec<Vec<Option<Fit>>> = models.iter().map(|_| vec![None; rows.len()]).collect();
    if samples == 0 {
        return Ok(fits);
    }
    let plan = Plan::new(samples, models, period);
    let most = rows.len().div_ceil(2 * devices.len()).min((MOST_SAMPLES / samples).max(1));
    let budget_bytes = device_bytes(devices, execution)?;
    let largest = largest_tile(OPERATION, Memory::Device, budget_bytes, most, |rows| {
        plan.device_bytes::<B>(rows)
    })?;
    let codes: Vec<i32> = models.iter().map(code).collect();
    let ((states, largest), halvings) = halving(largest, |rows| {
        let allocate = |backend: &B| {
            let buffer =
                |values: usize| backend.allocate(OPERATION, rows * values * size_of::<f64>());
            let mut buffers = Buffers {
                input: Feed::allocate(backend, OPERATION, rows * plan.input() * size_of::<f64>())?,
                models: backend.allocate(OPERATION, size_of_val(&codes[..]))?,
                queues: backend.allocate(OPERATION, size_of_val(&codes[..]))?,
                scratch: backend.allocate(OPERATION, plan.scratch(rows) * size_of::<f64>())?,
                values: buffer(plan.models)?,
                points: buffer(plan.models * plan.dimension)?,
            };
            backend.upload(&mut buffers.models, 0, bytemuck::cast_slice(&codes))?;
            Ok(buffers)
        };
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, rows))
    })?;
    stats.halvings += halvings;
    let pool = execution.threads()?;
    let mut parts: Vec<_> = fits.iter_mut().map(|fits| fits.chunks_mut(largest)).collect();
    let tiles: Vec<Tile<'_>> = rows
        .chunks(largest)
        .map(|rows| Tile {
            rows,
            are_floats: pool
                .run(|| rows.par_iter().flatten().all(|prepared| prepared.series.are_floats())),
            fits: parts.iter_mut().filter_map(Iterator::next).collect(),
        })
        .collect();
    spread(OPERATION, devices, states, tiles, &pool, |backend, mut buffers, tiles| {
        let Buffers { input: feed, models: codes, queues, scratch, values, points } = &mut buffers;
        let (codes, scratch, values, points) = (&*codes, &*scratch, &*values, &*points);
        let fill = |tile: &Tile<'_>, bytes: &mut [u8]| {
            let count = tile.rows.len();
            let size = if tile.are_floats { size_of::<f32>() } else { size_of::<f64>() };
            let (samples, facts) = bytes.split_at_mut(count * plan.padded() * size);
            let facts = &mut facts[..count * plan.facts() * size_of::<f64>()];
            pool.run(|| {
                plan.fill(tile.rows, models, bytemuck::cast_slice_mut(facts));
                if tile.are_floats {
                    plan.copy::<f32>(tile.rows, bytemuck::cast_slice_mut(samples));
                } else {
                    plan.copy::<f64>(tile.rows, bytemuck::cast_slice_mut(samples));
                }
            });
            size_of_val(facts) + size_of_val(samples)
        };
        let launch = |tile: &Tile<'_>, input: &B::Buffer| {
            execution.control.check(OPERATION)?;
            let count = tile.rows.len();
            let launch = Launch {
                kernel: "fit",
                grid: (plan.slots(count).div_ceil(THREADS) as u32, 1),
                block: THREADS as u32,
                shared_bytes: (THREADS * (plan.period + 4 * STRETCH) * size_of::<f64>()) as u32,
                // Which thread searches for which series is a matter of time; what it finds is not.
                results: Results::Unordered,
            };
            backend.clear(queues)?;
            // (input, models, queues, memory, values, points, slots, model_count, series_count, samples, are_floats, period,
            //  dimension)
            backend.launch(
                launch,
                &[
                    Argument::Buffer(input),
                    Argument::Buffer(codes),
                    Argument::Buffer(queues),
                    Argument::Buffer(scratch),
                    Argument::Buffer(values),
                    Argument::Buffer(points),
                    int(OPERATION, plan.slots(count))?,
                    int(OPERATION, plan.models)?,
                    int(OPERATION, count)?,
                    int(OPERATION, plan.samples)?,
                    int(OPERATION, tile.are_floats.into())?,
                    int(OPERATION, plan.period)?,
                    int(OPERATION, plan.dimension)?,
                ],
            )
        };
        let collect = |mut tile: Tile<'_>| plan.take(backend, values, points, models, &mut tile);
        feed.run_tiles(backend, tiles, fill, launch, collect)
    })?;
    Ok(fits)
}

/// What the kernel calls a model.
fn code(model: &Ets) -> i32 {
    let season = match model.season {
        Season::None => 0,
        Season::Additive => 8,
        Season::Multiplicative => 16,
    };
    i32::from(model.error == Errors::Multiplicative)
        + 2 * i32::from(model.has_trend())
        + 4 * i32::from(model.trend == Trend::Damped)
        + season
}

impl Plan {
    /// Copies samples, up to the end of the last stretch.
    fn copy<T: Element>(&self, rows: &[Option<Prepared>], samples: &mut [T]) {
        samples.par_chunks_mut(self.padded()).zip(rows).for_each(|(to, prepared)| {
            let own = prepared.iter().flat_map(|row| &row.series.samples).copied();
            to.iter_mut().zip(own.chain(repeat(f64::NAN))).for_each(|(to, value)| {
                *to = T::from_f64(value);
            });
        });
    }

    /// Lays facts and starts out by place and then by series: those of all series at one place are side by side.
    fn fill(&self, rows: &[Option<Prepared>], models: &[Ets], facts: &mut [f64]) {
        let count = rows.len();
        facts.par_chunks_mut(count).enumerate().for_each(|(place, values)| {
            for (to, prepared) in values.iter_mut().zip(rows) {
                *to = prepared.as_ref().map_or(0.0, |row| self.fact(row, models, place));
            }
        });
    }

    /// What the kernel knows of a series, by place: facts, then for each kind of season level, line and season.
    fn fact(&self, prepared: &Prepared, models: &[Ets], place: usize) -> f64 {
        let series = &prepared.series;
        match place {
            0 => series.observed as f64,
            1 => series.floor(false),
            2 => series.floor(true),
            3 => series.unit,
            4 => series.mean,
            5 => models
                .iter()
                .enumerate()
                .filter(|(_, model)| prepared.takes(**model, self.period))
                .map(|(number, _)| 1u64 << number)
                .sum::<u64>() as f64,
            _ => {
                let (kind, at) =
                    ((place - FACTS) / (3 + self.period), (place - FACTS) % (3 + self.period));
                prepared.starts.get(kind).map_or(0.0, |start| match at {
                    0 => start.level,
                    1 => start.line.0,
                    2 => start.line.1,
                    _ => start.season.get(at - 3).copied().unwrap_or(0.0),
                })
            }
        }
    }

    fn take<B: Backend>(
        &self,
        backend: &B,
        values: &B::Buffer,
        points: &B::Buffer,
        models: &[Ets],
        tile: &mut Tile<'_>,
    ) -> Result<()> {
        let count = tile.rows.len();
        let mut found: Vec<f64> = zeroed(OPERATION, self.models * count)?;
        let mut xs: Vec<f64> = zeroed(OPERATION, self.models * self.dimension * count)?;
        backend.download(values, 0, bytemuck::cast_slice_mut(&mut found))?;
        backend.download(points, 0, bytemuck::cast_slice_mut(&mut xs))?;
        for (number, (model, fits)) in models.iter().zip(&mut tile.fits).enumerate() {
            let own = model.dimension(self.period);
            let x = |at: usize, column: usize| xs[(number * self.dimension + at) * count + column];
            for (column, fit) in fits.iter_mut().enumerate() {
                let value = found[number * count + column];
                *fit = value
                    .is_finite()
                    .then(|| Fit { value, x: (0..own).map(|at| x(at, column)).collect() });
            }
        }
        Ok(())
    }
}
