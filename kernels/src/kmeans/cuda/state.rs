//! What lies on one device.

use super::super::distance::Frame;
use super::super::{GROUP, OPERATION, SEGMENT};
use super::{CENTRES, PANEL};
use crate::budget::zeroed;
use crate::cuda::backend::{Backend, Feed};
use crate::error::Result;

/// The sizes that all launches share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) clusters: usize,
    pub(super) cols: usize,
    /// Rows of a tile: whole segments, or all rows.
    pub(super) tile: usize,
    /// Rows of a group, or all.
    pub(super) group: usize,
    pub(super) element_bytes: usize,
}

impl Plan {
    pub(super) fn new<T>(rows: usize, clusters: usize, cols: usize, segments: usize) -> Self {
        let most = rows.max(1);
        Self {
            clusters,
            cols,
            tile: (segments * SEGMENT).min(most),
            group: (GROUP * SEGMENT).min(most),
            element_bytes: size_of::<T>(),
        }
    }

    pub(super) fn sums(&self) -> usize {
        self.clusters * self.cols
    }

    pub(super) fn padded_clusters(&self) -> usize {
        self.clusters.next_multiple_of(CENTRES)
    }

    pub(super) fn tile_bytes(&self) -> usize {
        self.tile * self.cols * self.element_bytes
    }

    pub(super) fn packed_bytes(&self) -> usize {
        self.tile.next_multiple_of(PANEL) * self.cols * self.element_bytes
    }

    /// Centres in both types, with their constants.
    pub(super) fn centre_bytes(&self) -> usize {
        self.padded_clusters() * (self.cols + 1) * self.element_bytes
            + (self.sums() + self.padded_clusters()) * size_of::<f64>()
    }

    pub(super) fn segments(&self) -> usize {
        self.tile.div_ceil(SEGMENT)
    }

    /// What stays of a tile: its rows, packed and not, and their lengths.
    pub(super) fn kept_bytes(&self) -> usize {
        self.tile_bytes() + self.packed_bytes() + self.tile * size_of::<f64>()
    }

    pub(super) fn device_bytes<B: Backend>(&self) -> usize {
        Feed::<B>::bytes(self.tile_bytes())
            + self.packed_bytes()
            + self.tile * (size_of::<f64>() + 1)
            + self.group * size_of::<u32>()
            + (self.segments() + 1) * self.sums() * size_of::<f64>()
            + self.centre_bytes()
            + self.cols * size_of::<f64>()
            + size_of::<u32>()
    }

    pub(super) fn host_bytes<B: Backend>(&self) -> usize {
        Feed::<B>::bytes(self.tile_bytes())
            + self.group * size_of::<u32>()
            + self.sums() * size_of::<f64>()
            + self.centre_bytes()
    }
}
/// What lies on one device.
pub(super) struct State<B: Backend> {
    pub(super) feed: Feed<B>,
    pub(super) buffers: Buffers<B>,
    /// Tiles that stay, as many as fit, and how many of them have been sent.
    pub(super) kept: Vec<(Tile<B>, B::Buffer)>,
    pub(super) sent: usize,
    pub(super) host_sums: Vec<f64>,
    pub(super) host_labels: Vec<u32>,
}

/// What every tile of a device is worked on with.
pub(super) struct Buffers<B: Backend> {
    pub(super) scratch: Tile<B>,
    pub(super) unsure: B::Buffer,
    pub(super) labels: B::Buffer,
    pub(super) segments: B::Buffer,
    pub(super) group: B::Buffer,
    pub(super) settled: B::Buffer,
    pub(super) centres: B::Buffer,
    pub(super) packed_centres: B::Buffer,
    pub(super) low: B::Buffer,
    pub(super) squares: B::Buffer,
    pub(super) means: B::Buffer,
}

/// A tile in the frame.
pub(super) struct Tile<B: Backend> {
    pub(super) packed: B::Buffer,
    pub(super) lengths: B::Buffer,
}

impl<B: Backend> Tile<B> {
    pub(super) fn allocate(backend: &B, plan: &Plan) -> Result<Self> {
        Ok(Self {
            packed: backend.allocate(OPERATION, plan.packed_bytes())?,
            lengths: backend.allocate(OPERATION, plan.tile * size_of::<f64>())?,
        })
    }
}

impl<B: Backend> State<B> {
    pub(super) fn allocate(backend: &B, plan: &Plan, frame: &Frame) -> Result<Self> {
        let device = |bytes| backend.allocate(OPERATION, bytes);
        let padded = plan.padded_clusters();
        let mut means = device(plan.cols * size_of::<f64>())?;
        backend.upload(&mut means, 0, bytemuck::cast_slice(&frame.means))?;
        let buffers = Buffers {
            scratch: Tile::allocate(backend, plan)?,
            unsure: device(plan.tile)?,
            labels: device(plan.group * size_of::<u32>())?,
            segments: device(plan.segments() * plan.sums() * size_of::<f64>())?,
            group: device(plan.sums() * size_of::<f64>())?,
            settled: device(size_of::<u32>())?,
            centres: device(plan.sums() * size_of::<f64>())?,
            packed_centres: device(padded * plan.cols * plan.element_bytes)?,
            low: device(padded * plan.element_bytes)?,
            squares: device(padded * size_of::<f64>())?,
            means,
        };
        Ok(Self {
            feed: Feed::allocate(backend, OPERATION, plan.tile_bytes())?,
            buffers,
            kept: Vec::new(),
            sent: 0,
            host_sums: zeroed(OPERATION, plan.sums())?,
            host_labels: zeroed(OPERATION, plan.group)?,
        })
    }
}
