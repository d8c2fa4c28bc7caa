//! What lies on one device.

use super::super::{GROUP, OPERATION, SEGMENT};
use super::{ADDERS, CENTRES, PANEL, PIECE_BYTES, SPAN};
use crate::budget::zeroed;
use crate::cuda::backend::{Backend, Feed};
use crate::error::Result;

/// Blocks of `add_rows` that are enough for a device: with fewer, segments are added apart.
const ENOUGH_BLOCKS: usize = if cfg!(test) { 16 } else { 512 };

/// The sizes that all launches share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) clusters: usize,
    pub(super) cols: usize,
    /// Rows that are sent together, and for how many there is room: the first may fall where the tile grows.
    pub(super) piece: usize,
    pub(super) piece_room: usize,
    /// Rows of a tile: whole segments, or all rows.
    pub(super) tile: usize,
    /// Rows of a group, or all.
    pub(super) group: usize,
    /// Rows that a device works on before it gives back what it has: a group, or some where there is no other device.
    pub(super) span: usize,
    pub(super) element_bytes: usize,
}

impl Plan {
    pub(super) fn new<T>(
        rows: usize,
        clusters: usize,
        cols: usize,
        segments: usize,
        devices: usize,
    ) -> Self {
        let most = rows.max(1);
        let tile = (segments * SEGMENT).min(most);
        let groups = if devices == 1 { SPAN } else { 1 };
        // An even number of pieces, so that each goes to the other staging than the one before it.
        let piece = (PIECE_BYTES / (cols * size_of::<T>()).max(1)).max(1);
        let pieces = 2 * tile.div_ceil(2 * piece);
        Self {
            clusters,
            cols,
            piece: tile.div_ceil(pieces),
            piece_room: tile.div_ceil(2).min(piece),
            tile,
            group: (GROUP * SEGMENT).min(most),
            span: (groups * GROUP * SEGMENT).min(most),
            element_bytes: size_of::<T>(),
        }
    }

    pub(super) fn sums(&self) -> usize {
        self.clusters * self.cols
    }

    pub(super) fn padded_clusters(&self) -> usize {
        self.clusters.next_multiple_of(CENTRES)
    }

    /// Columns of what is packed. A float is two halves there, which are as long.
    fn packed_cols(&self) -> usize {
        if self.element_bytes == size_of::<f32>() {
            self.cols.next_multiple_of(16)
        } else {
            self.cols
        }
    }

    fn piece_bytes(&self) -> usize {
        self.piece_room * self.cols * self.element_bytes
    }

    fn tile_bytes(&self) -> usize {
        self.tile * self.cols * self.element_bytes
    }

    fn packed_bytes(&self) -> usize {
        self.tile.next_multiple_of(PANEL) * self.packed_cols() * self.element_bytes
    }

    pub(super) fn packed_centre_bytes(&self) -> usize {
        self.padded_clusters() * self.packed_cols() * self.element_bytes
    }

    /// Centres in both types, with their constants.
    fn centre_bytes(&self) -> usize {
        self.packed_centre_bytes()
            + self.padded_clusters() * (self.element_bytes + size_of::<f64>())
            + self.sums() * size_of::<f64>()
    }

    pub(super) fn segments(&self) -> usize {
        self.tile.div_ceil(SEGMENT)
    }

    /// Whether the sums of a tile's segments are taken apart, because there are few clusters.
    pub(super) fn is_apart(&self) -> bool {
        self.segments() > 1 && self.clusters * self.cols.div_ceil(ADDERS) < ENOUGH_BLOCKS
    }

    /// At least those of one cluster.
    fn apart_bytes(&self) -> usize {
        let clusters = if self.is_apart() { self.clusters } else { 1 };
        self.segments() * clusters * self.cols * size_of::<f64>()
    }

    /// Labels of a tile's segments, and one more.
    pub(super) fn tally(&self) -> usize {
        self.clusters * self.segments() + 1
    }

    /// Tiles of a group.
    pub(super) fn tiles(&self) -> usize {
        self.group.div_ceil(self.tile)
    }

    /// Tiles of all rows, group after group.
    pub(super) fn tiles_of(&self, rows: usize) -> usize {
        rows / self.group * self.tiles() + (rows % self.group).div_ceil(self.tile)
    }

    fn count_bytes(&self) -> usize {
        self.span.div_ceil(self.group) * self.tiles() * size_of::<u32>()
    }

    /// What stays of a tile: its rows, packed and not, and their lengths.
    pub(super) fn kept_bytes(&self) -> usize {
        self.tile_bytes() + self.packed_bytes() + self.tile * size_of::<f64>()
    }

    pub(super) fn device_bytes<B: Backend>(&self) -> usize {
        Feed::<B>::bytes(self.piece_bytes())
            + self.kept_bytes()
            + self.tile * (1 + 3 * size_of::<u32>() + size_of::<f64>())
            + self.span * size_of::<u32>()
            + self.count_bytes()
            + self.tally() * size_of::<u32>()
            + self.apart_bytes()
            + 2 * self.sums() * size_of::<f64>()
            + self.centre_bytes()
            + self.cols * size_of::<f64>()
    }

    pub(super) fn host_bytes<B: Backend>(&self) -> usize {
        Feed::<B>::bytes(self.piece_bytes())
            + self.span * size_of::<u32>()
            + self.count_bytes()
            + self.sums() * size_of::<f64>()
            + self.centre_bytes()
    }
}

/// What lies on one device.
pub(super) struct State<B: Backend> {
    pub(super) feed: Feed<B>,
    pub(super) buffers: Buffers<B>,
    /// How many rows a tile's segments have of each label.
    pub(super) tally: B::Buffer,
    /// Tiles that stay, as many as fit, and how many of them have been sent.
    pub(super) kept: Vec<Tile<B>>,
    pub(super) sent: usize,
    pub(super) host_sums: Vec<f64>,
    pub(super) host_labels: Vec<u32>,
    /// Whether the labels on the device are those in `host_labels`.
    pub(super) labelled: bool,
    pub(super) host_counts: Vec<u32>,
}

/// What every tile of a device is worked on with.
pub(super) struct Buffers<B: Backend> {
    pub(super) scratch: Tile<B>,
    pub(super) unsure: B::Buffer,
    /// Rows that are not proven, and how many there are of each tile.
    pub(super) list: B::Buffer,
    pub(super) counts: B::Buffer,
    pub(super) labels: B::Buffer,
    /// Rows by label: each row's rank among those of its own, and the order.
    pub(super) ranks: B::Buffer,
    pub(super) order: B::Buffer,
    pub(super) distances: B::Buffer,
    pub(super) apart: B::Buffer,
    pub(super) group: B::Buffer,
    pub(super) total: B::Buffer,
    pub(super) centres: B::Buffer,
    pub(super) packed_centres: B::Buffer,
    pub(super) low: B::Buffer,
    pub(super) squares: B::Buffer,
    pub(super) means: B::Buffer,
}

/// A tile, as it came and in the frame.
pub(super) struct Tile<B: Backend> {
    pub(super) x: B::Buffer,
    pub(super) packed: B::Buffer,
    pub(super) lengths: B::Buffer,
}

impl<B: Backend> Tile<B> {
    pub(super) fn allocate(backend: &B, plan: &Plan) -> Result<Self> {
        Ok(Self {
            x: backend.allocate(OPERATION, plan.tile_bytes())?,
            packed: backend.allocate(OPERATION, plan.packed_bytes())?,
            lengths: backend.allocate(OPERATION, plan.tile * size_of::<f64>())?,
        })
    }
}

impl<B: Backend> State<B> {
    pub(super) fn allocate(backend: &B, plan: &Plan) -> Result<Self> {
        let device = |bytes| backend.allocate(OPERATION, bytes);
        let padded = plan.padded_clusters();
        let buffers = Buffers {
            scratch: Tile::allocate(backend, plan)?,
            unsure: device(plan.tile)?,
            list: device(plan.tile * size_of::<u32>())?,
            counts: device(plan.count_bytes())?,
            labels: device(plan.span * size_of::<u32>())?,
            ranks: device(plan.tile * size_of::<u32>())?,
            order: device(plan.tile * size_of::<u32>())?,
            distances: device(plan.tile * size_of::<f64>())?,
            apart: device(plan.apart_bytes())?,
            group: device(plan.sums() * size_of::<f64>())?,
            total: device(plan.sums() * size_of::<f64>())?,
            centres: device(plan.sums() * size_of::<f64>())?,
            packed_centres: device(plan.packed_centre_bytes())?,
            low: device(padded * plan.element_bytes)?,
            squares: device(padded * size_of::<f64>())?,
            means: device(plan.cols * size_of::<f64>())?,
        };
        Ok(Self {
            feed: Feed::allocate(backend, OPERATION, plan.piece_bytes())?,
            buffers,
            tally: backend.allocate(OPERATION, plan.tally() * size_of::<u32>())?,
            kept: Vec::new(),
            sent: 0,
            host_sums: zeroed(OPERATION, plan.sums())?,
            host_labels: zeroed(OPERATION, plan.span)?,
            labelled: false,
            host_counts: zeroed(OPERATION, plan.count_bytes() / size_of::<u32>())?,
        })
    }
}
