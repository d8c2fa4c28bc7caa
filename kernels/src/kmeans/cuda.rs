//! The two steps on CUDA devices: groups of segments, one for each device at a time, or all for a single one.
//!
//! ```text
//!   rows   │ group 0 │ group 1 │ group 2 │ group 3 │ …        group g is device g mod devices'
//!   tile   │ ▒▒ │ ▒▒ │                                        segments that are on the device together
//!   piece  ▒▒▒▒                                               what is sent together
//!            frame ─▶ assign ─▶ gather, measure ─▶ rank, offsets, place ─▶ add_rows ─▶ add_segments
//! ```
//! Tiles that fit into the device's budget stay there, packed; the others are sent again each time, the next piece while
//! one is worked on. What comes back is labels and sums: of each group, or of all where there is one device. The sums
//! are added in the order of groups, by the host where there are several devices, so that neither their number nor the
//! tile shows. Starts and the final distances are the CPU's.

mod bound;
mod centres;
mod span;
mod state;

use rayon::prelude::*;

use super::distance::Frame;
use super::lloyd::{self, Assigned, Rows, Steps};
use super::{GROUP, NONE, OPERATION, SEGMENT};
use crate::budget::{halving, largest_tile};
use crate::cuda::backend::{Backend, device_bytes, spread};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::view::MatrixView;

use bound::Bounds;
use centres::Centres;
use span::Span;
use state::{Plan, State, Tile};

/// Rows of a panel, and centres of one: those of `frame.cuh`.
const PANEL: usize = 128;
const CENTRES: usize = 64;
/// Threads of a block, and of one that adds rows.
const THREADS: usize = 256;
const ADDERS: usize = 128;
/// Dynamic shared memory of `assign_f32`: three stages, and what each thread has of its rows.
const ASSIGN_SHARED: u32 = 3 * (24 << 10) + 3 * 8 * 256 * 4;
/// Rows that a block of `measure` takes together, and the most blocks: they go on until none are left.
const MEASURED: usize = 4;
const MEASURERS: usize = 528;
/// The most that is sent together. Memory of twice this is locked, and kept for the next operation.
const PIECE_BYTES: usize = if cfg!(test) { 4 << 10 } else { 32 << 20 };
/// Groups that a single device works on before it gives back what it has.
const SPAN: usize = if cfg!(test) { 2 } else { 256 };

/// The steps on CUDA devices.
pub(super) struct Cuda<'d, B: Backend, T> {
    devices: &'d [B],
    rows: usize,
    plan: Plan,
    pool: Pool,
    scale: f64,
    /// The mean squared length of the rows in the frame.
    mean_row: f64,
    states: Vec<State<B>>,
    centres: Centres<T>,
}

impl<'d, B: Backend, T: Element> Cuda<'d, B, T> {
    /// Plans tiles within the budget, of which `used_bytes` are taken on the host.
    pub(super) fn new(
        devices: &'d [B],
        rows: usize,
        clusters: usize,
        cols: usize,
        used_bytes: usize,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<Self> {
        let plan = |segments: usize| Plan::new::<T>(rows, clusters, cols, segments, devices.len());
        let most = rows.div_ceil(SEGMENT).clamp(1, GROUP);
        let host_cost =
            |segments: usize| used_bytes + devices.len() * plan(segments).host_bytes::<B>();
        let on_host =
            largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, host_cost)?;
        let budget_bytes = device_bytes(devices, execution)?;
        let on_device = largest_tile(OPERATION, Memory::Device, budget_bytes, most, |segments| {
            plan(segments).device_bytes::<B>()
        })?;
        let ((mut states, segments), halvings) = halving(on_host.min(on_device), |segments| {
            let allocate = |backend| State::allocate(backend, &plan(segments));
            Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, segments))
        })?;
        stats.halvings += halvings;
        stats.peak_bytes = host_cost(segments) as u64;
        let plan = plan(segments);
        let spare =
            budget_bytes.saturating_sub(plan.device_bytes::<B>()) / plan.kept_bytes().max(1);
        let tiles = rows.div_ceil(plan.tile).div_ceil(devices.len());
        for (backend, state) in devices.iter().zip(&mut states) {
            for _ in 0..spare.min(tiles) {
                // Where memory is short after all, the tile is sent each time.
                let Ok(tile) = Tile::allocate(backend, &plan) else {
                    break;
                };
                state.kept.push(tile);
            }
        }
        Ok(Self {
            devices,
            rows,
            plan,
            pool: execution.threads()?,
            scale: 1.0,
            mean_row: 1.0,
            states,
            centres: Centres::allocate(&plan)?,
        })
    }

    /// Whether all rows may stay on a device, which then sums and measures them from the start.
    pub(super) fn can_hold(&self) -> bool {
        let tiles = self.plan.tiles_of(self.rows);
        matches!(&self.states[..], [state] if state.kept.len() >= tiles && self.rows <= self.plan.span)
    }

    /// Sets the frame that rows are brought into, and brings those that are held.
    pub(super) fn set_frame(&mut self, frame: &Frame) -> Result<()> {
        self.scale = frame.scale;
        self.mean_row = frame.variance * frame.means.len() as f64 * frame.scale * frame.scale;
        for (backend, state) in self.devices.iter().zip(&mut self.states) {
            backend.upload(&mut state.buffers.means, 0, bytemuck::cast_slice(&frame.means))?;
            span::frame_held(&self.plan, backend, state, self.rows, frame.scale)?;
        }
        Ok(())
    }

    /// Sends the centres to every device, packed and as they are.
    fn send_centres(&mut self, frame: &Frame, centres: &[f64]) -> Result<Bounds> {
        let bounds = self.centres.pack(frame, centres, self.mean_row);
        for (backend, State { buffers, .. }) in self.devices.iter().zip(&mut self.states) {
            backend.upload(&mut buffers.centres, 0, bytemuck::cast_slice(centres))?;
            backend.upload(&mut buffers.packed_centres, 0, self.centres.packed())?;
            backend.upload(&mut buffers.low, 0, self.centres.low())?;
            backend.upload(&mut buffers.squares, 0, self.centres.squares())?;
        }
        Ok(bounds)
    }

    /// Every group by the device that it belongs to, and the sums in the order of groups.
    #[allow(clippy::too_many_arguments)]
    fn groups(
        &mut self,
        rows: Rows<'_, T>,
        bounds: Option<Bounds>,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<Assigned> {
        sums.fill(0.0);
        counts.fill(0);
        let mut assigned = Assigned::default();
        let (plan, scale) = (self.plan, self.scale);
        let is_single = self.devices.len() == 1;
        let round = self.devices.len() * plan.span;
        for (index, labels) in labels.chunks_mut(round).enumerate() {
            execution.control.check(OPERATION)?;
            let mut found = vec![Assigned::default(); self.devices.len()];
            let before = index * plan.span.div_ceil(plan.group);
            let begins = index == 0 || !is_single;
            let jobs: Vec<_> = labels
                .chunks_mut(plan.span)
                .zip(&mut self.states)
                .zip(&mut found)
                .enumerate()
                .map(|(device, ((labels, state), found))| {
                    let first = index * round + device * plan.span;
                    let span = Span { plan, rows, scale, bounds, first, before, begins };
                    (span, state, labels, found)
                })
                .collect();
            let active = jobs.len();
            spread(
                OPERATION,
                &self.devices[..active],
                jobs,
                Vec::<()>::new(),
                &self.pool,
                |backend, (span, state, labels, found), _| {
                    *found = span.run(backend, state, labels, execution)?;
                    Ok(())
                },
            )?;
            for state in &self.states[..active] {
                if is_single {
                    // All so far.
                    sums.copy_from_slice(&state.host_sums);
                } else {
                    for (sum, group) in sums.iter_mut().zip(&state.host_sums) {
                        *sum += group;
                    }
                }
            }
            for found in found {
                assigned += found;
            }
        }
        count(labels, counts);
        Ok(assigned)
    }
}

/// Adds the rows of each label.
fn count(labels: &[u32], counts: &mut [u64]) {
    let add = |mut counts: Vec<u64>, labels: &[u32]| {
        for &label in labels.iter().filter(|&&label| label != NONE) {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    };
    // Parts that are longer than what they are counted in.
    let part = (labels.len() / 16).max(4 * counts.len()).max(SEGMENT);
    let zeros = vec![0; counts.len()];
    let parts: Vec<Vec<u64>> =
        labels.par_chunks(part).map(|labels| add(zeros.clone(), labels)).collect();
    for part in parts {
        for (count, more) in counts.iter_mut().zip(part) {
            *count += more;
        }
    }
}

impl<B: Backend, T: Element> Steps<T> for Cuda<'_, B, T> {
    /// Only where all rows can be held.
    fn sum_usable(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        execution: &Execution,
    ) -> Result<u64> {
        let ([backend], [state]) = (self.devices, &mut self.states[..]) else {
            let found = "rows are to be held by one device of several".into();
            return Err(Error::Internal { operation: OPERATION, found });
        };
        let plan = Plan { clusters: 1, ..self.plan };
        let (bounds, begins) = (None, true);
        let span = Span { plan, rows, scale: 1.0, bounds, first: 0, before: 0, begins };
        span.hold(backend, state, labels, execution)?;
        span.run(backend, state, labels, execution)?;
        sums.copy_from_slice(&state.host_sums[..plan.cols]);
        let mut usable = [0];
        count(labels, &mut usable);
        Ok(usable[0])
    }

    fn assign_and_sum(
        &mut self,
        rows: Rows<'_, T>,
        frame: &Frame,
        centres: &[f64],
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<Assigned> {
        let bounds = self.send_centres(frame, centres)?;
        self.groups(rows, Some(bounds), labels, sums, counts, execution)
    }

    fn sum(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<()> {
        self.groups(rows, None, labels, sums, counts, execution).map(|_| ())
    }

    fn measure(
        &mut self,
        x: MatrixView<'_, T>,
        labels: &[u32],
        centres: &[f64],
        distances: &mut [f64],
        execution: &Execution,
    ) -> Result<()> {
        let plan = &self.plan;
        match (self.devices, &mut self.states[..]) {
            ([backend], [state])
                if labels.len() <= plan.span && state.sent >= plan.tiles_of(labels.len()) =>
            {
                span::measure(plan, backend, state, labels, centres, distances)
            }
            _ => lloyd::measure(x, labels, centres, distances, execution),
        }
    }
}
