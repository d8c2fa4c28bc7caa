//! The launches for the rows that one device works on.

use super::super::lloyd::{Assigned, Rows};
use super::super::screen::underflow;
use super::super::{OPERATION, SEGMENT};
use super::state::{Buffers, Plan, State, Tile};
use super::{ADDERS, PANEL, THREADS, bound};
use crate::cuda::backend::{Argument, Backend, Launch, Results, int};
use crate::element::Element;
use crate::error::Result;
use crate::execution::Execution;

/// The rows that one device works on at one time.
pub(super) struct Group<'a, T> {
    pub(super) plan: Plan,
    pub(super) rows: Rows<'a, T>,
    pub(super) scale: f64,
    pub(super) assigns: bool,
    pub(super) first: usize,
    /// How many groups this device had before.
    pub(super) round: usize,
}

impl<T: Element> Group<'_, T> {
    pub(super) fn run<B: Backend>(
        &self,
        backend: &B,
        state: &mut State<B>,
        labels: &mut [u32],
        execution: &Execution,
    ) -> Result<Assigned> {
        let plan = &self.plan;
        let State { feed, buffers, kept, sent, host_sums, host_labels } = state;
        backend.upload(&mut buffers.labels, 0, bytemuck::cast_slice(labels))?;
        backend.clear(&mut buffers.group)?;
        backend.clear(&mut buffers.settled)?;
        let tiles = labels.len().div_ceil(plan.tile);
        // Tiles are kept from the first on; rows that are picked are others each time.
        let before = self.round * plan.group.div_ceil(plan.tile);
        let keeps = if self.rows.picked.is_some() { 0 } else { kept.len() };
        let here = (*sent).min(keeps).saturating_sub(before).min(tiles);
        let size = |tile: usize| plan.tile.min(labels.len() - tile * plan.tile);
        for tile in 0..here {
            execution.control.check(OPERATION)?;
            let (framed, x) = &kept[before + tile];
            self.launch_steps(backend, buffers, framed, x, tile * plan.tile, size(tile))?;
        }
        let fill = |piece: usize, bytes: &mut [u8]| {
            let tile = here + piece;
            let values: &mut [T] = bytemuck::cast_slice_mut(bytes);
            for (row, target) in values.chunks_exact_mut(plan.cols).take(size(tile)).enumerate() {
                target.copy_from_slice(self.rows.row(self.first + tile * plan.tile + row));
            }
            size(tile) * plan.cols * size_of::<T>()
        };
        feed.run(backend, tiles - here, fill, |piece, x| {
            execution.control.check(OPERATION)?;
            let tile = here + piece;
            let (first, rows) = (tile * plan.tile, size(tile));
            let place = if before + tile < keeps { kept.get(before + tile) } else { None };
            let framed = place.map_or(&buffers.scratch, |(framed, _)| framed);
            if self.assigns {
                let target = place.map(|(_, x)| x);
                self.launch_frame(backend, buffers, framed, x, target, first, rows)?;
            }
            self.launch_steps(backend, buffers, framed, x, first, rows)
        })?;
        if self.assigns && keeps > 0 {
            *sent = (*sent).max(keeps.min(before + tiles));
        }
        let mut settled = [0u32];
        backend.download(&buffers.settled, 0, bytemuck::cast_slice_mut(&mut settled))?;
        backend.download(&buffers.group, 0, bytemuck::cast_slice_mut(host_sums))?;
        let found = &mut host_labels[..labels.len()];
        backend.download(&buffers.labels, 0, bytemuck::cast_slice_mut(found))?;
        let changed = labels.iter().zip(&*found).filter(|(before, now)| before != now).count();
        labels.copy_from_slice(found);
        Ok(Assigned { changed: changed as u64, fallbacks: u64::from(settled[0]) })
    }

    /// Packs the rows of a tile, and keeps them as they are, too, where there is a place for them.
    #[allow(clippy::too_many_arguments)]
    fn launch_frame<B: Backend>(
        &self,
        backend: &B,
        buffers: &Buffers<B>,
        framed: &Tile<B>,
        x: &B::Buffer,
        kept: Option<&B::Buffer>,
        first: usize,
        rows: usize,
    ) -> Result<()> {
        // (x, kept, packed, lengths, means, labels, first, rows, cols, keep, scale)
        backend.launch(
            launch("frame_f32", "frame_f64", rows.div_ceil(PANEL), THREADS, self.plan),
            &[
                Argument::Buffer(x),
                // Not written to where nothing is to be kept.
                Argument::Buffer(kept.unwrap_or(&framed.packed)),
                Argument::Buffer(&framed.packed),
                Argument::Buffer(&framed.lengths),
                Argument::Buffer(&buffers.means),
                Argument::Buffer(&buffers.labels),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, self.plan.cols)?,
                Argument::Int(i32::from(kept.is_some())),
                Argument::Double(self.scale),
            ],
        )
    }

    /// Labels a tile's rows, where that is asked for, and adds them to the group's sums.
    fn launch_steps<B: Backend>(
        &self,
        backend: &B,
        buffers: &Buffers<B>,
        framed: &Tile<B>,
        x: &B::Buffer,
        first: usize,
        rows: usize,
    ) -> Result<()> {
        let plan = self.plan;
        if self.assigns {
            self.launch_assign(backend, buffers, framed, x, first, rows)?;
        }
        let segments = rows.div_ceil(SEGMENT);
        let adders = Launch {
            grid: (segments as u32, plan.cols.div_ceil(ADDERS) as u32),
            ..launch("add_rows_f32", "add_rows_f64", segments, ADDERS, plan)
        };
        // (x, labels, sums, first, rows, cols, clusters, segment)
        backend.launch(
            adders,
            &[
                Argument::Buffer(x),
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.segments),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, plan.cols)?,
                int(OPERATION, plan.clusters)?,
                int(OPERATION, SEGMENT)?,
            ],
        )?;
        // (sums, group, size, segments)
        backend.launch(
            launch("add_segments", "add_segments", plan.sums().div_ceil(THREADS), THREADS, plan),
            &[
                Argument::Buffer(&buffers.segments),
                Argument::Buffer(&buffers.group),
                int(OPERATION, plan.sums())?,
                int(OPERATION, segments)?,
            ],
        )
    }

    fn launch_assign<B: Backend>(
        &self,
        backend: &B,
        buffers: &Buffers<B>,
        framed: &Tile<B>,
        x: &B::Buffer,
        first: usize,
        rows: usize,
    ) -> Result<()> {
        let plan = self.plan;
        // (packed, lengths, centres, low, squares, labels, unsure, first, rows, clusters, cols, bound, least)
        backend.launch(
            launch("assign_f32", "assign_f64", rows.div_ceil(PANEL), THREADS, plan),
            &[
                Argument::Buffer(&framed.packed),
                Argument::Buffer(&framed.lengths),
                Argument::Buffer(&buffers.packed_centres),
                Argument::Buffer(&buffers.low),
                Argument::Buffer(&buffers.squares),
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.unsure),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, plan.clusters)?,
                int(OPERATION, plan.cols)?,
                Argument::Double(bound::<T>(plan.cols)),
                Argument::Double(underflow::<T>(plan.cols)),
            ],
        )?;
        // (x, centres, labels, unsure, settled, first, rows, clusters, cols)
        backend.launch(
            launch("settle_f32", "settle_f64", rows.div_ceil(THREADS / 32), THREADS, plan),
            &[
                Argument::Buffer(x),
                Argument::Buffer(&buffers.centres),
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.unsure),
                Argument::Buffer(&buffers.settled),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, plan.clusters)?,
                int(OPERATION, plan.cols)?,
            ],
        )
    }
}

/// A launch of the kernel for the plan's type.
fn launch(
    single: &'static str,
    double: &'static str,
    blocks: usize,
    threads: usize,
    plan: Plan,
) -> Launch {
    Launch {
        kernel: if plan.element_bytes == size_of::<f32>() { single } else { double },
        grid: (blocks as u32, 1),
        block: threads as u32,
        shared_bytes: 0,
        results: Results::Fixed,
    }
}
