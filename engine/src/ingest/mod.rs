//! From rows that somebody sends to rows that are committed.
//!
//! Acknowledged means committed: a call answers after its rows are in a Delta commit. Because a commit
//! costs the same for one row as for a million, requests that arrive together share one (`group_commit`);
//! a whole file is one commit of its own (`load`). A retry is harmless: the producer's sequence stands
//! in the commit itself (`sequence`).

mod body;
mod brought;
mod conflict;
mod content;
mod group;
mod group_commit;
mod load;
mod numbered;
mod quarantine;
mod reading;
mod refused;
mod rejects;
mod sequence;
mod settings;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datasets::read::{Format, ReadOptions};
use datasets::{Cause, DatasetSpec, LoadSettings};

pub use conflict::OnConflict;
pub(crate) use group_commit::Ingest;
pub use sequence::{PRODUCER_MAX_BYTES, ProducerSequence};
pub use settings::Numbering;

use crate::error::{Code, Error, Result};
use crate::lake::Lake;

/// Rows for one dataset.
#[derive(Clone, Debug)]
pub struct IngestRequest {
    /// The rows.
    pub rows: IngestRows,
    /// Who sends them and their number, for a retry to be harmless.
    pub producer: Option<ProducerSequence>,
}

/// Rows as they came.
#[derive(Clone, Debug)]
pub enum IngestRows {
    /// The body of an upload.
    Body {
        /// Its bytes.
        bytes: Bytes,
        /// Its format.
        format: Format,
        /// What it is called in error messages: `body`, or a file's name.
        name: String,
    },
    /// Rows that are columns already.
    Batches(Vec<RecordBatch>),
}

/// What became of an [`IngestRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IngestReceipt {
    /// Rows that are in the dataset now.
    pub accepted: u64,
    /// Rows that are in its quarantine now.
    pub quarantined: u64,
    /// Rows that were in the dataset and went, because others with their keys came.
    #[serde(skip_serializing_if = "is_zero")]
    pub replaced: u64,
    /// Rows that were sent and are not there, because others have their keys.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Keys of which the file has more than one row, all of which are in the dataset.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeated: u64,
    /// The version that holds them; for a duplicate the newest one.
    pub version: crate::Version,
    /// Whether the request had been taken before, so that nothing was written.
    pub duplicate: bool,
    /// Why rows are in quarantine, the most frequent cause first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Columns that the dataset had not, and has now, as the rows bring them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added_columns: Vec<String>,
    /// Settings that this load stored in the dataset, as `name=value`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stored_settings: String,
    /// What the reader skipped besides rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How many rows of a file may be rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectsMax {
    /// So many.
    Rows(u64),
    /// So many of a hundred.
    Percent(f64),
}

impl RejectsMax {
    /// Whether a file may be loaded of whose rows so many are rejected.
    pub fn allows(self, rejected: u64, all: u64) -> bool {
        match self {
            Self::Rows(most) => rejected <= most,
            Self::Percent(most) => rejected as f64 * 100.0 <= most * all as f64,
        }
    }
}

impl FromStr for RejectsMax {
    type Err = Error;

    /// Reads a number of rows, or a share such as `1%`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            let expected = "expected a number of rows, or a share from 0% to 100%";
            Error::user(Code::BadInput, format!("{expected}, found {text:?}"))
        };
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Rows).map_err(|_| bad()),
            Some(share) => match share.trim().parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(bad()),
            },
        }
    }
}

impl fmt::Display for RejectsMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(most) => write!(f, "{most}"),
            Self::Percent(most) => write!(f, "{most} %"),
        }
    }
}

/// What happens to columns of a file that the dataset lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewColumns {
    /// They are refused or added, as the dataset's spec says.
    #[default]
    BySpec,
    /// They are added.
    Add,
}

/// How a file is loaded.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// Producer and sequence, for a retry to be harmless.
    pub producer: Option<(String, i64)>,
    /// Creates the dataset from this spec when it does not exist, or adds its columns.
    pub create: Option<DatasetSpec>,
    /// Bounds of the reader.
    pub read: ReadOptions,
    /// How the file is written, if the caller states it. The dataset stores these settings for later files.
    pub settings: LoadSettings,
    /// What happens to columns that the dataset lacks.
    pub new_columns: NewColumns,
    /// What becomes of rows whose key is there already.
    pub on_conflict: OnConflict,
    /// Where more rows are rejected than this, nothing is committed; any number may be, unless it is said.
    pub rejects_max: Option<RejectsMax>,
    /// Told now and then how far the load is.
    pub progress: Option<ProgressSink>,
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("producer", &self.producer)
            .field("create", &self.create.as_ref().map(|spec| &spec.name))
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// Hears of the progress of a load. Called from the loading thread: it must not wait.
pub type ProgressSink = Arc<dyn Fn(LoadProgress) + Send + Sync>;

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadProgress {
    /// Rows read and accepted.
    pub accepted: u64,
    /// Rows read and rejected.
    pub quarantined: u64,
}

/// The receipt of a request that had been taken before, which is counted.
fn duplicate(lake: &Lake, version: crate::Version) -> IngestReceipt {
    lake.metrics().requests_duplicate.add(1);
    IngestReceipt { version, duplicate: true, ..IngestReceipt::default() }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
