//! The two steps on CUDA devices: groups of segments, one for each device at a time.
//!
//! ```text
//!   rows   │ group 0 │ group 1 │ group 2 │ group 3 │ …        group g is device g mod devices'
//!   tile   │ ▒▒ │ ▒▒ │                                        segments that are on the device together
//!                      frame ─▶ assign ─▶ settle ─▶ add_rows ─▶ add_segments
//! ```
//! Tiles that fit into the device's budget stay there, packed; the others are sent again each time, the next while
//! one is worked on. What comes back is each group's labels and sums. The host adds the sums in the order of groups,
//! so that neither the number of devices nor the tile shows. Starts and the final distances are the CPU's.

mod group;
mod state;

use super::distance::Frame;
use super::lloyd::{Assigned, Rows, Steps};
use super::{GROUP, NONE, OPERATION, SEGMENT};
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::{Backend, device_bytes, spread};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;

use group::Group;
use state::{Plan, State, Tile};

/// Rows of a panel, and centres of one: those of `kmeans.cu`.
const PANEL: usize = 128;
const CENTRES: usize = 64;
/// Threads of a block, and of one that adds rows.
const THREADS: usize = 256;
const ADDERS: usize = 128;

/// The steps on CUDA devices.
pub(super) struct Cuda<'d, B: Backend, T> {
    devices: &'d [B],
    plan: Plan,
    pool: Pool,
    scale: f64,
    states: Vec<State<B>>,
    centres: Vec<T>,
    low: Vec<T>,
    squares: Vec<f64>,
}

impl<'d, B: Backend, T: Element> Cuda<'d, B, T> {
    /// Plans tiles within the budget, of which `used_bytes` are taken on the host.
    pub(super) fn new(
        devices: &'d [B],
        rows: usize,
        clusters: usize,
        frame: &Frame,
        used_bytes: usize,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<Self> {
        let cols = frame.means.len();
        let plan = |segments: usize| Plan::new::<T>(rows, clusters, cols, segments);
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
            let allocate = |backend| State::allocate(backend, &plan(segments), frame);
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
                let (Ok(tile), Ok(x)) = (
                    Tile::allocate(backend, &plan),
                    backend.allocate(OPERATION, plan.tile_bytes()),
                ) else {
                    break;
                };
                state.kept.push((tile, x));
            }
        }
        let padded = plan.padded_clusters();
        Ok(Self {
            devices,
            plan,
            pool: execution.threads()?,
            scale: frame.scale,
            states,
            centres: zeroed(OPERATION, padded * cols)?,
            low: zeroed(OPERATION, padded)?,
            squares: zeroed(OPERATION, padded)?,
        })
    }

    /// Sends the centres to every device, packed and as they are.
    fn send_centres(&mut self, frame: &Frame, centres: &[f64]) -> Result<()> {
        let cols = self.plan.cols;
        let bound = bound::<T>(cols);
        self.low.fill(T::from_f64(f64::INFINITY));
        for (index, centre) in centres.chunks_exact(cols).enumerate() {
            let panel = &mut self.centres[index / CENTRES * CENTRES * cols..];
            let mut square = 0.0;
            for (column, (&value, &mean)) in centre.iter().zip(&frame.means).enumerate() {
                let framed = (value - mean) * frame.scale;
                square += framed * framed;
                panel[column * CENTRES + index % CENTRES] = T::from_f64(framed);
            }
            self.squares[index] = square;
            self.low[index] = T::from_f64(square * (1.0 - bound));
        }
        for (backend, state) in self.devices.iter().zip(&mut self.states) {
            backend.upload(&mut state.buffers.centres, 0, bytemuck::cast_slice(centres))?;
            backend.upload(
                &mut state.buffers.packed_centres,
                0,
                bytemuck::cast_slice(&self.centres),
            )?;
            backend.upload(&mut state.buffers.low, 0, bytemuck::cast_slice(&self.low))?;
            backend.upload(&mut state.buffers.squares, 0, bytemuck::cast_slice(&self.squares))?;
        }
        Ok(())
    }

    /// Every group by the device that it belongs to, and the sums in the order of groups.
    #[allow(clippy::too_many_arguments)]
    fn groups(
        &mut self,
        rows: Rows<'_, T>,
        assigns: bool,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<Assigned> {
        sums.fill(0.0);
        counts.fill(0);
        let mut assigned = Assigned::default();
        let (plan, scale) = (self.plan, self.scale);
        let round = self.devices.len() * plan.group;
        for (index, labels) in labels.chunks_mut(round).enumerate() {
            execution.control.check(OPERATION)?;
            let mut found = vec![Assigned::default(); self.devices.len()];
            let jobs: Vec<_> = labels
                .chunks_mut(plan.group)
                .zip(&mut self.states)
                .zip(&mut found)
                .enumerate()
                .map(|(device, ((labels, state), found))| {
                    let first = index * round + device * plan.group;
                    let group = Group { plan, rows, scale, assigns, first, round: index };
                    (group, state, labels, found)
                })
                .collect();
            let active = jobs.len();
            spread(
                OPERATION,
                &self.devices[..active],
                jobs,
                Vec::<()>::new(),
                &self.pool,
                |backend, (group, state, labels, found), _| {
                    *found = group.run(backend, state, labels, execution)?;
                    Ok(())
                },
            )?;
            for state in &self.states[..active] {
                for (sum, group) in sums.iter_mut().zip(&state.host_sums) {
                    *sum += group;
                }
            }
            for &label in labels.iter().filter(|&&label| label != NONE) {
                if let Some(count) = counts.get_mut(label as usize) {
                    *count += 1;
                }
            }
            for found in found {
                assigned += found;
            }
        }
        Ok(assigned)
    }
}

impl<B: Backend, T: Element> Steps<T> for Cuda<'_, B, T> {
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
        self.send_centres(frame, centres)?;
        self.groups(rows, true, labels, sums, counts, execution)
    }

    fn sum(
        &mut self,
        rows: Rows<'_, T>,
        labels: &mut [u32],
        sums: &mut [f64],
        counts: &mut [u64],
        execution: &Execution,
    ) -> Result<()> {
        self.groups(rows, false, labels, sums, counts, execution).map(|_| ())
    }
}

/// As `cpu::bound`, for chains of 64 and one level above in f32, and one chain in f64.
fn bound<T: Element>(cols: usize) -> f64 {
    if size_of::<T>() == size_of::<f32>() {
        (64 + cols / 64 + 12) as f64 * f64::from(f32::EPSILON) / 2.0
    } else {
        (cols + cols / 2 + 40) as f64 * f64::EPSILON / 2.0
    }
}
