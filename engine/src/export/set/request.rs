//! What is to be exported, and where to.

use datasets::DatasetName;

use crate::error::Result;
use crate::export::ExportOptions;
use crate::identity::Version;

/// What is to be exported, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// The rows.
    pub source: ExportSource,
    /// Where the files go.
    pub to: ExportPlace,
    /// How they are written.
    pub options: ExportOptions,
    /// What becomes of an export that lies there.
    pub there: IfThere,
    /// Most rows of one file.
    pub file_rows: usize,
    /// Columns whose values become folders, instead of standing in the files; none, where there are no such folders.
    pub partition_by: Vec<String>,
    /// The run that does it, where one does.
    pub run_id: Option<String>,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportSource {
    /// A dataset, at the version that the session has.
    Dataset {
        /// Which.
        dataset: DatasetName,
        /// Which of its rows, in SQL; all where there is none.
        condition: Option<String>,
        /// Which of its columns, in this order; all where there are none.
        columns: Vec<String>,
        /// What changed since this version, instead of all that is there.
        since: Option<Version>,
    },
    /// A query.
    Sql(String),
}

/// Where an export goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportPlace {
    /// A folder, or a URL of an object store.
    Elsewhere(String),
    /// The root's own place for exports, from which others take them.
    Own {
        /// What it is called there.
        id: String,
        /// For how many days it is kept.
        keep_days: u32,
        /// The tenant's exports are to be no more than so many bytes together.
        bytes_max: u64,
    },
}

/// What becomes of an export that lies where another is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfThere {
    /// It is an error, unless it is the same one, which goes on.
    #[default]
    Refuse,
    /// It is removed first.
    Overwrite,
}

/// How an export is watched.
pub trait ExportWatch: Sync {
    /// Fails where it shall end.
    fn check(&self) -> Result<()>;
    /// Is told how many rows are written.
    fn rows(&self, rows: u64);
}
