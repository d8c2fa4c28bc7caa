//! The join on CUDA devices: every device holds the series whole, and takes groups of units.
//!
//! What comes back is one 64-bit key for each window, correlation above and index below (`matrix_profile.cu` draws
//! it); the keys of several devices are merged. Moments and final distances are the host's work, as on the CPU path:
//! O(n·m) beside O(n²).

use std::sync::Mutex;

use super::OPERATION;
use super::cpu::{self, Room};
use super::plan::{Plan, UNIT};
use super::sweep::Best;
use super::windows::Windows;
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::{Argument, Backend, Launch, Results, device_bytes, int, spread};
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// The most windows of a series: with more, a key's correlation would be coarser than the tolerance.
pub(super) const MOST_WINDOWS: usize = 1 << 23;
/// Cells of one launch, some 20 ms of work: between two the operation can be cancelled.
const LAUNCH_CELLS: usize = 1 << 34;
/// Threads of a block.
const THREADS: u32 = 64;
/// Keys that are copied back together.
const KEYS: usize = 1 << 15;

/// The host's memory. Fails where the budget is too small.
pub(super) fn room(lengths: [usize; 2], window: usize, execution: &Execution) -> Result<Room> {
    let room = cpu::room(lengths, window, execution)?;
    let shared_bytes = room.shared_bytes + KEYS * size_of::<u64>();
    let least = |_| shared_bytes + room.thread_bytes;
    largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, 1, least)?;
    Ok(Room { threads: 1, shared_bytes, ..room })
}

pub(super) fn run<B: Backend>(
    devices: &[B],
    plan: &Plan<'_>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<[Best; 2]> {
    let rows = plan.a.len.max(plan.b.unwrap_or(plan.a).len);
    let most = (LAUNCH_CELLS / (UNIT * rows)).clamp(1, plan.units().div_ceil(devices.len()).max(1));
    let cost = |units: usize| State::<B>::bytes(plan, units);
    let budget_bytes = device_bytes(devices, execution)?;
    let units = largest_tile(OPERATION, Memory::Device, budget_bytes, most, cost)?;
    let ((states, units), halvings) = halving(units, |units| {
        let states = devices.iter().map(|backend| State::allocate(backend, plan, units));
        Ok((states.collect::<Result<Vec<_>>>()?, units))
    })?;
    stats.halvings += halvings;
    let found = Mutex::new([Best::new(plan.a.len)?, Best::new(plan.b.unwrap_or(plan.a).len)?]);
    let groups = groups(plan, units)?;
    let pool = execution.threads()?;
    spread(OPERATION, devices, states, groups, &pool, |backend, mut state, groups| {
        state.send(backend, plan)?;
        while let Some(group) = groups.next() {
            execution.control.check(OPERATION)?;
            state.launch(backend, plan, &group)?;
            execution.control.advance(group.units.len() as u64);
        }
        let found = &mut *found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (best, keys) in found.iter_mut().zip(&state.best) {
            take_keys(backend, keys, index_mask(plan), best)?;
        }
        Ok(())
    })?;
    Ok(found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Units of one pass that are launched together, each by its first diagonal.
struct Group {
    pass: usize,
    units: Vec<u32>,
}

fn groups(plan: &Plan<'_>, most: usize) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    let mut open = [0, 1].map(|pass| Group { pass, units: Vec::new() });
    for unit in (0..plan.units()).filter_map(|place| plan.unit(place)) {
        let group = &mut open[unit.pass];
        group.units.push(unit.first as u32);
        if group.units.len() == most {
            groups.push(Group { pass: unit.pass, units: std::mem::take(&mut group.units) });
        }
    }
    groups.extend(open.into_iter().filter(|group| !group.units.is_empty()));
    Ok(groups)
}

/// The bits of a key that hold an index.
fn index_mask(plan: &Plan<'_>) -> u64 {
    let most = plan.a.len.max(plan.b.unwrap_or(plan.a).len) as u64;
    most.next_power_of_two() - 1
}

/// Offers what the keys say.
fn take_keys<B: Backend>(
    backend: &B,
    keys: &B::Buffer,
    index_mask: u64,
    best: &mut Best,
) -> Result<()> {
    let windows = best.rho.len() - super::windows::PAD;
    let mut part = zeroed::<u64>(OPERATION, KEYS.min(windows))?;
    for first in (0..windows).step_by(KEYS) {
        let part = &mut part[..KEYS.min(windows - first)];
        backend.download(keys, first * size_of::<u64>(), bytemuck::cast_slice_mut(part))?;
        for (window, &key) in (first..).zip(part.iter()).filter(|&(_, &key)| key != 0) {
            // The exponent of all numbers from 2 up to 4, and the significand of 3 + rho / 2.
            let half = f64::from_bits(0x4000_0000_0000_0000 | (key & !index_mask) >> 12) - 3.0;
            let index = index_mask - (key & index_mask);
            let index = u32::try_from(index).map_err(|_| Error::Internal {
                operation: OPERATION,
                found: format!("the device names {index} as the neighbour of {window}"),
            })?;
            best.offer(window, 2.0 * half, index);
        }
    }
    Ok(())
}

/// A series on a device.
struct Series<B: Backend> {
    /// values, mean, inverse, df, dg.
    parts: [B::Buffer; 5],
}

impl<B: Backend> Series<B> {
    fn bytes(windows: &Windows) -> usize {
        Self::parts(windows).iter().map(|part| size_of_val(*part)).sum()
    }

    fn parts(windows: &Windows) -> [&[f64]; 5] {
        let Windows { len, size, values, mean, inverse, df, dg, .. } = windows;
        [&values[..len + size - 1], &mean[..*len], &inverse[..*len], &df[..*len], &dg[..*len]]
    }

    fn allocate(backend: &B, windows: &Windows) -> Result<Self> {
        let [a, b, c, d, e] =
            Self::parts(windows).map(|part| backend.allocate(OPERATION, size_of_val(part)));
        Ok(Self { parts: [a?, b?, c?, d?, e?] })
    }

    fn send(&mut self, backend: &B, windows: &Windows) -> Result<()> {
        for (buffer, part) in self.parts.iter_mut().zip(Self::parts(windows)) {
            backend.upload(buffer, 0, bytemuck::cast_slice(part))?;
        }
        Ok(())
    }
}

/// What one device holds.
struct State<B: Backend> {
    a: Series<B>,
    b: Option<Series<B>>,
    best: [B::Buffer; 2],
    units: B::Buffer,
}

impl<B: Backend> State<B> {
    fn bytes(plan: &Plan<'_>, units: usize) -> usize {
        let keys = (plan.a.len + plan.b.unwrap_or(plan.a).len) * size_of::<u64>();
        let series = Series::<B>::bytes(plan.a) + plan.b.map_or(0, Series::<B>::bytes);
        series + keys + units * size_of::<u32>()
    }

    fn allocate(backend: &B, plan: &Plan<'_>, units: usize) -> Result<Self> {
        let keys = |windows: &Windows| backend.allocate(OPERATION, windows.len * size_of::<u64>());
        Ok(Self {
            a: Series::allocate(backend, plan.a)?,
            b: plan.b.map(|b| Series::allocate(backend, b)).transpose()?,
            best: [keys(plan.a)?, keys(plan.b.unwrap_or(plan.a))?],
            units: backend.allocate(OPERATION, units * size_of::<u32>())?,
        })
    }

    fn send(&mut self, backend: &B, plan: &Plan<'_>) -> Result<()> {
        self.a.send(backend, plan.a)?;
        match (&mut self.b, plan.b) {
            (Some(series), Some(windows)) => series.send(backend, windows),
            _ => Ok(()),
        }
    }

    fn launch(&mut self, backend: &B, plan: &Plan<'_>, group: &Group) -> Result<()> {
        backend.upload(&mut self.units, 0, bytemuck::cast_slice(&group.units))?;
        let (rows, cols) = plan.sides(group.pass);
        let other = self.b.as_ref().unwrap_or(&self.a);
        let (row_series, col_series) =
            if group.pass == 0 { (&self.a, other) } else { (other, &self.a) };
        let (row_best, col_best) = (&self.best[group.pass], &self.best[1 - group.pass]);
        let launch = Launch {
            kernel: "join",
            grid: (group.units.len() as u32, rows.len.div_ceil(plan.segment()) as u32),
            block: THREADS,
            shared_bytes: 0,
            results: Results::Fixed,
        };
        // (values, mean, inverse, df, dg of the rows, the same of the columns, units, rows, cols, window, segment,
        //  index_mask, row_best, col_best)
        let mut arguments: Vec<Argument<'_, B::Buffer>> =
            row_series.parts.iter().chain(&col_series.parts).map(Argument::Buffer).collect();
        arguments.extend([
            Argument::Buffer(&self.units),
            int(OPERATION, rows.len)?,
            int(OPERATION, cols.len)?,
            int(OPERATION, plan.a.size)?,
            int(OPERATION, plan.segment())?,
            Argument::Long(index_mask(plan)),
            Argument::Buffer(row_best),
            Argument::Buffer(col_best),
        ]);
        backend.launch(launch, &arguments)?;
        // Waits, so that no more is under way than can be cancelled soon.
        let mut first = [0u32];
        backend.download(&self.units, 0, bytemuck::cast_slice_mut(&mut first))
    }
}
