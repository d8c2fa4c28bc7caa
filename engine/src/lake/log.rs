//! One entry of a table's log, read by itself.
//!
//! The library replays whole logs; for what another writer just committed, for history and for changes
//! one entry is enough, and much cheaper.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use deltalake_core::kernel::{Action, Add, CommitInfo, Metadata, Protocol, Remove};
use serde_json::Value;

use super::Table;
use crate::error::{Code, Error, Result};
use crate::identity::RunId;

/// Keys of ours in a commit's `commitInfo`.
pub(super) const COMMIT_ID_KEY: &str = "txnId";
pub(super) const RUN_ID_KEY: &str = "colonnadeRunId";
pub(super) const OPERATION_KEY: &str = "colonnadeOperation";

/// The actions of one version.
#[derive(Debug, Default)]
pub(super) struct LogEntry {
    pub(super) adds: Vec<Add>,
    /// The paths of the files that it adds, encoded as its writer did.
    pub(super) added_paths: Vec<String>,
    /// The actions that add them, as they stand there.
    pub(super) added_lines: Vec<Bytes>,
    pub(super) removes: Vec<Remove>,
    pub(super) txns: HashMap<String, i64>,
    pub(super) metadata: Option<Metadata>,
    pub(super) protocol: Option<Protocol>,
    pub(super) info: Option<CommitInfo>,
}

impl LogEntry {
    fn parse(version: u64, bytes: &Bytes) -> Result<Self> {
        let mut entry = Self::default();
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()) {
            let action: Value = serde_json::from_slice(line).map_err(|e| {
                Error::environment(
                    Code::StorageUnavailable,
                    format!("version {version} of the table's log is not JSON"),
                    e,
                )
            })?;
            if let Some(path) = action.pointer("/add/path").and_then(Value::as_str) {
                entry.added_paths.push(path.to_owned());
                entry.added_lines.push(bytes.slice_ref(line));
            }
            // An action that is not known here is none that is needed here.
            match serde_json::from_value::<Action>(action) {
                Ok(Action::Add(add)) => entry.adds.push(add),
                Ok(Action::Remove(remove)) => entry.removes.push(remove),
                Ok(Action::Txn(txn)) => {
                    entry.txns.insert(txn.app_id, txn.version);
                }
                Ok(Action::Metadata(metadata)) => entry.metadata = Some(metadata),
                Ok(Action::Protocol(protocol)) => entry.protocol = Some(protocol),
                Ok(Action::CommitInfo(info)) => entry.info = Some(info),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(entry)
    }

    /// The id that its writer gave the commit.
    pub(super) fn commit_id(&self) -> Option<&str> {
        self.text(COMMIT_ID_KEY)
    }

    /// The run that committed.
    pub(super) fn run_id(&self) -> Option<RunId> {
        self.text(RUN_ID_KEY)?.parse().ok()
    }

    /// When it was committed, as its writer says.
    pub(super) fn at(&self) -> Option<DateTime<Utc>> {
        let info = self.info.as_ref()?;
        DateTime::from_timestamp_millis(info.in_commit_timestamp.or(info.timestamp)?)
    }

    /// Rows in the files that it adds, when each says its count.
    pub(super) fn rows_added(&self) -> Option<u64> {
        self.adds.iter().map(rows_of).sum()
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.info.as_ref()?.info.get(key)?.as_str()
    }
}

/// Rows of a file by its statistics, those that a deletion vector takes away subtracted.
pub(super) fn rows_of(add: &Add) -> Option<u64> {
    let stats: Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    let deleted = add.deletion_vector.as_ref().map_or(0, |dv| dv.cardinality);
    stats.get("numRecords")?.as_u64()?.checked_sub(u64::try_from(deleted).ok()?)
}

impl Table {
    /// The entry of one version, or `None` when the log has it not.
    pub(super) async fn entry_at(&self, version: u64) -> Result<Option<LogEntry>> {
        match self.log.read_commit_entry(version).await? {
            Some(bytes) => LogEntry::parse(version, &bytes).map(Some),
            None => Ok(None),
        }
    }
}
