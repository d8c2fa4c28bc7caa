//! Datasets as Delta tables: what is committed, by whom, and what was at any version.
//!
//! The Delta library reads logs and data files; committing is done here, because the rules that make an
//! acknowledgement true (one commit at a time, a lost race is looked at again, a failed answer is
//! resolved by reading the log) need to see each attempt. Nothing outside this room knows of Delta.

mod artifacts;
mod author;
mod changes;
mod check;
mod checkpoint;
mod column_ids;
mod commit;
mod contents;
mod create;
mod data_files;
mod doctor;
mod dropped;
mod error;
mod excerpt;
mod file_list;
mod head;
mod history;
mod holding;
mod layout;
mod log;
mod look;
mod newest;
mod others;
mod publication;
mod readiness;
mod removal;
mod schema;
mod shelf;
mod table;
mod tracked;
mod vacuum;
mod width;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use parking_lot::Mutex;

pub use artifacts::Forgotten;
pub(crate) use author::{
    Author, Before, LOST, Proposal, REGAINED, Record, RevisedRows, Taken, TakenRequest, first_of,
    is_note, loses, lost_of,
};
pub(crate) use changes::FileChanges;
pub(crate) use check::is_unreadable;
pub(crate) use column_ids::{ColumnIds, Renamed};
pub(crate) use commit::{columns_were_changed, require_same_columns};
pub(crate) use create::{grown, with_columns};
pub(crate) use data_files::{DataFiles, FileWriter};
pub use doctor::{Examined, Finding, FindingKind};
pub(crate) use dropped::was_dropped;
pub(crate) use error::table_failure;
pub(crate) use file_list::FileList;
pub(crate) use head::Head;
pub use history::CommitRecord;
pub(crate) use layout::{Bin, Extent};
pub use layout::{Layout, RowOrder};
pub use publication::Prepared;
pub(crate) use publication::Publication;
pub(crate) use removal::{Came, Removal};
pub(crate) use table::{Snapshot, Table};
pub use vacuum::{Keep, Vacuumed};
pub(crate) use width::USUAL_ROW_BYTES;
pub(crate) use write::Checked;

use crate::bus::CommitBus;
use crate::expected::Expected;
use crate::identity::{RunId, TenantId, Version};
use crate::metrics::EngineMetrics;
use crate::storage::Root;
use shelf::Shelf;

/// All tables of a root.
#[derive(Debug)]
pub(crate) struct Lake {
    root: Root,
    writable: bool,
    shelves: Mutex<HashMap<TenantId, Arc<Shelf>>>,
    bus: CommitBus,
    metrics: EngineMetrics,
    writes: readiness::Writes,
    /// What each tenant is expected to have.
    expected: Expected,
    /// The runtime that opened it.
    beside: tokio::runtime::Handle,
}

/// What a write does with the rows that are there.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteMode {
    /// Adds to them.
    Append,
    /// Adds to them if this is still the newest version, and is `CONFLICT` if not: for rows that follow from what was
    /// read at that version.
    AppendAfter(Version),
    /// Replaces all.
    Overwrite,
    /// Replaces those of some partitions: where each named partition column has the value named
    /// for it, or one of them when it is named more than once. The new rows must lie there too.
    ReplacePartitions(Vec<(String, ScalarValue)>),
    /// The same if these partitions still lie in the files that they lay in at this version, and `CONFLICT` if not.
    ReplacePartitionsAfter(Vec<(String, ScalarValue)>, Version),
}

impl WriteMode {
    /// The version that must still be the newest.
    fn after(&self) -> Option<Version> {
        match self {
            Self::AppendAfter(version) | Self::ReplacePartitionsAfter(_, version) => Some(*version),
            Self::Append | Self::Overwrite | Self::ReplacePartitions(_) => None,
        }
    }
}

/// Rows to be written.
pub enum Batches {
    /// All of them.
    Memory(Vec<RecordBatch>),
    /// As they come; memory stays bounded.
    Stream(SendableRecordBatchStream),
}

impl From<Vec<RecordBatch>> for Batches {
    fn from(batches: Vec<RecordBatch>) -> Self {
        Self::Memory(batches)
    }
}

impl From<RecordBatch> for Batches {
    fn from(batch: RecordBatch) -> Self {
        Self::Memory(vec![batch])
    }
}

impl From<SendableRecordBatchStream> for Batches {
    fn from(stream: SendableRecordBatchStream) -> Self {
        Self::Stream(stream)
    }
}

/// What a commit is labelled with in the table's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitLabel {
    /// The run that commits.
    pub run_id: Option<RunId>,
    /// What is done, for people: `ingest`, `anomalies`, …
    pub operation: String,
    /// Application id and number: a commit with a number that is not above the last one recorded
    /// for its id is not made a second time.
    pub idempotency: Option<(String, i64)>,
    /// Numbers that the commit keeps beside that, by the id that each is of: as how far an input was read.
    pub marks: Vec<(String, i64)>,
}

impl CommitLabel {
    /// All numbers that the commit keeps.
    pub(crate) fn numbers(&self) -> Vec<(String, i64)> {
        self.idempotency.iter().chain(&self.marks).cloned().collect()
    }
}

/// A commit that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The dataset.
    pub dataset: DatasetName,
    /// The version that holds the rows; for a duplicate the newest one.
    pub version: Version,
    /// Rows written.
    pub rows: u64,
    /// Bytes of the data files written.
    pub bytes: u64,
    /// Whether it had been made before, so that nothing was written.
    pub duplicate: bool,
}

impl Lake {
    pub(crate) fn new(root: Root, writable: bool, expected: Expected) -> Self {
        Self {
            root,
            writable,
            expected,
            shelves: Mutex::default(),
            bus: CommitBus::new(),
            metrics: EngineMetrics::default(),
            writes: readiness::Writes::default(),
            beside: tokio::runtime::Handle::current(),
        }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn bus(&self) -> &CommitBus {
        &self.bus
    }

    pub(crate) fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }
}
