//! The launches for the rows that one device works on.

use rayon::prelude::*;

use super::super::distance::is_usable;
use super::super::lloyd::{Assigned, Rows};
use super::super::{NONE, OPERATION, SEGMENT};
use super::bound::Bounds;
use super::state::{Buffers, Plan, State, Tile};
use super::{ADDERS, ASSIGN_SHARED, MEASURED, MEASURERS, PANEL, THREADS};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, int};
use crate::element::Element;
use crate::error::Result;
use crate::execution::Execution;

/// Rows that a thread copies together.
const COPIED: usize = 256;
/// Labels that a thread compares together.
const COMPARED: usize = 16 << 10;

/// Rows of a block of `distances`.
const EACH: usize = THREADS / 8;

/// The groups of rows that one device works on before it gives back what it has.
pub(super) struct Span<'a, T> {
    pub(super) plan: Plan,
    pub(super) rows: Rows<'a, T>,
    pub(super) scale: f64,
    /// Where rows are to be labelled.
    pub(super) bounds: Option<Bounds>,
    pub(super) first: usize,
    /// How many groups this device had before.
    pub(super) before: usize,
    /// Whether the sums begin here.
    pub(super) begins: bool,
}

/// A tile of a span.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// By the order of the span's tiles.
    index: usize,
    /// In the span.
    first: usize,
    rows: usize,
}

impl Part {
    /// Tile `tile` of a group of `rows` rows.
    fn new(plan: &Plan, group: usize, tile: usize, rows: usize) -> Self {
        Self {
            index: group * plan.tiles() + tile,
            first: group * plan.group + tile * plan.tile,
            rows: plan.tile.min(rows - tile * plan.tile),
        }
    }
}

impl<T: Element> Span<'_, T> {
    pub(super) fn run<B: Backend>(
        &self,
        backend: &B,
        state: &mut State<B>,
        labels: &mut [u32],
        execution: &Execution,
    ) -> Result<Assigned> {
        let plan = &self.plan;
        send_labels(backend, state, labels)?;
        let buffers = &mut state.buffers;
        backend.clear(&mut buffers.counts)?;
        if self.begins {
            backend.clear(&mut buffers.total)?;
        }
        for (group, part) in labels.chunks(plan.group).enumerate() {
            self.launch_group(backend, state, group, part.len(), execution)?;
        }
        let State { buffers, host_sums, host_labels, labelled, host_counts, .. } = state;
        backend.download(&buffers.counts, 0, bytemuck::cast_slice_mut(host_counts))?;
        backend.download(&buffers.total, 0, bytemuck::cast_slice_mut(host_sums))?;
        let fallbacks = host_counts.iter().map(|&count| u64::from(count)).sum();
        if self.bounds.is_none() {
            return Ok(Assigned { changed: 0, fallbacks });
        }
        let found = &mut host_labels[..labels.len()];
        *labelled = false;
        backend.download(&buffers.labels, 0, bytemuck::cast_slice_mut(found))?;
        *labelled = true;
        let take = |(labels, found): (&mut [u32], &[u32])| {
            let changed = labels.iter().zip(found).filter(|(before, now)| before != now).count();
            labels.copy_from_slice(found);
            changed as u64
        };
        let parts = labels.par_chunks_mut(SEGMENT).zip(found.par_chunks(SEGMENT));
        Ok(Assigned { changed: parts.map(take).sum(), fallbacks })
    }

    /// All that is to be done with a group.
    fn launch_group<B: Backend>(
        &self,
        backend: &B,
        state: &mut State<B>,
        group: usize,
        rows: usize,
        execution: &Execution,
    ) -> Result<()> {
        let plan = &self.plan;
        let State { feed, buffers, tally, kept, sent, .. } = state;
        backend.clear(&mut buffers.group)?;
        let tiles = rows.div_ceil(plan.tile);
        // Tiles are kept from the first on; rows that are picked are others each time.
        let before = (self.before + group) * plan.tiles();
        let keeps = if self.rows.picked.is_some() { 0 } else { kept.len() };
        let here = (*sent).min(keeps).saturating_sub(before).min(tiles);
        let part = |tile| Part::new(plan, group, tile, rows);
        for tile in 0..tiles {
            execution.control.check(OPERATION)?;
            let part = part(tile);
            let stays = before + tile < keeps;
            let target = if stays { &kept[before + tile] } else { &buffers.scratch };
            if tile >= here {
                self.send_tile(backend, feed, target, part, None, execution)?;
                launch_frame(plan, backend, buffers, target, part, self.scale)?;
            }
            self.launch_steps(backend, buffers, tally, target, part)?;
        }
        if keeps > 0 {
            *sent = (*sent).max(keeps.min(before + tiles));
        }
        // (sums, group, size, segments)
        backend.launch(
            launch("add_segments", "add_segments", plan.sums().div_ceil(THREADS), THREADS, *plan),
            &[
                Argument::Buffer(&buffers.group),
                Argument::Buffer(&buffers.total),
                int(OPERATION, plan.sums())?,
                Argument::Int(1),
            ],
        )
    }

    /// Sends the rows of a tile, piece by piece. Labels are set to 0 or, where a row is not usable, [`NONE`].
    fn send_tile<B: Backend>(
        &self,
        backend: &B,
        feed: &mut Feed<B>,
        tile: &Tile<B>,
        part: Part,
        mut labels: Option<&mut [u32]>,
        execution: &Execution,
    ) -> Result<()> {
        let plan = &self.plan;
        let size = |piece: usize| plan.piece.min(part.rows - piece * plan.piece);
        let fill = |piece: usize, bytes: &mut [u8]| {
            let start = piece * plan.piece;
            let values = &mut bytemuck::cast_slice_mut::<_, T>(bytes)[..size(piece) * plan.cols];
            let row = |at: usize| self.rows.row(self.first + part.first + start + at);
            let copy = |(index, values): (usize, &mut [T])| {
                for (at, target) in values.chunks_exact_mut(plan.cols).enumerate() {
                    target.copy_from_slice(row(index * COPIED + at));
                }
            };
            let parts = values.par_chunks_mut(COPIED * plan.cols).enumerate();
            if let Some(labels) = &mut labels {
                let labels = &mut labels[start..start + size(piece)];
                parts.zip(labels.par_chunks_mut(COPIED)).for_each(|((index, values), labels)| {
                    for (at, label) in labels.iter_mut().enumerate() {
                        *label = if is_usable(row(index * COPIED + at)) { 0 } else { NONE };
                    }
                    copy((index, values));
                });
            } else {
                parts.for_each(copy);
            }
            size_of_val(values)
        };
        feed.run(backend, part.rows.div_ceil(plan.piece), fill, |piece, x| {
            execution.control.check(OPERATION)?;
            let values = size(piece) * plan.cols;
            // (x, kept, before, size)
            backend.launch(
                launch("keep_f32", "keep_f64", values.div_ceil(THREADS), THREADS, *plan),
                &[
                    Argument::Buffer(x),
                    Argument::Buffer(&tile.x),
                    Argument::Long((piece * plan.piece * plan.cols) as u64),
                    int(OPERATION, values)?,
                ],
            )
        })
    }

    /// Sends all tiles, which stay, and labels the usable rows with 0. The tiles are not framed yet.
    pub(super) fn hold<B: Backend>(
        &self,
        backend: &B,
        state: &mut State<B>,
        labels: &mut [u32],
        execution: &Execution,
    ) -> Result<()> {
        let plan = &self.plan;
        let State { feed, kept, sent, .. } = state;
        for (group, (labels, kept)) in
            labels.chunks_mut(plan.group).zip(kept.chunks(plan.tiles())).enumerate()
        {
            let rows = labels.len();
            let tiles = labels.chunks_mut(plan.tile).zip(kept);
            for (index, (labels, tile)) in tiles.enumerate() {
                let part = Part::new(plan, group, index, rows);
                self.send_tile(backend, feed, tile, part, Some(labels), execution)?;
                *sent += 1;
            }
        }
        Ok(())
    }

    /// Labels a tile's rows, where that is asked for, and adds them to the group's sums.
    fn launch_steps<B: Backend>(
        &self,
        backend: &B,
        buffers: &Buffers<B>,
        tally: &mut B::Buffer,
        tile: &Tile<B>,
        part: Part,
    ) -> Result<()> {
        if let Some(bounds) = &self.bounds {
            self.launch_assign(backend, buffers, tile, part, bounds)?;
        }
        let plan = self.plan;
        let Part { first, rows, .. } = part;
        let segments = rows.div_ceil(SEGMENT);
        let labels = plan.clusters * segments;
        backend.clear(tally)?;
        let tally = &*tally;
        let blocks = rows.div_ceil(THREADS);
        // (labels, ranks, tally, first, rows, segments, segment)
        backend.launch(
            launch("rank_rows", "rank_rows", blocks, THREADS, plan),
            &[
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.ranks),
                Argument::Buffer(tally),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, segments)?,
                int(OPERATION, SEGMENT)?,
            ],
        )?;
        // (tally, size)
        backend.launch(
            launch("offsets", "offsets", 1, 1024, plan),
            &[Argument::Buffer(tally), int(OPERATION, labels)?],
        )?;
        // (labels, ranks, starts, order, first, rows, segments, segment)
        backend.launch(
            launch("place_rows", "place_rows", blocks, THREADS, plan),
            &[
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.ranks),
                Argument::Buffer(tally),
                Argument::Buffer(&buffers.order),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, segments)?,
                int(OPERATION, SEGMENT)?,
            ],
        )?;
        let units = if plan.is_apart() { labels } else { plan.clusters };
        let adders = Launch {
            grid: (units as u32, plan.cols.div_ceil(ADDERS) as u32),
            ..launch("add_rows_f32", "add_rows_f64", units, ADDERS, plan)
        };
        // (x, order, starts, sums, group, cols, clusters, segments, segment, apart)
        backend.launch(
            adders,
            &[
                Argument::Buffer(&tile.x),
                Argument::Buffer(&buffers.order),
                Argument::Buffer(tally),
                Argument::Buffer(&buffers.apart),
                Argument::Buffer(&buffers.group),
                int(OPERATION, plan.cols)?,
                int(OPERATION, plan.clusters)?,
                int(OPERATION, segments)?,
                int(OPERATION, SEGMENT)?,
                Argument::Int(i32::from(plan.is_apart())),
            ],
        )?;
        if !plan.is_apart() {
            return Ok(());
        }
        // (sums, group, size, segments)
        backend.launch(
            launch("add_segments", "add_segments", plan.sums().div_ceil(THREADS), THREADS, plan),
            &[
                Argument::Buffer(&buffers.apart),
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
        tile: &Tile<B>,
        part: Part,
        bounds: &Bounds,
    ) -> Result<()> {
        let plan = self.plan;
        let Part { index, first, rows } = part;
        let is_single = plan.element_bytes == size_of::<f32>();
        let assign = Launch {
            shared_bytes: if is_single { ASSIGN_SHARED } else { 0 },
            ..launch("assign_f32", "assign_f64", rows.div_ceil(PANEL), THREADS, plan)
        };
        // (packed, lengths, centres, low, squares, labels, unsure, first, rows, clusters, cols, row_bound, centre_bound,
        // least)
        backend.launch(
            assign,
            &[
                Argument::Buffer(&tile.packed),
                Argument::Buffer(&tile.lengths),
                Argument::Buffer(&buffers.packed_centres),
                Argument::Buffer(&buffers.low),
                Argument::Buffer(&buffers.squares),
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.unsure),
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
                int(OPERATION, plan.clusters)?,
                int(OPERATION, plan.cols)?,
                Argument::Double(bounds.rows),
                Argument::Double(bounds.centres),
                Argument::Double(bounds.least),
            ],
        )?;
        let gather = Launch {
            results: Results::Unordered,
            ..launch("gather_unsure", "gather_unsure", rows.div_ceil(THREADS), THREADS, plan)
        };
        // (labels, unsure, list, counts, tile, first, rows)
        backend.launch(
            gather,
            &[
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.unsure),
                Argument::Buffer(&buffers.list),
                Argument::Buffer(&buffers.counts),
                int(OPERATION, index)?,
                int(OPERATION, first)?,
                int(OPERATION, rows)?,
            ],
        )?;
        let blocks = rows.div_ceil(MEASURED).min(MEASURERS);
        // (x, centres, labels, list, counts, tile, first, clusters, cols)
        backend.launch(
            launch("measure_f32", "measure_f64", blocks, THREADS, plan),
            &[
                Argument::Buffer(&tile.x),
                Argument::Buffer(&buffers.centres),
                Argument::Buffer(&buffers.labels),
                Argument::Buffer(&buffers.list),
                Argument::Buffer(&buffers.counts),
                int(OPERATION, index)?,
                int(OPERATION, first)?,
                int(OPERATION, plan.clusters)?,
                int(OPERATION, plan.cols)?,
            ],
        )
    }
}

/// Sends the labels of a span, where the device has others.
fn send_labels<B: Backend>(backend: &B, state: &mut State<B>, labels: &[u32]) -> Result<()> {
    let State { buffers, host_labels, labelled, .. } = state;
    let kept = &mut host_labels[..labels.len()];
    let is_same = |(labels, kept): (&[u32], &[u32])| labels == kept;
    if *labelled && labels.par_chunks(COMPARED).zip(kept.par_chunks(COMPARED)).all(is_same) {
        return Ok(());
    }
    *labelled = false;
    backend.upload(&mut buffers.labels, 0, bytemuck::cast_slice(labels))?;
    kept.copy_from_slice(labels);
    *labelled = true;
    Ok(())
}

/// Frames all tiles that were held, of `rows` rows.
pub(super) fn frame_held<B: Backend>(
    plan: &Plan,
    backend: &B,
    state: &State<B>,
    rows: usize,
    scale: f64,
) -> Result<()> {
    for (at, tile) in state.kept.iter().take(state.sent).enumerate() {
        let group = at / plan.tiles();
        let rows = plan.group.min(rows - group * plan.group);
        let part = Part::new(plan, group, at % plan.tiles(), rows);
        launch_frame(plan, backend, &state.buffers, tile, part, scale)?;
    }
    Ok(())
}

/// Packs the rows of a tile.
fn launch_frame<B: Backend>(
    plan: &Plan,
    backend: &B,
    buffers: &Buffers<B>,
    tile: &Tile<B>,
    Part { first, rows, .. }: Part,
    scale: f64,
) -> Result<()> {
    // (x, packed, lengths, means, labels, first, rows, cols, scale)
    backend.launch(
        launch("frame_f32", "frame_f64", rows.div_ceil(PANEL), THREADS, *plan),
        &[
            Argument::Buffer(&tile.x),
            Argument::Buffer(&tile.packed),
            Argument::Buffer(&tile.lengths),
            Argument::Buffer(&buffers.means),
            Argument::Buffer(&buffers.labels),
            int(OPERATION, first)?,
            int(OPERATION, rows)?,
            int(OPERATION, plan.cols)?,
            Argument::Double(scale),
        ],
    )
}

/// Every row's distance from the centre of its label, where all tiles are on the device.
pub(super) fn measure<B: Backend>(
    plan: &Plan,
    backend: &B,
    state: &mut State<B>,
    labels: &[u32],
    centres: &[f64],
    distances: &mut [f64],
) -> Result<()> {
    send_labels(backend, state, labels)?;
    let State { buffers, kept, .. } = state;
    backend.upload(&mut buffers.centres, 0, bytemuck::cast_slice(centres))?;
    let groups = distances.chunks_mut(plan.group).zip(kept.chunks(plan.tiles()));
    for (group, (distances, kept)) in groups.enumerate() {
        let all = distances.len();
        for (index, (found, tile)) in distances.chunks_mut(plan.tile).zip(kept).enumerate() {
            let Part { first, rows, .. } = Part::new(plan, group, index, all);
            // (x, centres, labels, found, first, rows, cols)
            backend.launch(
                launch("distances_f32", "distances_f64", rows.div_ceil(EACH), THREADS, *plan),
                &[
                    Argument::Buffer(&tile.x),
                    Argument::Buffer(&buffers.centres),
                    Argument::Buffer(&buffers.labels),
                    Argument::Buffer(&buffers.distances),
                    int(OPERATION, first)?,
                    int(OPERATION, rows)?,
                    int(OPERATION, plan.cols)?,
                ],
            )?;
            backend.download(&buffers.distances, 0, bytemuck::cast_slice_mut(found))?;
        }
    }
    Ok(())
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
