//! What is wrong with the tables of a root, and what of it can be mended.
//!
//! A table is damaged where its log has a hole or an entry that can not be read, and where a data file that the log names is
//! not there or is cut off. Mending destroys nothing: entries that can not be part of the table any more go to a folder of the
//! log, the rows that they add are committed again, and a data file that is gone is taken out of the table. What is lost by
//! that is said first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use datasets::{ColumnSpec, DatasetName, DatasetSpec};
use deltalake_core::kernel::{Add, Remove};
use deltalake_core::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::check::{LOG_FOLDER, LogFiles};
use super::create::grown;
use super::data_files::is_data_file;
use super::head::Size;
use super::log::{LogEntry, rows_of};
use super::table::{load_state, places};
use super::write::require_same_paths;
use super::{
    Author, CommitLabel, Head, Lake, Proposal, Table, TakenRequest, first_of, schema, width,
};
use crate::bus::CommitKind;
use crate::error::{Error, Result};
use crate::identity::{Principal, TenantId};

/// Where entries go that can not be part of the table.
const DAMAGED_FOLDER: &str = "_delta_log/_damaged";
/// The end of their names while their rows are still to be committed again.
const PENDING: &str = ".pending";
/// Objects that are asked for at once.
const ASKING_MAX: usize = 32;
/// Least age of a file that no commit names before it is deleted: another writer may be about to commit it.
const WASTE_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Files that one finding names.
const SHOWN_MAX: usize = 5;
/// How a Parquet file begins and ends.
const PARQUET_MARK: &[u8] = b"PAR1";

/// What was found out about one table.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Examined {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its folder.
    pub dataset: DatasetName,
    /// Its newest version, where it can be read.
    pub version: Option<u64>,
    /// What is wrong with it, the worst first.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// What was found.
    pub found: String,
    /// What can be done, or was.
    pub remedy: String,
    /// Whether it was done.
    pub mended: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Rows that were acknowledged can not be read.
    Damage,
    /// Something is not as it is written, and all rows can be read.
    Oddity,
    /// Space is taken for nothing.
    Waste,
}

impl Lake {
    /// Looks at every table of every tenant; mends what can be mended where `repair` says so.
    pub(crate) async fn examine(&self, who: &Principal, repair: bool) -> Result<Vec<Examined>> {
        if repair {
            self.require_writer()?;
        }
        let mut examined = Vec::new();
        for tenant in self.tenants().await? {
            let who = Principal { tenant: tenant.clone(), ..who.clone() };
            for name in self.folders(&tenant).await? {
                let mut examination = Examination::new(self, &who, &name, repair)?;
                let found = examination.run().await;
                examined.extend(examination.ended(found));
            }
        }
        Ok(examined)
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let listing = self.root().store().list_with_delimiter(None).await?;
        let name = |path: &Path| TenantId::new(path.filename()?).ok();
        Ok(listing.common_prefixes.iter().filter_map(name).collect())
    }

    async fn folders(&self, tenant: &TenantId) -> Result<Vec<DatasetName>> {
        let folder = Path::from(tenant.as_str());
        let listing = self.root().store().list_with_delimiter(Some(&folder)).await?;
        let name = |path: &Path| DatasetName::new(path.filename()?).ok();
        Ok(listing.common_prefixes.iter().filter_map(name).collect())
    }
}

/// One table under examination.
struct Examination<'a> {
    lake: &'a Lake,
    who: &'a Principal,
    name: &'a DatasetName,
    log: LogStoreRef,
    store: Arc<dyn ObjectStore>,
    repair: bool,
    /// Whether something was mended.
    changed: bool,
    findings: Vec<Finding>,
}

/// Where a log ends before its end.
struct Break {
    /// The first version that can not be read.
    version: u64,
    reason: String,
    /// It, as far as it can be read, and those after it.
    entries: Vec<LogEntry>,
    last: u64,
}

impl<'a> Examination<'a> {
    fn new(
        lake: &'a Lake,
        who: &'a Principal,
        name: &'a DatasetName,
        repair: bool,
    ) -> Result<Self> {
        let (log, store) = places(lake.root(), &who.tenant, name)?;
        Ok(Self { lake, who, name, log, store, repair, changed: false, findings: Vec::new() })
    }

    /// The table's newest version; `None` for a folder without a log, which is no table.
    async fn run(&mut self) -> Result<Option<u64>> {
        let files = LogFiles::list(self.store.as_ref()).await?;
        if files.last().is_none() {
            self.without_log().await?;
            return Ok(None);
        }
        if let Some(broken) = self.find_break(&files).await? {
            self.cut(&broken).await?;
            if !self.changed {
                // Nothing behind it can be looked at.
                return Ok(Some(broken.version.saturating_sub(1)));
            }
        }
        let table = Arc::new(Table::open(self.lake.root(), &self.who.tenant, self.name).await?);
        self.restore(&table).await?;
        let table = Arc::new(Table::open(self.lake.root(), &self.who.tenant, self.name).await?);
        let entries = self.entries(&LogFiles::list(self.store.as_ref()).await?).await?;
        self.sequences(&entries);
        self.files(&table, &entries).await?;
        Ok(Some(table.entry().version.0))
    }

    fn ended(mut self, found: Result<Option<u64>>) -> Option<Examined> {
        let version = match found {
            Ok(None) if self.findings.is_empty() => return None,
            Ok(version) => version,
            Err(error) => {
                let remedy = "none; what can be done is done when this is mended";
                self.finds(FindingKind::Damage, error.to_string(), remedy, false);
                None
            }
        };
        self.findings.sort_by_key(|finding| finding.kind);
        let (tenant, dataset) = (self.who.tenant.clone(), self.name.clone());
        Some(Examined { tenant, dataset, version, findings: self.findings })
    }

    fn finds(&mut self, kind: FindingKind, found: String, remedy: impl Into<String>, mended: bool) {
        self.changed |= mended;
        self.findings.push(Finding { kind, found, remedy: remedy.into(), mended });
    }

    /// The bytes of the entries from `first` on, in order.
    async fn entry_bytes(&self, files: &LogFiles, first: u64) -> Result<Vec<(u64, Option<Bytes>)>> {
        let versions: Vec<u64> =
            files.entries.iter().copied().filter(|version| *version >= first).collect();
        let read = |version| async move {
            Ok::<_, Error>((version, self.log.read_commit_entry(version).await?))
        };
        stream::iter(versions).map(read).buffered(ASKING_MAX).try_collect().await
    }

    /// Looks whether a folder that has no log has data.
    async fn without_log(&mut self) -> Result<()> {
        let objects: Vec<ObjectMeta> = self.store.list(None).try_collect().await?;
        let data = objects.iter().filter(|object| is_data_file(&object.location)).count();
        if data > 0 {
            let found = format!("{data} data files are here, and no log says what they hold");
            let remedy = "none: without a log nothing says which of them are of one version";
            self.finds(FindingKind::Damage, found, remedy, false);
        }
        Ok(())
    }

    /// Whether entries of the log were set aside here, now or once.
    async fn has_set_aside(&self) -> Result<bool> {
        Ok(self.store.list(Some(&Path::from(DAMAGED_FOLDER))).try_next().await?.is_some())
    }

    async fn find_break(&self, files: &LogFiles) -> Result<Option<Break>> {
        let first = files.checkpoints.last().map_or(0, |checkpoint| checkpoint + 1);
        let missing = files.first_missing();
        let all = self.entry_bytes(files, first).await?;
        let mut broken =
            missing.map(|version| (version, format!("version {version} of the log is missing")));
        for (version, bytes) in &all {
            if missing.is_some_and(|missing| missing < *version) {
                break;
            }
            if let Err(error) = LogEntry::parse(*version, bytes.as_ref().unwrap_or(&Bytes::new())) {
                broken = Some((*version, error.to_string()));
                break;
            }
        }
        Ok(broken.map(|(version, reason)| {
            let behind = all.iter().filter(|(at, _)| *at >= version);
            let entries = behind.filter_map(|(_, bytes)| bytes.as_ref().map(LogEntry::salvaged));
            let last = files.last().unwrap_or(version).max(version);
            Break { version, reason, entries: entries.collect(), last }
        }))
    }

    /// Ends a log before its break, so that it can be read again.
    async fn cut(&mut self, broken: &Break) -> Result<()> {
        let Break { version, reason, entries, last } = broken;
        let range = match version == last {
            true => format!("version {version}"),
            false => format!("versions {version} to {last}"),
        };
        let found = format!("{reason}; {range} can not be read");
        if *version == 0 {
            let remedy = "none: without its first version nothing says what the columns are";
            self.finds(FindingKind::Damage, found, remedy, false);
            return Ok(());
        }
        let before = load_state(&self.log, Some(version - 1)).await?;
        if let Err(error) = Head::of_state(self.name, &before)?.require_writable() {
            self.finds(FindingKind::Damage, found, format!("none: {error}"), false);
            return Ok(());
        }
        let spec = schema::spec_of(self.name, before.metadata())?;
        let can_be_added = entries.iter().all(LogEntry::only_adds) && grows(&spec, entries);
        let adds = entries.iter().flat_map(|entry| &entry.adds);
        let rows: Option<u64> = adds.clone().map(rows_of).sum();
        let rows = rows.map_or_else(|| "an unknown number of".to_owned(), |rows| rows.to_string());
        let kept = match (adds.count(), can_be_added) {
            (0, true) => "the rows that were committed then are lost".to_owned(),
            (_, true) => format!(
                "{rows} rows that can be read there are committed again, and what can not be read is lost; rows that version \
                 {version} replaced, if it did, come back"
            ),
            (_, false) => format!(
                "later versions replaced rows or columns: the table is again as it was at {}; {rows} rows that they add are \
                 only there",
                version - 1
            ),
        };
        if self.repair {
            self.set_aside(*version, *last, can_be_added).await?;
        }
        let remedy = format!("{range} is set aside in {DAMAGED_FOLDER}; {kept}");
        self.finds(FindingKind::Damage, found, remedy, self.repair);
        Ok(())
    }

    async fn set_aside(&self, first: u64, last: u64, can_be_added: bool) -> Result<()> {
        let stamp = Utc::now().format("%Y%m%dT%H%M%SZ");
        let end = if can_be_added { PENDING } else { "" };
        // The newest first: a table that ends early is a table, one with a hole is not.
        for version in (first..=last).rev() {
            let from = Path::from(format!("{LOG_FOLDER}/{version:020}.json"));
            let to = Path::from(format!("{DAMAGED_FOLDER}/{version:020}.{stamp}{end}"));
            self.rename(&from, &to).await?;
        }
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        match self.store.copy(from, to).await {
            Ok(()) => Ok(self.store.delete(from).await?),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits the rows again of entries that were set aside, now or when a repair was cut off.
    async fn restore(&mut self, table: &Arc<Table>) -> Result<()> {
        let folder = Path::from(DAMAGED_FOLDER);
        let objects: Vec<ObjectMeta> = self.store.list(Some(&folder)).try_collect().await?;
        let mut pending: Vec<Path> = objects.into_iter().map(|object| object.location).collect();
        pending.retain(|path| path.as_ref().ends_with(PENDING));
        pending.sort();
        if pending.is_empty() {
            return Ok(());
        }
        let named = self.named(&self.entries(&LogFiles::list(self.store.as_ref()).await?).await?);
        let state = table.state(table.entry().version.0).await?;
        let there: HashSet<Path> =
            state.log_data().iter().map(|file| file.object_store_path()).collect();
        let (mut again, mut columns) = (Again::default(), Vec::new());
        for path in &pending {
            let entry = LogEntry::salvaged(&self.store.get(path).await?.bytes().await?);
            for add in entry.adds {
                let file = Path::from_url_path(&add.path).map_err(object_store::Error::from)?;
                // Committed again before the repair was cut off, or gone.
                let is_new = !there.contains(&file) && !named.contains(&file);
                if is_new && self.size_of(&file).await?.is_some() {
                    again.adds.push(add);
                }
            }
            if let Some(metadata) = &entry.metadata {
                again.row_bytes = again.row_bytes.max(width::stated(metadata));
                columns.extend(schema::spec_of(self.name, metadata)?.columns);
            }
            // Where the entry is torn its requests are at hand and the rest may not be. What it holds of them is not taken twice.
            let of_requests = entry.requests.iter().map(|of| (of.producer.clone(), of.sequence));
            for (producer, sequence) in entry.txns.into_iter().chain(of_requests) {
                let last = again.sequences.entry(producer).or_insert(sequence);
                *last = (*last).max(sequence);
            }
            again.requests.extend(entry.requests);
        }
        let files = again.adds.len();
        if !self.changed {
            let found = format!(
                "a repair was cut off: {files} files of entries that were set aside are not in the table"
            );
            self.finds(FindingKind::Damage, found, "their rows are committed again", self.repair);
        }
        if self.repair {
            self.lake.evolve(self.who, table, columns).await?;
            if files > 0 || !again.sequences.is_empty() {
                self.commit(table, again).await?;
            }
            for path in &pending {
                let done = path.as_ref().trim_end_matches(PENDING);
                self.rename(path, &Path::from(done)).await?;
            }
        }
        Ok(())
    }

    async fn commit(&self, table: &Arc<Table>, mut author: Again) -> Result<()> {
        let label = CommitLabel { operation: "repair".to_owned(), ..CommitLabel::default() };
        self.lake.commit(table, &self.who.subject, &label, &mut author).await.map(drop)
    }

    /// The entries that are kept, `None` for one that can not be read.
    async fn entries(&self, files: &LogFiles) -> Result<BTreeMap<u64, Option<LogEntry>>> {
        let all = self.entry_bytes(files, 0).await?;
        let parse = |(version, bytes): (u64, Option<Bytes>)| {
            (version, LogEntry::parse(version, &bytes.unwrap_or_default()).ok())
        };
        Ok(all.into_iter().map(parse).collect())
    }

    /// The files that these entries add or take away.
    fn named(&self, entries: &BTreeMap<u64, Option<LogEntry>>) -> HashSet<Path> {
        let entries = entries.values().flatten();
        let paths = entries.flat_map(|entry| {
            let removed = entry.removes.iter().map(|remove| remove.path.as_str());
            entry.added_paths.iter().map(String::as_str).chain(removed)
        });
        paths.filter_map(|path| Path::from_url_path(path).ok()).collect()
    }

    /// Producers number their requests one by one.
    fn sequences(&mut self, entries: &BTreeMap<u64, Option<LogEntry>>) {
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        let mut gaps = Vec::new();
        for (version, entry) in entries {
            for TakenRequest { producer, sequence, .. } in entry.iter().flat_map(|e| &e.requests) {
                let before = last.insert(producer, *sequence);
                if before.is_some_and(|before| before + 1 != *sequence) {
                    gaps.push(format!("{producer:?} came to {sequence} at version {version}"));
                }
            }
        }
        if !gaps.is_empty() {
            let found = format!("sequences do not follow each other: {}", shown(&gaps));
            self.finds(FindingKind::Oddity, found, "ask the producers what they sent", false);
        }
    }

    /// The size of an object, `None` where there is none.
    async fn size_of(&self, path: &Path) -> Result<Option<u64>> {
        match self.store.head(path).await {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a file ends as a Parquet file does.
    async fn ends_well(&self, path: &Path, size: u64) -> Result<bool> {
        let mark = PARQUET_MARK.len() as u64;
        if size < 2 * mark {
            return Ok(false);
        }
        Ok(self.store.get_range(path, size - mark..size).await? == PARQUET_MARK)
    }

    /// Data files: those that the log names, and those that it does not.
    async fn files(
        &mut self,
        table: &Arc<Table>,
        entries: &BTreeMap<u64, Option<LogEntry>>,
    ) -> Result<()> {
        let state = table.state(table.entry().version.0).await?;
        let objects = self.store.list(None).map_ok(|object| (object.location.clone(), object));
        let there: BTreeMap<Path, ObjectMeta> = objects.try_collect().await?;
        let (mut lost, mut odd) = (Vec::new(), Vec::new());
        let (mut removes, mut removed) = (Vec::new(), Size { rows: Some(0), ..Size::default() });
        let mut named = self.named(entries);
        for file in state.log_data().iter() {
            let path = file.object_store_path();
            let stated = u64::try_from(file.size()).unwrap_or_default();
            named.insert(path.clone());
            // One that lies elsewhere is not ours to judge.
            if there.get(&path).is_some_and(|object| object.size == stated)
                || file.path().contains("://")
            {
                continue;
            }
            let problem = match self.size_of(&path).await? {
                None => "is not there".to_owned(),
                Some(size) if self.ends_well(&path, size).await? => {
                    odd.push(format!("{path} has {size} bytes of {stated}"));
                    continue;
                }
                Some(size) => format!("is cut off: {size} bytes of {stated}"),
            };
            let of = Size::of_file(&file);
            let rows = of.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
            lost.push(format!("{path} ({rows} rows) {problem}"));
            removes.push(file.remove_action(true));
            removed = removed.plus(of);
        }
        if !odd.is_empty() {
            let found = format!(
                "{} data files have another size than the log says: {}",
                odd.len(),
                shown(&odd)
            );
            self.finds(FindingKind::Oddity, found, "none is needed", false);
        }
        if !lost.is_empty() {
            require_same_paths(&state, &removes)?;
            let rows = removed.rows.map_or_else(|| "their".to_owned(), |rows| rows.to_string());
            let found = format!("{} data files are damaged: {}", lost.len(), shown(&lost));
            if self.repair {
                self.commit(table, Again { removes, removed, ..Again::default() }).await?;
            }
            let remedy = format!("they are taken out of the table; {rows} rows are lost");
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
        let is_sure =
            entries.values().all(Option::is_some) && table.head().await.require_writable().is_ok();
        let is_damaged = self.findings.iter().any(|finding| finding.kind == FindingKind::Damage);
        if is_sure && !is_damaged {
            self.waste(&there, &named).await?;
        }
        Ok(())
    }

    /// Files that no version which can be asked for has.
    async fn waste(
        &mut self,
        there: &BTreeMap<Path, ObjectMeta>,
        named: &HashSet<Path>,
    ) -> Result<()> {
        let is_waste = |object: &&ObjectMeta| {
            is_data_file(&object.location) && !named.contains(&object.location)
        };
        let waste: Vec<&ObjectMeta> = there.values().filter(is_waste).collect();
        if waste.is_empty() {
            return Ok(());
        }
        let bytes: u64 = waste.iter().map(|object| object.size).sum();
        let found = format!("{} files of {bytes} bytes are in no commit", waste.len());
        if self.has_set_aside().await? {
            let remedy = "none: entries of the log were set aside here, and it may be their rows that these hold";
            self.finds(FindingKind::Waste, found, remedy, false);
            return Ok(());
        }
        let old = Utc::now() - WASTE_AGE_MIN;
        let due = waste.iter().filter(|object| object.last_modified < old);
        let due: Vec<Path> = due.map(|object| object.location.clone()).collect();
        let remedy = match due.len() {
            0 => {
                "none yet: they are younger than a day, and may be about to be committed".to_owned()
            }
            due => format!("{due} that are older than a day are deleted"),
        };
        let is_done = self.repair && !due.is_empty();
        if is_done {
            let deleted = self.store.delete_stream(stream::iter(due).map(Ok).boxed());
            deleted.try_for_each(async |_| Ok(())).await?;
        }
        self.finds(FindingKind::Waste, found, remedy, is_done);
        Ok(())
    }
}

/// Whether columns come at most, and none goes or changes.
fn grows(spec: &DatasetSpec, entries: &[LogEntry]) -> bool {
    let mut spec = spec.clone();
    entries.iter().filter_map(|entry| entry.metadata.as_ref()).all(|metadata| {
        let Ok(next) = schema::spec_of(&spec.name, metadata) else { return false };
        let is_kept = |column: &ColumnSpec| next.column(&column.name).is_some();
        let is_alike = next.partition_by == spec.partition_by && spec.columns.iter().all(is_kept);
        match grown(&spec, &next.columns) {
            Ok(grown) if is_alike => spec = grown.unwrap_or_else(|| spec.clone()),
            _ => return false,
        }
        true
    })
}

fn shown(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN_MAX);
    let first = all.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

/// The author of a repair.
#[derive(Default)]
struct Again {
    adds: Vec<Add>,
    row_bytes: u64,
    removes: Vec<Remove>,
    removed: Size,
    /// Of the producers whose rows are committed again.
    sequences: HashMap<String, i64>,
    requests: Vec<TakenRequest>,
}

#[async_trait]
impl Author for Again {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        for TakenRequest { producer, sequence, .. } in &self.requests {
            let first = first_of(producer);
            if head.last_sequence(table, producer).await?.is_none() {
                let known = self.sequences.entry(first).or_insert(*sequence);
                *known = (*known).min(*sequence);
            }
        }
        let rows: Option<u64> = self.adds.iter().map(rows_of).sum();
        let bytes = self.adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        let kind = match self.removes.is_empty() {
            true => CommitKind::Append,
            false => CommitKind::Overwrite,
        };
        Ok(Some(Proposal {
            kind: Some(kind),
            adds: self.adds.clone(),
            added: Size { rows, bytes, files: self.adds.len() as u64 },
            row_bytes: self.row_bytes,
            removes: self.removes.clone(),
            removed: Size { rows: Some(self.removed.rows.unwrap_or(0)), ..self.removed },
            sequences: self.sequences.clone().into_iter().collect(),
            requests: self.requests.clone(),
            ..Proposal::default()
        }))
    }
}
