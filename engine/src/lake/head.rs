//! The head of a table: what the next commit must know of the newest version.
//!
//! It is small and in memory, and advanced by each commit, so that committing reads nothing back: not
//! the log, whose replay grows with the table, and not the file list.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datasets::{DatasetName, DatasetSpec};
use deltalake_core::kernel::{Metadata, Protocol};
use deltalake_core::table::state::DeltaTableState;
use futures::StreamExt;

use super::column_ids::ColumnIds;
use super::excerpt::ShapedAt;
use super::log::LogEntry;
use super::{LOST, Table, Taken, TakenRequest, dropped, first_of, loses, lost_of, schema, width};
use crate::catalog::DatasetEntry;
use crate::error::{Code, Error, Result};
use crate::identity::Version;

/// Producers whose last sequence is kept in memory; beyond that they are read again from the log.
const PRODUCERS_MAX: usize = 65_536;

/// Commits that are looked through for what a request held.
pub(super) const COMMITS_REMEMBERED: u64 = 100;
/// Entries of the log that are read at once for it.
pub(super) const ENTRIES_AT_A_TIME: usize = 16;
/// Requests of which it is kept in memory what they held; beyond that it is read again from the log. Few in tests, so that they
/// come there.
const REQUESTS_MAX: usize = if cfg!(test) { 64 } else { 16_384 };

/// Commits of a log that is read whole for the numbers of all producers.
const WHOLE_LOG_MAX: u64 = 200;

/// Whose numbers are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nobody was asked for yet: those of the commits since it was opened.
    Nobody,
    /// Those of some producers.
    Some,
    /// Those of all: who is not among them has none.
    All,
}

/// What the requests of the newest commits held.
#[derive(Clone, Debug)]
struct Remembered {
    /// By producer and sequence; `None` where the log does not say.
    digests: HashMap<(String, i64), Option<String>>,
    /// The first sequence per producer, `None` where the log does not say.
    firsts: HashMap<String, Option<i64>>,
    /// The first version whose requests are here, and those of all after it.
    from: u64,
}

impl Remembered {
    fn nothing_before(from: u64) -> Self {
        Self { digests: HashMap::new(), firsts: HashMap::new(), from }
    }

    fn is_full(&self) -> bool {
        self.digests.len() >= REQUESTS_MAX
    }

    fn add(&mut self, requests: &[TakenRequest]) {
        for TakenRequest { producer, sequence, digest } in requests {
            self.digests.insert((producer.clone(), *sequence), digest.clone());
        }
    }

    /// Those of a commit that was just made. Where there are too many, it forgets all before it.
    fn follow(&mut self, version: u64, requests: &[TakenRequest]) {
        if self.is_full() {
            *self = Self::nothing_before(version);
        }
        self.add(requests);
        for TakenRequest { producer, .. } in requests {
            // It may have become known by this commit.
            if matches!(self.firsts.get(producer), Some(None)) {
                self.firsts.remove(producer);
            }
        }
    }

    fn keep_first(&mut self, producer: &str, first: Option<i64>) {
        if self.firsts.len() >= REQUESTS_MAX {
            self.firsts.clear();
        }
        self.firsts.insert(producer.to_owned(), first);
    }
}

/// The newest version that is known, and what a commit on top of it needs.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(super) version: u64,
    /// Bytes of its entry in the log, where it was written or read.
    pub(super) entry_bytes: Option<u64>,
    /// The last version that changed more than which files the rows lie in and what is said of them, or a later one.
    pub(super) changed_at: u64,
    /// The first version that `metadata` and `protocol` are known to hold for.
    pub(super) shaped_at: ShapedAt,
    pub(super) metadata: Metadata,
    pub(super) protocol: Protocol,
    /// The spec of the dataset.
    pub(crate) spec: Arc<DatasetSpec>,
    /// The schema that its data files are written in, partition columns included.
    pub(crate) schema: SchemaRef,
    /// Which columns these are.
    pub(crate) column_ids: Arc<ColumnIds>,
    pub(super) size: Size,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
    /// Last sequence per producer; `None` for one that is known to have none.
    sequences: HashMap<String, Option<i64>>,
    sequences_known: Known,
    /// What the newest requests held.
    remembered: Remembered,
}

/// How large a table, or a part of it, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Rows, when every file says its count.
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Size {
    pub(crate) fn of_state(state: &DeltaTableState) -> Self {
        state.log_data().iter().map(|file| Self::of_file(&file)).fold(
            Self { rows: Some(0), ..Self::default() },
            |sum, file| Self {
                rows: sum.rows.zip(file.rows).map(|(a, b)| a + b),
                bytes: sum.bytes + file.bytes,
                files: sum.files + 1,
            },
        )
    }

    pub(super) fn of_file(file: &deltalake_core::kernel::LogicalFileView) -> Self {
        let deleted = file.deletion_vector_descriptor().map_or(0, |dv| dv.cardinality);
        let rows = file.num_records().map(|n| n as u64);
        Self {
            rows: rows.and_then(|n| n.checked_sub(u64::try_from(deleted).ok()?)),
            bytes: u64::try_from(file.size()).unwrap_or_default(),
            files: 1,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.zip(other.rows).map(|(a, b)| a + b),
            bytes: self.bytes + other.bytes,
            files: self.files + other.files,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            rows: self.rows.zip(other.rows).map(|(a, b)| a.saturating_sub(b)),
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }
}

impl Head {
    /// The head of the version that `state` holds.
    pub(super) fn of_state(name: &DatasetName, state: &DeltaTableState) -> Result<Self> {
        let metadata = state.metadata().clone();
        let spec = schema::spec_of(name, &metadata)?;
        let at = |ms: Option<i64>| ms.and_then(DateTime::from_timestamp_millis);
        Ok(Self {
            version: state.version(),
            entry_bytes: None,
            changed_at: state.version(),
            shaped_at: ShapedAt::new(state.version()),
            protocol: state.protocol().clone(),
            schema: schema::arrow_schema_of(&metadata)?,
            column_ids: Arc::new(ColumnIds::of(&metadata)?),
            spec: Arc::new(spec),
            size: Size::of_state(state),
            created_at: at(metadata.created_time()),
            updated_at: at(state.version_timestamp(state.version())),
            sequences: HashMap::new(),
            sequences_known: Known::Nobody,
            remembered: Remembered::nothing_before(state.version() + 1),
            metadata,
        })
    }

    /// The head of a table that was just made.
    pub(super) fn of_new(
        spec: &DatasetSpec,
        metadata: Metadata,
        protocol: Protocol,
        entry_bytes: u64,
    ) -> Result<Self> {
        Ok(Self {
            version: 0,
            entry_bytes: Some(entry_bytes),
            changed_at: 0,
            shaped_at: ShapedAt::new(0),
            protocol,
            schema: schema::arrow_schema_of(&metadata)?,
            column_ids: Arc::new(ColumnIds::of(&metadata)?),
            spec: Arc::new(spec.clone()),
            size: Size { rows: Some(0), ..Size::default() },
            created_at: Some(Utc::now()),
            updated_at: Some(Utc::now()),
            sequences: HashMap::new(),
            sequences_known: Known::All,
            remembered: Remembered::nothing_before(0),
            metadata,
        })
    }

    pub(crate) fn version(&self) -> Version {
        Version(self.version)
    }

    /// The columns that split its files into folders.
    pub(crate) fn partition_columns(&self) -> &[String] {
        self.metadata.partition_columns()
    }

    /// Fails where rows that are there must stay as they are.
    pub(crate) fn require_replaceable(&self) -> Result<()> {
        match schema::append_only(&self.metadata) {
            true => Err(Error::user(
                Code::BadInput,
                format!("dataset {} is append-only; its rows can't be replaced", self.spec.name),
            )),
            false => Ok(()),
        }
    }

    /// Fails where nothing can be committed: to a table that is dropped, or one that this engine may only read.
    pub(crate) fn require_writable(&self) -> Result<()> {
        self.require_not_dropped()?;
        self.require_ours()
    }

    /// Fails when this engine may only read the table.
    pub(super) fn require_ours(&self) -> Result<()> {
        let mut reason = schema::read_only_reason(&self.metadata, &self.protocol);
        let stored = self.spec.arrow_schema();
        let same = stored.fields().len() == self.schema.fields().len()
            && stored
                .fields()
                .iter()
                .zip(self.schema.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same && reason.is_none() {
            reason = Some("its columns have names or types that this writer has not".to_owned());
        }
        match reason {
            Some(reason) => Err(Error::user(
                Code::BadInput,
                format!(
                    "dataset {} was made by another writer and can only be read: {reason}",
                    self.spec.name
                ),
            )),
            None => Ok(()),
        }
    }

    /// Last sequence that `producer` had taken.
    pub(crate) async fn last_sequence(
        &mut self,
        table: &Table,
        producer: &str,
    ) -> Result<Option<i64>> {
        if self.sequences_known == Known::Nobody {
            self.sequences_known = self.read_sequences(table).await?;
        }
        if let Some(known) = self.sequences.get(producer) {
            return Ok(*known);
        }
        if self.sequences_known == Known::All {
            return Ok(None);
        }
        let state = table.state(self.version).await?;
        let last = state.transaction_version(table.log.as_ref(), producer).await?;
        self.note_sequence(producer, last);
        Ok(last)
    }

    fn note_sequence(&mut self, producer: &str, last: Option<i64>) {
        if self.sequences.len() >= PRODUCERS_MAX {
            self.sequences.clear();
            self.sequences_known = Known::Some;
        }
        self.sequences.insert(producer.to_owned(), last);
    }

    /// Reads the numbers of all producers, where the whole log is there and short: one of which nothing is known costs as much each
    /// time it is asked for, and each run is one.
    async fn read_sequences(&mut self, table: &Table) -> Result<Known> {
        if self.version > WHOLE_LOG_MAX {
            return Ok(Known::Some);
        }
        let read = |version| async move { (version, table.log.read_commit_entry(version).await) };
        let entries = futures::stream::iter(0..=self.version).map(read);
        let mut entries = entries.buffered(ENTRIES_AT_A_TIME);
        let mut found = HashMap::new();
        while let Some((version, bytes)) = entries.next().await {
            let Some(bytes) = bytes? else { return Ok(Known::Some) };
            let Ok(entry) = LogEntry::parse(version, &bytes) else { return Ok(Known::Some) };
            found.extend(entry.txns.into_iter().map(|(producer, last)| (producer, Some(last))));
        }
        // What was committed here since it was opened is as new.
        found.extend(std::mem::take(&mut self.sequences));
        self.sequences = found;
        Ok(Known::All)
    }

    /// Whether the log says that the rows of a number are lost.
    pub(super) async fn is_noted_lost(
        &mut self,
        table: &Table,
        producer: &str,
        sequence: i64,
    ) -> Result<bool> {
        Ok(self.last_sequence(table, &loses(producer)).await?.is_some()
            && self.last_sequence(table, &lost_of(producer, sequence)).await? == Some(LOST))
    }

    /// What is known of a sequence of `producer` that is not after the last one taken.
    pub(crate) async fn taken(
        &mut self,
        table: &Table,
        producer: &str,
        sequence: i64,
    ) -> Result<Taken> {
        if self.is_noted_lost(table, producer, sequence).await? {
            return Ok(Taken::Lost);
        }
        let key = (producer.to_owned(), sequence);
        let oldest = (self.version + 1).saturating_sub(COMMITS_REMEMBERED);
        if !self.remembered.digests.contains_key(&key) {
            let versions = (oldest..self.remembered.from).rev();
            let read =
                |version| async move { (version, table.log.read_commit_entry(version).await) };
            let mut entries = futures::stream::iter(versions).map(read).buffered(ENTRIES_AT_A_TIME);
            while let Some((version, bytes)) = entries.next().await {
                // The log before this was cleaned up, or can not be read: nothing is known of it.
                let Some(bytes) = bytes? else { break };
                let Ok(entry) = LogEntry::parse(version, &bytes) else { break };
                let is_it = |of: &&TakenRequest| of.producer == producer && of.sequence == sequence;
                let found = entry.requests.iter().find(is_it).map(|of| of.digest.clone());
                // What there is no room for is read again when it is asked for again.
                if version + 1 == self.remembered.from && !self.remembered.is_full() {
                    self.remembered.add(&entry.requests);
                    self.remembered.from = version;
                }
                if let Some(digest) = found {
                    return Ok(digest.map_or(Taken::Before, Taken::With));
                }
            }
        }
        if let Some(digest) = self.remembered.digests.get(&key) {
            return Ok(digest.clone().map_or(Taken::Before, Taken::With));
        }
        let first = match self.remembered.firsts.get(producer) {
            Some(first) => *first,
            None => {
                let (state, first) = (table.state(self.version).await?, first_of(producer));
                let first = state.transaction_version(table.log.as_ref(), first).await?;
                self.remembered.keep_first(producer, first);
                first
            }
        };
        Ok(match first {
            Some(first) if sequence < first => Taken::Never { first },
            _ => Taken::Before,
        })
    }

    /// Moves on by a commit of this process, of which sizes are known.
    pub(super) fn advance(&mut self, entry: &LogEntry, added: Size, removed: Size) -> Result<()> {
        self.size = self.size.minus(removed).plus(added);
        self.follow(entry)
    }

    /// Moves on by one version; the caller sees to the size.
    pub(super) fn follow(&mut self, entry: &LogEntry) -> Result<()> {
        if let Some(metadata) = &entry.metadata {
            self.spec = Arc::new(schema::spec_of(&self.spec.name, metadata)?);
            self.schema = schema::arrow_schema_of(metadata)?;
            self.column_ids = Arc::new(ColumnIds::of(metadata)?);
            self.metadata = metadata.clone();
            let made = metadata.created_time().and_then(DateTime::from_timestamp_millis);
            self.created_at = made.or(self.created_at);
        }
        if let Some(protocol) = &entry.protocol {
            self.protocol = protocol.clone();
        }
        for (producer, sequence) in &entry.txns {
            self.note_sequence(producer, Some(*sequence));
        }
        self.remembered.follow(self.version + 1, &entry.requests);
        self.updated_at = entry.at().or(Some(Utc::now()));
        self.version += 1;
        self.entry_bytes = Some(entry.bytes);
        let is_said = entry.adds.is_empty() && entry.removes.is_empty() && entry.txns.is_empty();
        if !entry.only_moves() && !is_said {
            self.changed_at = self.version;
        }
        if entry.metadata.is_some() || entry.protocol.is_some() {
            self.shaped_at = ShapedAt::new(self.version);
        }
        Ok(())
    }

    /// What the catalogue says of the dataset.
    pub(super) fn entry(&self) -> DatasetEntry {
        DatasetEntry {
            spec: self.spec.as_ref().clone(),
            version: self.version(),
            rows: self.size.rows,
            bytes: self.size.bytes,
            files: self.size.files,
            created_at: self.created_at,
            updated_at: self.updated_at,
            row_bytes: width::stated(&self.metadata),
            column_ids: Arc::clone(&self.column_ids),
            dropped_at: dropped::dropped_at(&self.metadata),
            is_part: false,
            masked: Vec::new(),
            is_unmade: dropped::is_unmade(&self.metadata),
        }
    }
}
