//! What was committed when, read from the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use futures::{StreamExt, TryStreamExt, stream};

use super::check::{LogFiles, entry_path};
use super::log::{LogEntry, OPERATION_KEY};
use super::removal::decoded;
use super::{Lake, Table};
use crate::derived::is_kept_name;
use crate::error::{Code, Error, Result};
use crate::identity::{RunId, TenantId, Version};

/// What commits of rows that clients send are called.
const CLIENT_OPERATIONS: [&str; 2] = ["ingest", "load"];
/// Log entries read at once.
const READING_MAX: usize = 16;

/// One commit, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// The version that it made.
    pub version: Version,
    /// When, by its writer's clock.
    pub at: DateTime<Utc>,
    /// What was done: `ingest`, a job's name, or Delta's own word for another writer's commit.
    pub operation: String,
    /// The run that committed.
    pub run_id: Option<RunId>,
    /// Who committed, when the writer said so.
    pub subject: Option<String>,
    /// The producers whose numbered requests it took, each once.
    pub producers: Vec<String>,
    /// Rows in the files that it added, when each says its count.
    pub rows_added: Option<u64>,
    /// Bytes of the files that it added.
    pub bytes_added: u64,
    /// Files that it added.
    pub files_added: u64,
    /// Files that it removed.
    pub files_removed: u64,
    /// Whether it changed rows, and not only what is said of them or which files they lie in.
    pub changes_rows: bool,
    /// Numbers that it keeps, by the id that each is of: [`CommitLabel::marks`](crate::CommitLabel::marks) and others.
    pub numbers: BTreeMap<String, i64>,
}

impl CommitRecord {
    fn new(version: u64, entry: LogEntry) -> Self {
        let operation = entry.text(OPERATION_KEY).filter(|o| !o.is_empty()).map(str::to_owned);
        let info = entry.info.as_ref();
        let producers: BTreeSet<String> =
            entry.requests.iter().map(|request| request.producer.clone()).collect();
        Self {
            version: Version(version),
            at: entry.at().unwrap_or_default(),
            operation: operation
                .or_else(|| info.and_then(|i| i.operation.clone()))
                .unwrap_or_else(|| "unknown".to_owned()),
            run_id: entry.run_id(),
            subject: info.and_then(|i| i.user_name.clone()),
            producers: producers.into_iter().collect(),
            rows_added: entry.rows_added(),
            changes_rows: !entry.only_moves()
                && (!entry.adds.is_empty() || !entry.removes.is_empty()),
            bytes_added: entry
                .adds
                .iter()
                .map(|add| u64::try_from(add.size).unwrap_or_default())
                .sum(),
            files_added: entry.adds.len() as u64,
            files_removed: entry.removes.len() as u64,
            numbers: entry.txns.into_iter().collect(),
        }
    }
}

/// Which rows a commit stands for.
struct Scope {
    /// Files that it added, decoded.
    files: HashSet<String>,
    /// The partitions whose rows it replaced; none where it only added, empty where it is not known which.
    replaced: Option<Vec<Partition>>,
}

/// Values by partition column.
type Partition = HashMap<String, Option<String>>;

impl Scope {
    fn of(entry: &LogEntry) -> Self {
        let files = entry.adds.iter().map(|add| decoded(&add.path)).collect();
        let mut partitions: Vec<Partition> = Vec::new();
        let added = entry.adds.iter().map(|add| &add.partition_values);
        let removed = entry.removes.iter().filter_map(|remove| remove.partition_values.as_ref());
        for partition in added.chain(removed) {
            if !partitions.contains(partition) {
                partitions.push(partition.clone());
            }
        }
        Self { files, replaced: (!entry.only_adds()).then_some(partitions) }
    }

    /// Goes on after one that put files together.
    fn follow(&mut self, moved: &LogEntry) {
        let ours: Vec<_> =
            moved.removes.iter().filter(|it| self.files.contains(&decoded(&it.path))).collect();
        for add in &moved.adds {
            let is_same =
                |values: &Option<_>| values.as_ref().is_none_or(|it| *it == add.partition_values);
            if ours.iter().any(|remove| is_same(&remove.partition_values)) {
                self.files.insert(decoded(&add.path));
            }
        }
    }

    /// Whether a later commit changed what this one stands for.
    fn is_changed_by(&self, later: &LogEntry) -> bool {
        let is_within = |partition: Option<&Partition>| match (&self.replaced, partition) {
            (None, _) => false,
            (Some(replaced), Some(partition)) => {
                replaced.is_empty() || replaced.contains(partition)
            }
            (Some(_), None) => true,
        };
        later.adds.iter().any(|add| add.data_change && is_within(Some(&add.partition_values)))
            || later.removes.iter().filter(|remove| remove.data_change).any(|remove| {
                self.files.contains(&decoded(&remove.path))
                    || is_within(remove.partition_values.as_ref())
            })
    }
}

impl Lake {
    /// Whether the rows that the commit of `version` made are still as it made them: no later one took one of them away, or
    /// wrote others where it had replaced what was there.
    pub(crate) async fn is_as_made(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        version: Version,
    ) -> Result<bool> {
        let table = self.table(tenant, dataset).await?;
        let newest = table.entry().version;
        let Some(made) = table.entry_at(version.0).await? else { return Ok(false) };
        let mut scope = Scope::of(&made);
        let mut entries = stream::iter(version.0 + 1..=newest.0)
            .map(|version| table.entry_at(version))
            .buffered(READING_MAX);
        while let Some(entry) = entries.try_next().await? {
            // Of what was cleaned up nothing is known.
            let Some(entry) = entry else { return Ok(false) };
            if scope.is_changed_by(&entry) {
                return Ok(false);
            }
            if entry.only_moves() {
                scope.follow(&entry);
            }
        }
        Ok(true)
    }

    /// The last number that a commit was made under, by the id that it is counted for.
    pub(crate) async fn last_number(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        id: &str,
    ) -> Result<Option<i64>> {
        let table = self.table(tenant, dataset).await?;
        let mut head = table.head().await;
        head.last_sequence(&table, id).await
    }

    /// The newest `limit` commits, newest first.
    pub(crate) async fn history(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        limit: usize,
    ) -> Result<Vec<CommitRecord>> {
        let table = self.table(tenant, dataset).await?;
        let newest = table.entry().version.0;
        let mut records = Vec::new();
        let mut entries = stream::iter((0..=newest).rev().take(limit))
            .map(|version| {
                let table = &table;
                async move { Ok::<_, Error>((version, table.entry_at(version).await?)) }
            })
            .buffered(READING_MAX);
        while let Some((version, entry)) = entries.try_next().await? {
            // The log before this was cleaned up.
            let Some(entry) = entry else { break };
            records.push(CommitRecord::new(version, entry));
        }
        Ok(records)
    }

    /// The version that was the newest at `at`.
    pub(crate) async fn version_at(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        at: DateTime<Utc>,
    ) -> Result<Version> {
        let table = self.table(tenant, dataset).await?;
        let newest = table.entry().version;
        let oldest = table.oldest_version(newest).await?;
        let first = table.time_of(oldest).await?;
        if at < first {
            return Err(Error::user(
                Code::NotFound,
                format!(
                    "dataset {dataset} has no version at {}; its oldest, version {oldest}, is of {}",
                    at.to_rfc3339(),
                    first.to_rfc3339()
                ),
            ));
        }
        // Commits follow each other in time, as well as their writers' clocks agree.
        let (mut low, mut high) = (oldest.0, newest.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if table.time_of(Version(middle)).await? <= at {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(Version(low))
    }
}

impl Table {
    /// Fails for a dataset under a name that is kept for what Colonnade writes, into which clients sent rows: older versions let
    /// them, and whoever reads it would take their rows for ours. The log says so as far as it goes back.
    pub(super) async fn require_own_rows(&self) -> Result<()> {
        if self.entry().spec.derived || !is_kept_name(&self.name) {
            return Ok(());
        }
        let newest = self.entry().version.0;
        let read = |version| async move { (version, self.entry_at(version).await) };
        let mut entries = stream::iter((0..=newest).rev()).map(read).buffered(READING_MAX);
        while let Some((version, entry)) = entries.next().await {
            let Some(entry) = entry? else { break };
            let operation = entry.text(OPERATION_KEY).unwrap_or_default();
            if CLIENT_OPERATIONS.contains(&operation) && !entry.adds.is_empty() {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "dataset {} holds rows that a client sent (version {version}, {operation:?}); expected only what \
                         Colonnade writes under that name, so it is not read; give its folder another name",
                        self.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The oldest version that can still be read: from it on the log has no gap, or a checkpoint, and its files are kept.
    pub(super) async fn oldest_version(&self, newest: Version) -> Result<Version> {
        let LogFiles { entries, checkpoints, .. } = LogFiles::list(self.store.as_ref()).await?;
        let mut oldest = newest.0;
        // How far back the entries go without a gap.
        for version in entries.iter().rev().skip_while(|v| **v > newest.0) {
            if *version == oldest || *version + 1 == oldest {
                oldest = *version;
            } else {
                break;
            }
        }
        // Entries alone need the very first; a checkpoint can stand in for those before it.
        let first = (oldest == 0).then_some(0);
        let held = checkpoints.into_iter().filter(|v| *v + 1 >= oldest && *v <= newest.0).min();
        let of_log = Version(first.or(held).unwrap_or(newest.0));
        Ok(of_log.max(self.shown().shape.kept_from()))
    }

    async fn time_of(&self, version: Version) -> Result<DateTime<Utc>> {
        if let Some(at) = self.entry_at(version.0).await?.and_then(|entry| entry.at()) {
            return Ok(at);
        }
        // A writer that says no time: the object's own is what Delta takes.
        let path = entry_path(version.0);
        let found = object_store::ObjectStoreExt::head(&self.store, &path).await;
        Ok(found.map(|object| object.last_modified).unwrap_or_default())
    }
}
