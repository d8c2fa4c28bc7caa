//! One entry of a table's log, read by itself.
//!
//! The library replays whole logs; for what another writer just committed, for history and for changes
//! one entry is enough, and much cheaper.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use deltalake_core::kernel::transaction::CommitData;
use deltalake_core::kernel::{Action, Add, CommitInfo, Metadata, Protocol, Remove, Transaction};
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::protocol::DeltaOperation;
use object_store::ObjectStoreExt as _;
use serde_json::Value;

use super::check::{advised, entry_path};
use super::{Publication, RevisedRows, Table, TakenRequest};
use crate::error::{Code, Error, Result};
use crate::identity::RunId;

/// Keys of ours in a commit's `commitInfo`.
pub(super) const COMMIT_ID_KEY: &str = "txnId";
pub(super) const RUN_ID_KEY: &str = "colonnadeRunId";
pub(super) const OPERATION_KEY: &str = "colonnadeOperation";
pub(super) const REQUESTS_KEY: &str = "colonnadeRequests";
pub(super) const REVISED_KEY: &str = "colonnadeRevised";
/// What the file is known by whose rows it holds.
pub(super) const CONTENT_KEY: &str = "colonnadeContent";
/// What else is to be seen together with it.
pub(super) const PUBLICATION_KEY: &str = "colonnadePublication";
/// How often columns had been renamed, dropped or given another type, where they had.
pub(super) const RESHAPED_KEY: &str = "colonnadeReshaped";
/// Actions of the commit, with this one.
const ACTIONS_KEY: &str = "colonnadeActions";

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
    /// The requests whose rows it holds, as far as its writer says so.
    pub(super) requests: Vec<TakenRequest>,
    /// Bytes that it has in the store.
    pub(super) bytes: u64,
}

/// The bytes of an entry. It says how many actions it has, so that one that is cut off between two of them is found out.
pub(super) fn entry_bytes(
    actions: Vec<Action>,
    operation: DeltaOperation,
    mut info: HashMap<String, Value>,
    txns: Vec<Transaction>,
) -> Result<Bytes> {
    info.insert(ACTIONS_KEY.to_owned(), (actions.len() + txns.len() + 1).into());
    CommitData::new(actions, operation, info, txns)
        .get_bytes()
        .map_err(|e| Error::bug("a commit as JSON", e))
}

impl LogEntry {
    pub(super) fn parse(version: u64, bytes: &Bytes) -> Result<Self> {
        let (entry, actions, broken) = Self::lines(bytes);
        if let Some(error) = broken {
            return Err(Error::environment(
                Code::StorageUnavailable,
                format!("version {version} of the table's log is not JSON"),
                error,
            ));
        }
        // Of an entry of ours; another writer does not say.
        let stated = entry.stated_actions();
        if actions == 0 || stated.is_some_and(|stated| stated != actions) {
            let expected =
                stated.map_or_else(|| "at least one action".to_owned(), |n| format!("{n} actions"));
            return Err(Error::user(
                Code::StorageUnavailable,
                format!(
                    "version {version} of the table's log is damaged: expected {expected}, found {actions}"
                ),
            ));
        }
        Ok(entry)
    }

    /// The actions of an entry that may be damaged, as far as they can be read.
    pub(super) fn salvaged(bytes: &Bytes) -> Self {
        Self::lines(bytes).0
    }

    /// The actions that can be read, how many lines there are, and what is wrong with the first that is no JSON.
    fn lines(bytes: &Bytes) -> (Self, u64, Option<serde_json::Error>) {
        let mut entry = Self { bytes: bytes.len() as u64, ..Self::default() };
        let (mut lines, mut broken) = (0, None);
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()) {
            lines += 1;
            match serde_json::from_slice(line) {
                Ok(action) => entry.take(action, bytes.slice_ref(line)),
                Err(error) => drop(broken.get_or_insert(error)),
            }
        }
        (entry, lines, broken)
    }

    fn take(&mut self, action: Value, line: Bytes) {
        if let Some(path) = action.pointer("/add/path").and_then(Value::as_str) {
            self.added_paths.push(path.to_owned());
            self.added_lines.push(line);
        }
        // An action that is not known here is none that is needed here.
        match serde_json::from_value::<Action>(action) {
            Ok(Action::Add(add)) => self.adds.push(add),
            Ok(Action::Remove(remove)) => self.removes.push(remove),
            Ok(Action::Txn(txn)) => drop(self.txns.insert(txn.app_id, txn.version)),
            Ok(Action::Metadata(metadata)) => self.metadata = Some(metadata),
            Ok(Action::Protocol(protocol)) => self.protocol = Some(protocol),
            Ok(Action::CommitInfo(info)) => {
                let requests = info.info.get(REQUESTS_KEY).cloned();
                let requests = requests.map(serde_json::from_value).and_then(Result::ok);
                self.requests = requests.unwrap_or_default();
                self.info = Some(info);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// How many actions it has, as it says.
    pub(super) fn stated_actions(&self) -> Option<u64> {
        self.info.as_ref()?.info.get(ACTIONS_KEY)?.as_u64()
    }

    /// What the file is known by whose rows it holds, where it says so.
    pub(super) fn content(&self) -> Option<&str> {
        self.info.as_ref()?.info.get(CONTENT_KEY)?.as_str()
    }

    /// Whether of files it does nothing but add some, all of which are known here, as far as it can be read.
    pub(super) fn only_adds(&self) -> bool {
        let mode =
            self.info.as_ref().and_then(|info| info.operation_parameters.as_ref()?.get("mode"));
        self.removes.is_empty()
            && self.protocol.is_none()
            && self.adds.len() == self.added_paths.len()
            && mode.is_none_or(|mode| mode == "Append")
    }

    /// Whether it says anew what the table is, or how its files are read.
    pub(super) fn changes_more_than_rows(&self) -> bool {
        self.metadata.is_some() || self.protocol.is_some()
    }

    /// Whether it does nothing but keep the same rows in other files.
    pub(super) fn only_moves(&self) -> bool {
        !self.removes.is_empty()
            && !self.changes_more_than_rows()
            && self.adds.len() >= self.added_paths.len()
            && self.adds.iter().all(|add| !add.data_change)
            && self.removes.iter().all(|remove| !remove.data_change)
    }

    /// Whether an entry that may be damaged was to keep the same rows in other files, as far as it can be read.
    pub(super) fn is_to_move(&self) -> bool {
        let says = self.info.as_ref().and_then(|info| info.operation.as_deref());
        let added = self.adds.iter().map(|add| add.data_change);
        let mut changes =
            added.chain(self.removes.iter().map(|remove| remove.data_change)).peekable();
        says == Some("OPTIMIZE") || (changes.peek().is_some() && changes.all(|changes| !changes))
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

    /// Rows in the files that it adds, when each says its count, without those that it only copied.
    pub(super) fn rows_added(&self) -> Option<u64> {
        if self.only_moves() {
            return Some(0);
        }
        let rows: u64 = self.adds.iter().map(rows_of).sum::<Option<u64>>()?;
        Some(rows.saturating_sub(self.revised().map_or(0, |revised| revised.copied)))
    }

    /// What it does to rows that were there, where it says so.
    pub(super) fn revised(&self) -> Option<RevisedRows> {
        let revised = self.info.as_ref()?.info.get(REVISED_KEY)?;
        serde_json::from_value(revised.clone()).ok()
    }

    /// What it is to be seen together with.
    pub(super) fn publication(&self) -> Option<Publication> {
        let publication = self.info.as_ref()?.info.get(PUBLICATION_KEY)?;
        serde_json::from_value(publication.clone()).ok()
    }

    /// How often the columns had been changed when it was made, where it says so.
    pub(super) fn reshaped(&self) -> Option<u64> {
        self.info.as_ref()?.info.get(RESHAPED_KEY)?.as_u64()
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

/// Rows that lie in a file, those that are deleted included.
pub(super) fn rows_in_file(add: &Add) -> Option<u64> {
    let stats: Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    stats.get("numRecords")?.as_u64()
}

/// The entry of one version, or `None` when the log has it not.
pub(super) async fn read_entry(log: &LogStoreRef, version: u64) -> Result<Option<LogEntry>> {
    match log.read_commit_entry(version).await? {
        Some(bytes) => LogEntry::parse(version, &bytes).map(Some),
        None => Ok(None),
    }
}

impl Table {
    /// The entry of one version, or `None` when the log has it not.
    pub(super) async fn entry_at(&self, version: u64) -> Result<Option<LogEntry>> {
        read_entry(&self.log, version).await.map_err(advised)
    }

    /// Whether the log has an entry of that version.
    pub(super) async fn has_entry(&self, version: u64) -> Result<bool> {
        match self.store.head(&entry_path(version)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
