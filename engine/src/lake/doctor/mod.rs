//! What is wrong with the tables of a root, and what of it can be mended.
//!
//! A table is damaged where its log has a hole or an entry that can not be read (`log_end`), where a checkpoint can not be read
//! (`checkpoints`), and where a data file that the log names is not there or can not be read (`contents`). So is a table whose log
//! ends before the newest version that its folder states (`newest` of the lake). Mending destroys
//! nothing: what can not be part of the table any more goes to a folder of the log, the rows that set-aside entries add are
//! committed again (`again`), and a data file that is gone is taken out of the table. What is lost by that is said first.

mod again;
mod checkpoints;
mod contents;
mod log_end;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use deltalake_core::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::check::{LogFiles, entry_path, is_damage};
use super::data_files::is_data_file;
use super::log::{LogEntry, OPERATION_KEY};
use super::table::{Opened, places};
use super::{Lake, Table, TakenRequest, lost_of};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, TenantId};

/// Where old files go that no commit names.
const UNCOMMITTED_FOLDER: &str = "_uncommitted";
/// Where entries and checkpoints go that can not be part of the table.
const DAMAGED_FOLDER: &str = "_delta_log/_damaged";
/// What commits of a repair are called.
const REPAIR: &str = "repair";
/// The end of the names of entries whose rows are still to be committed again.
const PENDING: &str = ".pending";
/// Objects that are asked for at once.
const ASKING_MAX: usize = 32;
/// Files or requests that one finding names.
const SHOWN_MAX: usize = 5;

/// What was found out about one table.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Examined {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its folder.
    pub dataset: DatasetName,
    /// Its newest version, where it can be read.
    pub version: Option<u64>,
    /// Rows that were committed; `None` where its log does not say it all.
    pub rows_committed: Option<u64>,
    /// Rows of these that can be read now, where it can be read.
    pub rows: Option<u64>,
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
    /// It could not be looked at: the store did not answer, or refuses access.
    Unknown,
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
            self.require_alone()?;
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

    /// Fails where another writer may be at work: nothing keeps one out of an object store.
    fn require_alone(&self) -> Result<()> {
        if self.root().is_shared() {
            return Err(Error::user(
                Code::Conflict,
                "repairing needs a root that has one writer, and nothing keeps others out of an object store; copy the root \
                 to a disk, repair it there, and copy it back",
            ));
        }
        Ok(())
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
    rows_committed: Option<u64>,
    /// Whether that counts all, and not only what can be read of the log.
    is_count_known: bool,
    rows: Option<u64>,
    findings: Vec<Finding>,
}

/// What the entries of a log say together.
#[derive(Default)]
struct Logged {
    /// The files that they add or take away.
    named: HashSet<Path>,
    /// Whether each of them can be read.
    is_whole: bool,
    /// Where the numbers of a producer do not follow each other.
    gaps: Vec<String>,
}

impl<'a> Examination<'a> {
    fn new(
        lake: &'a Lake,
        who: &'a Principal,
        name: &'a DatasetName,
        repair: bool,
    ) -> Result<Self> {
        let (log, store) = places(lake.root(), &who.tenant, name)?;
        let (changed, findings) = (false, Vec::new());
        let (rows_committed, is_count_known, rows) = (None, true, None);
        Ok(Self {
            lake,
            who,
            name,
            log,
            store,
            repair,
            changed,
            rows_committed,
            is_count_known,
            rows,
            findings,
        })
    }

    /// The table's newest version; `None` for a folder without a log, which is no table.
    async fn run(&mut self) -> Result<Option<u64>> {
        let mut files = LogFiles::list(self.store.as_ref()).await?;
        if files.last().is_none() {
            self.without_log().await?;
            return Ok(None);
        }
        if !self.checkpoints(&mut files).await? {
            return Ok(None);
        }
        if let Some(broken) = self.find_break().await? {
            self.cut(&broken).await?;
            if !self.changed {
                // Nothing behind it can be looked at.
                return Ok(broken.version.checked_sub(1));
            }
        }
        let Opened { table, lost } = self.open().await?;
        let table = Arc::new(table);
        let lost = match lost {
            Some(committed) => self.lost_end(&table, committed).await?,
            None => None,
        };
        self.fill(&table, lost).await?;
        self.restore(&table).await?;
        let table = Arc::new(self.open().await?.table);
        let logged = self.logged(table.entry().version.0).await?;
        if !logged.gaps.is_empty() && !self.name.is_quarantine() {
            let found = format!("sequences do not follow each other: {}", shown(&logged.gaps));
            self.finds(FindingKind::Oddity, found, "ask the producers what they sent", false);
        }
        self.files(&table, logged).await?;
        Ok(Some(table.entry().version.0))
    }

    async fn open(&self) -> Result<Opened> {
        Table::open_as_far(self.lake.root(), &self.who.tenant, self.name).await
    }

    fn ended(mut self, found: Result<Option<u64>>) -> Option<Examined> {
        let version = match found {
            Ok(None) if self.findings.is_empty() => return None,
            Ok(version) => version,
            Err(error) => {
                let is_known = is_damage(&error) || error.code() == Code::Conflict;
                let (kind, remedy) = match is_known || error.code() == Code::BadInput {
                    true => {
                        (FindingKind::Damage, "none; what can be done is done when this is mended")
                    }
                    false => (FindingKind::Unknown, "look again when the store answers"),
                };
                self.finds(kind, error.to_string(), remedy, false);
                None
            }
        };
        self.findings.sort_by_key(|finding| finding.kind);
        Some(Examined {
            tenant: self.who.tenant.clone(),
            dataset: self.name.clone(),
            version,
            rows_committed: self.rows_committed.filter(|_| self.is_count_known),
            rows: self.rows,
            findings: self.findings,
        })
    }

    fn finds(&mut self, kind: FindingKind, found: String, remedy: impl Into<String>, mended: bool) {
        self.changed |= mended;
        self.findings.push(Finding { kind, found, remedy: remedy.into(), mended });
    }

    /// Looks whether a folder that has no log has data.
    async fn without_log(&mut self) -> Result<()> {
        let mut objects = self.store.list(None);
        let mut data = 0;
        while let Some(object) = objects.try_next().await? {
            data += usize::from(is_data_file(&object.location));
        }
        if data > 0 {
            let found = format!("no log says what is in {} here", counted(data, "data file"));
            let remedy = "none: without a log nothing says which of them are of one version";
            self.finds(FindingKind::Damage, found, remedy, false);
        }
        Ok(())
    }

    /// What the entries say that are kept, up to that of a version, read a few at a time.
    async fn logged(&self, until: u64) -> Result<Logged> {
        let files = LogFiles::list(self.store.as_ref()).await?;
        let read = |version| async move {
            Ok::<_, Error>((version, self.log.read_commit_entry(version).await?))
        };
        let versions = files.entries.into_iter().filter(|version| *version <= until);
        let mut entries = stream::iter(versions).map(read).buffered(ASKING_MAX);
        let mut logged = Logged { is_whole: true, ..Logged::default() };
        let mut last = BTreeMap::new();
        while let Some((version, bytes)) = entries.try_next().await? {
            match LogEntry::parse(version, &bytes.unwrap_or_default()) {
                Ok(entry) => logged.take(version, &entry, &mut last),
                Err(_) => logged.is_whole = false,
            }
        }
        Ok(logged)
    }

    /// Entries that were set aside here, now or once, with their versions.
    async fn set_aside_before(&self) -> Result<Vec<(u64, ObjectMeta)>> {
        let folder = Path::from(DAMAGED_FOLDER);
        let objects: Vec<ObjectMeta> = self.store.list(Some(&folder)).try_collect().await?;
        let version = |object: ObjectMeta| {
            let (version, rest) = object.location.filename()?.split_once('.')?;
            let version = version.parse().ok().filter(|_| !rest.starts_with("checkpoint"))?;
            Some((version, object))
        };
        Ok(objects.into_iter().filter_map(version).collect())
    }

    /// The folder where entries go that are set aside, in the root.
    fn damaged_folder(&self) -> String {
        self.in_root(&Path::from(DAMAGED_FOLDER))
    }

    /// Where a file of the table lies in the root.
    fn in_root(&self, path: &Path) -> String {
        format!("{}/{}/{path}", self.who.tenant, self.name)
    }

    /// Moves an object; it is nowhere lost if that is cut off.
    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        match self.store.copy(from, to).await {
            Ok(()) => Ok(self.store.delete(from).await?),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
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
}

impl Logged {
    fn take(&mut self, version: u64, entry: &LogEntry, last: &mut BTreeMap<String, i64>) {
        let removed = entry.removes.iter().map(|remove| remove.path.as_str());
        let paths = entry.added_paths.iter().map(String::as_str).chain(removed);
        self.named.extend(paths.filter_map(|path| Path::from_url_path(path).ok()));
        // A repair says itself which numbers are lost.
        let is_repair = entry.text(OPERATION_KEY) == Some(REPAIR);
        for TakenRequest { producer, sequence, .. } in &entry.requests {
            if entry.txns.contains_key(&lost_of(producer, *sequence)) {
                continue;
            }
            let before = last.insert(producer.clone(), *sequence);
            let is_next = before.is_none_or(|before| before.checked_add(1) == Some(*sequence));
            if !is_next && !is_repair {
                self.gaps.push(format!("{producer:?} came to {sequence} at version {version}"));
            }
        }
    }
}

/// The path that an object of the log has when it is set aside.
fn aside(name: &str, at: DateTime<Utc>, end: &str) -> Path {
    let stamp = at.format("%Y%m%dT%H%M%S%3fZ");
    Path::from(format!("{DAMAGED_FOLDER}/{name}.{stamp}{end}"))
}

/// `1 file`, `2 files`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn shown(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN_MAX);
    let first = all.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}
